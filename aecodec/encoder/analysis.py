"""Pixels to symbols, strip by strip. Nothing here is normative: another encoder may do otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aecodec.coding.prior import Prior
from aecodec.coding.symbols import Symbols
from aecodec.encoder.effort import PLAIN, Effort
from aecodec.format.container import MAX_LEVEL, STRIDE, Y_STRIDE, Box, Header
from aecodec.image import Pixels
from aecodec.networks.config import GRADIENT_HALO, SYNTHESIS_HALO

Strips: TypeAlias = "dict[Box, NDArray[np.float32]]"  # y [h/16, W/16, M] of strips of a picture
_STRIP_PIXELS = 1 << 22  # at most, as far as strips may be as low
_LOWEST = GRADIENT_HALO + STRIDE + SYNTHESIS_HALO  # height of a strip: no stage looks beyond the next one
Progress = Callable[[float], None]  # gets what was done since the last call, as a share of one encode


class Transform(Protocol):
    """The encoder's half of a model: NativeTransform, or FloatTransform by torch."""

    def analyze(self, pixels: Pixels, strip: Box, header: Header) -> NDArray[np.float32]:
        """y [h/16, w/16, M] of a strip of a picture [H, W, 3]."""

    def hyper_analyze(self, y: Strips, strip: Box, header: Header) -> NDArray[np.int8]:
        """z_symbols [N, h/64, w/64] of a strip, from y of its neighbors as well."""

    def quantize(self, y: Strips, strip: Box, header: Header, symbols: Symbols, effort: Effort) -> NDArray[np.int16]:
        """y_symbols [M, h/16, w/16] of a strip: y in units of its step, less the predicted mean."""

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
        """y of a strip after the gradients of an effort, while what is around it stays."""

    def gain_ratio(self, here: int, there: int) -> NDArray[np.float32]:
        """[M]: what y of the level `there` is multiplied with to be that of the level `here`."""


class CachedAnalysis(NamedTuple):
    """y of a whole picture, to be quantized for several levels."""

    y: NDArray[np.float16]  # [H/16, W/16, M]
    level: int  # that it was made for

    def serves(self, level: int) -> bool:
        """Whether files hardly differ from those of y that is made for a level: on average by half a percent."""
        return -1000 <= level - self.level <= 700


class Analyzer:
    """The encoder of one model. Nothing changes after construction."""

    def __init__(self, transform: Transform, prior: Prior, strip: int = 512) -> None:
        """strip: height of what is worked on at once, in pixels, a multiple of 64; it is lower in wide pictures."""
        self.transform = transform
        self.prior = prior
        self.strip = strip

    def analyze(
        self, pixels: Pixels, header: Header, effort: Effort = PLAIN, progress: Progress | None = None
    ) -> Symbols:
        """The coded integers of a picture [H, W, 3]."""
        pixels = np.ascontiguousarray(pixels)  # once, and not for every strip

        def y_of(strip: Box) -> NDArray[np.float32]:
            return self.transform.analyze(pixels, strip, header)

        return self._code(y_of, pixels, header, effort, progress)

    def analyze_once(self, pixels: Pixels, header: Header) -> CachedAnalysis:
        """y of a picture [H, W, 3] for the level of the header and those around it."""
        pixels = np.ascontiguousarray(pixels)
        level = min(header.level + 150, MAX_LEVEL)  # too fine costs less than too coarse
        header = dataclasses.replace(header, level=level)
        y = np.empty((*header.padded.reduced(Y_STRIDE).shape, self.prior.M), np.float16)
        for strip in self._strips(header):
            y[strip.cells(Y_STRIDE)] = self.transform.analyze(pixels, strip, header)
        return CachedAnalysis(y, level)

    def requantize(
        self,
        cached: CachedAnalysis,
        pixels: Pixels,
        header: Header,
        effort: Effort = PLAIN,
        progress: Progress | None = None,
    ) -> Symbols:
        """The coded integers for a level that y serves."""
        pixels = np.ascontiguousarray(pixels)
        ratio = self.transform.gain_ratio(header.level, cached.level)
        return self._code(lambda strip: cached.y[strip.cells(Y_STRIDE)] * ratio, pixels, header, effort, progress)

    def _code(
        self,
        y_of: Callable[[Box], NDArray[np.float32]],
        pixels: Pixels,
        header: Header,
        effort: Effort,
        progress: Progress | None,
    ) -> Symbols:
        """The coded integers of y, which y_of gives for one strip after the other.

        z is one strip behind y and y_symbols one behind z (with gradients between, two), because each looks at what
        it is made from a little above and below. So y stands in memory as floats for four strips (five), and no more.
        """
        symbols = Symbols.empty(self.prior, header.padded, indexed=True)
        y: Strips = {}

        def make(strip: Box) -> None:
            y[strip] = y_of(strip)

        def hyper_analyze(strip: Box) -> None:
            z_symbols = self.transform.hyper_analyze(y, strip, header)
            symbols.z[:, *strip.cells(STRIDE)] = z_symbols
            symbols.known_index[:, *strip.cells(Y_STRIDE)] = self.prior.table_index(z_symbols, header.level)

        def refine(strip: Box) -> None:
            y[strip] = self.transform.refine(pixels, y, strip, header, symbols, effort, progress or _ignore)

        def quantize(strip: Box) -> None:
            y_symbols = self.transform.quantize(y, strip, header, symbols, effort)
            symbols.y[:, *strip.cells(Y_STRIDE)] = y_symbols
            for passed in [other for other in y if other.bottom < strip.bottom]:
                del y[passed]

        stages = [make, hyper_analyze, *([refine] if effort.rates else []), quantize]
        strips = self._strips(header)
        for time in range(len(strips) + len(stages) - 1):
            for delay, stage in enumerate(stages):
                if 0 <= time - delay < len(strips):
                    stage(strips[time - delay])
        return symbols

    def _strips(self, header: Header) -> list[Box]:
        width = header.padded.right
        return header.padded.split(width, max(min(self.strip, _STRIP_PIXELS // width // STRIDE * STRIDE), _LOWEST))


def gather(y: Strips, region: Box) -> NDArray[np.float32]:
    """y [h/16, w/16, M] of a region, from the strips that it lies in."""
    shared = ((strip, strip.intersection(region)) for strip in y)
    parts = [y[strip][part.relative_to(strip).cells(Y_STRIDE)] for strip, part in shared if part is not None]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _ignore(_: float) -> None:
    pass
