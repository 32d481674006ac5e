"""Pixels to symbols through the networks, area by area. Nothing here is normative: another encoder may do otherwise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from aecodec.coding.prior import SKIPPED_SCALES, Z_LIMIT, Prior, anchor_position
from aecodec.coding.symbols import Costs, Symbols
from aecodec.coding.tables import TableSet
from aecodec.decoder.exact import ExactReceiver
from aecodec.encoder.effort import ERROR_WORTH, Effort
from aecodec.encoder.refinement import Problem, refine
from aecodec.format.container import MAX_LEVEL, STRIDE, Y_STRIDE, Box, Header
from aecodec.image import Pixels, crop_padded
from aecodec.networks.layers import InnerSides
from aecodec.networks.model import HYPER_RECEPTIVE_FIELD, SYNTHESIS_HALO
from aecodec.networks.runtime import BODY_HALO, MEAN_HALO, Runtime

Strips = dict[Box, NDArray[np.float32]]  # y [h/16, W/16, M] of strips of a picture
Progress = Callable[[float], None]  # gets what was done since the last call, as a share of one encode
PLAIN = Effort()


class CachedAnalysis(NamedTuple):
    """y of a whole picture, to be quantized for several levels."""

    y: NDArray[np.float16]  # [H/16, W/16, M]
    level: int  # that it was made for

    def serves(self, level: int) -> bool:
        """Whether files hardly differ from those of y that is made for a level: on average by half a percent."""
        return -1000 <= level - self.level <= 700


class Analyzer:
    """The encoder of one model. Nothing changes after construction."""

    def __init__(self, runtime: Runtime, exact: ExactReceiver | None, prior: Prior, tables: TableSet) -> None:
        """With the exact receiver symbols are what its means ask for, else those of the networks of the runtime."""
        self.runtime = runtime
        self.exact = exact
        self.network = runtime.network
        self.prior = prior
        self.costs = Costs(tables)

    def analyze(
        self, pixels: Pixels, header: Header, effort: Effort = PLAIN, progress: Progress | None = None
    ) -> Symbols:
        """The coded integers of a picture [H, W, 3]."""

        def refined(y: Strips, strip: Box, symbols: Symbols) -> None:
            y[strip] = self.refine_strip(pixels, y, strip, header, symbols, effort, progress)

        stage = refined if effort.stages else None
        return self._code(lambda strip: self.analyze_strip(pixels, strip, header), header, effort, stage)

    def analyze_once(self, pixels: Pixels, header: Header) -> CachedAnalysis:
        """y of a picture [H, W, 3] for the level of the header and those around it."""
        level = min(header.level + 150, MAX_LEVEL)  # too fine costs less than too coarse
        header = dataclasses.replace(header, level=level)
        y = np.empty((*header.padded.reduced(Y_STRIDE).shape, self.prior.M), np.float16)
        for strip in self._strips(header):
            y[strip.cells(Y_STRIDE)] = self.analyze_strip(pixels, strip, header)
        return CachedAnalysis(y, level)

    def requantize(self, cached: CachedAnalysis, header: Header, effort: Effort = PLAIN) -> Symbols:
        """The coded integers for a level that y serves."""
        here, there = (self.runtime.anchor_weights(level) for level in (header.level, cached.level))
        gain = self.network.g_a.y_gain
        with self.runtime.plain():
            ratio = (gain.factor(here) / gain.factor(there)).flatten().float().cpu().numpy()
        return self._code(lambda strip: cached.y[strip.cells(Y_STRIDE)] * ratio, header, effort)

    def _code(
        self,
        y_of: Callable[[Box], NDArray[np.float32]],
        header: Header,
        effort: Effort,
        refined: Callable[[Strips, Box, Symbols], None] | None = None,
    ) -> Symbols:
        """The coded integers of y, which y_of gives for one strip after the other.

        z is one strip behind y and y_symbols one behind z (with refinement between, two), because each looks at what
        it is made from a little above and below. So y stands in memory as floats for four strips (five), and no more.
        """
        symbols = Symbols.empty(self.prior, header.padded, indexed=True)
        y: Strips = {}

        def make(strip: Box) -> None:
            y[strip] = y_of(strip)

        def code(strip: Box) -> None:
            self.quantize_strip(y, strip, header, symbols, effort)
            for passed in [other for other in y if other.bottom < strip.bottom]:
                del y[passed]

        stages: list[Callable[[Box], None]] = [
            make,
            lambda strip: self.hyper_analyze_strip(y, strip, header, symbols),
            *([lambda strip: refined(y, strip, symbols)] if refined else []),
            code,
        ]
        strips = self._strips(header)
        for time in range(len(strips) + len(stages) - 1):
            for delay, stage in enumerate(stages):
                if 0 <= time - delay < len(strips):
                    stage(strips[time - delay])
        return symbols

    def analyze_strip(self, pixels: Pixels, strip: Box, header: Header) -> NDArray[np.float32]:
        """y [h/16, W/16, M] of a strip."""
        y = np.empty((*strip.reduced(Y_STRIDE).shape, self.prior.M), np.float32)
        gains = self.runtime.anchor_weights(header.level)

        def analyze(box: Box) -> None:
            region = box.grown(self.network.config.receptive_field, header.padded)
            inner, core = _valid_region(box, region, header.padded)
            x = self.runtime.tensor(crop_padded(pixels, region).transpose(2, 0, 1)).div_(255)
            with self.runtime.plain():
                y_box = self.network.analyze(x, gains, inner)[0][:, *core.cells(Y_STRIDE)]
            y[box.relative_to(strip).cells(Y_STRIDE)] = y_box.permute(1, 2, 0).cpu().numpy()

        self.runtime.workers.map(analyze, self.runtime.areas(strip))
        return y

    def hyper_analyze_strip(self, y: Strips, strip: Box, header: Header, symbols: Symbols) -> None:
        """Write z_symbols of a strip, from y of its neighbors as well, and the table index that follows from them."""
        y_index = _indexed(symbols)
        gains = self.runtime.anchor_weights(header.level)

        def hyper_analyze(box: Box) -> None:
            region = box.grown(HYPER_RECEPTIVE_FIELD, header.padded)
            inner, core = _valid_region(box, region, header.padded)
            with self.runtime.plain():
                z = self.network.hyper_analyze(self.runtime.tensor(_gather(y, region)), gains, inner)[0][
                    :, *core.cells(STRIDE)
                ]
            z_symbols = z.round().clamp_(-Z_LIMIT, Z_LIMIT).to(torch.int8).cpu().numpy()
            symbols.z[:, *box.cells(STRIDE)] = z_symbols
            y_index[:, *box.cells(Y_STRIDE)] = self.prior.table_index(z_symbols, header.level)

        self.runtime.workers.map(hyper_analyze, self.runtime.areas(strip))

    def refine_strip(
        self,
        pixels: Pixels,
        y: Strips,
        strip: Box,
        header: Header,
        symbols: Symbols,
        effort: Effort,
        progress: Progress | None = None,
    ) -> NDArray[np.float32]:
        """y of a strip, refined area by area together with what is around each."""
        refined = np.empty_like(y[strip])

        def improve(box: Box) -> None:
            seen = box.grown(BODY_HALO + MEAN_HALO, header.padded)
            region = seen.grown(SYNTHESIS_HALO, header.padded)
            index = _indexed(symbols)[:, *seen.cells(Y_STRIDE)]
            x = np.array(pixels[seen.grown(0, header.bounds).cells(1)].transpose(2, 0, 1))

            def stepped() -> None:
                if progress:
                    progress(math.prod(box.shape) / math.prod(header.padded.shape) / effort.steps)

            with self.runtime.plain(gradients=True):
                gains = self.runtime.anchor_weights(header.level)
                z_hat = self.runtime.tensor(symbols.z[:, *region.cells(STRIDE)])
                problem = self._problem(x[None], z_hat, seen.relative_to(region), gains, index[None], header)
                found = refine(self.network, self.runtime.tensor(_gather(y, seen)), problem, effort.stages, stepped)[0]
            core = found[:, *box.relative_to(seen).cells(Y_STRIDE)]
            refined[box.relative_to(strip).cells(Y_STRIDE)] = core.permute(1, 2, 0).cpu().numpy()

        self.runtime.workers.map(improve, self.runtime.areas(strip))
        return refined

    def quantize_strip(self, y: Strips, strip: Box, header: Header, symbols: Symbols, effort: Effort = PLAIN) -> None:
        """Write y_symbols of a strip: y in units of its step, less the predicted mean."""
        gains = self.runtime.anchor_weights(header.level)
        dead_zone = self.costs.dead_zone(effort.dead_zone)

        def quantize(box: Box) -> None:
            region = box.grown(SYNTHESIS_HALO, header.padded)
            seen = box.grown(MEAN_HALO, header.padded)
            dead = self.runtime.tensor(dead_zone[_indexed(symbols)[:, *seen.cells(Y_STRIDE)]])
            code = _rounding(self.runtime.tensor(_gather(y, seen)), dead)
            with self.runtime.plain():
                if self.exact:
                    prediction = self.exact.predict(symbols.z, header, code, seen)
                else:
                    z_hat = self.runtime.tensor(symbols.z[:, *region.cells(STRIDE)])
                    prediction = self.network.predict(z_hat, gains, code, seen.relative_to(region).cells(Y_STRIDE))
            y_symbols = prediction.symbols[0][:, *box.relative_to(seen).cells(Y_STRIDE)]
            symbols.y[:, *box.cells(Y_STRIDE)] = y_symbols.short().cpu().numpy()

        self.runtime.workers.map(quantize, self.runtime.areas(strip))

    def analyze_batch(self, x: Tensor, header: Header, effort: Effort = PLAIN) -> list[Symbols]:
        """The coded integers of pictures uint8 [B, 3, H, W] of one size, which the networks see whole and at once."""
        gains = self.runtime.anchor_weights(header.level).expand(len(x), -1)
        right, bottom = header.padded.right - header.width, header.padded.bottom - header.height
        with self.runtime.plain():
            padded = F.pad(self.runtime.on_device(x).div_(255), (0, right, 0, bottom), mode="replicate")
            y = self.network.analyze(padded.contiguous(memory_format=torch.channels_last), gains)
            z = self.network.hyper_analyze(y, gains).round_().clamp_(-Z_LIMIT, Z_LIMIT).to(torch.int8).cpu().numpy()
        z_hat = self.runtime.on_device(torch.from_numpy(z))
        index = np.stack([self.prior.table_index(z_symbols, header.level) for z_symbols in z])
        if effort.stages:
            with self.runtime.plain(gradients=True):  # clones, since gradients cannot go through what was made in it
                problem = self._problem(x.cpu().numpy(), z_hat.clone(), header.padded, gains.clone(), index, header)
                y = refine(self.network, y.clone(), problem, effort.stages, lambda: None)
        dead = self.runtime.on_device(torch.from_numpy(self.costs.dead_zone(effort.dead_zone)[index]))
        with self.runtime.plain():
            if self.exact:
                parts = [
                    self.exact.predict(
                        one, header, _rounding(*around), header.padded, self.runtime.workers.count
                    ).symbols
                    for one, *around in zip(z, y.split(1), dead.split(1), strict=True)
                ]
                y_symbols = torch.cat(parts).short().numpy()
            else:
                y_symbols = self.network.predict(z_hat, gains, _rounding(y, dead)).symbols.short().cpu().numpy()
        return [Symbols(a, b, header.padded, c) for a, b, c in zip(z, y_symbols, index, strict=True)]

    def _strips(self, header: Header) -> list[Box]:
        return header.padded.split(header.padded.right, max(self.runtime.side, SYNTHESIS_HALO))

    def _problem(
        self, x: NDArray[np.uint8], z_hat: Tensor, seen: Box, gains: Tensor, index: NDArray[np.uint8], header: Header
    ) -> Problem:
        """What refine gets, of pixels uint8 [B, 3, H, W]; seen is relative to z_hat."""
        position = torch.tensor(anchor_position(header.level), dtype=torch.float32)
        weight = ERROR_WORTH * float(self.network.config.lmbda(position)) * 255**2 / 3
        return Problem(
            self.runtime.on_device(torch.from_numpy(x)).div_(255),
            z_hat,
            seen.cells(Y_STRIDE),
            gains,
            torch.from_numpy(index.astype(np.int64)).to(z_hat.device),
            self.runtime.on_device(torch.from_numpy(index >= SKIPPED_SCALES)),
            torch.from_numpy(self.costs.bits).to(z_hat.device),
            weight,
        )


def _indexed(symbols: Symbols) -> NDArray[np.uint8]:
    """The table index of what an encoder makes."""
    assert symbols.y_index is not None
    return symbols.y_index


def _rounding(y: Tensor, dead_zone: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """What an encoder gives to Autoencoder.predict: the symbols of y, 0 for values that are nearer to 0 than that."""

    def code(mean: Tensor, step: Tensor) -> Tensor:
        value = (y / step).sub_(mean)
        alive = value.abs().ge_(dead_zone)
        return value.round_().clamp_(-32768, 32767).mul_(alive)

    return code


def _valid_region(box: Box, region: Box, bounds: Box) -> tuple[InnerSides, Box]:
    """Which sides of a region the networks use up, those inside the picture, and where the box is in what is left."""
    inner = InnerSides(*(a != b for a, b in zip(region, bounds, strict=True)))
    left, top = 0 if inner.left else box.left, 0 if inner.top else box.top
    return inner, Box(left, top, left + box.right - box.left, top + box.bottom - box.top)


def _gather(y: Strips, region: Box) -> NDArray[np.float32]:
    """y [M, h/16, w/16] of a region, from the strips that it lies in."""
    shared = ((strip, strip.intersection(region)) for strip in y)
    parts = [y[strip][part.relative_to(strip).cells(Y_STRIDE)] for strip, part in shared if part is not None]
    rows: NDArray[np.float32] = np.concatenate(parts)
    return rows.transpose(2, 0, 1)
