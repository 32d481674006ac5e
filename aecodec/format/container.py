"""The .aec file: header, sections of metadata and alpha, tile sections (normative text: docs/format.md). Bytes only.

Everything read here is hostile until it is checked: magic, version, checksum, ranges and lengths come before any
allocation that depends on them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from mmap import mmap
from typing import IO, TYPE_CHECKING, NamedTuple, TypeAlias

from aecodec.arguments import as_number
from aecodec.errors import FormatError, InputError, TruncatedError, UnsupportedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Data = bytes | mmap  # what a file is read from: memory, or the disk as far as it is looked at
Buffer: TypeAlias = "Data | bytearray | memoryview | NDArray[np.uint8]"  # what callers may have it in

MAGIC = b"\xaeaec"
FORMAT_VERSION = 2
MAX_SIDE = 65_535  # pixels; the fields are u16
MIN_LEVEL, MAX_LEVEL = 100, 10_000  # quality in hundredths
LOSSLESS_LEVEL = 0  # no quality: pixels are those of the source, to within the step of their tile
NO_MODEL = 0  # model_id of a file without streams
MAX_STEP = 17  # of drawn pixels
DEFAULT_QUALITY = 55.0  # 1..100
MAX_PIXELS = 1 << 28  # default cap for encoding and decoding alike, 268 MP
STRIDE = 64  # pixels per position of z; tiles are multiples of it
Y_STRIDE = 16  # pixels per position of y
MAX_TILE = 64  # side of a tile in STRIDE: what one tile can make a decoder allocate stays bounded

_OTHERS: dict[str, bytes | tuple[bytes, ...]] = {  # what people pass by mistake, and how it starts
    "PNG": b"\x89PNG",
    "JPEG": b"\xff\xd8\xff",
    "GIF": b"GIF8",
    "WebP": b"RIFF",
    "TIFF": (b"II*\0", b"MM\0*"),
    "AVIF or HEIC": (b"\0\0\0\x18ftyp", b"\0\0\0\x1cftyp", b"\0\0\0\x20ftyp"),
}
_HEADER = struct.Struct("<4sBBHHHIB")  # magic, version, flags, level, width, height, model_id, tile
_CRC = struct.Struct("<I")
_DRAWN = struct.Struct("<BI")  # step of drawn pixels, length of their data; behind these the stream
_SECTION = struct.Struct("<BI")  # kind, payload length; behind it the CRC-32 of these and of the payload
_GRAY = 0x01  # flag: decode to one channel
_ALPHA = 0x02  # flag: there is an alpha section
_CONSTANT_ALPHA = 0x04  # flag: alpha is one value, which stands in the header
_FLAGS = _GRAY | _ALPHA | _CONSTANT_ALPHA
ANCILLARY = 0x80  # bit of a section kind: a decoder that does not know it may skip it
HEADER_SIZE = _HEADER.size + _CRC.size  # and one more with constant alpha
SECTION_OVERHEAD = _SECTION.size + _CRC.size
_PART = 1 << 20  # bytes of a section that are read at once
MIN_TILE_SIZE = SECTION_OVERHEAD + 8  # a stream is at least the state of the coder


class SectionKind(IntEnum):
    TILE = 0x01
    ALPHA = 0x02
    DRAWN = 0x03  # a tile with drawn pixels
    ICC = 0x81
    EXIF = 0x82
    XMP = 0x83
    DENSITY = 0x84
    DIGEST = 0x85


TILES = SectionKind.TILE, SectionKind.DRAWN


class Box(NamedTuple):
    """Rectangle in pixels: left and top inside, right and bottom just outside."""

    left: int
    top: int
    right: int
    bottom: int

    def grown(self, halo: int, bounds: Box) -> Box:
        """This box with a halo, cut to bounds."""
        return Box(
            max(self.left - halo, bounds.left),
            max(self.top - halo, bounds.top),
            min(self.right + halo, bounds.right),
            min(self.bottom + halo, bounds.bottom),
        )

    def intersection(self, other: Box) -> Box | None:
        """What two boxes share, None where that is nothing."""
        shared = self.grown(0, other)
        return shared if shared.left < shared.right and shared.top < shared.bottom else None

    def aligned(self, stride: int) -> Box:
        """The smallest box of whole cells of stride x stride pixels that holds this one."""
        return Box(*(side * stride for side in self.reduced(stride)))

    def reduced(self, factor: int) -> Box:
        """This box in a picture whose pixels each stand for factor x factor of them."""
        return Box(self.left // factor, self.top // factor, -(-self.right // factor), -(-self.bottom // factor))

    def split(self, width: int, height: int) -> list[Box]:
        """Parts of at most width x height: rows from the top, each from the left."""
        return [
            Box(left, top, min(left + width, self.right), min(top + height, self.bottom))
            for top in range(self.top, self.bottom, height)
            for left in range(self.left, self.right, width)
        ]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    def relative_to(self, outer: Box) -> Box:
        return Box(self.left - outer.left, self.top - outer.top, self.right - outer.left, self.bottom - outer.top)

    def cells(self, stride: int) -> tuple[slice, slice]:
        """Rows and columns of a grid with one cell per stride x stride pixels."""
        left, top, right, bottom = self.reduced(stride)
        return slice(top, bottom), slice(left, right)


@dataclass(frozen=True)
class Header:
    """What the fixed part of a file says."""

    width: int  # pixels, 1..MAX_SIDE
    height: int  # pixels, 1..MAX_SIDE
    level: int  # quality in hundredths, 100..10000, or LOSSLESS_LEVEL
    model_id: int  # first 4 bytes of the SHA-256 of the weights, little-endian, or NO_MODEL
    gray: bool = False
    tile: int = 16  # side of a tile in units of STRIDE pixels, 1..MAX_TILE
    alpha: bool = False

    @property
    def quality(self) -> float:
        """1..100, or 0 for a file without loss, or with a bound of it."""
        return self.level / 100

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def mode(self) -> str:
        """Pillow's name for the channels that the picture decodes to."""
        return ("LA" if self.gray else "RGBA") if self.alpha else ("L" if self.gray else "RGB")

    @property
    def bounds(self) -> Box:
        return Box(0, 0, self.width, self.height)

    @property
    def padded(self) -> Box:
        """The picture with its sides rounded up to STRIDE."""
        return Box(0, 0, -(-self.width // STRIDE) * STRIDE, -(-self.height // STRIDE) * STRIDE)

    def tiles(self) -> list[Box]:
        """Tiles of the padded picture in file order: rows from the top, each from the left."""
        side = self.tile * STRIDE
        return self.padded.split(side, side)

    def seen_tiles(self) -> list[Box]:
        """What of each tile lies in the picture."""
        return [box.grown(0, self.bounds) for box in self.tiles()]

    def tiles_around(self, area: Box) -> Box:
        """The box of all tiles that share pixels with an area."""
        side = self.tile * STRIDE
        return area.aligned(side).grown(0, self.padded)


class Tile(NamedTuple):
    """What a file holds of a tile; nothing where it was not asked for."""

    stream: bytes  # of its symbols; nothing where all pixels are drawn
    drawn: bytes = b""  # the WebP file of drawn pixels
    step: int = 1  # of their values

    @classmethod
    def parse(cls, kind: int, payload: bytes, header: Header) -> Tile:
        """Raises FormatError."""
        tile = cls(payload) if kind == SectionKind.TILE else cls._parse_drawn(payload)
        if header.model_id == NO_MODEL and not tile.is_drawn:
            raise FormatError("a tile has a stream, and the header names no weights")
        return tile

    @classmethod
    def _parse_drawn(cls, payload: bytes) -> Tile:
        step, length = _DRAWN.unpack_from(payload) if len(payload) > _DRAWN.size else (1, 0)
        if not 0 < length <= len(payload) - _DRAWN.size:
            raise FormatError(f"drawn pixels of a tile are {length} bytes of {max(len(payload) - _DRAWN.size, 0)}")
        if step % 2 == 0 or step > MAX_STEP:
            raise FormatError(f"step of drawn pixels is {step}, not odd in 1..{MAX_STEP}")
        end = _DRAWN.size + length
        return cls(payload[end:], payload[_DRAWN.size : end], step)

    @property
    def is_drawn(self) -> bool:
        """Whether all of it is."""
        return bool(self.drawn) and not self.stream

    @property
    def section(self) -> tuple[SectionKind, bytes]:
        """Kind and payload."""
        if not self.drawn:
            return SectionKind.TILE, self.stream
        return SectionKind.DRAWN, _DRAWN.pack(self.step, len(self.drawn)) + self.drawn + self.stream


class Container(NamedTuple):
    """A file taken apart; every checksum holds."""

    header: Header
    sections: dict[SectionKind, bytes]  # all but the tiles
    tiles: list[Tile]  # in the order of header.tiles()


def pack(header: Header, sections: Mapping[SectionKind, bytes], tiles: Sequence[Tile]) -> bytes:
    """The whole file; sections are all but the tiles. Alpha of one byte goes into the header."""
    alpha = sections.get(SectionKind.ALPHA, b"")
    constant = alpha if header.alpha and len(alpha) == 1 else b""
    flags = (_GRAY if header.gray else 0) | (_CONSTANT_ALPHA if constant else _ALPHA if header.alpha else 0)
    fixed = _HEADER.pack(
        MAGIC, FORMAT_VERSION, flags, header.level, header.width, header.height, header.model_id, header.tile
    )
    fixed += constant
    parts = [fixed, _CRC.pack(zlib.crc32(fixed))]
    others = [(kind, payload) for kind, payload in sections.items() if not (constant and kind == SectionKind.ALPHA)]
    for kind, payload in [*others, *(tile.section for tile in tiles)]:
        front = _SECTION.pack(kind, len(payload))
        parts += [front, _CRC.pack(zlib.crc32(payload, zlib.crc32(front))), payload]
    return b"".join(parts)


def as_data(buffer: Buffer) -> Data:
    """The bytes of any buffer; bytes and mapped files are not copied. Raises InputError for anything else."""
    try:
        if isinstance(buffer, bytes) or (isinstance(buffer, mmap) and len(buffer)):  # len raises where it is closed
            return buffer
        return bytes(memoryview(buffer))  # type: ignore[arg-type] # arrays have no annotation of it in Python 3.11
    except (TypeError, ValueError, BufferError):
        raise InputError(f"data must be the bytes of a file, got {type(buffer).__name__}") from None


def read_header(data: Buffer, *, max_pixels: int = MAX_PIXELS) -> Header:
    """The header of a file, of which the first HEADER_SIZE + 1 bytes are enough.

    Raises FormatError (TruncatedError) for bytes that are no sound header or exceed max_pixels, UnsupportedError for a
    newer format, InputError for what is no buffer of bytes.
    """
    data = as_data(data)
    if not MAGIC.startswith(data[: len(MAGIC)]):
        kind = next((f" but {kind}" for kind, start in _OTHERS.items() if data[:12].startswith(start)), "")
        raise FormatError(f"not an .aec file{kind}: starts with {data[: len(MAGIC)].hex(' ')}, not {MAGIC.hex(' ')}")
    if len(data) > len(MAGIC) and data[len(MAGIC)] != FORMAT_VERSION:
        raise UnsupportedError(f"format version {data[len(MAGIC)]}, this aecodec reads version {FORMAT_VERSION}")
    if len(data) < HEADER_SIZE:
        raise TruncatedError(f"file is cut off: header needs {HEADER_SIZE} bytes, got {len(data)}")
    _, _, flags, level, width, height, model_id, tile = _HEADER.unpack_from(data)
    end = header_size(data) - _CRC.size
    if len(data) < end + _CRC.size:
        raise TruncatedError(f"file is cut off: header needs {end + _CRC.size} bytes, got {len(data)}")
    _check_crc("header", zlib.crc32(data[:end]), data, end)
    if flags & ~_FLAGS:
        raise UnsupportedError(f"header flags {flags:#04x}, this aecodec knows {_FLAGS:#04x}")
    if flags & _ALPHA and flags & _CONSTANT_ALPHA:
        raise FormatError(f"header flags {flags:#04x} set two kinds of alpha")
    if not 0 < width * height <= as_number("max_pixels", max_pixels):
        raise FormatError(f"picture of {width}x{height} is outside 1..{max_pixels} pixels")
    if not MIN_LEVEL <= level <= MAX_LEVEL and (level, model_id) != (LOSSLESS_LEVEL, NO_MODEL):
        raise FormatError(f"quality level {level} is outside {MIN_LEVEL}..{MAX_LEVEL}")
    if not 1 <= tile <= MAX_TILE:
        raise FormatError(f"tile side {tile} is outside 1..{MAX_TILE}")
    return Header(width, height, level, model_id, bool(flags & _GRAY), tile, bool(flags & (_ALPHA | _CONSTANT_ALPHA)))


def quality_level(quality: float) -> int:
    """Quality 1..100 as the integer in the header. Raises InputError outside that range."""
    quality = as_number("quality", quality)
    if not 1 <= quality <= 100:
        raise InputError(f"quality must be 1..100, got {quality:g}")
    return round(100 * quality)


def read_front(data: Buffer, *, max_pixels: int = MAX_PIXELS) -> tuple[Header, dict[SectionKind, bytes]]:
    """The header and the known sections before the tiles, as far as they are sound. Raises as read_header does."""
    data = as_data(data)
    header = read_header(data, max_pixels=max_pixels)
    front: dict[SectionKind, bytes] = {}
    try:
        for kind, place, length in _sections(data):
            if kind in TILES:
                break
            if kind in SectionKind.__members__.values():
                payload = checked_payload(data, place, length)
                if kind == SectionKind.DENSITY:
                    check_density(payload)
                front[SectionKind(kind)] = payload
    except FormatError:  # unpack will tell
        pass
    return header, front


def front_bytes(file: IO[bytes]) -> bytes:
    """What read_front looks at: the bytes of a file from its beginning up to the first tile."""
    front = bytearray(file.read(HEADER_SIZE))
    if len(front) == HEADER_SIZE:
        front += file.read(header_size(front) - HEADER_SIZE)
        while len(section := file.read(SECTION_OVERHEAD)) == SECTION_OVERHEAD and section[0] not in TILES:
            front += section
            _, length = _SECTION.unpack_from(section)
            while length and (part := file.read(min(length, _PART))):  # a length that lies allocates nothing
                front += part
                length -= len(part)
    return bytes(front)


def unpack(
    data: Buffer, *, max_pixels: int = MAX_PIXELS, header: Header | None = None, area: Box | None = None
) -> Container:
    """Take a whole file apart and check everything but the streams. Raises as read_header does.

    header is what read_header made of the same data, if it did. Tiles that share nothing with area, where it is given,
    are neither read nor checked.
    """
    data = as_data(data)
    header = header or read_header(data, max_pixels=max_pixels)
    tile_count = -(-header.padded.right // (header.tile * STRIDE)) * -(-header.padded.bottom // (header.tile * STRIDE))
    if len(data) < HEADER_SIZE + tile_count * MIN_TILE_SIZE:
        raise TruncatedError(
            f"{tile_count} tiles need at least {HEADER_SIZE + tile_count * MIN_TILE_SIZE} bytes, got {len(data)}"
        )
    needed = [area is None or box.intersection(area) is not None for box in header.tiles()]
    sections, tiles = _sorted_sections(data, header, needed)
    constant = constant_alpha(data)
    alpha = sections.get(SectionKind.ALPHA)
    if (header.alpha and not constant) != (alpha is not None):
        raise FormatError(f"alpha flag is {int(header.alpha)}, alpha sections are {int(alpha is not None)}")
    if constant:
        sections[SectionKind.ALPHA] = constant
    elif alpha is not None and len(alpha) == 1:
        raise FormatError("alpha of one byte is not in the header")
    check_density(sections.get(SectionKind.DENSITY, bytes([1] * 8)))
    if len(tiles) < tile_count:
        raise TruncatedError(f"picture needs {tile_count} tiles, got {len(tiles)}")
    if len(tiles) > tile_count:
        raise FormatError(f"picture has {tile_count} tiles, got {len(tiles)}")
    return Container(header, sections, tiles)


def _sorted_sections(data: Data, header: Header, needed: list[bool]) -> tuple[dict[SectionKind, bytes], list[Tile]]:
    """The sections that this version knows, tiles apart; of those only what is needed is read."""
    sections: dict[SectionKind, bytes] = {}
    tiles: list[Tile] = []
    for kind, place, length in _sections(data):
        if kind in TILES and len(tiles) < len(needed) and not needed[len(tiles)]:
            tiles.append(Tile(b""))
            continue
        payload = checked_payload(data, place, length)
        known = kind in SectionKind.__members__.values()
        if kind in TILES:
            tiles.append(Tile.parse(kind, payload, header))
        elif not known and not kind & ANCILLARY:
            raise UnsupportedError(f"unknown critical section {kind:#04x}")
        elif tiles:
            raise FormatError(f"section {kind:#04x} after the first tile")
        elif kind in sections:
            raise FormatError(f"section {kind:#04x} appears twice")
        elif known:
            sections[SectionKind(kind)] = payload
    return sections, tiles


def constant_alpha(data: Data) -> bytes:
    """The one byte of alpha in a sound header, or nothing."""
    return data[_HEADER.size : header_size(data) - _CRC.size]


def check_density(block: bytes) -> None:
    """Raises FormatError for a density section that is none."""
    if len(block) != 8 or 0 in struct.unpack("<II", block):
        raise FormatError(f"density section is {block[:8].hex(' ')}, not two positive numbers of 4 bytes")


def header_size(data: Data | bytearray) -> int:
    """Bytes of a header that is long enough to have flags."""
    return HEADER_SIZE + bool(data[len(MAGIC) + 1] & _CONSTANT_ALPHA)


def _sections(data: Data) -> Iterator[tuple[int, int, int]]:
    """Kind, place and length of the payload of each section."""
    place = header_size(data)
    while place < len(data):
        kind, length = section_at(data, place)
        start = place + SECTION_OVERHEAD
        yield kind, start, length
        place = start + length


def section_at(data: Data, place: int) -> tuple[int, int]:
    """Kind and length of the payload of a section. Raises TruncatedError where it does not end within the data."""
    kind, length = section_front(data, place)
    there = len(data) - place - SECTION_OVERHEAD
    if there < length:
        raise TruncatedError(f"file is cut off: section {kind:#04x} needs {length} bytes, got {there}")
    return kind, length


def section_front(data: Data, place: int) -> tuple[int, int]:
    """Kind and length of the payload of a section, which may end behind the data. Raises TruncatedError."""
    if len(data) - place < SECTION_OVERHEAD:
        raise TruncatedError(f"file is cut off: section header needs {SECTION_OVERHEAD} bytes, got {len(data) - place}")
    kind, length = _SECTION.unpack_from(data, place)
    return kind, length


def checked_payload(data: Data, start: int, length: int) -> bytes:
    """The payload that begins at start. Raises FormatError where its checksum does not hold."""
    front = data[start - SECTION_OVERHEAD : start - _CRC.size]
    payload = data[start : start + length]
    _check_crc(f"section {front[0]:#04x}", zlib.crc32(payload, zlib.crc32(front)), data, start - _CRC.size)
    return payload


def _check_crc(name: str, actual: int, data: Data, place: int) -> None:
    (expected,) = _CRC.unpack_from(data, place)
    if actual != expected:
        raise FormatError(f"{name} is damaged: CRC-32 {actual:08x}, expected {expected:08x}")
