"""Targets: what an encode shall meet in place of a quality, and the search for the quality that does."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aecodec import metrics
from aecodec.arguments import as_number
from aecodec.encoder.analysis import CachedAnalysis, Progress
from aecodec.encoder.drawn import find
from aecodec.encoder.effort import Effort
from aecodec.encoder.picture import Coded, PictureEncoder
from aecodec.errors import InputError, PictureWarning
from aecodec.format.container import MAX_LEVEL, MIN_LEVEL, Header, SectionKind
from aecodec.image import Picture, shown_pixels

Sections = dict[SectionKind, bytes]

# How values grow with levels from the first to the last, evenly spaced: means over the validation pictures.
_GROWTH = {
    "size": (0.00, 0.41, 0.84, 1.28, 1.71, 2.12, 2.49, 2.83, 3.14, 3.41),  # logarithm of the bytes
    "psnr": (0.00, 1.81, 3.78, 5.92, 8.18, 10.48, 12.70, 14.63, 16.16, 17.25),
    "ms_ssim": (0.00, 1.81, 3.77, 5.78, 7.84, 9.87, 11.91, 13.90, 15.74, 17.30),
}
_LARGEST = 1 << 62  # bytes of a file, more than any has
_GRID = 4  # blocks of a sample in each direction
_PATIENCE = 6  # measurements before the search looks at the ends and then only halves
_SIZE_SLACK = 0.02  # how far below a size target a file may be, as a share
_QUALITY_SLACK = 0.1  # dB above a quality target
# Joints between the blocks of a sample have costs (means over the validation pictures), which fall with their side:
_JOINT_SIZE = 9.0  # pixels per share of the bytes
_JOINT_PSNR = 36.0  # pixels per dB; MS-SSIM hardly notices


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
        return int(min(self.value * pixels / 8 if self.name == "bpp" else self.value, _LARGEST))

    def quality(self, original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
        """What a quality target is compared with, in dB."""
        if self.name == "psnr":
            return metrics.psnr(original, decoded)
        return metrics.ms_ssim_db(metrics.ms_ssim(original, decoded))

    def from_sample(self, value: float, side: int, pixels: int) -> float:
        """What is expected of a picture whose sample of side x side pixels has that value."""
        block = side / _GRID
        if self.is_size:
            return value - _JOINT_SIZE / block + math.log(pixels / side**2)
        return value + _JOINT_PSNR / block if self.name == "psnr" else value

    def search(self, pixels: int) -> LevelSearch:
        """The search for this target in a picture. Sizes are compared by their logarithm, which grows evenly."""
        if not self.is_size:
            return LevelSearch(self.value, self.value + _QUALITY_SLACK, keep_below=False, growth=_GROWTH[self.name])
        high = math.log(max(self.limit_bytes(pixels), 1))
        return LevelSearch(high + math.log(1 - _SIZE_SLACK), high, keep_below=True, growth=_GROWTH["size"])

    def impossible(self, reached: float, pixels: int) -> InputError:
        """The error for a target that no quality meets; reached is what the nearest one does, as search measures it."""
        if self.is_size:
            size = round(math.exp(reached))
            at_least = f"{size} bytes, {8 * size / pixels:.4f} bits per pixel"
            return InputError(f"no file of this picture is that small: quality 1 needs {at_least}")
        return InputError(f"{self} is out of reach: quality 100 gives {self._shown(reached)}")

    def extreme(self, level: int, reached: float, search: LevelSearch) -> str | None:
        """What a user should know of a target that leads to an end of the qualities; None in between."""
        if level == MIN_LEVEL:
            return f"{self} is met by quality 1, the lowest, with {self._shown(reached)}"
        if level == MAX_LEVEL and reached < search.low:
            return f"{self} is not used up by quality 100, the highest, with {self._shown(reached)}"
        return None

    def __str__(self) -> str:
        return f"{self.name} of {self.value:.15g}" if self.is_size else f"{self.name} of {self._shown(self.value)}"

    def _shown(self, value: float) -> str:
        """A value as search measures it."""
        if self.is_size:
            return f"{round(math.exp(value))} bytes"
        return f"{value:.2f} dB" + (f" ({1 - 10 ** (-value / 10):.7g})" if self.name == "ms_ssim" else "")


def pick_target(
    quality: float | None,
    bpp: float | None,
    max_bytes: int | None,
    psnr: float | None,
    ms_ssim: float | None,
    *,
    exact: bool = False,
) -> Target | None:
    """The target among options of which at most one may be given; None for a quality or nothing. Raises InputError.

    ms_ssim below 1 is the index itself. exact tells that a bound of the loss is given, which is one more.
    """
    options = {"bpp": bpp, "max_bytes": max_bytes, "psnr": psnr, "ms_ssim": ms_ssim}
    targets = {name: as_number(name, value) for name, value in options.items() if value is not None}
    names = [*(["quality"] if quality is not None else []), *targets, *(["lossless"] if exact else [])]
    if len(names) > 1:
        raise InputError(f"give one of quality, bpp, max_bytes, psnr, ms_ssim and lossless, not {' and '.join(names)}")
    for name, value in targets.items():
        if not 0 < value < math.inf:
            raise InputError(f"{name} must be above 0, got {value:g}")
        if name == "ms_ssim" and value == 1:
            raise InputError("ms_ssim must be an index below 1 or dB above 1, got 1")
        return Target(name, metrics.ms_ssim_db(value) if name == "ms_ssim" and value < 1 else value)
    return None


def sample(pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """A square of small blocks from all over a picture; None for one that is too small for that to pay."""
    H, W, _ = pixels.shape
    side = min(min(H, W) // 128 * 16, 128)
    if side < 48:
        return None
    starts = [(2 * np.arange(_GRID) + 1) * length // (2 * _GRID) - side // 2 for length in (H, W)]
    rows, columns = ((start[:, None] + np.arange(side)).ravel() for start in starts)
    blocks: NDArray[np.uint8] = pixels[rows[:, None], columns]
    return blocks


class Point(NamedTuple):
    level: int
    value: float


@dataclass
class LevelSearch:
    """Looks for the level whose measured value lies in low..high; values grow with levels.

    Where two neighboring levels lie on both sides, or all on one, it ends with the better of them: the highest level
    below high if keep_below, else the lowest above low. found tells whether that side was reached.
    """

    low: float
    high: float
    keep_below: bool
    growth: Sequence[float]  # expected, from MIN_LEVEL to MAX_LEVEL, up to a factor
    slope: float = 1.0  # that factor, as measured
    level: int = (MIN_LEVEL + MAX_LEVEL) // 2  # where to begin; afterwards where it ended
    found: bool = False
    value: float = math.nan  # what was measured there

    def run(self, measure: Callable[[int], float], rehearse: Callable[[int], float] | None = None) -> LevelSearch:
        """rehearse: a cheap measurement that grows alike, a constant away."""
        below, above = Point(MIN_LEVEL - 1, -math.inf), Point(MAX_LEVEL + 1, math.inf)
        points: list[Point] = []
        if rehearse is not None:
            self._rehearse(rehearse)
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
            self.level = self._next(points, below.level, above.level)
        side = below if self.keep_below else above
        self.found = MIN_LEVEL <= side.level <= MAX_LEVEL
        self.level, self.value = side if self.found else points[-1]
        return self

    def _rehearse(self, measure: Callable[[int], float]) -> None:
        """Bring level and slope to where low..high is expected."""
        points: list[Point] = []
        while len(points) < 2 and self.level not in [point.level for point in points]:
            points.append(Point(self.level, measure(self.level)))
            self._learn(points)
            self.level = self._next(points, MIN_LEVEL - 1, MAX_LEVEL + 1)

    def _next(self, points: list[Point], below: int, above: int) -> int:
        """The level between below and above where low..high is expected."""
        if len(points) >= _PATIENCE:  # an end first, if low..high may lie beyond it
            return MIN_LEVEL if below < MIN_LEVEL else MAX_LEVEL if above > MAX_LEVEL else (below + above) // 2
        nearest = min(points, key=self._distance)
        expected = self._expected(nearest.level) + ((self.low + self.high) / 2 - nearest.value) / self.slope
        guess = float(np.interp(expected, self.growth, self._levels))
        return max(below + 1, min(above - 1, round(guess)))

    def _learn(self, points: list[Point]) -> None:
        """Take the slope from the two points nearest to low..high."""
        if len(points) > 1:
            a, b = sorted(points, key=self._distance)[:2]
            slope = (a.value - b.value) / (self._expected(a.level) - self._expected(b.level))
            self.slope = slope if 0 < slope < math.inf else self.slope

    @property
    def _levels(self) -> NDArray[np.float64]:
        return np.linspace(MIN_LEVEL, MAX_LEVEL, len(self.growth))

    def _expected(self, level: int) -> float:
        return float(np.interp(level, self._levels, self.growth))

    def _distance(self, point: Point) -> float:
        return abs(point.value - (self.low + self.high) / 2)


class TargetEncoder:
    """Encodes one picture until a target is met: measures each quality that the search asks for."""

    def __init__(
        self,
        target: Target,
        encoder: PictureEncoder,
        picture: Picture,
        header: Header,
        sections: Sections,
        effort: Effort,
        progress: Progress | None = None,
    ) -> None:
        """sections are what the file holds besides tiles, known before."""
        self.target = target
        self.encoder = encoder
        self.picture = picture
        self.header = header
        self.sections = sections
        self.effort = effort
        self.progress = progress
        self.search = target.search(header.pixels)
        self.analysis: CachedAnalysis | None = None
        self.candidates = find(picture)
        self.best: Coded | None = None

    def run(self) -> Coded:
        """What meets the target; a PictureWarning tells where that is the lowest quality, or less than it allows.

        Raises InputError where no quality does.
        """
        self.picture = self.picture._replace(pixels=self.picture.filled)
        pixels = sample(self.picture.pixels)
        part = None if pixels is None else self.picture._replace(pixels=pixels, alpha=None)
        rehearse = None if part is None else lambda level: self._rehearse(part, level)
        self.search.run(self._measure, rehearse)
        reached = self.search.value
        if self.best is None and self.target.is_size and self.candidates is not None:  # drawn pixels are too much
            self.candidates, self.search = None, self.target.search(self.header.pixels)
            self.search.run(self._measure, rehearse)
            reached = min(reached, self.search.value)
        if self.best is None:
            raise self.target.impossible(reached, self.header.pixels)
        if extreme := self.target.extreme(self.search.level, self.search.value, self.search):
            warnings.warn(extreme, PictureWarning, stacklevel=3)
        return self.best

    def _measure(self, level: int) -> float:
        """What the target is compared with; the best file is kept."""
        header = dataclasses.replace(self.header, level=level)
        coded = self._code(header)
        value = self._value(self.picture, coded, self.sections)
        if value <= self.search.high if self.search.keep_below else value >= self.search.low:
            self.best = coded
        return value

    def _rehearse(self, part: Picture, level: int) -> float:
        """The same of a sample, as expected of the whole."""
        height, width, _ = part.pixels.shape
        header = dataclasses.replace(self.header, width=width, height=height, level=level, alpha=False)
        coded = self.encoder.code(part, header, self.effort, candidates=None)
        value = self.target.from_sample(self._value(part, coded, {}), width, self.header.pixels)
        return math.log(math.exp(value) + sum(map(len, self.sections.values()))) if self.target.is_size else value

    def _code(self, header: Header) -> Coded:
        """For neighboring levels of a picture without drawn pixels from the same y."""
        pixels, analyzer = self.picture.pixels, self.encoder.analyzer
        if header.level in (MIN_LEVEL, MAX_LEVEL) or self.candidates is not None:
            return self.encoder.code(self.picture, header, self.effort, self.progress, candidates=self.candidates)
        if self.analysis is None or not self.analysis.serves(header.level):
            self.analysis = analyzer.analyze_once(pixels, header)
        return Coded(header, analyzer.requantize(self.analysis, pixels, header, self.effort, self.progress))

    def _value(self, picture: Picture, coded: Coded, sections: Sections) -> float:
        if self.target.is_size:
            return math.log(len(self.encoder.pack(coded, sections)))
        decoded = picture._replace(pixels=self.encoder.show(coded))
        return self.target.quality(shown_pixels(picture), shown_pixels(decoded))
