"""Integer cumulative tables, frozen at export: what a symbol costs is never computed from floats at run time."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from aecodec import _native
from aecodec.errors import InputError
from aecodec.forked import computed_once

PRECISION = 16  # bits of a table: totals are 1 << PRECISION


@dataclass(frozen=True)
class TableSet:
    """Cumulative tables one behind the other.

    Table i has lengths[i] values 0 = c[0] < c[1] < ... = 1 << PRECISION, hence lengths[i] - 1 entries: the symbols
    from offsets[i] on, and last the escape.
    """

    cumulative: NDArray[np.int32]  # [sum of lengths]
    lengths: NDArray[np.int32]  # [n]
    offsets: NDArray[np.int32]  # [n]

    def __getstate__(self) -> dict[str, NDArray[np.int32]]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # native cannot be pickled

    @computed_once
    def native(self) -> _native.Tables:
        """The checked form that the coder uses. Raises InputError for tables that are none."""
        try:
            return _native.Tables(self.cumulative, self.lengths, self.offsets)
        except ValueError as error:
            raise InputError(f"unusable entropy tables: {error}") from error

    def bits(self, which: slice, reach: int) -> NDArray[np.float32]:
        """What each symbol of -reach..reach costs in each of some tables, [n, 2 * reach + 1]; nearly, for escapes."""
        symbols = np.arange(-reach, reach + 1)
        escape = 4 * np.ceil(np.log2(2 * np.abs(symbols) + 2) / 4) + 4  # four bits for each digit and for their number
        starts = np.cumsum(self.lengths) - self.lengths
        rows = []
        for start, length, offset in zip(starts[which], self.lengths[which], self.offsets[which], strict=True):
            costs = PRECISION - np.log2(np.diff(self.cumulative[start : start + length]))
            entry = symbols - offset
            inside = (entry >= 0) & (entry < length - 2)
            rows.append(np.where(inside, costs[np.where(inside, entry, 0)], costs[-1] + escape))
        return np.array(rows, np.float32)
