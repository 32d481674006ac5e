"""The programs of examples/ run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

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
