"""The Pillow plugin does what Pillow's users expect of a format."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

import aecodec


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, coffee: Image.Image) -> Path:
    path = tmp_path_factory.mktemp("pillow") / "coffee.aec"
    coffee.save(path, quality=30)
    return path


def test_save_and_open_are_encode_and_decode(saved: Path, coffee: Image.Image) -> None:
    assert saved.read_bytes() == aecodec.encode(coffee, quality=30)
    with Image.open(saved) as image:
        assert (image.format, image.get_format_mimetype()) == ("AECODEC", "image/x-aecodec")
        assert (image.size, image.mode) == (coffee.size, "RGB")
        assert np.array_equal(np.asarray(image), np.asarray(aecodec.decode(saved.read_bytes())))


def test_opening_loads_no_torch(saved: Path) -> None:
    code = (
        "import sys, aecodec\n"
        "from PIL import Image\n"
        "assert Image.open(sys.argv[1]).size == (600, 400)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", code, str(saved)], check=True)


def test_metadata_is_there_at_open_and_options_replace_it(coffee: Image.Image) -> None:
    image = coffee.crop((0, 0, 64, 64))
    image.info.update(xmp=b"<x/>", icc_profile=b"profile", dpi=(72, 72))
    exif = Image.Exif()
    exif[0x010E] = "a cup"
    file = io.BytesIO()
    image.save(file, "AECODEC", exif=exif, xmp=None, icc_profile=b"other")
    again = Image.open(file)
    assert again.info["icc_profile"] == b"other"
    assert "xmp" not in again.info
    assert again.info["dpi"] == (72, 72)
    assert again.getexif()[0x010E] == "a cup"


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_modes_survive(coffee: Image.Image, mode: str) -> None:
    image = coffee.crop((0, 0, 70, 50)).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    file = io.BytesIO()
    image.convert(mode).save(file, "AECODEC", quality=90)
    again = Image.open(file)
    assert again.mode == mode
    again.load()
    assert again.mode == mode
    if mode.endswith("A"):
        assert np.array_equal(np.asarray(again.getchannel("A")), np.asarray(image.getchannel("A")))


def test_what_pillow_does_to_any_image(saved: Path, tmp_path: Path) -> None:
    with Image.open(saved) as image:
        assert image.tell() == 0
        image.seek(0)
        with pytest.raises(EOFError):
            image.seek(1)
        again = pickle.loads(pickle.dumps(image))
        assert np.array_equal(np.asarray(again), np.asarray(image))
        image.thumbnail((128, 128))
        assert max(image.size) == 128
    image = Image.open(saved)
    image.close()
    with pytest.raises(ValueError, match="closed"):
        image.load()
    with saved.open("rb") as file:  # an open file stays open, and stays the caller's
        image = Image.open(file)
        image.load()
        assert not file.closed
    with Image.open(saved) as image:
        image.save(tmp_path / "copy.png")
    with Image.open(saved) as image:
        image.verify()


def test_damaged_files_are_errors_of_pillow(saved: Path) -> None:
    data = saved.read_bytes()
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(data[:10]))
    truncated = Image.open(io.BytesIO(data[: len(data) // 2]))
    assert truncated.size == (600, 400)
    with pytest.raises(OSError, match="needs"):
        truncated.load()
    damaged = bytearray(data)
    damaged[-1] ^= 1
    with pytest.raises(OSError, match="damaged"):
        Image.open(io.BytesIO(damaged)).load()
