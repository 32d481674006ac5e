"""y by gradient: what the analysis network gives is moved to where its symbols cost less in bits and error together.

Stochastic Gumbel annealing (Yang, Bamler and Mandt 2020), with the distance to the middle between two integers as the
logit. The first stages are the relaxation alone, sharper from step to step; then noise grows from stage to stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from aecodec.coding.symbols import REACH
from aecodec.encoder.effort import Stage
from aecodec.networks.model import Autoencoder

_SOFTNESS = (0.5, 0.15)  # of the relaxed rounding, from the first step of a stage to its end
_DECAY = 0.1  # of the learning rate, likewise


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


@torch.no_grad()
def refine(
    network: Autoencoder, y: Tensor, problem: Problem, stages: Sequence[Stage], stepped: Callable[[], None]
) -> Tensor:
    """y [B, M, h, w] whose rounding gives less of bits + error_weight * squared error, or else what it was.

    Each stage begins from the best so far and is kept where its rounding is better, picture by picture; so more stages
    never give more. stepped is called at every step.
    """
    generator = torch.Generator(y.device).manual_seed(0)
    z_hat, window, gains = problem.z_hat, problem.window, problem.gains
    width = network.predict(z_hat, gains, lambda mean, _: torch.zeros_like(mean), window).step
    best = y / width
    least = _loss(network, best, problem, torch.round)
    for stage in stages:
        moved = _anneal(network, best, problem, stage, generator, stepped)
        loss = _loss(network, moved, problem, torch.round)
        better = loss < least
        best = torch.where(better[:, None, None, None], moved, best)
        least = torch.where(better, loss, least)
    return best * width


def _anneal(
    network: Autoencoder,
    start: Tensor,
    problem: Problem,
    stage: Stage,
    generator: torch.Generator,
    stepped: Callable[[], None],
) -> Tensor:
    """y in quantization steps, after the gradient steps of a stage."""
    with torch.enable_grad():
        moved = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([moved])
        for step in range(stage.steps):
            done = step / stage.steps
            optimizer.param_groups[0]["lr"] = stage.rate * _DECAY**done
            softness = _SOFTNESS[0] ** (1 - done) * _SOFTNESS[1] ** done
            optimizer.zero_grad()
            rounding = partial(_relaxed_round, softness=softness, noise=stage.noise, generator=generator)
            _loss(network, moved, problem, rounding).sum().backward()
            optimizer.step()
            stepped()
    return moved.detach()


def _loss(network: Autoencoder, y: Tensor, problem: Problem, rounding: Callable[[Tensor], Tensor]) -> Tensor:
    """Bits and weighted squared error [B] of y in quantization steps."""

    def code(mean: Tensor, _: Tensor) -> Tensor:
        return rounding(y - mean) * problem.coded

    x, z_hat, window, gains, *_ = problem
    prediction = network.predict(z_hat, gains, code, window)
    x_hat = network.synthesize(prediction.y_hat, gains)[:, :, : x.shape[2], : x.shape[3]]
    error = (x_hat - x).square().sum((1, 2, 3))
    return _bits(prediction.symbols, problem).sum((1, 2, 3)) + problem.error_weight * error


def _relaxed_round(value: Tensor, softness: float, noise: float, generator: torch.Generator) -> Tensor:
    """Rounding as a smooth step between neighboring integers, at a place that noise moves.

    Every picture of a batch has the same noise, so that it gives the file that it gives alone.
    """
    below = value.detach().floor()
    logit = 2 * (value - below - 0.5) / softness
    if noise:
        uniform = torch.rand(value.shape[1:], generator=generator, dtype=value.dtype, device=value.device).clamp_(
            1e-6, 1 - 1e-6
        )
        logit = logit + noise * uniform.logit()
    return below + logit.sigmoid()


def _bits(symbols: Tensor, problem: Problem) -> Tensor:
    """The bits of each symbol, interpolated where it is relaxed."""
    symbols = symbols.clamp(-REACH, REACH - 1e-3)
    below = symbols.detach().floor()
    entry = problem.table * (2 * REACH + 1) + below.long() + REACH
    costs = problem.bits.flatten()
    return torch.lerp(costs[entry], costs[entry + 1], symbols - below)
