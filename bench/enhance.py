"""How well noise goes and pictures grow, beside non-local means and bicubic enlargement."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aecodec import Codec, metrics
from aecodec.image import crop_middle
from aecodec.tasks import Denoiser, Enlarger
from bench.rd import pictures_in

_SEED = 1
_STRENGTHS = (0.6, 0.8)  # of non-local means, in deviations of the noise: what scikit-image's examples take
_QUALITIES = (100, 90)  # of noisy files
_CURVE = (30, 45, 60, 75, 90)  # qualities between which rates are compared
# CBM3D on the 24 Kodak pictures, noise not clipped, by Zhang et al. 2018 (FFDNet, arXiv 1710.04026, table on color).
_PUBLISHED = {15.0: 34.28, 25.0: 31.68, 50.0: 28.46}

Array = NDArray[np.uint8]


def read(places: Sequence[Path], middle: int | None) -> Iterator[Array]:
    """Pictures of files and folders, RGB, with even sides."""
    for path in [path for place in places for path in (pictures_in(place) if place.is_dir() else [place])]:
        with Image.open(path) as file:
            image = file.convert("RGB")
        if middle:
            image = crop_middle(image, middle)
        yield np.asarray(image.crop((0, 0, image.width // 2 * 2, image.height // 2 * 2)))


def noisy(x: Array, sigma: float, rng: np.random.Generator) -> Array:
    """As a file of 8 bits has it."""
    levels: Array = np.clip(np.round(x + sigma * rng.standard_normal(x.shape)), 0, 255).astype(np.uint8)
    return levels


def nonlocal_means(x: Array, sigma: float, strength: float) -> Array:
    from skimage.restoration import denoise_nl_means  # for this alone

    made = denoise_nl_means(
        x / 255,
        h=strength * sigma / 255,
        sigma=sigma / 255,
        fast_mode=True,
        patch_size=5,
        patch_distance=6,
        channel_axis=-1 if x.ndim == 3 else None,
    )
    levels: Array = np.clip(np.round(255 * made), 0, 255).astype(np.uint8)
    return levels


def denoising(places: Sequence[Path], middle: int | None, sigmas: Sequence[float], picture: Path | None) -> None:
    """Print both tables; picture: a file for what becomes of the first picture, with noise of the middle sigma."""
    codec = Codec.load("m", "cpu", threads=len(os.sched_getaffinity(0)))
    denoiser = Denoiser(codec)
    pictures = list(read(places, middle))
    rng = np.random.default_rng(_SEED)
    if picture:
        sigma = sigmas[len(sigmas) // 2]
        seen = noisy(pictures[0], sigma, rng)
        _side_by_side([seen, _clean(denoiser, seen, None), nonlocal_means(seen, sigma, _STRENGTHS[0])], picture)
        return
    print(f"PSNR in dB, mean of {len(pictures)} pictures{f', {middle}x{middle} at most' if middle else ''}")
    files = [f"from a file, quality {quality} | bpp" for quality in _QUALITIES]
    head = ["", "sigma", "noisy", "ours, before coding", "sigma found", *files, "non-local means", "CBM3D, published"]
    print(f"| {' | '.join(head)} |")
    print("|---|" + "---|" * (len(head) + len(files) - 1))
    for kind in ("gray", "color"):
        for sigma in sigmas:
            rows = []
            for picture in pictures:
                x = picture if kind == "color" else np.asarray(Image.fromarray(picture).convert("L"))
                seen = noisy(x, sigma, rng)
                row = [metrics.psnr(x, seen), metrics.psnr(x, _clean(denoiser, seen, sigma))]
                row += [denoiser.clean(seen)[1]]
                for quality in _QUALITIES:
                    data = codec.encode(seen, quality=quality)
                    row += [metrics.psnr(x, np.asarray(denoiser.decode(data, sigma).image)), _bpp(data, x)]
                row += [metrics.psnr(x, nonlocal_means(seen, sigma, strength)) for strength in _STRENGTHS]
                rows.append(row)
            means = np.mean(rows, 0)
            best = means[-len(_STRENGTHS) :].max()
            published = f"{_PUBLISHED[sigma]:.2f}" if kind == "color" and sigma in _PUBLISHED else ""
            cells = [*(f"{value:.2f}" for value in (*means[: -len(_STRENGTHS)], best)), published]
            print(f"| {kind} | {sigma:g} | {' | '.join(cells)} |", flush=True)
    _saving(codec, denoiser, pictures, sigmas)


def _saving(codec: Codec, denoiser: Denoiser, pictures: Sequence[Array], sigmas: Sequence[float]) -> None:
    """Print what cleaning before coding saves, where both files are as near to the picture without noise."""
    rng = np.random.default_rng(_SEED)
    print("\n| sigma | PSNR | bpp, noise coded | bpp, cleaned before | saved |\n|---|---|---|---|---|")
    for sigma in sigmas:
        rows = []
        for x in pictures:
            seen = noisy(x, sigma, rng)
            curves = []
            for source in (seen, _clean(denoiser, seen, None)):
                files = [codec.encode(source, quality=quality) for quality in _CURVE]
                curves.append([(metrics.psnr(x, np.asarray(codec.decode(data))), _bpp(data, x)) for data in files])
            best, bpp = max(curves[0])
            clean = sorted(curves[1])
            reached = [psnr for psnr, _ in clean]
            rows.append([best, bpp, np.interp(best, reached, [rate for _, rate in clean])])
        best, bpp, cleaned = np.mean(rows, 0)
        print(f"| {sigma:g} | {best:.2f} | {bpp:.3f} | {cleaned:.3f} | {100 * (1 - cleaned / bpp):.0f} % |", flush=True)


def enlarging(places: Sequence[Path], middle: int | None, qualities: Sequence[float], picture: Path | None) -> None:
    """Print the table; picture: a file for what becomes of the first picture at the first quality."""
    codec = Codec.load("m", "cpu", threads=len(os.sched_getaffinity(0)))
    enlarger = Enlarger(codec)
    pictures = list(read(places, middle))
    if picture:
        _side_by_side([*_enlarged(codec, enlarger, pictures[0], qualities[0])[1][1::-1], pictures[0]], picture)
        return
    print(f"PSNR in dB, mean of {len(pictures)} pictures{f', {middle}x{middle} at most' if middle else ''}")
    print(
        "| quality | bpp | ours | bicubic of the decoded picture | bicubic of the original | "
        "least above that of the decoded | least above that of the original |\n|---|---|---|---|---|---|---|"
    )
    for quality in qualities:
        rows = []
        for x in pictures:
            rate, made = _enlarged(codec, enlarger, x, quality)
            rows.append([rate, *(metrics.psnr(x, one) for one in made)])
        table = np.array(rows)
        cells = [*table.mean(0), (table[:, 1] - table[:, 2]).min(), (table[:, 1] - table[:, 3]).min()]
        print(f"| {quality:g} | {' | '.join(f'{cell:.2f}' for cell in cells)} |", flush=True)


def _enlarged(codec: Codec, enlarger: Enlarger, x: Array, quality: float) -> tuple[float, list[Array]]:
    """Bits per pixel of the file, and ours, bicubic of the decoded picture and bicubic of what was coded."""
    size = x.shape[1], x.shape[0]
    small = Image.fromarray(x).resize((size[0] // 2, size[1] // 2), Image.Resampling.BICUBIC)
    data = codec.encode(small, quality=quality)
    cubic = [one.resize(size, Image.Resampling.BICUBIC) for one in (codec.decode(data), small)]
    return _bpp(data, np.asarray(small)), [np.asarray(one) for one in (enlarger.decode(data), *cubic)]


def _side_by_side(parts: Sequence[Array], path: Path) -> None:
    Image.fromarray(np.concatenate(parts, 1)).save(path, quality=88)


def _clean(denoiser: Denoiser, x: Array, sigma: float | None) -> Array:
    pixels = denoiser.clean(x, sigma)[0].pixels
    return pixels if x.ndim == 3 else pixels[:, :, 0]


def _bpp(data: bytes, x: Array) -> float:
    return metrics.bpp(len(data), x.shape[1], x.shape[0])
