"""What counts as a picture."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import nullcontext

import numpy as np
import pytest
from PIL import ExifTags, Image

from aecodec import InputError, PictureWarning
from aecodec.container import Box
from aecodec.image import Metadata, crop_padded, from_picture, to_picture


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
    assert np.array_equal(first.pixels, second.pixels)
    visible = rgba[:, :, 3] > 0
    assert np.array_equal(first.pixels[visible], rgba[visible][:, :3])
    hidden = first.pixels[:18].astype(int)
    assert np.abs(np.diff(hidden, axis=0)).max() < 40
    assert np.abs(np.diff(hidden, axis=1)).mean() < 3


def test_fully_hidden_picture_is_flat() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 4), dtype=np.uint8)
    pixels[:, :, 3] = 0
    assert len(np.unique(to_picture(pixels).pixels)) == 1


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


def test_profile_of_other_channels_is_left_out() -> None:
    for mode, kept in (("RGB", b"profile"), ("L", b"profile"), ("CMYK", None), ("LAB", None)):
        image = Image.new(mode, (2, 2))
        image.info["icc_profile"] = b"profile"
        with nullcontext() if kept else pytest.warns(PictureWarning, match="color profile is not kept"):
            assert to_picture(image).metadata.icc == kept, mode


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


@pytest.mark.parametrize("dpi", [(0, 72), (-1, 1), (float("nan"), 1), (float("inf"), 1), (1e9, 1), (1,), "72", 72])
def test_density_that_is_none_is_left_out(dpi: object) -> None:
    image = Image.new("RGB", (2, 2))
    image.info["dpi"] = dpi
    assert to_picture(image).metadata.density is None


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
