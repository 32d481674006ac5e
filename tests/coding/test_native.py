"""The rANS coder against CompressAI's, and against everything that is no stream."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aecodec.coding.entropy import SymbolReader, encode_symbols
from aecodec.coding.tables import PRECISION, TableSet
from aecodec.errors import FormatError, InputError

SYMBOLS = st.integers(-32768, 32767)


@st.composite
def table_sets(draw: st.DrawFn) -> TableSet:
    """Random tables of 2 to 41 entries behind each other (CompressAI divides by zero where one entry has all)."""
    lists, offsets = [], []
    for _ in range(draw(st.integers(1, 4))):
        inner = draw(st.sets(st.integers(1, (1 << PRECISION) - 1), min_size=1, max_size=40))
        lists.append([0, *sorted(inner), 1 << PRECISION])
        offsets.append(draw(st.integers(-50, 50)))
    lengths = np.array([len(values) for values in lists], np.int32)
    return TableSet(np.concatenate(lists).astype(np.int32), lengths, np.array(offsets, np.int32))


@st.composite
def messages(draw: st.DrawFn) -> tuple[TableSet, NDArray[np.int16], NDArray[np.uint16]]:
    """Symbols near the tables and anywhere in 16 bits, with the table of each."""
    tables = draw(table_sets())
    near = st.integers(-60, 100)
    symbols = draw(st.lists(st.one_of(near, SYMBOLS), min_size=0, max_size=60))
    indexes = draw(st.lists(st.integers(0, len(tables.lengths) - 1), min_size=len(symbols), max_size=len(symbols)))
    return tables, np.array(symbols, np.int16), np.array(indexes, np.uint16)


def with_cheap_symbols(
    tables: TableSet, symbols: NDArray[np.int16], indexes: NDArray[np.uint16]
) -> tuple[TableSet, NDArray[np.int16], NDArray[np.uint16]]:
    """The message and symbols that cost next to nothing.

    CompressAI's encoder has room for one word per symbol and none for the final state, and writes past its buffer
    where the symbols are few or dear.
    """
    cheap = 2 + 2 * len(symbols)
    more = TableSet(
        np.concatenate((tables.cumulative, np.array([0, (1 << PRECISION) - 1, 1 << PRECISION], np.int32))),
        np.append(tables.lengths, np.int32(3)),
        np.append(tables.offsets, np.int32(0)),
    )
    indexes = np.concatenate((np.full(cheap, len(tables.lengths), np.uint16), indexes))
    return more, np.concatenate((np.zeros(cheap, np.int16), symbols)), indexes


def read(data: bytes, indexes: NDArray[np.uint16], tables: TableSet) -> NDArray[np.int16]:
    reader = SymbolReader(data, tables)
    symbols = reader.read(indexes)
    reader.finish()
    return symbols


@settings(deadline=None)
@given(messages())
def test_round_trip_is_exact(message: tuple[TableSet, NDArray[np.int16], NDArray[np.uint16]]) -> None:
    tables, symbols, indexes = message
    data = encode_symbols(symbols, indexes, tables)
    assert np.array_equal(read(data, indexes, tables), symbols)


@pytest.mark.xdist_group("compressai")
@settings(deadline=None)
@given(messages())
def test_compressai_writes_and_reads_the_same_bytes(
    message: tuple[TableSet, NDArray[np.int16], NDArray[np.uint16]],
) -> None:
    from aecodec.coding import reference

    tables, symbols, indexes = with_cheap_symbols(*message)
    data = encode_symbols(symbols, indexes, tables)
    assert reference.encode_symbols(symbols, indexes, tables) == data
    rows = [row.tolist() for row in np.split(tables.cumulative, np.cumsum(tables.lengths)[:-1])]
    decoded = reference.ans.RansDecoder().decode_with_indexes(
        data, indexes.tolist(), rows, tables.lengths.tolist(), tables.offsets.tolist()
    )
    assert decoded == symbols.tolist()


def test_table_of_nothing_but_the_escape() -> None:
    tables = TableSet(np.array([0, 1 << PRECISION], np.int32), np.array([2], np.int32), np.array([5], np.int32))
    symbols = np.array([5, 4, 6, -32768, 32767], np.int16)
    indexes = np.zeros(len(symbols), np.uint16)
    assert np.array_equal(read(encode_symbols(symbols, indexes, tables), indexes, tables), symbols)


def test_no_symbol_and_one_symbol_have_a_defined_result() -> None:
    tables = TableSet(np.array([0, 1 << 15, 1 << 16], np.int32), np.array([3], np.int32), np.array([0], np.int32))
    empty = np.zeros(0, np.int16)
    assert encode_symbols(empty, empty.astype(np.uint16), tables) == bytes.fromhex("0000008000000000")
    one = np.array([7], np.int16)
    data = encode_symbols(one, np.zeros(1, np.uint16), tables)
    assert read(data, np.zeros(1, np.uint16), tables).tolist() == [7]


@settings(deadline=None, max_examples=200)
@given(messages(), st.binary(max_size=64))
def test_any_bytes_give_symbols_or_a_format_error(
    message: tuple[TableSet, NDArray[np.int16], NDArray[np.uint16]], data: bytes
) -> None:
    tables, _, indexes = message
    try:
        symbols = read(data, indexes, tables)
    except FormatError:
        return
    assert encode_symbols(symbols, indexes, tables) == data  # a stream that reads is the one that would be written


@pytest.fixture
def message() -> tuple[TableSet, NDArray[np.int16], NDArray[np.uint16]]:
    rng = np.random.default_rng(0)
    cumulative = np.array([0, 9000, 30000, 60000, 1 << 16], np.int32)
    tables = TableSet(cumulative, np.array([5], np.int32), np.array([-1], np.int32))
    return tables, rng.integers(-40, 40, 500).astype(np.int16), np.zeros(500, np.uint16)


@pytest.mark.parametrize("cut", [0, 4, 7, 8, 100, -4, -1])
def test_truncated_stream_is_refused(message: tuple[TableSet, NDArray[np.int16], NDArray[np.uint16]], cut: int) -> None:
    tables, symbols, indexes = message
    data = encode_symbols(symbols, indexes, tables)
    with pytest.raises(FormatError):
        read(data[:cut], indexes, tables)


def test_escape_with_a_leading_zero_digit_is_refused() -> None:
    """The same symbol in more digits than needed: a second file for one picture, which no encoder writes."""
    tables = TableSet(np.array([0, 1 << PRECISION], np.int32), np.array([2], np.int32), np.array([0], np.int32))

    def stream(digits: list[int]) -> bytes:
        state = 1 << 31
        for digit in reversed([len(digits), *digits]):
            state = state << 4 | digit
        return (state & 0xFFFFFFFF).to_bytes(4, "little") + (state >> 32).to_bytes(4, "little")

    zero = np.zeros(1, np.uint16)
    assert read(stream([2]), zero, tables).tolist() == [1]
    with pytest.raises(FormatError, match="leading zero"):
        read(stream([2, 0]), zero, tables)


def test_words_behind_the_end_are_refused(message: tuple[TableSet, NDArray[np.int16], NDArray[np.uint16]]) -> None:
    tables, symbols, indexes = message
    with pytest.raises(FormatError, match="does not end"):
        read(encode_symbols(symbols, indexes, tables) + bytes(4), indexes, tables)


@pytest.mark.parametrize(
    ("cumulative", "lengths", "offsets"),
    [
        ([0, 1 << 16], [3], [0]),
        ([0, 5, 5, 1 << 16], [4], [0]),
        ([1, 1 << 16], [2], [0]),
        ([0, 1 << 15], [2], [0]),
        ([0], [1], [0]),
        ([0, 1 << 16, 9], [2], [0]),
        ([0, 1 << 16], [2], [40000]),
    ],
    ids=["length", "flat", "start", "total", "no entry", "left over", "offset"],
)
def test_tables_that_are_none_are_refused(cumulative: list[int], lengths: list[int], offsets: list[int]) -> None:
    tables = TableSet(*(np.array(values, np.int32) for values in (cumulative, lengths, offsets)))
    with pytest.raises(InputError, match="unusable entropy tables"):
        encode_symbols(np.zeros(1, np.int16), np.zeros(1, np.uint16), tables)


def test_index_without_a_table_is_refused(message: tuple[TableSet, NDArray[np.int16], NDArray[np.uint16]]) -> None:
    tables, symbols, indexes = message
    with pytest.raises(ValueError, match="out of range"):
        encode_symbols(symbols, indexes + 1, tables)


@pytest.fixture
def patient_threads() -> Iterator[None]:
    """Nobody takes the interpreter from a thread that does not give it away."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(100)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("patient_threads")
@pytest.mark.parametrize("direction", ["encode", "decode"])
def test_coding_releases_the_gil(
    message: tuple[TableSet, NDArray[np.int16], NDArray[np.uint16]], direction: str
) -> None:
    """Another thread gets on before the coder is done. Held, the interpreter would be back only afterwards."""
    tables, symbols, indexes = message
    many, which = np.tile(symbols, 20_000), np.tile(indexes, 20_000)
    data = encode_symbols(many, which, tables)
    work = {
        "encode": lambda: encode_symbols(many, which, tables),
        "decode": lambda: SymbolReader(data, tables).read(which),
    }[direction]
    events = []
    begun = threading.Event()

    def code() -> None:
        begun.set()
        work()
        events.append("coded")

    coding = threading.Thread(target=code)
    coding.start()
    begun.wait()
    events.append("got on")
    coding.join()
    assert events == ["got on", "coded"]
