"""Quality and rate of reconstructions: psnr, ms_ssim, bpp and bd_rate."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from aecodec.device import needing
from aecodec.errors import InputError

MS_SSIM_MIN_SIDE = 160  # both sides must be larger: the window on the coarsest scale
_MS_SSIM_WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])  # Wang et al. 2003, section 3.2
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # Wang et al. 2004, section III
_WINDOW = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
_WINDOW /= _WINDOW.sum()
_BAND = 64  # rows or columns at once, so that memory stays small
_MIDDLE = np.float32(128)


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 pictures of one shape, over all channels; inf where equal."""
    _check_pair(a, b)
    bands = (slice(top, top + _BAND) for top in range(0, len(a), _BAND))
    total = sum(int(np.square(a[rows].astype(np.int32) - b[rows]).sum(dtype=np.int64)) for rows in bands)
    mse = total / a.size
    return float("inf") if mse == 0 else 10 * float(np.log10(255**2 / mse))


def ms_ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Multi-scale structural similarity (Wang et al. 2003) of two uint8 pictures [H, W] or [H, W, C]: at most 1.

    Mean over channels. Both sides must exceed MS_SSIM_MIN_SIDE, since the coarsest of the 5 scales needs its window.
    """
    _check_pair(a, b)
    if a.ndim > 3:
        raise InputError(f"pictures must be [H, W] or [H, W, C], got {a.shape}")
    if min(a.shape[:2]) <= MS_SSIM_MIN_SIDE:
        raise InputError(f"ms_ssim needs sides above {MS_SSIM_MIN_SIDE} pixels, got {a.shape[1]}x{a.shape[0]}")
    x: NDArray[np.generic]
    y: NDArray[np.generic]
    x, y = (np.atleast_3d(picture).transpose(2, 0, 1) for picture in (a, b))
    result = np.ones(len(x))
    last = len(_MS_SSIM_WEIGHTS) - 1
    for scale, weight in enumerate(_MS_SSIM_WEIGHTS):
        similarity, contrast = _mean_terms(x, y)
        result *= np.maximum(similarity if scale == last else contrast, 0) ** weight
        x, y = _halve(x), _halve(y)
    return float(result.mean())


def ms_ssim_db(value: float) -> float:
    """MS-SSIM as -10 log10(1 - value) in dB, the scale on which differences near 1 can be seen."""
    return float("inf") if value >= 1 else -10 * float(np.log10(1 - value))


def bpp(size_bytes: int, width: int, height: int) -> float:
    """Bits per pixel of a whole file."""
    return 8 * size_bytes / (width * height)


def bd_rate(
    anchor_bpp: Sequence[float],
    anchor_psnr: Sequence[float],
    test_bpp: Sequence[float],
    test_psnr: Sequence[float],
    *,
    between: tuple[float, float] | None = None,
) -> float:
    """Bjontegaard delta rate in percent: mean rate difference at equal quality; negative means fewer bits than anchor.

    Mean of log-rate over a range of quality, each curve interpolated by pchip (Bjontegaard 2001; pchip as in the JVT
    common test conditions). The range is what both curves share, or what lies between two qualities in dB: only results
    over one range can be compared. Raises InputError where a curve is none or does not cover the range.
    """
    with needing("scipy", "bench"):
        from scipy.interpolate import PchipInterpolator  # half a second that a codec does not need

    curves = []
    for rate, quality in ((anchor_bpp, anchor_psnr), (test_bpp, test_psnr)):
        order = np.argsort(quality)
        curves.append((np.asarray(quality, np.float64)[order], np.log(np.asarray(rate, np.float64)[order])))
        if len(order) < 2 or not np.all(np.diff(curves[-1][0]) > 0):
            raise InputError("a curve needs two or more points of different quality")
    shared = max(quality[0] for quality, _ in curves), min(quality[-1] for quality, _ in curves)
    low, high = between or shared
    if not low < high:
        raise InputError(f"there is no quality range: {low:.2f} dB is not below {high:.2f} dB")
    if low < shared[0] or high > shared[1]:
        raise InputError(f"the curves share {shared[0]:.2f} to {shared[1]:.2f} dB, not {low:.2f} to {high:.2f} dB")
    anchor, test = (float(PchipInterpolator(q, r).integrate(low, high)) / (high - low) for q, r in curves)
    return 100 * float(np.expm1(test - anchor))


def _check_pair(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> None:
    if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
        raise InputError(f"pictures must be uint8 arrays, got {type(a).__name__} and {type(b).__name__}")
    if a.shape != b.shape:
        raise InputError(f"pictures differ in shape: {a.shape} and {b.shape}")
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        raise InputError(f"pictures must be uint8, got {a.dtype} and {b.dtype}")
    if a.ndim < 2 or not a.size:
        raise InputError(f"pictures must be [H, W] or [H, W, C], got {a.shape}")


def _mean_terms(x: NDArray[np.generic], y: NDArray[np.generic]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means over the picture, per channel, of luminance times contrast and of contrast; band by band."""
    C, H, W = x.shape
    inside = H - len(_WINDOW) + 1  # rows where the window fits
    sums = np.zeros((2, C))
    for top in range(0, inside, _BAND):
        rows = slice(top, min(top + _BAND, inside) + len(_WINDOW) - 1)
        luminance, contrast = _ssim_terms(_centered(x[:, rows]), _centered(y[:, rows]))
        sums += (luminance * contrast).sum((1, 2), dtype=np.float64), contrast.sum((1, 2), dtype=np.float64)
    means = sums / (inside * (W - len(_WINDOW) + 1))
    return means[0], means[1]


def _centered(planes: NDArray[np.generic]) -> NDArray[np.float32]:
    """Around 0, where squares lose the least."""
    centered: NDArray[np.float32] = np.subtract(planes, _MIDDLE, dtype=np.float32, order="C")
    return centered


def _ssim_terms(x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    mean_x, mean_y, squares, product = _blur(np.stack((x, y, x * x + y * y, x * y)))
    variances = squares - (mean_x**2 + mean_y**2)
    covariance = product - mean_x * mean_y
    mean_x, mean_y = mean_x + _MIDDLE, mean_y + _MIDDLE
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return luminance, (2 * covariance + _C2) / (variances + _C2)


def _blur(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """[..., h, w] under the window in both directions, where it fits: products with banded matrices."""
    rows = _window_matrix(planes.shape[-2] - len(_WINDOW) + 1) @ planes
    width = rows.shape[-1] - len(_WINDOW) + 1
    lines = rows.reshape(-1, rows.shape[-1])
    blurred = np.empty((len(lines), width), np.float32)
    for left in range(0, width, _BAND):
        right = min(left + _BAND, width)
        matrix = _window_matrix(right - left)
        blurred[:, left:right] = lines[:, left : right + len(_WINDOW) - 1] @ matrix.T
    return blurred.reshape(*rows.shape[:-1], width)


@cache
def _window_matrix(size: int) -> NDArray[np.float32]:
    """[size, size + 10]: row i weighs the positions i..i + 10."""
    matrix = np.zeros((size, size + len(_WINDOW) - 1), np.float32)
    for offset, weight in enumerate(_WINDOW):
        matrix[np.arange(size), np.arange(size) + offset] = weight
    return matrix


def _halve(x: NDArray[np.generic]) -> NDArray[np.float32]:
    """Mean of 2x2 blocks; an odd side is padded with zeros, as the published PyTorch implementations do."""
    _, H, W = x.shape
    padded = np.pad(x, ((0, 0), (H % 2, 0), (W % 2, 0)))
    rows = np.add(padded[:, ::2], padded[:, 1::2], dtype=np.float32)
    halved: NDArray[np.float32] = (rows[:, :, ::2] + rows[:, :, 1::2]) / 4
    return halved
