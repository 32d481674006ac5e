"""What several test modules need besides fixtures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from aecodec import metrics

DATA = Path(__file__).parent / "data"


def psnr(a: Image.Image, b: Image.Image) -> float:
    return metrics.psnr(np.asarray(a), np.asarray(b))
