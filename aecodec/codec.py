"""Codec: pictures to .aec bytes and back. The pipeline, in the order of the format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aecodec import weights
from aecodec.arguments import as_integer, as_number
from aecodec.coding.prior import SCALES
from aecodec.coding.symbols import Symbols, TileCoder
from aecodec.decoder.exact import ExactReceiver, needed_around
from aecodec.device import needing, pick_device
from aecodec.encoder.analysis import Analyzer, Progress, Transform
from aecodec.encoder.drawn import find
from aecodec.encoder.effort import DEFAULT_EFFORT, pick_effort
from aecodec.encoder.native import NativeTransform
from aecodec.encoder.picture import Coded, PictureEncoder
from aecodec.encoder.target import TargetEncoder, pick_target
from aecodec.errors import FormatError, InputError
from aecodec.forked import ForkLock, computed_once
from aecodec.format.alpha import decode_alpha, encode_alpha
from aecodec.format.container import (
    DEFAULT_QUALITY,
    MAX_PIXELS,
    MAX_STEP,
    MAX_TILE,
    NO_MODEL,
    STRIDE,
    Box,
    Buffer,
    Container,
    Header,
    SectionKind,
    Tile,
    quality_level,
    read_header,
    unpack,
)
from aecodec.format.digest import DIGEST_SIZE, check_digest, make_digest
from aecodec.format.drawn import paint
from aecodec.format.rescue import Cut, Loss, Remains, fill_lost, partial_alpha, salvage
from aecodec.image import Metadata, Picture, Pixels, check_size, from_picture, to_picture
from aecodec.networks.config import ModelConfig, complexity
from aecodec.workers import Workers

if TYPE_CHECKING:  # loaded where it is needed, since most that codec does needs none of it
    from torch import Tensor

    from aecodec.decoder.floats import FloatReceiver
    from aecodec.encoder.floats import FloatTransform

MAX_BOUND = (MAX_STEP - 1) // 2  # of near_lossless
_SCALES = {1: 1, 1 / 2: 2, 1 / 4: 4, 1 / 8: 8}  # scale: pixels per pixel in each direction


class Verified(NamedTuple):
    """What Codec.verify found in a sound file."""

    image: Image.Image
    digest: bytes | None  # that the file has of this picture, if any


class Partial(NamedTuple):
    """What Codec.decode_partial made of a damaged file."""

    image: Image.Image
    losses: list[Loss]  # empty for a sound file


class Codec:
    """One model on one device. Reusable and safe to share between threads: nothing changes after construction."""

    def __init__(
        self,
        model: weights.Weights,
        device: str = "cpu",
        *,
        entropy_coder: str = "native",
        threads: int | None = None,
        work_tile: int = 8,
        backend: str = "auto",
    ) -> None:
        """device: cpu or cuda; backend as for load. work_tile: height of what is worked on at once / 64, 1..64."""
        work_tile = as_integer("work_tile", work_tile)
        if not 1 <= work_tile <= MAX_TILE:
            raise InputError(f"work_tile must be 1..{MAX_TILE}, got {work_tile}")
        if len(model.tables.lengths) != model.prior.z_tables + SCALES:
            raise InputError(f"weights hold {len(model.tables.lengths)} tables, not {model.prior.z_tables + SCALES}")
        config = ModelConfig.from_dict(model.config)
        if model.prior.weight.shape != (16 * config.M, config.N):
            shape = 16 * config.M, config.N
            raise InputError(f"prior of {model.prior.weight.shape} does not fit the configuration, {shape}")
        self.weights = model
        self.device = device
        self.work_tile = work_tile
        self.workers = Workers(threads)
        self.tile_coder = TileCoder(model.prior, model.tables, entropy_coder)
        self.backend = pick_backend(backend, device)
        self.normative = ExactReceiver(model, self.workers)  # what is verified and aimed at, whatever decodes here
        self.transform: Transform
        self.receiver: ExactReceiver | FloatReceiver
        if self.backend == "exact":
            self.transform = NativeTransform(model, self.normative, self.workers)
            self.receiver = self.normative
        else:
            with needing("torch", "torch"):
                from aecodec.decoder.floats import FloatReceiver
            self.transform, self.receiver = self.floats, FloatReceiver(self.floats.runtime)
        analyzer = Analyzer(self.transform, model.prior, work_tile * STRIDE)
        self.encoder = PictureEncoder(analyzer, self.normative, self.tile_coder, config, self.workers)

    @computed_once
    def floats(self) -> FloatTransform:
        """The networks of the encoder by torch. Raises InputError without it."""
        with needing("torch", "torch"):
            from aecodec.encoder.floats import FloatTransform
            from aecodec.networks.runtime import Runtime
        runtime = Runtime.load(self.weights, self.device, self.workers.threads, self.work_tile)
        return FloatTransform(runtime, self.weights.prior, self.weights.tables)

    def __reduce__(self) -> tuple[Callable[..., Codec], tuple[weights.Weights, str]]:
        """It travels as its weights and is built anew: threads stay, and torch may be in any mode there."""
        coder, threads = self.tile_coder.entropy_coder, self.workers.threads
        make = partial(type(self), entropy_coder=coder, threads=threads, work_tile=self.work_tile, backend=self.backend)
        return make, (self.weights, self.device)

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        device: str = "auto",
        *,
        entropy_coder: str = "native",
        threads: int | None = None,
        backend: str = "auto",
    ) -> Codec:
        """A codec with shipped weights (by name; default "m") or those of a .safetensors file.

        device is "auto" (CUDA where there is one), "cpu" or "cuda". threads is how many work at once on a CPU, 1..1024,
        by default one for each CPU, or as many as torch uses where it is loaded. entropy_coder="compressai" writes the
        same bytes through CompressAI's coder, for reference. backend="exact" decodes by the integers that define the
        pixels of a file, "float" by the networks that these were made from (docs/format.md, section 6.5); "auto" is
        exact on a CPU and float on a GPU.
        Raises InputError for weights, a device, a backend or a number that cannot be used.
        """
        return cls(
            weights.load(model), pick_device(device), entropy_coder=entropy_coder, threads=threads, backend=backend
        )

    @classmethod
    def load_for(
        cls, data: Buffer, device: str = "auto", *, threads: int | None = None, max_pixels: int = MAX_PIXELS
    ) -> Codec:
        """A codec with the shipped weights that a file needs. Raises as load and read_header, or UnsupportedError."""
        model_id = read_header(data, max_pixels=max_pixels).model_id
        return cls(weights.load_for(model_id), pick_device(device), threads=threads)

    def encode(
        self,
        image: Image.Image | NDArray[np.uint8] | Picture,
        *,
        quality: float | None = None,
        bpp: float | None = None,
        max_bytes: int | None = None,
        psnr: float | None = None,
        ms_ssim: float | None = None,
        lossless: bool = False,
        near_lossless: int | None = None,
        tile: int = 16,
        effort: int = DEFAULT_EFFORT,
        strip: bool = False,
        verify: bool = False,
        max_pixels: int = MAX_PIXELS,
        progress: Progress | None = None,
    ) -> bytes:
        """The .aec file of a PIL image, a uint8 array [H, W] or [H, W, 1..4], or what to_picture made of one.

        At most one of these says how good: quality 1..100, continuous, higher is better, default 55; bpp (bits per
        pixel of the whole file) or max_bytes, which are never exceeded, and met within 2 % where qualities allow;
        psnr or ms_ssim, both in dB (see metrics.ms_ssim_db; ms_ssim below 1 is the index itself), which are met and
        exceeded by at most 0.1 dB (both are measured on what a viewer sees: gray as one channel, transparency on
        white); lossless, which keeps every value, also of colors that alpha 0 hides; near_lossless, by how much a
        value may differ, 0..8.
        What even the best quality cannot spend, or the worst not save, is no error but a PictureWarning. A search takes
        as long as a few plain encodes.

        effort 0..9 is how hard to look for a smaller file of the same picture: up to 1 it costs no time, from 2 on
        gradients go through the renderer, once at 2, twice at 3 and 40 times at 9. progress gets what was done of that
        since its last call, as a share of one encode; a target takes several.

        tile is the side of independently coded tiles in units of 64 pixels, 1..64. strip drops ICC, EXIF, XMP and dpi,
        and turns the pixels as the EXIF orientation says. verify adds a digest of what the file decodes to, 25 bytes,
        and decodes the file as a reader would before it is returned: two decodes more. A PictureWarning tells what
        is not kept. Raises InputError for a picture or option that cannot be used, a target out of reach (it says
        what is possible), and more than max_pixels or 65,535 pixels per side; with verify, what verify raises.
        """
        bound = pick_bound(near_lossless, lossless=lossless)
        target = pick_target(quality, bpp, max_bytes, psnr, ms_ssim, exact=bound is not None)
        level = quality_level(DEFAULT_QUALITY if quality is None else quality)
        work = pick_effort(effort)
        if progress is not None and not callable(progress):
            raise InputError(f"progress must be callable, got {type(progress).__name__}")
        picture = to_picture(image, strip=strip, max_pixels=max_pixels)
        H, W, _ = picture.pixels.shape
        header = self._header(W, H, level, tile, gray=picture.gray, alpha=picture.alpha is not None)
        sections = _sections(picture, header, digest=verify)
        if bound is not None:
            coded = self.encoder.code_exactly(picture, header, bound)
        elif target is None:
            coded = self.encoder.code(picture, header, work, progress, candidates=find(picture))
        else:
            coded = TargetEncoder(target, self.encoder, picture, header, sections, work, progress).run()
        if verify:
            return self._pack_verified(coded, sections, picture.alpha)
        return self.encoder.pack(coded, sections)

    def decode(
        self,
        data: Buffer,
        *,
        region: tuple[int, int, int, int] | None = None,
        scale: float = 1,
        max_pixels: int = MAX_PIXELS,
        header: Header | None = None,
    ) -> Image.Image:
        """The picture of a .aec file: mode RGB, RGBA, L or LA; ICC, EXIF, XMP and dpi are in its info.

        region is (x, y, width, height) in pixels of the stored picture: only the tiles that it needs are read, checked
        and decoded. scale is 1, 1/2, 1/4 or 1/8: each pixel is the mean of 2x2, 4x4 or (nearly) 8x8; sides are
        rounded up. header is what read_header gave for this file, if that was asked before. Raises InputError for a
        region outside the picture or another scale, FormatError for damaged data, UnsupportedError if the file needs
        other weights or a newer aecodec.
        """
        header = header or read_header(data, max_pixels=max_pixels)
        area, factor = pick_area(region, header), _factor(scale)
        return self._show(self.receiver, unpack(data, header=header, area=needed_around(area, header)), area, factor)

    def decode_partial(
        self,
        data: Buffer,
        *,
        region: tuple[int, int, int, int] | None = None,
        scale: float = 1,
        max_pixels: int = MAX_PIXELS,
    ) -> Partial:
        """The undamaged tiles of a truncated or damaged file, gray (128) for the others, and what was lost.

        Of a tile in which the file ends, what its beginning tells is shown, a coarse picture if no more; its loss is
        in_part, since no checksum says that this is right. Up to 128 pixels from a lost tile the picture may differ a
        little from that of the sound file. Lost alpha makes it opaque. region, scale and max_pixels are those of
        decode. Raises FormatError for a damaged header or where no tile is left, and otherwise as decode.
        """
        remains = salvage(data, max_pixels=max_pixels)
        header = remains.header
        area, factor = pick_area(region, header), _factor(scale)
        symbols, losses = self._parse_remains(remains)
        pixels = self._render(self.receiver, symbols, header, area, factor)
        losses += self._paint_remains(pixels, remains, area, factor)
        _check_left(losses, remains)
        losses = [loss for loss in losses if loss.box is None or loss.box.intersection(area) is not None]
        fill_lost(pixels, losses, area, factor)
        alpha, alpha_losses = partial_alpha(remains, area, factor)
        picture = Picture(pixels, header.gray, Metadata.from_sections(remains.sections), alpha)
        return Partial(from_picture(picture), [*losses, *alpha_losses])

    def verify(self, data: Buffer | Container, *, max_pixels: int = MAX_PIXELS) -> Verified:
        """Decode a whole file and compare the picture with the digest, where there is one (encode with verify).

        It is decoded by the integers that define its pixels, whatever the backend: the digest is of every pixel. data
        may be what unpack has made of it. Raises what decode raises, and DigestError for a picture that is not what
        the encoder saw.
        """
        container = data if isinstance(data, Container) else unpack(data, max_pixels=max_pixels)
        image = self._show(self.normative, container, container.header.bounds, 1)
        digest = container.sections.get(SectionKind.DIGEST)
        if digest is not None:
            check_digest(digest, image)
        return Verified(image, digest)

    def check_weights(self, header: Header) -> None:
        """Raises UnsupportedError for a file that needs other weights than this codec has."""
        if not isinstance(header, Header):
            raise InputError(f"header must be what read_header gives, got {type(header).__name__}")
        if header.model_id not in (NO_MODEL, self.weights.model_id):
            raise weights.missing(header.model_id, self.weights.model_id)

    def encode_tensor(
        self,
        x: Tensor,
        *,
        quality: float = DEFAULT_QUALITY,
        effort: int = DEFAULT_EFFORT,
        tile: int = 16,
        max_pixels: int = MAX_PIXELS,
    ) -> list[bytes]:
        """The .aec file of each picture of a batch uint8 [B, 3, H, W], on any device.

        The networks see the whole batch at once, on the device of the codec: meant for a GPU and for small pictures.
        quality, effort, tile and max_pixels are those of encode. Raises InputError for another type, shape or size.
        """
        with needing("torch", "torch"):
            import torch
        if not isinstance(x, torch.Tensor):
            raise InputError(f"batch must be a tensor uint8 [B, 3, H, W], got {type(x).__name__}")
        if x.dtype != torch.uint8 or x.ndim != 4 or x.shape[1] != 3:
            raise InputError(f"batch must be uint8 [B, 3, H, W], got {x.dtype} {list(x.shape)}")
        if x.is_meta or x.layout != torch.strided:
            raise InputError(f"batch must hold all its values, got a tensor of {x.layout} on {x.device}")
        B, _, H, W = x.shape
        check_size(W, H, max_pixels)
        header = self._header(W, H, quality_level(quality), tile)
        if not B:
            return []
        work = pick_effort(effort)
        if self.backend == "exact":
            pictures = x.permute(0, 2, 3, 1).cpu().numpy()
            batch = [self.encoder.analyzer.analyze(picture, header, work) for picture in pictures]
        else:
            batch = self.floats.analyze_batch(x, header, work)
        return [self.encoder.pack(Coded(header, symbols), {}) for symbols in batch]

    def decode_tensor(self, files: Sequence[Buffer], *, max_pixels: int = MAX_PIXELS) -> Tensor:
        """The pictures of files of one size as a batch uint8 [B, 3, H, W] on the device of the codec.

        Gray has three equal channels; transparency and metadata are left out. Qualities may differ. max_pixels is for
        each. Raises InputError for no file or different sizes, and as decode.
        """
        if not isinstance(files, Iterable):
            raise InputError(f"files must be a sequence of them, got {type(files).__name__}")
        containers = [unpack(data, max_pixels=max_pixels) for data in files]
        headers = [container.header for container in containers]
        sizes = {(header.width, header.height) for header in headers}
        if len(sizes) != 1:
            raise InputError(f"a batch needs files of one size, got {len(sizes)} sizes in {len(headers)} files")
        with needing("torch", "torch"):
            import torch
        if isinstance(self.receiver, ExactReceiver):
            pictures = [
                from_picture(Picture(self._pixels(self.receiver, one, one.header.bounds, 1), one.header.gray))
                for one in containers
            ]
            batch = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
            return torch.from_numpy(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))
        symbols = [self._parse(container, container.header.padded) for container in containers]
        x_hat = self.receiver.synthesize_batch(symbols, headers)
        for picture, container in zip(x_hat, containers, strict=True):
            if any(tile.drawn for tile in container.tiles):
                pixels = np.ascontiguousarray(picture.permute(1, 2, 0).cpu().numpy())
                self._paint(pixels, container, container.header.bounds, 1)
                picture.copy_(torch.from_numpy(pixels).permute(2, 0, 1))
            if container.header.gray:
                picture[:] = (picture.sum(0) + 1) // 3
        return x_hat

    def complexity(self) -> dict[str, float]:
        """kMAC per pixel of each stage, and of the receiver: all stages that decoding runs."""
        return complexity({name: array.shape for name, array in self.weights.network.items()})

    def decode_symbols(
        self, data: Buffer, *, max_pixels: int = MAX_PIXELS
    ) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
        """The coded integers of a file: z_symbols [N, H/64, W/64] and y_symbols [M, H/16, W/16]. No network runs."""
        container = unpack(data, max_pixels=max_pixels)
        symbols = self._parse(container, container.header.padded)
        return symbols.z, symbols.y

    def _show(
        self, receiver: ExactReceiver | FloatReceiver, container: Container, area: Box, factor: int
    ) -> Image.Image:
        """An area of the picture in a file, each pixel the mean of factor x factor."""
        header, sections, _ = container
        pixels = self._pixels(receiver, container, area, factor)
        alpha = decode_alpha(sections[SectionKind.ALPHA], header, area, factor) if header.alpha else None
        return from_picture(Picture(pixels, header.gray, Metadata.from_sections(sections), alpha))

    def _pixels(self, receiver: ExactReceiver | FloatReceiver, container: Container, area: Box, factor: int) -> Pixels:
        """[h, w, 3] of an area."""
        header = container.header
        self.check_weights(header)
        pixels = self._render(receiver, self._parse(container, needed_around(area, header)), header, area, factor)
        self._paint(pixels, container, area, factor)
        return pixels

    @staticmethod
    def _render(
        receiver: ExactReceiver | FloatReceiver, symbols: Symbols, header: Header, area: Box, factor: int
    ) -> Pixels:
        """What the networks show [h, w, 3]: nothing where the file names none."""
        if header.model_id == NO_MODEL:
            return np.zeros((*area.reduced(factor).shape, 3), np.uint8)
        return receiver.synthesize(symbols, header, area, factor)

    def _paint(self, pixels: Pixels, container: Container, area: Box, factor: int) -> None:
        header = container.header
        self.workers.map(
            lambda one: paint(pixels, *one, header, area, factor),
            list(zip(container.tiles, header.seen_tiles(), strict=True)),
        )

    def _header(
        self, width: int, height: int, level: int, tile: int, *, gray: bool = False, alpha: bool = False
    ) -> Header:
        tile = as_integer("tile", tile)
        if not 1 <= tile <= MAX_TILE:
            raise InputError(f"tile must be 1..{MAX_TILE}, got {tile}")
        return Header(width, height, level, self.weights.model_id, gray, tile, alpha)

    def _pack_verified(
        self, coded: Coded, sections: dict[SectionKind, bytes], alpha: NDArray[np.uint8] | None
    ) -> bytes:
        """The file with the digest of what it becomes here, decoded from its bytes to see that it holds."""
        shown = Picture(self.encoder.show(coded), coded.header.gray, alpha=alpha)
        data = self.encoder.pack(coded, sections | {SectionKind.DIGEST: make_digest(from_picture(shown))})
        self.verify(data, max_pixels=coded.header.pixels)
        return data

    def _parse(self, container: Container, area: Box) -> Symbols:
        """The coded integers of the tiles around an area."""
        header = container.header
        self.check_weights(header)
        tiles = zip(header.tiles(), container.tiles, strict=True)
        needed = [(box, tile) for box, tile in tiles if box.intersection(area) is not None]
        coded = [(box, tile.stream) for box, tile in needed if not tile.is_drawn]
        make = Symbols.empty if len(coded) == len(needed) else Symbols.zeros
        symbols = make(self.weights.prior, header.tiles_around(area))
        self.workers.map(lambda one: self.tile_coder.parse(one[1], symbols, one[0], header.level), coded)
        return symbols

    def _parse_remains(self, remains: Remains) -> tuple[Symbols, list[Loss]]:
        """The coded integers of what is left, 0 where nothing is; and all that is lost."""
        header = remains.header
        self.check_weights(header)
        symbols = Symbols.zeros(self.weights.prior, header.padded)

        def parse(one: tuple[Box, Tile | None]) -> Loss | None:
            box, tile = one
            if tile is None or tile.is_drawn:
                return None  # is among the losses, or has no symbols
            part = Symbols.empty(self.weights.prior, box)
            try:
                self.tile_coder.parse(tile.stream, part, box, header.level)
            except FormatError as error:
                return Loss(str(error), box.grown(0, header.bounds))
            symbols.put(part)
            return None

        found = self.workers.map(parse, list(zip(header.tiles(), remains.tiles, strict=True)))
        losses = [*remains.losses, *(loss for loss in found if loss is not None)]
        if remains.cut is not None:
            box = header.tiles()[remains.cut.number]
            loss = self._parse_cut(remains.cut, symbols, box, header)
            losses = [loss if one.box == loss.box else one for one in losses]
        _check_left(losses, remains)
        return symbols, losses

    def _paint_remains(self, pixels: Pixels, remains: Remains, area: Box, factor: int) -> list[Loss]:
        """Paint what is drawn in sound tiles, and tell of those in which it is not."""
        header = remains.header
        losses = []
        for tile, box in zip(remains.tiles, header.seen_tiles(), strict=True):
            try:
                if tile is not None:
                    paint(pixels, tile, box, header, area, factor)
            except FormatError as error:
                losses.append(Loss(str(error), box))
        return losses

    def _parse_cut(self, cut: Cut, symbols: Symbols, box: Box, header: Header) -> Loss:
        """Put what is left of a tile in which the file ends."""
        part = Symbols.zeros(self.weights.prior, box)
        seen = box.grown(0, header.bounds)
        try:
            self.tile_coder.parse(cut.stream, part, box, header.level, cut=True)
        except FormatError:
            return Loss(f"{cut.reason}, too early for a coarse picture", seen)
        symbols.put(part)
        return Loss(f"{cut.reason}, which are shown unchecked", seen, in_part=True)


def _check_left(losses: list[Loss], remains: Remains) -> None:
    """Raises FormatError where all tiles are lost."""
    count = len(remains.tiles)
    if len({loss.box for loss in losses if loss.box is not None and not loss.in_part}) == count:
        raise FormatError(f"none of {count} tiles can be decoded: {losses[-1].reason}")


def pick_bound(near_lossless: int | None, *, lossless: bool) -> int | None:
    """The largest difference that is asked for, None where a quality is. Raises InputError."""
    if not isinstance(lossless, bool | np.bool_):
        raise InputError(f"lossless must be true or false, got {lossless!r:.60}")
    if near_lossless is None:
        return 0 if lossless else None
    bound = as_integer("near_lossless", near_lossless)
    if not 0 <= bound <= MAX_BOUND:
        raise InputError(f"near_lossless must be 0..{MAX_BOUND}, got {bound}")
    if lossless and bound:
        raise InputError(f"give one of lossless and near_lossless, not lossless and near_lossless of {bound}")
    return bound


def _sections(picture: Picture, header: Header, *, digest: bool) -> dict[SectionKind, bytes]:
    """What the file holds besides tiles; of a digest the place alone, so that sizes are right."""
    sections = picture.metadata.sections
    if picture.alpha is not None:
        sections[SectionKind.ALPHA] = encode_alpha(picture.alpha, header)
    if digest:
        sections[SectionKind.DIGEST] = bytes(DIGEST_SIZE)
    return sections


def pick_area(region: tuple[int, int, int, int] | None, header: Header) -> Box:
    """A region of the picture as a box, the whole without one. Raises InputError where it is not inside."""
    if region is None:
        return header.bounds
    try:
        x, y, width, height = (as_integer("region", side) for side in region)
    except (TypeError, ValueError):
        raise InputError(f"region must be four integers x, y, width, height, got {region!r:.60}") from None
    area = Box(x, y, x + width, y + height)
    if min(width, height) < 1 or area != area.grown(0, header.bounds):
        raise InputError(f"region {x},{y},{width},{height} is not inside the picture of {header.width}x{header.height}")
    return area


def _factor(scale: float) -> int:
    scale = as_number("scale", scale)
    if scale not in _SCALES:
        raise InputError(f"scale must be 1, 1/2, 1/4 or 1/8, got {scale:g}")
    return _SCALES[scale]


def pick_backend(name: str, device: str) -> str:
    """exact or float. Raises InputError for another name, and for exact on a GPU."""
    if name not in ("auto", "exact", "float"):
        raise InputError(f"backend must be auto, exact or float, got {name}")
    if name == "exact" and device != "cpu":
        raise InputError(f"the exact backend runs on a CPU, not on {device}")
    return name if name != "auto" else "exact" if device == "cpu" else "float"


def default_codec(device: str = "cpu") -> Codec:
    """The codec behind aecodec.encode: the default model, loaded once per process and device."""
    return codec_for(weights.SHIPPED[weights.DEFAULT_MODEL], device)


def codec_for(model_id: int, device: str = "cpu") -> Codec:
    """The codec behind aecodec.decode: the shipped model that a file needs, loaded once per process and device.

    On the CPU unless told otherwise, since a forked process has no other.
    """
    device = pick_device(device)
    with _loading:  # or many threads that begin together would each load one
        return _shared_codec(model_id, device)


_loading = ForkLock()


@cache
def _shared_codec(model_id: int, device: str) -> Codec:
    return Codec(weights.load_for(model_id), device)


def decode_shipped(
    data: Buffer, region: tuple[int, int, int, int] | None, scale: float, max_pixels: int, device: str
) -> Image.Image:
    """The picture of a file with the shipped weights that it needs: aecodec.decode."""
    header = read_header(data, max_pixels=max_pixels)
    return codec_for(header.model_id, device).decode(data, region=region, scale=scale, header=header)
