"""What a forked process has to know. torch may be loaded on either side of the fork, so it is not loaded here."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from functools import cached_property
from typing import Any, TypeVar

Value = TypeVar("Value")
_forked = False


def watch_forks() -> None:
    """From now on forks are told of by is_forked."""
    if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
        os.register_at_fork(after_in_child=_after_fork)


def is_forked() -> bool:
    """Whether this process was forked off one that had this package and torch, so that torch may use one thread alone.

    OpenMP's threads stay behind in the parent: whoever waits for them in the child waits for ever.
    """
    return _forked


class computed_once(cached_property[Value]):  # noqa: N801 - a decorator
    """functools.cached_property as of Python 3.12, without the lock before.

    Held by another thread while a process is forked, that would be held in the child for ever.
    """

    def __init__(self, work: Callable[[Any], Value]) -> None:
        super().__init__(work)
        self.lock = nullcontext()


class ForkLock:
    """A lock that is open in a forked process, whichever thread of the parent held it."""

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _after_fork() -> None:
    global _forked
    _forked = _forked or "torch" in sys.modules
