"""Which table each symbol is coded with: from integers alone, so that every machine agrees.

This is the normative half of the hyper prior (docs/format.md, "Table index"); the float half predicts means only and
cannot desynchronize a stream. The idea of integer priors is Balle et al. 2019, "Integer networks".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aecodec import _native
from aecodec.errors import InputError

ANCHORS = 8
SCALES = 64  # tables of y, by growing scale
SKIPPED_SCALES = 3  # y symbols of the narrowest tables (scale <= 0.15) are 0 and not coded
Z_LIMIT = 127  # z symbols are -Z_LIMIT..Z_LIMIT
MIN_LEVEL, MAX_LEVEL = 100, 10_000  # quality in hundredths
_SPAN = MAX_LEVEL - MIN_LEVEL


def quality_level(quality: float) -> int:
    """Quality 1..100 as the integer in the header. Raises InputError outside that range."""
    if not 1 <= quality <= 100:
        raise InputError(f"quality must be 1..100, got {quality:g}")
    return round(100 * quality)


def anchor_position(level: int) -> float:
    """Place of a level on the anchor axis, 0..ANCHORS-1: for networks, not for parsing."""
    return (level - MIN_LEVEL) * (ANCHORS - 1) / _SPAN


@dataclass(frozen=True)
class Prior:
    """Integers that map z_symbols to tables; made by export."""

    weight: NDArray[np.int8]  # [16 * M, N]
    multiplier: NDArray[np.int32]  # [16 * M]
    bias: NDArray[np.int32]  # [ANCHORS, 16 * M]
    shift: int

    def __post_init__(self) -> None:
        types = [array.dtype.name for array in (self.weight, self.multiplier, self.bias)]
        if types != ["int8", "int32", "int32"] or not 0 < self.shift < 32:
            raise InputError(f"prior of types {types} and shift {self.shift} is none")
        rows = {len(self.weight), len(self.multiplier), self.bias.shape[1]}
        if len(rows) != 1 or len(self.bias) != ANCHORS:
            raise InputError(
                f"prior of {self.weight.shape}, {self.multiplier.shape} and {self.bias.shape} does not fit"
            )
        # Sums of int8 products stay below 2^24, where float32 counts exactly: table_index may use fast matrix products.
        if int(np.abs(self.weight.astype(np.int64)).sum(1).max()) * Z_LIMIT >= 1 << 24:
            raise InputError("prior weights exceed the exact range")

    @property
    def N(self) -> int:
        return self.weight.shape[1]

    @property
    def M(self) -> int:
        return self.bias.shape[1] // 16

    def channel_index(self, positions: int, level: int) -> NDArray[np.uint16]:
        """Tables of z_symbols [N, positions], flat: one per channel, of the set of the nearest anchor."""
        anchor = (2 * (level - MIN_LEVEL) * (ANCHORS - 1) + _SPAN) // (2 * _SPAN)
        channels = np.arange(anchor * self.N, (anchor + 1) * self.N, dtype=np.uint16)
        return channels.repeat(positions)

    def table_index(self, z_symbols: NDArray[np.int8], level: int) -> NDArray[np.uint8]:
        """Scale index [M, H/16, W/16], 0..SCALES-1, of every y symbol from z_symbols [N, H/64, W/64]."""
        N, H, W = z_symbols.shape
        place = (level - MIN_LEVEL) * (ANCHORS - 1)
        low = min(place // _SPAN, ANCHORS - 2)
        part = place - low * _SPAN
        bias = (self.bias[low].astype(np.int64) * (_SPAN - part) + self.bias[low + 1].astype(np.int64) * part) // _SPAN
        # Exact in any order. By torch, since numpy's threads would get in the way of those that call this.
        sums = self._float_weight @ torch.from_numpy(z_symbols.reshape(N, H * W).astype(np.float32))
        index = np.empty((self.M, 4 * H, 4 * W), np.uint8)
        _native.table_index(sums.numpy().reshape(-1, H, W), self.multiplier, bias, self.shift, index)
        return index

    @cached_property
    def _float_weight(self) -> Tensor:
        return torch.from_numpy(self.weight.astype(np.float32))
