"""Pixels to symbols by the native library: the networks of the encoder in floats, the prediction in integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from aecodec import _native
from aecodec.coding.prior import ANCHORS, anchor_position
from aecodec.coding.symbols import Costs, Symbols
from aecodec.decoder.exact import ExactReceiver, needed_around
from aecodec.encoder.analysis import Progress, Strips, Transform, gather
from aecodec.encoder.effort import Effort
from aecodec.errors import InputError
from aecodec.forked import computed_once
from aecodec.format.container import STRIDE, Y_STRIDE, Box, Header
from aecodec.image import Pixels
from aecodec.networks.config import HYPER_RECEPTIVE_FIELD, MEAN_HALO
from aecodec.weights import Weights
from aecodec.workers import Workers


class NativeTransform:
    """A Transform without torch but for refinement. Nothing changes after construction."""

    def __init__(
        self, weights: Weights, receiver: ExactReceiver, workers: Workers, refiner: Callable[[], Transform]
    ) -> None:
        self.weights = weights
        self.receiver = receiver
        self.workers = workers
        self.refiner = refiner
        self.costs = Costs(weights.tables)

    @computed_once
    def native(self) -> _native.Analysis:
        """The networks, which only an encoder needs. Raises InputError for weights that do not fit each other."""
        arrays = {
            name: array.astype(np.float32)
            for name, array in self.weights.network.items()
            if name.startswith(("g_a.", "h_a."))
        }
        try:
            return _native.Analysis(arrays)
        except ValueError as error:
            raise InputError(f"weights do not fit their configuration: {error}") from error

    def analyze(self, pixels: Pixels, strip: Box, header: Header) -> NDArray[np.float32]:
        """As Transform."""
        y = np.empty((*strip.reduced(Y_STRIDE).shape, self.receiver.M), np.float32)
        self.native.analyze(np.ascontiguousarray(pixels), header.level, strip, self.workers.count, y)
        return y

    def hyper_analyze(self, y: Strips, strip: Box, header: Header) -> NDArray[np.int8]:
        """As Transform."""
        region = strip.grown(HYPER_RECEPTIVE_FIELD, header.padded)
        z_symbols = np.empty((self.weights.prior.N, *strip.reduced(STRIDE).shape), np.int8)
        padded, threads = header.padded.shape[::-1], self.workers.count
        seen = np.ascontiguousarray(gather(y, region))
        self.native.hyper_analyze(seen, region, padded, header.level, strip, threads, z_symbols)
        return z_symbols

    def quantize(self, y: Strips, strip: Box, header: Header, symbols: Symbols, effort: Effort) -> NDArray[np.int16]:
        """As Transform."""
        seen, known = strip.grown(MEAN_HALO, header.padded), needed_around(strip, header)
        y_symbols = np.empty((self.receiver.M, *strip.reduced(Y_STRIDE).shape), np.int16)
        self.receiver.native.quantize(
            np.ascontiguousarray(symbols.z[:, *known.cells(STRIDE)]),
            known,
            np.ascontiguousarray(gather(y, seen)),
            seen,
            symbols.known_index,
            self.costs.dead_zone(effort.dead_zone),
            header.padded.shape[::-1],
            header.level,
            strip,
            self.workers.count,
            y_symbols,
        )
        return y_symbols

    def refine(
        self,
        pixels: Pixels,
        y: Strips,
        strip: Box,
        header: Header,
        symbols: Symbols,
        effort: Effort,
        progress: Progress,
    ) -> NDArray[np.float32]:
        """As Transform, by torch. Raises InputError without it."""
        return self.refiner().refine(pixels, y, strip, header, symbols, effort, progress)

    def gain_ratio(self, here: int, there: int) -> NDArray[np.float32]:
        """As Transform."""
        log_gain = self.weights.network["g_a.y_gain.log_gain"].astype(np.float64)
        logs = [_at_level(log_gain, level) for level in (here, there)]
        ratio: NDArray[np.float32] = np.exp(logs[0] - logs[1]).astype(np.float32)
        return ratio


def _at_level(anchors: NDArray[np.float64], level: int) -> NDArray[np.float64]:
    """[C] at a level, of values [ANCHORS, C]."""
    place = anchor_position(level)
    low = min(int(place), ANCHORS - 2)
    values: NDArray[np.float64] = anchors[low] + (place - low) * (anchors[low + 1] - anchors[low])
    return values
