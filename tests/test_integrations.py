"""imageio and zarr read and write .aec as they do their own formats."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numcodecs
import numpy as np
import pytest
import zarr
from PIL import Image

import aecodec.imageio
import aecodec.numcodecs
from aecodec import InputError, metrics


def test_imageio_writes_and_reads(tmp_path: Path, coffee: Image.Image) -> None:
    pixels = np.asarray(coffee)
    path = tmp_path / "coffee.aec"
    iio.imwrite(path, pixels, quality=50)
    assert (
        path.read_bytes()
        == aecodec.encode(pixels, quality=50)
        == iio.imwrite("<bytes>", pixels, extension=".aec", quality=50)
    )
    image = iio.imread(path)
    assert np.array_equal(image, np.asarray(aecodec.decode(path.read_bytes())))
    assert np.array_equal(iio.imread(path.read_bytes(), extension=".aec"), image)
    assert iio.improps(path).shape == pixels.shape
    assert iio.imread(path, index=...).shape == (1, *pixels.shape)
    assert [frame.shape for frame in iio.imiter(path)] == [pixels.shape]
    with pytest.raises(IndexError, match="one picture"):
        iio.imread(path, index=1)


def test_imageio_tells_metadata_without_decoding(tmp_path: Path, coffee: Image.Image) -> None:
    coffee.crop((0, 0, 40, 30)).convert("LA").save(tmp_path / "a.aec", quality=70, dpi=(72, 72))
    assert iio.immeta(tmp_path / "a.aec") == {"mode": "L", "quality": 70.0, "dpi": (72.0, 72.0)}
    assert iio.improps(tmp_path / "a.aec").shape == (30, 40)


def test_zarr_array_of_pictures_round_trips(tmp_path: Path, coffee: Image.Image) -> None:
    pictures = np.stack([np.asarray(coffee.crop((x, 0, x + 160, 120))) for x in (0, 100, 200)])
    stored = zarr.create_array(
        tmp_path / "photos.zarr", shape=pictures.shape, chunks=(1, 120, 160, 3), dtype="uint8",
        compressors=aecodec.numcodecs.Aecodec(quality=90), zarr_format=2,
    )  # fmt: skip
    stored[:] = pictures
    again = zarr.open_array(tmp_path / "photos.zarr", mode="r")
    assert again.shape == pictures.shape
    for before, after in zip(pictures, again[:], strict=True):
        assert np.array_equal(after, np.asarray(aecodec.decode(aecodec.encode(before, quality=90))))
        assert metrics.psnr(before, after) > 28


@pytest.mark.parametrize("shape", [(50, 60), (50, 60, 3), (50, 60, 4), (2, 50, 60, 3), (1, 2, 50, 60)])
def test_numcodecs_takes_all_pictures(shape: tuple[int, ...]) -> None:
    codec = numcodecs.get_codec({"id": "aecodec", "quality": 95})
    assert codec.get_config() == {"id": "aecodec", "quality": 95}
    ramp = np.broadcast_to(np.linspace(0, 255, 60).astype(np.uint8)[:, None], (50, 60, 4))
    pictures = np.ascontiguousarray(np.broadcast_to(ramp[:, :, : shape[-1]] if shape[-1] < 5 else ramp[:, :, 0], shape))
    out = np.empty(shape, np.uint8)
    codec.decode(codec.encode(pictures), out)
    assert np.abs(out.astype(int) - pictures).mean() < 4


def test_numcodecs_refuses_other_arrays() -> None:
    with pytest.raises(InputError, match="uint8"):
        aecodec.numcodecs.Aecodec().encode(np.zeros((4, 4), np.float32))
