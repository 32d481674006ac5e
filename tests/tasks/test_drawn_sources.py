"""Uses of files whose pixels are drawn: what looks at the networks' code has none there, and makes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import aecodec
from aecodec import Codec, tasks


@pytest.fixture(scope="module")
def exact(coffee: Image.Image) -> bytes:
    return aecodec.encode(coffee.crop((100, 100, 260, 228)), lossless=True)


def test_lossless_files_have_the_vector_of_their_pixels(tmp_path: Path, coffee: Image.Image, exact: bytes) -> None:
    (tmp_path / "a.aec").write_bytes(exact)
    coffee.crop((100, 100, 260, 228)).save(tmp_path / "b.png")
    a, b = tasks.embed([tmp_path / "a.aec", tmp_path / "b.png"])
    assert float(a @ b) > 0.999


def test_lossless_files_are_cleaned_and_enlarged(codec: Codec, coffee: Image.Image, exact: bytes) -> None:
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    clean = np.asarray(coffee.crop((100, 100, 260, 228)))
    noisy = np.clip(clean + rng.normal(0, 25, clean.shape), 0, 255).round().astype(np.uint8)
    made = tasks.Denoiser(codec).decode(codec.encode(noisy, lossless=True), 25.0).image
    assert aecodec.metrics.psnr(clean, np.asarray(made)) > aecodec.metrics.psnr(clean, noisy) + 4
    enlarger = tasks.Enlarger(codec)
    larger = enlarger.decode(exact)
    assert larger.size == (320, 256)
    part = enlarger.decode(exact, region=(32, 16, 64, 48))
    assert part.size == (128, 96)
    difference = np.abs(np.asarray(larger.crop((64, 32, 192, 128))).astype(int) - np.asarray(part))
    assert difference.max() <= 1


def test_lossless_files_are_interpolated(coffee: Image.Image, exact: bytes) -> None:
    other = coffee.crop((200, 200, 360, 328))
    first, *_, last = tasks.interpolate(exact, other, frames=3)
    assert aecodec.metrics.psnr(np.asarray(coffee.crop((100, 100, 260, 228))), np.asarray(first.blended)) > 28
    assert aecodec.metrics.psnr(np.asarray(other), np.asarray(last.blended)) > 28
