"""Files without loss, and with a bound of it, beside PNG, WebP and JPEG XL."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

import aecodec
from aecodec import metrics
from aecodec.image import crop_middle
from bench.codecs import jxl, open_rgb, save

BOUNDS = (1, 2, 3, 4, 6, 8)
_QUALITIES = (80, 90, 95, 97, 98, 99, 99.5, 99.8)  # of JPEG XL, whose curve tells its rate at any PSNR


def run(pictures: list[Path], middle: int | None) -> None:
    """Print two tables: bits per pixel without loss, and by bounds with JPEG XL's rate at equal PSNR, which is that
    without loss where no lossy file of it reaches so far."""
    jxl()  # registers it
    exact, near = [], []
    for path in tqdm(pictures, desc="pictures", unit=""):
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        image.info.clear()
        if middle:
            image = crop_middle(image, middle)
        pixels = np.asarray(image)

        def bpp(data: bytes, size: tuple[int, int] = image.size) -> float:
            return metrics.bpp(len(data), *size)

        exact.append(
            [
                bpp(save(image, "PNG", optimize=True)),
                bpp(save(image, "WEBP", lossless=True, method=6)),
                bpp(save(image, "JXL", lossless=True, effort=7)),
                bpp(aecodec.encode(image, lossless=True)),
            ]
        )
        peers = [save(image, "JXL", quality=quality, effort=7) for quality in _QUALITIES]
        curve = [(metrics.psnr(pixels, np.asarray(open_rgb(data))), bpp(data)) for data in peers]
        rows = []
        for bound in BOUNDS:
            data = aecodec.encode(image, near_lossless=bound)
            psnr = metrics.psnr(pixels, np.asarray(aecodec.decode(data)))
            rows.append((psnr, bpp(data), float(np.interp(psnr, *zip(*curve, strict=True), right=exact[-1][2]))))
        near.append(rows)
    print("| PNG, optimized | WebP, method 6 | JPEG XL, effort 7 | aecodec |\n|---|---|---|---|")
    print("| " + " | ".join(f"{mean:.3f}" for mean in np.mean(exact, 0)) + " |")
    print("\n| largest difference | PSNR | aecodec | JPEG XL at this PSNR | more bits |\n|---|---|---|---|---|")
    for bound, (psnr, ours, theirs) in zip(BOUNDS, np.mean(near, 0), strict=True):
        print(f"| {bound} | {psnr:.1f} dB | {ours:.3f} | {theirs:.3f} | {100 * (ours / theirs - 1):+.0f} % |")
