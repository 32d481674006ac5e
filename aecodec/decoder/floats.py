"""Symbols to pixels by the networks that the integers of the format were made from: pixels differ a little."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from aecodec.coding.symbols import Symbols
from aecodec.decoder.reduced import render_reduced
from aecodec.format.container import STRIDE, Y_STRIDE, Box, Header
from aecodec.image import Pixels
from aecodec.networks.config import BODY_HALO, MEAN_HALO, SYNTHESIS_HALO
from aecodec.networks.runtime import Runtime

_BAND = 8  # rows of features at 1/16 that are rendered at once: small enough for the cache, large enough for threads


class FloatReceiver:
    """Nothing changes after construction."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.network = runtime.network

    def synthesize(self, symbols: Symbols, header: Header, area: Box, factor: int = 1) -> Pixels:
        """Pixels uint8 [h, w, 3] of an area of the picture, each the mean of factor x factor."""
        frame = area.reduced(factor)
        pixels = np.empty((*frame.shape, 3), np.uint8)
        gains = self.runtime.anchor_weights(header.level)

        def synthesize(part: Box) -> None:
            core = part.aligned(Y_STRIDE)
            cells = core.aligned(STRIDE)
            region = cells.grown(SYNTHESIS_HALO, header.padded)
            seen = cells.grown(BODY_HALO + MEAN_HALO, header.padded)
            body = core.grown(BODY_HALO, header.padded)
            y_symbols = self.runtime.tensor(symbols.y[:, *seen.relative_to(symbols.window).cells(Y_STRIDE)])
            z_hat = self.runtime.tensor(symbols.z[:, *region.relative_to(symbols.window).cells(STRIDE)])
            with self.runtime.plain():
                y_hat = self.network.dequantize(y_symbols, z_hat, gains, seen.relative_to(region).cells(Y_STRIDE))
                features = self.network.g_s.features(y_hat[:, :, *body.relative_to(seen).cells(Y_STRIDE)], gains)
                latent, condition = (f[:, :, *core.relative_to(body).cells(Y_STRIDE)] for f in features)
                for band in core.split(core.right - core.left, _BAND * Y_STRIDE):
                    rows = band.relative_to(core).cells(Y_STRIDE)
                    x_hat = render_reduced(self.network.g_s, latent[:, :, *rows], condition[:, :, *rows], factor)
                    levels = _levels(x_hat)
                    shown = band.reduced(factor)
                    visible = shown.grown(0, frame)
                    values = levels[0][:, *visible.relative_to(shown).cells(1)].permute(1, 2, 0).cpu().numpy()
                    pixels[visible.relative_to(frame).cells(1)] = values

        self.runtime.workers.map(synthesize, [part.grown(0, area) for part in self.runtime.areas(area.aligned(STRIDE))])
        return pixels

    def synthesize_batch(self, symbols: Sequence[Symbols], headers: Sequence[Header]) -> Tensor:
        """Pixels uint8 [B, 3, H, W] of pictures of one size, at their own qualities; on the device."""
        gains = torch.cat([self.runtime.anchor_weights(header.level) for header in headers])
        z_hat, y_symbols = (
            self.runtime.on_device(torch.from_numpy(np.stack(arrays)))
            for arrays in ([one.z for one in symbols], [one.y for one in symbols])
        )
        height, width = headers[0].bounds.shape
        with self.runtime.plain():
            x_hat = self.network.synthesize(self.network.dequantize(y_symbols, z_hat, gains), gains)
            levels = _levels(x_hat[:, :, :height, :width])
        return levels.clone()  # what is made under inference_mode may not be changed or trained on


def _levels(x_hat: Tensor) -> Tensor:
    return (x_hat * 255).round_().clamp_(0, 255).byte()
