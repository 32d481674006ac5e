"""The ladder: autoencoders from the simplest to aecodec, all with real bytes through one entropy coder.

A step codes a picture as its code divided by a quantization step, rounded, with a table per channel that was counted on
training pictures. Tables and networks belong to the step as weights do to a codec; a file is a header of 8 bytes and
the stream. What aecodec itself and JPEG write are their ordinary files.
"""

from __future__ import annotations

import struct
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import cached_property
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.linalg import subspace_angles

from aecodec.coding.entropy import SymbolReader, encode_symbols
from aecodec.coding.tables import PRECISION, TableSet
from bench import rd
from bench.codecs import Peer, peers
from bench.compare import ladder_table
from bench.ladder_models import AutoEncoder224, PatchAutoencoder, Rate, fit_linear, fit_patches, fit_pictures, pretrain
from bench.pca import from_blocks, to_blocks
from bench.plot import identity_plot, ladder_plot

PATCH = 8  # pixels per side
SAMPLES = 3 * PATCH**2  # in a patch
CODE = 32  # numbers that a patch becomes where there is a bottleneck
HIDDEN = 256
OVER = 2 * SAMPLES
STRIDE = 32  # pixels per position of AutoEncoder224
PICTURES = 256  # of the training pictures, that many are used
COUNTED = 48  # pictures whose codes tables are counted on
QUALITIES = (20.0, 30.0, 40.0, 50.0, 60.0, 70.0)  # a step is half as wide for 10 more
WORTHS = {10.0: 0.001, 20.0: 0.004}  # quality: lambda of the rate-trained one
_HEADER = struct.Struct("<HHf")  # width, height, quality


class Transform(NamedTuple):
    """Pictures to codes and back."""

    analyze: Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # [H, W, 3] to [positions, channels]
    synthesize: Callable[[NDArray[np.float32], int, int], NDArray[np.uint8]]
    side: int  # pixels per position
    steps: NDArray[np.float32] | None = None  # of quantization, [channels], where they are learned


class StepCoder:
    """encode and decode of one step, as a Peer has them. make gets a quality: most are the same for all."""

    def __init__(self, make: Callable[[float], Transform], counted: Sequence[NDArray[np.uint8]]) -> None:
        self.make, self.counted = make, counted
        self._found: dict[float, tuple[Transform, NDArray[np.float32], TableSet]] = {}
        self._codes: tuple[Transform, NDArray[np.float32]] | None = None  # of counted, by the latest transform

    def at(self, quality: float) -> tuple[Transform, NDArray[np.float32], TableSet]:
        """Transform, quantization steps and tables."""
        if quality not in self._found:
            transform = self.make(quality)
            if self._codes is None or self._codes[0] is not transform:
                self._codes = transform, np.concatenate([transform.analyze(pixels) for pixels in self.counted])
            codes, steps = self._codes[1], transform.steps
            if steps is None:
                steps = np.full(codes.shape[1], codes.std(0).max() * 2 ** (2 - quality / 10), np.float32)
            self._found[quality] = transform, steps, count_tables(_rounded(codes / steps))
        return self._found[quality]

    def encode(self, image: Image.Image, quality: float) -> bytes:
        transform, steps, tables = self.at(quality)
        symbols = _rounded(transform.analyze(np.asarray(image)) / steps)
        indexes = np.tile(np.arange(len(steps), dtype=np.uint16), len(symbols))
        return _HEADER.pack(*image.size, quality) + encode_symbols(symbols.ravel(), indexes, tables)

    def decode(self, data: bytes) -> Image.Image:
        width, height, quality = _HEADER.unpack_from(data)
        transform, steps, tables = self.at(quality)
        positions = -(-width // transform.side) * -(-height // transform.side)
        reader = SymbolReader(data[_HEADER.size :], tables)
        symbols = reader.read(np.tile(np.arange(len(steps), dtype=np.uint16), positions))
        reader.finish()
        return Image.fromarray(transform.synthesize(symbols.reshape(positions, -1) * steps, height, width))


def _rounded(codes: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.rint(codes).clip(-32768, 32767).astype(np.int16)


def count_tables(symbols: NDArray[np.int16]) -> TableSet:
    """A table for each column of symbols [n, channels]: what was never seen is rare, beyond the ends escapes."""
    cumulative, lengths, offsets = [], [], []
    for column in symbols.T.astype(np.int64):
        counts = np.append(np.bincount(column - column.min()) + 0.3, 0.3)  # the last is the escape
        share = counts / counts.sum() * ((1 << PRECISION) - len(counts))
        entries = share.astype(np.int64) + 1
        entries[entries.argmax()] += (1 << PRECISION) - entries.sum()
        cumulative.append(np.concatenate(([0], np.cumsum(entries))))
        lengths.append(len(entries) + 1)
        offsets.append(column.min())
    return TableSet(
        np.concatenate(cumulative).astype(np.int32), np.array(lengths, np.int32), np.array(offsets, np.int32)
    )


class Ladder:
    """All steps, each trained when it is first asked for."""

    def __init__(self, pictures: Sequence[NDArray[np.uint8]], out: Path, steps: int) -> None:
        """steps: of a training of AutoEncoder224; those of patches are quicker and have 10 and 20 times as many."""
        self.pictures, self.out, self.steps = pictures, out, steps
        blocks = np.concatenate([to_blocks(pixels, PATCH) for pixels in pictures[:COUNTED]])
        self.mean = blocks.mean(0)
        self.patches = blocks - self.mean

    @cached_property
    def components(self) -> NDArray[np.float32]:
        """Principal components of patches [SAMPLES, SAMPLES], a row each, the strongest first."""
        _, vectors = np.linalg.eigh(self.covariance)
        return vectors.T[::-1].astype(np.float32)

    @cached_property
    def covariance(self) -> NDArray[np.float64]:
        return np.cov(self.patches.T.astype(np.float64))

    @cached_property
    def short(self) -> Transform:
        return self._linear(self.components[:CODE], self.components[:CODE].T)

    @cached_property
    def full(self) -> Transform:
        return self._linear(self.components, self.components.T)

    @cached_property
    def linear(self) -> Transform:
        with _told("linear autoencoder"):
            encoder, decoder = fit_linear(self.covariance, CODE, 20 * self.steps)
        angles = np.degrees(subspace_angles(decoder.astype(np.float64), self.components[:CODE].T.astype(np.float64)))
        print(f"principal angles between its subspace and that of PCA: at most {angles.max():.4f} degrees")
        return self._linear(encoder, decoder)

    def _linear(self, encoder: NDArray[np.float32], decoder: NDArray[np.float32]) -> Transform:
        def analyze(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            return (to_blocks(pixels, PATCH) - self.mean) @ encoder.T

        def synthesize(codes: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
            return from_blocks(codes @ decoder.T + self.mean, PATCH, height, width)

        return Transform(analyze, synthesize, PATCH)

    @cached_property
    def shallow(self) -> Transform:
        return self._network("shallow autoencoder", CODE, HIDDEN)

    @cached_property
    def over(self) -> Transform:
        transform = self._network("over-complete autoencoder", OVER, rectified=True)
        pixels = self.pictures[0]
        again = transform.synthesize(transform.analyze(pixels), *pixels.shape[:2])
        mse = np.mean((pixels.astype(np.float64) - again) ** 2)
        print(f"over-complete, its code not quantized: {10 * np.log10(255**2 / max(mse, 1e-9)):.1f} dB")
        maps = [self._map(self.short), self._map(transform)]
        identity_plot(maps, self.out / "ladder-identity.svg")
        return transform

    def _map(self, transform: Transform) -> NDArray[np.float64]:
        """[SAMPLES, SAMPLES]: what comes out for what goes in, by least squares; samples by color, row, column."""
        order = np.arange(SAMPLES).reshape(-1, 3).T.ravel()
        pairs = [(one, transform.synthesize(transform.analyze(one), *one.shape[:2])) for one in self.pictures[:8]]
        rows = [
            np.concatenate([(to_blocks(one, PATCH) - self.mean)[:, order] for one in side])
            for side in zip(*pairs, strict=True)
        ]
        found: NDArray[np.float64] = np.linalg.lstsq(rows[0], rows[1], rcond=1e-4)[0]
        return found

    def _network(self, name: str, code: int, hidden: int = 0, *, rectified: bool = False) -> Transform:
        torch.manual_seed(0)
        network = PatchAutoencoder(SAMPLES, code, hidden, rectified=rectified)
        spread = float(self.patches.std())
        with _told(name):
            fit_patches(network, self.patches / spread, 10 * self.steps)

        def analyze(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            with torch.inference_mode():
                return network.encode(torch.from_numpy((to_blocks(pixels, PATCH) - self.mean) / spread)).numpy()

        def synthesize(codes: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
            with torch.inference_mode():
                return from_blocks(
                    network.decode(torch.from_numpy(codes)).numpy() * spread + self.mean, PATCH, height, width
                )

        return Transform(analyze, synthesize, PATCH)

    @cached_property
    def begun(self) -> AutoEncoder224:
        """What the plain one and the rate-trained ones go on from."""
        torch.manual_seed(0)
        network = AutoEncoder224()
        with _told("AutoEncoder224, first half"):
            fit_pictures(network, self.pictures, self.steps)
        return network

    @cached_property
    def plain(self) -> Transform:
        network = deepcopy(self.begun)
        with _told("AutoEncoder224, second half"):
            fit_pictures(network, self.pictures, self.steps)
        return _convolutional(network)

    @cached_property
    def stacked(self) -> Transform:
        torch.manual_seed(0)
        network = AutoEncoder224()
        with _told("AutoEncoder224, layer by layer"):
            pretrain(network, self.pictures, 2 * self.steps)
        with _told("AutoEncoder224, then whole"):
            fit_pictures(network, self.pictures, self.steps)
        return _convolutional(network)

    def with_rate(self, quality: float) -> Transform:
        torch.manual_seed(0)
        network, rate = deepcopy(self.begun), Rate(self.begun.latent_shape[0])
        with _told(f"AutoEncoder224 with a rate, lambda {WORTHS[quality]}"):
            fit_pictures(network, self.pictures, self.steps, rate, WORTHS[quality])
        return _convolutional(network)._replace(steps=rate.log_step.detach().exp().numpy().ravel())

    def peers(self) -> list[Peer]:
        """All steps from the lowest on, JPEG beside them."""
        counted = self.pictures[:COUNTED]
        patches = f"{PATCH}x{PATCH} color patches"
        made: dict[str, tuple[str, tuple[float, ...], Callable[[float], Transform]]] = {
            f"PCA {CODE}": (f"{CODE} of {SAMPLES} components of {patches}", QUALITIES, lambda _: self.short),
            f"linear {CODE}": (f"{SAMPLES}-{CODE}-{SAMPLES}", QUALITIES, lambda _: self.linear),
            f"shallow {CODE}": (
                f"{SAMPLES}-{HIDDEN}-{CODE}-{HIDDEN}-{SAMPLES}, ReLU", QUALITIES, lambda _: self.shallow,
            ),
            f"over-complete {OVER}": (f"{SAMPLES}-{OVER}-{SAMPLES}, ReLU", QUALITIES, lambda _: self.over),
            f"PCA {SAMPLES}": (f"all components of {patches}", QUALITIES, lambda _: self.full),
            "AutoEncoder224": ("squared error", QUALITIES[:-1], lambda _: self.plain),
            "AutoEncoder224 stacked": ("layer by layer, then whole", QUALITIES[:-1], lambda _: self.stacked),
            "AutoEncoder224 rate": ("squared error and bits", tuple(WORTHS), self.with_rate),
        }  # fmt: skip
        found = []
        for name, (settings, qualities, make) in made.items():
            coder = StepCoder(make, counted)
            found.append(Peer(f"{settings}; trained for {self.steps}", qualities, coder.encode, coder.decode, name))
        theirs = peers(["aecodec:s", "aecodec:m", "jpeg"])
        return found + [replace(peer, qualities=peer.qualities[::2]) for peer in theirs]


def _convolutional(network: AutoEncoder224) -> Transform:
    channels = network.latent_shape[0]

    def analyze(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        H, W, _ = pixels.shape
        padded = np.pad(pixels, ((0, -H % STRIDE), (0, -W % STRIDE), (0, 0)), mode="edge")
        x = torch.from_numpy(padded.transpose(2, 0, 1).copy())[None].float() / 255
        with torch.inference_mode():
            return network.encode(x)[0].flatten(1).T.contiguous().numpy()

    def synthesize(codes: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
        code = torch.from_numpy(codes.T.copy()).reshape(1, channels, -(-height // STRIDE), -(-width // STRIDE))
        with torch.inference_mode():
            x = network.decode(code)[0, :, :height, :width] * 255
        return x.round().byte().permute(1, 2, 0).numpy()

    return Transform(analyze, synthesize, STRIDE)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Say how long a training took, in seconds of processor time."""
    started = time.process_time()
    yield
    print(f"{name}: trained for {time.process_time() - started:.0f} s")


def _read(train: Path) -> Iterator[NDArray[np.uint8]]:
    """The pictures of a tar file."""
    with tarfile.open(train) as tar:
        for member in tar:
            file = None if member.name.endswith(".tsv") else tar.extractfile(member)
            if file is not None:
                with Image.open(BytesIO(file.read())) as image:
                    yield np.asarray(image.convert("RGB"))


def run(folder: Path, train: Path, out: Path, only: Sequence[str], steps: int, middle: int, command: str) -> None:
    """Train and measure the steps, all or those named, and draw them; what out holds already is not repeated."""
    torch.set_num_threads(1)  # as many threads, as many sums in another order
    found = Ladder(list(islice(_read(train), PICTURES)), out, steps).peers()
    if unknown := set(only) - {peer.name for peer in found}:
        known = ", ".join(peer.name for peer in found)
        raise click.ClickException(f"there is no step {unknown.pop()}; known are {known}")
    wanted = [peer for peer in found if not only or peer.name in only]
    points = rd.run(wanted, rd.pictures_in(folder), command, out / "ladder.jsonl", middle=middle)
    print(ladder_table(points))
    ladder_plot(points, out / "ladder.svg")
