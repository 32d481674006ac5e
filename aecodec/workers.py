"""Threads that work on parts of one picture."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from aecodec.arguments import as_integer
from aecodec.errors import InputError

Part = TypeVar("Part")
Result = TypeVar("Result")


class Workers:
    """Several threads, each with its own part."""

    MAX_THREADS = 1024  # a system that cannot start as many ends the process

    def __init__(self, threads: int | None) -> None:
        """threads: how many at once, 1..1024, by default what default_threads says. Raises InputError for others."""
        self.threads = None if threads is None else as_integer("threads", threads)
        if self.threads is not None and not 1 <= self.threads <= self.MAX_THREADS:
            raise InputError(f"threads must be 1..{self.MAX_THREADS}, got {threads}")
        self._pools: dict[tuple[int, ...], ThreadPoolExecutor] = {}

    @property
    def count(self) -> int:
        """Threads that may work at once now."""
        return self.threads or default_threads()

    def map(self, work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
        """work(part) for every part, in as many threads as there are parts and may be."""
        threads = self.count
        if min(threads, len(parts)) > 1:
            return list(self._pool(threads).map(work, parts))
        return [work(part) for part in parts]

    def _pool(self, threads: int) -> ThreadPoolExecutor:
        """Threads of this process. They are kept, since new ones take memory anew."""
        key = os.getpid(), threads
        if key not in self._pools:
            self._pools.setdefault(key, ThreadPoolExecutor(threads))
        return self._pools[key]


def default_threads() -> int:
    """As many as torch uses where it is loaded; else what OMP_NUM_THREADS says, or one for each CPU of the process."""
    torch_threads = getattr(sys.modules.get("torch"), "get_num_threads", None)  # missing while it is being loaded
    if torch_threads is not None:
        return int(torch_threads())
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if wanted.isdecimal() and int(wanted):
        return min(int(wanted), Workers.MAX_THREADS)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
