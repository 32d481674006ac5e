"""What an encode aims at, in place of a quality, and the search for the quality that gets there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aecodec import metrics
from aecodec.errors import InputError
from aecodec.prior import MAX_LEVEL, MIN_LEVEL

_PATIENCE = 6  # measurements before the search only halves
_SIZE_SLACK = 0.02  # how far below a size target a file may be, as a share
_QUALITY_SLACK = 0.1  # dB above a quality target


@dataclass(frozen=True)
class Target:
    """One goal: a file of at most max_bytes or bpp, or the smallest of at least psnr or ms_ssim (both in dB)."""

    name: str  # bpp, max_bytes, psnr or ms_ssim
    value: float

    @property
    def is_size(self) -> bool:
        return self.name in ("bpp", "max_bytes")

    def limit_bytes(self, pixels: int) -> int:
        """The largest file that a size target allows."""
        return int(self.value * pixels / 8 if self.name == "bpp" else self.value)

    def quality(self, original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
        """What a quality target is compared with, in dB."""
        if self.name == "psnr":
            return metrics.psnr(original, decoded)
        return metrics.ms_ssim_db(metrics.ms_ssim(original, decoded))

    def search(self, pixels: int) -> Search:
        """The search for this target in a picture. Sizes are compared by their logarithm, which grows evenly."""
        if not self.is_size:
            return Search(self.value, self.value + _QUALITY_SLACK, keep_below=False, slope=18 / MAX_LEVEL)
        high = math.log(max(self.limit_bytes(pixels), 1))
        return Search(high + math.log(1 - _SIZE_SLACK), high, keep_below=True, slope=4 / MAX_LEVEL)

    def impossible(self, reached: float, pixels: int) -> InputError:
        """The error for a target that no quality meets; reached is what the nearest one does, as search measures it."""
        if self.is_size:
            size = round(math.exp(reached))
            at_least = f"{size} bytes, {8 * size / pixels:.4f} bits per pixel"
            return InputError(f"no file of this picture is that small: quality 1 needs {at_least}")
        return InputError(f"{self.name} of {self.value:g} dB is out of reach: quality 100 gives {reached:.2f} dB")


def pick_target(
    quality: float | None, bpp: float | None, max_bytes: int | None, psnr: float | None, ms_ssim: float | None
) -> Target | None:
    """The target among options of which at most one may be given; None for a quality or nothing. Raises InputError."""
    options = {"bpp": bpp, "max_bytes": max_bytes, "psnr": psnr, "ms_ssim": ms_ssim}
    targets = [Target(name, value) for name, value in options.items() if value is not None]
    if len(targets) + (quality is not None) > 1:
        names = [*(["quality"] if quality is not None else []), *(target.name for target in targets)]
        raise InputError(f"give one of quality, bpp, max_bytes, psnr and ms_ssim, not {' and '.join(names)}")
    for target in targets:
        if not 0 < target.value < math.inf:
            raise InputError(f"{target.name} must be above 0, got {target.value:g}")
    return targets[0] if targets else None


def sample(pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Four blocks side by side, one from each quarter of a picture; None for one that is too small for that to pay."""
    H, W, _ = pixels.shape
    side = min(min(H, W) // 128 * 32, 256)
    if side < 96:
        return None
    rows, columns = (
        np.concatenate([np.arange(side) + (length - 2 * side) // 4 * k for k in (1, 3)]) for length in (H, W)
    )
    blocks: NDArray[np.uint8] = pixels[rows[:, None], columns]
    return blocks


class Point(NamedTuple):
    level: int
    value: float


@dataclass
class Search:
    """Looks for the level whose measured value lies in low..high; values grow with levels.

    Where two neighboring levels lie on both sides, or all on one, it ends with the better of them: the highest level
    below high if keep_below, else the lowest above low. found tells whether that side was reached.
    """

    low: float
    high: float
    keep_below: bool
    slope: float  # expected growth per level; afterwards the measured one
    level: int = (MIN_LEVEL + MAX_LEVEL) // 2  # where to begin; afterwards where it ended
    found: bool = False
    value: float = math.nan  # what was measured there

    def run(self, measure: Callable[[int], float], rehearse: Callable[[int], float] | None = None) -> Search:
        """rehearse: a cheap measurement that grows alike, a constant away."""
        rehearse = cache(rehearse) if rehearse is not None else None
        below, above = Point(MIN_LEVEL - 1, -math.inf), Point(MAX_LEVEL + 1, math.inf)
        points: list[Point] = []
        if rehearse is not None:
            self._rehearse(rehearse, 0.0, times=1)
        while True:
            points.append(Point(self.level, measure(self.level)))
            self._learn(points)
            point = points[-1]
            if point.value <= self.high:
                below = point
            if point.value >= self.low:
                above = point
            if above.level <= below.level + 1:
                break
            if rehearse is not None and len(points) == 1:
                self._rehearse(rehearse, point.value - rehearse(point.level), times=2)
                self.level = max(below.level + 1, min(above.level - 1, self.level))
            else:
                self.level = self._next(points, below.level, above.level)
        side = below if self.keep_below else above
        self.found = math.isfinite(side.value)
        self.level, self.value = side if self.found else points[-1]
        return self

    def _rehearse(self, measure: Callable[[int], float], offset: float, times: int) -> None:
        """Bring level and slope to where a measurement that is smaller by offset is expected to meet the aim."""
        points: list[Point] = []
        for _ in range(times):
            points.append(Point(self.level, measure(self.level) + offset))
            self._learn(points)
            self.level = self._next(points, MIN_LEVEL - 1, MAX_LEVEL + 1)

    def _next(self, points: list[Point], below: int, above: int) -> int:
        """The level between below and above where the aim is expected."""
        if len(points) >= _PATIENCE and below >= MIN_LEVEL and above <= MAX_LEVEL:
            return (below + above) // 2
        nearest = min(points, key=self._distance)
        guess = nearest.level + ((self.low + self.high) / 2 - nearest.value) / self.slope
        return max(below + 1, min(above - 1, round(guess)))

    def _learn(self, points: list[Point]) -> None:
        """Take the slope from the two points nearest to the aim."""
        if len(points) > 1:
            a, b = sorted(points, key=self._distance)[:2]
            slope = (a.value - b.value) / (a.level - b.level)
            self.slope = slope if slope > 0 else self.slope

    def _distance(self, point: Point) -> float:
        return abs(point.value - (self.low + self.high) / 2)
