"""Rate and distortion of a run on pictures that it does not train on: estimated bits, 8-bit PSNR, beside JPEG."""

from __future__ import annotations

import csv
import io
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from aecodec import metrics
from aecodec.container import STRIDE
from aecodec.errors import InputError
from aecodec.image import crop_middle
from aecodec.prior import ANCHORS
from aecodec.train.data import list_pictures, read_pictures, read_pixels
from aecodec.train.objective import RateDistortion

SIDE = 512  # pixels: all anchors go through the network at once, which takes memory
EXACT = 60.0  # dB, at most: an exact picture (a blank page) would make the mean of all infinite
JPEG_QUALITIES = (5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)


class Validation:
    """Measures a model at every anchor on all pictures of a folder; keeps validation.csv and rd.png in `run`."""

    def __init__(self, folder: Path, run: Path, device: torch.device, *, quiet: bool = True) -> None:
        """Measures JPEG. Raises InputError for a picture that cannot be read."""
        self.run = run
        self.device = device
        self.quiet = quiet
        self.seconds = 0.0  # that the last measurement took
        pictures = read_pictures(list_pictures([folder]))
        self.pictures = [crop_middle(Image.fromarray(read_pixels(*picture)), SIDE) for picture in pictures]
        # [quality, (bpp, psnr, ms_ssim in dB)]
        bar = tqdm(self.pictures, desc="JPEG of the validation pictures", disable=quiet)
        self.jpeg = _mean([[_jpeg_point(image, quality) for quality in JPEG_QUALITIES] for image in bar])

    @torch.inference_mode()
    def measure(self, model: RateDistortion, step: int, seconds: float) -> float:
        """BD-rate in percent against JPEG over all pictures, nan where there is none yet.

        The curve goes to validation.csv and rd.png.
        """
        started = time.monotonic()
        was_training = model.training
        model.eval()
        # [ANCHORS, (bpp, z_bpp, psnr, ms_ssim in dB)]
        bar = tqdm(self.pictures, desc="validating...", leave=False, disable=self.quiet)
        curve = _mean([self._curve(model, image) for image in bar])
        model.train(was_training)
        try:
            if not np.isfinite(curve[:, :3]).all():
                raise InputError("the model yields no finite curve")
            bd_rate = metrics.bd_rate(*self.jpeg.T[:2].tolist(), *curve.T[[0, 2]].tolist())
        except InputError:  # a young model may share no quality with JPEG
            bd_rate = math.nan
        path = self.run / "validation.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "minutes", "bd_rate", "anchor", "bpp", "z_bpp", "psnr", "ms_ssim"])
            for anchor, point in enumerate(curve):
                row = [step, f"{seconds / 60:.1f}", f"{bd_rate:.2f}", anchor, *(f"{value:.4f}" for value in point)]
                writer.writerow(row)
        gain = "no quality in common with JPEG yet" if math.isnan(bd_rate) else f"{bd_rate:+.1f} % against JPEG"
        self._plot(curve, f"step {step}: {gain}")
        if not self.quiet:
            tqdm.write(f"step {step}, minute {seconds / 60:.1f}: {gain}", file=sys.stderr)
        self.seconds = time.monotonic() - started
        return bd_rate

    def _curve(self, model: RateDistortion, image: Image.Image) -> list[list[float]]:
        pixels = np.array(image)
        H, W, _ = pixels.shape
        x = torch.from_numpy(pixels).to(self.device).permute(2, 0, 1)[None].float() / 255
        x = F.pad(x, (0, -W % STRIDE, 0, -H % STRIDE), mode="replicate")
        share = x.shape[2] * x.shape[3] / (H * W)
        outcome = model(x.expand(ANCHORS, -1, -1, -1), torch.arange(float(ANCHORS), device=self.device))
        decoded = (255 * outcome.x_hat).round().to(torch.uint8).permute(0, 2, 3, 1)[:, :H, :W].cpu().numpy()
        rates = torch.stack((outcome.y_bpp + outcome.z_bpp, outcome.z_bpp), 1) * share
        return [rate + _quality(pixels, other) for rate, other in zip(rates.tolist(), decoded, strict=True)]

    def _plot(self, curve: NDArray[np.float64], title: str) -> None:
        from matplotlib.figure import Figure

        with (self.run / "validation.csv").open() as file:
            history = {float(row["minutes"]) / 60: float(row["bd_rate"]) for row in csv.DictReader(file)}
        figure = Figure(figsize=(11, 4.5), layout="constrained")
        rd, progress = figure.subplots(1, 2)
        rd.plot(self.jpeg[:, 0], self.jpeg[:, 1], "o-", label="JPEG (Pillow, 4:2:0)")
        rd.plot(curve[:, 0], curve[:, 2], "o-", label="aecodec (estimated bits)")
        rd.set(xlabel="bits per pixel", ylabel="PSNR, dB", title=title, xlim=(0, 2))
        rd.legend(loc="lower right")
        progress.plot(list(history), list(history.values()), "o-", color="C1")
        progress.set(xlabel="hours of training", ylabel="BD-rate against JPEG, %", title="validation pictures")
        for axes in (rd, progress):
            axes.grid(alpha=0.3)
        figure.savefig(self.run / "rd.png", dpi=110)


def _jpeg_point(image: Image.Image, quality: int) -> list[float]:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    with Image.open(file) as decoded:
        return [metrics.bpp(len(file.getvalue()), *image.size), *_quality(np.array(image), np.array(decoded))]


def _mean(points: list[list[list[float]]]) -> NDArray[np.float64]:
    """Mean over pictures; of MS-SSIM, the last column, over those that are large enough for it."""
    array = np.array(points)
    large = ~np.isnan(array[:, 0, -1])
    mean: NDArray[np.float64] = array.mean(0)
    if large.any():
        mean[:, -1] = array[large, :, -1].mean(0)
    return mean


def _quality(pixels: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> list[float]:
    """PSNR and MS-SSIM in dB; nan for MS-SSIM where the picture is too small for it."""
    large = min(pixels.shape[:2]) > metrics.MS_SSIM_MIN_SIDE
    similarity = metrics.ms_ssim_db(metrics.ms_ssim(pixels, decoded)) if large else math.nan
    return [min(value, EXACT) for value in (metrics.psnr(pixels, decoded), similarity)]
