"""Write tests/data/invalid: files with one defect each, named by it; from golden files, so that no float counts."""

from __future__ import annotations

import struct
import zlib
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from support import z_tables

from aecodec import CodecError, FormatError, TruncatedError, UnsupportedError, weights
from aecodec.coding.entropy import encode_symbols
from aecodec.format.container import HEADER_SIZE, LOSSLESS_LEVEL, NO_MODEL, Header, SectionKind, Tile, pack, unpack
from aecodec.format.webp import encode_webp

DATA = Path(__file__).parent / "data"
INVALID = DATA / "invalid"
_FIELDS = ("magic", "version", "flags", "level", "width", "height", "model_id", "tile")
_HEADER = struct.Struct("<4sBBHHHIB")


class Case(NamedTuple):
    data: bytes
    error: type[CodecError]
    message: str  # that the error holds


def golden(name: str) -> bytes:
    return (DATA / "golden" / f"{name}.aec").read_bytes()


def reheader(data: bytes, **changes: int) -> bytes:
    """A file with raw header fields changed, and the checksum made right again."""
    fixed = _HEADER.pack(*(dict(zip(_FIELDS, _HEADER.unpack_from(data), strict=True)) | changes).values())
    return fixed + struct.pack("<I", zlib.crc32(fixed)) + data[HEADER_SIZE:]


def section(kind: int, payload: bytes) -> bytes:
    front = struct.pack("<BI", kind, len(payload))
    return front + struct.pack("<I", zlib.crc32(payload, zlib.crc32(front))) + payload


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@cache
def model() -> weights.Weights:
    return weights.load(DATA / "tiny.safetensors")


def escape(*digits: int) -> bytes:
    """A stream whose first symbol is an escape with these digits, their number first."""
    table = int(z_tables(model().prior, 1, 5000)[0])
    end = int(model().tables.lengths[: table + 1].sum())
    low, high = (int(value) for value in model().tables.cumulative[end - 2 : end])
    x = 1 << 31
    words = []
    for start, frequency, bits in [(low, high - low, 16), *((digit, 1, 4) for digit in digits)][::-1]:
        if x >= ((1 << 31 >> bits) << 32) * frequency:
            words.append(x & 0xFFFFFFFF)
            x >>= 32
        x = ((x // frequency) << bits) + x % frequency + start
    return struct.pack(f"<{2 + len(words)}I", x & 0xFFFFFFFF, x >> 32, *words[::-1])


def one_tile(stream: bytes, like: bytes | None = None) -> bytes:
    """A file of one tile, by default of 64x64."""
    header = Header(64, 64, 5000, model().model_id) if like is None else unpack(like).header
    return pack(header, {}, [Tile(stream)])


def with_alpha(payload: bytes) -> bytes:
    header, sections, tiles = unpack(golden("alpha"))
    return pack(header, sections | {SectionKind.ALPHA: payload}, tiles)


def drawn_tile(data: bytes, *, step: int = 1, missing: int = 0, stream: bytes = b"", model_id: int = NO_MODEL) -> bytes:
    """A file of 64x64 whose only tile is drawn; its data lacks some bytes that it claims."""
    header = Header(64, 64, LOSSLESS_LEVEL if model_id == NO_MODEL else 5000, model_id)
    payload = struct.pack("<BI", step, len(data) + missing) + data + stream
    return pack(header, {}, []) + section(3, payload)


def drawn_cases(stream: bytes) -> dict[str, Case]:
    def webp(alpha: int, rows: int = 64) -> bytes:
        return encode_webp(np.full((rows, 64, 4), alpha, np.uint8), quality=50, method=0)

    good = webp(255)
    lossy = BytesIO()
    Image.new("RGB", (64, 64)).save(lossy, "WEBP", quality=50)
    return {
        "drawn-even-step": Case(drawn_tile(good, step=2), FormatError, "step of drawn pixels is 2"),
        "drawn-step-of-19": Case(drawn_tile(good, step=19), FormatError, "step of drawn pixels is 19"),
        "drawn-length": Case(drawn_tile(good, missing=1), FormatError, "drawn pixels of a tile are"),
        "drawn-nothing": Case(drawn_tile(b"", stream=bytes(30)), FormatError, "drawn pixels of a tile are 0 bytes"),
        "drawn-of-another-size": Case(drawn_tile(webp(255, 32)), FormatError, "drawn part is 64x32, its tile 64x64"),
        "drawn-not-lossless": Case(drawn_tile(lossy.getvalue()), FormatError, "not a lossless WebP file"),
        "drawn-broken-webp": Case(drawn_tile(good[:-4]), FormatError, "drawn part is not a valid WebP file"),
        "drawn-by-half": Case(drawn_tile(webp(128)), FormatError, "alpha other than 0 and 255"),
        "drawn-in-part-without-stream": Case(drawn_tile(webp(0)), FormatError, "pixels that are not drawn"),
        "stream-without-weights": Case(drawn_tile(good, stream=stream), FormatError, "the header names no weights"),
        "level-0-with-weights": Case(reheader(one_tile(stream), level=0), FormatError, "quality level 0 is outside"),
    }


def cases() -> dict[str, Case]:
    """Every defect, and the error that tells it."""
    gray, tiles, metadata, alpha = (golden(name) for name in ("gray", "tiles", "metadata", "alpha"))
    front, stream = gray[:HEADER_SIZE], unpack(gray).tiles[0].stream
    last = unpack(tiles).tiles[-1]
    first = SectionKind.ICC, b"an ICC profile"
    wide = np.full(model().prior.N, 300, np.int16)
    tables = z_tables(model().prior, 1, 5000)
    masks = unpack(alpha).sections[SectionKind.ALPHA]
    webp = masks.index(b"RIFF")  # the first tile that is no constant
    return {
        "empty": Case(b"", TruncatedError, "header needs 21 bytes, got 0"),
        "wrong-magic": Case(b"\xaeaed" + gray[4:], FormatError, "not an .aec file: starts with ae 61 65 64"),
        "newer-version": Case(reheader(gray, version=3), UnsupportedError, "format version 3"),
        "truncated-header": Case(gray[:20], TruncatedError, "header needs 21 bytes, got 20"),
        "crc-of-header": Case(flipped(gray, 9), FormatError, "header is damaged: CRC-32"),
        "reserved-flag": Case(reheader(gray, flags=0x81), UnsupportedError, "header flags 0x81"),
        "two-kinds-of-alpha": Case(two_alphas(), FormatError, "header flags 0x06 set two kinds of alpha"),
        "width-zero": Case(reheader(gray, width=0), FormatError, "picture of 0x50 is outside"),
        "too-many-pixels": Case(reheader(gray, width=65_535, height=65_535), FormatError, "65535x65535 is outside"),
        "level-below-100": Case(reheader(gray, level=99), FormatError, "quality level 99 is outside"),
        "level-above-10000": Case(reheader(gray, level=10_001), FormatError, "quality level 10001 is outside"),
        "tile-side-zero": Case(reheader(gray, tile=0), FormatError, "tile side 0 is outside 1..64"),
        "tile-side-above-64": Case(reheader(gray, tile=65), FormatError, "tile side 65 is outside 1..64"),
        "huge-claim": Case(reheader(gray, width=16_000, height=16_000, tile=1), TruncatedError, "62500 tiles need"),
        "other-weights": Case(reheader(gray, model_id=1), UnsupportedError, "file needs weights 00000001"),
        "truncated-section": Case(gray[:-1], TruncatedError, f"section 0x01 needs {len(stream)} bytes"),
        "trailing-garbage": Case(gray + b"garbage", TruncatedError, "section header needs 9 bytes, got 7"),
        "missing-tile": Case(tiles[: -9 - len(last.stream)], TruncatedError, "needs 12 tiles, got 11"),
        "extra-tile": Case(gray + section(1, stream), FormatError, "picture has 1 tiles, got 2"),
        "crc-of-tile": Case(flipped(gray, len(gray) - 1), FormatError, "section 0x01 is damaged: CRC-32"),
        "crc-of-metadata": Case(flipped(metadata, HEADER_SIZE + 9), FormatError, "section 0x81 is damaged: CRC-32"),
        "unknown-critical-section": Case(
            front + section(7, b"") + gray[HEADER_SIZE:], UnsupportedError, "unknown critical section 0x07"
        ),
        "section-after-tile": Case(gray + section(*first), FormatError, "section 0x81 after the first tile"),
        "section-twice": Case(
            front + 2 * section(*first) + gray[HEADER_SIZE:], FormatError, "section 0x81 appears twice"
        ),
        "density-zero": Case(
            pack(unpack(gray).header, {SectionKind.DENSITY: bytes(8)}, [Tile(stream)]),
            FormatError,
            "density section is",
        ),
        "alpha-without-flag": Case(reheader(alpha, flags=0), FormatError, "alpha flag is 0, alpha sections are 1"),
        "flag-without-alpha": Case(reheader(gray, flags=3), FormatError, "alpha flag is 1, alpha sections are 0"),
        "alpha-of-one-byte": Case(
            reheader(front + section(2, b"x") + gray[HEADER_SIZE:], flags=3), FormatError, "is not in the header"
        ),
        "alpha-length": Case(with_alpha(masks[:-1]), FormatError, "alpha of a tile is"),
        "alpha-not-filled": Case(with_alpha(masks + b"x"), FormatError, "alpha of 6 tiles fills"),
        "alpha-not-lossless": Case(with_alpha(masks.replace(b"VP8L", b"VP8 ", 1)), FormatError, "not a lossless WebP"),
        "alpha-of-another-size": Case(with_alpha(flipped(masks, webp + 21)), FormatError, "alpha is 63x64, its tile"),
        "alpha-broken-webp": Case(
            with_alpha(masks[: webp + 25] + bytes(8) + masks[webp + 33 :]), FormatError, "alpha is not a valid WebP"
        ),
        **drawn_cases(stream),
        "stream-of-half-a-word": Case(one_tile(stream + b"xx"), FormatError, "no whole number of words"),
        "stream-state": Case(one_tile(bytes(8)), FormatError, "impossible state"),
        "stream-truncated": Case(one_tile(stream[:-4], gray), TruncatedError, "data is truncated"),
        "stream-not-ended": Case(one_tile(stream + bytes(4), gray), FormatError, "does not end where"),
        "z-out-of-range": Case(
            one_tile(encode_symbols(wide, tables, model().tables)), FormatError, "z symbol is outside -127..127"
        ),
        "escape-with-leading-zeros": Case(one_tile(escape(2, 1, 0)), FormatError, "leading zero digit"),
        "escape-of-6-digits": Case(one_tile(escape(6)), FormatError, "symbol exceeds 16 bits"),
        "escape-beyond-16-bits": Case(one_tile(escape(5, 0, 0, 0, 0, 15)), FormatError, "symbol exceeds 16 bits"),
    }  # fmt: skip


def two_alphas() -> bytes:
    """Flags of an alpha section and of one value: the header is one byte longer, as with one value alone."""
    fields = dict(zip(_FIELDS, _HEADER.unpack_from(golden("alpha")), strict=True)) | {"flags": 6}
    fixed = _HEADER.pack(*fields.values()) + b"\x80"
    return fixed + struct.pack("<I", zlib.crc32(fixed)) + golden("alpha")[HEADER_SIZE:]


def main() -> None:
    INVALID.mkdir(exist_ok=True)
    for name, case in cases().items():
        (INVALID / f"{name}.aec").write_bytes(case.data)


if __name__ == "__main__":
    main()
