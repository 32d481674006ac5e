"""The autoencoders of the ladder and how each is trained: minutes of one core, seeded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

SIDE = 96  # pixels of the crops that convolutional ones learn from
BATCH = 16
WIDTHS = (32, 64, 128, 256, 512)
LEARNING_RATE = 2e-3


class PatchAutoencoder(nn.Module):
    """Patches [n, d] to codes and back, through a hidden layer on each side where hidden is not 0."""

    def __init__(self, d: int, code: int, hidden: int = 0, *, rectified: bool = False) -> None:
        super().__init__()
        self.encode = nn.Sequential(*_layers(d, hidden, code), *([nn.ReLU()] if rectified else []))
        self.decode = nn.Sequential(*_layers(code, hidden, d))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


def _layers(enter: int, hidden: int, leave: int) -> list[nn.Module]:
    if not hidden:
        return [nn.Linear(enter, leave)]
    return [nn.Linear(enter, hidden), nn.ReLU(), nn.Linear(hidden, leave)]


class AutoEncoder224(nn.Module):
    """As tutorials build it: pictures [B, 3, 224, 224] of 0..1 to codes [B, 512, 7, 7] and back.

    Nothing in it depends on the size, so other multiples of 32 go as well.
    """

    def __init__(self) -> None:
        super().__init__()
        self.latent_shape = (WIDTHS[-1], 7, 7)
        ways = list(zip((3, *WIDTHS), WIDTHS, strict=False))
        self.downs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in ways
        )
        self.ups = nn.ModuleList(_up(b, a) for a, b in reversed(ways))

    def encode(self, x: Tensor) -> Tensor:
        for down in self.downs:
            x = down(x)
        return x

    def decode(self, code: Tensor) -> Tensor:
        for up in self.ups:
            code = up(code)
        return code

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


def _up(a: int, b: int) -> nn.Sequential:
    """Twice the size; the last one ends in pixels."""
    up = nn.ConvTranspose2d(a, b, 3, stride=2, padding=1, output_padding=1)
    return nn.Sequential(up, nn.Sigmoid()) if b == 3 else nn.Sequential(up, nn.BatchNorm2d(b), nn.ReLU())


class Rate(nn.Module):
    """The rate term: a learned step per channel, and what the noisy code costs by a learned density, in bits.

    Rounding to steps is uniform noise in training (Balle et al. 2017). The entropy of that noise is 0 in units of the
    step, so the KL divergence from the density to it, which a variational autoencoder pays, is the rate.
    """

    MIXED = 3

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_step = nn.Parameter(torch.full((channels, 1, 1), math.log(0.25)))
        self.mean = nn.Parameter(torch.arange(self.MIXED).float()[:, None, None, None].repeat(1, channels, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(self.MIXED, channels, 1, 1))
        self.weight = nn.Parameter(torch.zeros(self.MIXED, channels, 1, 1))

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """The noisy code, and its bits."""
        step = self.log_step.exp()
        noisy = code / step + torch.rand_like(code) - 0.5
        scale = self.log_scale.exp()
        parts = [
            weight * (torch.sigmoid((noisy + 0.5 - mean) / s) - torch.sigmoid((noisy - 0.5 - mean) / s))
            for weight, mean, s in zip(self.weight.softmax(0), self.mean, scale, strict=True)
        ]
        return noisy * step, -torch.stack(parts).sum(0).clamp(min=1e-6).log2().sum()


def fit_linear(
    covariance: NDArray[np.float64], code: int, steps: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Encoder [code, d] and decoder [d, code] of a linear autoencoder, by gradients alone, from random numbers.

    The squared error depends on patches by their covariance alone, so each step of L-BFGS sees all of them.
    """
    torch.manual_seed(0)
    C = torch.from_numpy(covariance / np.trace(covariance))
    d = len(C)
    encoder, decoder = (
        nn.Parameter(torch.randn(shape, dtype=torch.float64) / math.sqrt(d)) for shape in ((code, d), (d, code))
    )
    limits = {"max_iter": steps, "max_eval": 2 * steps, "tolerance_grad": 1e-12, "tolerance_change": 1e-16}
    optimizer = torch.optim.LBFGS([encoder, decoder], history_size=50, line_search_fn="strong_wolfe", **limits)

    def loss() -> Tensor:
        optimizer.zero_grad()
        seen = encoder @ C
        error = 1 - 2 * (seen * decoder.T).sum() + ((decoder.T @ decoder) * (seen @ encoder.T)).sum()
        error.backward()
        return error

    optimizer.step(loss)
    return tuple(matrix.detach().float().numpy() for matrix in (encoder, decoder))


def fit_patches(network: PatchAutoencoder, patches: NDArray[np.float32], steps: int) -> None:
    """Squared error, by Adam. patches [n, d] are of about 1."""
    data = torch.from_numpy(patches)
    for optimizer in _steps(network.parameters(), steps):
        x = data[torch.randint(len(data), (1024,))]
        F.mse_loss(network(x), x).backward()
        optimizer.step()


def fit_pictures(
    network: AutoEncoder224,
    pictures: Sequence[NDArray[np.uint8]],
    steps: int,
    rate: Rate | None = None,
    worth: float = 0.0,
) -> None:
    """Squared error; with a rate term bits per pixel and worth times squared error in 8-bit levels."""
    network.train()
    parameters = [{"params": list(network.parameters())}]
    if rate is not None:
        parameters.append({"params": list(rate.parameters()), "lr": 10 * LEARNING_RATE})
    for optimizer in _steps(parameters, steps):
        x = _crops(pictures)
        code = network.encode(x)
        bits = torch.zeros(())
        if rate is not None:
            code, bits = rate(code)
        error = F.mse_loss(network.decode(code), x)
        loss = error if rate is None else bits / (len(x) * SIDE * SIDE) + worth * 255**2 * error
        loss.backward()
        optimizer.step()
    network.eval()


def pretrain(network: AutoEncoder224, pictures: Sequence[NDArray[np.uint8]], steps: int) -> None:
    """Layer by layer (Bengio et al. 2007): each pair of layers learns to show again what the layers before it make."""
    network.train()
    pairs = list(zip(network.downs, reversed(network.ups), strict=True))
    for at, (down, up) in enumerate(pairs):
        for optimizer in _steps([*down.parameters(), *up.parameters()], steps // len(pairs)):
            with torch.no_grad():
                x = _crops(pictures)
                for before, _ in pairs[:at]:
                    x = before(x)
            F.mse_loss(up(down(x)), x).backward()
            optimizer.step()
    network.eval()


def _steps(parameters: object, steps: int) -> Iterator[torch.optim.Optimizer]:
    """An optimizer for each step, its gradients empty: at rates that rise within a tenth and fall to 0."""
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)  # type: ignore[arg-type]
    warm = max(steps // 10, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda at: min((at + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * at / max(steps, 1)))
    )
    for _ in range(steps):
        optimizer.zero_grad()
        yield optimizer
        schedule.step()


def _crops(pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
    """[BATCH, 3, SIDE, SIDE] of 0..1, from anywhere in pictures."""
    crops = []
    for at in torch.randint(len(pictures), (BATCH,)).tolist():
        H, W, _ = pictures[at].shape
        top, left = (int(torch.randint(side - SIDE + 1, (1,))) for side in (H, W))
        crops.append(pictures[at][top : top + SIDE, left : left + SIDE])
    return torch.from_numpy(np.stack(crops).transpose(0, 3, 1, 2).copy()).float() / 255
