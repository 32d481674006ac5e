"""The gdk-pixbuf loader of the installed library, in gdk-pixbuf itself and in its programs."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_golden import GOLDEN
from make_invalid import INVALID
from PIL import ExifTags, Image, ImageCms, ImageOps
from support import DATA, psnr

import aecodec

pytestmark = pytest.mark.xdist_group("native")

# Each file of the command line as a line of JSON; `step` bytes at a time, 0: by its path.
READ = """
import base64, ctypes, json, sys

class GError(ctypes.Structure):
    _fields_ = [("domain", ctypes.c_uint32), ("code", ctypes.c_int), ("message", ctypes.c_char_p)]

c = ctypes.CDLL("libgdk_pixbuf-2.0.so.0")
for name in ("new_from_file", "loader_new", "loader_get_pixbuf", "get_pixels"):
    getattr(c, "gdk_pixbuf_" + name).restype = ctypes.c_void_p
c.gdk_pixbuf_get_option.restype = ctypes.c_char_p
c.gdk_pixbuf_get_byte_length.restype = ctypes.c_size_t

def read(path, step):
    error = ctypes.POINTER(GError)()
    if not step:
        pixbuf = c.gdk_pixbuf_new_from_file(path.encode(), ctypes.byref(error))
    else:
        data = open(path, "rb").read()
        loader = ctypes.c_void_p(c.gdk_pixbuf_loader_new())
        parts = [data[at : at + step] for at in range(0, len(data), step)]
        write = lambda part: c.gdk_pixbuf_loader_write(loader, part, ctypes.c_size_t(len(part)), ctypes.byref(error))
        done = all(map(write, parts)) and c.gdk_pixbuf_loader_close(loader, ctypes.byref(error))
        pixbuf = c.gdk_pixbuf_loader_get_pixbuf(loader) if done else None
    if not pixbuf:
        return {"error": error.contents.message.decode()}
    pixbuf = ctypes.c_void_p(pixbuf)
    ask = lambda name: getattr(c, "gdk_pixbuf_get_" + name)(pixbuf)
    options = {key: c.gdk_pixbuf_get_option(pixbuf, key.encode()) for key in ("orientation", "icc-profile")}
    return {
        "shape": [ask("height"), ask("width"), ask("n_channels")],
        "stride": ask("rowstride"),
        "pixels": base64.b64encode(ctypes.string_at(ask("pixels"), ask("byte_length"))).decode(),
        "options": {key: value.decode() for key, value in options.items() if value},
    }

for path in sys.argv[2:]:
    print(json.dumps(read(path, int(sys.argv[1]))))
"""

Run = Callable[..., str]


@pytest.fixture(scope="module")
def desktop(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Standard output of a command on a desktop that has the loader and its MIME type."""
    module = next(installed.rglob("libpixbufloader-aec.so"), None)
    if not module or not shutil.which("update-mime-database"):
        pytest.skip("needs libgdk-pixbuf-2.0-dev and shared-mime-info")
    asked = ["pkg-config", "--variable=gdk_pixbuf_query_loaders", "gdk-pixbuf-2.0"]
    query = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    cache = tmp_path_factory.mktemp("gdk-pixbuf") / "loaders.cache"
    cache.write_bytes(subprocess.run([query, module], check=True, capture_output=True).stdout)
    subprocess.run(["update-mime-database", installed / "share" / "mime"], check=True, capture_output=True)
    variables = os.environ | {"GDK_PIXBUF_MODULE_FILE": str(cache), "XDG_DATA_HOME": str(installed / "share")}

    def run(*command: object, **environment: object) -> str:
        if shutil.which(str(command[0])) is None:
            pytest.skip(f"no {command[0]} here")
        env = variables | {name: str(value) for name, value in environment.items()}
        return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, env=env).stdout

    return run


def read(desktop: Run, paths: list[Path], step: int, **environment: object) -> list[dict[str, Any]]:
    lines = desktop(sys.executable, "-c", READ, step, *paths, **environment).splitlines()
    assert len(lines) == len(paths)
    return list(map(json.loads, lines))


@pytest.mark.parametrize("step", [0, 7])
def test_programs_get_the_pixels_of_python(desktop: Run, step: int) -> None:
    files = sorted(GOLDEN.glob("*.aec"))
    assert len(files) > 10
    got = read(desktop, files, step, AECODEC_DATA=DATA)
    shipped = sorted((DATA / "golden_shipped").glob("*.aec"))
    got += read(desktop, shipped, step)  # with the weights that are installed
    for path, picture in zip(files + shipped, got, strict=True):
        with Image.open(path.with_suffix(".png")) as image:
            expected = np.asarray(image.convert("RGBA" if "A" in image.mode else "RGB"))
        assert picture.get("shape") == list(expected.shape), (path, picture)
        rows = np.frombuffer(base64.b64decode(picture["pixels"]), np.uint8)
        height, width, channels = expected.shape
        rows = np.pad(rows, (0, height * picture["stride"] - rows.size)).reshape(height, -1)
        assert np.array_equal(rows[:, : width * channels].reshape(expected.shape), expected), path


@pytest.mark.parametrize("step", [0, 7])
def test_damaged_files_are_errors(desktop: Run, step: int) -> None:
    files = sorted(INVALID.glob("*.aec"))
    got = dict(zip((path.stem for path in files), read(desktop, files, step, AECODEC_DATA=DATA), strict=True))
    assert [name for name, picture in got.items() if not picture.get("error")] == []
    assert got["other-weights"]["error"].endswith(f", which {DATA} does not have")
    assert "CRC-32" in got["crc-of-tile"]["error"]
    assert "CRC-32" in got["crc-of-metadata"]["error"]


def test_bytes_without_end_are_not_collected(desktop: Run, tmp_path: Path) -> None:
    endless = tmp_path / "endless.aec"
    shutil.copy(GOLDEN / "1x1.aec", endless)
    os.truncate(endless, 80 << 20)
    (got,) = read(desktop, [endless], 1 << 20)
    assert got == {"error": "file is too long for its number of pixels"}


@pytest.mark.parametrize("order", ["<", ">"])
def test_profile_and_orientation_are_told_and_thumbnails_upright(
    desktop: Run, tmp_path: Path, coffee: Image.Image, order: str
) -> None:
    photo, made = tmp_path / "photo.aec", tmp_path / "made.png"
    image = coffee.crop((0, 0, 200, 120))
    exif = Image.Exif()
    exif.endian = order
    exif[ExifTags.Base.Make] = "a camera"
    exif[ExifTags.Base.Orientation] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.info |= {"exif": exif.tobytes(), "icc_profile": profile}
    photo.write_bytes(aecodec.encode(image, quality=30, effort=0))
    (got,) = read(desktop, [photo], 0)
    assert got["shape"] == [120, 200, 3]
    assert got["options"] == {"orientation": "6", "icc-profile": base64.b64encode(profile).decode()}
    desktop("gdk-pixbuf-thumbnailer", "-s", 40, photo, made)
    with Image.open(made) as thumbnail:
        assert thumbnail.size == (24, 40)
        assert psnr(thumbnail, ImageOps.exif_transpose(image).resize((24, 40))) > 22
