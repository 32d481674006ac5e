"""Many files with one command: which, in how many processes, and what became of each."""

from __future__ import annotations

import csv
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import click
from PIL import Image

import aecodec
from aecodec import CodecError, InputError
from aecodec.cli.files import read_picture, remove_leftovers, replace_file
from aecodec.cli.urls import Place


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


class Encoding(NamedTuple):
    """How each file is encoded; travels to the processes."""

    options: dict[str, Any]  # of Codec.encode
    max_pixels: int
    strip: bool
    device: str
    weights: Path | str | None  # a file, or the name of a shipped model
    threads: int | None
    measure: bool  # PSNR too


Work = Callable[[Job], Outcome]
Engine = Callable[[list[Job], Work], Iterator[Outcome]]  # outcomes in the order in which they come


def plan(folder: Place, out: Place, suffixes: Sequence[str], target_suffix: str, *, recursive: bool) -> list[Job]:
    """A job for every file of these suffixes; sources that would share a target keep their suffix in its name."""
    sources = sorted(name for name in _names(folder, recursive=recursive) if name.suffix.lower() in suffixes)
    if not sources:
        deeper = "" if recursive else " (--recursive looks into its folders)"
        raise InputError(f"{folder} holds no files to work on{deeper}")
    shared = Counter(name.with_suffix("") for name in sources)
    jobs = []
    for name in sources:
        suffix = name.suffix + target_suffix if shared[name.with_suffix("")] > 1 else target_suffix
        jobs.append(Job(folder / name, out / name.with_suffix(suffix)))
    return jobs


def _names(folder: Place, *, recursive: bool) -> Sequence[PurePath]:
    """Files in a folder, relative to it."""
    if isinstance(folder, Path):
        found = folder.rglob("*") if recursive else folder.iterdir()
        return [path.relative_to(folder) for path in found if path.is_file()]
    return list(folder.names(recursive=recursive))


def picture_suffixes() -> list[str]:
    """Suffixes of all images that Pillow can read."""
    Image.init()
    return [suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN and suffix != ".aec"]


def run(jobs: list[Job], work: Work, engine: Engine, *, dry_run: bool, report: Path | None, quiet: bool) -> None:
    """Do what is not up to date, with a progress bar; tell at the end.

    A bad file stops nothing. Raises InputError with the list of failures after all others are done.
    """
    for folder in {job.target.parent for job in jobs} if not dry_run else ():
        remove_leftovers(folder)
    waiting = [job for job in jobs if not _is_current(job)]
    outcomes = [Outcome(str(job.source), str(job.target), "up to date") for job in jobs if job not in set(waiting)]
    if dry_run:
        outcomes += [Outcome(str(job.source), str(job.target), "planned") for job in waiting]
    elif waiting:
        for folder in {job.target.parent for job in waiting}:
            folder.mkdir(parents=True, exist_ok=True)
        outcomes += _watch(engine(waiting, work), len(waiting), quiet=quiet)
    outcomes.sort()
    if report is not None:
        _write(report, outcomes)
    if not quiet:
        click.echo(_summary(outcomes))
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    if failed:
        raise InputError("\n".join([f"{len(failed)} of {len(jobs)} files failed", *(one.error for one in failed)]))


def in_processes(jobs: list[Job], work: Work, *, processes: int) -> Iterator[Outcome]:
    """The engine of one machine. One process is this one; others begin with nothing of it."""
    if min(processes, len(jobs)) == 1:
        yield from map(work, jobs)
        return
    with ProcessPoolExecutor(min(processes, len(jobs)), get_context("spawn"), initializer=_take_one_core) as pool:
        try:
            for future in as_completed([pool.submit(work, job) for job in jobs]):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _take_one_core() -> None:
    """Before torch is loaded, which otherwise begins with a thread for each core in every process."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def encode_file(encoding: Encoding, job: Job) -> Outcome:
    """Encode one file; what is wrong with it is told by the outcome."""
    try:
        codec = _codec(encoding.weights, encoding.device, encoding.threads)
        picture = read_picture(job.source, max_pixels=encoding.max_pixels, strip=encoding.strip)
        data = codec.encode(picture, max_pixels=encoding.max_pixels, **encoding.options)
        psnr = None
        if encoding.measure:
            from aecodec import metrics
            from aecodec.image import shown_pixels, to_picture

            decoded = to_picture(codec.decode(data, max_pixels=encoding.max_pixels))
            psnr = round(metrics.psnr(shown_pixels(picture), shown_pixels(decoded)), 3)
        replace_file(job.target, data)
        return Outcome(str(job.source), str(job.target), "done", job.source.stat().st_size, len(data), psnr)
    except (CodecError, OSError) as error:
        message = str(error) if str(job.source) in str(error) else f"{job.source}: {error}"
        return Outcome(str(job.source), str(job.target), "failed", error=message)


@cache
def _codec(weights: Path | str | None, device: str, threads: int | None) -> aecodec.Codec:
    return aecodec.Codec.load(weights, device, threads=threads)


def _is_current(job: Job) -> bool:
    return bool(job.target.exists() and job.target.stat().st_mtime >= job.source.stat().st_mtime)


def _watch(results: Iterator[Outcome], count: int, *, quiet: bool) -> list[Outcome]:
    """Outcomes, with a progress bar of files, MB saved and time left."""
    outcomes: list[Outcome] = []

    def saved(_: Outcome | None) -> str:
        return f"{sum(one.bytes_before - one.bytes_after for one in outcomes) / 1e6:.1f} MB saved"

    hidden = quiet or not sys.stderr.isatty()
    options: dict[str, Any] = {"show_pos": True, "item_show_func": saved, "file": sys.stderr, "hidden": hidden}
    with click.progressbar(results, count, "files", **options) as bar:
        for outcome in bar:
            outcomes.append(outcome)  # noqa: PERF402 - saved() reads it meanwhile
    return outcomes


def _summary(outcomes: list[Outcome]) -> str:
    states = Counter(outcome.state for outcome in outcomes)
    line = ", ".join(f"{count} {state}" for state, count in states.items())
    before, after = (sum(getattr(one, name) for one in outcomes) for name in ("bytes_before", "bytes_after"))
    return f"{line}: {before / 1e6:.2f} MB before, {after / 1e6:.2f} MB after" if before else line


def _write(path: Path, outcomes: list[Outcome]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Outcome._fields)
        writer.writerows(outcomes)
