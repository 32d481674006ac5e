"""The receiver in integers (docs/format.md, section 6): the same pixels on every machine, by the native library."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aecodec import _native
from aecodec.coding.symbols import Symbols
from aecodec.errors import InputError
from aecodec.format.container import STRIDE, Y_STRIDE, Box, Header
from aecodec.image import Pixels
from aecodec.networks.model import SYNTHESIS_HALO, Prediction
from aecodec.weights import Weights

_MEAN_PLACES, _STEP_PLACES = 8, 12
_LIMIT = 32767
_BAND = 1024  # rows of a picture that one call makes


class ExactReceiver:
    """Nothing changes after construction."""

    def __init__(self, weights: Weights) -> None:
        """Raises InputError for integers that do not fit each other, or could overflow."""
        self.M = weights.prior.M
        try:
            self.native = _native.Receiver(weights.receiver, weights.prior.N, self.M)
        except ValueError as error:
            raise InputError(f"weights hold no receiver: {error}") from error

    def render(self, symbols: Symbols, header: Header, area: Box, factor: int, threads: int) -> Pixels:
        """Pixels uint8 [h, w, 3] of an area of the picture, each the mean of factor x factor."""
        pixels = np.empty((*area.reduced(factor).shape, 3), np.uint8)
        padded, (z, y, window) = header.padded.shape[::-1], symbols[:3]
        for band in area.split(area.right - area.left, _BAND):  # one by one, so that Ctrl-C is heard
            rows, _ = band.reduced(factor).relative_to(area.reduced(factor)).cells(1)
            self.native.render(z, y, window, padded, header.level, band, factor, threads, pixels[rows])
        return pixels

    def predict(
        self, z: NDArray[np.int8], header: Header, code: Callable[[Tensor, Tensor], Tensor], seen: Box, threads: int = 1
    ) -> Prediction:
        """What Autoencoder.predict gives for a window of a picture with z_symbols [N, H/64, W/64].

        MEAN_HALO inside the window all depends on z up to SYNTHESIS_HALO around it; what is beyond need not be known.
        """
        region = needed_around(seen, header)
        padded, (height, width) = header.padded.shape[::-1], seen.reduced(Y_STRIDE).shape
        z = np.ascontiguousarray(z[:, *region.cells(STRIDE)])
        step, mean0, mean1 = (np.empty((self.M, height, width), np.int32) for _ in range(3))
        self.native.predict_first(z, region, padded, header.level, seen, threads, step, mean0)
        steps = torch.from_numpy(step)[None].float() / 2**_STEP_PLACES

        def symbols_of(mean: NDArray[np.int32]) -> Tensor:
            return code(torch.from_numpy(mean)[None].float() / 2**_MEAN_PLACES, steps)

        first = _first_half(self.M, height, width)
        value = (symbols_of(mean0)[0].numpy().astype(np.int64) * 2**_MEAN_PLACES + mean0) * step
        value = ((value + 128) >> 8).clip(1 - 2**31, 2**31 - 1)
        y0 = np.zeros((self.M, *region.reduced(Y_STRIDE).shape), np.int16)
        y0[:, *seen.relative_to(region).cells(Y_STRIDE)] = first * ((value + 32) >> 6).clip(-_LIMIT, _LIMIT)
        self.native.predict_second(z, y0, region, padded, header.level, seen, threads, mean1)
        mean = np.where(first, mean0, mean1)
        return Prediction(symbols_of(mean), torch.from_numpy(mean)[None].float() / 2**_MEAN_PLACES, steps)


def needed_around(area: Box, header: Header) -> Box:
    """What of the padded picture a decoder has to know to show an area."""
    return area.aligned(STRIDE).grown(SYNTHESIS_HALO, header.padded)


def _first_half(M: int, height: int, width: int) -> NDArray[np.bool_]:
    channel, row, column = np.ogrid[:M, :height, :width]
    half: NDArray[np.bool_] = (row + column) % 2 == (channel >= M // 2)
    return half
