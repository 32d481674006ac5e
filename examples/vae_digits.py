"""A small variational autoencoder (Kingma and Welling 2014) on scikit-learn's digits, with a code of two numbers.

python examples/vae_digits.py --out digits/        (needs torch, scikit-learn and matplotlib; half a minute on one core)

It draws what codes from all over the plane decode to (grid.png) and where digits of each class lie on it (codes.png).
And it prints what ties a VAE to a codec. The negative ELBO of a picture is

    KL(q(z|x) || p(z))  +  E[-log p(x|z)]        =        rate  +  squared error / (2 sigma^2)  +  constant

The first term is what sending z costs beyond the noise that z carries itself, hence a rate in bits. The second is a
distortion, if p(x|z) is a Gaussian around the decoded picture, and 1 / (2 sigma^2) is the lambda that weighs it. So
each sigma is a point on a rate-distortion curve. aecodec minimizes the same sum: its q is uniform noise as wide as a
quantization step, whose own entropy is 0 bits, so that all of the KL is rate, and the entropy coder writes it.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

SIDE = 8  # pixels
SIGMAS = (0.5, 0.3, 0.2)  # of pixels of 0..1: from few bits to many


class Vae(nn.Module):
    """Pictures [n, 64] of 0..1."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(SIDE**2, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 4)
        )
        self.decoder = nn.Sequential(
            nn.Linear(2, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, SIDE**2), nn.Sigmoid()
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of q(z|x), each [n, 2]."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return mean, log_variance

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The KL divergence in nats and the squared error of a sample, each [n]."""
        mean, log_variance = self.encode(x)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
        return kl, ((self.decoder(z) - x) ** 2).sum(1)


class RatePoint(NamedTuple):
    bits_per_pixel: float  # KL
    psnr: float  # dB
    elbo: float  # nats per picture


def fit(x: Tensor, sigma: float, epochs: int) -> Vae:
    torch.manual_seed(0)
    network = Vae()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in x[torch.randperm(len(x))].split(64):
            kl, error = network(batch)
            loss = (kl + error / (2 * sigma**2)).mean()  # the negative ELBO but for a constant
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return network


def measure(network: Vae, x: Tensor, sigma: float) -> RatePoint:
    torch.manual_seed(0)
    with torch.inference_mode():
        kl, error = (value.double().mean().item() for value in network(x))
    pixels = SIDE**2
    elbo = -kl - error / (2 * sigma**2) - pixels / 2 * math.log(2 * math.pi * sigma**2)
    return RatePoint(kl / math.log(2) / pixels, -10 * math.log10(error / pixels), elbo)


def draw_grid(network: Vae, target: Path, count: int = 16) -> None:
    """Decoded codes of a square grid over the plane, -2.5 to 2.5 in both directions."""
    line = torch.linspace(-2.5, 2.5, count)
    codes = torch.stack(torch.meshgrid(line, line.flip(0), indexing="xy"), -1).reshape(-1, 2)
    with torch.inference_mode():
        pictures = network.decoder(codes).numpy().reshape(count, count, SIDE, SIDE)
    pictures = np.pad(pictures, ((0, 0), (0, 0), (1, 1), (1, 1)))
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(
        pictures.transpose(0, 2, 1, 3).reshape(count * (SIDE + 2), -1), cmap="gray_r", extent=(-2.5, 2.5, -2.5, 2.5)
    )
    axes.set(title="what codes decode to")
    figure.savefig(target, dpi=80)


def draw_codes(network: Vae, x: Tensor, classes: np.ndarray, target: Path) -> None:
    """Means of codes, colored by class."""
    with torch.inference_mode():
        codes = network.encode(x)[0].numpy()
    figure = Figure(figsize=(5.6, 5), layout="constrained")
    axes = figure.subplots()
    for digit in range(10):
        axes.scatter(*codes[classes == digit].T, s=8, color=f"C{digit}", label=str(digit))
    axes.set(title="codes of digits that were not trained on", aspect="equal")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(target, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description="a variational autoencoder of digits, as a codec sees it")
    parser.add_argument("--out", type=Path, default=Path("digits"), help="folder of the pictures")
    parser.add_argument("--epochs", type=int, default=100, help="passes over 1,347 digits, for each of three sigmas")
    options = parser.parse_args()
    if options.epochs < 1:
        parser.error(f"epochs must be 1 or more, got {options.epochs}")
    torch.set_num_threads(1)
    digits = load_digits()
    pictures = (digits.data / 16).astype(np.float32)  # levels are 0..16
    train, test, _, classes = train_test_split(pictures, digits.target, random_state=0, stratify=digits.target)
    x_train, x_test = torch.from_numpy(train), torch.from_numpy(test)
    print("sigma   rate: KL      distortion   ELBO, nats a picture")
    for sigma in SIGMAS:
        network = fit(x_train, sigma, options.epochs)
        point = measure(network, x_test, sigma)
        print(f"{sigma:<7} {point.bits_per_pixel:.3f} bpp     {point.psnr:5.2f} dB     {point.elbo:8.2f}")
    print("on digits not trained on: a smaller sigma asks for less error and pays with bits, as a codec's quality does")
    options.out.mkdir(parents=True, exist_ok=True)
    draw_grid(network, options.out / "grid.png")
    draw_codes(network, x_test, classes, options.out / "codes.png")
    print(f"{options.out / 'grid.png'}, {options.out / 'codes.png'}: of the last sigma")


if __name__ == "__main__":
    main()
