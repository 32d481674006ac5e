"""What each level of encoder effort gives and costs, of results of `bench rd --codecs aecodec@0,aecodec@1,...`."""

from __future__ import annotations

from dataclasses import replace

import click
import numpy as np

from aecodec import metrics
from bench.codecs import DEFAULT_EFFORT
from bench.results import Point, Record

NAME = "aecodec@"


def effort_table(records: list[Record]) -> str:
    """A Markdown table: BD-rate against effort 0 and the level before, per picture, and seconds to encode."""
    points = [
        replace(record, codec=f"{NAME}{DEFAULT_EFFORT}") if record.codec == "aecodec" else record
        for record in records
        if isinstance(record, Point) and f"{record.codec}@".startswith(NAME)
    ]
    levels = sorted({int(point.codec.removeprefix(NAME)) for point in points})
    if len(levels) < 2:
        raise click.ClickException(f"results hold {len(levels)} levels of effort ({NAME}0, {NAME}1, ...), not several")
    lines = [
        "| effort | BD-rate to the lowest | to the level before | worst picture of that | s/MP to encode |",
        "|---|---|---|---|---|",
    ]
    for before, level in zip([None, *levels], levels, strict=False):
        mine = [point for point in points if point.codec == f"{NAME}{level}"]
        seconds = np.mean([1e6 * point.encode_seconds / point.width / point.height for point in mine])
        rates = [_bd_rates(points, other, level) for other in (levels[0], before) if other is not None]
        cells = [f"{np.mean(rates[0]):+.1f} %", "", ""]
        if len(rates) > 1:
            cells[1:] = [f"{np.mean(rates[1]):+.1f} %", f"{np.max(rates[1]):+.1f} %"]
        lines.append(f"| {level} | {' | '.join(cells)} | {seconds:.2f} |")
    return "\n".join(lines)


def _bd_rates(points: list[Point], anchor: int, level: int) -> list[float]:
    """Percent, of every picture, at the qualities that both levels were measured at."""

    def curve(image: str, effort: int) -> dict[float, Point]:
        return {point.quality: point for point in points if point.image == image and point.codec == f"{NAME}{effort}"}

    found = []
    for image in sorted({point.image for point in points}):
        a, b = curve(image, anchor), curve(image, level)
        shared = sorted(a.keys() & b.keys())
        sides = [[getattr(one[q], figure) for q in shared] for one in (a, b) for figure in ("bpp", "psnr")]
        found.append(metrics.bd_rate(*sides))
    return found
