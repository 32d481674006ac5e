"""Results: JSON lines, each written as soon as it is measured. docs/benchmarks.md describes every field."""

from __future__ import annotations

import csv
import json
import os
import platform
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import which

import click
import numpy as np
from numpy.typing import NDArray

from aecodec import metrics

SCHEMA = 1
MAX_DB = 100.0  # equal pictures count as this, so that JSON and means stay finite
PACKAGES = (
    "aecodec",
    "torch",
    "pillow",
    "pyjpegli",
    "mozjpeg-lossless-optimization",
    "pillow-jxl-plugin",
    "pillow-heif",
)


@dataclass(frozen=True)
class Run:
    """How the lines below this one were measured, up to the next Run."""

    command: str
    environment: dict[str, str]
    codecs: dict[str, str]  # name: settings
    images: dict[str, str] = field(default_factory=dict)  # name: SHA-256 of the file
    schema: int = SCHEMA


@dataclass(frozen=True)
class Point:
    """One codec at one quality on one picture."""

    codec: str
    quality: float
    image: str
    width: int
    height: int
    size_bytes: int  # the whole file
    bpp: float
    psnr: float  # dB, RGB, 8 bits
    psnr_y: float | None  # dB, luma of BT.601
    ms_ssim: float | None  # 0..1; None for sides up to 160 pixels
    encode_seconds: float
    decode_seconds: float
    ssimulacra2: float | None = None  # up to 100
    butteraugli: float | None = None  # 3-norm, 0 for equal pictures


@dataclass(frozen=True)
class Speed:
    """One codec in one direction at one size, in a process of its own."""

    codec: str
    direction: str  # encode or decode
    width: int
    height: int
    threads: int
    runs: int
    size_bytes: int
    cold_seconds: float  # first picture, from the start of the process
    seconds: float  # warm, median of the runs
    fastest: float
    slowest: float
    stages: dict[str, float]  # seconds, median of the runs
    peak_memory_mb: float | None

    @property
    def megapixels(self) -> float:
        return self.width * self.height / 1e6


@dataclass(frozen=True)
class Throughput:
    """One codec on a device, several pictures at once."""

    codec: str
    device: str
    direction: str
    width: int
    height: int
    batch: int
    runs: int
    images_per_second: float  # median of the runs
    fastest: float
    slowest: float


Record = Run | Point | Speed | Throughput
_KINDS = {kind.__name__.lower(): kind for kind in (Run, Point, Speed, Throughput)}


def append(path: Path, record: Record) -> None:
    """Add one line; it is in the file when this returns."""
    line = json.dumps({"kind": type(record).__name__.lower(), **asdict(record)}, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(line + "\n")


def read(path: Path) -> list[Record]:
    """All lines of a file, or of every .jsonl file of a folder. A line cut short by an interruption does not count."""
    if path.is_dir():
        return [record for file in sorted(path.glob("*.jsonl")) for record in read(file)]
    records: list[Record] = []
    lines = path.read_text().split("\n")
    for number, line in enumerate(lines[:-1], 1):
        try:
            values = json.loads(line)
            records.append(_KINDS[values.pop("kind")](**values))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise click.ClickException(f"{path}, line {number} is no result: {error}") from error
        if isinstance(records[-1], Run) and records[-1].schema != SCHEMA:
            raise click.ClickException(f"{path} has schema {records[-1].schema}, this is for {SCHEMA}")
    return records


def resume(path: Path, run: Run, *, timed: bool = False) -> list[Record]:
    """What a file holds already, after the new run was noted in it.

    Other pictures or settings are refused and, where time is what is measured, other machines.
    """
    if not path.exists():
        append(path, run)
        return []
    data = path.read_bytes()
    os.truncate(path, data.rfind(b"\n") + 1)  # a line that was cut short goes; nothing else is touched
    records = read(path)
    for old in (record for record in records if isinstance(record, Run)):
        places = [{key: run.environment.get(key, "none") for key in ("machine", "gpu")} for run in (old, run)]
        for before, now in ((old.codecs, run.codecs), (old.images, run.images), places if timed else ({}, {})):
            for name in before.keys() & now.keys():
                if before[name] != now[name]:
                    raise click.ClickException(
                        f"{path} holds {name} as {before[name][:40]}, now it is {now[name][:40]}: choose another --out"
                    )
    if run not in records:
        append(path, run)
    return records


def environment() -> dict[str, str]:
    """Commit, machine and versions."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    git = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    here = Path(__file__).parent
    commit = subprocess.run(git, capture_output=True, text=True, check=False, cwd=here).stdout if which("git") else ""
    return {
        "commit": commit.strip() or "unknown",
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}",
        "python": platform.python_version(),
        **found,
    }


def _processor() -> str:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    names = [line for line in _text("/proc/cpuinfo").splitlines() if line.startswith("model name")]
    name = names[0].partition(": ")[2] if names else platform.processor()
    return f"{name or 'unknown processor'}, {cores} threads"


def _text(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""


def points_of(records: Iterable[Record]) -> list[Point]:
    """The points; of one that was measured again, for a figure more, the last."""
    points = {(r.codec, r.quality, r.image): r for r in records if isinstance(r, Point)}
    if not points:
        raise click.ClickException("these results hold no rate-distortion points")
    return list(points.values())


@dataclass(frozen=True)
class Curve:
    """Means over pictures of one codec, one entry per quality, by growing quality; nan where not measured."""

    quality: NDArray[np.float64]
    bpp: NDArray[np.float64]
    psnr: NDArray[np.float64]
    ms_ssim: NDArray[np.float64]  # dB of the mean, as for the published curves
    butteraugli: NDArray[np.float64]  # -log2 of the mean: more is better, and the eye's steps are about equal
    psnr_y: NDArray[np.float64]
    ssimulacra2: NDArray[np.float64]


METRICS = {
    "psnr": "PSNR, dB",
    "ms_ssim": "MS-SSIM, dB",
    "butteraugli": "-log2 of Butteraugli's 3-norm",
    "psnr_y": "PSNR-Y, dB",
    "ssimulacra2": "SSIMULACRA2",
}


def curves(points: Iterable[Point]) -> tuple[dict[str, Curve], list[str]]:
    """Curves by codec, and the pictures they are means of: those that every codec has coded at all its qualities."""
    by_codec: dict[str, dict[str, dict[float, Point]]] = defaultdict(lambda: defaultdict(dict))
    for point in points:
        by_codec[point.codec][point.image][point.quality] = point
    complete = []
    for images in by_codec.values():
        qualities = max((of_image.keys() for of_image in images.values()), key=len)
        complete.append({name for name, of_image in images.items() if of_image.keys() == qualities})
    common = sorted(set.intersection(*complete))
    if not common:
        raise click.ClickException("no picture was measured with every codec at every quality")
    return {name: _curve([images[image] for image in common]) for name, images in by_codec.items()}, common


def _curve(pictures: list[dict[float, Point]]) -> Curve:
    qualities = sorted(pictures[0])

    def mean(name: str) -> NDArray[np.float64]:
        rows = [[getattr(points[quality], name) for quality in qualities] for points in pictures]
        means: NDArray[np.float64] = np.array(rows, np.float64).mean(0)  # None becomes nan
        return means

    means = {name: mean(name) for name in ("bpp", *METRICS)}
    means["ms_ssim"] = ms_ssim_db(means["ms_ssim"])
    means["butteraugli"] = -np.log2(np.maximum(means["butteraugli"], 1e-3))  # equal pictures have 0
    return Curve(np.array(qualities), **means)


def ms_ssim_db(values: Iterable[float]) -> NDArray[np.float64]:
    return np.array([min(metrics.ms_ssim_db(value), MAX_DB) for value in values])


def write_csv(records: Iterable[Record], target: Path) -> None:
    """The points as comma-separated values."""
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, [column.name for column in fields(Point)])
        writer.writeheader()
        writer.writerows(asdict(point) for point in points_of(records))
