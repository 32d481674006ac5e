"""Metadata on its way out: no block stops a picture, and what a format does not keep is said."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import ExifTags, Image, ImageCms, ImageOps
from support import DATA

from aecodec import PictureWarning
from aecodec.cli.app import main
from aecodec.cli.files import image_file
from aecodec.format.container import SectionKind, pack, unpack

TINY = ["--weights", DATA / "tiny.safetensors"]
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif_block(**tags: object) -> bytes:
    exif = Image.Exif()
    for name, value in tags.items():
        exif[ExifTags.Base[name]] = value
    return exif.tobytes()


def picture(**info: object) -> Image.Image:
    """40x20 pixels, dark on the left."""
    image = Image.fromarray(np.tile(np.linspace(0, 255, 40).astype(np.uint8)[:, None], (20, 1, 3)))
    image.info.update(info)
    return image


def written(image: Image.Image, name: str) -> tuple[Image.Image, list[str]]:
    """What a viewer shows of the file, and what was said when it was written."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        data = image_file(image, name)
    notes = [str(one.message) for one in found if one.category is PictureWarning]
    quiet = warnings.catch_warnings(action="ignore")  # Pillow's, of broken blocks that were kept
    with quiet, Image.open(io.BytesIO(data)) as opened:
        opened.load()
        return ImageOps.exif_transpose(opened), notes


FORMATS = ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM", "JPEG2000"]
BROKEN = {
    "two prefixes": b"Exif\0\0Exif\0\0" + exif_block(Artist="me"),
    "no EXIF": b"XX*\0\x08\0\0\0\0\0",
    "tags beyond the end": b"Exif\0\0MM\0*\0\0\0\x08\0\xff" + b"\x01\x1a\0\x05" * 3,
    "broken density": exif_block(XResolution=72.0, ResolutionUnit=2).replace(b"\x01\x1a\x00\x05", b"\x01\x1a\x00\x07"),
    "nothing": b"\xff" * 9,
    "long": exif_block(ImageDescription="x" * 70_000),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("block", BROKEN)
def test_broken_exif_stops_no_format(form: str, block: str) -> None:
    image, notes = written(picture(exif=BROKEN[block]), form)
    assert image.size == (40, 20)
    kept = form in ("PNG", "WEBP", "TIFF") and block in ("two prefixes", "long")
    if block in ("no EXIF", "nothing") or form in ("BMP", "GIF", "PPM", "JPEG2000"):
        assert any("EXIF" in note or "exif" in note for note in notes)
    assert not (kept and notes)


def test_blocks_of_more_than_64_kilobytes_leave_jpeg_upright() -> None:
    image, notes = written(picture(exif=exif_block(Orientation=6, ImageDescription="x" * 70_000)), "JPEG")
    assert (image.size, notes) == ((20, 40), ["JPEG does not keep EXIF of this picture"])
    image, notes = written(picture(xmp=XMP + b" " * 70_000), "JPEG")
    assert (image.size, notes) == ((20, 40), ["JPEG does not keep XMP of this picture"])
    assert written(picture(xmp=XMP + b" " * 70_000), "PNG")[1] == []


@pytest.mark.parametrize("form", FORMATS)
def test_xmp_turns_nothing_where_exif_has_said_that_it_is_upright(form: str) -> None:
    """EXIF decides; where it is dropped, what XMP says must not come to life."""
    exif = exif_block(Orientation=6).replace(b"\x01\x12\0\3\0\0\0\1\0\6", b"\x01\x12\0\4\0\0\0\1\0\0")  # 0
    assert written(picture(exif=exif, xmp=XMP), form)[0].size == (40, 20)


def test_exif_stays_where_xmp_that_turned_the_picture_is_dropped() -> None:
    with pytest.warns(PictureWarning, match="^JPEG does not keep XMP of this picture$"):
        data = image_file(picture(exif=exif_block(Artist="me"), xmp=XMP + b" " * 70_000), "JPEG")
    image = Image.open(io.BytesIO(data))
    assert (image.size, image.getexif()[ExifTags.Base.Artist]) == ((20, 40), "me")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "info", [{"exif": exif_block(Orientation=6)}, {"xmp": XMP}, {"exif": exif_block(Orientation=6), "xmp": XMP}]
)
def test_every_format_is_shown_upright_once(form: str, info: dict[str, bytes]) -> None:
    image, notes = written(picture(**info), form)
    assert image.size == (20, 40)
    shades = np.asarray(image.convert("L")).astype(int)
    assert shades[0].mean() < 40  # turned to the right: what was left is above
    assert shades[-1].mean() > 215
    assert ("EXIF" in str(notes)) == (form in ("BMP", "GIF", "PPM", "JPEG2000") and "exif" in info)


def test_density_is_turned_with_the_pixels() -> None:
    data = image_file(picture(exif=exif_block(Artist="me"), dpi=(300, 150)), "PNG")
    assert Image.open(io.BytesIO(data)).info["dpi"] == pytest.approx((300, 150), abs=0.02)
    with pytest.warns(PictureWarning, match="BMP does not keep EXIF"):
        data = image_file(picture(exif=exif_block(Orientation=6), dpi=(300, 150)), "BMP")
    assert Image.open(io.BytesIO(data)).info["dpi"] == pytest.approx((150, 300), abs=0.02)


@pytest.mark.parametrize(
    ("form", "lost"),
    [
        ("JPEG", ""),
        ("PNG", ""),
        ("TIFF", ""),
        ("WEBP", "dpi"),
        ("AVIF", "dpi"),
        ("GIF", "the color profile, EXIF, dpi"),
        ("BMP", "the color profile, EXIF, XMP"),
        ("PPM", "the color profile, EXIF, XMP, dpi"),
    ],
)
def test_what_a_format_does_not_keep_is_said(form: str, lost: str) -> None:
    info = {"exif": exif_block(Artist="me"), "icc_profile": PROFILE, "xmp": b"<x/>", "dpi": (300, 150)}
    image = picture(**info)
    notes = written(image, form)[1]
    if form == "GIF":
        assert notes[0].startswith("GIF does not keep")
    else:
        assert notes == ([f"{form} does not keep {lost} of this picture"] if lost else [])
    assert image.info == info


def test_hostile_blocks_of_a_file_stop_no_picture(tmp_path: Path) -> None:
    header, metadata, tiles = unpack((DATA / "golden" / "metadata.aec").read_bytes())
    metadata = dict.fromkeys(metadata, b"\xff" * 9)
    (tmp_path / "hostile.aec").write_bytes(pack(header, metadata, tiles))
    for suffix in (".tiff", ".avif", ".jpg", ".png", ".webp", ".bmp"):
        target = tmp_path / f"out{suffix}"
        result = run("decode", tmp_path / "hostile.aec", target, *TINY)
        assert result.exit_code == 0, (suffix, result.output)
        assert "exif is not kept: it starts with ff ff ff ff" in result.stderr
        with Image.open(target) as image:
            image.load()


@pytest.mark.parametrize(
    ("kind", "content", "wrong", "note"),
    [
        (b"tEXt", b"Title\0x", 1, "broken metadata in this file"),  # the checksum
        (b"pHYs", b"\0", 0, "broken metadata in this file"),
        (b"gAMA", b"\0", 0, "broken metadata in this file"),
        (b"iCCP", b"name\0\0no zlib", 0, "the color profile is not kept: it is broken"),
        (b"zTXt", b"workflow\0\0" + zlib.compress(bytes(3_000_000)), 0, "not kept: workflow"),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP + b" " * 3_000_000), 0, ""),
        (b"iCCP", b"name\0\0" + zlib.compress(PROFILE + bytes(3_000_000)), 0, ""),
    ],
)
def test_chunks_of_png_that_are_broken_or_long_stop_no_picture(
    tmp_path: Path, kind: bytes, content: bytes, wrong: int, note: str
) -> None:
    file = io.BytesIO()
    picture().save(file, "PNG")
    checksum = struct.pack(">I", zlib.crc32(kind + content) ^ wrong)
    chunk = struct.pack(">I", len(content)) + kind + content + checksum
    data, source = file.getvalue(), tmp_path / "a.png"
    for end, code in ((len(data), 0), (-40, 1)):  # the pixels are checked as they always are
        source.write_bytes(data[:33] + chunk + data[33:end])
        result = run("encode", source, tmp_path / "a.aec", *TINY)
        assert result.exit_code == code, result.output
        assert code or f"a.png: {note}" in result.stderr or not note
    assert note or len(unpack((tmp_path / "a.aec").read_bytes()).sections) == 1  # XMP, or the profile


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("block", BROKEN)
def test_compare_and_verify_measure_pictures_of_broken_exif(tmp_path: Path, block: str) -> None:
    source, packed = tmp_path / "a.png", tmp_path / "a.aec"
    image = picture()
    image.save(source, exif=BROKEN[block])
    assert run("encode", source, packed, *TINY).exit_code == 0
    for command in (("compare", source, packed), ("verify", packed, "--original", source)):
        result = run(*command, *TINY)
        assert (result.exit_code, "PSNR" in result.output) == (0, True), result.output
    header, sections, tiles = unpack(packed.read_bytes())
    sections[SectionKind.EXIF] = BROKEN[block]  # from an encoder that does not look
    packed.write_bytes(pack(header, sections, tiles))
    assert run("compare", source, packed, *TINY).exit_code == 0


@pytest.mark.parametrize("form", ["MPO", "PCX", "SGI", "QOI", "GIF", "DIB", "PPM", "JPEG", "TGA"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_every_format_takes_as_much_of_a_picture_as_it_has_place_for(form: str, mode: str) -> None:
    image = picture().convert("L")
    if mode.endswith("A"):
        image.putalpha(Image.linear_gradient("L").resize(image.size).point(lambda alpha: 255 * (alpha > 99)))
    image = image.convert(mode)
    shown, notes = written(image, form)
    opaque = form in ("MPO", "PCX", "DIB", "PPM", "JPEG") and mode != "L"
    assert notes == [f"{form} has no transparency: the picture is put on white"] * opaque
    white = Image.new("RGBA", image.size, "white")
    flat, expected = (Image.alpha_composite(white, one.convert("RGBA")).convert("L") for one in (shown, image))
    assert np.abs(np.asarray(flat).astype(int) - np.asarray(expected)).mean() < 4
    if mode != "L" and not opaque:
        assert np.array_equal(shown.convert("RGBA").getchannel("A"), image.getchannel("A"))


def test_formats_that_can_only_be_written_are_written() -> None:
    assert image_file(picture().convert("RGBA"), "PDF").startswith(b"%PDF")
    with pytest.warns(PictureWarning, match="EPS has no transparency"):
        assert image_file(picture().convert("RGBA"), "EPS").startswith(b"%!PS")
