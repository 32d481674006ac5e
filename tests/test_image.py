"""What counts as a picture."""

from __future__ import annotations

import io
import struct
import textwrap
import warnings
import zlib
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from aecodec import Codec, InputError, PictureWarning
from aecodec.format.container import Box, SectionKind, unpack
from aecodec.format.metadata import Metadata
from aecodec.image import Picture, crop_padded, from_picture, to_picture, upright


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "LAB", "RGBX"])
def test_modes_become_rgb(coffee: Image.Image, mode: str) -> None:
    source = Image.new("LAB", (40, 30)) if mode == "LAB" else coffee.resize((40, 30)).convert(mode)
    picture = to_picture(source)
    assert picture.pixels.shape == (30, 40, 3)
    assert picture.gray == (mode in {"1", "L"})
    assert np.array_equal(picture.pixels, np.asarray(source.convert("RGB")))


def test_gray_stays_gray(coffee: Image.Image) -> None:
    gray = coffee.convert("L")
    restored = from_picture(to_picture(gray))
    assert restored.mode == "L"
    assert np.array_equal(np.asarray(restored), np.asarray(gray))


def test_gray_is_the_rounded_mean_of_the_channels() -> None:
    pixels = np.array([[[1, 1, 3], [1, 1, 2], [254, 255, 255], [255, 255, 255]]], np.uint8)
    assert np.asarray(from_picture(Picture(pixels, gray=True))).tolist() == [[2, 1, 255, 255]]


def as_file(image: Image.Image, form: str, **options: object) -> Image.Image:
    """The image as someone else opens it from a file."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return Image.open(file)


def png(pixels: bytes, width: int, color_type: int) -> Image.Image:
    """A PNG of one row of 16-bit samples, which Pillow itself cannot write for colors."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, 16, color_type, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" + pixels))
    return Image.open(io.BytesIO(b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")))


def deep_images() -> dict[str, Image.Image]:
    """16 bits in several files; the upper half of the first channel is 0, 1, 255."""
    gray = Image.fromarray(np.array([[255, 256, 65_535]], np.uint16))
    return {
        "memory": gray,
        "gray png": as_file(gray, "PNG"),
        "gray tiff": as_file(gray, "TIFF"),
        "pgm": Image.open(io.BytesIO(b"P5 3 1 65535\n" + bytes([0, 255, 1, 0, 255, 255]))),
        "ppm": Image.open(io.BytesIO(b"P6 3 1 65535\n" + bytes([0, 255] * 3 + [1, 0] * 3 + [255, 255] * 3))),
        "rgb png": png(bytes([0, 255] * 3 + [1, 0] * 3 + [255, 255] * 3), 3, 2),
        "gray alpha png": png(bytes([0, 255, 9, 9, 1, 0, 9, 9, 255, 255, 255, 255]), 3, 4),
    }


@pytest.mark.parametrize("name", deep_images())
def test_sixteen_bits_keep_their_upper_half_and_say_so(name: str) -> None:
    with pytest.warns(PictureWarning, match="16 bits per channel are reduced to 8"):
        picture = to_picture(deep_images()[name])
    assert picture.pixels[0, :, 0].tolist() in ([0, 1, 255], [1, 1, 255])  # the second: Pillow rounds PPM itself
    assert picture.gray == ("rgb" not in name and name != "ppm")
    assert picture.alpha is None or picture.alpha.tolist() == [[9, 9, 255]]


def test_eight_bits_say_nothing(coffee: Image.Image) -> None:
    for form in ("PNG", "PPM", "TIFF", "JPEG", "WEBP", "AVIF", "BMP"):
        to_picture(as_file(coffee.crop((0, 0, 20, 20)), form))  # a warning is an error in these tests


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_animations_give_their_first_frame_and_say_so(form: str) -> None:
    frames = [Image.new("RGB", (16, 16), (shade, 0, 0)) for shade in (200, 100, 0)]
    with pytest.warns(PictureWarning, match="3 pictures in one file: only the first is kept"):
        picture = to_picture(as_file(frames[0], form, save_all=True, append_images=frames[1:]))
    assert abs(int(picture.pixels[8, 8, 0]) - 200) <= 2


def rgba_of(image: Image.Image) -> tuple[bool, np.ndarray, np.ndarray]:
    picture = to_picture(image)
    assert picture.alpha is not None
    return picture.gray, picture.pixels, picture.alpha


def test_every_kind_of_transparency_is_found() -> None:
    alpha = Image.fromarray(np.array([[0, 128, 255]], np.uint8))
    colors = Image.fromarray(np.array([[[9, 9, 9], [10, 20, 30], [40, 50, 60]]], np.uint8))
    rgba, la = colors.copy(), colors.convert("L")
    rgba.putalpha(alpha)
    la.putalpha(alpha)
    palette = Image.new("P", (3, 1))
    palette.putpalette([9, 9, 9, 10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1, 2])
    for source, gray in (
        (rgba, False),
        (la, True),
        (rgba.convert("RGBa"), False),
        (la.convert("La"), True),
        (as_file(palette, "PNG", transparency=bytes([0, 128, 255])), False),
        (as_file(colors.convert("L").convert("P"), "PNG", transparency=9), True),
        (as_file(colors, "PNG", transparency=(9, 9, 9)), False),
        (as_file(colors.convert("L"), "PNG", transparency=9), True),
        (as_file(palette, "GIF", transparency=0), False),
        (as_file(rgba, "WEBP", lossless=True), False),
        (as_file(rgba, "TIFF"), False),
    ):
        found_gray, pixels, found = rgba_of(source)
        assert found_gray == gray, source
        assert found[0, 0] == 0, source
        assert found[0, 2] == 255, source
        readable = source.convert("LA") if source.mode == "La" else source
        assert np.array_equal(pixels[:, 2], np.asarray(readable.convert("RGBA"))[:, 2, :3]), source
    assert np.array_equal(rgba_of(rgba)[2], np.asarray(alpha))
    assert np.array_equal(to_picture(np.asarray(rgba)).alpha, np.asarray(alpha))


def test_opaque_alpha_is_dropped(coffee: Image.Image) -> None:
    picture = to_picture(coffee.convert("RGBA"))
    assert picture.alpha is None
    assert np.array_equal(picture.pixels, np.asarray(coffee))


def test_hidden_colors_become_smooth_and_visible_ones_stay(coffee: Image.Image) -> None:
    rng = np.random.default_rng(0)
    rgba = np.dstack((np.asarray(coffee)[:90, :130], np.zeros((90, 130), np.uint8)))
    rgba[20:60, 30:100, 3] = rng.integers(1, 256, (40, 70))
    noisy = rgba.copy()
    noisy[:, :, :3] = np.where(rgba[:, :, 3:] > 0, rgba[:, :, :3], rng.integers(0, 256, (90, 130, 3)))
    first, second = to_picture(Image.fromarray(rgba)), to_picture(Image.fromarray(noisy))
    assert np.array_equal(first.filled, second.filled)
    visible = rgba[:, :, 3] > 0
    assert np.array_equal(first.filled[visible], rgba[visible][:, :3])
    hidden = first.filled[:18].astype(int)
    assert np.abs(np.diff(hidden, axis=0)).max() < 40
    assert np.abs(np.diff(hidden, axis=1)).mean() < 3


def test_fully_hidden_picture_is_flat() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 4), dtype=np.uint8)
    pixels[:, :, 3] = 0
    assert len(np.unique(to_picture(pixels).filled)) == 1


def test_gray_palettes_are_gray(coffee: Image.Image) -> None:
    small = coffee.resize((40, 30))
    assert to_picture(small.convert("L").convert("P")).gray
    assert not to_picture(small.convert("P")).gray


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 3)), "uint8, got float64"),
        (np.zeros((4, 4, 5), np.uint8), r"\[4, 4, 5\]"),
        (np.zeros(4, np.uint8), r"\[4\]"),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_picture(array)


def test_exif_has_one_form_inside_and_pillows_form_outside() -> None:
    block = b"MM\0*\0\0\0\x08\0\0"
    for outside in (block, b"Exif\0\0" + block):  # WebP's and JPEG's
        image = Image.new("RGB", (2, 2))
        image.info["exif"] = outside
        picture = to_picture(image)
        assert picture.metadata.exif == block
        assert from_picture(picture).info["exif"] == b"Exif\0\0" + block


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA", "LA", "CMYK", "LAB", "YCbCr", "I;16"])
@pytest.mark.parametrize("space", [b"RGB ", b"GRAY", b"CMYK", b"Lab ", b"\xff\0\n."])
def test_profile_of_other_channels_is_left_out(mode: str, space: bytes) -> None:
    image = Image.new(mode, (2, 2), None if mode == "P" else 0)
    if mode == "P":
        image.putpalette([1, 2, 3])
    image.info["icc_profile"] = profile(space)
    gray = mode in ("L", "1", "LA", "I;16")
    fits = mode not in ("CMYK", "LAB") and space == (b"GRAY" if gray else b"RGB ")
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        picture = to_picture(image)
    assert (picture.metadata.icc, picture.gray) == (profile(space) if fits else None, gray)
    assert any("color profile is not kept" in str(one.message) for one in found) != fits


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(InputError, match="got list"):
        to_picture([[1, 2], [3, 4]])


def test_float_images_are_refused() -> None:
    with pytest.raises(InputError, match="mode F"):
        to_picture(Image.new("F", (2, 2)))


def test_crop_beyond_the_edge_repeats_it() -> None:
    padded = crop_padded(np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3), Box(1, 0, 4, 4))
    assert padded.shape == (4, 3, 3)
    assert np.array_equal(padded[3, 2], padded[1, 1])
    assert padded[0, 0].tolist() == [3, 4, 5]


@pytest.mark.parametrize("dpi", [(300, 300), (72, 96), (11_811 * 0.0254, 2835 * 0.0254), (118 * 2.54, 118 * 2.54)])
def test_density_is_exact_in_inches_meters_and_centimeters(dpi: tuple[float, float]) -> None:
    image = Image.new("RGB", (2, 2))
    image.info["dpi"] = dpi
    assert from_picture(to_picture(image)).info["dpi"] == pytest.approx(dpi, abs=1e-9)


@pytest.mark.parametrize("dpi", [(0, 72), (-1, 1), (float("nan"), 1), (float("inf"), 1), (1e9, 1), 0])
def test_density_that_no_file_means_is_left_out(dpi: object) -> None:
    image = Image.new("RGB", (2, 2))
    image.info["dpi"] = dpi
    assert to_picture(image).metadata.density is None


@pytest.mark.parametrize("dpi", [(1,), "72", ("72", "72"), {}, 10**400])
def test_density_that_is_none_is_left_out_and_said(dpi: object) -> None:
    image = Image.new("RGB", (2, 2))
    image.info["dpi"] = dpi
    with pytest.warns(PictureWarning, match="dpi is not kept: it must be one or two numbers"):
        assert to_picture(image).metadata.density is None


def marked() -> Image.Image:
    """A picture of six shades, with a place (GPS) in its EXIF, to be turned to the right."""
    image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3)).convert("RGB")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (50.0, 6.0, 7.0)
    image.info.update(exif=exif.tobytes(), xmp=b"<x/>", dpi=(300, 300), icc_profile=profile(b"RGB "))
    return image


def profile(space: bytes) -> bytes:
    """As much of an ICC profile as tells what it is for."""
    return bytes(12) + b"mntr" + space + b"XYZ " + bytes(12) + b"acsp" + bytes(88)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
def test_strip_reaches_a_picture_that_is_read_already(tiny: Codec, mode: str) -> None:
    image = marked()
    if mode.startswith("L"):
        del image.info["icc_profile"]
    image = image.convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(np.arange(1, 7, dtype=np.uint8).reshape(2, 3)))
    read = to_picture(image)
    assert read.metadata.exif
    for source in (image, read):
        stripped = to_picture(source, strip=True)
        assert stripped.metadata == Metadata()
        assert stripped.pixels[:, :, 0].tolist() == [[3, 0], [4, 1], [5, 2]]
        assert stripped.gray == mode.startswith("L")
        assert stripped.alpha is None or stripped.alpha.tolist() == [[4, 1], [5, 2], [6, 3]]
        header, sections, _ = unpack(tiny.encode(source, strip=True))
        assert (header.width, header.height) == (2, 3)
        assert set(sections) <= {SectionKind.ALPHA}


RIGHT = Image.Exif()
RIGHT[ExifTags.Base.Orientation] = 6
RIGHT = RIGHT.tobytes()


@pytest.mark.parametrize("block", [b"Exif\0\0" * 3 + RIGHT, RIGHT.removeprefix(b"Exif\0\0"), bytearray(RIGHT)])
def test_exif_with_any_number_of_prefixes_is_the_same(block: bytes) -> None:
    image = Image.new("RGB", (3, 2))
    image.info["exif"] = block
    assert to_picture(image).metadata.exif == RIGHT.removeprefix(b"Exif\0\0")
    assert to_picture(image, strip=True).pixels.shape == (3, 2, 3)


@pytest.mark.parametrize("block", [b"XX*\0\x08\0\0\0", b"Exif\0", b"II+\0", "text", 7, [1, 2]])
@pytest.mark.parametrize("strip", [False, True])
def test_exif_that_is_none_stops_nothing(block: object, strip: bool) -> None:
    image = Image.new("RGB", (3, 2))
    image.info["exif"] = block
    with nullcontext() if strip else pytest.warns(PictureWarning, match="exif is not kept"):
        picture = to_picture(image, strip=strip)
    assert picture.metadata == Metadata()
    assert picture.pixels.shape == (2, 3, 3)


def test_broken_exif_turns_nothing() -> None:
    """The block begins as one and its tags lead beyond its end: it is kept as it is."""
    image = Image.new("RGB", (3, 2))
    image.info["exif"] = b"MM\0*\0\0\0\x08\0\xff" + b"\x01\x12\0\x05" * 3
    picture = to_picture(image)
    assert picture.metadata.exif == image.info["exif"]
    assert picture.metadata.orientation == 1
    assert upright(from_picture(picture)).size == (3, 2)
    assert to_picture(picture, strip=True).pixels.shape == (2, 3, 3)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "code"), [(1, "B3x"), (3, "H2x"), (4, "I")])
def test_orientation_of_every_integer_type_beside_a_broken_tag(order: str, kind: int, code: str) -> None:
    entries = struct.pack(f"{order}HHII", 282, 5, 1, 9999) + struct.pack(f"{order}HHI{code}", 274, kind, 1, 6)
    image = Image.new("RGB", (3, 2))
    image.info["exif"] = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HIH", 42, 8, 2) + entries + bytes(4)
    assert to_picture(image).metadata.orientation == 6
    assert to_picture(image, strip=True).pixels.shape == (3, 2, 3)


def raw_profile(kind: str, block: bytes, length: int | None = None) -> PngImagePlugin.PngInfo:
    """A PNG text as ImageMagick writes blocks."""
    info = PngImagePlugin.PngInfo()
    digits = "\n".join(textwrap.wrap(block.hex(), 72))
    text = f"\n{kind}\n{len(block) if length is None else length:8}\n{digits}\n"
    info.add_text(f"Raw profile type {kind}", text, zip=True)
    return info


@pytest.mark.parametrize("kind", ["exif", "APP1"])
def test_png_raw_profile_is_exif(kind: str) -> None:
    source = as_file(Image.new("RGB", (3, 2)), "PNG", pnginfo=raw_profile(kind, RIGHT))
    picture = to_picture(source)
    assert picture.metadata.exif == RIGHT.removeprefix(b"Exif\0\0")
    assert picture.metadata.orientation == 6
    assert to_picture(source, strip=True).pixels.shape == (3, 2, 3)


def test_png_raw_profiles_of_other_kinds() -> None:
    image = Image.new("RGB", (3, 2))
    xmp = as_file(image, "PNG", pnginfo=raw_profile("APP1", b"http://ns.adobe.com/xap/1.0/\0<x/>"))
    assert to_picture(xmp).metadata == Metadata(xmp=b"<x/>")
    icc = as_file(image, "PNG", pnginfo=raw_profile("icc", profile(b"RGB ")))
    assert to_picture(icc).metadata == Metadata(icc=profile(b"RGB "))
    with pytest.warns(PictureWarning, match="not kept: IPTC"):
        assert to_picture(as_file(image, "PNG", pnginfo=raw_profile("iptc", b"8BIM"))).metadata == Metadata()


@pytest.mark.parametrize("strip", [False, True])
def test_broken_raw_profile_stops_nothing(strip: bool) -> None:
    for length in (9999, -1):
        source = as_file(Image.new("RGB", (3, 2)), "PNG", pnginfo=raw_profile("exif", RIGHT, length))
        with nullcontext() if strip else pytest.warns(PictureWarning, match="exif is not kept: it is broken"):
            assert to_picture(source, strip=strip).metadata == Metadata()
    for text in ("nonsense", "\nexif\n       2\nno digits\n", "\nexif\nx\n00\n"):
        info = PngImagePlugin.PngInfo()
        info.add_text("Raw profile type exif", text)
        source = as_file(Image.new("RGB", (3, 2)), "PNG", pnginfo=info)
        with nullcontext() if strip else pytest.warns(PictureWarning, match="exif is not kept: it is broken"):
            assert to_picture(source, strip=strip).pixels.shape == (2, 3, 3)


def with_chunk(kind: bytes, data: bytes) -> Image.Image:
    """A PNG with one chunk more."""
    file = io.BytesIO()
    Image.new("RGB", (3, 2)).save(file, "PNG")
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return Image.open(io.BytesIO(file.getvalue()[:33] + chunk + file.getvalue()[33:]))


def test_what_goes_with_the_file_is_said(coffee: Image.Image) -> None:
    small = coffee.crop((0, 0, 16, 16))
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "a cup")
    info.add_text("transparency", "no")
    iptc = struct.pack(">4sHxxI", b"8BIM", 0x0404, 4) + b"\x1c\x02\0\0"
    jpeg = io.BytesIO()
    small.save(jpeg, "JPEG")
    app13 = b"Photoshop 3.0\0" + iptc
    with_iptc = jpeg.getvalue()[:2] + b"\xff\xed" + struct.pack(">H", len(app13) + 2) + app13 + jpeg.getvalue()[2:]
    for source, message in (
        (as_file(small, "PNG", pnginfo=info), "not kept: Title, transparency$"),
        (as_file(small, "JPEG", comment="a cup"), "not kept: comment$"),
        (as_file(small, "GIF", comment="a cup"), "not kept: comment$"),
        (Image.open(io.BytesIO(with_iptc)), "not kept: IPTC$"),
        (as_file(small, "TIFF", tiffinfo={33723: b"abcd", 269: "a scan"}), "not kept: DocumentName, IPTC$"),
        (with_chunk(b"gAMA", struct.pack(">I", 100_000)), "gamma 1 is not kept"),
        (with_chunk(b"cHRM", struct.pack(">8I", *[30_000] * 8)), "chromaticities are not kept"),
        (with_chunk(b"cICP", bytes([9, 16, 0, 1])), "color space is not kept: primaries 9, transfer 16"),
    ):
        with pytest.warns(PictureWarning, match=message):
            to_picture(source)


def test_srgb_of_other_names_says_nothing() -> None:
    to_picture(with_chunk(b"gAMA", struct.pack(">I", 45_455)))
    to_picture(with_chunk(b"cICP", bytes([1, 13, 0, 1])))
    to_picture(with_chunk(b"cHRM", struct.pack(">8I", 31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6000)))


def test_ten_bits_of_heic_are_said() -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    file = io.BytesIO()
    heif.from_bytes("RGB;16", (64, 64), bytes(64 * 64 * 6)).save(file)
    with pytest.warns(PictureWarning, match="10 bits per channel are reduced to 8"):
        to_picture(Image.open(file))
    to_picture(as_file(Image.new("RGB", (64, 64)), "HEIF"))


def test_bits_of_jpeg_2000_are_said() -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG2000", no_jp2=True)
    to_picture(Image.open(file))
    data = bytearray(file.getvalue())
    data[42:50:3] = bytes([11] * 3)  # 12 bits
    with pytest.warns(PictureWarning, match="12 bits per channel are reduced to 8"):
        to_picture(Image.open(io.BytesIO(data)))


def test_twelve_bits_keep_their_upper_bits_and_say_so() -> None:
    file = io.BytesIO()
    Image.new("L", (2, 1)).save(file, "TIFF")
    data = file.getvalue()
    gray = Image.open(io.BytesIO(data))
    place = gray.tile[0].offset
    twelve = bytearray(data[:place] + bytes([0xFF, 0xF8, 0x00]))  # 4095, 2048
    entry = data.index(struct.pack("<HHI", 258, 3, 1))
    twelve[entry + 8 : entry + 10] = struct.pack("<H", 12)
    entry = data.index(struct.pack("<HH", 279, 4))
    twelve[entry + 8 : entry + 12] = struct.pack("<I", 3)
    with pytest.warns(PictureWarning, match="12 bits per channel are reduced to 8"):
        picture = to_picture(Image.open(io.BytesIO(twelve)))
    assert picture.pixels[0, :, 0].tolist() == [255, 128]


def test_lab_is_no_gray_with_alpha(coffee: Image.Image) -> None:
    lab = ImageCms.profileToProfile(
        coffee.crop((0, 0, 40, 30)), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    lab.info.clear()
    picture = to_picture(as_file(lab, "TIFF"))
    assert not picture.gray
    assert np.array_equal(picture.pixels, np.asarray(lab.convert("RGB")))


def test_gray_palette_with_an_rgb_profile_stays_color(coffee: Image.Image) -> None:
    palette = coffee.crop((0, 0, 40, 30)).convert("L").convert("P")
    picture = to_picture(as_file(palette, "PNG", icc_profile=profile(b"RGB ")))
    assert (picture.gray, picture.metadata.icc) == (False, profile(b"RGB "))
    assert np.array_equal(picture.pixels, np.asarray(palette.convert("RGB")))
    assert from_picture(picture).mode == "RGB"


def test_strip_turns_what_exif_would_turn() -> None:
    image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # turn to the right
    source = as_file(image, "PNG", exif=exif, dpi=(300, 300))
    kept, stripped = to_picture(source), to_picture(source, strip=True)
    assert kept.pixels[:, :, 0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert kept.metadata.exif == exif.tobytes().removeprefix(b"Exif\0\0")
    assert stripped.pixels[:, :, 0].tolist() == [[3, 0], [4, 1], [5, 2]]
    assert stripped.metadata == Metadata()


def test_one_limit_for_pixels_and_sides() -> None:
    with pytest.raises(InputError, match=r"20x10 is outside 1\.\.199 pixels"):
        to_picture(Image.new("L", (20, 10)), max_pixels=199)
    with pytest.raises(InputError, match="65535 per side"):
        to_picture(Image.new("1", (65_536, 1)))


def test_broken_file_is_an_input_error(coffee: Image.Image) -> None:
    file = io.BytesIO()
    coffee.save(file, "PNG")
    with pytest.raises(InputError, match="cannot be read"):
        to_picture(Image.open(io.BytesIO(file.getvalue()[:5000])))


def keyed_png(width: int, depth: int, color: int, row: bytes, key: bytes) -> Image.Image:
    """A PNG file of one row, with a transparent color."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, color, 0, 0, 0)), (b"tRNS", key)]
    chunks += [(b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return Image.open(io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(parts)))


@pytest.mark.filterwarnings("ignore:16 bits")
@pytest.mark.parametrize(
    ("file", "alpha"),
    [
        ((8, 1, 0, b"\x0f", b"\0\1"), [255] * 4 + [0] * 4),
        ((4, 2, 0, b"\x1b", b"\0\2"), [255, 255, 0, 255]),
        ((4, 4, 0, b"\x05\xf1", b"\0\5"), [255, 0, 255, 255]),
        ((2, 8, 0, b"\x05\x06", b"\0\5"), [0, 255]),
        ((2, 16, 0, b"\x05\x06\x05\x07", b"\5\6"), [0, 255]),
        ((2, 8, 2, b"\1\2\3\4\5\6", b"\0\1\0\2\0\3"), [0, 255]),
        ((2, 16, 2, b"\x85\1\x86\2\x87\3\1\6\2\6\3\7", b"\x85\1\x86\2\x87\3"), [0, 255]),
    ],
)
def test_transparent_color_of_png_is_that_of_the_file_at_every_depth(file: Any, alpha: list[int]) -> None:
    """Pillow compares samples of 8 bits with those of the file."""
    found = to_picture(keyed_png(*file)).alpha
    assert found is not None
    assert found.tolist() == [alpha]


def test_float_files_are_refused_as_float_arrays_are() -> None:
    """PFM is read by the plugin of PPM, whose integers are scaled; its floats are not, and became black."""
    file = io.BytesIO()
    Image.fromarray(np.linspace(0, 1, 800, dtype=np.float32).reshape(20, 40)).save(file, "PPM")
    with pytest.raises(InputError, match="mode F have no fixed range"):
        to_picture(Image.open(file))


def test_twelve_bits_that_were_loaded_before_are_not_darker() -> None:
    row = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in ((0, 1000), (2000, 4095)))
    tags = ((256, 4), (257, 1), (258, 12), (259, 1), (262, 1), (273, 122), (277, 1), (278, 1), (279, len(row)))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + row
    for loaded in (False, True):
        image = Image.open(io.BytesIO(data))
        if loaded:
            image.load()
        with pytest.warns(PictureWarning, match="12 bits per channel are reduced to 8"):
            assert to_picture(image).pixels[0, :, 0].tolist() == [0, 62, 125, 255]


def test_frame_that_is_kept_is_named() -> None:
    file = io.BytesIO()
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 100, 200)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    image = Image.open(file)
    image.seek(1)
    with pytest.warns(PictureWarning, match="3 pictures in one file: only number 2 is kept"):
        assert to_picture(image).pixels.max() == 100


def test_palette_that_pillow_forgets_is_no_crash(coffee: Image.Image) -> None:
    file, palette = io.BytesIO(), coffee.resize((16, 16)).convert("P")
    palette.save(file, "ICNS", sizes=[(16, 16, 1)])
    assert to_picture(Image.open(file)).pixels.shape[2] == 3


@pytest.mark.parametrize("size", [(40, 20), (20, 20)])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_density_of_a_tiff_that_is_turned_at_load_turns_with_it(
    orientation: int, compression: str, size: tuple[int, int]
) -> None:
    tags = {ExifTags.Base.Orientation: orientation}
    image = as_file(Image.new("RGB", size), "TIFF", tiffinfo=tags, dpi=(100, 200), compression=compression)
    picture = to_picture(image)
    assert picture.metadata.orientation == 1
    turned = orientation > 4
    assert picture.pixels.shape[:2] == (size if turned else size[::-1])
    assert picture.metadata.info["dpi"] == ((200, 100) if turned else (100, 200))
    assert size == (20, 20) or to_picture(image).metadata == picture.metadata  # it is loaded now
    assert to_picture(image, named={"dpi": (3, 4)}).metadata.info["dpi"] == (3, 4)


@pytest.mark.parametrize("block", [b"II*\0", b"MM\0*\0\0\0", b"Exif\0\0MM\0*"])
def test_exif_that_ends_before_its_first_tag_is_not_kept(block: bytes) -> None:
    image = Image.new("RGB", (8, 8))
    image.info["exif"] = block
    with pytest.warns(PictureWarning, match="exif is not kept: it is [47] bytes long, 8 at least are needed"):
        assert to_picture(image).metadata.exif is None
    with pytest.raises(InputError, match=r"exif is [47] bytes long"):
        Metadata.from_info({"exif": block})
