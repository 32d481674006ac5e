"""How hard an encoder looks for symbols that cost less. Nothing here changes how a file is decoded.

Two means. More is rounded to zero the more bits that saves: a dead zone, as in rate-distortion optimized quantization
(Sullivan and Wiegand 1998). And y is moved by gradients. Each is that of the picture that would be coded now, so it
knows how all rounding errors meet in the pixels. From there a Newton step leads to a better y_hat, by one curvature for
all symbols, since trained steps are those at which errors of all symbols are worth about the same. y goes a part of
that way, a smaller one from step to step, because whatever lies in the same pixels moves at the same time.
"""

from __future__ import annotations

from typing import NamedTuple

from aecodec.arguments import as_integer
from aecodec.coding.prior import ANCHORS, anchor_position
from aecodec.errors import InputError
from aecodec.networks.config import ModelConfig

DEFAULT_EFFORT = 3
_CURVATURE = 15.0  # bits per squared quantization step; at high rates that is 12 / ln 2
_CURVED = 0.6  # share of the anchor axis from which on it is larger where a model's top_curvature is
_ERROR_WORTH = 1.1  # from one quality to the next, less error costs more bits than the loss says: 1.05 to 1.25 times


class Effort(NamedTuple):
    """One level."""

    dead_zone: float = 0.0  # beyond plain rounding, in quantization steps per squared bit that a one costs above zero
    rates: tuple[float, ...] = ()  # of each gradient's step: the part of the way that y goes


PLAIN = Effort()
_DEAD_ZONE = 0.001


def _falling(steps: int) -> tuple[float, ...]:
    """Rates that fall evenly, and the farther the more there are."""
    first, last = 0.5, 0.3 / steps
    return tuple(first + (last - first) * step / (steps - 1) for step in range(steps))


EFFORTS = (
    PLAIN,
    Effort(_DEAD_ZONE),
    Effort(_DEAD_ZONE, (0.35,)),
    Effort(_DEAD_ZONE, (0.5, 0.25)),
    *(Effort(_DEAD_ZONE, _falling(steps)) for steps in (3, 5, 8, 12, 20, 40)),
)


def pick_effort(level: int) -> Effort:
    """Raises InputError outside 0..9."""
    level = as_integer("effort", level)
    if not 0 <= level < len(EFFORTS):
        raise InputError(f"effort must be 0..{len(EFFORTS) - 1}, got {level}")
    return EFFORTS[level]


def error_weight(config: ModelConfig, level: int) -> float:
    """Bits that a squared error of 1 in one value of a pixel is worth, on a scale from 0 to 1."""
    return _ERROR_WORTH * config.lmbda(anchor_position(level)) * 255**2 / 3


def curvature(config: ModelConfig, level: int) -> float:
    """Bits per squared quantization step: what the gradient is divided by, so that a Newton step does not overshoot."""
    beyond = max(0.0, anchor_position(level) / (ANCHORS - 1) - _CURVED) / (1 - _CURVED)
    return _CURVATURE + (config.top_curvature - _CURVATURE) * beyond
