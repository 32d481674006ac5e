"""The files of docs/integration do what they are for, with the tools of a Linux desktop."""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps
from support import psnr

import aecodec

FILES = Path(__file__).parents[2] / "docs" / "integration"
PROGRAMS = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run(*command: object, **environment: object) -> str:
    """Standard output of a command of the desktop; a test without it is skipped."""
    if shutil.which(str(command[0]), path=PROGRAMS["PATH"]) is None:
        pytest.skip(f"no {command[0]} here")
    variables = os.environ | PROGRAMS | {name: str(value) for name, value in environment.items()}
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, env=variables).stdout


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory, coffee: Image.Image) -> Path:
    path = tmp_path_factory.mktemp("desktop") / "photo without suffix"
    path.write_bytes(aecodec.encode(coffee.crop((0, 0, 200, 120))))
    return path


def test_file_names_the_format(photo: Path) -> None:
    told = run("file", "--brief", "--magic-file", FILES / "aecodec.magic", photo)
    assert told.strip() == "aecodec image data, version 2, 200 x 120"
    kind = run("file", "--brief", "--mime-type", "--magic-file", FILES / "aecodec.magic", photo)
    assert kind.strip() == "image/x-aecodec"


def test_desktop_knows_the_type_by_name_and_content(tmp_path: Path, photo: Path) -> None:
    packages = tmp_path / "mime" / "packages"
    packages.mkdir(parents=True)
    shutil.copy(FILES / "aecodec.xml", packages)
    run("update-mime-database", tmp_path / "mime")
    named = tmp_path / "only its name.aec"
    named.write_bytes(b"\0\1\2")
    for path in (photo, named):
        told = run("gio", "info", "-a", "standard::content-type", path, XDG_DATA_HOME=tmp_path, XDG_DATA_DIRS=tmp_path)
        assert "image/x-aecodec" in told


@pytest.mark.parametrize(
    ("size", "orientation", "made"), [(128, 1, (128, 77)), (40, 6, (24, 40)), (512, 8, (120, 200))]
)
def test_thumbnailer_makes_an_upright_picture_of_the_size(
    tmp_path: Path, coffee: Image.Image, size: int, orientation: int, made: tuple[int, int]
) -> None:
    photo = tmp_path / "photo.aec"
    image = coffee.crop((0, 0, 200, 120))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image.info["exif"] = exif.tobytes()
    photo.write_bytes(aecodec.encode(image))
    entry = configparser.ConfigParser(interpolation=None)
    entry.read(FILES / "aecodec.thumbnailer")
    exec_line = entry["Thumbnailer Entry"]["Exec"]
    places = {"%i": photo, "%o": tmp_path / "thumbnail without suffix", "%s": size}
    run(*(places.get(word, word) for word in shlex.split(exec_line)))
    with Image.open(places["%o"]) as thumbnail:
        assert (thumbnail.format, thumbnail.size, thumbnail.info) == ("PNG", made, {})
        expected = ImageOps.exif_transpose(image).resize(made)
        assert psnr(thumbnail, expected) > 22


def test_imagemagick_reads_and_writes_the_format(tmp_path: Path, coffee: Image.Image) -> None:
    photo, png, copy = tmp_path / "a photo.aec", tmp_path / "pixels.png", tmp_path / "a 'copy'.aec"
    image = coffee.crop((0, 0, 200, 120))
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    photo.write_bytes(aecodec.encode(image))
    pixels = aecodec.decode(photo.read_bytes())
    run("convert-im6.q16", photo, png, MAGICK_CONFIGURE_PATH=FILES)
    with Image.open(png) as read:
        assert np.array_equal(np.asarray(read), np.asarray(pixels))
    run("convert-im6.q16", png, copy, MAGICK_CONFIGURE_PATH=FILES)
    assert copy.read_bytes() == aecodec.encode(pixels)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_the_shell_can_read(tmp_path: Path, shell: str) -> None:
    script = run("aecodec", "completion", shell)
    assert script.strip() == run("aecodec", _AECODEC_COMPLETE=f"{shell}_source").strip()
    told = run("aecodec", "completion", "--install", HOME=str(tmp_path), SHELL=f"/bin/{shell}")
    (written,) = (path for path in tmp_path.rglob("*aecodec*") if path.is_file())
    assert str(written) in told
    assert written.read_text().strip() == script.strip()
    run(shell, "-n", written)
    words = {"COMP_WORDS": "aecodec enc", "COMP_CWORD": "enc" if shell == "fish" else "1"}
    assert "encode" in run("aecodec", _AECODEC_COMPLETE=f"{shell}_complete", **words)
