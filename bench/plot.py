"""The rate-distortion plot of a results file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bench.rd import mean_curves


def rd_plot(results: dict[str, Any], target: Path) -> None:
    """PSNR and MS-SSIM over bits per pixel, mean over pictures, one line per codec."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    for axes, column, label in zip(figure.subplots(1, 2), (1, 2), ("PSNR, dB", "MS-SSIM, dB"), strict=True):
        for name, curve in mean_curves(results["points"]).items():
            ours = name == "aecodec"
            axes.plot(curve[:, 0], curve[:, column], "o-", label=name, markersize=4, linewidth=2.4 if ours else 1.3)
        axes.set(xlabel="bits per pixel", ylabel=label, xlim=(0, 1.6))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(target, dpi=90)
