"""Bytes of the file: round trip, and each defect with its own error."""

from __future__ import annotations

import dataclasses
import re
import struct
import zlib

import pytest

from aecodec import FormatError, TruncatedError, UnsupportedError
from aecodec.format.container import HEADER_SIZE, Box, Header, SectionKind, Tile, pack, read_header, unpack

HEADER = Header(100, 70, 6000, 0x12345678, tile=1)  # 2x2 tiles
TILES = [Tile(bytes([n]) * (8 + 4 * n)) for n in range(4)]
DATA = pack(HEADER, {SectionKind.ICC: b"profile"}, TILES)


def reheader(**changes: int) -> bytes:
    """DATA with raw header fields changed and the checksum made right again."""
    names = ("magic", "version", "flags", "level", "width", "height", "model_id", "tile")
    fields = dict(zip(names, struct.unpack("<4sBBHHHIB", DATA[:17]), strict=True)) | changes
    fixed = struct.pack("<4sBBHHHIB", *fields.values())
    return fixed + struct.pack("<I", zlib.crc32(fixed)) + DATA[HEADER_SIZE:]


def section(kind: int, payload: bytes) -> bytes:
    front = struct.pack("<BI", kind, len(payload))
    return front + struct.pack("<I", zlib.crc32(front + payload)) + payload


def test_pack_and_unpack_are_inverse() -> None:
    assert unpack(DATA) == (HEADER, {SectionKind.ICC: b"profile"}, TILES)
    assert read_header(DATA[:HEADER_SIZE]) == HEADER
    assert HEADER.quality == 60


def test_overhead_of_one_picture_is_30_bytes() -> None:
    header = dataclasses.replace(HEADER, tile=2)
    assert len(pack(header, {}, [Tile(bytes(100))])) == 100 + 30


def test_tiles_cover_the_padded_picture_in_order() -> None:
    assert HEADER.tiles() == [Box(0, 0, 64, 64), Box(64, 0, 128, 64), Box(0, 64, 64, 128), Box(64, 64, 128, 128)]
    assert dataclasses.replace(HEADER, tile=64).tiles() == [Box(0, 0, 128, 128)]


def test_every_truncation_is_named() -> None:
    for length in range(len(DATA)):
        with pytest.raises(TruncatedError):
            unpack(DATA[:length])


def test_every_flipped_bit_is_found() -> None:
    for place in range(len(DATA)):
        for bit in range(8):
            damaged = bytearray(DATA)
            damaged[place] ^= 1 << bit
            with pytest.raises((FormatError, UnsupportedError)):
                unpack(bytes(damaged))


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", TruncatedError, "header needs 21 bytes, got 0"),
        (b"\x89PNG\r\n\x1a\n", FormatError, "not an .aec file"),
        (reheader(version=3), UnsupportedError, "format version 3"),
        (reheader(flags=0x80), UnsupportedError, "flags 0x80"),
        (reheader(level=99), FormatError, "level 99"),
        (reheader(level=10_001), FormatError, "level 10001"),
        (reheader(width=0), FormatError, "picture of 0x70"),
        (reheader(width=65_535, height=65_535), FormatError, "65535x65535 is outside 1..268435456 pixels"),
        (reheader(width=16_000, height=16_000), TruncatedError, "62500 tiles need at least"),
        (reheader(tile=0), FormatError, "tile side 0"),
        (reheader(tile=65), FormatError, "tile side 65"),
        (DATA + b"x", TruncatedError, "section header"),
        (DATA + section(0x01, bytes(8)), FormatError, "has 4 tiles, got 5"),
        (DATA + section(0x82, b""), FormatError, "after the first tile"),
        (DATA[:-29], TruncatedError, "needs 4 tiles, got 3"),
        (DATA[:HEADER_SIZE] + section(0x81, b"") + DATA[HEADER_SIZE:], FormatError, "appears twice"),
        (DATA[:HEADER_SIZE] + section(0x07, b"") + DATA[HEADER_SIZE:], UnsupportedError, "critical section 0x07"),
    ],
)  # fmt: skip
def test_each_defect_has_its_error(data: bytes, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        unpack(data)


def test_unknown_ancillary_section_is_skipped() -> None:
    extended = DATA[:HEADER_SIZE] + section(0xF0, b"later") + DATA[HEADER_SIZE:]
    assert unpack(extended) == unpack(DATA)


def test_pixel_cap_is_an_argument() -> None:
    with pytest.raises(FormatError, match=r"outside 1\.\.6999"):
        read_header(DATA, max_pixels=6999)
