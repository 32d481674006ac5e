"""Threads that work on parts of one picture."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from aecodec.arguments import as_integer
from aecodec.errors import InputError
from aecodec.isolation import is_forked, set_own_threads, torch_threads

Part = TypeVar("Part")
Result = TypeVar("Result")


class Workers:
    """Several threads on a CPU, each with its own part; one on a GPU, which is parallel by itself."""

    def __init__(self, threads: int | None, device: torch.device) -> None:
        """threads: how many at once, by default as many as torch uses. Raises InputError below 1."""
        self.threads = None if threads is None else as_integer("threads", threads)
        if self.threads is not None and self.threads < 1:
            raise InputError(f"threads must be at least 1, got {threads}")
        self.device = device
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> tuple[int | None, torch.device]:
        return self.threads, self.device

    def __setstate__(self, state: tuple[int | None, torch.device]) -> None:
        self.__init__(*state)  # type: ignore[misc] # the one way to begin

    def map(self, work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
        """work(part) for every part: a thread for each, or one by one with all of torch's threads where that is it."""
        threads = 1 if is_forked() else self.threads or torch.get_num_threads()
        if min(threads, len(parts)) > 1 and self.device.type == "cpu":
            return list(self._threads(threads).map(work, parts))
        with torch_threads(threads):
            return [work(part) for part in parts]

    def _threads(self, threads: int) -> ThreadPoolExecutor:
        """The threads of this process. They are kept, since new ones take memory anew."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(threads, initializer=set_own_threads, initargs=(1,))
            return self._pool
