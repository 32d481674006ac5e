"""How well defects are found on a made set of surfaces, beside errors of reconstruction."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aecodec import Codec
from aecodec.format.container import DEFAULT_QUALITY, Header, quality_level
from aecodec.tasks import ANOMALY_METHODS, AnomalyDetector
from bench.defects import DEFECTS, SIDE, SURFACES, Sample, bad, good

_CELL = 16  # pixels of y
_COARSE = 10  # quality at which the codec keeps little
_AXES = 64  # of the linear autoencoder
Map = NDArray[np.float32]  # [h, w]: the higher the worse
Scorer = Callable[[Image.Image], Map]


def auroc(normal: NDArray[np.float32], wrong: NDArray[np.float32]) -> float:
    """How often what is wrong is higher than what is normal; equal ones count half."""
    order = np.sort(normal)
    below, upto = (np.searchsorted(order, wrong, side).mean() for side in ("left", "right"))
    return float(below + upto) / 2 / len(normal)


def coarse_codec(codec: Codec) -> Scorer:
    """The codec at a low quality: what it does not keep is most where a picture is unusual for photographs."""

    def error(image: Image.Image) -> Map:
        shown = codec.decode(codec.encode(image, quality=_COARSE, effort=0))
        off = np.square(np.asarray(image, np.float32) - np.asarray(shown, np.float32)).mean(2)
        return off.reshape(SIDE // _CELL, _CELL, SIDE // _CELL, _CELL).mean((1, 3))

    return error


def linear_autoencoder(codec: Codec, pictures: Sequence[Image.Image]) -> Scorer:
    """PCA of y of good pictures, each channel scaled: what it does not keep of others."""

    def analyze(image: Image.Image) -> NDArray[np.float32]:
        header = Header(*image.size, quality_level(DEFAULT_QUALITY), codec.weights.model_id)
        return codec.transform.analyze(np.asarray(image), header.padded, header)

    rows = np.concatenate([analyze(image).reshape(-1, codec.weights.prior.M) for image in pictures])
    mean, deviation = rows.mean(0), rows.std(0) + 1e-6
    scaled = (rows - mean) / deviation
    axes = np.linalg.eigh(scaled.T @ scaled)[1][:, -_AXES:]

    def error(image: Image.Image) -> Map:
        off = (analyze(image) - mean) / deviation
        lost: Map = np.square(off - off @ axes @ axes.T).mean(2)
        return lost

    return error


def enlarged(cells: Map) -> NDArray[np.float32]:
    """[SIDE, SIDE]."""
    return np.asarray(Image.fromarray(cells).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def measure(model: str, fitted: int, count: int, seed: int) -> None:
    """Print image and pixel AUROC of each method on each surface, and how often good pictures are called anomalies."""
    codec = Codec.load(model, "cpu", threads=1)
    names = [*ANOMALY_METHODS, "PCA of y", "codec"]
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    kinds: dict[str, list[list[float]]] = {name: [] for name in names}
    alarms: dict[str, list[float]] = {name: [] for name in ANOMALY_METHODS}
    told: dict[str, float] = {}
    seconds = dict.fromkeys(names, 0.0)
    print(
        f"{fitted} good pictures of {SIDE}x{SIDE} to fit to; {count} good and {count} with defects, "
        f"model {model}, seed {seed}"
    )
    print("image AUROC / pixel AUROC")
    print("| surface | " + " | ".join(names) + " |")
    print("|---|" + "---|" * len(names))
    for surface in SURFACES:
        pictures = [sample.image for sample in good(surface, fitted, seed, fitting=True)]
        sound, broken = list(good(surface, count, seed, fitting=False)), list(bad(surface, count, seed))
        for name in names:
            started = time.perf_counter()
            score: Scorer
            if name in ANOMALY_METHODS:
                detector = AnomalyDetector(name, model=model, threads=1).fit(pictures)
                score = _detecting(detector)
                told[name] = detector.false_alarm_rate_
            else:
                score = coarse_codec(codec) if name == "codec" else linear_autoencoder(codec, pictures)
            right, wrong = ([score(sample.image) for sample in samples] for samples in (sound, broken))
            seconds[name] += time.perf_counter() - started
            figures[name].append(_figures(right, wrong, broken))
            highest = np.array([cells.max() for cells in right])
            kinds[name].append([_of_kind(highest, wrong, broken, defect) for defect in DEFECTS])
            if name in ANOMALY_METHODS:
                alarms[name].append(float(np.mean(highest > -detector.offset_)))
        cells = (f"{image:.3f} / {pixel:.3f}" for image, pixel in (figures[name][-1] for name in names))
        print(f"| {surface} | " + " | ".join(cells) + " |", flush=True)
    means = (np.mean(figures[name], axis=0) for name in names)
    print("| mean | " + " | ".join(f"{image:.3f} / {pixel:.3f}" for image, pixel in means) + " |")
    for place, defect in enumerate(DEFECTS):
        each = (f"{np.mean(kinds[name], axis=0)[place]:.3f}" for name in names)
        print(f"| {defect}, image AUROC | " + " | ".join(each) + " |")
    for name in ANOMALY_METHODS:
        print(
            f"{name}: {100 * np.mean(alarms[name]):.1f} % of good pictures above the threshold, "
            f"{100 * told[name]:.1f} % told by fit"
        )
    print(", ".join(f"{name} {seconds[name]:.0f} s" for name in names))


def _detecting(detector: AnomalyDetector) -> Scorer:
    def distances(image: Image.Image) -> Map:
        (found,) = detector.look([image])
        if isinstance(found, Exception):
            raise found
        return found.distances

    return distances


def _figures(right: Sequence[Map], wrong: Sequence[Map], broken: Sequence[Sample]) -> tuple[float, float]:
    image = auroc(*(np.array([cells.max() for cells in maps]) for maps in (right, wrong)))
    pixels = np.stack([enlarged(cells) for cells in (*right, *wrong)])
    masks = np.concatenate([np.zeros((len(right), SIDE, SIDE), bool), np.stack([sample.mask for sample in broken])])
    return image, auroc(pixels[~masks], pixels[masks])


def _of_kind(highest: NDArray[np.float32], wrong: Sequence[Map], broken: Sequence[Sample], defect: str) -> float:
    of_kind = [cells.max() for cells, sample in zip(wrong, broken, strict=True) if sample.defect == defect]
    return auroc(highest, np.array(of_kind))


def draw(target: Path, model: str, fitted: int, seed: int) -> None:
    """Write a picture: a defect of each kind on some surfaces, and below each what the default method makes of it."""
    shown = ("gravel", "woven", "wood", "studs")
    sheet = Image.new("RGB", (len(shown) * (SIDE + 4) - 4, 2 * SIDE + 4), "white")
    for column, surface in enumerate(shown):
        pictures = [sample.image for sample in good(surface, fitted, seed, fitting=True)]
        detector = AnomalyDetector(model=model, threads=1).fit(pictures)
        sample = list(bad(surface, len(DEFECTS), seed))[column]
        (found,) = detector.look([sample.image])
        if isinstance(found, Exception):
            raise found
        for row, image in enumerate((sample.image, detector.heatmap(found))):
            sheet.paste(image, (column * (SIDE + 4), row * (SIDE + 4)))
    sheet.save(target, quality=80)
