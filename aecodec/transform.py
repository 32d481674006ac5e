"""Pixels to symbols and back through the networks, area by area, each with a halo as wide as they can look.

So memory stays bounded, and the result equals that of the whole picture. docs/architecture.md derives the halos.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from aecodec.container import STRIDE, Y_STRIDE, Box, Header
from aecodec.image import Pixels, crop_padded
from aecodec.layers import Cut
from aecodec.model import HYPER_REACH, SYNTHESIS_HALO, Autoencoder, anchor_weights
from aecodec.preview import render_reduced
from aecodec.prior import SKIPPED_SCALES, Z_LIMIT, Prior, anchor_position
from aecodec.symbols import Symbols
from aecodec.workers import Workers

_BAND = 8  # rows of features at 1/16 that are rendered at once: small enough for the cache, large enough for threads
# Pixels around an area that a stage looks at:
_MEAN_HALO = 32  # y, to predict means
_BODY_HALO = 32  # y_hat, to make the features that are rendered


class Transform:
    """The networks of one model on one device. Nothing changes after construction."""

    def __init__(self, network: Autoencoder, prior: Prior, workers: Workers, work_tile: int = 8) -> None:
        """work_tile: height of what the networks see at once, without halo, in 64 pixels; it is twice as wide."""
        self.network = network
        self.prior = prior
        self.workers = workers
        self.side = work_tile * STRIDE

    def analyze(self, pixels: Pixels, header: Header) -> Symbols:
        """The coded integers of a picture [H, W, 3].

        It goes through in strips, z one strip behind y and y_symbols one behind z, because each looks at what it is
        made from a little above and below. So y stands in memory as floats for four strips, and no more.
        """
        symbols = Symbols.empty(self.prior, header.padded)
        strips = header.padded.split(header.padded.right, max(self.side, SYNTHESIS_HALO))
        y: dict[Box, NDArray[np.float32]] = {}
        for new, hyper, ready in zip([*strips, None, None], [None, *strips, None], [None, None, *strips], strict=True):
            if new is not None:
                y[new] = self.analyze_strip(pixels, new, header)
            if hyper is not None:
                self.hyper_analyze_strip(y, hyper, header, symbols)
            if ready is not None:
                self.quantize_strip(y, ready, header, symbols)
                y = {strip: part for strip, part in y.items() if strip.bottom >= ready.bottom}
        return symbols

    def analyze_strip(self, pixels: Pixels, strip: Box, header: Header) -> NDArray[np.float32]:
        """y [h/16, W/16, M] of a strip."""
        y = np.empty((*strip.reduced(Y_STRIDE).shape, self.prior.M), np.float32)
        gains = self._anchor_weights(header.level)

        def analyze(box: Box) -> None:
            region = box.grown(self.network.config.analysis_reach, header.padded)
            cut, core = _shed(box, region, header.padded)
            x = self._tensor(crop_padded(pixels, region).transpose(2, 0, 1)).div_(255)
            with _inference():
                y_box = self.network.analyze(x, gains, cut)[0][:, *core.cells(Y_STRIDE)]
            y[box.relative_to(strip).cells(Y_STRIDE)] = y_box.permute(1, 2, 0).cpu().numpy()

        self.workers.map(analyze, self._areas(strip))
        return y

    def hyper_analyze_strip(
        self, y: dict[Box, NDArray[np.float32]], strip: Box, header: Header, symbols: Symbols
    ) -> None:
        """Write z_symbols of a strip, from y of its neighbors as well."""
        gains = self._anchor_weights(header.level)

        def hyper_analyze(box: Box) -> None:
            region = box.grown(HYPER_REACH, header.padded)
            cut, core = _shed(box, region, header.padded)
            with _inference():
                z = self.network.hyper_analyze(self._tensor(_gather(y, region)), gains, cut)[0][:, *core.cells(STRIDE)]
            symbols.z[:, *box.cells(STRIDE)] = z.round().clamp_(-Z_LIMIT, Z_LIMIT).cpu().numpy()

        self.workers.map(hyper_analyze, self._areas(strip))

    def quantize_strip(self, y: dict[Box, NDArray[np.float32]], strip: Box, header: Header, symbols: Symbols) -> None:
        """Write y_symbols of a strip: y in units of its step, less the predicted mean."""
        gains = self._anchor_weights(header.level)

        def quantize(box: Box) -> None:
            region = box.grown(SYNTHESIS_HALO, header.padded)
            seen = box.grown(_MEAN_HALO, header.padded)
            cells = seen.aligned(STRIDE)
            index = self.prior.table_index(symbols.z[:, *cells.cells(STRIDE)], header.level)
            coded = self._tensor(index[:, *seen.relative_to(cells).cells(Y_STRIDE)] >= SKIPPED_SCALES)
            code = _rounding(self._tensor(_gather(y, seen)), coded)
            with _inference():
                z_hat = self._tensor(symbols.z[:, *region.cells(STRIDE)])
                latents = self.network.predict(z_hat, gains, code, seen.relative_to(region).cells(Y_STRIDE))
            y_symbols = latents.symbols[0][:, *box.relative_to(seen).cells(Y_STRIDE)]
            symbols.y[:, *box.cells(Y_STRIDE)] = y_symbols.short().cpu().numpy()

        self.workers.map(quantize, self._areas(strip))

    def synthesize(self, symbols: Symbols, header: Header, area: Box, factor: int = 1) -> Pixels:
        """Pixels uint8 [h, w, 3] of an area of the picture, each the mean of factor x factor."""
        frame = area.reduced(factor)
        pixels = np.empty((*frame.shape, 3), np.uint8)
        gains = self._anchor_weights(header.level)

        def synthesize(part: Box) -> None:
            core = part.aligned(Y_STRIDE)
            cells = core.aligned(STRIDE)
            region = cells.grown(SYNTHESIS_HALO, header.padded)
            seen = cells.grown(_BODY_HALO + _MEAN_HALO, header.padded)
            body = core.grown(_BODY_HALO, header.padded)
            y_symbols = self._tensor(symbols.y[:, *seen.relative_to(symbols.window).cells(Y_STRIDE)])
            z_hat = self._tensor(symbols.z[:, *region.relative_to(symbols.window).cells(STRIDE)])
            with _inference():
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

        self.workers.map(synthesize, [part.grown(0, area) for part in self._areas(area.aligned(STRIDE))])
        return pixels

    def analyze_batch(self, x: Tensor, header: Header) -> list[Symbols]:
        """The coded integers of pictures uint8 [B, 3, H, W] of one size, which the networks see whole and at once."""
        gains = self._anchor_weights(header.level).expand(len(x), -1)
        right, bottom = header.padded.right - header.width, header.padded.bottom - header.height
        with _inference():
            x = F.pad(self._on_device(x).div_(255), (0, right, 0, bottom), mode="replicate")
            y = self.network.analyze(x.contiguous(memory_format=torch.channels_last), gains)
            z_hat = self.network.hyper_analyze(y, gains).round_().clamp_(-Z_LIMIT, Z_LIMIT)
            z = z_hat.to(torch.int8).cpu().numpy()
            index = np.stack([self.prior.table_index(z_symbols, header.level) for z_symbols in z])
            coded = self._on_device(torch.from_numpy(index >= SKIPPED_SCALES))
            latents = self.network.predict(z_hat, gains, _rounding(y, coded))
            y_symbols = latents.symbols.short().cpu().numpy()
        return [Symbols(*pair, header.padded) for pair in zip(z, y_symbols, strict=True)]

    def synthesize_batch(self, symbols: Sequence[Symbols], headers: Sequence[Header]) -> Tensor:
        """Pixels uint8 [B, 3, H, W] of pictures of one size, at their own qualities; on the device."""
        gains = torch.cat([self._anchor_weights(header.level) for header in headers])
        z_hat, y_symbols = (
            self._on_device(torch.from_numpy(np.stack(arrays)))
            for arrays in ([one.z for one in symbols], [one.y for one in symbols])
        )
        height, width = headers[0].bounds.shape
        with _inference():
            x_hat = self.network.synthesize(self.network.dequantize(y_symbols, z_hat, gains), gains)
            levels = _levels(x_hat[:, :, :height, :width])
        return levels.clone()  # what is made under inference_mode may not be changed or trained on

    def _areas(self, area: Box) -> list[Box]:
        """Parts that the networks see one by one: independent of the tiles that the file is coded in."""
        return area.split(2 * self.side, self.side)  # wide: less halo, and strips stay low

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        """[C, H, W] as [1, C, H, W] in the type, on the device and in the memory order that suits the network."""
        return self._on_device(torch.from_numpy(array)[None])

    def _on_device(self, x: Tensor) -> Tensor:
        like = next(self.network.parameters())
        tensor = torch.empty(x.shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
        return tensor.copy_(x)

    def _anchor_weights(self, level: int) -> Tensor:
        like = next(self.network.parameters())
        return anchor_weights(torch.tensor([anchor_position(level)], dtype=like.dtype, device=like.device))


def _rounding(y: Tensor, coded: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """What an encoder gives to Autoencoder.predict: the symbols of y, 0 where none are coded."""

    def code(mean: Tensor, step: Tensor) -> Tensor:
        return (y / step).sub_(mean).round_().clamp_(-32768, 32767).mul_(coded)

    return code


def _levels(x_hat: Tensor) -> Tensor:
    return (x_hat * 255).round_().clamp_(0, 255).byte()


def _shed(box: Box, region: Box, bounds: Box) -> tuple[Cut, Box]:
    """Which sides of a region the networks use up, those inside the picture, and where the box is in what is left."""
    cut = Cut(*(a != b for a, b in zip(region, bounds, strict=True)))
    left, top = 0 if cut.left else box.left, 0 if cut.top else box.top
    return cut, Box(left, top, left + box.right - box.left, top + box.bottom - box.top)


def _gather(y: dict[Box, NDArray[np.float32]], region: Box) -> NDArray[np.float32]:
    """y [M, h/16, w/16] of a region, from the strips that it lies in."""
    shared = ((strip, strip.intersection(region)) for strip in y)
    parts = [y[strip][part.relative_to(strip).cells(Y_STRIDE)] for strip, part in shared if part is not None]
    rows: NDArray[np.float32] = np.concatenate(parts)
    return rows.transpose(2, 0, 1)


@contextmanager
def _inference() -> Iterator[None]:
    """No gradients, and full float32 on GPUs that would round operands of convolutions to TF32."""
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
