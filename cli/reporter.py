"""What a command tells."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from aecodec.cli.files import is_stream
from aecodec.cli.urls import Place

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # would end the line, or speak to the terminal


def printable(text: str, name: str | None = None) -> str:
    """A name of a file, or a text with that name in it, as one line: its control characters are written as escapes."""
    if name is None:
        return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
    return text.replace(name, printable(name))


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
            click.echo(f"Note: {message}", err=True)

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
