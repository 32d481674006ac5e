"""The receiver in integers (docs/format.md, section 6): the same pixels on every machine, by the native library."""

from __future__ import annotations

import numpy as np

from aecodec import _native
from aecodec.coding.symbols import Symbols
from aecodec.errors import InputError
from aecodec.format.container import STRIDE, Box, Header
from aecodec.image import Pixels
from aecodec.networks.config import SYNTHESIS_HALO
from aecodec.weights import Weights
from aecodec.workers import Workers

_BAND = 1024, 256  # rows of a picture that one call makes: at most, and of the widest
_BAND_PIXELS = 1 << 23


class ExactReceiver:
    """Nothing changes after construction."""

    def __init__(self, weights: Weights, workers: Workers) -> None:
        """Raises InputError for integers that do not fit each other, or could overflow."""
        self.workers = workers
        self.M = weights.prior.M
        try:
            self.native = _native.Receiver(weights.receiver, weights.prior.N, self.M)
        except ValueError as error:
            raise InputError(f"weights hold no receiver: {error}") from error

    def synthesize(self, symbols: Symbols, header: Header, area: Box, factor: int = 1) -> Pixels:
        """Pixels uint8 [h, w, 3] of an area of the picture, each the mean of factor x factor."""
        pixels = np.empty((*area.reduced(factor).shape, 3), np.uint8)
        padded, threads, (z, y, window) = header.padded.shape[::-1], self.workers.count, symbols[:3]
        rows = max(min(_BAND_PIXELS // (area.right - area.left) // STRIDE * STRIDE, _BAND[0]), _BAND[1])
        for band in area.split(area.right - area.left, rows):  # one by one, so that Ctrl-C is heard
            shown, _ = band.reduced(factor).relative_to(area.reduced(factor)).cells(1)
            self.native.render(z, y, window, padded, header.level, band, factor, threads, pixels[shown])
        return pixels


def needed_around(area: Box, header: Header) -> Box:
    """What of the padded picture a decoder has to know to show an area."""
    return area.aligned(STRIDE).grown(SYNTHESIS_HALO, header.padded)
