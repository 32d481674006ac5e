"""Metrics against the packages that the field uses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_msssim import ms_ssim

from aecodec import InputError, metrics


def test_psnr_of_known_error() -> None:
    a = np.full((4, 4, 3), 100, np.uint8)
    assert metrics.psnr(a, a + np.uint8(5)) == pytest.approx(10 * np.log10(255**2 / 25))
    assert metrics.psnr(a, a) == float("inf")


def test_psnr_counts_every_row() -> None:
    rng = np.random.default_rng(0)
    for rows in (1, 64, 177):
        a, b = rng.integers(0, 256, (2, rows, 33, 3), dtype=np.uint8)
        error = np.mean(np.square(a.astype(float) - b))
        assert metrics.psnr(a, b) == pytest.approx(10 * np.log10(255**2 / error), abs=1e-9)


@pytest.mark.parametrize("size", [(600, 400), (333, 177)])
def test_ms_ssim_equals_pytorch_msssim(coffee: Image.Image, size: tuple[int, int]) -> None:
    a = np.asarray(coffee.resize(size))
    b = np.asarray(coffee.resize((size[0] // 2, size[1] // 2)).resize(size))
    x, y = (torch.tensor(image).permute(2, 0, 1)[None].double() for image in (a, b))
    assert metrics.ms_ssim(a, b) == pytest.approx(ms_ssim(x, y, data_range=255).item(), abs=1e-6)


def test_ms_ssim_of_opposite_pictures_is_0(coffee: Image.Image) -> None:
    a = np.asarray(coffee.crop((0, 0, 200, 170)))
    assert metrics.ms_ssim(a, 255 - a) == pytest.approx(0, abs=1e-6)


def test_ms_ssim_db() -> None:
    assert metrics.ms_ssim_db(0.99) == pytest.approx(20)
    assert metrics.ms_ssim_db(1.0) == float("inf")


def test_bd_rate_of_scaled_rates() -> None:
    rate, quality = [0.2, 0.4, 0.8, 1.6], [30.0, 33.0, 36.5, 39.0]
    assert metrics.bd_rate(rate, quality, [r * 0.7 for r in rate], quality) == pytest.approx(-30)
    assert metrics.bd_rate(rate, quality, rate[::-1], quality[::-1]) == pytest.approx(0)


def test_bd_rate_needs_a_common_range() -> None:
    with pytest.raises(InputError, match=r"40\.00 dB is not below 31\.00 dB"):
        metrics.bd_rate([1, 2], [30, 31], [1, 2], [40, 41])


def test_bd_rate_between_counts_nothing_outside() -> None:
    """Twice the bits up to 34 dB, half of them from there on."""
    quality = [30.0, 32.0, 34.0, 36.0, 38.0]
    anchor, test = [1.0] * 5, [2.0, 2.0, 1.0, 0.5, 0.5]
    assert metrics.bd_rate(anchor, quality, test, quality) == pytest.approx(0)
    assert metrics.bd_rate(anchor, quality, test, quality, between=(30, 32)) == pytest.approx(100)
    assert metrics.bd_rate(anchor, quality, test, quality, between=(36, 38)) == pytest.approx(-50)


@pytest.mark.parametrize("between", [(29.9, 34), (32, 38.1), (34, 34), (36, 32)])
def test_bd_rate_refuses_a_range_that_a_curve_does_not_cover(between: tuple[float, float]) -> None:
    wide, narrow = [20.0, 30.0, 50.0], [30.0, 34.0, 38.0]
    for one, other in ((wide, narrow), (narrow, wide)):
        with pytest.raises(InputError, match=r"share 30\.00 to 38\.00 dB, not|is not below"):
            metrics.bd_rate([1, 2, 3], one, [1, 2, 3], other, between=between)


@pytest.mark.parametrize("quality", [[30.0], [30.0, 30.0], [31.0, 30.0, 31.0]])
def test_bd_rate_needs_curves(quality: list[float]) -> None:
    with pytest.raises(InputError, match="two or more points of different quality"):
        metrics.bd_rate([1, 2], [29, 32], [1.0] * len(quality), quality)


def test_pictures_must_match() -> None:
    a = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(InputError, match="differ in shape"):
        metrics.psnr(a, a[:3])
    with pytest.raises(InputError, match="uint8"):
        metrics.psnr(a, a.astype(float))
    for other in (a.tolist(), "a.png", None):
        with pytest.raises(InputError, match="pictures must be uint8 arrays, got ndarray and"):
            metrics.psnr(a, other)  # type: ignore[arg-type]
    for shape in ((), (5,), (0, 4, 3)):
        with pytest.raises(InputError, match=r"pictures must be \[H, W\] or \[H, W, C\], got"):
            metrics.psnr(np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))
    with pytest.raises(InputError, match=r"must be \[H, W\] or \[H, W, C\]"):
        metrics.ms_ssim(np.zeros((1, 200, 200, 3), np.uint8), np.zeros((1, 200, 200, 3), np.uint8))
    for sides in ((160, 200, 3), (200, 160, 3)):
        with pytest.raises(InputError, match="above 160"):
            metrics.ms_ssim(np.zeros(sides, np.uint8), np.zeros(sides, np.uint8))
