"""Plots of results for the README, each in a light and a dark form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.compare import LANDMARKS, NO_SPEEDS, RANGE, bd_rate, is_kodak, published_curves
from bench.results import METRICS, Record, Speed, curves, points_of

_MAX_BPP = 1.6
_TAB20 = mpl.color_sequences["tab20"]
_COLORS = {  # ink, grid, paper
    "": ("#1f2328", "#d0d7de", "#ffffff"),
    "-dark": ("#e6edf3", "#3d444d", "#0d1117"),
}


def draw(target: Path, size: tuple[float, float], fill: Callable[[Figure], None]) -> None:
    """Write target and, beside it, the dark form of the same name with -dark."""
    if target.suffix not in {".png", ".svg"}:
        raise click.ClickException(f"plots are .png or .svg, not {target.name}")
    for suffix, (ink, grid, paper) in _COLORS.items():
        style: dict[Any, Any] = {
            "text.color": ink,
            "axes.labelcolor": ink,
            "axes.edgecolor": grid,
            "xtick.color": ink,
            "ytick.color": ink,
            "grid.color": grid,
            "axes.facecolor": paper,
            "figure.facecolor": paper,
            "legend.facecolor": paper,
            "legend.edgecolor": grid,
            "axes.prop_cycle": cycler(color=[*_TAB20[::2], *_TAB20[1::2]]),
            "svg.fonttype": "none",  # text stays text: small files
            "svg.hashsalt": "aecodec",  # the same file at every run
        }
        with mpl.rc_context(style):
            figure = Figure(figsize=size, layout="constrained")
            fill(figure)
            metadata = {"Date": None} if target.suffix == ".svg" else None
            figure.savefig(target.with_name(target.stem + suffix + target.suffix), dpi=100, metadata=metadata)


def rd_plot(records: list[Record], target: Path) -> None:
    """PSNR and MS-SSIM over bits per pixel, mean over pictures, a line per codec; published curves dashed."""
    measured, pictures = curves(points_of(records))
    published = published_curves() if is_kodak(records, pictures) else {}

    def fill(figure: Figure) -> None:
        for axes, metric in zip(figure.subplots(1, 2), ("psnr", "ms_ssim"), strict=True):
            for name, curve in measured.items():
                width = 2.6 if name.startswith("aecodec") else 1.3
                axes.plot(curve.bpp, getattr(curve, metric), "o-", label=name, markersize=3.5, linewidth=width)
            for name in LANDMARKS:
                if name in published and not np.isnan(getattr(published[name], metric)).any():
                    line = (published[name].bpp, getattr(published[name], metric))
                    axes.plot(*line, "--", label=f"{name}, published", linewidth=1)
            shown = [y for line in axes.lines for x, y in zip(*line.get_data(), strict=True) if x <= _MAX_BPP]
            axes.set(xlabel="bits per pixel", ylabel=METRICS[metric], xlim=(0, _MAX_BPP))
            axes.set_ylim(min(shown) - 0.5, max(shown) + 1)
            axes.grid(visible=True)
            axes.legend(fontsize=7, loc="lower right", ncols=2)

    draw(target, (11, 4.6), fill)


def ladder_plot(records: Sequence[Record], target: Path) -> None:
    """PSNR over bits per pixel of the steps of the ladder, mean over pictures."""
    measured, _ = curves(points_of(records))

    def fill(figure: Figure) -> None:
        axes = figure.subplots()
        for name, curve in measured.items():
            style = "o-" if name.startswith("aecodec") else "s:" if name.startswith("jpeg") else "o--"
            axes.plot(curve.bpp, curve.psnr, style, label=name, markersize=3.5, linewidth=1.5)
        axes.set(xlabel="bits per pixel", ylabel=METRICS["psnr"], xscale="log")
        axes.grid(visible=True)
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))

    draw(target, (9, 5), fill)


def identity_plot(maps: Sequence[NDArray[np.float64]], target: Path) -> None:
    """What comes out of autoencoders for what goes in: one with a bottleneck, and one without."""

    def fill(figure: Figure) -> None:
        names = ("with a bottleneck: a projection", "over-complete: the identity")
        for axes, name, found in zip(figure.subplots(1, 2), names, maps, strict=True):
            shown = axes.imshow(found, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="none")
            axes.set(title=name, xlabel="sample that comes out", ylabel="sample that goes in")
        figure.colorbar(shown, ax=figure.axes, shrink=0.8)

    draw(target, (9, 4.2), fill)


def speed_plot(records: list[Record], target: Path) -> None:
    """Megapixels per second, warm, of encoding and decoding at the size that most codecs were measured at."""
    size, threads, speeds = comparable(records)

    def fill(figure: Figure) -> None:
        for axes, direction in zip(figure.subplots(1, 2), ("encode", "decode"), strict=True):
            bars = sorted(
                (speed.megapixels / speed.seconds, speed.codec) for speed in speeds if speed.direction == direction
            )
            axes.barh([name for _, name in bars], [rate for rate, _ in bars], color="#4c78a8")
            axes.bar_label(axes.containers[0], fmt="%.3g", padding=3)
            axes.set(xlabel=f"{direction}, MP/s at {size}, {threads} threads", xscale="log")
            axes.margins(x=0.15)
            axes.grid(visible=True, axis="x")

    draw(target, (11, 0.4 * len(speeds) / 2 + 1.2), fill)


def frontier_plot(rates: list[Record], speeds: list[Record], target: Path) -> None:
    """BD-rates over seconds to decode a megapixel; of CompressAI's networks the published rates."""
    measured, pictures = curves(points_of(rates))
    published = published_curves() if is_kodak(rates, pictures) else {}
    size, threads, found = comparable(speeds)
    points = []
    for speed in found:
        network = speed.codec.removesuffix(" (random weights)")
        curve = measured.get(speed.codec) or published.get(f"compressai-{network}")
        rate = bd_rate(measured["jpeg"], curve, "psnr", RANGE) if curve else None
        if speed.direction == "decode" and rate is not None:
            points.append((speed.seconds / speed.megapixels, rate, network))

    def fill(figure: Figure) -> None:
        axes = figure.subplots()
        for x, y, name in points:
            axes.scatter([x], [y], s=60 if name.startswith("aecodec") else 30)
            axes.annotate(name, (x, y), xytext=(6, 4), textcoords="offset points", fontsize=8)
        axes.set(xscale="log", xlabel=f"seconds to decode a megapixel ({size}, {threads} threads)")
        axes.set(ylabel=f"BD-rate to jpeg, %, over {RANGE[0]} to {RANGE[1]} dB of PSNR")
        avif = next((1 + rate / 100 for _, rate, name in points if name == "avif"), None)
        if avif:  # over one range the one figure follows from the other
            right = axes.secondary_yaxis(
                "right", (lambda rate: (100 + rate) / avif - 100, lambda rate: (100 + rate) * avif - 100)
            )
            right.set_ylabel("to avif, %")
        axes.margins(x=0.3, y=0.1)
        axes.grid(visible=True)

    draw(target, (8, 4.6), fill)


def comparable(records: list[Record]) -> tuple[str, int, list[Speed]]:
    """The size and the thread count that most speeds share (the larger one on a tie), and these speeds."""
    speeds = [record for record in records if isinstance(record, Speed)]
    if not speeds:
        raise click.ClickException(NO_SPEEDS)
    keys = [(speed.width, speed.height, speed.threads) for speed in speeds]
    width, height, threads = max(keys, key=lambda key: (keys.count(key), key))
    return (
        f"{width}x{height}",
        threads,
        [s for s, key in zip(speeds, keys, strict=True) if key == (width, height, threads)],
    )
