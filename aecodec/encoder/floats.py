"""Pixels to symbols by torch, area by area."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from aecodec.coding.prior import Z_LIMIT, Prior
from aecodec.coding.symbols import REACH, Costs, Symbols
from aecodec.coding.tables import TableSet
from aecodec.decoder.exact import needed_around
from aecodec.encoder.analysis import Progress, Strips, gather
from aecodec.encoder.effort import PLAIN, Effort, curvature, error_weight
from aecodec.format.container import STRIDE, Y_STRIDE, Box, Header
from aecodec.image import Pixels, crop_padded
from aecodec.networks.config import GRADIENT_HALO, HYPER_RECEPTIVE_FIELD, MEAN_HALO, SYNTHESIS_HALO
from aecodec.networks.layers import InnerSides
from aecodec.networks.model import EVERYWHERE
from aecodec.networks.runtime import Runtime


class FloatTransform:
    """A Transform by torch. Nothing changes after construction."""

    def __init__(self, runtime: Runtime, prior: Prior, tables: TableSet) -> None:
        self.runtime = runtime
        self.network = runtime.network
        self.prior = prior
        self.costs = Costs(tables)

    def gain_ratio(self, here: int, there: int) -> NDArray[np.float32]:
        """As Transform."""
        gain = self.network.g_a.y_gain
        with self.runtime.plain():
            factors = [gain.factor(self.runtime.anchor_weights(level)) for level in (here, there)]
            ratio: NDArray[np.float32] = (factors[0] / factors[1]).flatten().float().cpu().numpy()
        return ratio

    def analyze(self, pixels: Pixels, strip: Box, header: Header) -> NDArray[np.float32]:
        """As Transform."""
        y = np.empty((*strip.reduced(Y_STRIDE).shape, self.prior.M), np.float32)
        gains = self.runtime.anchor_weights(header.level)

        def work(box: Box) -> None:
            region = box.grown(self.network.config.receptive_field, header.padded)
            inner, core = _valid_region(box, region, header.padded)
            x = self.runtime.tensor(crop_padded(pixels, region).transpose(2, 0, 1)).div_(255)
            with self.runtime.plain():
                y_box = self.network.analyze(x, gains, inner)[0][:, *core.cells(Y_STRIDE)]
            y[box.relative_to(strip).cells(Y_STRIDE)] = y_box.permute(1, 2, 0).cpu().numpy()

        self.runtime.workers.map(work, self.runtime.areas(strip))
        return y

    def hyper_analyze(self, y: Strips, strip: Box, header: Header) -> NDArray[np.int8]:
        """As Transform."""
        gains = self.runtime.anchor_weights(header.level)
        z_symbols = np.empty((self.prior.N, *strip.reduced(STRIDE).shape), np.int8)

        def work(box: Box) -> None:
            region = box.grown(HYPER_RECEPTIVE_FIELD, header.padded)
            inner, core = _valid_region(box, region, header.padded)
            with self.runtime.plain():
                z = self.network.hyper_analyze(self._tensor(y, region), gains, inner)[0][:, *core.cells(STRIDE)]
            rounded = z.round().clamp_(-Z_LIMIT, Z_LIMIT).to(torch.int8).cpu().numpy()
            z_symbols[:, *box.relative_to(strip).cells(STRIDE)] = rounded

        self.runtime.workers.map(work, self.runtime.areas(strip))
        return z_symbols

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
        """As Transform: area by area, each together with what is around it."""
        refined = np.empty_like(y[strip])

        def improve(box: Box) -> None:
            seen = box.grown(GRADIENT_HALO + MEAN_HALO, header.padded)
            region = needed_around(seen, header)
            index = symbols.known_index[:, *seen.cells(Y_STRIDE)]
            x = np.array(pixels[seen.grown(0, header.bounds).cells(1)].transpose(2, 0, 1))
            z_hat = self.runtime.tensor(symbols.z[:, *region.cells(STRIDE)])
            window = seen.relative_to(region).cells(Y_STRIDE)

            def stepped() -> None:
                progress(math.prod(box.shape) / math.prod(header.padded.shape) / len(effort.rates))

            found = self._move(self._tensor(y, seen), x[None], z_hat, window, index[None], header, effort, stepped)[0]
            core = found[:, *box.relative_to(seen).cells(Y_STRIDE)]
            refined[box.relative_to(strip).cells(Y_STRIDE)] = core.permute(1, 2, 0).cpu().numpy()

        self.runtime.workers.map(improve, self.runtime.areas(strip))
        return refined

    def quantize(self, y: Strips, strip: Box, header: Header, symbols: Symbols, effort: Effort) -> NDArray[np.int16]:
        """As Transform."""
        gains = self.runtime.anchor_weights(header.level)
        dead_zone = self.costs.dead_zone(effort.dead_zone)
        y_symbols = np.empty((self.prior.M, *strip.reduced(Y_STRIDE).shape), np.int16)

        def work(box: Box) -> None:
            region = box.grown(SYNTHESIS_HALO, header.padded)
            seen = box.grown(MEAN_HALO, header.padded)
            dead = self.runtime.tensor(dead_zone[symbols.known_index[:, *seen.cells(Y_STRIDE)]])
            code = _rounding(self._tensor(y, seen), dead)
            with self.runtime.plain():
                z_hat = self.runtime.tensor(symbols.z[:, *region.cells(STRIDE)])
                prediction = self.network.predict(z_hat, gains, code, seen.relative_to(region).cells(Y_STRIDE))
            coded = prediction.symbols[0][:, *box.relative_to(seen).cells(Y_STRIDE)]
            y_symbols[:, *box.relative_to(strip).cells(Y_STRIDE)] = coded.short().cpu().numpy()

        self.runtime.workers.map(work, self.runtime.areas(strip))
        return y_symbols

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
        y = self._move(y, x.cpu().numpy(), z_hat, EVERYWHERE, index, header, effort, lambda: None)
        dead = self.runtime.on_device(torch.from_numpy(self.costs.dead_zone(effort.dead_zone)[index]))
        with self.runtime.plain():
            y_symbols = self.network.predict(z_hat, gains, _rounding(y, dead)).symbols.short().cpu().numpy()
        return [Symbols(a, b, header.padded, c) for a, b, c in zip(z, y_symbols, index, strict=True)]

    def _tensor(self, y: Strips, region: Box) -> Tensor:
        return self.runtime.tensor(gather(y, region).transpose(2, 0, 1))

    def _move(
        self,
        y: Tensor,
        pixels: NDArray[np.uint8],
        z_hat: Tensor,
        window: tuple[slice, slice],
        index: NDArray[np.uint8],
        header: Header,
        effort: Effort,
        stepped: Callable[[], None],
    ) -> Tensor:
        """y [B, M, h, w] of a window of pixels [B, 3, H, W] after an effort's gradients, as native/gradient.cpp."""
        x, table = (
            self.runtime.on_device(torch.from_numpy(pixels)).div_(255),
            torch.from_numpy(index).to(y.device).long(),
        )
        dead = self.runtime.on_device(torch.from_numpy(self.costs.dead_zone(effort.dead_zone)[index]))
        bits = torch.from_numpy(self.costs.bits).to(y)
        weight = error_weight(self.network.config, header.level)
        curved = curvature(self.network.config, header.level)
        with self.runtime.plain(gradients=True), torch.no_grad():
            y, z_hat = y.clone(), z_hat.clone()  # gradients cannot go through what was made in inference mode
            gains = self.runtime.anchor_weights(header.level).expand(len(y), -1)
            for rate in effort.rates:
                prediction = self.network.predict(z_hat, gains, _rounding(y, dead), window)
                with torch.enable_grad():
                    y_hat = prediction.y_hat.requires_grad_()
                    x_hat = self.network.synthesize(y_hat, gains)[:, :, : x.shape[2], : x.shape[3]]
                    error = (x_hat.detach().clamp(0, 1) - x).mul_(2)  # yet the gradient passes: it is what is seen
                    (gradient,) = torch.autograd.grad(x_hat, y_hat, error)
                value = y / prediction.step - prediction.mean
                slope = _bits(bits, table, value + 0.5) - _bits(bits, table, value - 0.5)
                newton = (weight * prediction.step * gradient + slope) / curved
                y = y + rate * (prediction.symbols - newton - value) * prediction.step
                stepped()
        return y


def _rounding(y: Tensor, dead_zone: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """What an encoder gives to Autoencoder.predict: the symbols of y, 0 for values that are nearer to 0 than that."""

    def code(mean: Tensor, step: Tensor) -> Tensor:
        value = (y / step).sub_(mean)
        alive = value.abs().ge_(dead_zone)
        return value.round_().clamp_(-32768, 32767).mul_(alive)

    return code


def _bits(bits: Tensor, table: Tensor, value: Tensor) -> Tensor:
    """What values cost by their tables, interpolated between integers; bits are [SCALES, 2 * REACH + 1]."""
    place = value.clamp(-REACH, REACH - 1e-3)
    below = place.floor()
    entry = table * bits.shape[1] + below.long() + REACH
    return torch.lerp(bits.flatten()[entry], bits.flatten()[entry + 1], place - below)


def _valid_region(box: Box, region: Box, bounds: Box) -> tuple[InnerSides, Box]:
    """Which sides of a region the networks use up, those inside the picture, and where the box is in what is left."""
    inner = InnerSides(*(a != b for a, b in zip(region, bounds, strict=True)))
    left, top = 0 if inner.left else box.left, 0 if inner.top else box.top
    return inner, Box(left, top, left + box.right - box.left, top + box.bottom - box.top)
