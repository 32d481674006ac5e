"""Integers to bytes and back, by rANS on numpy buffers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aecodec import _native
from aecodec.coding.tables import TableSet
from aecodec.errors import FormatError, TruncatedError


def encode_symbols(symbols: NDArray[np.int16], indexes: NDArray[np.uint16], tables: TableSet) -> bytes:
    """The stream of symbols [n], symbol i coded with table indexes[i]; the same bytes as CompressAI's coder."""
    return _native.encode(symbols, indexes, tables.native)


class SymbolReader:
    """Reads one stream, in several steps where later indexes depend on earlier symbols.

    Raises FormatError for bytes that encode_symbols cannot have written.
    """

    def __init__(self, data: bytes, tables: TableSet) -> None:
        self._tables = tables.native
        try:
            self._decoder = _native.Decoder(data)
        except _native.StreamError as error:
            raise FormatError(str(error)) from error

    def read(self, indexes: NDArray[np.uint16], *, cut: bool = False) -> NDArray[np.int16]:
        """The next len(indexes) symbols. Of data that is cut, 0 behind its end or first error, where reading ends."""
        symbols = np.zeros(len(indexes), np.int16)
        try:
            self._decoder.decode(indexes, self._tables, symbols)
        except _native.StreamError as error:
            if not cut:
                raise (TruncatedError if isinstance(error, _native.EndError) else FormatError)(str(error)) from error
        return symbols

    def finish(self) -> None:
        """Check that the stream ends here, in the state that every sound stream ends in."""
        try:
            self._decoder.finish()
        except _native.StreamError as error:
            raise FormatError(str(error)) from error
