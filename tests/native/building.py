"""What tests/native builds of the C library."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from native.random_networks import TINY, Widths, random_arrays
from numpy.typing import NDArray
from safetensors.numpy import load_file
from support import DATA

from aecodec import weights

ROOT = Path(__file__).parent.parent.parent


class Result(NamedTuple):
    """What the driver says of one file."""

    status: int  # of aecodec_status
    text: str


Driver = Callable[..., list[Result]]


def build(folder: Path, target: str, *options: str) -> None:
    """A target of CMake, in a folder. Skips where there is nothing to build it with."""
    if not shutil.which("cmake") or not (shutil.which("c++") or "CXX" in os.environ):
        pytest.skip("needs cmake and a C++ compiler")
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    flags = "-DCMAKE_CXX_FLAGS=-Werror -O1"
    for command in (
        ["cmake", "-S", str(ROOT), "-B", str(folder), "-DAECODEC_LIBRARY=ON", flags, *generator, *options],
        ["cmake", "--build", str(folder), "--parallel", "2", "--target", target],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def stored(index: dict[str, Any] | bytes, data: bytes) -> bytes:
    """A safetensors file of any index."""
    raw = index if isinstance(index, bytes) else json.dumps(index).encode()
    return struct.pack("<Q", len(raw)) + raw + data


Arrays = dict[str, NDArray[np.generic]]


def packed(arrays: Arrays) -> bytes:
    """The weights file of some arrays, with a digest that is right."""
    index: dict[str, Any] = {}
    data, digest = b"", hashlib.sha256(b"{}")
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {list(array.shape)}\n".encode() + array.tobytes())
        dtype = {"int8": "I8", "int16": "I16", "int32": "I32", "float16": "F16", "float32": "F32"}[array.dtype.name]
        index[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    index["__metadata__"] = {"format": weights._FORMAT, "config": "{}", "sha256": digest.hexdigest()}
    return stored(index, data)


def weights_file(change: Callable[[Arrays], object] | None = None) -> bytes:
    """Those of the tiny model with a random receiver, changed."""
    arrays = {name: array for name, array in load_file(DATA / "tiny.safetensors").items() if "network." not in name}
    arrays |= {f"receiver.{name}": array for name, array in random_arrays(TINY, 0).items()}
    if change:
        change(arrays)
    return packed(arrays)


def smallest_weights() -> bytes:
    """A model of four channels of each kind, with a context: little to change, so that each change counts."""
    N, sets, choices = 4, 2, 2
    tables = sets * N * choices + 64
    arrays: Arrays = {f"receiver.{name}": array for name, array in random_arrays(Widths(4, 4, 4, 4, 4, 4), 0).items()}
    arrays["prior.weight"] = np.ones((64, N), np.int8)
    arrays["prior.multiplier"] = np.ones(64, np.int32)
    arrays["prior.bias"] = np.zeros((8, 64), np.int32)
    arrays["prior.shift"] = np.ones(1, np.int32)
    arrays["context.weight"] = np.ones((sets, N, 2 * (N + 1)), np.int8)
    arrays["context.thresholds"] = np.zeros((sets, N, choices - 1), np.int32)
    arrays["tables.cumulative"] = np.tile(np.array([0, 1 << 15, 1 << 16], np.int32), tables)
    arrays["tables.lengths"] = np.full(tables, 3, np.int32)
    arrays["tables.offsets"] = np.zeros(tables, np.int32)
    return packed(arrays)
