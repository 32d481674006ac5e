"""Many files on a cluster: dask brings jobs to workers, and to others when a worker dies."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from aecodec import InputError
from aecodec.cli.batch import Engine, Work
from aecodec.cli.files import remove_leftovers
from aecodec.cli.folders import Job, Outcome, failure
from aecodec.cli.reporter import printable
from aecodec.cli.urls import Place

if TYPE_CHECKING:
    from distributed import Client, Future

_PATIENCE = 300.0  # seconds without a worker on this machine, after which none is waited for


def engine(processes: int, address: str | None) -> Engine:
    """The cluster of the scheduler at an address, or one of so many processes. Raises InputError without dask."""
    try:
        import distributed  # noqa: F401 - better told before the work
    except ImportError as error:
        raise InputError("--engine dask needs the package distributed: pip install 'aecodec[cluster]'") from error
    return partial(_outcomes, processes=processes, address=address)


def _outcomes(
    things: Iterable[Job], work: Work, *, processes: int, address: str | None
) -> Generator[Outcome, None, None]:
    """Outcomes in the order in which they come.

    The scheduler blames a death on all jobs the worker had, so who was blamed too often is tried once more, alone.
    """
    jobs = list(things)
    if not jobs:
        return
    try:
        with _client(min(processes, len(jobs)), address) as client:
            blamed = []
            for job, outcome in _finished(client, work, jobs):
                if outcome is None:
                    blamed.append(job)
                else:
                    yield outcome
            for job in blamed:
                for _, outcome in _finished(client, work, [job]):
                    yield outcome or failure(job, "each worker that tried it died")
    finally:
        for folder in {job.target.parent for job in jobs if job.target is not None}:
            remove_leftovers(folder)


@contextmanager
def _client(processes: int, address: str | None) -> Iterator[Client]:
    import dask
    from distributed import Client, LocalCluster

    if address is None:
        with (
            # Else a worker that has died and is not back within 15 s, as on a busy machine, is given up, and none
            # replaces it: what it had to do would wait for ever.
            dask.config.set({"distributed.deploy.lost-worker-timeout": "1 day"}),
            LocalCluster(
                n_workers=processes,
                threads_per_worker=1,
                memory_limit=0,  # the machine's own, as without dask
                dashboard_address="127.0.0.1:0",  # any free port; none disables its pages only, and asks for 8787
                silence_logs=logging.CRITICAL,  # the outcomes tell it
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client
        return
    try:
        client = Client(address, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"no scheduler at {address}: {error}") from error
    with client:
        yield client


def _finished(client: Client, work: Work, jobs: list[Job]) -> Iterator[tuple[Job, Outcome | None]]:
    """Jobs as they end; without an outcome where workers died."""
    from distributed import KilledWorker

    there = [Job(_absolute(job.source), job.target and _absolute(job.target)) for job in jobs]
    waiting = dict(zip(client.map(work, there, pure=False), jobs, strict=True))
    for future in _ended(client, list(waiting)):
        job = waiting.pop(future)
        try:
            outcome = future.result()._replace(source=str(job.source), target=str(job.target or ""))
        except KilledWorker:
            outcome = None
        except Exception as error:  # a worker without aecodec, a scheduler that is gone: the report stays complete
            outcome = failure(job, printable(str(error) or type(error).__name__))
        yield job, outcome
    for job in waiting.values():
        yield job, failure(job, "all workers died, and no other could be started")


def _absolute(place: Place) -> Place:
    return place.absolute() if isinstance(place, Path) else place


def _ended(client: Client, futures: list[Future[Any]]) -> Iterator[Future[Any]]:
    """Futures as they end; not all where this machine's workers are gone for good."""
    ended: SimpleQueue[Future[Any]] = SimpleQueue()
    for future in futures:
        future.add_done_callback(ended.put)
    mine, seen = client.cluster, time.monotonic()
    for _ in futures:
        while True:
            try:
                yield ended.get(timeout=1)
                break
            except Empty:
                if mine is None or mine.scheduler.workers:
                    seen = time.monotonic()
                elif time.monotonic() - seen > _PATIENCE:
                    return
