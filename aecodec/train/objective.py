"""What training minimizes: loss = bpp + lmbda * 255^2 * mse, with CompressAI's entropy models for the bits."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aecodec.coding.prior import ANCHORS, SCALES, SKIPPED_SCALES, Z_LIMIT
from aecodec.coding.reference import EntropyBottleneck, GaussianConditional
from aecodec.networks.config import ModelConfig
from aecodec.networks.layers import Pointwise, inward_clamp
from aecodec.networks.model import LOG_STEP, SCALE_MIN, Autoencoder, anchor_weights, log_gain_start


class Outcome(NamedTuple):
    """Per sample, each [B]."""

    loss: Tensor
    y_bpp: Tensor
    z_bpp: Tensor
    mse: Tensor  # of pixels in 0..1
    z_max: Tensor  # largest |z|
    x_hat: Tensor  # [B, 3, H, W]; whole levels of 0..1 when not training


class EntropyPrior(nn.Module):
    """The trained, floating-point side of what export freezes into integers: bits of z and y."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.N = config.N
        # One factorized prior per anchor: channel a * N + c belongs to channel c of z at anchor a.
        self.bottleneck = EntropyBottleneck(ANCHORS * config.N)
        self.conditional = GaussianConditional(None, scale_bound=SCALE_MIN)
        self.scale_weight = Pointwise(config.N, 16 * config.M)
        start = (log_gain_start(config) - math.log(SCALE_MIN)) / LOG_STEP  # a scale of 1 at the middle
        self.scale_bias = nn.Parameter(start[:, None].expand(ANCHORS, config.M).clone())

    def z_bits(self, z: Tensor) -> Tensor:
        """Bits [B] of z, with noise (training) or as rounded; sample i has the prior of anchor i % ANCHORS."""
        B, N, H, W = z.shape
        values = z.reshape(B // ANCHORS, ANCHORS * N, H, W).transpose(0, 1).reshape(ANCHORS * N, 1, -1)
        if self.training:
            values = self.bottleneck.quantize(values, "noise")
        likelihood = self.bottleneck.likelihood_lower_bound(self.bottleneck._likelihood(values)[0])
        bits = -likelihood.log2().view(ANCHORS, N, B // ANCHORS, H * W).sum((1, 3))
        return bits.transpose(0, 1).reshape(B)

    def scale_index(self, z_hat: Tensor, weights: Tensor) -> Tensor:
        """Continuous coordinate [B, M, H/16, W/16] in the scale table, 0..SCALES-1."""
        bias = (weights @ self.scale_bias)[:, :, None, None]
        return inward_clamp(F.pixel_shuffle(self.scale_weight(z_hat), 4) + bias, 0.0, SCALES - 1.0)

    def y_bits(self, residual: Tensor, scale_index: Tensor) -> Tensor:
        """Bits [B] of the residual y / step - mean, with noise (training) or as rounded."""
        scale = SCALE_MIN * (scale_index * LOG_STEP).exp()
        likelihood = self.conditional(residual, scale, training=self.training)[1]
        return -likelihood.log2().sum((1, 2, 3))


class RateDistortion(nn.Module):
    """Autoencoder and prior as one module with one forward, which DDP can wrap."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.autoencoder = Autoencoder(config)
        self.prior = EntropyPrior(config)

    def forward(self, x: Tensor, position: Tensor) -> Outcome:
        """x [B, 3, H, W] with sides multiple of STRIDE, position [B] on the anchor axis.

        B is a multiple of ANCHORS and anchor i % ANCHORS is the nearest one of sample i: every step sees every quality.
        Under autocast the networks may run in bfloat16; y, the likelihoods and the loss stay in float32.
        """
        model, prior = self.autoencoder, self.prior
        weights = anchor_weights(position)
        y = model.analyze(x, weights)
        z = inward_clamp(model.hyper_analyze(y, weights).float(), -Z_LIMIT, Z_LIMIT)
        z_hat = straight_round(z)
        float32 = torch.autocast(x.device.type, enabled=False)
        with float32:
            scale_index = prior.scale_index(z_hat, weights)
        coded: Tensor | float = 1.0
        if not self.training:
            scale_index = scale_index.round()
            coded = (scale_index >= SKIPPED_SCALES).to(y.dtype)

        def code(mean: Tensor, step: Tensor) -> Tensor:
            return straight_round(y / step - mean) * coded

        prediction = model.predict(z_hat, weights, code)
        x_hat = model.synthesize(prediction.y_hat, weights).float()
        with float32:
            residual = y / prediction.step - prediction.mean if self.training else prediction.symbols
            y_bits, z_bits = prior.y_bits(residual, scale_index), prior.z_bits(z if self.training else z_hat)
        if not self.training:
            x_hat = (x_hat * 255).round().clamp(0, 255) / 255
        pixels = x.shape[2] * x.shape[3]
        mse = (x - x_hat).square().mean((1, 2, 3))
        weight = model.config.lmbda(position)
        # Divided by sqrt(lambda), all qualities weigh alike.
        loss = ((y_bits + z_bits) / pixels + weight * 255**2 * mse) * (model.config.middle_lmbda / weight).sqrt()
        return Outcome(loss, y_bits / pixels, z_bits / pixels, mse, z.detach().abs().amax((1, 2, 3)), x_hat.detach())


def straight_round(x: Tensor) -> Tensor:
    """Rounding with the gradient of the identity."""
    return x + (x.round() - x).detach()
