"""Tables of results: bits at equal quality, and BD-rates against any anchor, measured or published."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from aecodec import InputError, metrics
from bench.results import Curve, Point, Record, Run, Speed, curves, ms_ssim_db, points_of, read

PSNR_LEVELS = (28, 30, 32, 34, 36, 38)  # dB, columns of the table
FOLDER = Path(__file__).parent
PUBLISHED = FOLDER / "anchors" / "kodak_rd.json"
# Of the published curves, those that a plot shows: the standards, the classics of the field, and the best.
LANDMARKS = (
    "bpg",
    "vtm",
    "compressai-bmshj2018-hyperprior",
    "compressai-cheng2020-anchor",
    "paper-elic2022",
    "hpcm-large",
)


@dataclass(frozen=True)
class Row:
    """One line of a comparison. BD-rates in percent, None where the curves share no range."""

    name: str
    source: str  # measured or published
    psnr: float | None
    ms_ssim: float | None


def published_curves() -> dict[str, Curve]:
    """Curves on Kodak that others have published (docs/benchmarks.md names the sources)."""
    found = {}
    for name, values in json.loads(PUBLISHED.read_text()).items():
        count = len(values["bpp"])
        nothing = np.full(count, np.nan)
        similarity = ms_ssim_db(values["ms_ssim"]) if "ms_ssim" in values else nothing
        found[name] = Curve(
            np.array(values["bpp"]),
            np.array(values["psnr"]),
            similarity,
            nothing,
            nothing,
            np.arange(count, dtype=float),
        )
    return found


def is_kodak(records: Iterable[Record], pictures: list[str]) -> bool:
    """Whether these results are means over the 24 Kodak pictures, so that published curves can stand beside them."""
    measured = {name: sha256 for record in records if isinstance(record, Run) for name, sha256 in record.images.items()}
    return {measured.get(name) for name in pictures} == set(kodak_sums().values())


def kodak_sums() -> dict[str, str]:
    """SHA-256 of the Kodak pictures by name."""
    lines = (FOLDER / "kodak.sha256").read_text().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def bd_rate(anchor: Curve, test: Curve, metric: str) -> float | None:
    """Percent, or None where one of them was not measured or they share no range."""
    pairs = []
    for curve in (anchor, test):
        quality: NDArray[np.float64] = getattr(curve, metric)
        if np.isnan(quality).any():
            return None
        pairs += [curve.bpp.tolist(), quality.tolist()]
    try:
        return metrics.bd_rate(*pairs)
    except InputError:
        return None


def merge(files: list[Path]) -> list[Record]:
    """The records of several files; a codec that is in more than one of them is named after its file."""
    contents = {file: read(file) for file in files}
    names = {
        file: {record.codec for record in records if isinstance(record, Point)} for file, records in contents.items()
    }
    count = Counter(name for of_file in names.values() for name in of_file)
    merged: list[Record] = []
    for file, records in contents.items():
        for record in records:
            if isinstance(record, Point) and count[record.codec] > 1:
                record = replace(record, codec=f"{record.codec} ({file.stem})")
            merged.append(record)
    return merged


def rows(measured: dict[str, Curve], published: dict[str, Curve], anchor: str) -> list[Row]:
    """Everything against the anchor: a name, or a measured name without its file, or a published one; best first."""
    everything = published | measured
    base = everything.get(anchor) or next((c for name, c in measured.items() if name.startswith(f"{anchor} (")), None)
    if base is None:
        raise click.ClickException(f"there is no curve {anchor}; there are {', '.join(everything)}")
    found = [
        Row(name, source, bd_rate(base, curve, "psnr"), bd_rate(base, curve, "ms_ssim"))
        for source, of_source in (("measured", measured), ("published", published))
        for name, curve in of_source.items()
    ]
    return sorted(found, key=lambda row: np.inf if row.psnr is None else row.psnr)


def compare(files: list[Path], anchor: str) -> str:
    """Markdown: BD-rate of everything in the files, and of the published curves if the pictures are Kodak's."""
    records = merge(files)
    measured, pictures = curves(points_of(records))
    kodak = is_kodak(records, pictures)
    lines = ["| codec | source | BD-rate (PSNR) | BD-rate (MS-SSIM) |", "|---|---|---|---|"]
    lines += [
        f"| {row.name} | {row.source} | {percent(row.psnr)} | {percent(row.ms_ssim)} |"
        for row in rows(measured, published_curves() if kodak else {}, anchor)
    ]
    lines += ["", f"Against {anchor}, mean over {len(pictures)} pictures; negative means fewer bits at equal quality."]
    if not kodak:
        lines.append("Published curves are left out: they are of the 24 Kodak pictures, and these are others.")
    return "\n".join(lines)


def table(records: list[Record], anchor: str = "jpeg") -> str:
    """Markdown: bits per pixel at equal PSNR, and BD-rate against the anchor by PSNR and by MS-SSIM."""
    measured, _ = curves(points_of(records))
    levels = " | ".join(f"{level} dB" for level in PSNR_LEVELS)
    lines = [
        f"| codec | {levels} | BD-rate (PSNR) | BD-rate (MS-SSIM) |",
        "|---|" + "---|" * (len(PSNR_LEVELS) + 2),
    ]
    for name, curve in measured.items():
        base = measured.get(anchor, curve)
        cells = [bits_at(curve, level) for level in PSNR_LEVELS]
        cells += [percent(bd_rate(base, curve, metric)) for metric in ("psnr", "ms_ssim")]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def speed_table(records: list[Record]) -> str:
    """Markdown: seconds to encode and to decode at every size, warm, with the most threads; memory at the largest."""
    speeds = [record for record in records if isinstance(record, Speed)]
    threads = max(speed.threads for speed in speeds)
    found = {(s.codec, s.megapixels, s.direction): s for s in speeds if s.threads == threads}
    sizes = sorted({size for _, size, _ in found})
    heads = " | ".join(f"{size:.2g} MP" for size in sizes)
    lines = [f"| codec | {heads} | memory at {sizes[-1]:.2g} MP |", "|---|" + "---|" * (len(sizes) + 1)]
    for name in dict.fromkeys(codec for codec, _, _ in found):
        pairs = [[found.get((name, size, direction)) for direction in ("encode", "decode")] for size in sizes]
        cells = [" / ".join(f"{speed.seconds:.2g} s" if speed else "-" for speed in pair) for pair in pairs]
        memory = " / ".join(f"{s.peak_memory_mb:.0f} MB" if s and s.peak_memory_mb else "-" for s in pairs[-1])
        lines.append(f"| {name} | " + " | ".join([*cells, memory]) + " |")
    return "\n".join(lines)


def bits_at(curve: Curve, psnr: float) -> str:
    """Bits per pixel at a PSNR, or a dash outside the curve."""
    order = np.argsort(curve.psnr)
    if len(order) < 2 or np.any(np.diff(curve.psnr[order]) <= 0):
        return "-"
    value = PchipInterpolator(curve.psnr[order], np.log(curve.bpp[order]), extrapolate=False)(psnr)
    return "-" if np.isnan(value) else f"{np.exp(value):.3f}"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f} %"
