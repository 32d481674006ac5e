"""Which device torch can use, and what is missing for what is asked for."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from aecodec.errors import InputError


def pick_device(name: str) -> str:
    """cpu or cuda, of auto (CUDA where there is one) or their names. Raises InputError if it is not there."""
    if not isinstance(name, str) or name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device must be auto, cpu or cuda, got {name}")
    if name == "cuda":
        with needing("torch", "torch"):
            import torch  # noqa: F401 - only whether it is there
        if not has_cuda():
            raise InputError("no CUDA device is available")
    return "cuda" if name != "cpu" and has_cuda() else "cpu"


def has_cuda() -> bool:
    """Whether torch could run on a GPU. It is asked, which takes seconds at first, only where there is a driver."""
    for driver in ("libcuda.so.1", "libamdhip64.so", "nvcuda.dll"):
        with suppress(OSError, ImportError):
            ctypes.CDLL(driver)
            import torch

            return torch.cuda.is_available()
    return False


@contextmanager
def needing(package: str, extra: str) -> Iterator[None]:
    """Raises InputError for an import that fails since a package is missing; extra is what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != package:
            raise
        raise InputError(f"this needs {package}, which is not installed: pip install 'aecodec[{extra}]'") from error
