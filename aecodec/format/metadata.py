"""What belongs to a picture besides its pixels: ICC, EXIF, XMP and density, as sections and as Pillow has them."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from PIL import ExifTags, Image

from aecodec.errors import InputError
from aecodec.format.container import SectionKind

_SECTIONS = (SectionKind.ICC, SectionKind.EXIF, SectionKind.XMP, SectionKind.DENSITY)  # of the fields of Metadata
EXIF_PREFIX = b"Exif\0\0"  # stands before the block in JPEG and in Pillow's info
_TIFF_STARTS = (b"II*\0", b"MM\0*")  # of an EXIF block
_TIFF_HEADER = 8  # bytes: that start and where the tags are
_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"  # in JPEG
_ORIENTATION = ExifTags.Base.Orientation
_INTEGERS = {1: "B", 3: "H", 4: "I"}  # of EXIF, by type
_XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:="|>))([0-9])')
_DENSITY = struct.Struct("<II")  # horizontal, vertical, in 1 / _DENSITY_UNIT dots per inch
_DENSITY_UNIT = 10_000
_PROFILE_SPACE = slice(16, 20)  # of an ICC profile: the color space that it is for
_RAW_PROFILE = "Raw profile type "  # ImageMagick's PNG texts of blocks in hexadecimal digits
_RAW_NAMES = {"exif": "exif", "APP1": "exif", "xmp": "xmp", "icc": "icc_profile", "icm": "icc_profile"}
_TIFF_TEXT = (  # tags of a TIFF file that tell of the picture, not of how the file stores it
    *(ExifTags.Base[name] for name in ("ImageDescription", "Make", "Model", "Orientation", "Software", "DateTime")),
    *(ExifTags.Base[name] for name in ("Artist", "HostComputer", "Copyright")),
    *(ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo),
)
_TIFF_LAYOUT = {  # tags of how the file stores it, and those that become metadata by another way
    *range(254, 269), *range(273, 300), 301, *range(316, 348), *range(512, 533),
    *(ExifTags.Base.XMLPacket, ExifTags.Base.InterColorProfile), *range(32_995, 32_999),
}  # fmt: skip
_IPTC_RESOURCE = 0x0404  # of Photoshop's block in JPEG
_WRITERS = (b"Created by OpenJPEG", b"CREATOR: ")  # comments that name the program alone
_MAX_NAMES = 8  # in one note


class Metadata(NamedTuple):
    """Byte blocks that belong to a picture and travel unchanged."""

    icc: bytes | None = None
    exif: bytes | None = None  # from its TIFF header on
    xmp: bytes | None = None
    density: bytes | None = None  # as _DENSITY

    @classmethod
    def from_info(cls, info: Mapping[str, Any]) -> Metadata:
        """What the options of Image.save hold of it, in any form that Pillow takes; everything else is left out.

        icc_profile is bytes or an ImageCmsProfile, exif bytes, an Image.Exif or a dict of its tags, xmp bytes or str,
        dpi one or two numbers. Raises InputError for what is none of these.
        """
        metadata, _ = cls._read(info, info.keys())
        return metadata

    @classmethod
    def found_in(cls, image: Image.Image, named: Mapping[str, Any] | None = None) -> tuple[Metadata, list[str]]:
        """The metadata of an image that is loaded, and what of it cannot be kept.

        What is named, as from_info takes it, replaces the image's own, of which then nothing is told. Raises as
        from_info for what is named, and nothing else.
        """
        named = named or {}
        info, losses = _blocks(image, named)
        metadata, unread = cls._read({**info, **named}, named)
        return metadata, losses + unread

    @classmethod
    def _read(cls, info: Mapping[str, Any], named: Collection[str]) -> tuple[Metadata, list[str]]:
        """The fields in info, and which are none; of those that are named that is an InputError."""
        found, losses = [], []
        for name, read in _READERS.items():
            try:
                found.append(read(info.get(name)))
            except InputError as error:
                if name in named:
                    raise InputError(f"{name} {error}") from error
                found.append(None)
                losses.append(f"{name} is not kept: it {error}")
        return cls(*found), losses

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

    @property
    def orientation(self) -> int:
        """How a viewer turns the picture, 1..8 as in EXIF; of broken blocks 1, as it is stored."""
        value = _exif_orientation(self.exif or b"")
        if value is None:
            told = _XMP_ORIENTATION.search(self.xmp or b"")
            value = int(told[2]) if told else 1
        return value if 1 <= value <= 8 else 1

    @property
    def upright(self) -> Metadata:
        """The metadata for pixels that were turned: without EXIF, and XMP says that they are as they should be."""
        xmp = self.xmp and _XMP_ORIENTATION.sub(rb"\g<1>1", self.xmp)
        return (self.sideways if self.orientation > 4 else self)._replace(exif=None, xmp=xmp)

    @property
    def sideways(self) -> Metadata:
        """The metadata for pixels whose rows became columns."""
        return self._replace(density=self.density and self.density[4:] + self.density[:4])

    @property
    def color_space(self) -> str:
        """Four letters of what the color profile is for, as "RGB " or "GRAY"; empty where nothing tells."""
        space = (self.icc or b"")[_PROFILE_SPACE]
        return space.decode("ascii", "replace") if len(space) == 4 else ""

    def fitting(self, *, gray: bool) -> tuple[Metadata, list[str]]:
        """Without a color profile that is for other channels than gray or RGB, which a loss then tells."""
        if self.color_space in ("", "GRAY" if gray else "RGB "):
            return self, []
        channels = "gray" if gray else "RGB"
        return self._replace(icc=None), [
            f"the color profile is not kept: it is for {self.color_space.strip()!a}, the picture is {channels}"
        ]


def read_density(block: bytes) -> tuple[float, float]:
    """Dots per inch, horizontal and vertical, of a density section."""
    horizontal, vertical = _DENSITY.unpack(block)
    return horizontal / _DENSITY_UNIT, vertical / _DENSITY_UNIT


def turns_sideways(image: Image.Image) -> bool:
    """Whether Pillow has made or will make columns of the rows of a TIFF file, and leaves dpi as they are."""
    tags = getattr(image, "tag_v2", {})
    stored = tuple(tags.get(tag) for tag in (ExifTags.Base.ImageWidth, ExifTags.Base.ImageLength))
    return tags.get(_ORIENTATION) in (5, 6, 7, 8) or (stored != image.size and stored[::-1] == image.size)


def _blocks(image: Image.Image, named: Collection[str]) -> tuple[dict[str, Any], list[str]]:
    """Pillow's info of an image that is loaded, with what Pillow leaves elsewhere, and what is not kept.

    Nothing is looked for or told of what is named.
    """
    info: dict[Any, Any] = dict(image.info)
    losses, names = [], _text_names(image)
    if lost := _profile_loss(image):
        info["icc_profile"] = None
        losses += [] if "icc_profile" in named else [f"the color profile is not kept: {lost}"]
    if image.format in ("TIFF", "MPO") and not isinstance(info.get("exif"), bytes) and "exif" not in named:
        try:
            info["exif"] = _tiff_exif(image)
        except Exception as error:  # Pillow's parser raises whatever a broken file makes it raise
            losses.append(f"exif is not kept: {error}")
    for key in [key for key in info if isinstance(key, str) and key.startswith(_RAW_PROFILE)]:
        kind = key.removeprefix(_RAW_PROFILE)
        try:
            block = _raw_profile(info[key])
        except (AttributeError, ValueError):
            if _RAW_NAMES.get(kind) not in named:
                losses.append(f"{_printable(kind)} is not kept: it is broken")
            continue
        name = "xmp" if block.startswith(_XMP_PREFIX) else _RAW_NAMES.get(kind)
        if name is None:
            names.append(kind.upper())
        elif not info.get(name):
            info[name] = block.removeprefix(_XMP_PREFIX)
    if names:
        listed = ", ".join(map(_printable, names[:_MAX_NAMES]))
        losses.append(f"not kept: {listed}{', ...' if len(names) > _MAX_NAMES else ''}")
    return info, losses


def _text_names(image: Image.Image) -> list[str]:
    """What a file tells in words besides EXIF and XMP."""
    comment = image.info.get("comment")
    names = ["comment"] if comment and not (isinstance(comment, bytes) and comment.startswith(_WRITERS)) else []
    photoshop, tags = image.info.get("photoshop"), getattr(image, "tag_v2", {})
    if isinstance(photoshop, dict) and _IPTC_RESOURCE in photoshop:
        names.append("IPTC")
    names += [
        "IPTC" if tag == ExifTags.Base.IPTCNAA else ExifTags.TAGS.get(tag, f"tag {tag}")
        for tag in tags
        if tag not in _TIFF_LAYOUT and tag not in _TIFF_TEXT
    ]
    texts = getattr(image, "text", {})
    if isinstance(texts, dict):
        names += [name for name in texts if name != "XML:com.adobe.xmp" and not name.startswith(_RAW_PROFILE)]
    return list(dict.fromkeys(names))


def _printable(name: str) -> str:
    """A name from a file, for a terminal."""
    return name if name.isprintable() else ascii(name)


def _raw_profile(text: str) -> bytes:
    """The block of a PNG text: an empty line, its kind, its length, hexadecimal digits. Raises ValueError if broken."""
    _, _, length, *digits = text.split("\n")
    block = bytes.fromhex("".join(digits))
    if len(block) != int(length):
        raise ValueError(f"{len(block)} bytes in place of {length}")
    return block


def _tiff_exif(image: Image.Image) -> bytes | None:
    """What a TIFF file says of its picture, as an EXIF block; None if nothing."""
    kept, source = Image.Exif(), image.getexif()
    for tag in _TIFF_TEXT:
        if tag in source:
            kept[tag] = source.get_ifd(tag) if tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo) else source[tag]
    return kept.tobytes() if len(kept) else None


def _profile_loss(image: Image.Image) -> str:
    """Why the color profile of an image cannot be kept; empty where it can be, or where there is none."""
    profile = image.info.get("icc_profile", b"")
    if profile is None:  # what Pillow makes of one that it cannot read
        return "it is broken"
    # Pixels of these modes become RGB or gray without a change that a profile would have to know of.
    kept = image.mode.startswith(("RGB", "L", "P", "1", "I", "YCbCr")) and image.mode != "LAB"
    return "" if kept or not profile else f"it is for mode {image.mode}"


def _bytes(block: object) -> bytes | None:
    """Any buffer as bytes; None for one without any. Raises InputError for what is no buffer."""
    if block is None:
        return None
    try:
        return bytes(memoryview(block)) or None  # type: ignore[arg-type]
    except TypeError:
        raise InputError(f"must be bytes, got {type(block).__name__}") from None


def _profile(profile: object) -> bytes | None:
    """An ICC profile: a buffer or an ImageCmsProfile."""
    made = getattr(profile, "tobytes", None)
    return _bytes(made() if callable(made) and not isinstance(profile, memoryview) else profile)


def _exif(exif: object) -> bytes | None:
    """An EXIF block from its TIFF header on."""
    if isinstance(exif, Mapping) and not isinstance(exif, Image.Exif):
        tags = Image.Exif()
        tags.update(exif)
        exif = tags
    if isinstance(exif, Image.Exif):
        try:
            exif = exif.tobytes() if len(exif) else None
        except Exception as error:  # Pillow raises whatever a value makes it raise
            raise InputError(f"cannot be written: {error}") from error
    block = _bytes(exif) or b""
    while block.startswith(EXIF_PREFIX):
        block = block.removeprefix(EXIF_PREFIX)
    if 0 < len(block) < _TIFF_HEADER:
        raise InputError(f"is {len(block)} bytes long, {_TIFF_HEADER} at least are needed")
    if block and not block.startswith(_TIFF_STARTS):
        raise InputError(f"starts with {block[:4].hex(' ')}, not as EXIF does")
    return block or None


def _exif_orientation(block: bytes) -> int | None:
    """The tag of an EXIF block, None if there is none; Pillow's parser raises and warns of what is broken besides."""
    order = "<" if block.startswith(b"II") else ">"
    try:
        (place,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, place)
        for entry in range(place + 2, place + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", block, entry)
            if tag == _ORIENTATION:
                value: int = struct.unpack_from(order + _INTEGERS.get(kind, "H"), block, entry + 8)[0]
                return value
    except struct.error:
        pass
    return None


def _xmp(xmp: object) -> bytes | None:
    """An XMP packet: a buffer or str."""
    return _bytes(xmp.encode("utf-8", "surrogatepass") if isinstance(xmp, str) else xmp)


def _density(dpi: object) -> bytes | None:
    """One or two numbers of dots per inch as bytes; None for what no file means. Raises InputError for what is none."""
    if dpi is None:
        return None
    try:
        pair: Any = dpi if isinstance(dpi, tuple | list) else (dpi, dpi)
        horizontal, vertical = (float("" if isinstance(value, str) else value) for value in pair)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        raise InputError(f"must be one or two numbers, got {dpi!r:.40}") from None
    sound = all(0.5 / _DENSITY_UNIT < value < (1 << 32) / _DENSITY_UNIT - 1 for value in (horizontal, vertical))
    return _DENSITY.pack(*(round(value * _DENSITY_UNIT) for value in (horizontal, vertical))) if sound else None


_READERS: dict[str, Callable[[object], bytes | None]] = {  # of the fields of Metadata, by Pillow's names
    "icc_profile": _profile,
    "exif": _exif,
    "xmp": _xmp,
    "dpi": _density,
}
