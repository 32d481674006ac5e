"""Effort: smaller files of the same picture for more time, which any decoder reads."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

import aecodec
from aecodec import Codec, InputError, metrics
from aecodec.cli.app import main
from aecodec.coding.prior import anchor_position
from aecodec.encoder import effort
from aecodec.encoder.effort import ERROR_WORTH
from aecodec.networks.config import ModelConfig

QUALITY = 50


@pytest.fixture(scope="module")
def picture(coffee: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(coffee.crop((100, 50, 357, 243)))


def cost(codec: Codec, picture: NDArray[np.uint8], data: bytes) -> float:
    """What the encoder minimizes: bits and squared error, of the file and of the picture that it gives."""
    error = np.square(np.asarray(codec.decode(data), np.float64) - picture).sum() / 3
    return (
        8 * len(data) + ERROR_WORTH * float(ModelConfig().lmbda(torch.tensor(anchor_position(100 * QUALITY)))) * error
    )


def test_each_level_is_better_than_the_one_before(codec: Codec, picture: NDArray[np.uint8]) -> None:
    costs = [cost(codec, picture, codec.encode(picture, quality=QUALITY, effort=level)) for level in (0, 3, 4, 5, 6)]
    assert all(after < before for before, after in pairwise(costs))
    assert costs[-1] < 0.97 * costs[0]


@pytest.mark.slow
def test_the_highest_level_is_the_best(codec: Codec, picture: NDArray[np.uint8]) -> None:
    lower, highest = (cost(codec, picture, codec.encode(picture, quality=QUALITY, effort=level)) for level in (7, 9))
    assert highest < lower


def test_a_stage_that_does_harm_is_thrown_away(
    codec: Codec, picture: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = codec.encode(picture, quality=QUALITY, effort=4)
    stages = (*effort.EFFORTS[4].stages, effort.Stage(steps=1, rate=100, noise=0))
    monkeypatch.setattr(effort, "EFFORTS", (*effort.EFFORTS[:4], effort.Effort(stages=stages)))
    assert codec.encode(picture, quality=QUALITY, effort=4) == expected


def test_areas_are_refined_together_with_what_is_around_them(codec: Codec, picture: NDArray[np.uint8]) -> None:
    """A codec that sees 128x64 pixels at once finds nearly what one finds that sees all."""
    small = Codec(codec.weights, codec.device, work_tile=1)
    plain, whole, parts = (
        cost(codec, picture, one.encode(picture, quality=QUALITY, effort=level))
        for one, level in ((codec, 0), (codec, 5), (small, 5))
    )
    assert plain - parts > 0.6 * (plain - whole)


def test_same_file_every_time(codec: Codec, picture: NDArray[np.uint8]) -> None:
    first, second = (codec.encode(picture, quality=QUALITY, effort=6) for _ in range(2))  # the lowest with noise
    assert first == second


def test_targets_hold_at_any_effort(codec: Codec, picture: NDArray[np.uint8]) -> None:
    data = codec.encode(picture, max_bytes=3000, effort=4)
    assert 0.97 * 3000 <= len(data) <= 3000
    decoded = np.asarray(codec.decode(codec.encode(picture, psnr=32, effort=4)))
    assert 32 <= metrics.psnr(picture, decoded) <= 32.1


def test_progress_adds_up(codec: Codec, picture: NDArray[np.uint8]) -> None:
    shares: list[float] = []
    codec.encode(picture, effort=4, progress=shares.append)
    assert len(shares) == 5
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
