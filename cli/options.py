"""What options stand for, and what a process needs before it begins."""

from __future__ import annotations

import ctypes
from contextlib import suppress

import click

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


def share_freed_memory() -> None:
    """Let threads share one heap: glibc gives each its own, whose freed memory others cannot use (40 MB of 12 MP)."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(-8, 1)  # M_ARENA_MAX
