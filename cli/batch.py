"""Many files with one command: what becomes of each."""

from __future__ import annotations

import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from aecodec import InputError
from aecodec.cli import processes
from aecodec.cli.files import remove_leftovers
from aecodec.cli.folders import Job, Outcome, Plan, current, failure, tell_skipped
from aecodec.cli.reporter import Reporter, counted, printable
from aecodec.cli.table import Table
from aecodec.cli.urls import Place, place

Failure = TypeVar("Failure", bound=BaseException)
Work = Callable[[Job], Outcome]
Engine = Callable[[Iterable[Job], Work], Generator[Outcome, None, None]]  # outcomes in the order in which they come


def run(
    found: Plan,
    work: Work,
    engine: Engine,
    is_current: Callable[[Job], bool],
    *,
    dry_run: bool,
    report: Place | None,
    teller: Reporter,
    weights: Path | str | None = None,
    unseen: str = "",
) -> None:
    """Do what is not up to date, with a progress bar; tell at the end, also where Ctrl-C or SIGTERM makes one.

    weights, where they are a file, are nothing for the report to replace; unseen is told where anything is up to date:
    what was asked for and not compared. A bad file stops nothing. Raises InputError with the list of failures after
    all others are done.
    """
    folders = list(dict.fromkeys(job.target.parent for job in found.jobs if job.target is not None))
    inputs = [*(job.source for job in found.jobs), *(place(outcome.source) for outcome in found.failed)]
    if isinstance(weights, Path):
        inputs.append(weights)
    table = Table(report, Outcome._fields, inputs, folders)
    with files_bar(len(found.jobs), hidden=teller.quiet or dry_run) as bar:
        log = _Log(table, bar)
        log.extend(found.failed)
        if not dry_run:
            _sweep(folders)
        waiting = (job for job in found.jobs if not log.has(job, is_current))
        stop = log.extend(engine(waiting, work))
    if stop is not None:
        _sweep(folders)
    outcomes = sorted(log.outcomes, key=lambda outcome: outcome[:2])
    table.close(outcomes)
    _tell(teller, found, outcomes, unseen, err=table.is_stream)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    count = len(found.jobs) + len(found.failed)
    if stop is not None:
        raise _listing(
            Stopped(stop, f"stopped after {len(outcomes)} of {counted(count, 'file')}"), _failures(failed, count)
        )
    check_failures(failed, count)


def check_failures(failed: list[Outcome], count: int) -> None:
    """Raises InputError with the list of what failed of so many files, if anything did."""
    if failed:
        first, *others = _failures(failed, count)
        raise _listing(InputError(first), others)


def _failures(failed: list[Outcome], count: int) -> list[str]:
    return (
        [
            f"{len(failed)} of {counted(count, 'file')} failed",
            *(line for one in failed for line in one.error.split("\n")),
        ]
        if failed
        else []
    )


def _listing(error: Failure, lines: list[str]) -> Failure:
    """An error with a note for each line."""
    for line in lines:
        error.add_note(line)
    return error


class _Log:
    """What became of the files so far, in the report and on the progress bar."""

    def __init__(self, table: Table, bar: Any) -> None:
        self.outcomes: list[Outcome] = []
        self.table = table
        self.bar = bar
        self.saved = 0  # bytes

    def has(self, job: Job, is_current: Callable[[Job], bool]) -> bool:
        """Whether a file is up to date, which is kept then."""
        if not is_current(job):
            return False
        self.keep(current(job))
        return True

    def keep(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.table.add(outcome)
        self.saved += outcome.bytes_before - outcome.bytes_after if outcome.state == "done" else 0
        self.bar.update(1, f"{self.saved / 1e6:.1f} MB saved" if self.saved > 0 else "")

    def extend(self, outcomes: Iterable[Outcome]) -> _Stop | None:
        """Keep outcomes as they come, until they end or a signal asks to end."""
        try:
            with closing(outcomes) if isinstance(outcomes, Generator) else nullcontext(), _stoppable():
                for outcome in outcomes:
                    self.keep(outcome)
        except _Stop as stop:
            return stop
        return None


def _sweep(folders: Iterable[Place]) -> None:
    for folder in folders:
        remove_leftovers(folder)


class _Stop(BaseException):
    """A signal that asks to end."""

    def __init__(self, number: int) -> None:
        self.number = number


class Stopped(click.ClickException):
    """The end of a run that was asked to end, with the exit code of the signal."""

    def __init__(self, stop: _Stop, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + stop.number  # type: ignore[misc] # a class variable in click's stub


@contextmanager
def _stoppable() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal raise _Stop once, where they are not ignored; then they do as before."""
    before: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(number: int, _: object) -> None:
        restore()
        raise _Stop(number)

    try:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                    before[number] = signal.signal(number, stop)
        yield
    finally:
        restore()


def engine(count: int) -> Engine:
    """The engine of one machine. One process is this one; others begin with nothing of it."""
    return partial(_in_processes, count=count)


def _in_processes(jobs: Iterable[Job], work: Work, *, count: int) -> Generator[Outcome, None, None]:
    yield from map(work, jobs) if count == 1 else processes.in_processes(jobs, work, _died, count)


def _died(job: Job) -> Outcome:
    return failure(job, "its worker process died twice, perhaps out of memory")


def files_bar(count: int, *, hidden: bool) -> Any:
    """A progress bar of files, MB saved and time left."""
    hidden = hidden or sys.stderr is None or not sys.stderr.isatty()
    options: dict[str, Any] = {
        "show_pos": True,
        "item_show_func": lambda saved: saved or "",
        "file": sys.stderr,
        "hidden": hidden,
    }
    return click.progressbar(length=count, label="files", **options)


def _tell(teller: Reporter, found: Plan, outcomes: list[Outcome], unseen: str, *, err: bool) -> None:
    """Which notes there are, and how many files were done, left alone and left out."""
    if teller.quiet:
        return
    _tell_notes(teller, outcomes)
    for one in outcomes:
        if one.state == "planned":
            click.echo(f"{printable(one.source)}: {one.bytes_before} bytes, to {printable(one.target)}", err=err)
    states = Counter(outcome.state for outcome in outcomes)
    line = ", ".join(f"{count} {state}" for state, count in states.items())
    done = [outcome for outcome in outcomes if outcome.state == "done"]
    before, after = (sum(getattr(one, name) for one in done) for name in ("bytes_before", "bytes_after"))
    click.echo(f"{line}: {before / 1e6:.2f} MB before, {after / 1e6:.2f} MB after" if before else line, err=err)
    if unseen and states["up to date"]:
        teller.note(unseen)
    if found.skipped:
        click.echo(tell_skipped(found), err=err)
    if teller.verbose:
        for why, names in sorted(found.skipped.items()):
            for name in names:
                click.echo(f"skipped: {printable(name)}: {why}", err=True)


def _tell_notes(teller: Reporter, outcomes: list[Outcome]) -> None:
    """Each note once, with a count and the first of its files; with -v, and in the report, each with its file."""
    files: dict[str, list[str]] = {}
    for one in outcomes:
        if one.notes:
            files.setdefault(one.notes.replace(f"{one.source}: ", ""), []).append(printable(one.source))
    for note, names in files.items():
        for name in names if teller.verbose else names[:1]:
            more = (
                ""
                if teller.verbose or len(names) == 1
                else f" (and {counted(len(names) - 1, 'more file')}; -v names them)"
            )
            teller.note(f"{name}: {note}{more}")
