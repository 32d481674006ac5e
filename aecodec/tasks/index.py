"""A table of embeddings: which file has which vector, made by which head."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aecodec.arguments import as_integer, as_number
from aecodec.errors import InputError

FORMS = (".npz", ".csv", ".parquet")  # suffixes of index files
VERSION = 1
_KIND = "aecodec index"
_COLUMNS = ("name", "size_bytes", "mtime_ns", "head")  # before those of the vector
_ROWS = 1024  # that are compared with all others at once


class Entry(NamedTuple):
    """A file as it was when its vector was made: another size or time makes another vector."""

    name: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Index:
    """Vectors of unit length, one for each entry, all by one head (Embedder.head_id)."""

    head_id: int
    entries: list[Entry]
    vectors: NDArray[np.float32]  # [n, d]

    def __post_init__(self) -> None:
        shape = self.vectors.shape
        if self.vectors.dtype != np.float32 or self.vectors.ndim != 2 or shape[0] != len(self.entries):
            raise InputError(f"{len(self.entries)} entries need as many float32 vectors, got {list(shape)}")
        lengths = np.linalg.norm(self.vectors, axis=1)
        if not np.all(np.abs(lengths - 1) < 1e-3):  # not a number is none, too
            raise InputError("a vector is not of unit length")

    def check_head(self, head_id: int) -> None:
        """Raises InputError for vectors of another head than this one, which nothing can be compared with."""
        if self.head_id != head_id:
            raise InputError(
                f"embeddings of head {self.head_id:08x} cannot be compared with those of head {head_id:08x}"
            )

    def nearest(self, vectors: NDArray[np.float32], count: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Positions [m, k] of the most similar entries to each of vectors [m, d], the best first, and how similar.

        k is count (1 or more) or all there are; similarities are cosines, -1..1.
        Raises InputError for another count or shape.
        """
        if as_integer("count", count) < 1:
            raise InputError(f"count must be at least 1, got {count}")
        if vectors.ndim != 2 or vectors.shape[1] != self.vectors.shape[1]:
            raise InputError(f"vectors must be [m, {self.vectors.shape[1]}], got {list(vectors.shape)}")
        k = min(count, len(self.entries))
        places = np.empty((len(vectors), k), np.intp)
        similarities = np.empty((len(vectors), k), np.float32)
        for row, vector in enumerate(vectors):
            products = self.vectors @ vector
            best = np.argpartition(-products, k - 1)[:k] if k else np.empty(0, np.intp)
            places[row] = best[np.argsort(-products[best], kind="stable")]
            similarities[row] = products[places[row]]
        return places, similarities

    def duplicates(self, threshold: float) -> list[list[int]]:
        """Groups of positions whose vectors are linked by similarities of at least threshold, 0..1; largest first.

        In a group each is a near-duplicate of another, not necessarily of all others.
        Raises InputError for a threshold outside.
        """
        if not 0 <= as_number("threshold", threshold) <= 1:
            raise InputError(f"threshold must be 0..1, got {threshold}")
        root = list(range(len(self.entries)))

        def find(one: int) -> int:
            while root[one] != one:
                root[one] = one = root[root[one]]
            return one

        for a, b in self._pairs(threshold):
            low, high = sorted((find(a), find(b)))
            root[high] = low
        groups: dict[int, list[int]] = {}
        for one in range(len(root)):
            groups.setdefault(find(one), []).append(one)
        return sorted((group for group in groups.values() if len(group) > 1), key=len, reverse=True)

    def _pairs(self, threshold: float) -> Iterator[tuple[int, int]]:
        for top in range(0, len(self.vectors), _ROWS):
            products = self.vectors[top : top + _ROWS] @ self.vectors[top:].T
            rows, columns = np.nonzero(np.triu(products >= threshold, 1))
            yield from zip((rows + top).tolist(), (columns + top).tolist(), strict=True)

    def to_bytes(self, form: str) -> bytes:
        """The file of an index; form is one of FORMS. Raises InputError for another, and where pyarrow is missing."""
        _check_form(form)
        names, sizes, times = ([entry[place] for entry in self.entries] for place in range(3))
        if form == ".npz":
            file = BytesIO()
            np.savez(
                file,
                kind=np.array(f"{_KIND} {VERSION}"),
                head=np.array(self.head_id, np.uint32),
                names=np.array(names, np.str_),
                sizes=np.array(sizes, np.int64),
                times=np.array(times, np.int64),
                vectors=self.vectors,
            )
            return file.getvalue()
        head = f"{self.head_id:08x}"
        if form == ".csv":
            text = StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow([*_COLUMNS, *(f"e{column}" for column in range(self.vectors.shape[1]))])
            for entry, vector in zip(self.entries, self.vectors, strict=True):
                writer.writerow([*entry, head, *map(str, vector)])  # str of a float32 is exact
            return text.getvalue().encode("utf-8", "surrogateescape")
        arrow, parquet = _pyarrow()
        columns: dict[str, Any] = {"name": names, "size_bytes": sizes, "mtime_ns": times}
        columns["head"] = [head] * len(names)
        columns |= {f"e{column}": values for column, values in enumerate(self.vectors.T)}
        sink = arrow.BufferOutputStream()
        try:
            parquet.write_table(arrow.table(columns), sink)
        except UnicodeEncodeError as error:
            raise InputError("a file name that is not UTF-8 cannot be written to Parquet: use .npz") from error
        return bytes(sink.getvalue())

    @classmethod
    def from_bytes(cls, data: bytes, form: str) -> Index:
        """The index of a file. Raises InputError for what to_bytes has not written, and as that."""
        _check_form(form)
        read = {".npz": _read_npz, ".csv": _read_csv, ".parquet": _read_parquet}[form]
        try:
            index = read(data)
        except InputError as error:
            raise InputError(f"this is not an aecodec index: {error}" if form != ".parquet" else str(error)) from error
        except Exception as error:  # zipfile, numpy and pyarrow raise whatever a broken file makes them raise
            raise InputError(f"this is not an aecodec index: {str(error) or type(error).__name__}") from error
        return index


def _check_form(form: str) -> None:
    if form not in FORMS:
        raise InputError(f"the name of an index must end in {', '.join(FORMS)}, got {form or 'no suffix'}")


def _read_npz(data: bytes) -> Index:
    with np.load(BytesIO(data), allow_pickle=False) as arrays:
        if "kind" not in arrays:
            raise InputError("it has no array named kind")
        kind = str(arrays["kind"])
        if kind != f"{_KIND} {VERSION}":
            raise InputError(f"it is {kind:.40}, not {_KIND} {VERSION}")
        columns = (arrays[name].tolist() for name in ("names", "sizes", "times"))
        entries = [Entry(*map(_typed, (str, int, int), row)) for row in zip(*columns, strict=True)]
        return Index(int(arrays["head"]), entries, arrays["vectors"])


def _typed(kind: type, value: object) -> Any:
    if type(value) is not kind:
        raise InputError(f"{value!r:.40} is not a valid {kind.__name__}")
    return value


def _read_csv(data: bytes) -> Index:
    names, *rows = csv.reader(StringIO(data.decode("utf-8", "surrogateescape"), newline=""))
    _check_columns(names)
    vectors = np.array([row[len(_COLUMNS) :] for row in rows], np.float32).reshape(len(rows), -1)
    return _from_rows([row[: len(_COLUMNS)] for row in rows], vectors)


def _read_parquet(data: bytes) -> Index:
    arrow, parquet = _pyarrow()
    table = parquet.read_table(arrow.BufferReader(data))
    _check_columns(table.column_names)
    vectors = [table.column(name).to_numpy() for name in table.column_names[len(_COLUMNS) :]]
    rows = zip(*(table.column(name).to_pylist() for name in _COLUMNS), strict=True)
    return _from_rows(list(rows), np.stack(vectors, 1).astype(np.float32))


def _check_columns(names: Sequence[str]) -> None:
    if tuple(names[: len(_COLUMNS)]) != _COLUMNS:
        raise InputError(f"its columns are {', '.join(names)[:60]}, not {', '.join(_COLUMNS)}")


def _from_rows(rows: Sequence[Sequence[Any]], vectors: NDArray[np.float32]) -> Index:
    heads = {int(head, 16) for *_, head in rows}
    if len(heads) != 1:
        raise InputError(f"its vectors are of {len(heads)} heads, not of one")
    entries = [Entry(str(name), int(size), int(time)) for name, size, time, _ in rows]
    return Index(heads.pop(), entries, vectors)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:  # also one that is for another numpy
        raise InputError(f"Parquet needs pyarrow (pip install pyarrow, or take .npz): {error}") from error
    return pyarrow, pyarrow.parquet
