"""The report of a run as CSV: a file in which each row stands as soon as it is known, or standard output."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import IO

from aecodec import InputError
from aecodec.cli.files import check_target, is_same, is_stream, replace_file
from aecodec.cli.urls import Place


class Table:
    """Nothing happens without a place. Raises InputError or OSError at once where it could not be written."""

    def __init__(
        self, place: Place | None, names: Sequence[str], inputs: Sequence[Place], folders: Sequence[Place]
    ) -> None:
        """inputs are not replaced; folders will be made for what comes of them, and the report may be in one."""
        self.place = place
        self.names = names
        self.is_stream = place is not None and is_stream(place)
        self._file: IO[str] | None = None
        if place is None:
            return
        if isinstance(place, Path) and not self.is_stream and not place.parent.exists():
            made = [folder.absolute() for folder in folders if isinstance(folder, Path)]
            parent = place.absolute().parent
            if any(parent in (folder, *folder.parents) for folder in made):
                parent.mkdir(parents=True)
        check_target(place, "CSV")
        if not self.is_stream and place.exists():
            for one in inputs:
                if is_same(one, place):
                    raise InputError(f"the report {place} would replace the input {one}: choose another name")
        if isinstance(place, Path) and not self.is_stream:  # names are bytes, and may be no UTF-8
            self._file = place.open("w", newline="", encoding="utf-8", errors="backslashreplace")
            self.add(names)
        elif not self.is_stream:
            replace_file(place, self._text([]))

    def add(self, row: Sequence[object]) -> None:
        """A row that is known: it stays, however the program ends."""
        if self._file is not None:
            with suppress(OSError):  # a full disk, which close will tell
                csv.writer(self._file).writerow(row)
                self._file.flush()

    def close(self, rows: Iterable[Sequence[object]]) -> None:
        """Replace the rows so far by all of them in their order. What is no regular file has them already."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        if self.place is not None and (not isinstance(self.place, Path) or self.is_stream or self.place.is_file()):
            replace_file(self.place, self._text(rows))

    def _text(self, rows: Iterable[Sequence[object]]) -> bytes:
        file = StringIO(newline="")
        csv.writer(file).writerows([self.names, *rows])
        return file.getvalue().encode("utf-8", "backslashreplace")
