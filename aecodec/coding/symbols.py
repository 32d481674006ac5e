"""The coded integers of a picture, a tile of them to its stream and back, and what they cost.

No float decides anything here but costs, which guide an encoder alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aecodec.coding import entropy
from aecodec.coding.prior import SCALES, SKIPPED_SCALES, Z_LIMIT, Prior
from aecodec.coding.tables import TableSet
from aecodec.errors import FormatError, InputError
from aecodec.format.container import STRIDE, Y_STRIDE, Box

REACH = 64  # symbols whose bits are told apart


class Symbols(NamedTuple):
    """The coded integers of a window of the padded picture."""

    z: NDArray[np.int8]  # [N, h/64, w/64]
    y: NDArray[np.int16]  # [M, h/16, w/16]
    window: Box
    y_index: NDArray[np.uint8] | None = None  # as y: what Prior.table_index gives; an encoder needs it again

    @property
    def known_index(self) -> NDArray[np.uint8]:
        """y_index of what an encoder makes."""
        assert self.y_index is not None
        return self.y_index

    @classmethod
    def empty(cls, prior: Prior, window: Box, *, indexed: bool = False) -> Symbols:
        z = np.empty((prior.N, *window.reduced(STRIDE).shape), np.int8)
        shape = (prior.M, *window.reduced(Y_STRIDE).shape)
        return cls(z, np.empty(shape, np.int16), window, np.empty(shape, np.uint8) if indexed else None)

    @classmethod
    def zeros(cls, prior: Prior, window: Box) -> Symbols:
        symbols = cls.empty(prior, window)
        symbols.z[:], symbols.y[:] = 0, 0
        return symbols

    def put(self, part: Symbols) -> None:
        """Copy the symbols of a window inside this one."""
        place = part.window.relative_to(self.window)
        self.z[:, *place.cells(STRIDE)] = part.z
        self.y[:, *place.cells(Y_STRIDE)] = part.y


@dataclass(frozen=True)
class TileCoder:
    """What both sides must agree on: tables, and which one codes which symbol."""

    prior: Prior
    tables: TableSet  # first the sets of z, one per anchor, then the tables of y
    entropy_coder: str = "native"  # "compressai" writes the same bytes

    def __post_init__(self) -> None:
        if self.entropy_coder not in ("native", "compressai"):
            raise InputError(f"entropy_coder must be native or compressai, got {self.entropy_coder}")

    def encode(self, symbols: Symbols, box: Box, level: int) -> bytes:
        """The stream of a tile."""
        z_tile = symbols.z[:, *box.cells(STRIDE)]
        known = symbols.y_index
        y_index = self.prior.table_index(z_tile, level) if known is None else known[:, *box.cells(Y_STRIDE)]
        coded = y_index >= SKIPPED_SCALES
        steps = list(self.prior.z_steps(z_tile, level))
        z_parts = [z_tile[:, rows, columns].ravel().astype(np.int16) for rows, columns, _ in steps]
        flat = np.concatenate((*z_parts, symbols.y[:, *box.cells(Y_STRIDE)][coded]))
        indexes = np.concatenate((*(tables for *_, tables in steps), self._y_tables(y_index[coded])))
        if self.entropy_coder == "compressai":
            from aecodec.coding import reference

            return reference.encode_symbols(flat, indexes, self.tables)
        return entropy.encode_symbols(flat, indexes, self.tables)

    def parse(self, stream: bytes, symbols: Symbols, box: Box, level: int, *, cut: bool = False) -> None:
        """Write the symbols of a tile. Raises FormatError for a stream that encode cannot have written.

        Of a stream that is cut off: all z, and y as far as it goes or is none, 0 behind. It must hold all z.
        """
        reader = entropy.SymbolReader(stream, self.tables)
        place = box.relative_to(symbols.window)
        z_tile = symbols.z[:, *place.cells(STRIDE)]
        for rows, columns, tables in self.prior.z_steps(z_tile, level):
            z_parsed = reader.read(tables)
            if z_parsed.min() < -Z_LIMIT or z_parsed.max() > Z_LIMIT:
                raise FormatError(f"z symbol is outside -{Z_LIMIT}..{Z_LIMIT}")
            z_tile[:, rows, columns] = z_parsed.reshape(len(z_tile), -1)
        y_index = self.prior.table_index(z_tile, level)
        coded = y_index >= SKIPPED_SCALES
        y_tile = np.zeros(y_index.shape, np.int16)
        y_tile[coded] = reader.read(self._y_tables(y_index[coded]), cut=cut)
        if not cut:
            reader.finish()
        symbols.y[:, *place.cells(Y_STRIDE)] = y_tile

    def _y_tables(self, y_index: NDArray[np.uint8]) -> NDArray[np.uint16]:
        return y_index.astype(np.uint16) + np.uint16(self.prior.z_tables)


class Costs:
    """What y symbols cost in bits, by table index."""

    def __init__(self, tables: TableSet) -> None:
        self.bits = tables.bits(slice(-SCALES, None), REACH)  # [SCALES, 2 * REACH + 1]
        self.bits[:SKIPPED_SCALES] = 0

    def dead_zone(self, width: float) -> NDArray[np.float32]:
        """[SCALES]: values nearer to 0 are coded as 0; inf where nothing is coded. width is that of Effort."""
        saved = self.bits[:, REACH + 1] - self.bits[:, REACH]
        zone = 0.5 + width * saved**2
        zone[:SKIPPED_SCALES] = np.inf
        return zone
