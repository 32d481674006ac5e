"""What a command tells."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

import aecodec
from aecodec.cli.files import is_stream
from aecodec.cli.urls import Place

# What would end the line, speak to the terminal, turn what follows, or is no character.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """A text with names of files in it as one line: control characters are written as escapes."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def counted(count: int, noun: str) -> str:
    """1 tile, 2 tiles."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def told(error: BaseException) -> str:
    """What an error says as one line, and as one more for each of its notes (add_note)."""
    return "\n".join(map(printable, [str(error), *getattr(error, "__notes__", ())]))


def reason(error: BaseException) -> str:
    """What to tell of an error that a file or this machine has caused, as told has it: without a traceback."""
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error)):  # torch's
        return "out of memory"
    if isinstance(error, aecodec.CodecError | OSError):
        return told(error)
    return printable(f"{type(error).__name__}: {error}".splitlines()[0])


class Reporter:
    """What a command tells: results unless --quiet, timing with -v."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.verbose, self.quiet = False, quiet
        self.started = time.perf_counter()

    def result(self, target: Place, line: str) -> None:
        """Tell what was written to a target; beside the data if that goes to standard output."""
        if not self.quiet:
            click.echo(f"{printable(str(target))}: {line}", err=is_stream(target))

    def note(self, message: Warning | str, *_: object) -> None:
        """What warnings call."""
        if not self.quiet:
            click.echo(f"Note: {printable(str(message))}", err=True)

    @contextmanager
    def bar(self, *, shown: bool) -> Iterator[Callable[[float], None] | None]:
        """A progress bar on a terminal, as what gets the share that was done since its last call."""
        if not shown or self.quiet or sys.stderr is None or not sys.stderr.isatty():
            yield None
            return
        parts = 10_000  # click counts whole ones
        with click.progressbar(length=parts, label="looking for less", file=sys.stderr) as bar:
            yield lambda share: bar.update(round(share * parts))

    def timing(self, stage: str) -> None:
        """Say how long it took since the last stage."""
        now = time.perf_counter()
        if self.verbose:
            click.echo(f"{stage}: {now - self.started:.3f} s", err=True)
        self.started = now
