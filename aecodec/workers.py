"""Threads that work on parts of one picture."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from aecodec.errors import InputError

Part = TypeVar("Part")
Result = TypeVar("Result")


class Workers:
    """Several threads on a CPU, each with its own part; one on a GPU, which is parallel by itself."""

    def __init__(self, threads: int | None, device: torch.device) -> None:
        """threads: how many at once, by default as many as torch uses. Raises InputError below 1."""
        if threads is not None and threads < 1:
            raise InputError(f"threads must be at least 1, got {threads}")
        self.threads = threads
        self.device = device
        self._pool: tuple[int, ThreadPoolExecutor | None] = (0, None)

    def map(self, work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
        """work(part) for every part: a thread for each, or one by one with all of torch's threads where that is it."""
        before = torch.get_num_threads()
        threads = self.threads or before
        parallel = min(threads, len(parts)) > 1 and self.device.type == "cpu"
        try:
            if not parallel:
                torch.set_num_threads(threads)
                return [work(part) for part in parts]
            return list(self._threads(threads).map(work, parts))
        finally:
            torch.set_num_threads(before)

    def _threads(self, threads: int) -> ThreadPoolExecutor:
        """The threads of this process. They are kept, since new ones take memory anew; a forked process has its own."""
        pid, pool = self._pool
        if pool is None or pid != os.getpid():
            pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
            self._pool = os.getpid(), pool
        return pool
