"""What several test modules need besides fixtures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aecodec import metrics
from aecodec.encoder.effort import pick_effort
from aecodec.encoder.picture import Coded
from aecodec.format.container import quality_level

if TYPE_CHECKING:
    from aecodec import Codec
    from aecodec.coding.prior import Prior

DATA = Path(__file__).parent / "data"


def z_tables(prior: Prior, positions: int, level: int) -> NDArray[np.uint16]:
    """Tables of z [N, 1, positions], flat, of a prior without context."""
    ((_, _, tables),) = prior.z_steps(np.zeros((prior.N, 1, positions), np.int8), level)
    return tables


def psnr(a: Image.Image, b: Image.Image) -> float:
    return metrics.psnr(np.asarray(a), np.asarray(b))


def undrawn(codec: Codec, pixels: NDArray[np.uint8], quality: float, effort: int, tile: int = 16) -> bytes:
    """The file of pixels [H, W] or [H, W, 3] by networks alone."""
    gray = pixels.ndim == 2
    height, width = pixels.shape[:2]
    header = codec._header(width, height, quality_level(quality), tile, gray=gray)
    colors = pixels[:, :, None].repeat(3, 2) if gray else pixels
    return codec.encoder.pack(Coded(header, codec.encoder.analyzer.analyze(colors, header, pick_effort(effort))), {})
