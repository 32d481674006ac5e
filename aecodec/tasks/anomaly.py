"""Pictures that are not as others: learned from what the encoder's first network makes of good ones.

The cells are those of y, 16x16 pixels each. Whitened by their covariance (Mahalanobis 1936; by position in PaDiM,
Defard et al. 2021), a cell is as far off as its length, or as its nearest neighbor among some of the good ones
(PatchCore, Roth et al. 2022). y depends on where a cell's grid lies, so good pictures are seen shifted as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load, save

from aecodec import weights
from aecodec.arguments import as_integer, as_number
from aecodec.codec import Codec
from aecodec.errors import InputError, UnsupportedError
from aecodec.format.container import DEFAULT_QUALITY, MAX_PIXELS, Y_STRIDE, Header, quality_level
from aecodec.tasks.pictures import Reader, Source, checked, each
from aecodec.workers import Workers

ANOMALY_METHODS = ("gaussian", "neighbors")
_FORMAT = "aecodec anomalies 1"
_STRIP = 512  # rows of a picture that are looked at at once
_SHIFTS = 3  # of each good picture, besides the picture as it is
_ROWS = 20_000  # cells that are learned from, at least where there are as many
_ROUNDING = 1e-3  # of distances, which are 20 or so: equal pictures are equally normal
_KEPT = 1 << 27  # values of y that are kept to be scored by what was learned from others, 256 MB
_FOLDS = 5
_UNLIKE = 2  # medians of what was held out: nothing of one kind is as far off
_FEWEST = 2  # good pictures: one is scored by what the other teaches
_SHRINKAGE = 1e-3  # of the correlations, towards none
_CORE = 1000  # good cells that are kept as neighbors
_POOL, _SKETCH = 5_000, 32  # cells, and dimensions, in which these are chosen
Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Gaussian:
    """Mean and covariance of rows [n, d]."""

    center: NDArray[np.floating[Any]]  # [d]
    whitening: NDArray[np.floating[Any]]  # [d, d]: makes all directions vary alike

    @classmethod
    def fit(cls, rows: NDArray[np.floating[Any]], shrinkage: float = _SHRINKAGE) -> Gaussian:
        """Of [n, d], as exact as these are; shrinkage 0..1 is that of correlations."""
        center = rows.mean(0, dtype=np.float64)
        deviation = rows.std(0, dtype=np.float64)
        deviation += 1e-3 * np.sqrt(np.square(rows, dtype=np.float64).mean()) + 1e-12  # what never varies may a little
        scaled = (rows - center) / deviation
        correlation = (1 - shrinkage) * (scaled.T @ scaled) / len(scaled) + shrinkage * np.eye(len(center))
        variances, axes = np.linalg.eigh(correlation)
        whitening = axes / np.sqrt(np.maximum(variances, 1e-9)) / deviation[:, None]
        exact = np.result_type(rows.dtype, np.float32)
        return cls(center.astype(exact), whitening.astype(exact))

    def whitened(self, rows: NDArray[np.floating[Any]]) -> Rows:
        """Rows [..., d] in units in which good ones vary by one in each direction."""
        white: Rows = (rows - self.center) @ self.whitening
        return white

    def distance(self, rows: NDArray[np.floating[Any]]) -> Rows:
        """[...]: of rows [..., d] from the mean."""
        lengths: Rows = np.linalg.norm(self.whitened(rows), axis=-1)
        return lengths


@dataclass(frozen=True)
class Neighbors:
    """Some of the rows that were good, as far apart as such can be."""

    gaussian: Gaussian
    core: Rows  # [k, d], whitened

    @classmethod
    def fit(cls, rows: Rows, seed: int) -> Neighbors:
        """k-center, greedily, seen in a random projection (Johnson and Lindenstrauss 1984)."""
        gaussian = Gaussian.fit(rows)
        white = gaussian.whitened(rows[:: -(-len(rows) // _POOL)])
        rng = np.random.default_rng(seed)
        sketch = white @ rng.normal(size=(white.shape[1], _SKETCH)).astype(np.float32)
        squares = np.square(sketch).sum(1)
        chosen, apart = [0], np.full(len(white), np.inf, np.float32)  # from the nearest that is chosen, squared
        while len(chosen) < min(_CORE, len(white)):
            last = chosen[-1]
            np.minimum(apart, squares + squares[last] - 2 * (sketch @ sketch[last]), out=apart)
            chosen.append(int(apart.argmax()))
        return cls(gaussian, white[chosen])

    def distance(self, rows: NDArray[np.floating[Any]]) -> Rows:
        """[...]: of rows [..., d] from the nearest."""
        white = self.gaussian.whitened(rows).reshape(-1, self.core.shape[1])
        half = np.square(self.core).sum(1) / 2
        nearest = np.concatenate([(half - part @ self.core.T).min(1) for part in _parts(white)])
        squares = np.maximum(2 * nearest + np.square(white).sum(1), 0)
        distances: Rows = np.sqrt(squares).reshape(rows.shape[:-1])
        return distances


class Study(NamedTuple):
    """What there is to learn from a good picture."""

    y: NDArray[np.float16]  # [h, w, M]
    rows: NDArray[np.float16]  # [n, M], in no order: cells of it, and of it shifted


class Finding(NamedTuple):
    """What a detector thinks of a picture."""

    score: float  # the higher the more normal, as score_samples; that of the worst cell
    distances: Rows  # [h, w]: how far off each cell of 16x16 pixels is
    image: Image.Image  # RGB, what was looked at


Seen = TypeVar("Seen")


class AnomalyDetector:
    """Learns good pictures and finds what is not like them. The methods are those of scikit-learn's outlier detectors.

    A picture is a path, the bytes of a file of any format, a PIL image or an array. After fit, offset_ is the score
    that good pictures fall below at a rate of false_alarm_rate_, as held_out_ of them told while they were not learned;
    unlike_ are the places of those among them that are far off from the others: no good ones perhaps.
    """

    def __init__(
        self,
        method: str = "neighbors",
        *,
        false_alarms: float = 0.05,
        model: str = weights.DEFAULT_MODEL,
        threads: int | None = None,
        max_pixels: int = MAX_PIXELS,
        seed: int = 0,
    ) -> None:
        """false_alarms, 0..0.5, is the rate that good pictures may be called anomalies at; threads as for embed.

        The shipped model is m or s. Raises InputError for what cannot be used.
        """
        if model not in weights.SHIPPED:
            raise InputError(f"model must be {' or '.join(weights.SHIPPED)}, got {model}")
        self._begin(method, weights.SHIPPED[model], threads, max_pixels)
        if not 0 < as_number("false_alarms", false_alarms) <= 0.5:
            raise InputError(f"false_alarms must be above 0 and at most 0.5, got {false_alarms}")
        self.false_alarms = false_alarms
        self.seed = as_integer("seed", seed)

    def _begin(self, method: str, model_id: int, threads: int | None, max_pixels: int) -> None:
        if method not in ANOMALY_METHODS:
            raise InputError(f"method must be {' or '.join(ANOMALY_METHODS)}, got {method}")
        self.method = method
        self.workers = Workers(threads)
        self.codec = Codec(weights.load_for(model_id), "cpu", threads=1)
        self.reader = Reader(self.codec, max_pixels)
        self._learned: Gaussian | Neighbors | None = None
        self.offset_ = self.false_alarm_rate_ = float("nan")
        self.held_out_ = 0
        self.unlike_: list[int] = []

    def fit(self, pictures: Iterable[Source], y: object = None) -> AnomalyDetector:  # noqa: ARG002 - scikit-learn's
        """Learn good pictures, at least 2, and from as many of them as memory holds the threshold.

        Raises the first error of reading, as embed, and InputError for too few pictures.
        """
        return self.learn(map(_raised, self.study(pictures)))

    def score_samples(self, pictures: Iterable[Source]) -> NDArray[np.float64]:
        """How normal each picture is, [n], the higher the more. Raises as fit, and InputError before it."""
        return np.array([_raised(found).score for found in self.look(pictures)], np.float64)

    def decision_function(self, pictures: Iterable[Source]) -> NDArray[np.float64]:
        """score_samples less offset_: negative for anomalies. Raises likewise."""
        return self.score_samples(pictures) - self.offset_

    def predict(self, pictures: Iterable[Source]) -> NDArray[np.int64]:
        """1 for each normal picture, -1 for an anomaly, [n]. Raises likewise."""
        return np.where(self.decision_function(pictures) < 0, -1, 1)

    def study(self, pictures: Iterable[Source]) -> Iterator[Study | Exception]:
        """What learn needs of each good picture, in their order, or the error of reading it."""
        return each(self._study, checked(pictures), self.workers.count)

    def learn(self, studies: Iterable[Study]) -> AnomalyDetector:
        """As fit, of what study gave."""
        rows, kept = self._gather(studies)
        if len(rows) < _FEWEST:
            raise InputError(f"a detector needs at least {_FEWEST} good pictures, got {len(rows)}")
        highest = np.zeros(len(kept))
        for fold in range(min(_FOLDS, len(rows))):
            others = self._fitted([row for at, row in enumerate(rows) if at % _FOLDS != fold])
            highest[fold::_FOLDS] = [others.distance(y).max() for y in kept[fold::_FOLDS]]
        self.unlike_ = np.flatnonzero(highest > _UNLIKE * np.median(highest) + _ROUNDING).tolist()
        rank = max(1, int(self.false_alarms * (len(highest) + 1)))  # of exchangeable scores: a rate, not an estimate
        self.offset_ = -float(np.sort(highest)[-rank]) - _ROUNDING
        self.false_alarm_rate_ = rank / (len(highest) + 1)
        self.held_out_ = len(highest)
        self._learned = self._fitted(rows)
        return self

    def look(self, pictures: Iterable[Source]) -> Iterator[Finding | Exception]:
        """What there is to say of each picture, in their order, or the error of reading it. Raises before fit."""
        learned = self._learned
        if learned is None:
            raise InputError("the detector has learned no pictures: fit it first")
        return each(partial(self._find, learned), checked(pictures), self.workers.count)

    def heatmap(self, found: Finding) -> Image.Image:
        """The picture in gray, and in red to yellow what is farther off than the threshold allows."""
        height, width = found.distances.shape
        smooth = Image.fromarray(found.distances).resize(
            (Y_STRIDE * width, Y_STRIDE * height), Image.Resampling.BICUBIC
        )
        excess = np.asarray(smooth)[: found.image.height, : found.image.width] / max(-self.offset_, 1e-9) - 1
        share = np.clip(4 * excess + 0.25, 0, 1)[:, :, None] * (excess[:, :, None] > -0.1)
        gray = np.asarray(found.image.convert("L"), np.float32)[:, :, None] * 0.6 + 60
        heat = np.concatenate([np.full_like(share, 255), 220 * np.clip(excess[:, :, None], 0, 1), 0 * share], 2)
        return Image.fromarray(((1 - 0.8 * share) * gray + 0.8 * share * heat).astype(np.uint8))

    def to_bytes(self) -> bytes:
        """The .aem file of what was learned. Raises InputError before fit."""
        learned = self._learned
        if learned is None:
            raise InputError("the detector has learned no pictures: fit it first")
        gaussian = learned.gaussian if isinstance(learned, Neighbors) else learned
        arrays = {"center": gaussian.center, "whitening": gaussian.whitening}
        if isinstance(learned, Neighbors):
            arrays["core"] = learned.core
        facts = {
            "format": _FORMAT,
            "model_id": f"{self.codec.weights.model_id:08x}",
            "method": self.method,
            "offset": repr(float(self.offset_)),
            "false_alarm_rate": repr(float(self.false_alarm_rate_)),
            "held_out": str(self.held_out_),
        }
        return save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, facts)

    @classmethod
    def from_bytes(cls, data: bytes, *, threads: int | None = None, max_pixels: int = MAX_PIXELS) -> AnomalyDetector:
        """The detector of a .aem file.

        Raises InputError for what to_bytes has not written, and for weights that are not here.
        """
        try:
            arrays = load(data)
            facts = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__") or {}
            if facts.get("format") != _FORMAT:
                raise InputError(f"its format is {facts.get('format')!s:.40}, not {_FORMAT}")
            model_id, numbers = (
                int(facts["model_id"], 16),
                [float(facts[name]) for name in ("offset", "false_alarm_rate")],
            )
            held_out = int(facts["held_out"])
            if not np.all(np.isfinite(numbers)) or numbers[0] >= 0 or not 0 < numbers[1] < 1 or held_out < 1:
                raise InputError(f"its threshold is {-numbers[0]:g} at a rate of {numbers[1]:g} of {held_out}")
        except (SafetensorError, KeyError, ValueError, RecursionError) as error:
            raise InputError(f"this file was not made by aecodec anomaly fit: {error}") from error
        try:
            self = cls.__new__(cls)
            self._begin(str(facts["method"]), model_id, threads, max_pixels)
            self.false_alarms, self.seed = numbers[1], 0
            self._learned = _read_arrays(arrays, facts["method"], self.codec.weights.prior.M)
        except (InputError, KeyError) as error:
            raise InputError(f"this file was not made by aecodec anomaly fit: {error}") from error
        except UnsupportedError as error:
            raise InputError(f"{error}: fit the detector again") from error
        self.offset_, self.false_alarm_rate_, self.held_out_ = numbers[0], numbers[1], held_out
        return self

    def _study(self, source: Source) -> Study:
        image = self.reader.read(source)
        rng = np.random.default_rng([self.seed, image.width, image.height])
        shifts = [
            (int(x) % image.width, int(y) % image.height) for x, y in rng.integers(1, Y_STRIDE, (_SHIFTS, 2))
        ]  # a picture that is smaller than a cell stays one
        y = self._y(image)
        shifted = [self._y(image.crop((*corner, *image.size))) for corner in shifts]
        cells = np.concatenate([one.reshape(-1, one.shape[-1]) for one in (y, *shifted)])
        return Study(y, cells[rng.permutation(len(cells))[:_ROWS]])

    def _gather(self, studies: Iterable[Study]) -> tuple[list[Rows], list[NDArray[np.float16]]]:
        """Rows of each picture, thinned as they become many, and y of as many pictures as are kept."""
        rows: list[Rows] = []
        kept: list[NDArray[np.float16]] = []
        thinned, count, values = 1, 0, 0
        for study in studies:
            rows.append(study.rows[: -(-len(study.rows) // thinned)].astype(np.float32))
            count += len(rows[-1])
            while count > 2 * _ROWS and count > len(rows):
                thinned *= 2
                rows = [row[: -(-len(row) // 2)].copy() for row in rows]
                count = sum(map(len, rows))
            values += study.y.size
            if not kept or (values <= _KEPT and len(kept) == len(rows) - 1):
                kept.append(study.y)
        return rows, kept

    def _fitted(self, rows: list[Rows]) -> Gaussian | Neighbors:
        together = np.concatenate(rows)
        return Gaussian.fit(together) if self.method == "gaussian" else Neighbors.fit(together, self.seed)

    def _find(self, learned: Gaussian | Neighbors, source: Source) -> Finding:
        image = self.reader.read(source)
        with np.errstate(over="ignore", invalid="ignore"):
            distances = np.concatenate([learned.distance(y) for y in self._strips(image)])
        if not np.all(np.isfinite(distances)):  # neither normal nor an anomaly
            raise InputError("what was learned has numbers that are too large to score pictures by")
        return Finding(-float(distances.max()), distances, image)

    def _y(self, image: Image.Image) -> NDArray[np.float16]:
        return np.concatenate(list(self._strips(image)))

    def _strips(self, image: Image.Image) -> Iterator[NDArray[np.float16]]:
        """y [h/16, W/16, M] of a picture from top to bottom, without what the padding adds."""
        header = Header(*image.size, quality_level(DEFAULT_QUALITY), self.codec.weights.model_id)
        pixels = np.asarray(image)
        height, width = (-(-length // Y_STRIDE) for length in (image.height, image.width))
        for strip in header.padded.split(header.padded.right, _STRIP):
            y = self.codec.transform.analyze(pixels, strip, header)[: height - strip.top // Y_STRIDE, :width]
            yield y.astype(np.float16)


def _raised(seen: Seen | Exception) -> Seen:
    if isinstance(seen, Exception):
        raise seen
    return seen


def _parts(rows: Rows) -> Iterator[Rows]:
    """Rows, as many at once as their distances take little memory."""
    for first in range(0, len(rows), 4096):
        yield rows[first : first + 4096]


def _read_arrays(arrays: dict[str, Rows], method: str, channels: int) -> Gaussian | Neighbors:
    """Raises InputError for arrays that are not those of a detector."""
    shapes: dict[str, tuple[int, ...]] = {"center": (channels,), "whitening": (channels, channels)}
    if method == "neighbors":
        shapes["core"] = (*arrays["core"].shape[:1], channels)
    for name, shape in shapes.items():
        array = arrays[name]
        if array.dtype != np.float32 or array.shape != shape or not array.size or not np.all(np.isfinite(array)):
            raise InputError(f"{name} is {array.dtype} {list(array.shape)}, not finite float32 {list(shape)}")
    if arrays.keys() != shapes.keys():
        raise InputError(f"it holds {', '.join(sorted(arrays))}, not {', '.join(sorted(shapes))}")
    gaussian = Gaussian(arrays["center"], arrays["whitening"])
    return Neighbors(gaussian, arrays["core"]) if method == "neighbors" else gaussian
