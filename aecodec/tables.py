"""Integer cumulative tables, frozen at export: what a symbol costs is never computed from floats at run time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from aecodec import _native
from aecodec.errors import InputError

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

    @cached_property
    def native(self) -> _native.Tables:
        """The checked form that the coder uses. Raises InputError for tables that are none."""
        try:
            return _native.Tables(self.cumulative, self.lengths, self.offsets)
        except ValueError as error:
            raise InputError(f"unusable entropy tables: {error}") from error
