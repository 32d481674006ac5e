"""What counts as a picture."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from aecodec import InputError
from aecodec.image import from_picture, pad, to_picture


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


def test_sixteen_bit_gray_keeps_its_upper_half() -> None:
    image = Image.fromarray(np.array([[0, 255, 256, 65_535]], np.uint16))
    assert to_picture(image).pixels[0, :, 0].tolist() == [0, 0, 1, 255]


def test_opaque_alpha_is_dropped_and_transparency_refused(coffee: Image.Image) -> None:
    assert np.array_equal(to_picture(coffee.convert("RGBA")).pixels, np.asarray(coffee))
    with pytest.raises(InputError, match="transparency is not supported"):
        to_picture(Image.new("RGBA", (4, 4), (1, 2, 3, 254)))
    palette = Image.new("P", (4, 4))
    palette.info["transparency"] = 0
    with pytest.raises(InputError, match="transparency is not supported"):
        to_picture(palette)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 3)), "uint8, got float64"),
        (np.zeros((4, 4, 4), np.uint8), r"\[4, 4, 4\]"),
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
        assert to_picture(image).metadata.icc == kept, mode


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(InputError, match="got list"):
        to_picture([[1, 2], [3, 4]])


def test_float_images_are_refused() -> None:
    with pytest.raises(InputError, match="mode F"):
        to_picture(Image.new("F", (2, 2)))


def test_pad_repeats_the_edge() -> None:
    padded = pad(np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3), 4)
    assert padded.shape == (4, 4, 3)
    assert np.array_equal(padded[3, 3], padded[1, 2])
