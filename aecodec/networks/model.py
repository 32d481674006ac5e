"""The networks: analysis g_a, synthesis g_s, hyper analysis h_a, hyper synthesis h_s, two-step prediction of means.

The topology follows PULSE (arXiv 2609.18602); hyper prior and noisy-rounding training follow Balle et al. 2018, the
two-step checkerboard context He et al. 2021. Only floats live here: which table a symbol is coded with is decided by
prior.table_index from integers alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from aecodec.coding.prior import ANCHORS, SCALES
from aecodec.errors import InputError
from aecodec.format.container import Y_STRIDE
from aecodec.networks.config import GROUPS, ModelConfig
from aecodec.networks.layers import (
    WHOLE,
    DepthConvBlock,
    Down,
    Gain,
    InnerSides,
    Pointwise,
    act,
    fold_act,
    in_full,
    inward_clamp,
)

SCALE_MIN, SCALE_MAX = 0.11, 256.0  # ends of the table of scales
LOG_STEP = math.log(SCALE_MAX / SCALE_MIN) / (SCALES - 1)  # between neighbors of that table
# Of y_hat that the second step of means sees: the integers hold no more (docs/format.md, 6.3).
CONTEXT_LIMIT = 32767 / 2**6
EVERYWHERE = (slice(None), slice(None))


class Prediction(NamedTuple):
    """What the two-step prediction yields for y, each [B, M, H/16, W/16]."""

    symbols: Tensor
    mean: Tensor  # in units of step
    step: Tensor  # quantization step, >= 0.5

    @property
    def y_hat(self) -> Tensor:
        return (self.symbols + self.mean) * self.step


def log_gain_start(config: ModelConfig) -> Tensor:
    """Logarithm [ANCHORS] of 1 / step relative to the middle: proportional to sqrt(lambda) at high rate."""
    return 0.5 * (config.lmbda(torch.arange(float(ANCHORS))) / config.middle_lmbda).log()


def anchor_weights(position: Tensor) -> Tensor:
    """Interpolation weights [B, ANCHORS] of positions [B] on the anchor axis 0..ANCHORS-1."""
    anchors = torch.arange(ANCHORS, dtype=position.dtype, device=position.device)
    return (1 - (position[:, None] - anchors).abs()).clamp(min=0)


class Analysis(nn.Module):
    """g_a: x [B, 3, H, W] -> y [B, M, H/16, W/16], scaled by the gain of y.

    A linear transform of each 16x16 pixels stands beside the blocks, which alone would pass no more channels than they
    are wide (the idea is AuxT's, arXiv 2501.13751).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.margin = config.receptive_field
        fine, coarse = config.analysis_widths
        self.enter = Down(3, fine, 8)
        self.fine = nn.ModuleList(DepthConvBlock(fine) for _ in range(config.analysis_depths[0]))
        self.fine_gain = Gain(fine)
        self.down = Down(fine, coarse, 2)
        self.coarse = nn.ModuleList(DepthConvBlock(coarse) for _ in range(config.analysis_depths[1]))
        self.leave = Pointwise(coarse, config.M)
        self.linear = Down(3, config.M, Y_STRIDE)
        self.y_gain = Gain(config.M, _log_y_gain(config))

    def forward(self, x: Tensor, weights: Tensor, inner: InnerSides = WHOLE) -> Tensor:
        x = x - 0.5
        # A sum over a block: divided, so that a step of training moves it no further than what other layers give.
        linear = in_full(self.linear, inner(x, self.margin) / Y_STRIDE)
        x = self.enter(x)
        for block in self.fine:
            x = block(x, inner)
        x = self.down(self.fine_gain(x, weights))
        for block in self.coarse:
            x = block(x, inner)
        return self.y_gain(in_full(self.leave, x) + linear, weights)


class HyperAnalysis(nn.Module):
    """h_a: y -> z [B, N, H/64, W/64]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        N = config.N
        self.enter = Pointwise(config.M, N)
        self.blocks = nn.ModuleList(DepthConvBlock(N) for _ in range(3))
        self.gains = nn.ModuleList(Gain(N) for _ in range(3))
        self.downs = nn.ModuleList(Down(N, N, 2) for _ in range(2))

    def forward(self, y: Tensor, weights: Tensor, inner: InnerSides = WHOLE) -> Tensor:
        z = self.gains[0](self.blocks[0](self.enter(y), inner), weights)
        for down, block, gain in zip(self.downs, self.blocks[1:], self.gains[1:], strict=True):
            z = gain(block(down(z), inner), weights)
        return z


class HyperSynthesis(nn.Module):
    """h_s: z_hat -> features [B, M, H/16, W/16] that both mean predictors read."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        N = config.N
        self.ups = nn.ModuleList(Pointwise(N, 4 * N, groups=GROUPS) for _ in range(2))
        self.blocks = nn.ModuleList(DepthConvBlock(N, groups=GROUPS) for _ in range(2))
        self.leave = Pointwise(N, config.M)
        self.gain = Gain(config.M)

    def forward(self, z_hat: Tensor, weights: Tensor) -> Tensor:
        features = z_hat
        for up, block in zip(self.ups, self.blocks, strict=True):
            features = block(F.pixel_shuffle(up(features), 2))
        return self.gain(self.leave(features), weights)


class MeanPredictor(nn.Module):
    def __init__(self, C_in: int, C: int, C_out: int) -> None:
        super().__init__()
        self.enter = Pointwise(C_in, C)
        self.block = DepthConvBlock(C, groups=GROUPS)
        self.leave = Pointwise(C, C_out)

    def forward(self, x: Tensor) -> Tensor:
        return in_full(self.leave, self.block(self.enter(x)))


class Synthesis(nn.Module):
    """g_s: y_hat -> x_hat [B, 3, H, W]: a body at 1/16 conditions a point-wise renderer at 1/4."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        C = config.render
        self.y_gain = Gain(config.M, -_log_y_gain(config))
        self.enter = Pointwise(config.M, config.body)
        self.blocks = nn.ModuleList(DepthConvBlock(config.body, config.body_hidden) for _ in range(2))
        self.gains = nn.ModuleList(Gain(config.body) for _ in range(2))
        self.latent = Pointwise(config.M, 16 * C)
        self.condition = Pointwise(config.body, 16 * C)
        self.modulate = Pointwise(C, 3 * C)
        self.expand = Pointwise(C, C)
        self.reduce = Pointwise(C, C)
        self.leave = Pointwise(C, 3 * 16)
        self.act: Callable[[Tensor], Tensor] = act

    def fold(self) -> None:
        fold_act(self.condition, self.modulate)
        fold_act(self.expand, self.reduce)
        self.act = F.hardswish

    def forward(self, y_hat: Tensor, weights: Tensor) -> Tensor:
        return self.render(*self.features(y_hat, weights))

    def features(self, y_hat: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The gained latent and the body's output, both at 1/16: all of g_s that looks beyond one position."""
        y_hat = self.y_gain(y_hat, weights)
        body = self.enter(y_hat)
        for block, gain in zip(self.blocks, self.gains, strict=True):
            body = gain(block(body), weights)
        return y_hat, body

    def render(self, latent: Tensor, body: Tensor) -> Tensor:
        """Features at 1/16 to pixels; every 16x16 block of pixels depends on its own position alone."""
        x, condition = (F.pixel_shuffle(features, 4) for features in (self.latent(latent), self.condition(body)))
        return F.pixel_shuffle(in_full(self.leave, self.hidden(x, condition)), 4) + 0.5

    def hidden(self, x: Tensor, condition: Tensor) -> Tensor:
        """The layers of the renderer between its shuffles, each [B, render, h, w]."""
        shift, scale, gate = self.modulate(self.act(condition)).chunk(3, dim=1)
        mixed = self.reduce(self.act(self.expand(torch.addcmul(x + shift, x, scale))))
        return torch.addcmul(x, gate, mixed)


class Autoencoder(nn.Module):
    """The whole model. `weights` [B, ANCHORS] everywhere is anchor_weights(position of the quality)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.g_a = Analysis(config)
        self.h_a = HyperAnalysis(config)
        self.h_s = HyperSynthesis(config)
        self.mean0 = MeanPredictor(config.M, config.context, 2 * config.M)
        self.mean1 = MeanPredictor(2 * config.M, config.context, config.M)
        self.g_s = Synthesis(config)

    @classmethod
    def from_arrays(cls, config: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Autoencoder:
        """The networks of a weights file. Raises InputError where arrays do not fit, before the memory is taken."""
        bare = hasattr(torch, "set_default_device")  # from 2.0 on, networks can be built without memory
        with torch.device("meta") if bare else nullcontext():
            network = cls(ModelConfig.from_dict(config))
        needed = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
        for name in sorted(needed.keys() | arrays.keys()):
            shape = arrays[name].shape if name in arrays else None
            if shape != needed.get(name):
                raise InputError(f"weights do not fit their configuration: {name} is {shape}, not {needed.get(name)}")
        network.to_empty(device="cpu").float().load_state_dict(
            {name: torch.tensor(array) for name, array in arrays.items()}
        )
        return network

    def fold(self) -> None:
        """Move the constants of act into the weights around it: the same function, cheaper, no longer for training."""
        for module in self.modules():
            if isinstance(module, DepthConvBlock | Synthesis):
                module.fold()

    def analyze(self, x: Tensor, weights: Tensor, inner: InnerSides = WHOLE) -> Tensor:
        """y of a picture, or of an area, which ends config.receptive_field pixels earlier at its inner sides."""
        y: Tensor = self.g_a(x, weights, inner)
        return y

    def hyper_analyze(self, y: Tensor, weights: Tensor, inner: InnerSides = WHOLE) -> Tensor:
        """z, which ends HYPER_RECEPTIVE_FIELD pixels earlier at the inner sides."""
        z: Tensor = self.h_a(y, weights, inner)
        return z

    def predict(
        self,
        z_hat: Tensor,
        weights: Tensor,
        code: Callable[[Tensor, Tensor], Tensor],
        window: tuple[slice, slice] = EVERYWHERE,
    ) -> Prediction:
        """Means and steps of y in two checkerboard steps.

        code(mean, step) returns the symbols given a mean: the encoder rounds y / step - mean, the decoder returns
        what it parsed. The first step fixes one half of the positions, the second sees them. `window` is the part of
        y that is wanted, from an even row and column.
        """
        features = self.h_s(z_hat, weights)[:, :, *window]
        step, mean0 = self.mean0(features).chunk(2, dim=1)
        step = inward_clamp(1 + step, 0.5, 64.0)
        first = _checkerboard(mean0)
        y_hat0 = (code(mean0, step) + mean0) * step * first
        seen = y_hat0.clamp(-CONTEXT_LIMIT, CONTEXT_LIMIT)
        mean1 = self.mean1(torch.cat((seen, features), dim=1))
        mean = torch.where(first, mean0, mean1)
        return Prediction(code(mean, step), mean, step)

    def dequantize(
        self,
        y_symbols: Tensor,
        z_hat: Tensor,
        weights: Tensor,
        window: tuple[slice, slice] = EVERYWHERE,
    ) -> Tensor:
        """y_hat of the parsed symbols of a window."""

        def parsed(_mean: Tensor, _step: Tensor) -> Tensor:
            return y_symbols

        return self.predict(z_hat, weights, parsed, window).y_hat

    def synthesize(self, y_hat: Tensor, weights: Tensor) -> Tensor:
        x_hat: Tensor = self.g_s(y_hat, weights)
        return x_hat


def _checkerboard(y: Tensor) -> Tensor:
    """Where the first step codes: even positions of the first half of the channels, odd ones of the second."""
    _, M, H, W = y.shape
    parity = (torch.arange(H, device=y.device)[:, None] + torch.arange(W, device=y.device)) % 2
    second_half = torch.arange(M, device=y.device)[:, None, None] >= M // 2
    return (parity == second_half)[None].contiguous(memory_format=torch.channels_last)


def _log_y_gain(config: ModelConfig) -> Tensor:
    """Start of the gains of y; the constant brings y to a spread of a few steps."""
    return log_gain_start(config) + 2.0
