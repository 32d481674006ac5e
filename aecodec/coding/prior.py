"""Which table each symbol is coded with: from integers alone, so that every machine agrees.

This is the normative half of the hyper prior (docs/format.md, "Table index"); the float half predicts means only and
cannot desynchronize a stream. The idea of integer priors is Balle et al. 2019, "Integer networks"; that decoded
neighbors tell what comes is older than learned codecs (context coding, Langdon and Rissanen 1981).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aecodec import _native
from aecodec.errors import InputError
from aecodec.format.container import MAX_LEVEL, MIN_LEVEL

ANCHORS = 8
SCALES = 64  # tables of y, by growing scale
SKIPPED_SCALES = 3  # y symbols of the narrowest tables (scale <= 0.15) are 0 and not coded
Z_LIMIT = 127  # z symbols are -Z_LIMIT..Z_LIMIT
_SPAN = MAX_LEVEL - MIN_LEVEL


def anchor_position(level: int) -> float:
    """Place of a level on the anchor axis, 0..ANCHORS-1: for networks, not for parsing."""
    return (level - MIN_LEVEL) * (ANCHORS - 1) / _SPAN


@dataclass(frozen=True)
class Context:
    """Integers that choose among several tables of a z symbol, from what is to the left and above; made by export.

    There are sets for levels at equal distances, the first for the lowest and the last for the highest.
    """

    weight: NDArray[np.int8]  # [sets, N, 2 * (N + 1)]
    thresholds: NDArray[np.int32]  # [sets, N, tables of a symbol - 1], growing

    def __post_init__(self) -> None:
        types = [array.dtype.name for array in (self.weight, self.thresholds)]
        shapes = [array.shape for array in (self.weight, self.thresholds)]
        sets, N = shapes[0][:2]
        if types != ["int8", "int32"] or shapes != [(sets, N, 2 * (N + 1)), (sets, N, shapes[1][-1])] or sets < 2:
            raise InputError(f"context has unusable types {types} or shapes {shapes}")
        if sets * N * self.choices + SCALES > 1 << 16 or not _exact(self.weight):
            raise InputError(f"context of {sets * N * self.choices} tables is too large")

    @property
    def choices(self) -> int:
        """Tables of one symbol."""
        return self.thresholds.shape[2] + 1

    def choose(
        self, z: NDArray[np.int8], nearest: int, rows: NDArray[np.intp], columns: NDArray[np.intp]
    ) -> NDArray[np.intp]:
        """[N, places]: which of its tables each symbol of z [N, H, W] at some places has, from its neighbors alone."""
        around = np.concatenate((_seen(z, rows, columns - 1), _seen(z, rows - 1, columns)))
        sums = _product(self.weight[nearest], around)
        chosen: NDArray[np.intp] = (sums >= self.thresholds[nearest].T[:, :, None]).sum(0)
        return chosen


@dataclass(frozen=True)
class Prior:
    """Integers that map z_symbols to tables; made by export."""

    weight: NDArray[np.int8]  # [16 * M, N]
    multiplier: NDArray[np.int32]  # [16 * M]
    bias: NDArray[np.int32]  # [ANCHORS, 16 * M]
    shift: int
    context: Context | None = None  # without one, each channel of z has one table per anchor

    def __post_init__(self) -> None:
        types = [array.dtype.name for array in (self.weight, self.multiplier, self.bias)]
        if types != ["int8", "int32", "int32"] or not 0 < self.shift < 32:
            raise InputError(f"prior has unusable types {types} or shift {self.shift}")
        rows, _ = self.weight.shape
        if (self.multiplier.shape, self.bias.shape) != ((rows,), (ANCHORS, rows)):
            raise InputError(
                f"prior of {self.weight.shape}, {self.multiplier.shape} and {self.bias.shape} does not fit"
            )
        if not _exact(self.weight):
            raise InputError("prior weights exceed the exact range")
        if self.context and self.context.weight.shape[1] != self.N:
            raise InputError(f"context is for {self.context.weight.shape[1]} channels of z, not {self.N}")

    @property
    def N(self) -> int:
        return self.weight.shape[1]

    @property
    def M(self) -> int:
        return self.bias.shape[1] // 16

    @property
    def z_sets(self) -> int:
        """Sets of tables of z, for levels at equal distances."""
        return len(self.context.weight) if self.context else ANCHORS

    @property
    def z_tables(self) -> int:
        """Tables of z, which stand before those of y."""
        return self.z_sets * self.N * (self.context.choices if self.context else 1)

    def z_steps(
        self, z: NDArray[np.int8], level: int
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.uint16]]]:
        """Places (rows, columns) of z [N, H, W] that are coded together, in order, and the tables [N * places] there.

        A step depends on z of the steps before alone, so that a decoder can fill z in as it goes.
        """
        N, H, W = z.shape
        nearest = (2 * (level - MIN_LEVEL) * (self.z_sets - 1) + _SPAN) // (2 * _SPAN)
        channels = nearest * N + np.arange(N)[:, None]
        rows, columns = np.divmod(np.arange(H * W), W)
        if self.context is None:
            yield rows, columns, channels.repeat(H * W).astype(np.uint16)
            return
        for diagonal in range(H + W - 1):
            here = rows + columns == diagonal
            place = rows[here], columns[here]
            tables = channels * self.context.choices + self.context.choose(z, nearest, *place)
            yield *place, tables.ravel().astype(np.uint16)

    def table_index(self, z_symbols: NDArray[np.int8], level: int) -> NDArray[np.uint8]:
        """Scale index [M, H/16, W/16], 0..SCALES-1, of every y symbol from z_symbols [N, H/64, W/64]."""
        N, H, W = z_symbols.shape
        place = (level - MIN_LEVEL) * (ANCHORS - 1)
        low = min(place // _SPAN, ANCHORS - 2)
        part = place - low * _SPAN
        bias = (self.bias[low].astype(np.int64) * (_SPAN - part) + self.bias[low + 1].astype(np.int64) * part) // _SPAN
        sums = _product(self.weight, z_symbols.reshape(N, H * W))
        index = np.empty((self.M, 4 * H, 4 * W), np.uint8)
        _native.table_index(sums.reshape(-1, H, W), self.multiplier, bias, self.shift, index)
        return index


def _product(weight: NDArray[np.int8], x: NDArray[np.int8]) -> NDArray[np.int32]:
    """weight @ x [rows, places], in integers."""
    sums = np.empty((len(weight), x.shape[1]), np.int32)
    _native.product(np.ascontiguousarray(weight), np.ascontiguousarray(x), sums)
    return sums


def _exact(weight: NDArray[np.int8]) -> bool:
    """Whether sums of products with z stay below 2^24, as docs/format.md asks: float32 counts them exactly, too."""
    return int(np.abs(weight.astype(np.int64)).sum(-1).max(initial=0)) * Z_LIMIT < 1 << 24


def _seen(z: NDArray[np.int8], rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.int8]:
    """[N + 1, places]: z and a 1, all 0 for places outside."""
    inside = (rows >= 0) & (columns >= 0)
    seen: NDArray[np.int8] = np.concatenate((z[:, rows, columns] * inside, inside[None].astype(np.int8)))
    return seen
