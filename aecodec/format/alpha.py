"""Transparency, kept exactly: the payload of the alpha section (docs/format.md, section 1.4)."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aecodec.errors import FormatError
from aecodec.format.container import Box, Header

Alpha = NDArray[np.uint8]  # [H, W], 0 transparent, 255 opaque

_LENGTH = struct.Struct("<I")
_FIRST_CHUNK, _SIZE = slice(12, 16), slice(21, 25)  # of a WebP file: name of the chunk; sides, where that is VP8L


def encode_alpha(alpha: Alpha, header: Header) -> bytes:
    """The payload for alpha [height, width]: one byte if it is constant."""
    if alpha.min() == alpha.max():
        return alpha[:1, 0].tobytes()
    parts = [_encode_tile(alpha[box.cells(1)]) for box in _tiles(header)]
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def decode_alpha(payload: bytes, header: Header, area: Box, factor: int = 1) -> Alpha:
    """Alpha of an area of the picture, each value the mean of factor x factor; only tiles that it needs are decoded,
    one after the other: beside the result, memory is that of a tile.

    Raises FormatError for bytes that encode_alpha cannot have written.
    """
    cells, frame = area.aligned(factor), area.reduced(factor)
    alpha = np.empty(frame.shape, np.uint8)
    if len(payload) == 1:
        alpha[:] = payload[0]
        return alpha
    for tile, data in zip(_tiles(header), _split(payload, len(_tiles(header))), strict=True):
        shared = tile.intersection(cells)
        if shared is not None:
            part = _decode_tile(data, *tile.shape)[shared.relative_to(tile).cells(1)]
            alpha[shared.reduced(factor).relative_to(frame).cells(1)] = _means(part, factor)
    return alpha


def _means(alpha: Alpha, factor: int) -> Alpha:
    """The mean of each factor x factor; the last row and column are repeated to fill them."""
    if factor == 1:
        return alpha
    height, width = alpha.shape
    padded = np.pad(alpha, ((0, -height % factor), (0, -width % factor)), "edge")
    H, W = len(padded) // factor, padded.shape[1] // factor
    sums = padded.reshape(H, factor, W, factor).sum((1, 3), dtype=np.uint32)
    means: Alpha = ((sums + factor**2 // 2) // factor**2).astype(np.uint8)
    return means


def _tiles(header: Header) -> list[Box]:
    """What of each tile lies in the picture."""
    return [box.grown(0, header.bounds) for box in header.tiles()]


def _split(payload: bytes, count: int) -> list[bytes]:
    """The data of count tiles; every length is checked against what is left."""
    parts, place = [], 0
    for _ in range(count):
        start = place + _LENGTH.size
        length = _LENGTH.unpack_from(payload, place)[0] if start <= len(payload) else 1
        if not 0 < length <= len(payload) - start:
            raise FormatError(f"alpha of a tile is {length} bytes of {max(len(payload) - start, 0)}")
        parts.append(payload[start : start + length])
        place = start + length
    if place != len(payload):
        raise FormatError(f"alpha of {count} tiles fills {place} bytes of {len(payload)}")
    return parts


def _encode_tile(alpha: Alpha) -> bytes:
    if alpha.min() == alpha.max():
        return alpha[:1, 0].tobytes()
    file = BytesIO()
    Image.fromarray(alpha).convert("RGB").save(file, "WEBP", lossless=True, quality=80, method=4)
    return file.getvalue()


def _decode_tile(data: bytes, height: int, width: int) -> Alpha:
    if len(data) == 1:
        return np.full((height, width), data[0], np.uint8)
    if data[_FIRST_CHUNK] != b"VP8L":
        raise FormatError(f"alpha is {data[_FIRST_CHUNK].hex(' ')}, not a lossless WebP file")
    claim = int.from_bytes(data[_SIZE], "little")  # 14 bits each of width - 1 and height - 1
    if (claim & 0x3FFF, claim >> 14 & 0x3FFF) != (width - 1, height - 1):  # Pillow allocates as soon as it opens a file
        raise FormatError(f"alpha is {(claim & 0x3FFF) + 1}x{(claim >> 14 & 0x3FFF) + 1}, its tile {width}x{height}")
    try:
        with Image.open(BytesIO(data), formats=["WEBP"]) as image:
            alpha = np.asarray(image.getchannel("G"))
    except Exception as error:  # whatever a broken file makes Pillow raise
        raise FormatError(f"alpha is no sound WebP file: {error}") from error
    if alpha.shape != (height, width):
        raise FormatError(f"alpha is {alpha.shape[1]}x{alpha.shape[0]}, its tile {width}x{height}")
    return alpha
