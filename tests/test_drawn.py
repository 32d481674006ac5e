"""Drawn pictures, lossless and nearly lossless files, as a user meets them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from support import DATA, psnr

import aecodec
from aecodec import Codec, FormatError, InputError
from aecodec.cli.app import main
from aecodec.format.container import NO_MODEL, Header, Tile, pack, read_header, unpack
from aecodec.format.webp import encode_webp


def page(width: int = 400, height: int = 300) -> Image.Image:
    """Lines of text on white."""
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    for row in range(10, height - 20, 18):
        draw.text((8, row), f"Line {row}: the quick brown fox jumps over the lazy dog.", fill=(20, 20, 40))
    return image


def screen(coffee: Image.Image) -> Image.Image:
    """A photograph among text."""
    image = page(640, 480)
    image.paste(coffee.crop((0, 0, 320, 300)), (288, 160))
    return image


def size_as(image: Image.Image, form: str, **options: object) -> int:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.tell()


def zoo() -> dict[str, Image.Image]:
    """What people try first, and nobody trains on."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(64), np.arange(64))
    checkers = ((x // 3 + y // 3) % 2 * 255).astype(np.uint8)
    palette = rng.integers(0, 256, (16, 3), dtype=np.uint8)
    logo = Image.new("RGB", (48, 48), (250, 250, 250))
    ImageDraw.Draw(logo).ellipse((6, 6, 41, 41), fill=(200, 30, 40), outline=(0, 0, 0), width=3)
    arrays = {
        "1x1": np.full((1, 1, 3), (10, 200, 30), np.uint8),
        "6x6 bitmap": rng.integers(0, 2, (6, 6), dtype=np.uint8) * 255,
        "1x64": rng.integers(0, 256, (64, 1, 3), dtype=np.uint8),
        "checkers": checkers,
        "color checkers": np.dstack((checkers, 255 - checkers, checkers // 2)),
        "noise": rng.integers(0, 256, (32, 32, 3), dtype=np.uint8),
        "gray noise": rng.integers(0, 256, (64, 64), dtype=np.uint8),
        "palette": palette[rng.integers(0, 16, (32, 32))],
        "pixel art": palette[rng.integers(0, 16, (16, 16))].repeat(4, 0).repeat(4, 1),
        "gradient": np.dstack((4 * x, 4 * y, 2 * (x + y))).astype(np.uint8),
        "lines": np.where((x * 7 + y * 3) % 11 < 2, 0, 255).astype(np.uint8),
        "large checkers": np.kron((np.indices((40, 60)).sum(0) % 2 * 255).astype(np.uint8), np.ones((5, 5), np.uint8)),
    }
    return {"logo": logo, **{name: Image.fromarray(array) for name, array in arrays.items()}}


@pytest.mark.parametrize("name", zoo())
@pytest.mark.parametrize(("quality", "least"), [(10, 23.0), (55, 32.2), (100, 41.2)])
def test_quality_means_something_on_every_picture(codec: Codec, name: str, quality: int, least: float) -> None:
    image = zoo()[name]
    assert psnr(image, codec.decode(codec.encode(image, quality=quality))) >= least


@pytest.mark.parametrize("shape", [(80, 100), (1, 4200), (4200, 2)])
def test_quality_means_something_of_noise_and_strips_of_any_size(codec: Codec, shape: tuple[int, int]) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    data = codec.encode(noise)
    assert psnr(noise, codec.decode(data)) >= 32.2
    assert len(data) < 1.1 * shape[0] * shape[1]  # bytes of the pixels themselves


def test_page_of_text_is_sharp_and_far_smaller_than_jpeg(codec: Codec) -> None:
    image = page()
    data = codec.encode(image)
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=80)
    assert len(data) < 0.4 * jpeg.tell()
    assert psnr(image, codec.decode(data)) > psnr(image, Image.open(jpeg)) + 3


def test_screen_is_drawn_in_part(codec: Codec, coffee: Image.Image) -> None:
    image = screen(coffee)
    data = codec.encode(image)
    header, _, (tile,) = unpack(data)
    assert header.model_id == codec.weights.model_id
    assert tile.drawn
    assert tile.stream
    text, photo = (0, 0, 288, 160), (304, 176, 592, 448)
    shown = codec.decode(data)
    assert psnr(image.crop(text), shown.crop(text)) > 40
    assert 30 < psnr(image.crop(photo), shown.crop(photo)) < 45


def test_photograph_has_nothing_drawn(codec: Codec, coffee: Image.Image) -> None:
    header, _, tiles = unpack(codec.encode(coffee))
    assert header.model_id == codec.weights.model_id
    assert not any(tile.drawn for tile in tiles)


@pytest.mark.parametrize("scale", [1, 1 / 2, 1 / 4, 1 / 8])
def test_regions_of_drawn_pictures_are_those_of_the_whole(codec: Codec, coffee: Image.Image, scale: float) -> None:
    data = codec.encode(screen(coffee), tile=3, effort=0)
    whole = np.asarray(codec.decode(data, scale=scale))
    factor = round(1 / scale)
    left, top, width, height = 200, 96, 320, 240
    part = np.asarray(codec.decode(data, region=(left, top, width, height), scale=scale))
    box = whole[top // factor : (top + height) // factor, left // factor : (left + width) // factor]
    assert np.array_equal(part, box)


def test_reduced_gray_pixels_mix_gray_values(tiny: Codec, coffee: Image.Image) -> None:
    """As libaecodec does: the networks' gray first, then the mean with what is drawn."""
    gray = coffee.crop((0, 0, 128, 64)).convert("L")
    data = tiny.encode(gray, quality=30, tile=2)
    header, _, (tile,) = unpack(data)
    values = np.zeros((64, 128, 4), np.uint8)
    values[:, 1::2] = 255
    mixed = pack(header, {}, [tile._replace(drawn=encode_webp(values, quality=50, method=0))])
    half = np.asarray(tiny.decode(data, scale=1 / 2)).astype(int)
    assert np.array_equal(np.asarray(tiny.decode(mixed, scale=1 / 2)), (2 * 255 + 2 * half + 2) // 4)


def test_reduced_pixels_are_means_of_drawn_ones(codec: Codec) -> None:
    image = page(120, 70)
    data = codec.encode(image, lossless=True)
    pixels = np.pad(np.asarray(image).astype(int), ((0, 2), (0, 0), (0, 0)), "edge")
    means = (pixels.reshape(18, 4, 30, 4, 3).sum((1, 3)) + 8) // 16
    assert np.array_equal(np.asarray(codec.decode(data, scale=1 / 4)), means)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_lossless_keeps_every_value(tiny: Codec, coffee: Image.Image, mode: str) -> None:
    image = coffee.crop((0, 0, 150, 90)).convert(mode)
    if mode.endswith("A"):
        mask = np.zeros((90, 150), np.uint8)
        mask[20:70, 30:90] = np.arange(60) * 4
        image.putalpha(Image.fromarray(mask))
    data = tiny.encode(image, lossless=True, tile=1, verify=True)
    header = read_header(data)
    assert (header.level, header.model_id) == (0, NO_MODEL)
    shown = tiny.decode(data)
    assert shown.mode == mode
    assert np.array_equal(np.asarray(shown), np.asarray(image))  # colors that alpha hides as well
    assert len(data) < size_as(image, "PNG", optimize=True) + 6 * 70  # what six tiles cost


def test_lossless_files_need_no_weights(tmp_path: Path, coffee: Image.Image) -> None:
    small = coffee.crop((0, 0, 64, 64))
    data = Codec.load(DATA / "tiny.safetensors", "cpu").encode(small, lossless=True)
    assert np.array_equal(np.asarray(aecodec.decode(data)), np.asarray(small))


@pytest.mark.parametrize("bound", range(9))
def test_near_lossless_differs_by_at_most_its_bound(tiny: Codec, bound: int) -> None:
    pixels = np.arange(256 * 3, dtype=np.uint16).astype(np.uint8).reshape(16, 16, 3)
    shown = np.asarray(tiny.decode(tiny.encode(pixels, near_lossless=bound)))
    assert np.abs(shown.astype(int) - pixels).max() == bound


def test_near_lossless_is_smaller_the_wider_the_bound(tiny: Codec, coffee: Image.Image) -> None:
    small = coffee.crop((100, 100, 228, 228))
    sizes = [len(tiny.encode(small, near_lossless=bound)) for bound in (0, 1, 2, 4, 8)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1] < 0.85 * sizes[0]


def test_one_goal_alone(tiny: Codec, coffee: Image.Image) -> None:
    for options in ({"quality": 50}, {"bpp": 1}, {"near_lossless": 1}):
        with pytest.raises(InputError, match="give one of"):
            tiny.encode(coffee, lossless=True, **options)
    with pytest.raises(InputError, match=r"near_lossless must be 0\.\.8, got 9"):
        tiny.encode(coffee, near_lossless=9)


def test_targets_on_drawn_pictures(codec: Codec) -> None:
    image = page()
    data = codec.encode(image, max_bytes=1500)
    assert 1000 < len(data) <= 1500
    shown = codec.decode(codec.encode(image, psnr=38))
    assert psnr(image, shown) >= 38


def test_size_target_below_what_drawn_pixels_cost(codec: Codec) -> None:
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 256, (32, 32), dtype=np.uint8))
    smallest = len(codec.encode(noise, quality=1))
    assert len(codec.encode(noise, max_bytes=smallest // 2)) <= smallest // 2
    with pytest.raises(InputError, match=r"quality 1 needs 1\d\d bytes"):
        codec.encode(noise, max_bytes=20)


def test_tile_with_a_stream_is_lost_where_no_weights_are_named(tiny: Codec, coffee: Image.Image) -> None:
    header, _, tiles = unpack(tiny.encode(coffee.crop((0, 0, 128, 64)), lossless=True, tile=1))
    stream = unpack(tiny.encode(coffee.crop((0, 0, 128, 64)), tile=1)).tiles[0].stream
    assert stream
    for wrong in (Tile(stream), tiles[1]._replace(stream=stream), Tile(b"")):
        shown, losses = tiny.decode_partial(pack(header, {}, [tiles[0], wrong]))
        assert [(loss.box, loss.in_part) for loss in losses] == [((64, 0, 128, 64), False)]
        assert "names no weights" in losses[0].reason
        assert np.array_equal(np.asarray(shown)[:, :64], np.asarray(coffee)[:64, :64])
        assert (np.asarray(shown)[:, 64:] == 128).all()


def test_nothing_is_left_where_no_drawn_part_can_be_read(tiny: Codec) -> None:
    data = pack(Header(64, 64, 0, NO_MODEL), {}, [Tile(b"", bytes(40))])
    with pytest.raises(FormatError, match="none of 1 tiles can be decoded: drawn part"):
        tiny.decode_partial(data)


def test_damaged_tile_of_a_drawn_picture_is_lost_alone(codec: Codec) -> None:
    image = page(200, 200)
    data = bytearray(codec.encode(image, lossless=True, tile=1))
    header, _, tiles = unpack(bytes(data))
    place = data.index(tiles[5].drawn) + 20
    data[place] ^= 1
    shown, losses = codec.decode_partial(bytes(data))
    (loss,) = losses
    box = header.seen_tiles()[5]
    assert loss.box == box
    sound = np.asarray(image).copy()
    sound[box.cells(1)] = 128
    assert np.array_equal(np.asarray(shown), sound)


def test_step_multiplies_and_is_cut(tiny: Codec) -> None:
    values = np.full((64, 64, 3), 20, np.uint8)
    data = pack(Header(64, 64, 0, NO_MODEL), {}, [Tile(b"", encode_webp(values, quality=50, method=0), 17)])
    assert np.asarray(tiny.decode(data)).max() == 255
    assert np.asarray(tiny.decode(data)).min() == 255


def test_commands(tmp_path: Path, coffee: Image.Image) -> None:
    source, target, back = tmp_path / "page.png", tmp_path / "page.aec", tmp_path / "back.png"
    page().save(source)

    def run(*words: object) -> str:
        result = CliRunner().invoke(main, [*map(str, words)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    run("encode", "--lossless", source, target)
    told = run("info", target)
    assert "lossless" in told
    assert "100 % of the pixels" in told
    assert "equal" in run("compare", source, target)
    run("verify", target, "--original", source)
    run("decode", target, back)
    assert np.array_equal(np.asarray(Image.open(back)), np.asarray(page()))
    run("encode", "--near-lossless", 2, source, target)
    assert "near-lossless 2" in run("info", target)


def test_folder_run_knows_what_is_lossless(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    page(90, 40).save(tmp_path / "in" / "a.png")

    def run(*options: str) -> str:
        words = ["encode", str(tmp_path / "in"), str(tmp_path / "out"), *options]
        return CliRunner().invoke(main, words, catch_exceptions=False).output

    assert "1 done" in run("--lossless")
    assert "1 up to date" in run("--lossless")
    assert "1 done" in run("--near-lossless", "1")
    assert "1 up to date" in run("--near-lossless", "1")
    assert "1 done" in run()
    assert "1 up to date" in run()


def test_plugins_are_lossless_when_asked(tmp_path: Path, coffee: Image.Image) -> None:
    iio = pytest.importorskip("imageio.v3")
    numcodecs = pytest.importorskip("numcodecs")
    small = coffee.crop((0, 0, 70, 50))
    pixels: NDArray[np.uint8] = np.asarray(small)
    small.save(tmp_path / "a.aec", lossless=True)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.aec")), pixels)
    iio.imwrite(tmp_path / "b.aec", pixels, lossless=True)
    assert np.array_equal(iio.imread(tmp_path / "b.aec"), pixels)
    chunk = numcodecs.get_codec({"id": "aecodec", "lossless": True})
    assert np.array_equal(np.asarray(chunk.decode(chunk.encode(pixels))), pixels)
