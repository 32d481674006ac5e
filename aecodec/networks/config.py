"""Sizes of models, and what follows from them without any network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from aecodec.coding.prior import ANCHORS
from aecodec.errors import InputError
from aecodec.format.container import STRIDE

if TYPE_CHECKING:
    from torch import Tensor

    Position = TypeVar("Position", float, Tensor)

# Smallest and largest numbers of a configuration, where they are not widths:
_LIMITS: dict[str, tuple[float, float]] = {"analysis_depths": (0, 64), "lmbdas": (1e-9, 1e3), "top_curvature": (1, 1e3)}
GROUPS = 4  # of the layers of the receiver that mix some channels alone
_GROUPED = ("N", "context")  # widths that they divide
# How far one output can see, in pixels (docs/architecture.md derives them); that of y is ModelConfig.receptive_field.
HYPER_RECEPTIVE_FIELD = 16 + 32 + 64  # y around a position of z
SYNTHESIS_HALO = 128  # z around an area of pixels, rounded up to STRIDE
MEAN_HALO = 32  # around an area of y that its means depend on
BODY_HALO = 32  # around an area of y_hat that the features which are rendered depend on
GRADIENT_HALO = 2 * BODY_HALO  # around an area of y that its gradient depends on
# Pixels for each position of a layer whose name begins so; the first that fits counts.
_PIXELS = {
    "g_a.enter.": 8**2, "g_a.fine.": 8**2, "g_a.": 16**2,
    "h_a.enter.": 16**2, "h_a.blocks.0.": 16**2, "h_a.downs.0.": 32**2, "h_a.blocks.1.": 32**2, "h_a.": 64**2,
    "h_s.ups.0.": 64**2, "h_s.blocks.0.": 32**2, "h_s.ups.1.": 32**2, "h_s.": 16**2,
    "mean": 16**2,
    "g_s.modulate.": 4**2, "g_s.expand.": 4**2, "g_s.reduce.": 4**2, "g_s.leave.": 4**2, "g_s.": 16**2,
}  # fmt: skip
_STAGES = {
    "g_a": "analysis",
    "h_a": "hyper analysis",
    "h_s": "prediction",
    "mean0": "prediction",
    "mean1": "prediction",
    "g_s": "synthesis",
}


@dataclass(frozen=True)
class ModelConfig:
    """Widths and depths of one model; sizes are configs of one class."""

    N: int = 96  # channels of z
    M: int = 384  # channels of y: half as many as a block of 16x16 has samples, or the best pictures lack detail
    analysis_widths: tuple[int, int] = (96, 320)  # at 1/8 and 1/16
    analysis_depths: tuple[int, int] = (2, 2)
    context: int = 128  # width of the two mean predictors
    body: int = 144  # width of g_s at 1/16
    body_hidden: int = 272
    render: int = 48  # width of g_s at 1/4
    lmbdas: tuple[float, float] = (0.00015, 0.2)  # lambda of the first and the last anchor
    top_curvature: float = 15.0  # at quality 100, more where y holds too little for lambda (encoder/effort.py)

    @property
    def receptive_field(self) -> int:
        """Pixels around an area that its y depends on: a cell of its grid for each 3x3 convolution."""
        fine, coarse = self.analysis_depths
        return 8 * fine + 16 * coarse

    @property
    def middle_lmbda(self) -> float:
        return math.sqrt(math.prod(self.lmbdas))

    def lmbda(self, position: Position) -> Position:
        """lambda on 255^2 * MSE at positions on the anchor axis: log-spaced from the first anchor to the last."""
        low, high = self.lmbdas
        lmbda: Position = low * (high / low) ** (position / (ANCHORS - 1))
        return lmbda

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> ModelConfig:
        """The config that a weights file stores as JSON, where tuples are lists. Raises InputError for what is none."""
        if not isinstance(fields, dict) or not fields.keys() <= cls.__dataclass_fields__.keys():
            raise InputError(f"configuration is {fields}, not some of {', '.join(cls.__dataclass_fields__)}")
        typed: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
        for name, value in typed.items():
            default = getattr(cls, name)
            numbers, expected = (v if isinstance(v, tuple) else (v,) for v in (value, default))
            low, high = _LIMITS.get(name, (1, 1 << 16))
            if type(value) is not type(default) or any(
                type(number) is not type(expected[0]) or not low <= number <= high for number in numbers
            ):
                kind = "whole numbers" if isinstance(expected[0], int) else "numbers"
                raise InputError(f"configuration of {name} is {value}, not of {kind} {low}..{high}")
            if len(numbers) != len(expected):
                raise InputError(f"configuration of {name} is {value}, not of two numbers")
            if name in _GROUPED and value % GROUPS:
                raise InputError(f"configuration of {name} is {value}, not a multiple of {GROUPS}")
        return cls(**typed)


CONFIGS = {
    "m": ModelConfig(lmbdas=(0.0003, 1.0)),
    "s": ModelConfig(
        M=256,
        analysis_widths=(64, 192),
        context=80,
        body=112,
        body_hidden=192,
        render=32,
        lmbdas=(0.0003, 1.0),
        top_curvature=43.0,
    ),  # half the arithmetic
    "tiny": ModelConfig(
        N=16, M=32, analysis_widths=(16, 32), analysis_depths=(1, 1), context=32, body=32, body_hidden=32, render=8
    ),  # for tests
}


def complexity(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, float]:
    """kMAC per pixel of each stage, and of all that a receiver runs, from the shapes of a network's parameters."""
    figures = dict.fromkeys(_STAGES.values(), 0.0)
    for name, shape in shapes.items():
        if name.endswith(".weight"):
            pixels = next(pixels for prefix, pixels in _PIXELS.items() if name.startswith(prefix))
            figures[_STAGES[name.split(".")[0]]] += math.prod(shape) / pixels / 1000
    M, N = shapes["h_s.leave.weight"]
    figures["table index"] = 16 * M * N / STRIDE**2 / 1000
    encoder = figures["analysis"] + figures["hyper analysis"]
    return {**figures, "receiver": sum(figures.values()) - encoder}
