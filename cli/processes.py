"""Processes that take one thing after the other, end with the one that began them, and may die alone."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from threading import Thread
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class _Worker(NamedTuple):
    process: SpawnProcess
    connection: Connection

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def in_processes(things: Iterable[T], work: Callable[[T], R], dead: Callable[[T], R], count: int) -> Iterator[R]:
    """Results in the order in which they come, of up to count processes; things are taken as processes get free.

    What a process died of is tried once more when all others are done, alone, since memory may have been short;
    dead tells what becomes of it if that dies too. When the caller ends or stops, the processes are gone.
    """
    lost: list[T] = []
    yield from _results(things, work, lost.append, count)
    for thing in lost:
        again: list[T] = []
        yield from _results([thing], work, again.append, 1)
        if again:
            yield dead(thing)


def _results(things: Iterable[T], work: Callable[[T], R], lose: Callable[[T], object], count: int) -> Iterator[R]:
    waiting = iter(things)
    idle: list[_Worker] = []
    busy: dict[Connection, tuple[_Worker, T]] = {}
    try:
        while True:
            for thing in waiting:
                worker = _send(idle, work, thing)
                busy[worker.connection] = worker, thing
                if len(busy) == count:
                    break
            if not busy:
                return
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                worker, thing = busy.pop(connection)
                try:
                    result: R = connection.recv()
                except (EOFError, OSError):
                    worker.end()
                    lose(thing)
                else:
                    idle.append(worker)
                    yield result
    finally:
        for worker in [*idle, *(worker for worker, _ in busy.values())]:
            worker.end()


def _send(idle: list[_Worker], work: Callable[[Any], Any], thing: object) -> _Worker:
    """A worker that now has a thing to do: one that waits, as long as it lives, or a new one."""
    while idle:
        worker = idle.pop()
        with suppress(OSError):
            worker.connection.send(thing)
            return worker
        worker.end()
    worker = _start(work)
    with suppress(OSError):  # who reads its answer will find it dead
        worker.connection.send(thing)
    return worker


def _start(work: Callable[[Any], Any]) -> _Worker:
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, work), daemon=True)
    with _deaf_to_ctrl_c():
        process.start()
    there.close()
    return _Worker(process, here)


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Who is begun meanwhile never hears of Ctrl-C, which a terminal tells to all: its parent decides."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, work: Callable[[Any], Any]) -> None:
    """What a process does: answer until nobody asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where there are no masks
    Thread(target=_end_with_parent, daemon=True).start()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded, which else begins with a thread per core
    warnings.simplefilter("ignore")  # work tells what belongs to a file
    with suppress(EOFError, OSError):
        while True:
            connection.send(work(connection.recv()))


def _end_with_parent() -> None:
    """The parent may be killed: a thing that takes minutes is not for anybody then."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
