"""Numbers that a caller gives: any type of them will do, and nothing else."""

from __future__ import annotations

import math
import operator

from aecodec.errors import InputError


def as_number(name: str, value: object) -> float:
    """Raises InputError for what is no real number, such as a text of one. Integers beyond all floats are infinite."""
    if not isinstance(value, str | bytes | bytearray) and not getattr(value, "shape", ()):
        try:
            return float(value)  # type: ignore[arg-type] # that is what is tried
        except OverflowError:
            return math.inf if value > 0 else -math.inf  # type: ignore[operator] # what has a float is a number
        except (TypeError, ValueError, RuntimeError):  # the last from tensors of several numbers
            pass
    raise InputError(f"{name} must be a number, got {_described(value)}")


def as_integer(name: str, value: object) -> int:
    """Raises InputError for what is no integer, such as 1.5 or 1.0."""
    try:
        return operator.index(value)  # type: ignore[arg-type] # likewise
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} must be an integer, got {_described(value)}") from None


def _described(value: object) -> str:
    return f"{type(value).__name__} {value!r:.40}" if isinstance(value, str | float) else type(value).__name__
