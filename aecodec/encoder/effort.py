"""How hard an encoder looks for symbols that cost less. Nothing here changes how a file is decoded.

Two means: more is rounded to zero the more bits that saves (a dead zone, as in rate-distortion optimized quantization,
Sullivan and Wiegand 1998), and y is refined by gradients through the decoder (refinement.py).
"""

from __future__ import annotations

from typing import NamedTuple

from aecodec.arguments import as_integer
from aecodec.errors import InputError

DEFAULT_EFFORT = 3
ERROR_WORTH = 1.1  # from one quality to the next, less error costs more bits than the loss says: 1.05 to 1.25 times


class Stage(NamedTuple):
    """A stage of refinement, begun from the best that the stages before found."""

    steps: int
    rate: float  # learning rate of the first step, in quantization steps
    noise: float  # of the relaxed rounding: in short stages it does harm


class Effort(NamedTuple):
    """One level."""

    dead_zone: float = 0.0  # beyond plain rounding, in quantization steps per squared bit that a one costs above zero
    stages: tuple[Stage, ...] = ()

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)


_STAGES = (
    Stage(5, 0.2, 0.0),
    Stage(5, 0.1, 0.0),
    Stage(8, 0.1, 0.1),
    Stage(10, 0.1, 0.25),
    Stage(14, 0.1, 0.35),
    Stage(20, 0.1, 0.45),
)
PLAIN = Effort()
EFFORTS = (
    *(Effort(dead_zone) for dead_zone in (0.0, 0.0003, 0.0006, 0.001)),
    *(Effort(stages=_STAGES[:count]) for count in range(1, len(_STAGES) + 1)),
)


def pick_effort(level: int) -> Effort:
    """Raises InputError outside 0..9."""
    level = as_integer("effort", level)
    if not 0 <= level < len(EFFORTS):
        raise InputError(f"effort must be 0..{len(EFFORTS) - 1}, got {level}")
    return EFFORTS[level]
