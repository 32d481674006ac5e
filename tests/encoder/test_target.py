"""Encoding to a size or a quality: met, at a bounded cost, or refused with what is possible."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from aecodec import Codec, InputError, PictureWarning, metrics
from aecodec.cli.app import main
from aecodec.decoder.exact import ExactReceiver
from aecodec.encoder.native import NativeTransform
from aecodec.encoder.target import LevelSearch, Target, pick_target
from aecodec.format.container import MAX_LEVEL, MIN_LEVEL
from aecodec.image import flatten


@pytest.fixture(scope="module")
def picture(coffee: Image.Image) -> Image.Image:
    return coffee.crop((100, 50, 400, 250))


@pytest.fixture(scope="module")
def ends(codec: Codec, picture: Image.Image) -> list[bytes]:
    """The files of the lowest and of the highest quality."""
    return [codec.encode(picture, quality=quality) for quality in (1, 100)]


def psnr(a: Image.Image, b: Image.Image) -> float:
    return metrics.psnr(np.asarray(a), np.asarray(b))


def ms_ssim(a: Image.Image, b: Image.Image) -> float:
    return metrics.ms_ssim_db(metrics.ms_ssim(np.asarray(a), np.asarray(b)))


@pytest.mark.parametrize("place", [0.15, 0.5, 0.85])
def test_size_is_never_exceeded_and_nearly_used(
    codec: Codec, picture: Image.Image, ends: list[bytes], place: float
) -> None:
    small, large = map(len, ends)
    limit = int(small * (large / small) ** place)
    assert 0.98 * limit <= len(codec.encode(picture, max_bytes=limit)) <= limit
    bpp = metrics.bpp(limit, *picture.size)
    assert 0.98 * bpp <= metrics.bpp(len(codec.encode(picture, bpp=bpp)), *picture.size) <= bpp


@pytest.mark.parametrize(("name", "measure"), [("psnr", psnr), ("ms_ssim", ms_ssim)])
def test_quality_is_reached_and_hardly_exceeded(
    codec: Codec,
    picture: Image.Image,
    ends: list[bytes],
    name: str,
    measure: Callable[[Image.Image, Image.Image], float],
) -> None:
    low, high = (measure(picture, codec.decode(data)) for data in ends)
    for place in (0.2, 0.7):
        goal = low + (high - low) * place
        decoded = codec.decode(codec.encode(picture, **{name: goal}))
        assert goal <= measure(picture, decoded) <= goal + 0.1


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_quality_counts_what_a_viewer_sees(codec: Codec, picture: Image.Image, mode: str) -> None:
    image = picture.convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    start = psnr(flatten(image), flatten(codec.decode(codec.encode(image, quality=30))))
    decoded = codec.decode(codec.encode(image, psnr=start))
    assert decoded.mode == mode
    assert start <= psnr(flatten(image), flatten(decoded)) <= start + 0.1


def test_cost_is_a_few_encodes(codec: Codec, coffee: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels that go through the networks, weighed by what each costs as a share of a plain encode."""
    cost = 0.0

    def count(name: str, place: int, weight: float) -> None:
        owner = ExactReceiver if name == "synthesize" else NativeTransform
        stage = getattr(owner, name)

        def counted(self: object, *arguments: Any) -> Any:
            nonlocal cost
            cost += weight * math.prod(arguments[place].shape)
            return stage(self, *arguments)

        monkeypatch.setattr(owner, name, counted)

    count("analyze", 1, 75)  # milliseconds of docs/architecture.md
    count("_quantize", 2, 14)
    count("refine", 2, 150)
    count("synthesize", 2, 26)
    picture = coffee.copy()
    picture.info = {"icc_profile": bytes(16) + b"RGB " + bytes(20_000)}  # which no quality makes smaller
    once = codec.encode(picture, quality=70)
    plain = cost
    for target in ({"bpp": 1.2}, {"max_bytes": len(once) + 5000}, {"psnr": 33}, {"ms_ssim": 16}):
        cost = 0.0
        codec.encode(picture, **target)
        assert plain < cost <= 4 * plain


def test_a_picture_that_cannot_use_up_a_size_gets_the_best(
    codec: Codec, picture: Image.Image, ends: list[bytes]
) -> None:
    unused = rf"max_bytes of {10 * len(ends[1])} is not used up by quality 100, the highest, with {len(ends[1])} bytes"
    with pytest.warns(PictureWarning, match=unused):
        assert codec.encode(picture, max_bytes=10 * len(ends[1])) == ends[1]
    with pytest.warns(PictureWarning, match=r"psnr of 0\.10 dB is met by quality 1, the lowest, with 2\d\.\d\d dB"):
        assert codec.encode(picture, psnr=0.1) == ends[0]
    with pytest.warns(PictureWarning, match="max_bytes of 12345678 is not used up"):
        assert codec.encode(picture, max_bytes=12_345_678) == ends[1]
    with pytest.warns(
        PictureWarning, match=rf"of {len(ends[0])} is met by quality 1, the lowest, with {len(ends[0])} b"
    ):
        assert codec.encode(picture, max_bytes=len(ends[0])) == ends[0]


def test_ms_ssim_below_1_is_the_index(codec: Codec, picture: Image.Image, tmp_path: Path) -> None:
    decoded = codec.decode(codec.encode(picture, ms_ssim=0.95))
    assert 0.95 <= metrics.ms_ssim(np.asarray(picture), np.asarray(decoded)) <= 0.952
    assert pick_target(None, None, None, None, 0.99) == Target("ms_ssim", pytest.approx(20))
    assert pick_target(None, None, None, None, np.float32(12)) == Target("ms_ssim", 12)
    for value in (1, 1.0, 0, -3, math.nan, "0.98"):
        with pytest.raises(InputError, match="ms_ssim must be"):
            codec.encode(picture, ms_ssim=value)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"ms_ssim of 60\.00 dB \(0\.999999\) is out of reach: quality 100 gives \d\d"):
        codec.encode(picture, ms_ssim=0.999999)
    picture.save(tmp_path / "a.png")
    arguments = ["encode", "--ssim", "0.5", str(tmp_path / "a.png"), str(tmp_path / "a.aec")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    assert "Note: ms_ssim of 3.01 dB (0.5) is met by quality 1, the lowest, with" in result.stderr


def test_impossible_targets_say_what_is_possible(codec: Codec, picture: Image.Image, ends: list[bytes]) -> None:
    with pytest.raises(InputError, match=f"quality 1 needs {len(ends[0])} bytes"):
        codec.encode(picture, max_bytes=len(ends[0]) - 1)
    best = psnr(picture, codec.decode(ends[1]))
    with pytest.raises(InputError, match=f"quality 100 gives {best:.2f} dB"):
        codec.encode(picture, psnr=best + 1)


@pytest.mark.parametrize("options", [{"bpp": 1e308}, {"max_bytes": 1e308}, {"max_bytes": 10**300}])
def test_a_size_beyond_all_files_is_met_by_the_highest_quality(
    tiny: Codec, random_pixels: NDArray[np.uint8], options: dict[str, Any]
) -> None:
    with pytest.warns(PictureWarning, match="is not used up by quality 100, the highest"):
        assert tiny.encode(random_pixels, **options) == tiny.encode(random_pixels, quality=100)


def test_one_target_at_most(tiny: Codec, random_pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match="and lossless, not quality and bpp"):
        tiny.encode(random_pixels, quality=50, bpp=1)
    for options in ({"bpp": 0}, {"max_bytes": -1}, {"psnr": math.nan}, {"ms_ssim": math.inf}):
        with pytest.raises(InputError, match="must be above 0"):
            tiny.encode(random_pixels, **options)


@settings(max_examples=300)
@given(
    power=st.floats(0.1, 3),
    wave=st.floats(-0.3, 0.3),
    jump=st.floats(0, 0.5),
    top=st.sampled_from([1.0, 0.3, 0.0, math.inf]),  # where the curve ends: flat from there on
    keep_below=st.booleans(),
    place=st.floats(0.02, 0.98),
    error=st.none() | st.floats(-0.2, 0.2),  # of a rehearsal, if there is one
)
@example(power=1.0, wave=0.0, jump=0.0, top=1.0, keep_below=False, place=0.505, error=0.0)  # met by the first rehearsal
@example(power=1.0, wave=0.0, jump=0.0, top=0.0, keep_below=True, place=0.5, error=0.0)  # met by all
def test_search_ends_on_the_right_side_of_any_growing_curve(
    power: float, wave: float, jump: float, top: float, keep_below: bool, place: float, error: float | None
) -> None:
    def measure(level: int) -> float:
        measured.append(level)
        x = (level - MIN_LEVEL) / (MAX_LEVEL - MIN_LEVEL)
        value = x**power + wave * math.sin(3 * x) / 6 + abs(wave) * x + jump * (level > 4321)
        return min(value, top) if top < math.inf else value if value < 0.7 else math.inf

    def rehearse(level: int) -> float:
        rehearsed.append(level)
        return measure(level) + (error or 0)

    measured: list[int] = []
    rehearsed: list[int] = []
    goal = measure(MIN_LEVEL) + place * (min(measure(MAX_LEVEL), 1.5) - measure(MIN_LEVEL))
    search = LevelSearch(goal - 0.01, goal, keep_below=keep_below, growth=(0, 1))
    measured.clear()
    search.run(measure, None if error is None else rehearse)
    assert search.found
    assert len(measured) <= 22
    assert len(rehearsed) <= 2
    if search.low <= search.value <= search.high:
        return
    assert search.value <= search.high if keep_below else search.low <= search.value
    neighbor = search.level + (1 if keep_below else -1)
    if MIN_LEVEL <= neighbor <= MAX_LEVEL:
        assert search.high < measure(neighbor) if keep_below else measure(neighbor) < search.low


def test_flat_picture_whose_size_hardly_grows_takes_no_long_search() -> None:
    """Each step that a secant takes there is a little one."""
    measured: list[int] = []
    search = LevelSearch(1.01, 1.03, keep_below=True, growth=(0, 4))
    search.run(lambda level: measured.append(level) or 1.0)
    assert (search.found, search.level) == (True, MAX_LEVEL)
    assert len(measured) <= 8
