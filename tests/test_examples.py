"""The programs of examples/ run."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.slow
def test_the_autoencoder_of_digits_pays_bits_for_less_error(tmp_path: Path) -> None:
    command = [sys.executable, "-P", EXAMPLES / "vae_digits.py", "--epochs", "12", "--out", tmp_path / "digits"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    points = [(float(bpp), float(psnr)) for bpp, psnr in re.findall(r"([\d.]+) bpp +([\d.]+) dB", output)]
    assert len(points) == 3
    rates, qualities = zip(*points, strict=True)
    assert 0 < rates[0] < rates[1] < rates[2]
    assert 11.4 < qualities[0] < qualities[2]  # the mean of all digits is at 11.35 dB
    for name in ("grid.png", "codes.png"):
        with Image.open(tmp_path / "digits" / name) as image:
            assert min(image.size) > 300


def test_opencv_style_reading_and_writing(coffee: Image.Image, tmp_path: Path) -> None:
    opencv = runpy.run_path(str(EXAMPLES / "opencv_io.py"))
    imread, imwrite = opencv["imread"], opencv["imwrite"]
    picture = coffee.convert("RGB").resize((90, 60))
    picture.putpixel((0, 0), (250, 10, 20))
    bgr = np.asarray(picture)[:, :, ::-1]
    for name in ("a.aec", "a.png"):
        assert imwrite(tmp_path / name, bgr, (opencv["QUALITY"], 90)) is True
        again = imread(tmp_path / name)
        assert again.shape == (60, 90, 3)
        assert np.abs(again.astype(int) - bgr).mean() < 4
    assert imread(tmp_path / "a.aec", opencv["GRAYSCALE"]).shape == (60, 90)
    bgra = np.dstack([bgr, np.full((60, 90), 99, np.uint8)])
    imwrite(tmp_path / "b.aec", bgra)
    assert (imread(tmp_path / "b.aec", opencv["UNCHANGED"])[:, :, 3] == 99).all()
    sizes = [
        imwrite(tmp_path / f"{q}.aec", bgr, (opencv["QUALITY"], q)) and (tmp_path / f"{q}.aec").stat().st_size
        for q in (20, 90)
    ]
    assert sizes[0] < sizes[1]
    (tmp_path / "cut.aec").write_bytes((tmp_path / "a.aec").read_bytes()[:-9])
    assert imread(tmp_path / "cut.aec") is None
    assert imread(tmp_path / "none.aec") is None
