"""Pictures that nobody took: drawn from the entropy model, and on the way between two codes.

An entropy coder's tables are a distribution, so symbols can be drawn from them as well as coded by them: that is what a
decoder makes of a file of random bits. The model knows how y spreads around each position, hardly what pictures are of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from mmap import mmap
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from aecodec import weights
from aecodec.arguments import as_integer
from aecodec.codec import Codec, codec_for
from aecodec.coding.prior import SKIPPED_SCALES
from aecodec.coding.symbols import Symbols
from aecodec.coding.tables import PRECISION, TableSet
from aecodec.encoder.effort import PLAIN
from aecodec.errors import InputError
from aecodec.format.container import (
    DEFAULT_QUALITY,
    MAX_PIXELS,
    NO_MODEL,
    Y_STRIDE,
    Box,
    Header,
    Tile,
    pack,
    quality_level,
    read_header,
    unpack,
)
from aecodec.image import Picture, check_size, flatten, from_picture, to_picture, upright

_MOST = 1000
_FILES = (bytes, bytearray, memoryview, mmap)
_NAMES = ("blended code", "cross-fade of pixels")  # of what is in a Frame
_GAP, _LINE = 4, 14  # pixels between pictures, and of a line of text
# A .aec file, or a picture as Codec.encode takes it.
Coded: TypeAlias = "bytes | bytearray | memoryview | mmap | Image.Image | NDArray[np.uint8] | Picture"


class Frame(NamedTuple):
    """One step from a picture to another."""

    blended: Image.Image  # what the code between theirs decodes to
    faded: Image.Image  # pixels between theirs: the peer


def sample_file(
    width: int,
    height: int,
    *,
    quality: float = DEFAULT_QUALITY,
    seed: int = 0,
    model: str = weights.DEFAULT_MODEL,
    max_pixels: int = MAX_PIXELS,
) -> bytes:
    """A .aec file whose symbols are drawn from the tables of a model: z from its prior, y from what z says of it.

    The same arguments give the same bytes. quality is 1..100, seed 0 or more, model the name of a shipped one or a file
    of weights. Raises InputError for others, and for more than max_pixels or 65,535 pixels per side.
    """
    codec = Codec.load(model, "cpu")
    width, height, seed = (
        as_integer(name, value) for name, value in (("width", width), ("height", height), ("seed", seed))
    )
    check_size(width, height, max_pixels)
    if seed < 0:
        raise InputError(f"seed must be 0 or more, got {seed}")
    header = Header(width, height, quality_level(quality), codec.weights.model_id)
    rng = np.random.default_rng(seed)
    return pack(header, {}, [Tile(_draw_tile(codec, box, header.level, rng)) for box in header.tiles()])


def sample(
    width: int,
    height: int,
    *,
    quality: float = DEFAULT_QUALITY,
    seed: int = 0,
    model: str = weights.DEFAULT_MODEL,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """The picture of sample_file: textures and abstract colors. Arguments and errors as there."""
    data = sample_file(width, height, quality=quality, seed=seed, model=model, max_pixels=max_pixels)
    return Codec.load(model, "cpu").decode(data, max_pixels=max_pixels)


def _draw_tile(codec: Codec, box: Box, level: int, rng: np.random.Generator) -> bytes:
    """The stream of a tile of random symbols."""
    prior, tables = codec.weights.prior, codec.weights.tables
    local = box.relative_to(box)
    symbols = Symbols.zeros(prior, local)
    for rows, columns, indexes in prior.z_steps(symbols.z, level):
        symbols.z[:, rows, columns] = draw(tables, indexes, rng).reshape(prior.N, -1)
    y_index = prior.table_index(symbols.z, level)
    coded = y_index >= SKIPPED_SCALES
    symbols.y[coded] = draw(tables, y_index[coded].astype(np.uint16) + np.uint16(prior.z_tables), rng)
    return codec.tile_coder.encode(symbols, local, level)


def draw(tables: TableSet, indexes: NDArray[np.uint16], rng: np.random.Generator) -> NDArray[np.int16]:
    """Symbols as often as tables say, symbol i of table indexes[i]; never those that only the escape can code."""
    starts = np.cumsum(tables.lengths) - tables.lengths
    floors = np.repeat(np.arange(len(starts), dtype=np.int64) << (PRECISION + 1), tables.lengths)
    escapes = tables.cumulative[starts + tables.lengths - 2]  # where the last entry begins
    values = rng.integers(0, escapes[indexes]) + (indexes.astype(np.int64) << (PRECISION + 1))
    entries = np.searchsorted(floors + tables.cumulative, values, side="right") - 1 - starts[indexes]
    symbols: NDArray[np.int16] = (entries + tables.offsets[indexes]).astype(np.int16)
    return symbols


@dataclass(frozen=True)
class _Code:
    """What a file codes."""

    header: Header
    symbols: Symbols
    y_hat: NDArray[np.float32]  # [H/16, W/16, M]
    shown: NDArray[np.float32]  # [H, W, 3]: its pixels

    @classmethod
    def of(cls, codec: Codec, source: Coded, size: tuple[int, int] | None, quality: float, max_pixels: int) -> _Code:
        """That of a file if a viewer shows its networks' picture as it is, else of that picture, of a size if given."""
        if isinstance(source, _FILES):
            decoded = codec.decode(source, max_pixels=max_pixels)
            image = flatten(upright(decoded))
            header, _, tiles = unpack(source, max_pixels=max_pixels)
            if image is decoded and size in (None, image.size) and not any(tile.drawn for tile in tiles):
                symbols = Symbols(*codec.decode_symbols(source, max_pixels=max_pixels), header.padded)
                return cls._shown(codec, header, symbols)
        else:
            image = flatten(from_picture(to_picture(source, strip=True, max_pixels=max_pixels)))
        if size not in (None, image.size):
            image = image.resize(size, Image.Resampling.LANCZOS)
        picture = to_picture(image, strip=True, max_pixels=max_pixels)
        header = Header(*image.size, quality_level(quality), codec.weights.model_id, picture.gray)
        return cls._shown(codec, header, codec.encoder.analyzer.analyze(picture.pixels, header))

    @classmethod
    def _shown(cls, codec: Codec, header: Header, symbols: Symbols) -> _Code:
        padded = header.padded
        y_hat = np.empty((codec.weights.prior.M, *padded.reduced(Y_STRIDE).shape), np.int32)
        codec.normative.native.y_hat(
            symbols.z, symbols.y, padded, padded.shape[::-1], header.level, padded, codec.workers.count, y_hat
        )
        image = _show(codec, symbols, header)
        return cls(header, symbols, y_hat.transpose(1, 2, 0).astype(np.float32) / 4096, np.asarray(image, np.float32))

    @property
    def size(self) -> tuple[int, int]:
        return self.header.width, self.header.height


def interpolate(
    a: Coded,
    b: Coded,
    *,
    frames: int = 16,
    quality: float = DEFAULT_QUALITY,
    model: str | None = None,
    resize: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[Frame]:
    """Frames from picture a to b, 2..1000 of them: y_hat of their codes blended linearly, beside their pixels.

    a and b are .aec files, or pictures as Codec.encode takes them, which are first coded with a quality (1..100) and
    the model of the other one (if that is none either, with model, by default "m"). Frames between are coded as an
    encoder would code the blended y; the first and the last are the pictures as they decode. Transparency is put on
    white; files with drawn pixels are coded again by the networks alone. Raises InputError for pictures of different
    sizes, unless b may be resized, and of different models, and as Codec.encode and decode.
    """
    frames = as_integer("frames", frames)
    if not 2 <= frames <= _MOST:
        raise InputError(f"frames must be 2..{_MOST}, got {frames}")
    headers = [read_header(one, max_pixels=max_pixels) for one in (a, b) if isinstance(one, _FILES)]
    ids = {header.model_id for header in headers} - {NO_MODEL}
    if len(ids) > 1:
        raise InputError(f"codes of different models do not mix: {' and '.join(f'{one:08x}' for one in sorted(ids))}")
    codec = codec_for(ids.pop()) if ids and model is None else Codec.load(model, "cpu")
    for header in headers:
        codec.check_weights(header)

    start = _Code.of(codec, a, None, quality, max_pixels)
    end = _Code.of(codec, b, start.size if resize else None, quality, max_pixels)
    if start.size != end.size:
        shown = " and ".join(f"{width}x{height}" for width, height in (start.size, end.size))
        raise InputError(f"pictures must have the same size, got {shown}: resize one of them (--resize)")
    return (_frame(codec, start, end, at / (frames - 1)) for at in range(frames))


def _frame(codec: Codec, a: _Code, b: _Code, part: float) -> Frame:
    """What is a part of the way, 0..1, from a to b."""
    faded = Image.fromarray(np.rint(a.shown + np.float32(part) * (b.shown - a.shown)).astype(np.uint8))
    if part in (0, 1):
        return Frame(faded, faded)
    transform, padded = codec.transform, a.header.padded
    level = round(a.header.level + part * (b.header.level - a.header.level))
    header = replace(a.header, level=level, gray=a.header.gray and b.header.gray)
    # What y of one level is at another, since gains follow the quality:
    ends = [one.y_hat * transform.gain_ratio(level, one.header.level) for one in (a, b)]
    y = {padded: ends[0] + np.float32(part) * (ends[1] - ends[0])}
    symbols = Symbols.empty(codec.weights.prior, padded, indexed=True)
    symbols.z[:] = transform.hyper_analyze(y, padded, header)
    symbols.known_index[:] = codec.weights.prior.table_index(symbols.z, level)
    symbols.y[:] = transform.quantize(y, padded, header, symbols, PLAIN)
    return Frame(_show(codec, symbols, header), faded)


def _show(codec: Codec, symbols: Symbols, header: Header) -> Image.Image:
    pixels = codec.normative.synthesize(symbols, header, header.bounds)
    return from_picture(Picture(pixels, header.gray)).convert("RGB")


def strip(frames: Iterable[Frame]) -> Image.Image:
    """All frames in one picture: two rows, or two columns of pictures that are wider than high, each with its name."""
    shown = list(frames)
    wide = shown[0].blended.width > shown[0].blended.height
    lines = [[getattr(frame, kind) for frame in shown] for kind in Frame._fields]
    return _labeled([_joined(line, down=wide) for line in lines], down=not wide)


def side_by_side(frame: Frame) -> Image.Image:
    """Both pictures of a frame, each with its name."""
    return _labeled(list(frame), down=False)


def _joined(images: Sequence[Image.Image], *, down: bool) -> Image.Image:
    """Images one below the other, or one beside the other."""
    along = [image.height if down else image.width for image in images]
    across = max(image.width if down else image.height for image in images)
    ends = [sum(along[:at]) + _GAP * at for at in range(len(images) + 1)]
    length = ends[-1] - _GAP
    sheet = Image.new("RGB", (across, length) if down else (length, across), "white")
    for image, start in zip(images, ends, strict=False):
        sheet.paste(image, (0, start) if down else (start, 0))
    return sheet


def _labeled(images: Sequence[Image.Image], *, down: bool) -> Image.Image:
    """Two images joined, above each what it is."""
    parts = []
    for image, name in zip(images, _NAMES, strict=True):
        head = Image.new("RGB", (image.width, _LINE), "white")
        ImageDraw.Draw(head).text((2, 1), name, fill="black")
        parts.append(_joined([head, image], down=True))
    return _joined(parts, down=down)
