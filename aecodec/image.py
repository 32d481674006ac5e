"""Pillow images and arrays to pixels uint8 [H, W, 3] and back; pad."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aecodec.errors import InputError

Pixels = NDArray[np.uint8]  # [H, W, 3]


_EXIF_PREFIX = b"Exif\0\0"  # stands before the block in JPEG and in Pillow's info


class Metadata(NamedTuple):
    """Byte blocks that belong to a picture and travel unchanged."""

    icc: bytes | None = None
    exif: bytes | None = None  # from its TIFF header on
    xmp: bytes | None = None


class Picture(NamedTuple):
    pixels: Pixels
    gray: bool  # the three channels are equal and one is what the user had
    metadata: Metadata = Metadata()


def to_picture(image: Image.Image | NDArray[np.uint8]) -> Picture:
    """A PIL image of any 8-bit mode, or a uint8 array [H, W, 3] or [H, W], as RGB pixels.

    16-bit gray is reduced to 8 bits. Raises InputError for other arrays, float images, and transparency, which the
    format does not hold yet.
    """
    if isinstance(image, Image.Image):
        return _from_pil(image)
    if not isinstance(image, np.ndarray):
        raise InputError(f"picture must be a PIL image or an array, got {type(image).__name__}")
    if image.dtype != np.uint8:
        raise InputError(f"array must be uint8, got {image.dtype}")
    if image.ndim == 2:
        return Picture(np.repeat(image[:, :, None], 3, axis=2), gray=True)
    if image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"array must be [H, W, 3] or [H, W], got {list(image.shape)}")
    return Picture(image, gray=False)


def from_picture(picture: Picture) -> Image.Image:
    """PIL image of mode RGB, or L for gray; metadata is in its info as Pillow's own readers leave it."""
    pixels = picture.pixels
    if picture.gray:
        pixels = (pixels.astype(np.uint16).sum(2) + 1) // 3
    image = Image.fromarray(pixels.astype(np.uint8, copy=False))
    icc, exif, xmp = picture.metadata
    blocks = {"icc_profile": icc, "exif": None if exif is None else _EXIF_PREFIX + exif, "xmp": xmp}
    image.info.update({name: block for name, block in blocks.items() if block is not None})
    return image


def pad(pixels: Pixels, stride: int) -> Pixels:
    """Repeat the last row and column until both sides are multiples of stride."""
    H, W, _ = pixels.shape
    return np.pad(pixels, ((0, -H % stride), (0, -W % stride), (0, 0)), mode="edge")


def _from_pil(image: Image.Image) -> Picture:
    if image.mode in {"F", "I"}:
        raise InputError(f"images of mode {image.mode} have no fixed range: convert to 8 bits first")
    metadata = _metadata(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.has_transparency_data:
        low, _ = image.convert("RGBA").getchannel("A").getextrema()
        if low != 255:
            raise InputError("transparency is not supported yet: flatten the picture first")
    gray = image.mode in {"1", "L", "LA"}
    return Picture(np.asarray(image.convert("RGB")), gray, metadata)


def _metadata(image: Image.Image) -> Metadata:
    """The byte blocks of an image; without a color profile that is not for RGB or gray, since pixels become RGB."""
    icc, exif, xmp = (image.info.get(name) for name in ("icc_profile", "exif", "xmp"))
    if not image.mode.startswith(("RGB", "L", "P", "1", "I;16")) or image.mode == "LAB":
        icc = None
    if isinstance(exif, bytes):
        exif = exif.removeprefix(_EXIF_PREFIX)
    return Metadata(*(block if isinstance(block, bytes) else None for block in (icc, exif, xmp)))
