"""Many files with one command: which, and what became of each."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from PIL import Image

import aecodec
from aecodec import CodecError, InputError
from aecodec.cli import processes
from aecodec.cli.files import (
    AEC,
    PLUGINS,
    check_target,
    noting,
    open_data,
    open_picture,
    read_picture,
    reason,
    register_plugins,
    remove_leftovers,
    replace_file,
)
from aecodec.cli.table import Table
from aecodec.cli.urls import Place, Url
from aecodec.format.container import DEFAULT_QUALITY, SectionKind, quality_level, read_front

if TYPE_CHECKING:
    from aecodec.image import Picture


_NO_PICTURES = ("BUFR", "GRIB", "HDF5", "MPEG", AEC)  # Pillow knows their names, not what is in them
_METADATA = (SectionKind.ICC, SectionKind.EXIF, SectionKind.XMP, SectionKind.DENSITY)
_WORST, _BEST = 100, 10_000  # levels of quality 1 and 100
_FILLED = 0.97  # share of a size target that the search uses at least, and some tolerance
_SLACK = 0.1  # dB by which the search may exceed a target
_APPLE_DOUBLE = "._"  # begins the name of what macOS leaves beside a file on other file systems


class Job(NamedTuple):
    source: Place
    target: Place


class Outcome(NamedTuple):
    """A row of the report; sizes in bytes, psnr in dB, empty where it was not asked for."""

    source: str
    target: str
    state: str  # done, up to date, planned, failed
    bytes_before: int = 0
    bytes_after: int = 0
    psnr: float | None = None
    error: str = ""
    notes: str = ""  # what of the picture is not kept


class Plan(NamedTuple):
    """What is in a folder."""

    jobs: list[Job]
    failed: list[Outcome]  # folders that cannot be read, links to nothing
    skipped: Counter[str]  # what is no picture here, by suffix and reason


class Encoding(NamedTuple):
    """How each file is encoded; travels to the processes."""

    options: dict[str, Any]  # of Codec.encode
    max_pixels: int
    strip: bool
    device: str
    weights: Path | str | None  # a file, or the name of a shipped model
    model_id: int  # of those weights
    threads: int | None
    measure: bool  # PSNR too
    force: bool  # whatever is there

    def is_current(self, job: Job) -> bool:
        """Whether a target is there and as it would be written now. That of a goal only the work on it finds out."""
        return self.goal is None and self.matches(job)

    def matches(self, job: Job) -> bool:
        """Whether a target is not older than its source, and its header has the options.

        What no file tells is not compared: the effort, and what --strip has dropped.
        """
        try:
            if self.force or not job.target.exists() or not job.target.stat().st_mtime >= job.source.stat().st_mtime:
                return False
            with open_data(job.target) as data:
                header, sections = read_front(data, max_pixels=self.max_pixels)
                size = len(data)
        except (OSError, CodecError):  # the work on it will tell
            return False
        options = self.options
        limit = options["max_bytes"] or (options["bpp"] or 0) * header.pixels / 8
        fits = size <= limit and (size >= _FILLED * limit or header.level == _BEST) if limit else True
        by_level = not limit and self.goal is None
        return (
            header.model_id == self.model_id
            and header.tile == options["tile"]
            and (not options["verify"] or SectionKind.DIGEST in sections)
            and not (self.strip and any(kind in sections for kind in _METADATA))
            and fits
            and (not by_level or header.level == quality_level(options["quality"] or DEFAULT_QUALITY))
        )

    @property
    def goal(self) -> tuple[str, float] | None:
        """A figure that only decoding tells, and what it has to be in dB."""
        return next(((name, self.options[name]) for name in ("psnr", "ms_ssim") if self.options[name]), None)

    def meets_goal(self, codec: aecodec.Codec, picture: Picture, data: bytes) -> bool:
        """Whether a file that matches reaches the goal, and no more than is promised."""
        assert self.goal is not None
        name, least = self.goal
        reached = measure(codec, picture, data, name, self.max_pixels)
        return least <= reached and (reached <= least + _SLACK or aecodec.read_header(data).level == _WORST)


Work = Callable[[Job], Outcome]
Engine = Callable[[Iterable[Job], Work], Generator[Outcome, None, None]]  # outcomes in the order in which they come


class _Entry(NamedTuple):
    """Something in a folder."""

    name: str  # relative to the folder of the command
    error: str = ""
    folder: bool = False


def plan(folder: Place, out: Place, *, recursive: bool) -> Plan:
    """A job for every picture. A target has the whole name of its source: no two share one, whatever comes later."""
    suffixes = picture_suffixes()
    found = Plan([], [], Counter())
    for name, error, is_folder in sorted(_entries(folder, recursive=recursive)):
        stem, dot, end = name.rpartition("/")[2].rpartition(".")  # a tenth of the time of pathlib, for 100,000 files
        suffix = f".{end.lower()}" if dot and stem and not name.rpartition("/")[2].startswith(_APPLE_DOUBLE) else ""
        if is_folder and not error:
            found.skipped["folders (--recursive goes into them)"] += 1
        elif error and (is_folder or suffix in suffixes):
            found.failed.append(Outcome(str(folder / name), "", "failed", error=f"{folder / name}: {error}"))
        elif suffix in suffixes:
            found.jobs.append(Job(folder / name, out / f"{name}.aec"))
        elif suffix in PLUGINS:
            found.skipped[f"{suffix} (install {PLUGINS[suffix].package})"] += 1
        else:
            found.skipped[".aec" if suffix == ".aec" else "no pictures"] += 1
    if not (found.jobs or found.failed):
        raise InputError(f"{folder} holds no files to work on" + (f", {_skipped(found)}" if found.skipped else ""))
    return found


def picture_suffixes() -> set[str]:
    """Suffixes of all images that Pillow and its plugins can read."""
    register_plugins()
    Image.init()
    readable = {*Image.OPEN, "MPO"}.difference(_NO_PICTURES)  # MPO is opened as JPEG
    return {suffix for suffix, name in Image.registered_extensions().items() if name in readable}


def _entries(folder: Place, *, recursive: bool) -> Iterator[_Entry]:
    """Files, and what cannot be looked into. A folder that links lead to as well is gone into once."""
    if isinstance(folder, Url):
        yield from (_Entry(str(name)) for name in folder.names(recursive=recursive))
        return
    waiting, seen = deque([""]), set()
    while waiting:
        inside = waiting.popleft()
        try:
            status = (folder / inside).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder / inside) as entries:
                for entry in entries:
                    name = inside + entry.name
                    if not entry.is_dir():
                        yield _Entry(
                            name, "" if entry.is_file() else "no such file" if entry.is_symlink() else "no file"
                        )
                    elif recursive:  # those that are no links first: theirs are the names
                        (waiting.append if entry.is_symlink() else waiting.appendleft)(f"{name}/")
                    else:
                        yield _Entry(name, folder=True)
        except OSError as error:
            if not inside:
                raise
            yield _Entry(inside.rstrip("/"), error.strerror or str(error), folder=True)


def run(
    found: Plan,
    work: Work,
    engine: Engine,
    is_current: Callable[[Job], bool],
    *,
    dry_run: bool,
    report: Place | None,
    quiet: bool,
) -> None:
    """Do what is not up to date, with a progress bar; tell at the end, also where Ctrl-C or SIGTERM makes one.

    A bad file stops nothing. Raises InputError with the list of failures after all others are done.
    """
    folders = list(dict.fromkeys(job.target.parent for job in found.jobs))
    table = Table(report, Outcome._fields)
    with _bar(len(found.jobs), hidden=quiet or dry_run) as bar:
        log = _Log(table, bar)
        log.extend(found.failed)
        if not dry_run:
            _sweep(folders)
        waiting = (job for job in found.jobs if not log.has(job, "up to date", is_current))
        stop = log.extend((_look(job) for job in waiting) if dry_run else engine(waiting, work))
    if stop is not None:
        _sweep(folders)
    outcomes = sorted(log.outcomes, key=lambda outcome: outcome[:2])
    table.close(outcomes)
    if not quiet:
        _tell(found, outcomes, err=table.is_stream)
    failed = [outcome.error for outcome in outcomes if outcome.state == "failed"]
    count = len(found.jobs) + len(found.failed)
    lines = [f"{len(failed)} of {count} files failed", *failed] if failed else []
    if stop is not None:
        raise Stopped(stop, "\n".join([f"stopped after {len(outcomes)} of {count} files", *lines]))
    if failed:
        raise InputError("\n".join(lines))


class _Log:
    """What became of the files so far, in the report and on the progress bar."""

    def __init__(self, table: Table, bar: Any) -> None:
        self.outcomes: list[Outcome] = []
        self.table = table
        self.bar = bar
        self.saved = 0  # bytes

    def has(self, job: Job, state: str, test: Callable[[Job], bool]) -> bool:
        """Whether a file is in a state, which is kept then."""
        if not test(job):
            return False
        self.keep(Outcome(str(job.source), str(job.target), state))
        return True

    def keep(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.table.add(outcome)
        self.saved += outcome.bytes_before - outcome.bytes_after if outcome.state == "done" else 0
        self.bar.update(1, f"{self.saved / 1e6:.1f} MB saved")

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


def in_processes(jobs: Iterable[Job], work: Work, *, count: int) -> Generator[Outcome, None, None]:
    """The engine of one machine. One process is this one; others begin with nothing of it."""
    yield from map(work, jobs) if count == 1 else processes.in_processes(jobs, work, _died, count)


def _died(job: Job) -> Outcome:
    return failure(job, "the process that worked on it died twice, out of memory perhaps")


def failure(job: Job, reason: str) -> Outcome:
    """The outcome of a file that could not be done."""
    message = reason if str(job.source) in reason else f"{job.source}: {reason}"
    return Outcome(str(job.source), str(job.target), "failed", error=message)


def encode_file(encoding: Encoding, job: Job) -> Outcome:
    """Encode one file; what is wrong with it is told by the outcome."""
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        check_target(job.target, AEC, job.source)
        with noting() as notes:
            picture = read_picture(job.source, max_pixels=encoding.max_pixels, strip=encoding.strip)
        codec = _codec(encoding.weights, encoding.device, encoding.threads)
        if encoding.goal and encoding.matches(job):
            with open_data(job.target) as old:
                if encoding.meets_goal(codec, picture, bytes(old)):
                    return Outcome(str(job.source), str(job.target), "up to date")
        data = codec.encode(picture, max_pixels=encoding.max_pixels, **encoding.options)
        psnr = round(measure(codec, picture, data, "psnr", encoding.max_pixels), 3) if encoding.measure else None
        replace_file(job.target, data)
        before = job.source.stat().st_size
        return Outcome(str(job.source), str(job.target), "done", before, len(data), psnr, notes="; ".join(notes))
    except Exception as error:  # memory that is short, a defect of ours: the others do not suffer
        return failure(job, reason(error))


def measure(codec: aecodec.Codec, picture: Picture, data: bytes, name: str, max_pixels: int) -> float:
    """PSNR or MS-SSIM in dB between a picture and its file, as a viewer sees both."""
    from aecodec import metrics
    from aecodec.image import shown_pixels, to_picture

    pictures = (picture, to_picture(codec.decode(data, max_pixels=max_pixels), max_pixels=max_pixels))
    a, b = (shown_pixels(one) for one in pictures)
    return metrics.psnr(a, b) if name == "psnr" else metrics.ms_ssim_db(metrics.ms_ssim(a, b))


@cache
def _codec(weights: Path | str | None, device: str, threads: int | None) -> aecodec.Codec:
    return aecodec.Codec.load(weights, device, threads=threads)


def _look(job: Job) -> Outcome:
    """What --dry-run does to a file: open it, as far as its header."""
    try:
        size = job.source.stat().st_size
        if isinstance(job.source, Path):
            with open_picture(job.source):
                pass
        return Outcome(str(job.source), str(job.target), "planned", size)
    except (CodecError, OSError) as error:
        return failure(job, reason(error))


def _bar(count: int, *, hidden: bool) -> Any:
    """A progress bar of files, MB saved and time left."""
    hidden = hidden or sys.stderr is None or not sys.stderr.isatty()
    options: dict[str, Any] = {
        "show_pos": True,
        "item_show_func": lambda saved: saved or "",
        "file": sys.stderr,
        "hidden": hidden,
    }
    return click.progressbar(length=count, label="files", **options)


def _tell(found: Plan, outcomes: list[Outcome], *, err: bool) -> None:
    """Which notes there are, and how many files were done, left alone and left out."""
    for one in outcomes:
        if one.notes:
            click.echo(f"Note: {one.notes}", err=True)
        if one.state == "planned":
            click.echo(f"{one.source}: {one.bytes_before} bytes, to {one.target}", err=err)
    states = Counter(outcome.state for outcome in outcomes)
    line = ", ".join(f"{count} {state}" for state, count in states.items())
    done = [outcome for outcome in outcomes if outcome.state == "done"]
    before, after = (sum(getattr(one, name) for one in done) for name in ("bytes_before", "bytes_after"))
    click.echo(f"{line}: {before / 1e6:.2f} MB before, {after / 1e6:.2f} MB after" if before else line, err=err)
    if found.skipped:
        click.echo(_skipped(found), err=err)


def _skipped(found: Plan) -> str:
    return "skipped: " + ", ".join(f"{count} {what}" for what, count in sorted(found.skipped.items()))
