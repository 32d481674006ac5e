"""What options stand for, and what a process needs before it begins."""

from __future__ import annotations

import ctypes
from contextlib import suppress

import click

from aecodec.format.container import MAX_TILE, STRIDE

MODELS = ["m", "s"]  # shipped ones, the default first
SCALES = {"1": 1.0, "1/2": 1 / 2, "1/4": 1 / 4, "1/8": 1 / 8}


def read_region(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int, int, int] | None:
    """The value of --region."""
    if value is None:
        return None
    try:
        x, y, width, height = (int(number) for number in value.split(","))
    except ValueError:
        raise click.BadParameter(f"'{value}' is not X,Y,WIDTH,HEIGHT in pixels") from None
    return x, y, width, height


def read_tile(_: click.Context, __: click.Parameter, value: int) -> int:
    """The value of --tile, in units of the format."""
    if value % STRIDE or not 1 <= value // STRIDE <= MAX_TILE:
        raise click.BadParameter(f"{value} is not a multiple of {STRIDE} in {STRIDE}..{STRIDE * MAX_TILE} pixels")
    return value // STRIDE


def has_cuda() -> bool:
    """Whether networks would run on a GPU. Asks torch, which takes seconds to load, only where there is a driver."""
    for driver in ("libcuda.so.1", "libamdhip64.so", "nvcuda.dll"):
        with suppress(OSError):
            ctypes.CDLL(driver)
            import torch

            return torch.cuda.is_available()
    return False


def share_freed_memory() -> None:
    """Let threads share one heap: glibc gives each its own, whose freed memory others cannot use (40 MB of 12 MP)."""
    with suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(-8, 1)  # M_ARENA_MAX
