"""How hard an encoder looks for symbols that cost less. Nothing here changes how a file is decoded.

Two means: symbols of one are rounded to zero where that saves more bits than the error is worth (a dead zone, as in
rate-distortion optimized quantization, Sullivan and Wiegand 1998), and y is refined by gradients through the decoder
(refine.py).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aecodec.errors import InputError
from aecodec.prior import SCALES, SKIPPED_SCALES
from aecodec.tables import TableSet

DEFAULT_EFFORT = 3
REACH = 64  # symbols whose bits are told apart


class Effort(NamedTuple):
    """One level."""

    steps: int = 0  # of refinement
    step_worth: float = np.inf  # bits that the dead zone takes an error of one step to be worth; inf: plain rounding
    rate: float = 0.0  # learning rate of the first step, in quantization steps


EFFORTS = (
    Effort(),
    Effort(step_worth=240),
    Effort(step_worth=120),
    Effort(step_worth=70),
    Effort(steps=5, rate=0.2),
    Effort(steps=6, rate=0.2),
    Effort(steps=8, rate=0.2),
    Effort(steps=12, rate=0.15),
    Effort(steps=25, rate=0.1),
    Effort(steps=40, rate=0.1),
)


def pick_effort(level: int) -> Effort:
    """Raises InputError outside 0..9."""
    if not 0 <= level < len(EFFORTS):
        raise InputError(f"effort must be 0..{len(EFFORTS) - 1}, got {level}")
    return EFFORTS[level]


class Costs:
    """What y symbols cost, by table index."""

    def __init__(self, tables: TableSet) -> None:
        self.bits = tables.bits(slice(-SCALES, None), REACH)  # [SCALES, 2 * REACH + 1]
        self.bits[:SKIPPED_SCALES] = 0

    def dead_zone(self, effort: Effort) -> NDArray[np.float32]:
        """[SCALES]: values nearer to 0 are coded as 0; inf where nothing is coded."""
        saved = self.bits[:, REACH + 1] - self.bits[:, REACH]
        zone = 0.5 + saved / (2 * effort.step_worth)
        zone[:SKIPPED_SCALES] = np.inf
        return zone
