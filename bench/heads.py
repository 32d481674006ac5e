"""Training of the heads that clean and enlarge: minutes of one CPU core on crops of pictures."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW

from aecodec import Codec
from aecodec.coding.prior import ANCHORS, anchor_position
from aecodec.format.container import quality_level
from aecodec.networks.layers import Pointwise
from aecodec.networks.model import anchor_weights
from aecodec.tasks.correction import (
    SIGMA_UNIT,
    Correction,
    CorrectionNetwork,
    Shape,
    conditions,
    enlarged,
    noise_to_log,
)
from aecodec.tasks.enhance import HIGHEST_SIGMA
from aecodec.train.data import load_squares, random_crops
from aecodec.train.soap import BatchedSOAP

_SEED = 1
_RATE = 2e-3
_BATCH, _PATCH = 4, 128
_NOISY = 0.9  # share of samples, the others are clean
_WARM_UP = 50
_REGRESSED = 1600  # crops
_RIDGE = 0.01
_EVERY = 50  # steps between lines of the log


class Sample(NamedTuple):
    """What a network gets, and what it shall make of it."""

    x_hat: Tensor
    latent: Tensor
    conditions: Tensor
    x: Tensor
    weight: Tensor  # [B]: of the squared error


class Maker:
    """Samples by the frozen networks of a model."""

    def __init__(self, codec: Codec, squares: Tensor, *, bf16: bool) -> None:
        self.network = codec.floats.network
        self.squares = squares
        self.bf16 = bf16

    def noisy(self, step: int, patch: int = _PATCH) -> Sample:
        """Pictures with noise: every other batch as it is before coding, the others coded at qualities from 70."""
        x = random_crops(self.squares, _BATCH, patch)
        gray = torch.rand(_BATCH, 1, 1, 1) < 0.35
        x = torch.where(gray, x.mean(1, keepdim=True), x)
        sigma = torch.rand(_BATCH, 1, 1, 1) * HIGHEST_SIGMA * (torch.rand(_BATCH, 1, 1, 1) < _NOISY)
        noise = torch.randn(x.shape)
        noise = torch.where(gray, noise[:, :1], noise) * sigma / 255
        seen = _levels(x + noise)
        told = gray & (torch.rand(_BATCH, 1, 1, 1) < 0.7)  # gray pictures are not always marked as such
        if step % 2:
            position = _positions(70, 100)
            x_hat, latent = self.coded(seen, position)
            x_hat = torch.where(told, x_hat.mean(1, keepdim=True), x_hat)
        else:
            position = torch.full((_BATCH,), ANCHORS - 1.0)
            x_hat, latent = seen, self.latent(self.analyze(seen, position), position)
        weight = 1 / (sigma + 5).flatten()
        return Sample(x_hat, latent, conditions(sigma.flatten(), told.flatten(), position), x, weight)

    def small(self, _: int) -> Sample:
        """Pictures reduced by two and coded at qualities from 60."""
        x = random_crops(self.squares, _BATCH, 2 * _PATCH)
        x = torch.where(torch.rand(_BATCH, 1, 1, 1) < 0.15, x.mean(1, keepdim=True), x)
        mixed = torch.rand(_BATCH, 1, 1, 1) < 0.25
        cubic = F.interpolate(x, (_PATCH, _PATCH), mode="bicubic", antialias=True)
        seen = _levels(torch.where(mixed, F.avg_pool2d(x, 2), cubic))
        position = _positions(60, 100)
        x_hat, latent = self.coded(seen, position)
        weight = ((enlarged(x_hat, 2) - x).square().mean((1, 2, 3)) + 1e-5).rsqrt()
        none = torch.zeros(_BATCH)
        return Sample(x_hat, latent, conditions(none, none, position), x, weight / 20)

    def coded(self, x: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """What a decoder makes of pictures, and the latent that it makes it of."""
        weights = anchor_weights(position)
        y = self.analyze(x, position)
        with torch.no_grad(), self.autocast():
            z_hat = self.network.hyper_analyze(y, weights).round()
            y_hat = self.network.predict(z_hat, weights, lambda mean, scale: (y / scale - mean).round()).y_hat.float()
            x_hat = _levels(self.network.synthesize(y_hat, weights).float())
        return x_hat, self.latent(y_hat, position)

    def analyze(self, x: Tensor, position: Tensor) -> Tensor:
        with torch.no_grad(), self.autocast():
            return self.network.analyze(x, anchor_weights(position)).float()

    def latent(self, y: Tensor, position: Tensor) -> Tensor:
        """y in units that all qualities share."""
        with torch.no_grad():
            return self.network.g_s.y_gain(y, anchor_weights(position))

    def autocast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.bf16)


def fit(shards: Sequence[Path], model: str, out: Path, task: str, minutes: float, start: Path | None) -> None:
    """Train a head and write it."""
    torch.manual_seed(_SEED)
    codec = Codec.load(model, "cpu", threads=torch.get_num_threads())
    bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    maker = Maker(codec, load_squares(shards), bf16=bf16)
    make = {"denoise": maker.noisy, "upscale": maker.small}[task]
    shape = Shape(codec.weights.prior.M, {"denoise": 1, "upscale": 2}[task])
    network = CorrectionNetwork(shape)
    if start is None:
        latents = torch.cat([make(1).latent for _ in range(8)])
        network.spread.copy_(latents.std((0, 2, 3)) + 1e-3)
    else:
        network.load_state_dict(Correction.load(start, task).network.state_dict())
    network = network.to(memory_format=torch.channels_last)
    matrices = [module.weight for module in network.modules() if isinstance(module, Pointwise)]
    known = {id(weight) for weight in matrices}
    others = [parameter for parameter in network.parameters() if id(parameter) not in known]
    optimizers = [BatchedSOAP(matrices, lr=_RATE), AdamW(others, lr=_RATE, betas=(0.9, 0.99), weight_decay=0)]
    rate = _RATE if start is None else _RATE / 2
    begun, step = time.process_time(), 0
    losses: list[list[float]] = []  # now, and of no head
    while (seconds := time.process_time() - begun) < 60 * minutes:
        share = seconds / 60 / minutes
        factor = min(1.0, (step + 1) / _WARM_UP) * 0.5 * (1 + math.cos(math.pi * share))
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.zero_grad(set_to_none=True)
        sample = make(step)
        with maker.autocast():
            made = network(*sample[:3])
        loss, before = (
            ((x.float() - sample.x).square().mean((1, 2, 3)) * sample.weight).mean() * 255
            for x in (made, enlarged(sample.x_hat, shape.factor))
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        losses.append([loss.item(), before.item()])
        step += 1
        if step % _EVERY == 0:
            now, none = torch.tensor(losses[-_EVERY:]).mean(0)
            print(f"step {step}, {seconds:.0f} s: loss {now:.5f}, {none:.5f} without the head", flush=True)
    if task == "denoise":
        network.noise.copy_(noise_regression(maker, network))
    head = Correction(codec.weights.model_id, task, network)
    head.save(out)
    print(f"{out}: {step} steps, {out.stat().st_size / 1e3:.0f} kB, for model {head.model_id:08x}")


@torch.no_grad()
def noise_regression(maker: Maker, network: CorrectionNetwork) -> Tensor:
    """From statistics of the latent to the noise, by ridge regression: a picture in ten has none."""
    rows, targets = [], []
    for step in range(_REGRESSED // _BATCH):
        sample = maker.noisy(step, 2 * _PATCH)
        rows += [network.statistics(latent.flatten(1).T) for latent in sample.latent]
        targets.append(sample.conditions[:, 0])
    X, t = torch.stack(rows).double(), noise_to_log(torch.cat(targets).double() * SIGMA_UNIT)
    mean, deviation = X[:, 1:].mean(0), X[:, 1:].std(0) + 1e-6
    scaled = torch.cat((torch.ones(len(X), 1), (X[:, 1:] - mean) / deviation), 1).double()
    ridge = _RIDGE * len(X) * torch.eye(scaled.shape[1]).double()
    ridge[0, 0] = 0
    found = torch.linalg.solve(scaled.T @ scaled + ridge, scaled.T @ t)
    slopes = found[1:] / deviation
    return torch.cat((found[:1] - slopes @ mean, slopes)).float()


def _positions(lowest: float, highest: float) -> Tensor:
    """[B] on the anchor axis, of qualities."""
    low, high = (anchor_position(quality_level(quality)) for quality in (lowest, highest))
    return low + (high - low) * torch.rand(_BATCH)


def _levels(x: Tensor) -> Tensor:
    """As 8 bits have them."""
    return x.mul(255).round_().clamp_(0, 255).div_(255).contiguous(memory_format=torch.channels_last)
