"""Effort: smaller files of the same picture for more time, which any decoder reads."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

import aecodec
from aecodec import Codec, InputError, metrics
from aecodec.cli.app import main
from aecodec.encoder.effort import error_weight
from aecodec.networks.config import ModelConfig

QUALITY = 50


@pytest.fixture(scope="module")
def picture(coffee: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(coffee.crop((100, 50, 357, 243)))


def cost(codec: Codec, picture: NDArray[np.uint8], data: bytes) -> float:
    """What the encoder minimizes: bits and squared error, of the file and of the picture that it gives."""
    error = np.square(np.asarray(codec.decode(data), np.float64) - picture).sum() / 3
    config = ModelConfig.from_dict(codec.weights.config)
    return 8 * len(data) + error_weight(config, 100 * QUALITY) * 3 / 255**2 * error


def test_each_level_is_better_than_the_one_before(codec: Codec, picture: NDArray[np.uint8]) -> None:
    costs = [cost(codec, picture, codec.encode(picture, quality=QUALITY, effort=level)) for level in (0, 2, 3, 4, 6)]
    assert all(after < before for before, after in pairwise(costs))
    assert costs[2] < 0.98 * costs[0]


@pytest.mark.slow
def test_the_highest_level_is_the_best(codec: Codec, picture: NDArray[np.uint8]) -> None:
    lower, highest = (cost(codec, picture, codec.encode(picture, quality=QUALITY, effort=level)) for level in (7, 9))
    assert highest < lower


def test_torch_refines_as_the_native_library_does(codec: Codec, picture: NDArray[np.uint8]) -> None:
    tall = np.tile(picture, (3, 1, 1))
    for work_tile in (1, 8):  # several areas, and one
        floats = Codec(codec.weights, backend="float", work_tile=work_tile)
        files = [one.encode(tall, quality=QUALITY, effort=4) for one in (codec, floats)]
        native, torchs = (cost(codec, tall, data) for data in files)
        assert torchs == pytest.approx(native, rel=0.003)


def test_threads_do_not_matter(codec: Codec, picture: NDArray[np.uint8]) -> None:
    tall = np.tile(picture, (3, 1, 1))  # several strips
    files = {Codec(codec.weights, threads=count, work_tile=1).encode(tall, effort=4) for count in (1, 3)}
    assert len(files) == 1


def test_areas_are_refined_together_with_what_is_around_them(codec: Codec, picture: NDArray[np.uint8]) -> None:
    """A codec that goes through a picture in low strips finds nearly what one finds that sees all."""
    tall, small = np.tile(picture, (3, 1, 1)), Codec(codec.weights, work_tile=1)
    plain, whole, parts = (
        cost(codec, tall, one.encode(tall, quality=QUALITY, effort=level))
        for one, level in ((codec, 0), (codec, 5), (small, 5))
    )
    assert plain - parts > 0.9 * (plain - whole)


def test_same_file_every_time(codec: Codec, picture: NDArray[np.uint8]) -> None:
    first, second = (codec.encode(picture, quality=QUALITY, effort=6) for _ in range(2))
    assert first == second


def test_targets_hold_at_any_effort(codec: Codec, picture: NDArray[np.uint8]) -> None:
    data = codec.encode(picture, max_bytes=3000, effort=4)
    assert 0.97 * 3000 <= len(data) <= 3000
    decoded = np.asarray(codec.decode(codec.encode(picture, psnr=32, effort=4)))
    assert 32 <= metrics.psnr(picture, decoded) <= 32.1


def test_progress_adds_up(codec: Codec, picture: NDArray[np.uint8]) -> None:
    shares: list[float] = []
    codec.encode(picture, effort=4, progress=shares.append)
    assert len(shares) == 3
    assert sum(shares) == pytest.approx(1)


def test_unknown_effort(tiny: Codec, picture: NDArray[np.uint8]) -> None:
    for level in (-1, 10):
        with pytest.raises(InputError, match=f"effort must be 0..9, got {level}"):
            tiny.encode(picture, effort=level)


def test_command_pillow_and_library_agree(coffee: Image.Image, tmp_path: Path) -> None:
    image = coffee.crop((0, 0, 128, 64))
    source, target = tmp_path / "picture.png", tmp_path / "picture.aec"
    image.save(source)
    result = CliRunner().invoke(main, ["encode", "--effort", "5", "-q", "60", str(source), str(target)])
    assert result.exit_code == 0, result.output
    buffer = io.BytesIO()
    Image.open(source).save(buffer, "AECODEC", quality=60, effort=5)
    assert target.read_bytes() == buffer.getvalue() == aecodec.encode(Image.open(source), quality=60, effort=5)
    assert target.read_bytes() != aecodec.encode(Image.open(source), quality=60)
    result = CliRunner().invoke(main, ["encode", "--effort", "10", str(source), str(target)])
    assert result.exit_code == 2


@pytest.mark.parametrize("model", ["m", "s"])
def test_gradients_help_up_to_the_highest_quality(model: str, picture: NDArray[np.uint8]) -> None:
    """Where y holds too little for lambda, steps of the usual length overshoot: s lost 2 dB from quality 80 to 100."""
    codec = Codec.load(model)

    def psnr(quality: float, effort: int) -> float:
        return metrics.psnr(picture, np.asarray(codec.decode(codec.encode(picture, quality=quality, effort=effort))))

    refined = [psnr(quality, 3) for quality in (70, 80, 90, 100)]
    assert refined == sorted(refined)
    assert refined[-1] > psnr(100, 0)
