"""y by a few gradients through the renderer, natively: refinement that an encoder without torch can afford.

Each gradient is that of the picture that would be coded now, so it knows how all rounding errors meet in the pixels.
From there a Newton step leads to a better y_hat: one with a curvature that is the same for all symbols, since trained
steps are those at which errors of all symbols are worth about the same. y goes a part of that way, a smaller one from
step to step, because whatever lies in the same pixels moves at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from aecodec import _native
from aecodec.coding.prior import anchor_position
from aecodec.coding.symbols import Costs, Symbols
from aecodec.decoder.exact import ExactReceiver, needed_around
from aecodec.encoder.analysis import Strips, gather
from aecodec.encoder.effort import ERROR_WORTH
from aecodec.errors import InputError
from aecodec.forked import computed_once
from aecodec.format.container import STRIDE, Y_STRIDE, Box, Header
from aecodec.image import Pixels
from aecodec.networks.config import BODY_HALO, MEAN_HALO, ModelConfig
from aecodec.weights import Weights
from aecodec.workers import Workers

CURVATURE = 15.0  # bits per squared quantization step; at high rates that is 12 / ln 2
GRADIENT_HALO = 2 * BODY_HALO  # pixels around an area of y that its gradient depends on


class GradientRefiner:
    """Nothing changes after construction."""

    def __init__(self, weights: Weights, receiver: ExactReceiver, workers: Workers) -> None:
        self.weights = weights
        self.config = ModelConfig.from_dict(weights.config)
        self.receiver = receiver
        self.workers = workers
        self.costs = Costs(weights.tables)
        self.bits = np.ascontiguousarray(self.costs.bits, np.float32)

    @computed_once
    def native(self) -> _native.Gradient:
        """The renderer and its gradient. Raises InputError for weights that do not fit each other."""
        arrays = {
            name: array.astype(np.float32) for name, array in self.weights.network.items() if name.startswith("g_s.")
        }
        try:
            return _native.Gradient(arrays)
        except ValueError as error:
            raise InputError(f"weights do not fit their configuration: {error}") from error

    def refine(
        self,
        pixels: Pixels,
        y: Strips,
        strip: Box,
        header: Header,
        symbols: Symbols,
        rates: Sequence[float],
        dead_zone: float,
        stepped: Callable[[], None],
    ) -> NDArray[np.float32]:
        """y [h/16, w/16, M] of a strip after a step for each of the rates (0..1), while what is around it stays.

        y must hold what is GRADIENT_HALO + MEAN_HALO around the strip, and symbols z of what a decoder needs for that.
        dead_zone is that of Effort; stepped is called at every step.
        """
        seen = strip.grown(GRADIENT_HALO, header.padded)
        around = seen.grown(MEAN_HALO, header.padded)
        known = needed_around(seen, header)
        z = np.ascontiguousarray(symbols.z[:, *known.cells(STRIDE)])
        moving = np.array(gather(y, around))
        core, window = (box.relative_to(around).cells(Y_STRIDE) for box in (strip, seen))
        refined = np.empty_like(y[strip])
        shape = (self.receiver.M, *seen.reduced(Y_STRIDE).shape)
        y_symbols, step, mean = np.empty(shape, np.int16), np.empty(shape, np.int32), np.empty(shape, np.int32)
        error = ERROR_WORTH * self.config.lmbda(anchor_position(header.level)) * 255**2 / 3
        pixels, padded = np.ascontiguousarray(pixels), header.padded.shape[::-1]
        dead, threads = self.costs.dead_zone(dead_zone), self.workers.count
        for rate in rates:
            self.receiver.native.quantize(
                z,
                known,
                moving,
                around,
                symbols.known_index,
                dead,
                padded,
                header.level,
                seen,
                threads,
                y_symbols,
                step,
                mean,
            )
            self.native.move(
                pixels,
                np.ascontiguousarray(moving[window]),
                y_symbols,
                step,
                mean,
                seen,
                symbols.known_index,
                self.bits,
                error,
                rate,
                CURVATURE,
                header.level,
                strip,
                threads,
                refined,
            )
            moving[core] = refined
            stepped()
        return refined
