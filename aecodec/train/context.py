"""How well z is foretold by its neighbors: counted on pictures once the networks stand still.

A linear prediction of each channel from z to the left and above (by ridge regression) is cut into ranges that are
equally likely, and each range gets a table of what was seen in it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from aecodec.coding.prior import ANCHORS, Z_LIMIT, Context
from aecodec.coding.reference import pmf_to_quantized_cdf
from aecodec.coding.tables import PRECISION, TableSet
from aecodec.networks.model import anchor_weights
from aecodec.train.objective import RateDistortion

_SETS = 2 * ANCHORS - 1  # one for each anchor and one between: halfway to the next anchor its tables fit z badly
_CHOICES = 8  # tables of a symbol
_PICTURES = 240  # at most
_RIDGE = 50.0
_BASE_COUNT = 20.0  # symbols that the table without context counts for


class Table(NamedTuple):
    """One table of a TableSet."""

    cumulative: NDArray[np.int32]
    offset: int


@torch.no_grad()
def fit_context(model: RateDistortion, squares: Tensor, base: TableSet, *, quiet: bool) -> tuple[Context, TableSet]:
    """The context of z and its tables, from pictures uint8 [n, 3, H, W]; base has the tables without context."""
    order = np.random.default_rng(0).permutation(len(squares))[:_PICTURES]
    starts = np.cumsum(base.lengths) - base.lengths
    weights, thresholds, tables = [], [], []
    for position in tqdm(np.linspace(0, ANCHORS - 1, _SETS), desc="context of z", unit="quality", disable=quiet):
        z = np.stack([_z_symbols(model, squares[picture], position) for picture in order])
        weight, sums = _predict(z)
        weights.append(weight)
        for channel, prediction in enumerate(sums):
            index = round(position) * len(sums) + channel
            rows = base.cumulative[starts[index] : starts[index] + base.lengths[index]]
            plain = Table(rows, int(base.offsets[index]))
            cuts = np.quantile(prediction, np.arange(1, _CHOICES) / _CHOICES).round()
            chosen = (prediction[:, None] >= cuts).sum(1)
            thresholds.append(cuts.astype(np.int32))
            tables += [_count(z[:, channel].ravel()[chosen == choice], plain) for choice in range(_CHOICES)]
    context = Context(np.stack(weights), np.reshape(thresholds, (_SETS, -1, _CHOICES - 1)))
    return context, TableSet(
        np.concatenate([table.cumulative for table in tables]),
        np.array([len(table.cumulative) for table in tables], np.int32),
        np.array([table.offset for table in tables], np.int32),
    )


def _z_symbols(model: RateDistortion, square: Tensor, position: float) -> NDArray[np.int8]:
    """[N, H/64, W/64]"""
    device = next(model.parameters()).device
    x = square[None].to(device, memory_format=torch.channels_last).float().div(255)
    gains = anchor_weights(torch.tensor([position], dtype=torch.float32, device=device))
    z = model.autoencoder.hyper_analyze(model.autoencoder.analyze(x, gains), gains)[0]
    symbols: NDArray[np.int8] = z.round().clamp(-Z_LIMIT, Z_LIMIT).to(torch.int8).cpu().numpy()
    return symbols


def _predict(z: NDArray[np.int8]) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Weights [N, 2 * (N + 1)] of one set as in Context, and the sums [N, n * H * W] that they give for z."""
    n, N, H, W = z.shape
    padded = np.zeros((n, N + 1, H + 1, W + 1))
    padded[:, :N, 1:, 1:] = z
    padded[:, N, 1:, 1:] = 1
    left, above = padded[:, :, 1:, :-1], padded[:, :, :-1, 1:]
    around = np.concatenate((left, above), 1).transpose(0, 2, 3, 1).reshape(n * H * W, -1)
    centered = z.transpose(0, 2, 3, 1).reshape(n * H * W, N) - z.mean((0, 2, 3))
    exact = np.linalg.solve(around.T @ around + _RIDGE * np.eye(2 * (N + 1)), around.T @ centered).T
    step = np.maximum(np.abs(exact).max(1, keepdims=True), 1e-9) / 127
    weight = np.rint(exact / step).astype(np.int8)
    return weight, weight @ around.T


def _count(symbols: NDArray[np.int8], plain: Table) -> Table:
    """The table of what was seen, smoothed by the plain one; what lies more than one beyond that is an escape."""
    first = plain.offset
    shares = np.diff(plain.cumulative) / 2**PRECISION  # the last is the escape
    entries = symbols.astype(int) - first
    entries[(entries < 0) | (entries >= len(shares))] = len(shares) - 1
    seen = np.bincount(entries, minlength=len(shares)).astype(np.float64)
    found = np.flatnonzero(seen[:-1])
    middle = int(shares[:-1].argmax())
    low = max(0, found.min(initial=middle) - 1)
    high = min(len(shares) - 2, found.max(initial=middle) + 1)
    mixed = (seen + _BASE_COUNT * shares) / (len(symbols) + _BASE_COUNT)
    inside = mixed[low : high + 1]
    pmf = torch.tensor([*inside, max(0.0, 1 - inside.sum())])
    return Table(pmf_to_quantized_cdf(pmf, PRECISION).numpy(), first + low)
