"""Transparency, kept exactly: the payload of the alpha section (docs/format.md, section 1.4)."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from aecodec.errors import FormatError
from aecodec.format.container import Box, Header
from aecodec.format.webp import decode_webp, encode_webp

Alpha = NDArray[np.uint8]  # [H, W], 0 transparent, 255 opaque

_LENGTH = struct.Struct("<I")


def encode_alpha(alpha: Alpha, header: Header) -> bytes:
    """The payload for alpha [height, width]: one byte if it is constant."""
    if alpha.min() == alpha.max():
        return alpha[:1, 0].tobytes()
    parts = [_encode_tile(alpha[box.cells(1)]) for box in header.seen_tiles()]
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
    for tile, data in zip(header.seen_tiles(), _split(payload, len(header.seen_tiles())), strict=True):
        shared = tile.intersection(cells)
        if shared is not None:
            part = _decode_tile(data, *tile.shape)[shared.relative_to(tile).cells(1)]
            alpha[shared.reduced(factor).relative_to(frame).cells(1)] = _means(part, factor)
    return alpha


def _means(alpha: Alpha, factor: int) -> Alpha:
    """The mean of each factor x factor."""
    if factor == 1:
        return alpha
    means: Alpha = ((sums(alpha, factor) + factor**2 // 2) // factor**2).astype(np.uint8)
    return means


def sums(values: NDArray[np.uint8], factor: int) -> NDArray[np.uint32]:
    """The sum of each factor x factor of values [h, w, ...]; the last row and column are repeated to fill them."""
    height, width, *rest = values.shape
    padded = np.pad(values, ((0, -height % factor), (0, -width % factor), *[(0, 0) for _ in rest]), "edge")
    H, W = len(padded) // factor, padded.shape[1] // factor
    total: NDArray[np.uint32] = padded.reshape(H, factor, W, factor, *rest).sum((1, 3), dtype=np.uint32)
    return total


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
    return encode_webp(np.repeat(alpha[:, :, None], 3, 2), quality=80, method=4)


def _decode_tile(data: bytes, height: int, width: int) -> Alpha:
    if len(data) == 1:
        return np.full((height, width), data[0], np.uint8)
    return decode_webp(data, height, width, "alpha")[:, :, 1]
