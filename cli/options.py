"""Options that commands share, what they stand for, and what a process needs before it begins."""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial, wraps
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import click

from aecodec import InputError
from aecodec.cli import batch, cluster, tasks
from aecodec.cli.codecs import Enhance
from aecodec.cli.folders import Places, Plan
from aecodec.cli.reporter import Reporter
from aecodec.cli.urls import Place, place
from aecodec.device import has_cuda
from aecodec.format.container import MAX_PIXELS, MAX_TILE, STRIDE

MODELS = ["m", "s"]  # shipped ones, the default first
SCALES = {"1": 1.0, "1/2": 1 / 2, "1/4": 1 / 4, "1/8": 1 / 8}
FILE = click.Path(path_type=Path)  # what is wrong with a file is told by who opens it: exit code 1, not a usage error


class PlaceType(click.Path):
    """A path, or a URL for fsspec."""

    def convert(self, value: Any, _: click.Parameter | None, __: click.Context | None) -> Any:
        return place(os.fspath(value))


class Range(click.FloatRange):
    """Numbers within limits, which nan and infinity are not."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        number = super().convert(value, parameter, context)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number", parameter, context)
        return number


class Sigma(Range):
    """The deviation of the noise that shall go, or auto to estimate it."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        try:
            return Enhance("denoise", None if value == "auto" else super().convert(value, parameter, context))
        except click.BadParameter:
            self.fail(f"{value} is neither auto nor a number of levels above 0 and up to 60", parameter, context)


PLACE = PlaceType()
DENOISE = Sigma(0, 60, min_open=True)
RECURSIVE = click.option("-r", "--recursive", is_flag=True, help="Include subfolders.")
MANY = (
    RECURSIVE,
    click.option("-j", "--jobs", type=click.IntRange(min=1), help="Processes for folders  [default: one per CPU core]"),
    click.option(
        "--engine", type=click.Choice(["processes", "dask"]), help="Workers for folders  [default: processes]"
    ),
    click.option(
        "--cluster", "address", metavar="URL", help="Dask scheduler  [default: a local one with --jobs processes]"
    ),
    click.option(
        "--report", "report_file", type=PLACE, help="For folders: CSV file with sizes, PSNR and notes; - is stdout."
    ),
)
FORCE = (
    click.option("--dry-run", is_flag=True, help="For folders: only list what would be done."),
    click.option("--force", is_flag=True, help="For folders: include files that are up to date."),
)
POSITIVE = Range(min=0, min_open=True)
DEVICE = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the networks run; auto uses CUDA if there is one.",
)
MODEL = click.option("--weights", type=FILE, help="Weights file (.safetensors) instead of the shipped ones.")
MAX_PIXELS_OPTION = click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    default=MAX_PIXELS,
    show_default=True,
    help="Refuse larger pictures. No side may exceed 65535 pixels.",
)
THREADS = click.option("--threads", type=click.IntRange(min=1), help="Number of threads  [default: one per CPU core]")


def codec_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What every command that codes pictures takes."""
    for option in (MODEL, DEVICE, MAX_PIXELS_OPTION, THREADS):
        command = option(command)
    return command


class Many(NamedTuple):
    """How many files are worked on; anything here is for folders and several files alone."""

    recursive: bool
    jobs: int | None
    engine: str | None
    address: str | None  # of a scheduler
    report_file: Place | None
    dry_run: bool
    force: bool

    def check(self, places: Places) -> None:
        """Raises UsageError for options that are not for these, or not for each other."""
        if self.address and (self.jobs or self.engine != "dask"):
            raise click.UsageError("--cluster needs --engine dask and cannot be combined with --jobs")
        if not places.many and any(self):
            refuse_one("--recursive, --jobs, --engine, --dry-run, --force and --report are", places.sources[0])

    def share(self, device: str, threads: int | None) -> tuple[batch.Engine, str, int | None]:
        """What works on the files; the device and the threads that each of its processes has."""
        if device == "auto" and not self.address:
            device = "cuda" if has_cuda() else "cpu"
        jobs = self.jobs or (1 if device == "cuda" else os.cpu_count() or 1)
        engine = cluster.engine(jobs, self.address) if self.engine == "dask" else batch.engine(jobs)
        return engine, device, threads or (1 if jobs > 1 or self.address else None)

    def run(self, found: Plan, task: tasks.Task, engine: batch.Engine, teller: Reporter) -> None:
        """Do it. Raises InputError with the list of failures after all others are done."""
        work = partial(tasks.look if self.dry_run else tasks.do, task)
        if self.dry_run:
            engine = batch.engine(1)
        batch.run(
            found,
            work,
            engine,
            task.is_current,
            dry_run=self.dry_run,
            report=self.report_file,
            teller=teller,
            weights=task.weights,
            unseen=task.unseen,
        )


def refuse_one(options: str, source: Place) -> NoReturn:
    """Raise what is wrong with options for folders: UsageError for a file, InputError where nothing is."""
    if isinstance(source, Path) and not source.exists():
        raise InputError(f"no folder {source}")
    raise click.UsageError(f"{options} for folders, but {source} is not a folder")


def folder_options(*, writes: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """What commands take that work on folders and several files, as one argument: many."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def bundled(*arguments: Any, **options: Any) -> Any:
            many = Many(*(options.pop(name, False) for name in Many._fields))
            return command(*arguments, many=many, **options)

        for option in [*(FORCE if writes else ()), *MANY][::-1]:
            bundled = option(bundled)
        return bundled

    return add


def reporting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command -v and --quiet, which may stand before and behind its name."""

    def switch_on(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        report = context.ensure_object(Reporter)
        if value:
            setattr(report, str(parameter.name), True)

    options: dict[str, Any] = {"expose_value": False, "is_flag": True, "callback": switch_on}
    command = click.option("--quiet", help="Print errors only.", **options)(command)
    return click.option("-v", "--verbose", help="Print timings.", **options)(command)


def read_region(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int, int, int] | None:
    """The value of --region."""
    if value is None:
        return None
    try:
        x, y, width, height = (int(number) for number in value.split(","))
    except ValueError:
        raise click.BadParameter(f"'{value}' is not X,Y,WIDTH,HEIGHT in pixels") from None
    return x, y, width, height


def read_tile(_: click.Context, __: click.Parameter, value: int) -> int:
    """The value of --tile, in units of the format."""
    if value % STRIDE or not 1 <= value // STRIDE <= MAX_TILE:
        raise click.BadParameter(f"{value} is not a multiple of {STRIDE} in {STRIDE}..{STRIDE * MAX_TILE} pixels")
    return value // STRIDE


def read_ssim(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
    """The value of --ssim, an index or dB."""
    if value == 1:
        raise click.BadParameter("1 is neither an index below 1 nor dB above 1")
    return value


def share_freed_memory() -> None:
    """Let threads share one heap: glibc gives each its own, whose freed memory others cannot use (40 MB of 12 MP)."""
    with suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(-8, 1)  # M_ARENA_MAX
