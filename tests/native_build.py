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
from numpy.typing import NDArray
from safetensors.numpy import load_file
from support import DATA

ROOT = Path(__file__).parent.parent
STAND_IN = Path(__file__).parent / "native" / "stand_in"


class Result(NamedTuple):
    """What the driver says of one file."""

    status: int  # of aecodec_status
    text: str


Driver = Callable[..., list[Result]]


def build(folder: Path, *options: str) -> None:
    """The C library and what is asked for besides, in a folder. Skips where there is nothing to build it with."""
    if not shutil.which("cmake") or not (shutil.which("c++") or "CXX" in os.environ):
        pytest.skip("needs cmake and a C++ compiler")
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    flags = f"-DCMAKE_CXX_FLAGS=-I{STAND_IN} -Werror -O1"
    if not (ROOT / "native" / "receiver.cpp").exists():
        options = (*options, "-DAECODEC_RECEIVER=")
    for command in (
        ["cmake", "-S", str(ROOT), "-B", str(folder), "-DAECODEC_LIBRARY=ON", flags, *generator, *options],
        ["cmake", "--build", str(folder), "--parallel", "2"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def stored(index: dict[str, Any] | bytes, data: bytes) -> bytes:
    """A safetensors file of any index."""
    raw = index if isinstance(index, bytes) else json.dumps(index).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def weights_file(change: Callable[[dict[str, np.ndarray]], None] | None = None) -> bytes:
    """Those of the tiny model with a random receiver, changed, with a digest that is right."""
    arrays = {name: array for name, array in load_file(DATA / "tiny.safetensors").items() if "network." not in name}
    arrays |= {f"receiver.{name}": array for name, array in random_receiver().items()}
    if change:
        change(arrays)
    index: dict[str, Any] = {}
    data, digest = b"", hashlib.sha256(b"{}")
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {list(array.shape)}\n".encode() + array.tobytes())
        dtype = {"int8": "I8", "int16": "I16", "int32": "I32", "float16": "F16", "float32": "F32"}[array.dtype.name]
        index[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    index["__metadata__"] = {"format": "aecodec weights 1", "config": "{}", "sha256": digest.hexdigest()}
    return stored(index, data)


def random_receiver() -> dict[str, NDArray[np.generic]]:
    """Integers for the networks of the tiny model (docs/format.md, section 6): noise that stays in range."""
    rng = np.random.default_rng(0)
    N, M, C, R = 16, 32, 32, 8
    arrays: dict[str, NDArray[np.generic]] = {}

    def layer(name: str, out: int, inputs: int, multipliers: int | None = None) -> None:
        arrays[f"{name}.weight"] = rng.integers(-40, 41, (out, inputs)).astype(np.int16)
        arrays[f"{name}.bias"] = rng.integers(-1000, 1001, out).astype(np.int32)
        arrays[f"{name}.format"] = np.array([20, 11], np.int32)
        if multipliers != 0:
            multiplier = (1 << 20) / (20 * inputs**0.5)
            arrays[f"{name}.multiplier"] = np.full(multipliers or out, multiplier, np.int32)

    def block(name: str, width: int, hidden: int, groups: int) -> None:
        layer(f"{name}.enter", width, width // groups)
        layer(f"{name}.leave", width, width // groups)
        layer(f"{name}.spatial", width, 9)
        layer(f"{name}.expand", hidden, width // groups)
        layer(f"{name}.reduce", width, hidden // groups)

    for i in range(2):
        layer(f"h_s.ups.{i}", 4 * N, N // 4)
        block(f"h_s.blocks.{i}", N, 2 * N, 4)
        block(f"mean{i}.block", C, 2 * C, 4)
        layer(f"mean{i}.enter", C, (1 + i) * M)
        layer(f"mean{i}.leave", M, C)
        block(f"g_s.blocks.{i}", C, C, 1)
    layer("h_s.leave", M, N, 0)
    layer("mean0.step", M, C)
    for name, out, inputs in (("enter", C, M), ("latent", 16 * R, M), ("condition", 16 * R, C)):
        layer(f"g_s.{name}", out, inputs)
    for name in ("shift", "scale", "gate", "expand", "reduce"):
        layer(f"g_s.{name}", R, R)
    layer("g_s.leave", 48, R, 1)
    for name in ("h_s.gain", "g_s.y_gain", "g_s.gains.0", "g_s.gains.1"):
        arrays[name] = rng.integers(18 << 16, 22 << 16, (8, M)).astype(np.int32)
    return arrays
