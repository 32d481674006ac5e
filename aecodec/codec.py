"""Codec: pictures to .aec bytes and back. The pipeline, in the order of the format."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from aecodec import entropy, weights
from aecodec.alpha import decode_alpha, encode_alpha
from aecodec.container import (
    MAX_PIXELS,
    MAX_TILE,
    STRIDE,
    Box,
    Container,
    Data,
    Header,
    SectionKind,
    pack,
    read_header,
    unpack,
)
from aecodec.errors import FormatError, InputError
from aecodec.image import Metadata, Picture, Pixels, crop_padded, from_picture, shown_pixels, to_picture
from aecodec.model import SYNTHESIS_HALO, Y_STRIDE, Autoencoder, ModelConfig, anchor_weights, complexity
from aecodec.preview import render_reduced
from aecodec.prior import ANCHORS, SCALES, SKIPPED_SCALES, Z_LIMIT, anchor_position, quality_level
from aecodec.target import Search, Target, pick_target

DEFAULT_QUALITY = 60.0
_BAND = 8  # rows of features at 1/16 that are rendered at once: small enough for the cache, large enough for threads
_Z_HALO = 128  # pixels around a cell of z whose y it depends on
_BODY_HALO = 32  # pixels around a cell of y that g_s looks at; y_hat itself depends on more
_SCALES = {1: 1, 1 / 2: 2, 1 / 4: 4, 1 / 8: 8}  # scale: pixels per pixel in each direction

T = TypeVar("T")


class Symbols(NamedTuple):
    """The coded integers of a window of the padded picture."""

    z: NDArray[np.int8]  # [N, h/64, w/64]
    y: NDArray[np.int16]  # [M, h/16, w/16]
    window: Box


class Codec:
    """One model on one device. Reusable and safe to share between threads: nothing changes after construction.

    Networks see a picture area by area, each with a halo as wide as they can look, so that memory stays bounded and the
    result equals that of the whole picture.
    """

    def __init__(
        self,
        model: weights.Weights,
        device: torch.device,
        *,
        entropy_coder: str = "native",
        threads: int | None = None,
        work_tile: int = 8,
    ) -> None:
        """work_tile: side of what the networks see at once, without halo, in units of 64 pixels."""
        if threads is not None and threads < 1:
            raise InputError(f"threads must be at least 1, got {threads}")
        if entropy_coder not in ("native", "compressai"):
            raise InputError(f"entropy_coder must be native or compressai, got {entropy_coder}")
        self.weights = model
        self.prior = model.prior
        self.tables = model.tables
        self.entropy_coder = entropy_coder
        self.threads = threads
        self.device = device
        self.work_tile = work_tile
        self._pool: tuple[int, ThreadPoolExecutor | None] = (0, None)
        parameters = {name: torch.from_numpy(array).float() for name, array in model.network.items()}
        try:
            self.network = Autoencoder(ModelConfig.from_dict(model.config))
            self.network.load_state_dict(parameters)
        except (RuntimeError, TypeError) as error:
            raise InputError(f"weights do not fit their configuration: {str(error).splitlines()[0]}") from error
        if len(model.tables.lengths) != ANCHORS * self.prior.N + SCALES:
            raise InputError(f"weights hold {len(model.tables.lengths)} tables, not {ANCHORS * self.prior.N + SCALES}")
        fine, coarse = self.network.config.analysis_depths
        self.y_halo = -(-(8 * fine + 16 * coarse) // STRIDE) * STRIDE  # pixels that y can see around its own
        self.network.to(device).eval().requires_grad_(requires_grad=False)

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        device: str = "auto",
        *,
        entropy_coder: str = "native",
        threads: int | None = None,
    ) -> Codec:
        """A codec with shipped weights (by name; default "m") or those of a .safetensors file.

        device is "auto" (CUDA where there is one), "cpu" or "cuda". threads is how many work at once on a CPU, by
        default as many as torch uses. entropy_coder="compressai" writes the same bytes through CompressAI's coder, for
        reference. Raises InputError for weights, a device or a number that cannot be used.
        """
        return cls(weights.load(model), pick_device(device), entropy_coder=entropy_coder, threads=threads)

    @classmethod
    def load_for(cls, data: Data, device: str = "auto", *, threads: int | None = None) -> Codec:
        """A codec with the shipped weights that a file needs. Raises as read_header, or UnsupportedError."""
        return cls(weights.load_for(read_header(data).model_id), pick_device(device), threads=threads)

    def encode(
        self,
        image: Image.Image | NDArray[np.uint8] | Picture,
        *,
        quality: float | None = None,
        bpp: float | None = None,
        max_bytes: int | None = None,
        psnr: float | None = None,
        ms_ssim: float | None = None,
        tile: int = 16,
        strip: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> bytes:
        """The .aec file of a PIL image, a uint8 array [H, W, 3], [H, W, 4] (RGBA) or [H, W], or what to_picture made.

        At most one of these says how good: quality 1..100, continuous, higher is better, default 60; bpp (bits per
        pixel of the whole file) or max_bytes, which are never exceeded, and met within 2 % where qualities allow;
        psnr or ms_ssim, both in dB (see metrics.ms_ssim_db), which are met and exceeded by at most 0.1 dB. Both are
        measured on what a viewer sees: gray as one channel, transparency on white. What even the best quality cannot
        spend, or the worst not save, is no error. A search takes as long as a few plain encodes.

        tile is the side of independently coded tiles in units of 64 pixels, 1..64. strip drops ICC, EXIF, XMP and dpi,
        and turns the pixels as the EXIF orientation says. A PictureWarning tells what is not kept. Raises InputError
        for a picture or option that cannot be used, a target out of reach (it says what is possible), and more than
        max_pixels or 65,535 pixels per side.
        """
        target = pick_target(quality, bpp, max_bytes, psnr, ms_ssim)
        level = quality_level(DEFAULT_QUALITY if quality is None else quality)
        if not 1 <= tile <= MAX_TILE:
            raise InputError(f"tile must be 1..{MAX_TILE}, got {tile}")
        picture = to_picture(image, strip=strip, max_pixels=max_pixels)
        H, W, _ = picture.pixels.shape
        header = Header(W, H, level, self.weights.model_id, picture.gray, tile, picture.alpha is not None)
        sections = _sections(picture, header)
        if target is not None:
            return self._encode_to(target, picture, header, sections)
        return self._pack(self._analyze(picture.pixels, header), header, sections)

    def decode(
        self,
        data: Data,
        *,
        region: tuple[int, int, int, int] | None = None,
        scale: float = 1,
        max_pixels: int = MAX_PIXELS,
    ) -> Image.Image:
        """The picture of a .aec file: mode RGB, RGBA, L or LA; ICC, EXIF, XMP and dpi are in its info.

        region is (x, y, width, height) in pixels of the stored picture: only the tiles that it needs are read, checked
        and decoded. scale is 1, 1/2, 1/4 or 1/8: each pixel is the mean of 2x2, 4x4 or (nearly) 8x8; sides are
        rounded up. Raises InputError for a region outside the picture or another scale, FormatError for damaged data,
        UnsupportedError if the file needs other weights or a newer aecodec.
        """
        header = read_header(data, max_pixels=max_pixels)
        area, factor = _area(region, header), _factor(scale)
        needed = area.aligned(STRIDE).grown(SYNTHESIS_HALO, header.padded)
        container = unpack(data, max_pixels=max_pixels, area=needed)
        pixels = self._synthesize(self._parse(container, needed), header, area, factor)
        metadata = Metadata.from_sections(container.sections)
        alpha = decode_alpha(container.sections[SectionKind.ALPHA], header, area, factor) if header.alpha else None
        return from_picture(Picture(pixels, header.gray, metadata, alpha))

    def complexity(self) -> dict[str, float]:
        """kMAC per pixel of each stage, and of the receiver: all stages that decoding runs."""
        return complexity(self.network.config)

    def decode_symbols(self, data: Data) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
        """The coded integers of a file: z_symbols [N, H/64, W/64] and y_symbols [M, H/16, W/16]. No network runs."""
        container = unpack(data)
        symbols = self._parse(container, container.header.padded)
        return symbols.z, symbols.y

    def _encode_to(self, target: Target, picture: Picture, header: Header, sections: dict[SectionKind, bytes]) -> bytes:
        """The file that meets a target. A small part of a large picture is searched first: it shows where to begin."""
        search = target.search(header.pixels)
        part = _middle(header)
        if part is not None:
            small = dataclasses.replace(header, width=part.shape[1], height=part.shape[0], alpha=False)
            rough = target.search(header.pixels, share=small.pixels / header.pixels).widened()
            cut = picture._replace(pixels=picture.pixels[part.cells(1)], alpha=None)
            self._search(rough, target, cut, small, {})
            search.level, search.slope = rough.level, rough.slope
        data = self._search(search, target, picture, header, sections)
        if data is None:
            raise target.impossible(search.value, header.pixels)
        return data

    def _search(
        self, search: Search, target: Target, picture: Picture, header: Header, sections: dict[SectionKind, bytes]
    ) -> bytes | None:
        """Run a search; the file at the level where it ends, None if the target is out of reach."""
        best = None
        original = None if target.is_size else shown_pixels(picture)

        def measure(level: int) -> float:
            nonlocal best
            at = dataclasses.replace(header, level=level)
            symbols = self._analyze(picture.pixels, at)
            if original is None:
                data = self._pack(symbols, at, sections)
                value = math.log(len(data))
                best = data if value <= search.high else best
            else:
                decoded = picture._replace(pixels=self._synthesize(symbols, at, at.bounds))
                value = target.quality(original, shown_pixels(decoded))
                best = self._pack(symbols, at, sections) if value >= search.low else best
            return value

        search.run(measure)
        return best

    def _pack(self, symbols: Symbols, header: Header, sections: dict[SectionKind, bytes]) -> bytes:
        return pack(header, sections, self._map(lambda box: self._encode_tile(symbols, box, header), header.tiles()))

    def _analyze(self, pixels: Pixels, header: Header) -> Symbols:
        """The coded integers of a picture [H, W, 3].

        It goes through in strips, z one strip behind y and y_symbols one behind z, because each looks at what it is
        made from a little above and below. So y stands in memory as floats for four strips, and no more.
        """
        symbols = self._empty_symbols(header.padded)
        strips = header.padded.split(header.padded.right, max(self.work_tile * STRIDE, SYNTHESIS_HALO))
        y: dict[Box, NDArray[np.float32]] = {}
        for new, hyper, ready in zip([*strips, None, None], [None, *strips, None], [None, None, *strips], strict=True):
            if new is not None:
                y[new] = self._analyze_strip(pixels, new, header)
            if hyper is not None:
                self._hyper_analyze_strip(y, hyper, header, symbols)
            if ready is not None:
                self._quantize_strip(y, ready, header, symbols)
                y = {strip: part for strip, part in y.items() if strip.bottom >= ready.bottom}
        return symbols

    def _analyze_strip(self, pixels: Pixels, strip: Box, header: Header) -> NDArray[np.float32]:
        """y [M, h/16, W/16] of a strip."""
        y = np.empty((self.prior.M, *strip.reduced(Y_STRIDE).shape), np.float32)
        gains = self._anchor_weights(header.level)

        def analyze(box: Box) -> None:
            region = box.grown(self.y_halo, header.padded)
            x = self._tensor(crop_padded(pixels, region).transpose(2, 0, 1)).div_(255)
            with _inference():
                y_tile = self.network.analyze(x, gains)
            core = box.relative_to(region).cells(Y_STRIDE)
            y[:, *box.relative_to(strip).cells(Y_STRIDE)] = _array(y_tile)[:, *core]

        self._map(analyze, self._work_areas(strip))
        return y

    def _hyper_analyze_strip(
        self, y: dict[Box, NDArray[np.float32]], strip: Box, header: Header, symbols: Symbols
    ) -> None:
        """Write z_symbols of a strip, from y of its neighbors as well."""
        gains = self._anchor_weights(header.level)

        def hyper_analyze(box: Box) -> None:
            region = box.grown(_Z_HALO, header.padded)
            with _inference():
                z = self.network.hyper_analyze(self._tensor(_gather(y, region)), gains).round_()
                z_symbols = _array(z.clamp_(-Z_LIMIT, Z_LIMIT))
            core = box.relative_to(region).cells(STRIDE)
            symbols.z[:, *box.cells(STRIDE)] = z_symbols[:, *core]

        self._map(hyper_analyze, self._work_areas(strip))

    def _quantize_strip(self, y: dict[Box, NDArray[np.float32]], strip: Box, header: Header, symbols: Symbols) -> None:
        """Write y_symbols of a strip: y in units of its step, less the predicted mean."""
        gains = self._anchor_weights(header.level)

        def quantize(box: Box) -> None:
            region = box.grown(SYNTHESIS_HALO, header.padded)
            y_region = self._tensor(_gather(y, region))
            z_region = symbols.z[:, *region.cells(STRIDE)]
            coded = self._tensor(self.prior.table_index(z_region, header.level) >= SKIPPED_SCALES)

            def code(mean: Tensor, step: Tensor) -> Tensor:
                return (y_region / step - mean).round_().clamp_(-32768, 32767).mul_(coded)

            with _inference():
                latents = self.network.predict(self._tensor(z_region), gains, code)
            core = box.relative_to(region).cells(Y_STRIDE)
            symbols.y[:, *box.cells(Y_STRIDE)] = _array(latents.symbols)[:, *core]

        self._map(quantize, self._work_areas(strip))

    def _encode_tile(self, symbols: Symbols, box: Box, header: Header) -> bytes:
        z_tile = symbols.z[:, *box.cells(STRIDE)]
        y_index = self.prior.table_index(z_tile, header.level)
        coded = y_index >= SKIPPED_SCALES
        flat = np.concatenate((z_tile.ravel().astype(np.int16), symbols.y[:, *box.cells(Y_STRIDE)][coded]))
        indexes = np.concatenate(
            (self.prior.channel_index(z_tile[0].size, header.level), self._y_tables(y_index[coded]))
        )
        if self.entropy_coder == "compressai":
            from aecodec import reference

            return reference.encode_symbols(flat, indexes, self.tables)
        return entropy.encode_symbols(flat, indexes, self.tables)

    def _parse(self, container: Container, area: Box) -> Symbols:
        """The coded integers of the tiles around an area, from integers alone."""
        header = container.header
        if header.model_id != self.weights.model_id:
            raise weights.missing(header.model_id, self.weights)
        symbols = self._empty_symbols(header.tiles_around(area))
        streams = dict(zip(header.tiles(), container.tiles, strict=True))

        def parse(box: Box) -> None:
            reader = entropy.SymbolReader(streams[box], self.tables)
            place = box.relative_to(symbols.window)
            z_tile = symbols.z[:, *place.cells(STRIDE)]
            z_parsed = reader.read(self.prior.channel_index(z_tile[0].size, header.level))
            if z_parsed.min() < -Z_LIMIT or z_parsed.max() > Z_LIMIT:
                raise FormatError(f"z symbol is outside -{Z_LIMIT}..{Z_LIMIT}")
            z_tile[:] = z_parsed.reshape(z_tile.shape)
            y_index = self.prior.table_index(z_tile, header.level)
            coded = y_index >= SKIPPED_SCALES
            y_tile = np.zeros(y_index.shape, np.int16)
            y_tile[coded] = reader.read(self._y_tables(y_index[coded]))
            reader.finish()
            symbols.y[:, *place.cells(Y_STRIDE)] = y_tile

        self._map(parse, [box for box in streams if box.intersection(area) is not None])
        return symbols

    def _synthesize(self, symbols: Symbols, header: Header, area: Box, factor: int = 1) -> Pixels:
        """Pixels uint8 [h, w, 3] of an area of the picture, each the mean of factor x factor."""
        frame = area.reduced(factor)
        pixels = np.empty((*frame.shape, 3), np.uint8)
        gains = self._anchor_weights(header.level)

        def synthesize(part: Box) -> None:
            core = part.aligned(Y_STRIDE)
            body = core.grown(_BODY_HALO, header.padded)
            region = core.aligned(STRIDE).grown(SYNTHESIS_HALO, header.padded)
            place = region.relative_to(symbols.window)
            seen = body.relative_to(region).cells(Y_STRIDE)
            shown = core.relative_to(body).cells(Y_STRIDE)
            y_symbols = self._tensor(symbols.y[:, *place.cells(Y_STRIDE)])
            with _inference():
                z_hat = self._tensor(symbols.z[:, *place.cells(STRIDE)])
                y_hat = self.network.dequantize(y_symbols, z_hat, gains)[:, :, *seen]
                features = [f[:, :, *shown] for f in self.network.g_s.features(y_hat, gains)]
                bands = zip(*(f.split(_BAND, dim=2) for f in features), strict=True)
                for box, (latent, body) in zip(
                    core.split(core.right - core.left, _BAND * Y_STRIDE), bands, strict=True
                ):
                    levels = (
                        render_reduced(self.network.g_s, latent, body, factor).mul_(255).round_().clamp_(0, 255).byte()
                    )
                    band = box.reduced(factor)
                    visible = band.grown(0, frame)
                    values = levels[0][:, *visible.relative_to(band).cells(1)].permute(1, 2, 0).cpu().numpy()
                    pixels[visible.relative_to(frame).cells(1)] = values

        self._map(synthesize, [part.grown(0, area) for part in self._work_areas(area.aligned(STRIDE))])
        return pixels

    def _map(self, work: Callable[[Box], T], boxes: list[Box]) -> list[T]:
        """work(box) for every box, one thread for each where there are several of both; on a GPU one by one."""
        before = torch.get_num_threads()
        threads = self.threads or before
        parallel = min(threads, len(boxes)) > 1 and self.device.type == "cpu"
        try:
            if not parallel:
                torch.set_num_threads(threads)
                return [work(box) for box in boxes]
            return list(self._workers(threads).map(work, boxes))
        finally:
            torch.set_num_threads(before)

    def _workers(self, threads: int) -> ThreadPoolExecutor:
        """The threads of this process. They are kept, since new ones take memory anew; a forked process has its own."""
        pid, pool = self._pool
        if pool is None or pid != os.getpid():
            pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
            self._pool = os.getpid(), pool
        return pool

    def _work_areas(self, area: Box) -> list[Box]:
        """Parts of an area that the networks see one by one: independent of the tiles that the file is coded in."""
        return area.split(self.work_tile * STRIDE, self.work_tile * STRIDE)

    def _empty_symbols(self, window: Box) -> Symbols:
        z = np.empty((self.prior.N, *window.reduced(STRIDE).shape), np.int8)
        return Symbols(z, np.empty((self.prior.M, *window.reduced(Y_STRIDE).shape), np.int16), window)

    def _y_tables(self, y_index: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Tables of y stand behind the sets of z."""
        return y_index.astype(np.uint16) + np.uint16(ANCHORS * self.prior.N)

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        """[C, H, W] as [1, C, H, W] in the type, on the device and in the memory order that suits the network."""
        like = next(self.network.parameters())
        tensor = torch.from_numpy(np.array(array))[None].to(like.device, like.dtype)  # a copy in the order it has
        return tensor.contiguous(memory_format=torch.channels_last)

    def _anchor_weights(self, level: int) -> Tensor:
        like = next(self.network.parameters())
        return anchor_weights(torch.tensor([anchor_position(level)], dtype=like.dtype, device=like.device))


def _sections(picture: Picture, header: Header) -> dict[SectionKind, bytes]:
    """What the file holds besides tiles."""
    sections = picture.metadata.sections
    if picture.alpha is not None:
        sections[SectionKind.ALPHA] = encode_alpha(picture.alpha, header)
    return sections


def _gather(y: dict[Box, NDArray[np.float32]], region: Box) -> NDArray[np.float32]:
    """y of a region, from the strips that it lies in."""
    shared = ((strip, strip.intersection(region)) for strip in y)
    parts = [y[strip][:, *part.relative_to(strip).cells(Y_STRIDE)] for strip, part in shared if part is not None]
    return np.concatenate(parts, axis=1)


def _area(region: tuple[int, int, int, int] | None, header: Header) -> Box:
    """A region of the picture as a box, the whole without one. Raises InputError where it is not inside."""
    if region is None:
        return header.bounds
    x, y, width, height = region
    area = Box(x, y, x + width, y + height)
    if min(width, height) < 1 or area != area.grown(0, header.bounds):
        raise InputError(f"region {x},{y},{width},{height} is not inside the picture of {header.width}x{header.height}")
    return area


def _factor(scale: float) -> int:
    if scale not in _SCALES:
        raise InputError(f"scale must be 1, 1/2, 1/4 or 1/8, got {scale:g}")
    return _SCALES[scale]


def _middle(header: Header) -> Box | None:
    """A part that costs little beside the whole picture, and shows how rate and quality grow; None if there is none."""
    width, height = (min(max(side // 3 // STRIDE * STRIDE, 192), 512) for side in (header.width, header.height))
    left, top = (header.width - width) // 2, (header.height - height) // 2
    if min(left, top) < 0 or width * height * 4 > header.pixels:
        return None
    return Box(left, top, left + width, top + height)


@contextmanager
def _inference() -> Iterator[None]:
    """No gradients, and full float32 on GPUs that would round operands of convolutions to TF32."""
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def _array(tensor: Tensor) -> NDArray[np.generic]:
    array: NDArray[np.generic] = tensor[0].cpu().numpy()
    return array


def pick_device(name: str) -> torch.device:
    """The device of a name: auto (CUDA where there is one), cpu or cuda. Raises InputError if it is not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device must be auto, cpu or cuda, got {name}")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device is available")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


@cache
def default_codec() -> Codec:
    """The codec behind aecodec.encode: the default model, loaded once per process."""
    return Codec.load()


@cache
def codec_for(model_id: int) -> Codec:
    """The codec behind aecodec.decode: the shipped model that a file needs, loaded once per process."""
    if model_id == default_codec().weights.model_id:
        return default_codec()
    return Codec(weights.load_for(model_id), pick_device("auto"))
