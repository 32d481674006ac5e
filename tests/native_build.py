"""What tests/native builds of the C library."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

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
