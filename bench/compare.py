"""Tables of results: bits at equal quality, and BD-rates against any anchor, measured or published."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from scipy.interpolate import PchipInterpolator

from aecodec import InputError, metrics
from bench.results import METRICS, Curve, Point, Record, Run, Speed, curves, ms_ssim_db, points_of, read

PSNR_LEVELS = (28, 30, 32, 34, 36, 38)  # dB, columns of the table
LADDER_LEVELS = (20, 22, 24, 26, 28, 30, 34)  # dB, of its lowest steps as well
RANGE = (PSNR_LEVELS[0], PSNR_LEVELS[-1])  # of every BD-rate by PSNR: figures over different ranges cannot be compared
ANCHORS = ("jpeg", "avif")
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


class Row(NamedTuple):
    """One line of a comparison."""

    name: str
    source: str  # measured or published
    reach: tuple[float, float]  # dB: what the curve has of the range by PSNR; its BD-rates by PSNR are over that
    ranked: bool  # that is all of it
    rates: list[float | None]  # BD-rates in percent, one a column; None where a curve does not cover the range

    @property
    def cells(self) -> list[str]:
        low, high = self.reach
        return [self.name, self.source, f"{low:.2f} to {high:.2f} dB", *map(percent, self.rates)]


class Comparison(NamedTuple):
    """Curves against anchors."""

    columns: list[tuple[str, str]]  # metric and anchor
    spans: dict[str, tuple[float, float]]  # of each metric the one range that its figures are over
    rows: list[Row]

    @property
    def heads(self) -> list[str]:
        """Of the cells of a row."""
        return ["codec", "source", "PSNR", *self.rates]

    @property
    def rates(self) -> list[str]:
        return [f"BD-rate to {anchor} ({_NAMES[metric]})" for metric, anchor in self.columns]

    @property
    def ranked(self) -> list[Row]:
        """Best first; over one range the order is the same against every anchor."""
        return sorted(filter(lambda row: row.ranked, self.rows), key=_first_rate)

    @property
    def apart(self) -> list[Row]:
        """Those that do not cover the range by PSNR."""
        return [row for row in self.rows if not row.ranked]

    @property
    def note(self) -> str:
        """What the figures are, and over which ranges."""
        ranges = ", ".join(f"{_NAMES[metric]} {_range(metric, span)}" for metric, span in self.spans.items())
        return f"BD-rate: bits more (+) or fewer (-) at equal quality, over one range for all: {ranges}."


def _first_rate(row: Row) -> float:
    return next((rate for rate in row.rates if rate is not None), np.inf)


APART = "Curves that do not cover the range by PSNR have no rank; their figures by PSNR are over what they have of it:"
NO_SPEEDS = "these results hold no speeds: python -m bench speed --out RESULTS"
_NAMES = {"psnr": "PSNR", "ms_ssim": "MS-SSIM", "butteraugli": "Butteraugli"}


def _range(metric: str, span: tuple[float, float]) -> str:
    if not span[0] < span[1]:
        return "none in common"
    if metric == "butteraugli":
        return f"{2 ** -span[0]:.2f} to {2 ** -span[1]:.2f} (its logarithm)"
    return f"{span[0]:.3g} to {span[1]:.3g} dB"


def published_curves() -> dict[str, Curve]:
    """Curves on Kodak that others have published (docs/benchmarks.md names the sources)."""
    found = {}
    for name, values in json.loads(PUBLISHED.read_text()).items():
        bpp = np.array(values["bpp"])
        known = {"psnr": np.array(values["psnr"])}
        if "ms_ssim" in values:
            known["ms_ssim"] = ms_ssim_db(values["ms_ssim"])
        figures = dict.fromkeys(METRICS, np.full(len(bpp), np.nan)) | known
        found[name] = Curve(np.arange(len(bpp), dtype=float), bpp, **figures)
    return found


def is_kodak(records: Iterable[Record], pictures: list[str]) -> bool:
    """Whether these results are means over the 24 Kodak pictures, so that published curves can stand beside them."""
    measured = {name: sha256 for record in records if isinstance(record, Run) for name, sha256 in record.images.items()}
    return {measured.get(name) for name in pictures} == set(kodak_sums().values())


def kodak_sums() -> dict[str, str]:
    """SHA-256 of the Kodak pictures by name."""
    lines = (FOLDER / "kodak.sha256").read_text().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def bd_rate(anchor: Curve, test: Curve, metric: str, between: tuple[float, float] | None = None) -> float | None:
    """Percent, or None where one of them was not measured or does not cover the range."""
    sides = [values.tolist() for curve in (anchor, test) for values in (curve.bpp, getattr(curve, metric))]
    try:
        return metrics.bd_rate(*sides, between=between)
    except InputError:
        return None


def overlap(span: tuple[float, float], found: Iterable[Curve], metric: str) -> tuple[float, float]:
    """What is left of a range where all curves are; those that were not measured do not count."""
    values = [getattr(curve, metric) for curve in found]
    known = [of_curve for of_curve in values if not np.isnan(of_curve).any()]
    return float(max([span[0], *map(np.min, known)])), float(min([span[1], *map(np.max, known)]))


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


def compare_curves(measured: dict[str, Curve], published: dict[str, Curve], anchors: Sequence[str] = ()) -> Comparison:
    """All curves against the anchors: those of ANCHORS that there are, or others, which may narrow RANGE.

    An anchor is a name, or a measured name without its file, or a published one.
    """
    everything = published | measured
    found = {name: _anchor(everything, name) for name in anchors or ANCHORS}
    for name in anchors:
        if found[name] is None:
            raise click.ClickException(f"there is no curve {name}; there are {', '.join(everything)}")
    bases = {name: curve for name, curve in found.items() if curve}
    spans = {"psnr": overlap(RANGE, bases.values() if anchors else (), "psnr")}
    for metric in ("ms_ssim", "butteraugli"):
        span = overlap((-np.inf, np.inf), [*measured.values(), *bases.values()], metric)
        if np.isfinite(span).all():
            spans[metric] = span
    columns = [(metric, name) for metric in spans for name in bases]
    columns = [column for column in columns if column[0] != "butteraugli" or column == columns[-1]]
    if columns and columns[-1][0] == "butteraugli" and np.isnan(bases[columns[-1][1]].butteraugli).all():
        del columns[-1]  # nobody has published it
    rows = []
    for source, of_source in (("measured", measured), ("published", published)):
        for name, curve in of_source.items():
            reach = overlap(spans["psnr"], [curve], "psnr")
            over = spans | {"psnr": reach}
            rates = [bd_rate(bases[anchor], curve, metric, over[metric]) for metric, anchor in columns]
            rows.append(Row(name, source, reach, reach == spans["psnr"], rates))
    return Comparison(columns, spans, rows)


def _anchor(everything: dict[str, Curve], name: str) -> Curve | None:
    return everything.get(name) or next((c for full, c in everything.items() if full.startswith(f"{name} (")), None)


def compare(files: list[Path], anchors: Sequence[str] = ()) -> str:
    """Markdown: BD-rate of everything in the files, and of the published curves if the pictures are Kodak's."""
    records = merge(files)
    measured, pictures = curves(points_of(records))
    kodak = is_kodak(records, pictures)
    found = compare_curves(measured, published_curves() if kodak else {}, anchors)
    lines = _markdown(found.heads, [row.cells for row in found.ranked])
    lines += ["", f"Mean over {len(pictures)} pictures. {found.note}"]
    if found.apart:
        lines += ["", APART, "", *_markdown(found.heads, [row.cells for row in found.apart])]
    if not kodak:
        lines += ["", "Published curves are left out: they are of the 24 Kodak pictures, and these are others."]
    return "\n".join(lines)


def table(records: list[Record]) -> str:
    """Markdown: bits per pixel at equal PSNR, and BD-rates; a dash where a curve does not cover the range."""
    measured, _ = curves(points_of(records))
    found = compare_curves(measured, {})
    cells = []
    for row in found.rows:
        bits = [bits_at(measured[row.name], level) for level in PSNR_LEVELS]
        rates = [
            percent(rate if row.ranked or metric != "psnr" else None)
            for rate, (metric, _) in zip(row.rates, found.columns, strict=True)
        ]
        cells.append([row.name, *bits, *rates])
    lines = _markdown(["codec", *(f"{level} dB" for level in PSNR_LEVELS), *found.rates], cells)
    if found.columns:
        short = "; ".join(f"{row.name} {_ends(row, found.spans['psnr'])}" for row in found.apart)
        lines += ["", found.note + (f" No figure by PSNR: {short}." if short else "")]
    return "\n".join(lines)


def _ends(row: Row, span: tuple[float, float]) -> str:
    (low, high), (begin, end) = span, row.reach
    words = [f"begins at {begin:.2f} dB"] if begin > low else []
    words += [f"ends at {end:.2f} dB"] if end < high else []
    return " and ".join(words)


def _markdown(heads: list[str], cells: list[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(line)} |" for line in (heads, *cells)]
    return [lines[0], "|" + "---|" * len(heads), *lines[1:]]


def speed_table(records: list[Record]) -> str:
    """Markdown: seconds to encode and to decode at every size, warm, with the most threads; memory at the largest."""
    speeds = [record for record in records if isinstance(record, Speed)]
    if not speeds:
        raise click.ClickException(NO_SPEEDS)
    threads = max(speed.threads for speed in speeds)
    found = {(s.codec, s.megapixels, s.direction): s for s in speeds if s.threads == threads}
    sizes = sorted({size for _, size, _ in found})
    rows = []
    for name in dict.fromkeys(codec for codec, _, _ in found):
        pairs = [[found.get((name, size, direction)) for direction in ("encode", "decode")] for size in sizes]
        cells = [" / ".join(f"{speed.seconds:.2g} s" if speed else "-" for speed in pair) for pair in pairs]
        memory = " / ".join(f"{s.peak_memory_mb:.0f} MB" if s and s.peak_memory_mb else "-" for s in pairs[-1])
        rows.append([name, *cells, memory])
    heads = ["codec", *(f"{size:.2g} MP" for size in sizes), f"memory at {sizes[-1]:.2g} MP"]
    return "\n".join(_markdown(heads, rows))


def bits_at(curve: Curve, psnr: float) -> str:
    """Bits per pixel at a PSNR, or a dash outside the curve."""
    order = np.argsort(curve.psnr)
    if len(order) < 2 or np.any(np.diff(curve.psnr[order]) <= 0):
        return "-"
    value = PchipInterpolator(curve.psnr[order], np.log(curve.bpp[order]), extrapolate=False)(psnr)
    return "-" if np.isnan(value) else f"{np.exp(value):.3f}"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f} %"


def ladder_table(records: Sequence[Record]) -> str:
    """Markdown: bits per pixel at some PSNR, where a step of the ladder reaches it, and the best that it reaches."""
    levels = LADDER_LEVELS
    lines = [f"| step | {' | '.join(f'{psnr} dB' for psnr in levels)} | best |", "|---|" + "---|" * (len(levels) + 1)]
    for name, curve in curves(points_of(records))[0].items():
        rates = np.exp(np.interp(levels, curve.psnr, np.log(curve.bpp), left=np.nan, right=np.nan))
        cells = ["-" if np.isnan(rate) else f"{rate:.2f}" for rate in rates]
        best = int(curve.psnr.argmax())
        lines.append(f"| {name} | {' | '.join(cells)} | {curve.psnr[best]:.1f} dB at {curve.bpp[best]:.2f} |")
    return "\n".join(lines)
