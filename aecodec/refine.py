"""y by gradient: what the analysis network gives is moved to where its symbols cost less in bits and error together.

Stochastic Gumbel annealing (Yang, Bamler and Mandt 2020), with the distance to the middle between two integers as the
logit, and without noise where there are only a few steps: then the relaxation alone, sharper from step to step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from aecodec.effort import REACH, Effort
from aecodec.model import Autoencoder

_NOISE_STEPS = 20  # with fewer, noise does harm
_NOISE = 0.5  # of the logits
_SOFTNESS = (0.5, 0.15)  # of the relaxed rounding at the first and the last step
_DECAY = 0.1  # of the learning rate, from the first step to the last


class Problem(NamedTuple):
    """What stays as it is while y moves."""

    x: Tensor  # [B, 3, H, W] in 0..1: the pixels that count; y may go on to the right and below
    z_hat: Tensor  # around y
    window: tuple[slice, slice]  # where y is in what z_hat predicts
    gains: Tensor  # [B, ANCHORS]
    table: Tensor  # [B, M, h, w] int64: of each symbol
    coded: Tensor  # [B, M, h, w]: 1 where symbols are coded, else 0
    bits: Tensor  # [SCALES, 2 * REACH + 1]: of symbols by table
    error_weight: float  # bits that a squared error of 1 in one pixel is worth


def refine(network: Autoencoder, y: Tensor, problem: Problem, effort: Effort, stepped: Callable[[], None]) -> Tensor:
    """y [B, M, h, w] whose rounding gives less of bits + error_weight * squared error. stepped is called every step."""
    x, z_hat, window, gains, *_ = problem
    with torch.no_grad():
        width = network.predict(z_hat, gains, lambda mean, _: torch.zeros_like(mean), window).step
    noise = _NOISE if effort.steps >= _NOISE_STEPS else 0.0
    generator = torch.Generator(y.device).manual_seed(0)
    with torch.enable_grad():
        moved = (y / width).requires_grad_()
        optimizer = torch.optim.Adam([moved], betas=(0.9, 0.999))
        for step in range(effort.steps):
            done = step / effort.steps
            optimizer.param_groups[0]["lr"] = effort.rate * _DECAY**done
            softness = _SOFTNESS[0] ** (1 - done) * _SOFTNESS[1] ** done

            def relaxed(mean: Tensor, _: Tensor, softness: float = softness) -> Tensor:
                return _relaxed_round(moved - mean, softness, noise, generator) * problem.coded

            latents = network.predict(z_hat, gains, relaxed, window)
            x_hat = network.synthesize(latents.y_hat, gains)[:, :, : x.shape[2], : x.shape[3]]
            loss = _bits(latents.symbols, problem) + problem.error_weight * (x_hat - x).square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            stepped()
    return moved.detach() * width


def _relaxed_round(value: Tensor, softness: float, noise: float, generator: torch.Generator) -> Tensor:
    """Rounding as a smooth step between neighboring integers, at a place that noise moves."""
    below = value.detach().floor()
    logit = 2 * (value - below - 0.5) / softness
    if noise:
        uniform = torch.rand(value.shape, generator=generator, device=value.device).clamp_(1e-6, 1 - 1e-6)
        logit = logit + noise * uniform.logit()
    return below + logit.sigmoid()


def _bits(symbols: Tensor, problem: Problem) -> Tensor:
    """The bits of relaxed symbols: those of their neighbors, interpolated."""
    symbols = symbols.clamp(-REACH, REACH - 1e-3)
    below = symbols.detach().floor()
    entry = problem.table * (2 * REACH + 1) + below.long() + REACH
    costs = problem.bits.flatten()
    return torch.lerp(costs[entry], costs[entry + 1], symbols - below).sum()
