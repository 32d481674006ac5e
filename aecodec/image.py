"""Pillow images and arrays to pixels uint8 [H, W, 3], alpha and metadata, and back; pad."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from aecodec.arguments import as_number
from aecodec.container import MAX_PIXELS, MAX_SIDE, Box, SectionKind
from aecodec.errors import InputError, PictureWarning

Pixels = NDArray[np.uint8]  # [H, W, 3]

_SECTIONS = (SectionKind.ICC, SectionKind.EXIF, SectionKind.XMP, SectionKind.DENSITY)  # of the fields of Metadata
EXIF_PREFIX = b"Exif\0\0"  # stands before the block in JPEG and in Pillow's info
_DENSITY = struct.Struct("<II")  # horizontal, vertical, in 1 / _DENSITY_UNIT dots per inch
_DENSITY_UNIT = 10_000
_BAND = 256  # rows that are converted at once
_TIFF_TEXT = (  # tags of a TIFF file that tell of the picture, not of how the file stores it
    *(ExifTags.Base[name] for name in ("ImageDescription", "Make", "Model", "Orientation", "Software", "DateTime")),
    *(ExifTags.Base[name] for name in ("Artist", "HostComputer", "Copyright")),
    *(ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo),
)


class Metadata(NamedTuple):
    """Byte blocks that belong to a picture and travel unchanged."""

    icc: bytes | None = None
    exif: bytes | None = None  # from its TIFF header on
    xmp: bytes | None = None
    density: bytes | None = None  # as _DENSITY

    @classmethod
    def from_info(cls, info: Mapping[str, Any]) -> Metadata:
        """What Image.info, or the options of Image.save, hold of it; everything else is left out."""
        icc, exif, xmp = (info.get(name) for name in ("icc_profile", "exif", "xmp"))
        if isinstance(exif, Image.Exif):
            exif = exif.tobytes()
        if isinstance(exif, bytes):
            exif = exif.removeprefix(EXIF_PREFIX)
        icc, exif, xmp = (block if isinstance(block, bytes) and block else None for block in (icc, exif, xmp))
        return cls(icc, exif, xmp, _density(info.get("dpi")))

    @classmethod
    def from_sections(cls, sections: Mapping[SectionKind, bytes]) -> Metadata:
        return cls(*(sections.get(kind) for kind in _SECTIONS))

    @property
    def sections(self) -> dict[SectionKind, bytes]:
        return {kind: block for kind, block in zip(_SECTIONS, self, strict=True) if block is not None}

    @property
    def info(self) -> dict[str, Any]:
        """As Pillow's own readers leave it in Image.info."""
        exif = None if self.exif is None else EXIF_PREFIX + self.exif
        info: dict[str, Any] = {"icc_profile": self.icc, "exif": exif, "xmp": self.xmp}
        if self.density is not None:
            info["dpi"] = read_density(self.density)
        return {name: value for name, value in info.items() if value is not None}


class Picture(NamedTuple):
    pixels: Pixels
    gray: bool  # the three channels are equal and one is what the user had
    metadata: Metadata = Metadata()
    alpha: NDArray[np.uint8] | None = None  # [H, W], None if opaque


def to_picture(
    image: Image.Image | NDArray[np.uint8] | Picture, *, max_pixels: int = MAX_PIXELS, strip: bool = False
) -> Picture:
    """A PIL image of any mode but I and F, or a uint8 array [H, W] or [H, W, 1..4], as RGB pixels.

    Channels of arrays are gray, gray and alpha, RGB, RGBA. Alpha comes apart, and colors that it hides are replaced by
    smooth ones. strip drops all metadata, and turns the pixels as the EXIF orientation says, which goes with it. What
    cannot be kept (16 bits, other frames, a profile of other channels) is told by a PictureWarning. Raises InputError
    for what is no such picture, cannot be read, or has more than max_pixels or 65,535 pixels per side.
    """
    if isinstance(image, Picture):
        picture = image
    elif isinstance(image, Image.Image):
        check_size(image.width, image.height, max_pixels)
        picture = _from_pil(image, strip=strip)
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


def read_density(block: bytes) -> tuple[float, float]:
    """Dots per inch, horizontal and vertical, of a density section."""
    horizontal, vertical = _DENSITY.unpack(block)
    return horizontal / _DENSITY_UNIT, vertical / _DENSITY_UNIT


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
        return _from_pil(Image.fromarray(array), strip=False)
    return _opaque(array[:, :, 0] if array.shape[2:] == (1,) else array, Metadata())


def _opaque(channels: NDArray[np.uint8], metadata: Metadata) -> Picture:
    """The picture of [H, W] or [H, W, 3]; the three channels of gray are one in memory."""
    gray = channels.ndim == 2
    return Picture(np.broadcast_to(channels[:, :, None], (*channels.shape, 3)) if gray else channels, gray, metadata)


def _from_pil(image: Image.Image, *, strip: bool) -> Picture:
    try:
        rawmode, losses = _rawmode(image), _losses(image)
        image.load()
        metadata = Metadata() if strip else _metadata(image)
        if strip and image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            image = ImageOps.exif_transpose(image)
    except Exception as error:  # Pillow's parsers raise whatever a broken file makes them raise
        raise InputError(f"picture cannot be read: {error}") from error
    for loss in losses:
        warnings.warn(loss, PictureWarning, stacklevel=4)
    image = _eight_bits(image)
    gray = image.mode in {"1", "L", "LA", "La"} or rawmode.startswith("LA") or _has_gray_palette(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        if alpha.getextrema() != (255, 255):
            filled = _fill_hidden(image).convert("L" if gray else "RGB")
            return _opaque(_array(filled), metadata)._replace(alpha=_array(alpha))
    return _opaque(_array(image if image.mode in ("L", "RGB") else image.convert("L" if gray else "RGB")), metadata)


def _losses(image: Image.Image) -> list[str]:
    """What of an image that was just opened will not be kept."""
    losses = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        losses.append(f"{frames} pictures in one file: only the first is kept")
    if ";16" in _rawmode(image) or image.mode.startswith("I;16") or _is_deep_ppm(image):
        losses.append("16 bits per channel are reduced to 8")
    if "icc_profile" in image.info and not _keeps_profile(image):
        losses.append(f"the color profile is not kept: it is for mode {image.mode}")
    return losses


def _rawmode(image: Image.Image) -> str:
    """Pillow's name of the samples in the file, as long as they are not read: RGB;16B is opened as RGB."""
    args = [tile.args for tile in getattr(image, "tile", [])][:1]
    return str(args[0] if args and isinstance(args[0], str) else (args[0] or [""])[0] if args else "")


def _is_deep_ppm(image: Image.Image) -> bool:
    """PPM files of more than 8 bits: mode I where gray, scaled to 16 bits, and RGB where not."""
    args = next((tile.args for tile in getattr(image, "tile", [])), ())
    deep_color = isinstance(args, tuple) and len(args) == 2 and isinstance(args[1], int) and args[1] > 255
    return image.format == "PPM" and (image.mode == "I" or deep_color)


def _eight_bits(image: Image.Image) -> Image.Image:
    """The image with at most 8 bits per channel: the upper half of 16, as Pillow itself does for RGB."""
    if image.mode in {"F", "I"} and image.format != "PPM":
        raise InputError(f"images of mode {image.mode} have no fixed range: convert to 8 bits first")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image.convert("LA") if image.mode == "La" else image
    values = np.asarray(image)
    reduced = Image.fromarray((values >> 8).astype(np.uint8))
    if isinstance(image.info.get("transparency"), int):
        reduced.putalpha(Image.fromarray(values != image.info["transparency"]).convert("L"))
    return reduced


def _has_gray_palette(image: Image.Image) -> bool:
    if image.mode not in ("P", "PA"):
        return False
    colors = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    return bool(np.all(colors == colors[:, :1]))


def _fill_hidden(image: Image.Image) -> Image.Image:
    """RGB of an RGBA image, with a smooth extension of the visible colors where alpha is 0 (pull and push pyramid)."""
    colors, visible = image.convert("RGB"), image.getchannel("A").point(lambda alpha: 255 * (alpha > 0))
    if visible.getextrema()[0] == 255 or image.size == (1, 1):
        return colors
    colors.putalpha(visible)
    coarse = _fill_hidden(colors.reduce(2))
    return Image.composite(colors.convert("RGB"), coarse.resize(image.size, Image.Resampling.BILINEAR), visible)


def _metadata(image: Image.Image) -> Metadata:
    """The byte blocks of an image."""
    info: dict[Any, Any] = dict(image.info)
    if image.format in ("TIFF", "MPO") and not isinstance(info.get("exif"), bytes):
        info["exif"] = _tiff_exif(image)
    if not _keeps_profile(image):
        info.pop("icc_profile", None)
    return Metadata.from_info(info)


def _tiff_exif(image: Image.Image) -> bytes | None:
    """What a TIFF file says of its picture, as an EXIF block; None if nothing."""
    kept, source = Image.Exif(), image.getexif()
    for tag in _TIFF_TEXT:
        if tag in source:
            kept[tag] = source.get_ifd(tag) if tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo) else source[tag]
    return kept.tobytes() if len(kept) else None


def _keeps_profile(image: Image.Image) -> bool:
    """Whether a color profile of this mode is one for the RGB or gray that its pixels become."""
    return image.mode.startswith(("RGB", "L", "P", "1", "I")) and image.mode != "LAB"


def _density(dpi: object) -> bytes | None:
    """Two numbers of dots per inch as bytes; None for what is none, or what no file means."""
    if not isinstance(dpi, tuple):
        return None
    try:
        horizontal, vertical = (round(float(value) * _DENSITY_UNIT) for value in dpi)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        return None
    sound = 0 < horizontal < 1 << 32 and 0 < vertical < 1 << 32
    return _DENSITY.pack(horizontal, vertical) if sound else None


def _bands(pixels: Pixels) -> list[Pixels]:
    return [pixels[top : top + _BAND] for top in range(0, len(pixels), _BAND)]


def _array(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels of an L or RGB image; band by band, since Pillow would make two more copies of the whole."""
    array = np.empty((image.height, image.width, 3)[: 2 + (image.mode == "RGB")], np.uint8)
    for top, rows in zip(range(0, image.height, _BAND), _bands(array), strict=True):
        rows[:] = np.asarray(image.crop((0, top, image.width, top + len(rows))))
    return array
