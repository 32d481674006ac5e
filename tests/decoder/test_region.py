"""Parts and reduced pictures: equal to the same part of the whole, from no more than what they need."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from support import DATA

from aecodec import Codec, FormatError, InputError
from aecodec.format.container import Tile, pack, unpack


@pytest.fixture(scope="module")
def photo(tiny: Codec, coffee: Image.Image) -> tuple[bytes, NDArray[np.int_]]:
    """A file of 10x7 tiles with transparency, and what it decodes to."""
    image = coffee.copy()
    image.putalpha(Image.radial_gradient("L").resize(image.size))
    data = tiny.encode(image, tile=1)
    return data, np.asarray(tiny.decode(data)).astype(int)


def averaged(pixels: NDArray[np.int_], factor: int) -> NDArray[np.float64]:
    """Mean of factor x factor pixels, cells counted from the upper left corner; the edge is repeated."""
    H, W, C = pixels.shape
    padded = np.pad(pixels, ((0, -H % factor), (0, -W % factor), (0, 0)), mode="edge")
    return padded.reshape(-(-H // factor), factor, -(-W // factor), factor, C).mean((1, 3))


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_any_region_equals_that_part_of_the_whole(
    tiny: Codec, photo: tuple[bytes, NDArray[np.int_]], draw: st.DataObject
) -> None:
    data, whole = photo
    H, W, _ = whole.shape
    x, y = draw.draw(st.integers(0, W - 1)), draw.draw(st.integers(0, H - 1))
    width, height = draw.draw(st.integers(1, min(W - x, 200))), draw.draw(st.integers(1, min(H - y, 200)))
    part = np.asarray(tiny.decode(data, region=(x, y, width, height)))
    difference = part - whole[y : y + height, x : x + width]
    assert np.abs(difference[:, :, :3]).max() <= 1
    assert np.all(difference[:, :, 3] == 0)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_scale_is_the_mean_of_the_picture(codec: Codec, coffee: Image.Image, factor: int) -> None:
    image = coffee.crop((3, 5, 306, 198))  # sides that no factor divides
    data = codec.encode(image, quality=80)
    expected = averaged(np.asarray(codec.decode(data)).astype(int), factor)
    reduced = np.asarray(codec.decode(data, scale=1 / factor))
    assert reduced.shape == (-(-193 // factor), -(-303 // factor), 3)
    inside = slice(0, 193 // factor), slice(0, 303 // factor)  # behind the edge only the decoder knows the pixels
    difference = np.abs(reduced - expected)[inside]
    assert difference.mean() < (0.5 if factor < 8 else 1)  # 0.25 is what rounding alone makes
    assert np.quantile(difference, 0.99) <= (1 if factor < 8 else 4)  # means of clipped pixels may differ by more


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_region_and_scale_together(tiny: Codec, photo: tuple[bytes, NDArray[np.int_]], factor: int) -> None:
    data, whole = photo
    small = np.asarray(tiny.decode(data, scale=1 / factor)).astype(int)
    part = np.asarray(tiny.decode(data, region=(101, 51, 222, 133), scale=1 / factor))
    left, top, right, bottom = 101 // factor, 51 // factor, -(-323 // factor), -(-184 // factor)
    assert np.abs(part - small[top:bottom, left:right]).max() <= 1
    assert np.abs(small - averaged(whole, factor))[:, :, 3].max() <= 0.5


def test_region_of_gray_is_gray(tiny: Codec, coffee: Image.Image) -> None:
    data = tiny.encode(coffee.convert("L"))
    part = tiny.decode(data, region=(10, 20, 30, 40), scale=1 / 2)
    assert (part.mode, part.size) == ("L", (15, 20))


def test_a_region_neither_needs_nor_checks_far_tiles(tiny: Codec, photo: tuple[bytes, NDArray[np.int_]]) -> None:
    data, whole = photo
    header, sections, tiles = unpack(data)
    damaged = pack(header, sections, [*tiles[:-1], Tile(bytes(8))])
    part = np.asarray(tiny.decode(damaged, region=(0, 0, 100, 100)))
    assert np.abs(part - whole[:100, :100]).max() <= 1
    with pytest.raises(FormatError, match="impossible state"):
        tiny.decode(damaged)
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    tiny.decode(flipped, region=(0, 0, 100, 100))
    with pytest.raises(FormatError, match="is damaged"):
        tiny.decode(flipped)
    with pytest.raises(FormatError, match="is damaged"):
        tiny.decode(flipped, region=(500, 350, 100, 50))


def test_a_cut_file_is_noticed_by_every_region(tiny: Codec, photo: tuple[bytes, NDArray[np.int_]]) -> None:
    with pytest.raises(FormatError, match="needs"):
        tiny.decode(photo[0][:-1], region=(0, 0, 9, 9))


@pytest.mark.parametrize("region", [(0, 0, 0, 5), (0, 0, 91, 5), (-1, 0, 5, 5), (0, 50, 1, 1), (0, 0, 5, -5)])
def test_region_outside_the_picture(tiny: Codec, region: tuple[int, int, int, int]) -> None:
    with pytest.raises(InputError, match="is not inside the picture of 90x50"):
        tiny.decode((DATA / "golden" / "gray.aec").read_bytes(), region=region)


def test_other_scales_are_refused(tiny: Codec) -> None:
    with pytest.raises(InputError, match=r"scale must be 1, 1/2, 1/4 or 1/8, got 0\.3"):
        tiny.decode((DATA / "golden" / "gray.aec").read_bytes(), scale=0.3)
