"""Threads and large pictures: the same result, bounded memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from support import DATA, psnr

from aecodec import Codec, FormatError, InputError


@pytest.fixture(scope="module")
def wide(coffee: Image.Image) -> Image.Image:
    """Large enough for several areas that the networks see one by one."""
    return coffee.resize((1700, 900))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_nothing(tiny: Codec, wide: Image.Image, threads: int) -> None:
    before = torch.get_num_threads()
    data = tiny.encode(wide, tile=4)
    codec = Codec.load(DATA / "tiny.safetensors", device="cpu", threads=threads)
    for mine, other in zip(codec.decode_symbols(data), tiny.decode_symbols(data), strict=True):
        assert np.array_equal(mine, other)
    decoded = tiny.decode(data)
    assert np.abs(np.asarray(codec.decode(data)).astype(int) - np.asarray(decoded)).max() <= 1
    assert psnr(codec.decode(codec.encode(wide, tile=4)), wide) == pytest.approx(psnr(decoded, wide), abs=0.02)
    assert torch.get_num_threads() == before


def test_a_damaged_tile_is_one_error_in_threads_too(tiny: Codec, wide: Image.Image) -> None:
    data = bytearray(tiny.encode(wide, tile=4))
    data[len(data) // 2] ^= 1
    with pytest.raises(FormatError, match="is damaged"):
        Codec.load(DATA / "tiny.safetensors", device="cpu", threads=3).decode(bytes(data))


def test_no_threads_are_refused() -> None:
    with pytest.raises(InputError, match=r"threads must be 1\.\.1024, got 0"):
        Codec.load(DATA / "tiny.safetensors", device="cpu", threads=0)


def gradient(height: int, width: int) -> NDArray[np.uint8]:
    """Slow ramps, on which the smallest step at a border would show."""
    y, x = np.mgrid[:height, :width]
    return np.stack((60 + x / 12, 200 - y / 9, 90 + (x + y) / 30), axis=2).astype(np.uint8)


def test_borders_of_areas_and_tiles_cannot_be_seen(codec: Codec) -> None:
    """InnerSides into the smallest areas and tiles, or into none: decoded pixels agree within one level everywhere."""
    pixels = gradient(300, 400)
    cut, whole = (Codec(codec.weights, work_tile=tile, backend="float") for tile in (1, 64))
    data = whole.encode(pixels, quality=50, tile=1)
    difference = np.asarray(cut.decode(data)).astype(int) - np.asarray(whole.decode(data))
    assert np.abs(difference).max() <= 1
    encoded_in_parts = np.asarray(whole.decode(cut.encode(pixels, quality=50, effort=0))).astype(int)
    encoded_whole = np.asarray(whole.decode(whole.encode(pixels, quality=50, effort=0))).astype(int)
    assert np.mean(np.abs(encoded_in_parts - encoded_whole) > 1) < 0.001


@pytest.mark.xdist_group("machine")
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("width", "height", "limit_mb"), [(4000, 3000, 600), (12_000, 8400, 1500), (65_000, 300, 800)])
def test_memory_of_large_pictures_is_bounded(
    tmp_path: Path, coffee: Image.Image, monkeypatch: pytest.MonkeyPatch, width: int, height: int, limit_mb: int
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    picture, packed, restored = (tmp_path / name for name in ("a.jpg", "a.aec", "b.jpg"))
    coffee.resize((width, height)).save(picture)
    code = (
        "import sys; from aecodec.cli.app import main; main(sys.argv[1:], standalone_mode=False);"
        "print([l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')][0])"
    )
    for arguments in (["encode", picture, packed], ["decode", packed, restored]):
        command = [sys.executable, "-P", "-c", code, *map(str, arguments), "--quiet", "--threads", "2"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert int(done.stdout) / 1024 < limit_mb, arguments[0]
    with Image.open(restored) as image:
        assert image.size == (width, height)
