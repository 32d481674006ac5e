"""Threads that work on parts of one picture."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from aecodec.arguments import as_integer
from aecodec.errors import InputError
from aecodec.forked import is_forked
from aecodec.isolation import set_own_threads

Part = TypeVar("Part")
Result = TypeVar("Result")


class Workers:
    """Several threads on a CPU, each with its own part; one on a GPU, which is parallel by itself."""

    MAX_THREADS = 1024  # a system that cannot start as many ends the process

    def __init__(self, threads: int | None, device: torch.device) -> None:
        """threads: how many at once, 1..1024, by default as many as torch uses. Raises InputError for other numbers."""
        self.threads = None if threads is None else as_integer("threads", threads)
        if self.threads is not None and not 1 <= self.threads <= self.MAX_THREADS:
            raise InputError(f"threads must be 1..{self.MAX_THREADS}, got {threads}")
        self.device = device
        self._pools: dict[tuple[int, int | None, int], ThreadPoolExecutor] = {}

    @property
    def count(self) -> int:
        """Threads that may work at once in this process now; a forked one has one."""
        return 1 if is_forked() else self.threads or torch.get_num_threads()

    def map(self, work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
        """work(part) for every part: a thread for each, or one by one with all of torch's threads where that is it."""
        default, threads = torch.get_num_threads(), self.count
        if self.device.type == "cpu" and min(threads, len(parts)) > 1:
            return list(self._pool(threads, 1).map(work, parts))
        if self.device.type == "cpu" and threads != default:  # not by a switch, which other threads would feel
            return self._pool(None, threads).submit(lambda: [work(part) for part in parts]).result()
        return [work(part) for part in parts]

    def _pool(self, threads: int | None, torch_threads: int) -> ThreadPoolExecutor:
        """Threads of this process, each with some of torch's. They are kept, since new ones take memory anew."""
        key = os.getpid(), threads, torch_threads
        if key not in self._pools:
            self._pools.setdefault(
                key, ThreadPoolExecutor(threads, initializer=set_own_threads, initargs=(torch_threads,))
            )
        return self._pools[key]
