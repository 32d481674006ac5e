"""Pixels to symbols by the native library: the networks of the encoder in floats, the prediction in integers."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from aecodec import _native
from aecodec.coding.prior import ANCHORS, anchor_position
from aecodec.coding.symbols import Costs, Symbols
from aecodec.decoder.exact import ExactReceiver, needed_around
from aecodec.encoder.analysis import Progress, Strips, gather
from aecodec.encoder.effort import Effort, curvature, error_weight
from aecodec.errors import InputError
from aecodec.forked import computed_once
from aecodec.format.container import STRIDE, Y_STRIDE, Box, Header
from aecodec.image import Pixels
from aecodec.networks.config import GRADIENT_HALO, HYPER_RECEPTIVE_FIELD, MEAN_HALO, ModelConfig
from aecodec.weights import Weights
from aecodec.workers import Workers

Built = TypeVar("Built")
_REFINED_WIDTH = 4096  # pixels that are refined side by side at once, so that memory is bounded


class NativeTransform:
    """A Transform without torch. Nothing changes after construction."""

    def __init__(self, weights: Weights, receiver: ExactReceiver, workers: Workers) -> None:
        self.weights = weights
        self.config = ModelConfig.from_dict(weights.config)
        self.receiver = receiver
        self.workers = workers
        self.costs = Costs(weights.tables)

    @computed_once
    def analysis(self) -> _native.Analysis:
        """The networks, which only an encoder needs. Raises InputError for weights that do not fit each other."""
        return self._built(_native.Analysis, ("g_a.", "h_a."))

    @computed_once
    def gradient(self) -> _native.Gradient:
        """The renderer and its gradient. Raises as analysis."""
        return self._built(_native.Gradient, ("g_s.",))

    def _built(self, kind: Callable[[dict[str, NDArray[np.float32]]], Built], prefixes: tuple[str, ...]) -> Built:
        network = self.weights.network
        try:
            return kind({name: network[name].astype(np.float32) for name in network if name.startswith(prefixes)})
        except ValueError as error:
            raise InputError(f"weights do not fit their configuration: {error}") from error

    def analyze(self, pixels: Pixels, strip: Box, header: Header) -> NDArray[np.float32]:
        """As Transform."""
        y = np.empty((*strip.reduced(Y_STRIDE).shape, self.receiver.M), np.float32)
        self.analysis.analyze(pixels, header.level, strip, self.workers.count, y)
        return y

    def hyper_analyze(self, y: Strips, strip: Box, header: Header) -> NDArray[np.int8]:
        """As Transform."""
        region = strip.grown(HYPER_RECEPTIVE_FIELD, header.padded)
        z_symbols = np.empty((self.weights.prior.N, *strip.reduced(STRIDE).shape), np.int8)
        padded, threads = header.padded.shape[::-1], self.workers.count
        seen = np.ascontiguousarray(gather(y, region))
        self.analysis.hyper_analyze(seen, region, padded, header.level, strip, threads, z_symbols)
        return z_symbols

    def quantize(self, y: Strips, strip: Box, header: Header, symbols: Symbols, effort: Effort) -> NDArray[np.int16]:
        """As Transform."""
        y_symbols = np.empty((self.receiver.M, *strip.reduced(Y_STRIDE).shape), np.int16)
        seen = strip.grown(MEAN_HALO, header.padded)
        self._quantize(np.ascontiguousarray(gather(y, seen)), seen, strip, header, symbols, effort, y_symbols)
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
        """As Transform."""
        refined = np.empty_like(y[strip])
        for part in strip.split(_REFINED_WIDTH, strip.bottom - strip.top):
            share = math.prod(part.shape) / math.prod(header.padded.shape) / len(effort.rates)
            stepped = partial(progress, share)
            there = part.relative_to(strip).cells(Y_STRIDE)
            refined[there] = self._refine(pixels, y, part, header, symbols, effort, stepped)
        return refined

    def _refine(
        self,
        pixels: Pixels,
        y: Strips,
        part: Box,
        header: Header,
        symbols: Symbols,
        effort: Effort,
        stepped: Callable[[], None],
    ) -> NDArray[np.float32]:
        seen = part.grown(GRADIENT_HALO, header.padded)
        around = seen.grown(MEAN_HALO, header.padded)
        moving = np.array(gather(y, around))
        core, window = (box.relative_to(around).cells(Y_STRIDE) for box in (part, seen))
        shape = (self.receiver.M, *seen.reduced(Y_STRIDE).shape)
        y_symbols, step, mean = np.empty(shape, np.int16), np.empty(shape, np.int32), np.empty(shape, np.int32)
        refined = np.empty((*part.reduced(Y_STRIDE).shape, self.receiver.M), np.float32)
        for rate in effort.rates:
            self._quantize(moving, around, seen, header, symbols, effort, y_symbols, step, mean)
            self.gradient.move(
                pixels=pixels,
                y=np.ascontiguousarray(moving[window]),
                symbols=y_symbols,
                step=step,
                mean=mean,
                window=seen,
                index=symbols.known_index,
                bits=self.costs.bits,
                error=error_weight(self.config, header.level),
                rate=rate,
                curvature=curvature(self.config, header.level),
                level=header.level,
                area=part,
                threads=self.workers.count,
                out=refined,
            )
            moving[core] = refined
            stepped()
        return refined

    def _quantize(
        self,
        y: NDArray[np.float32],
        y_window: Box,
        area: Box,
        header: Header,
        symbols: Symbols,
        effort: Effort,
        out: NDArray[np.int16],
        step: NDArray[np.int32] | None = None,
        mean: NDArray[np.int32] | None = None,
    ) -> None:
        """Symbols of an area, and if asked for steps and means, from y [h/16, w/16, M] of a window."""
        known = needed_around(area, header)
        self.receiver.native.quantize(
            np.ascontiguousarray(symbols.z[:, *known.cells(STRIDE)]),
            known,
            y,
            y_window,
            symbols.known_index,
            self.costs.dead_zone(effort.dead_zone),
            header.padded.shape[::-1],
            header.level,
            area,
            self.workers.count,
            out,
            step,
            mean,
        )

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
