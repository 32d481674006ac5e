"""What several test modules need besides fixtures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aecodec import metrics

if TYPE_CHECKING:
    from aecodec.coding.prior import Prior

DATA = Path(__file__).parent / "data"


def z_tables(prior: Prior, positions: int, level: int) -> NDArray[np.uint16]:
    """Tables of z [N, 1, positions], flat, of a prior without context."""
    ((_, _, tables),) = prior.z_steps(np.zeros((prior.N, 1, positions), np.int8), level)
    return tables


def psnr(a: Image.Image, b: Image.Image) -> float:
    return metrics.psnr(np.asarray(a), np.asarray(b))
