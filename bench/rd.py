"""Rate and distortion on a folder of pictures, from whole files."""

from __future__ import annotations

import platform
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image
from scipy.interpolate import PchipInterpolator
from tqdm import tqdm

import aecodec
from aecodec import metrics
from bench.codecs import Peer

PSNR_LEVELS = (28, 30, 32, 34, 36, 38)  # dB, columns of the table


@dataclass(frozen=True)
class Point:
    codec: str
    quality: float
    image: str
    bpp: float  # of the whole file
    psnr: float  # dB, RGB, 8 bits
    ms_ssim: float  # 0..1
    encode_seconds: float
    decode_seconds: float


def measure(peer: Peer, path: Path) -> list[Point]:
    """All qualities of one codec on one picture."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    pixels = np.asarray(image)
    points = []
    for quality in peer.qualities:
        start = time.perf_counter()
        data = peer.encode(image, quality)
        encoded = time.perf_counter()
        decoded = np.asarray(peer.decode(data))
        done = time.perf_counter()
        rate = metrics.bpp(len(data), *image.size)
        quality_figures = (metrics.psnr(pixels, decoded), metrics.ms_ssim(pixels, decoded))
        points.append(Point(peer.name, quality, path.name, rate, *quality_figures, encoded - start, done - encoded))
    return points


def run(peers: list[Peer], pictures: list[Path], command: str) -> dict[str, Any]:
    """Results of every codec on every picture, as the JSON object that is kept."""
    jobs = [(peer, path) for path in pictures for peer in peers]
    points = [point for peer, path in tqdm(jobs, desc="rd", unit="") for point in measure(peer, path)]
    return {
        "command": command,
        "environment": {
            "aecodec": aecodec.__version__,
            "commit": _git("rev-parse", "--short", "HEAD"),
            "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "pillow": PIL.__version__,
        },
        "codecs": {peer.name: peer.settings for peer in peers},
        "points": [asdict(point) for point in points],
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return done.stdout.strip() or "unknown"


def mean_curves(points: Iterable[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Per codec the mean over pictures of (bpp, psnr, ms_ssim in dB), one row per quality."""
    groups: dict[str, dict[float, list[tuple[float, float, float]]]] = defaultdict(lambda: defaultdict(list))
    for point in points:
        figures = (point["bpp"], point["psnr"], metrics.ms_ssim_db(point["ms_ssim"]))
        groups[point["codec"]][point["quality"]].append(figures)
    return {name: np.array([np.mean(g, 0) for _, g in sorted(by.items())]) for name, by in groups.items()}


def table(results: dict[str, Any], anchor: str = "jpeg") -> str:
    """Markdown: bits per pixel at equal PSNR, and BD-rate against the anchor by PSNR and by MS-SSIM."""
    curves = mean_curves(results["points"])
    levels = " | ".join(f"{level} dB" for level in PSNR_LEVELS)
    lines = [
        f"| codec | {levels} | BD-rate (PSNR) | BD-rate (MS-SSIM) |",
        "|---|" + "---|" * (len(PSNR_LEVELS) + 2),
    ]
    for name, curve in curves.items():
        rate = PchipInterpolator(curve[:, 1], np.log(curve[:, 0]), extrapolate=False)
        cells = ["-" if np.isnan(value := rate(level)) else f"{np.exp(value):.3f}" for level in PSNR_LEVELS]
        base = curves.get(anchor, curve)
        rates = [metrics.bd_rate(base[:, 0], base[:, k], curve[:, 0], curve[:, k]) for k in (1, 2)]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {rates[0]:+.1f} % | {rates[1]:+.1f} % |")
    return "\n".join(lines)
