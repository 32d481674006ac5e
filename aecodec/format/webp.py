"""Lossless WebP files inside a file: of alpha (docs/format.md, section 1.4) and of drawn pixels (section 1.6)."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aecodec.errors import FormatError

_FIRST_CHUNK, _SIZE = slice(12, 16), slice(21, 25)  # of a WebP file: name of the chunk; sides, where that is VP8L


def encode_webp(pixels: NDArray[np.uint8], *, quality: int, method: int) -> bytes:
    """The file of pixels [h, w, 3 or 4]; quality 0..100 and method 0..6 are how hard to look for a smaller one."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", lossless=True, quality=quality, method=method)
    return file.getvalue()


def decode_webp(data: bytes, height: int, width: int, name: str) -> NDArray[np.uint8]:
    """Pixels [height, width, 4]. Raises FormatError, which tells by name what the file holds."""
    if data[_FIRST_CHUNK] != b"VP8L":
        raise FormatError(f"{name} is {data[_FIRST_CHUNK].hex(' ')}, not a lossless WebP file")
    claim = int.from_bytes(data[_SIZE], "little")  # 14 bits each of width - 1 and height - 1
    if (claim & 0x3FFF, claim >> 14 & 0x3FFF) != (width - 1, height - 1):  # Pillow allocates as soon as it opens a file
        raise FormatError(f"{name} is {(claim & 0x3FFF) + 1}x{(claim >> 14 & 0x3FFF) + 1}, its tile {width}x{height}")
    try:
        with Image.open(BytesIO(data), formats=["WEBP"]) as image:
            pixels = np.asarray(image.convert("RGBA"))
    except Exception as error:  # whatever a broken file makes Pillow raise
        raise FormatError(f"{name} is not a valid WebP file: {error}") from error
    if pixels.shape != (height, width, 4):
        raise FormatError(f"{name} is {pixels.shape[1]}x{pixels.shape[0]}, its tile {width}x{height}")
    return pixels
