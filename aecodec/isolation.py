"""torch as coding needs it, whatever the caller has set; what the caller has set stays, or comes back."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, TypeVar

import torch

from aecodec.forked import is_forked

Result = TypeVar("Result")


@contextmanager
def plain_torch(device: torch.device, *, gradients: bool = False) -> Iterator[None]:
    """All of float32 on a device, whatever is set for autocast, TF32 and where tensors are made.

    No gradients are recorded, or with gradients they can be, also for a caller without.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(not gradients))
        stack.enter_context(torch.autocast(device.type, enabled=False))
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(_full_float32(device.type))
        yield


def set_own_threads(count: int) -> None:
    """torch.set_num_threads for this thread alone; what new threads begin with, which that sets too, is put back."""
    with _state.lock:
        others = _elsewhere(torch.get_num_threads)
        torch.get_num_threads()  # a thread takes over what others begin with at its first question: not later than now
        torch.set_num_threads(count)
        if others != count:
            _elsewhere(lambda: torch.set_num_threads(others))


class _Setting(NamedTuple):
    """One of torch's settings for the whole process that make float32 coarser."""

    owner: Any
    name: str
    fine: tuple[Any, ...]  # values at which float32 is float32, the first of them to be set

    @property
    def value(self) -> Any:
        return getattr(self.owner, self.name)

    def write(self, value: Any) -> None:
        setattr(self.owner, self.name, value)

    def restore(self, value: Any) -> None:
        """Unless somebody has written another value since; "none" where the value comes from a setting above."""
        if self.value != self.fine[0]:
            return
        if "none" in self.fine:
            self.write("none")
        if self.value != value:
            self.write(value)


class _State:
    """What the threads of a process share."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.coding = 0  # how many blocks of _full_float32 are entered
        self.changed: list[tuple[_Setting, Any, str]] = []  # with the caller's value, and _precision_by_name


@contextmanager
def _full_float32(device_type: str) -> Iterator[None]:
    """Nothing is switched where float32 is in full already. Else the first to enter does, and the last to leave undoes.

    There is no such switch for one thread in torch.
    """
    state = _state
    with state.lock:
        state.coding += 1
        for setting in _settings(device_type):
            value = setting.value
            if value not in setting.fine:
                setting.write(setting.fine[0])
                state.changed.append((setting, value, _precision_by_name()))
    try:
        yield
    finally:
        with state.lock:
            state.coding -= 1
            here = _precision_by_name()
            while state.changed and not state.coding:
                setting, value, name = state.changed.pop()
                if name == here:
                    setting.restore(value)


def _settings(device_type: str) -> list[_Setting]:
    backends: Any = torch.backends
    if hasattr(backends.cudnn, "conv"):  # torch 2.9
        cuda = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)  # older ones tell of conv and rnn as one
        parts = cuda if device_type == "cuda" else (backends.mkldnn.matmul, backends.mkldnn.conv)
        return [_Setting(part, "fp32_precision", ("ieee", "none")) for part in parts]
    matmul = _Setting(_MatmulPrecision(), "value", ("highest",))
    return [matmul, *([_Setting(backends.cudnn, "allow_tf32", (False,))] if device_type == "cuda" else [])]


def _precision_by_name() -> str:
    """What torch.set_float32_matmul_precision was told last, which writing to parts does not change."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # the caller has told parts otherwise
        return ""


class _MatmulPrecision:
    """torch's pair of functions as an attribute."""

    @property
    def value(self) -> str:
        return torch.get_float32_matmul_precision()

    @value.setter
    def value(self, value: str) -> None:
        torch.set_float32_matmul_precision(value)


def _elsewhere(work: Callable[[], Result]) -> Result:
    """work() in a thread of its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


def _after_fork() -> None:
    global _state
    _state = _State()
    torch.set_num_threads(1)


_state = _State()
if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)
if is_forked():  # before this module was loaded
    torch.set_num_threads(1)
