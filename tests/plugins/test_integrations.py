"""imageio and zarr read and write .aec as they do their own formats."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import imageio.v2 as iio2
import imageio.v3 as iio
import numcodecs
import numpy as np
import pytest
import zarr
from PIL import ExifTags, Image

import aecodec.imageio
import aecodec.numcodecs
import aecodec.zarr
from aecodec import InputError, metrics
from aecodec.format.container import SectionKind, pack, unpack


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
    for read in (iio.imread, iio.improps, iio.immeta):
        with pytest.raises(IndexError, match="one picture"):
            read(path, index=1)


def test_imageio_tells_metadata_without_decoding(tmp_path: Path, coffee: Image.Image) -> None:
    coffee.crop((0, 0, 40, 30)).convert("LA").save(tmp_path / "a.aec", quality=70, dpi=(72, 72))
    assert iio.immeta(tmp_path / "a.aec") == {"mode": "L", "quality": 70.0, "dpi": (72.0, 72.0)}
    assert iio.improps(tmp_path / "a.aec").shape == (30, 40)


PICTURE = np.asarray(Image.linear_gradient("L").resize((40, 30)).convert("RGB"))


@pytest.mark.parametrize(
    "pictures",
    [np.stack([PICTURE] * 3), [PICTURE] * 3, np.stack([PICTURE[:, :, 0]] * 3), np.zeros((0, 30, 40, 3), np.uint8), []],
)
def test_imageio_batch_that_no_file_holds_is_refused(tmp_path: Path, pictures: Any) -> None:
    path = tmp_path / "a.aec"
    path.write_bytes(b"precious")
    with pytest.raises(InputError, match=f"holds one picture, got {len(pictures)}"):
        iio.imwrite(path, pictures)
    with pytest.raises(InputError, match=f"holds one picture, got {len(pictures)}"):
        iio.imwrite(path, pictures, is_batch=True)
    if len(pictures):
        with pytest.raises(InputError, match="holds one picture, got 3"):
            iio2.mimwrite(path, list(pictures))
    assert path.read_bytes() == b"precious"


def test_imageio_batch_of_one_is_a_picture(tmp_path: Path) -> None:
    data = aecodec.encode(PICTURE)
    for one in (PICTURE[None], [PICTURE], (PICTURE,)):
        assert iio.imwrite("<bytes>", one, extension=".aec") == data
    iio2.mimwrite(tmp_path / "a.aec", [PICTURE])
    iio2.imwrite(tmp_path / "b.aec", PICTURE, quality=55)
    assert (tmp_path / "a.aec").read_bytes() == (tmp_path / "b.aec").read_bytes() == data
    narrow = PICTURE[:, :3, 0]  # which looks like a row of colors
    assert iio.improps(iio.imwrite("<bytes>", narrow[None], extension=".aec", is_batch=True)).shape == (30, 3)


def test_imageio_second_write_is_an_error_and_the_file_stays_whole(tmp_path: Path) -> None:
    with iio.imopen(tmp_path / "a.aec", "w") as file:
        file.write(PICTURE)
        with pytest.raises(InputError, match="holds one picture, got 2"):
            file.write(PICTURE)
    with iio2.get_writer(tmp_path / "b.aec") as writer:
        writer.append_data(PICTURE)
        with pytest.raises(InputError, match="holds one picture, got 2"):
            writer.append_data(PICTURE)
    for name in ("a.aec", "b.aec"):
        assert (tmp_path / name).read_bytes() == aecodec.encode(PICTURE)


def test_imageio_knows_mode_rotate_and_effort(tmp_path: Path) -> None:
    path = tmp_path / "a.aec"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # a quarter to the right
    Image.fromarray(PICTURE).save(path, exif=exif)
    plain = iio.imread(path)
    assert np.array_equal(iio.imread(path, rotate=True), np.rot90(plain, -1))
    assert [frame.shape for frame in iio.imiter(path, rotate=True, mode="L")] == [(40, 30)]
    assert iio.imread(path, mode="RGBA", index=...).shape == (1, 30, 40, 4)
    plain[:] = 0  # as with other plugins, what is read may be changed
    for mode in ("L", "LA", "RGB", "RGBA"):
        expected = aecodec.encode(Image.fromarray(PICTURE).convert(mode), quality=80, effort=0)
        assert iio.imwrite("<bytes>", PICTURE, extension=".aec", mode=mode, quality=80, effort=0) == expected
    with pytest.raises(InputError, match="mode must be L, LA, RGB or RGBA, got CMYK"):
        iio.imwrite("<bytes>", PICTURE, extension=".aec", mode="CMYK")
    with pytest.raises(InputError, match="effort must be"):
        iio.imwrite("<bytes>", PICTURE, extension=".aec", effort=10)
    assert len(iio.imwrite("<bytes>", PICTURE[:, :, :1], extension=".aec", mode="RGB"))
    with pytest.raises(InputError, match=r"array must be .*, got \[30, 8, 5\]"):
        iio.imwrite("<bytes>", PICTURE.reshape(30, -1, 5)[:, :8], extension=".aec", is_batch=False, mode="RGB")
    header, sections, tiles = unpack(path.read_bytes())
    path.write_bytes(pack(header, sections | {SectionKind.EXIF: b"no EXIF"}, tiles))
    assert iio.imread(path, rotate=True).shape == PICTURE.shape


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


@pytest.mark.parametrize(
    "shape",
    [(50, 60), (50, 60, 1), (50, 60, 2), (50, 60, 3), (50, 60, 4), (2, 50, 60, 3), (1, 2, 50, 60), (2, 1, 50, 60, 4)],
)
@pytest.mark.parametrize("opaque", [True, False])
def test_numcodecs_keeps_shape_and_channels(shape: tuple[int, ...], opaque: bool) -> None:
    codec = numcodecs.get_codec({"id": "aecodec", "quality": 95})
    ramp = np.linspace(0, 255, 60).astype(np.uint8)
    pictures = np.array(np.broadcast_to(ramp[:, None] if shape[-1] < 5 else ramp, shape), order="C")
    if shape[-1] in (2, 4):
        pictures[..., -1] = 255 if opaque else 7 * np.arange(60) % 256
    decoded = codec.decode(codec.encode(pictures))
    assert decoded.size == pictures.size
    again = decoded.reshape(shape)
    assert np.abs(again.astype(int) - pictures).mean() < 4
    assert shape[-1] not in (2, 4) or np.array_equal(again[..., -1], pictures[..., -1])
    for out in (np.empty(shape, np.uint8), np.empty(shape, np.uint8, order="F"), bytearray(pictures.size)):
        assert codec.decode(codec.encode(pictures), out) is out
        assert np.array_equal(
            np.frombuffer(out, np.uint8) if isinstance(out, bytearray) else out.ravel(), again.ravel()
        )
    with pytest.raises(InputError, match=f"out of 9 bytes is not for a chunk of {pictures.size}"):
        codec.decode(codec.encode(pictures), np.empty(9, np.uint8))


def test_numcodecs_refuses_other_arrays() -> None:
    codec = aecodec.numcodecs.Aecodec()
    for array in (np.zeros((4, 4), np.float32), np.zeros(4, np.uint8), np.zeros((0, 4, 4, 3), np.uint8)):
        with pytest.raises(InputError, match="chunks must be"):
            codec.encode(array)
    with pytest.raises(InputError, match="66000 rows in total, at most 65535 are possible"):
        codec.encode(np.zeros((66, 1000, 1, 3), np.uint8))


def test_memory_order_that_would_come_back_as_garbage_is_refused(tmp_path: Path) -> None:
    """zarr reads what a codec gives in the order of the array: F order would be another picture."""
    pictures = np.stack([PICTURE] * 2)
    codec = aecodec.numcodecs.Aecodec()
    with pytest.raises(InputError, match="C order"):
        codec.encode(np.asfortranarray(pictures))
    assert codec.encode(pictures[:, ::-1]) == codec.encode(pictures[:, ::-1].copy())
    options: Any = {"shape": (2, 30, 40, 3), "chunks": (1, 30, 40, 3), "dtype": "uint8", "compressors": codec}
    stored = zarr.create_array(tmp_path / "f.zarr", **options, zarr_format=2, order="F")
    with pytest.raises(InputError, match="C order"):
        stored[:] = pictures
    stored = zarr.create_array(tmp_path / "c.zarr", **options, zarr_format=2)
    stored[:] = np.asfortranarray(pictures)
    assert metrics.psnr(pictures[0], stored[0]) > 30


def test_numcodecs_options_are_json_and_checked_at_once(tmp_path: Path) -> None:
    codec = aecodec.numcodecs.Aecodec(quality=np.float32(80), effort=np.int64(0))
    assert json.loads(json.dumps(codec.get_config())) == {"id": "aecodec", "quality": 80, "effort": 0}
    assert numcodecs.get_codec(codec.get_config()) == codec
    assert codec.encode(PICTURE) == aecodec.encode(PICTURE, quality=80, effort=0)
    for quality in (Fraction(80), np.array(80)):
        assert json.dumps(aecodec.numcodecs.Aecodec(quality, np.array(0)).get_config()) == json.dumps(
            codec.get_config()
        )
    zarr.create_array(
        tmp_path / "a.zarr", shape=(30, 40, 3), chunks=(30, 40, 3), dtype="uint8", compressors=codec, zarr_format=2
    )[:] = PICTURE
    assert zarr.open_array(tmp_path / "a.zarr", mode="r")[:].shape == (30, 40, 3)
    for options in ({"quality": 0}, {"quality": 101}, {"quality": float("nan")}, {"effort": 10}, {"effort": 3.5}):
        with pytest.raises(InputError, match=f"{next(iter(options))} must be"):
            aecodec.numcodecs.Aecodec(**options)


@pytest.mark.parametrize("name", ["compressors", "filters"])
def test_zarr_format_3_says_which_codec_is_needed(tmp_path: Path, name: str) -> None:
    options: Any = {"shape": (30, 40, 3), "chunks": (30, 40, 3), "dtype": "uint8", name: aecodec.numcodecs.Aecodec()}
    with pytest.raises(InputError, match=r"zarr_format=2, or those of format 3 with serializer=aecodec.zarr.Aecodec()"):
        zarr.create_array(tmp_path / "a.zarr", **options)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("sharded", [False, True])
def test_zarr_format_3_keeps_pictures(tmp_path: Path, channels: int, sharded: bool) -> None:
    pictures = np.stack([PICTURE, PICTURE[::-1]])[..., [0, 1, 2, 0][:channels]]
    options: Any = {"shards": (2, 30, 40, channels)} if sharded else {"compressors": None}
    stored = zarr.create_array(
        tmp_path / "a.zarr", shape=pictures.shape, chunks=(1, 30, 40, channels), dtype="uint8",
        serializer=aecodec.zarr.Aecodec(quality=np.float32(90), effort=0), **options,
    )  # fmt: skip
    assert stored.metadata.zarr_format == 3
    stored[:] = np.asfortranarray(pictures)
    again = zarr.open_array(tmp_path / "a.zarr", mode="r")
    expected = aecodec.numcodecs.Aecodec(90, effort=0)
    for before, after in zip(pictures, again[:], strict=True):
        assert np.array_equal(
            after, expected.decode(expected.encode(np.ascontiguousarray(before))).reshape(after.shape)
        )
        assert channels in (2, 4) or metrics.psnr(before, after) > 28
    if not sharded:
        assert aecodec.read_header((tmp_path / "a.zarr/c/0/0/0/0").read_bytes()).quality == 90


def test_zarr_format_3_reads_without_an_import(tmp_path: Path) -> None:
    serializer: Any = {"name": "aecodec", "configuration": {"quality": 80}}
    zarr.create_array(
        tmp_path / "a.zarr",
        shape=(30, 40, 3),
        chunks=(30, 40, 3),
        dtype="uint8",
        serializer=serializer,
        compressors=None,
    )[:] = PICTURE
    code = (
        "import sys, zarr; assert 'aecodec' not in sys.modules; print(zarr.open_array(sys.argv[1], mode='r')[:].shape)"
    )
    arguments = [sys.executable, "-P", "-c", code, str(tmp_path / "a.zarr")]
    assert subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=120).stdout == "(30, 40, 3)\n"


def test_zarr_format_3_refuses_other_arrays_before_they_are_made(tmp_path: Path) -> None:
    def create(**options: Any) -> None:
        arguments = {"shape": (30, 40, 3), "chunks": (30, 40, 3), "dtype": "uint8", "compressors": None} | options
        zarr.create_array(tmp_path / "a.zarr", serializer=aecodec.zarr.Aecodec(), **arguments)

    with pytest.raises(InputError, match="arrays must be uint8, got uint16"):
        create(dtype="uint16")
    with pytest.raises(InputError, match=r"chunks must be \[..., H, W\] .*, got \(9,\)"):
        create(shape=(9,), chunks=(9,))
    with pytest.raises(InputError, match="66000 rows in total, at most 65535 are possible"):
        create(shape=(66, 1000, 2, 3), chunks=(66, 1000, 2, 3))
    for options in ({"quality": 0}, {"effort": 10}):
        with pytest.raises(InputError, match="must be"):
            aecodec.zarr.Aecodec(**options)
    assert not list(tmp_path.rglob("zarr.json"))
