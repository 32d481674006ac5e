"""Files with drawn pixels (docs/format.md, section 1.6), made here byte by byte, and what they must show."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import NamedTuple

import numpy as np
from make_invalid import section
from numpy.typing import NDArray
from PIL import Image

from aecodec.format.container import Box, Header, header_size

Pixels = NDArray[np.uint8]


class Part(NamedTuple):
    """What is drawn of a tile."""

    step: int
    rgba: Pixels  # [h, w, 4] of what of the tile lies in the picture
    keeps_stream: bool = True

    @property
    def payload(self) -> bytes:
        return payload(self.step, webp(self.rgba))


def webp(rgba: Pixels, **options: int) -> bytes:
    file = BytesIO()
    Image.fromarray(rgba).save(file, "WEBP", lossless=True, exact=True, **options)
    assert file.getvalue()[12:16] == b"VP8L"
    return file.getvalue()


def payload(step: int, data: bytes, stream: bytes = b"") -> bytes:
    return struct.pack("<BI", step, len(data)) + data + stream


def sections(data: bytes) -> list[tuple[int, bytes]]:
    """Kind and payload of all."""
    found, place = [], header_size(data)
    while place < len(data):
        kind, length = struct.unpack_from("<BI", data, place)
        found.append((kind, data[place + 9 : place + 9 + length]))
        place += 9 + length
    return found


def drawn_over(data: bytes, parts: Mapping[int, Part]) -> bytes:
    """A file whose tiles of kind 01 have some pixels drawn."""
    out, tile = data[: header_size(data)], 0
    for kind, content in sections(data):
        part = parts.get(tile) if kind == 1 else None
        tile += kind == 1
        out += section(3, part.payload + (content if part.keeps_stream else b"")) if part else section(kind, content)
    return out


def lossless(header: Header, parts: Iterable[Part], *, level: int = 0, flags: int = 0, others: bytes = b"") -> bytes:
    """A file that needs no weights."""
    fixed = struct.pack("<4sBBHHHIB", b"\xaeaec", 2, flags, level, header.width, header.height, 0, header.tile)
    return fixed + struct.pack("<I", zlib.crc32(fixed)) + others + b"".join(section(3, part.payload) for part in parts)


def shown_boxes(header: Header) -> list[Box]:
    """What of each tile lies in the picture."""
    return [box.grown(0, header.bounds) for box in header.tiles()]


def whole(header: Header, parts: Mapping[int, Part]) -> tuple[Pixels, NDArray[np.bool_]]:
    """Values [H, W, 3] of the picture that are drawn, and which are."""
    values = np.zeros((header.height, header.width, 3), np.uint8)
    mask = np.zeros((header.height, header.width), bool)
    for i, part in parts.items():
        place = shown_boxes(header)[i].cells(1)
        colors = part.rgba[..., [1, 1, 1]] if header.gray else part.rgba[..., :3]
        values[place] = np.minimum(255, part.step * colors.astype(int))
        mask[place] = part.rgba[..., 3] == 255
    return values, mask


def blended(rendered: Pixels, header: Header, parts: Mapping[int, Part], area: Box, factor: int) -> Pixels:
    """Drawn pixels over those [h, w, 3] that were rendered of an area."""
    values, mask = whole(header, parts)
    padding = (0, -header.height % factor), (0, -header.width % factor)
    values = np.pad(values, (*padding, (0, 0)), "edge").astype(int)
    mask = np.pad(mask, padding, "edge")
    H, W = len(mask) // factor, mask.shape[1] // factor
    place = area.reduced(factor).cells(1)
    sums = (values * mask[..., None]).reshape(H, factor, W, factor, 3).sum((1, 3))[place]
    drawn = mask.reshape(H, factor, W, factor).sum((1, 3))[place][..., None]
    count = factor**2
    return ((sums + (count - drawn) * rendered.astype(int) + count // 2) // count).astype(np.uint8)


def random_part(rng: np.random.Generator, box: Box, *, everything: bool, keeps_stream: bool = True) -> Part:
    """Noise in blocks, of which a half is drawn, or everything."""
    height, width = box.shape
    rgba = rng.integers(0, 256, (height, width, 4), np.uint8)
    blocks = rng.random((-(-height // 3), -(-width // 5))) < 0.5
    mask = blocks.repeat(3, 0).repeat(5, 1)[:height, :width]
    rgba[..., 3] = 255 if everything else 255 * mask
    return Part(int(rng.choice([1, 1, 3, 5, 17])), rgba, keeps_stream)
