"""Whether the quality scale behaves: more quality is more bytes and more PSNR, on every picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

import aecodec
from aecodec import metrics

QUALITIES = (1, *range(5, 101, 5))


def run(pictures: list[Path], device: str) -> bool:
    """Print range and linearity of the scale and every place where it does not rise; whether it rises everywhere."""
    codec = aecodec.Codec.load(device=device)
    curves = np.zeros((len(pictures), len(QUALITIES), 3))  # bytes, bpp, psnr
    for row, path in enumerate(tqdm(pictures, desc="pictures", unit="")):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        for column, quality in enumerate(QUALITIES):
            data = codec.encode(pixels, quality=quality)
            psnr = metrics.psnr(pixels, np.asarray(codec.decode(data).convert("RGB")))
            curves[row, column] = len(data), metrics.bpp(len(data), pixels.shape[1], pixels.shape[0]), psnr
    falls = 0
    for name, figure in (("bytes", 0), ("PSNR", 2)):
        for row, column in np.argwhere(np.diff(curves[:, :, figure], axis=1) <= 0):
            falls += 1
            low, high = QUALITIES[column], QUALITIES[column + 1]
            before, after = curves[row, column : column + 2, figure]
            print(f"{pictures[row].name}: {name} from quality {low} to {high}: {before:.6g} to {after:.6g}")
    mean = curves.mean(0)
    slope, offset = np.polyfit(QUALITIES, mean[:, 2], 1)
    error = np.abs(slope * np.array(QUALITIES) + offset - mean[:, 2]).max()
    print(f"{len(pictures)} pictures, {len(QUALITIES)} qualities: {falls} places where bytes or PSNR do not rise")
    for quality, (_, rate, psnr) in zip((QUALITIES[0], QUALITIES[-1]), (mean[0], mean[-1]), strict=True):
        print(f"quality {quality}: {rate:.3f} bpp, {psnr:.2f} dB")
    print(f"PSNR is {offset:.2f} + {slope:.4f} * quality within {error:.2f} dB")
    return falls == 0
