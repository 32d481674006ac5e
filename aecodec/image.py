"""Pillow images and arrays to pixels uint8 [H, W, 3], alpha and metadata, and back; pad."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from aecodec.arguments import as_number
from aecodec.errors import InputError, PictureWarning
from aecodec.format.container import MAX_PIXELS, MAX_SIDE, Box
from aecodec.format.metadata import Metadata as Metadata
from aecodec.format.metadata import read_density as read_density
from aecodec.format.metadata import turns_sideways

Pixels = NDArray[np.uint8]  # [H, W, 3]

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BAND = 256  # rows that are converted at once
_HEAD = 1 << 16  # bytes at the beginning of a file that say how many bits and which colors it has
_PNG_COLORS = re.compile(rb"\0\0\0\x04cICP(.)(.)", re.DOTALL)
_HEIF_COLORS = re.compile(rb"colrnclx\0(.)\0(.)", re.DOTALL)
_HEIF_BITS = re.compile(rb"pixi\0{4}[\1-\4](.)", re.DOTALL)
_JPEG2000_BITS = re.compile(rb"\xff\x4f\xff\x51.{38}(.)", re.DOTALL)  # less one, and a sign
_PLAIN_PRIMARIES = {1, 2, 5, 6}  # sRGB's, unknown, and so near that nobody can tell (ITU-T H.273)
_PLAIN_TRANSFERS = {1, 2, 6, 13}
_KEY_FACTORS = {"L;2": 85, "L;4": 17}  # from samples of 2 and 4 bits to those of 8
_BITS_PER_SAMPLE = ExifTags.Base.BitsPerSample  # in TIFF
_SRGB_GAMMA = 1 / 2.2
_SRGB_CHROMATICITY = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)


class Picture(NamedTuple):
    pixels: Pixels
    gray: bool  # the three channels are equal and one is what the user had
    metadata: Metadata = Metadata()
    alpha: NDArray[np.uint8] | None = None  # [H, W], None if opaque

    @property
    def filled(self) -> Pixels:
        """Pixels [H, W, 3] with smooth colors where alpha hides them, which costs networks least."""
        if self.alpha is None or self.alpha.all():
            return self.pixels
        return fill_hidden(self.pixels, self.alpha == 0)


def to_picture(
    image: Image.Image | NDArray[np.uint8] | Picture,
    *,
    max_pixels: int = MAX_PIXELS,
    strip: bool = False,
    named: Mapping[str, Any] | None = None,
) -> Picture:
    """A PIL image of any mode but I and F, or a uint8 array [H, W] or [H, W, 1..4], as RGB pixels.

    Channels of arrays are gray, gray and alpha, RGB, RGBA. Alpha comes apart. strip drops all metadata, also that of a
    Picture, and turns the pixels as the EXIF orientation says, which goes with it. named is metadata in place of what a
    PIL image has, under Pillow's names: icc_profile, exif, xmp and dpi, None for none. What cannot be kept (more than 8
    bits, other frames, a profile of other channels, broken EXIF, text) is told by a PictureWarning. Raises InputError
    for what is no such picture, cannot be read, is named and no such metadata, or has more than max_pixels or 65,535
    pixels per side.
    """
    if isinstance(image, Picture):
        picture = _stripped(image) if strip else image
    elif isinstance(image, Image.Image):
        check_size(image.width, image.height, max_pixels)
        picture = _from_pil(image, {} if named is None else named, strip=strip)
    else:
        picture = _from_array(image, max_pixels)
    check_size(picture.pixels.shape[1], picture.pixels.shape[0], max_pixels)
    return picture


def from_picture(picture: Picture) -> Image.Image:
    """PIL image of mode RGB, L, RGBA or LA; metadata is in its info as Pillow's own readers leave it."""
    pixels = picture.pixels
    if picture.gray:
        pixels = np.concatenate([(rows.sum(2, dtype=np.uint16) + 1) // 3 for rows in _bands(pixels)]).astype(np.uint8)
    image = Image.fromarray(pixels)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    image.info.update(picture.metadata.info)
    return image


def upright(image: Image.Image) -> Image.Image:
    """The image as a viewer turns it, with no metadata left that would turn it again."""
    metadata, _ = Metadata.found_in(image)
    if metadata.orientation == 1:
        return image
    turned = image.transpose(_TURNS[metadata.orientation])
    turned.info.clear()
    turned.info.update(metadata.upright.info)
    return turned


def flatten(image: Image.Image) -> Image.Image:
    """An image without transparency: what it has is put on white."""
    if image.mode not in ("LA", "RGBA"):
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert(image.mode.removesuffix("A"))


def shown_pixels(picture: Picture) -> NDArray[np.uint8]:
    """What a viewer sees, [H, W, 3] or [H, W]: gray as one channel, transparency on white."""
    if not picture.gray and picture.alpha is None:
        return picture.pixels
    return np.asarray(flatten(from_picture(picture)))


def crop_middle(image: Image.Image, side: int) -> Image.Image:
    """What lies in the middle of a picture, at most side x side pixels."""
    width, height = (min(length, side) for length in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def crop_padded(pixels: Pixels, box: Box) -> Pixels:
    """The pixels in a box, which may end behind the last row and column: those are repeated."""
    H, W, _ = pixels.shape
    inside = pixels[box.cells(1)]
    return np.pad(inside, ((0, max(box.bottom - H, 0)), (0, max(box.right - W, 0)), (0, 0)), mode="edge")


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises InputError for a picture that no file may hold."""
    if not 0 < width * height <= as_number("max_pixels", max_pixels) or max(width, height) > MAX_SIDE:
        raise InputError(f"picture of {width}x{height} is outside 1..{max_pixels} pixels or {MAX_SIDE} per side")


def _from_array(array: NDArray[np.uint8], max_pixels: int) -> Picture:
    """The channels are told by their number, as those of what from_picture gives."""
    if not isinstance(array, np.ndarray):
        raise InputError(f"picture must be a PIL image or an array, got {type(array).__name__}")
    if array.dtype != np.uint8:
        raise InputError(f"array must be uint8, got {array.dtype}")
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (2,), (3,), (4,)):
        raise InputError(f"array must be [H, W] or [H, W, 1..4], got {list(array.shape)}")
    check_size(array.shape[1], array.shape[0], max_pixels)
    if array.shape[2:] in ((2,), (4,)):
        return _from_pil(Image.fromarray(array), {}, strip=False)
    return _opaque(array[:, :, 0] if array.shape[2:] == (1,) else array, Metadata())


def _opaque(channels: NDArray[np.uint8], metadata: Metadata) -> Picture:
    """The picture of [H, W] or [H, W, 3]; the three channels of gray are one in memory."""
    gray = channels.ndim == 2
    return Picture(np.broadcast_to(channels[:, :, None], (*channels.shape, 3)) if gray else channels, gray, metadata)


def _from_pil(image: Image.Image, named: Mapping[str, Any], *, strip: bool) -> Picture:
    try:
        rawmode, losses, sideways = _rawmode(image), _losses(image, named), turns_sideways(image)
        image.load()
    except Exception as error:  # Pillow's parsers raise whatever a broken file makes them raise
        raise InputError(f"picture cannot be read: {error}") from error
    metadata, unkept = Metadata.found_in(image, named)
    if sideways and "dpi" not in named:
        metadata = metadata.sideways
    if strip:
        image, metadata, unkept = _turned(image, metadata.orientation), Metadata(), []
    if image.mode in ("P", "PA") and image.palette is None:  # Pillow forgets that of ICNS
        image = image.convert("RGBA")
    image = _eight_bits(_with_fitting_key(image, rawmode), rawmode)
    gray = image.mode in {"1", "L", "LA", "La"} or rawmode.split(";")[0] == "LA"
    if _has_gray_palette(image):
        gray = metadata.color_space != "RGB "  # which a palette may have, and gray may not
    metadata, unfit = metadata.fitting(gray=gray)
    for loss in (*losses, *unkept, *unfit):
        warnings.warn(loss, PictureWarning, stacklevel=4)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        if alpha.getextrema() != (255, 255):
            colors = image.convert("RGB").convert("L" if gray else "RGB")
            return _opaque(_array(colors), metadata)._replace(alpha=_array(alpha))
    return _opaque(_array(image if image.mode in ("L", "RGB") else image.convert("L" if gray else "RGB")), metadata)


def _stripped(picture: Picture) -> Picture:
    """The picture without metadata, turned as it said."""
    orientation = picture.metadata.orientation
    if orientation == 1:
        return picture._replace(metadata=Metadata())
    channels = Image.fromarray(np.ascontiguousarray(picture.pixels[:, :, 0] if picture.gray else picture.pixels))
    turned = _opaque(_array(_turned(channels, orientation)), Metadata())
    if picture.alpha is None:
        return turned
    return turned._replace(alpha=_array(_turned(Image.fromarray(picture.alpha), orientation)))


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image if orientation == 1 else image.transpose(_TURNS[orientation])


def _losses(image: Image.Image, named: Mapping[str, Any]) -> list[str]:
    """What of the pixels of an image that was just opened will not be kept."""
    losses = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        kept = "the first" if image.tell() == 0 else f"number {image.tell() + 1}"
        losses.append(f"{frames} pictures in one file: only {kept} is kept")
    head = _head(image)
    bits = _bits(image, head)
    if bits > 8:
        losses.append(f"{bits} bits per channel are reduced to 8")
    if "icc_profile" not in image.info and not named.get("icc_profile"):
        losses += _color_losses(image, head)
    return losses


def _head(image: Image.Image) -> bytes:
    """The first bytes of the file of an image, nothing where it has none."""
    file: Any = getattr(image, "fp", None)
    try:
        place = file.tell()
        file.seek(0)
        head: bytes = file.read(_HEAD)
        file.seek(place)
    except (AttributeError, OSError, ValueError):  # no file, or it is closed
        return b""
    return head


def _bits(image: Image.Image, head: bytes) -> int:
    """Bits per channel in the file, as far as its kind has more than 8."""
    rawmode = _rawmode(image)
    if ";12" in rawmode:
        return 12
    if ";16" in rawmode or image.mode.startswith("I;16") or _is_deep_ppm(image):
        return 16
    if image.format == "JPEG2000":
        return max(((one[0] & 127) + 1 for one in _JPEG2000_BITS.findall(head)), default=8)
    if image.format in ("AVIF", "HEIF"):
        return max((one[0] for one in _HEIF_BITS.findall(head) if one[0] <= 16), default=8)
    return 8


def _color_losses(image: Image.Image, head: bytes) -> list[str]:
    """What a file without a profile says of its colors, where that is not sRGB."""
    colors = {"PNG": _PNG_COLORS, "AVIF": _HEIF_COLORS, "HEIF": _HEIF_COLORS}.get(image.format or "")
    found = colors and colors.search(head)
    if found:
        primaries, transfer = found[1][0], found[2][0]
        if primaries in _PLAIN_PRIMARIES and transfer in _PLAIN_TRANSFERS:
            return []
        return [f"the color space is not kept: primaries {primaries}, transfer {transfer}"]
    gamma, chromaticity = image.info.get("gamma"), image.info.get("chromaticity")
    if image.format != "PNG" or "srgb" in image.info:
        return []
    losses = []
    if isinstance(gamma, float) and abs(gamma - _SRGB_GAMMA) > 0.01:
        losses.append(f"gamma {gamma:g} is not kept")
    if isinstance(chromaticity, tuple) and not np.allclose(chromaticity, _SRGB_CHROMATICITY, atol=0.01):
        losses.append("chromaticities are not kept")
    return losses


def _rawmode(image: Image.Image) -> str:
    """Pillow's name of the samples in the file, as long as they are not read: RGB;16B is opened as RGB.

    12 bits of gray are told of a TIFF file that is loaded as well: Pillow puts them into I;16 as they are.
    """
    if image.mode == "I;16" and getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE) == (12,):
        return "I;12"
    args = [tile.args for tile in getattr(image, "tile", [])][:1]
    return str(args[0] if args and isinstance(args[0], str) else (args[0] or [""])[0] if args else "")


def _with_fitting_key(image: Image.Image, rawmode: str) -> Image.Image:
    """The image with the transparent color of its PNG file in samples of 8 bits, as Pillow has made the others."""
    key: Any = image.info.get("transparency")
    fitted: Any = None
    if isinstance(key, int) and rawmode in _KEY_FACTORS:
        fitted = key * _KEY_FACTORS[rawmode]
    elif isinstance(key, tuple) and rawmode == "RGB;16B":
        fitted = tuple(sample >> 8 for sample in key)
    elif not isinstance(key, str):  # which is a text of that name
        return image
    image = image.copy()
    del image.info["transparency"]
    if fitted is not None:
        image.info["transparency"] = fitted
    return image


def _is_deep_ppm(image: Image.Image) -> bool:
    """PPM files of more than 8 bits: mode I where gray, scaled to 16 bits, and RGB where not."""
    args = next((tile.args for tile in getattr(image, "tile", [])), ())
    deep_color = isinstance(args, tuple) and len(args) == 2 and isinstance(args[1], int) and args[1] > 255
    return image.format == "PPM" and (image.mode == "I" or deep_color)


def _eight_bits(image: Image.Image, rawmode: str) -> Image.Image:
    """The image with at most 8 bits per channel: the upper half of 16, as Pillow itself does for RGB."""
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
        raise InputError(f"images of mode {image.mode} have no fixed range: convert to 8 bits first")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image.convert("LA") if image.mode == "La" else image
    values = np.asarray(image)
    reduced = Image.fromarray((values >> (4 if rawmode.startswith("I;12") else 8)).astype(np.uint8))
    if isinstance(image.info.get("transparency"), int):
        reduced.putalpha(Image.fromarray(values != image.info["transparency"]).convert("L"))
    return reduced


def _has_gray_palette(image: Image.Image) -> bool:
    if image.mode not in ("P", "PA"):
        return False
    colors = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    return bool(np.all(colors == colors[:, :1]))


def fill_hidden(pixels: Pixels, hidden: NDArray[np.bool_]) -> Pixels:
    """Pixels [H, W, 3] with a smooth extension of those that are not hidden."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.putalpha(Image.fromarray(np.where(hidden, 0, 255).astype(np.uint8)))
    return _array(_fill_hidden(image))


def _fill_hidden(image: Image.Image) -> Image.Image:
    """RGB of an RGBA image, with a smooth extension of the visible colors where alpha is 0 (pull and push pyramid)."""
    colors, visible = image.convert("RGB"), image.getchannel("A").point(lambda alpha: 255 * (alpha > 0))
    if visible.getextrema()[0] == 255 or image.size == (1, 1):
        return colors
    colors.putalpha(visible)
    coarse = _fill_hidden(colors.reduce(2))
    return Image.composite(colors.convert("RGB"), coarse.resize(image.size, Image.Resampling.BILINEAR), visible)


def _bands(pixels: Pixels) -> list[Pixels]:
    return [pixels[top : top + _BAND] for top in range(0, len(pixels), _BAND)]


def _array(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels of an L or RGB image; band by band, since Pillow would make two more copies of the whole."""
    array = np.empty((image.height, image.width, 3)[: 2 + (image.mode == "RGB")], np.uint8)
    for top, rows in zip(range(0, image.height, _BAND), _bands(array), strict=True):
        rows[:] = np.asarray(image.crop((0, top, image.width, top + len(rows))))
    return array
