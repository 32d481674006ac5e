"""The receiver on other machines than this one, and watched by sanitizers: all compute the same."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

NATIVE = Path(__file__).parents[2] / "native"
CHECKSUM = "a048c59f2972805a"  # of tests/native/checksum.cpp, on every machine


class Machine(NamedTuple):
    compiler: str
    options: list[str]
    runner: list[str]
    kernels: set[str]  # that it has to have


MACHINES = {
    "sanitizers": Machine(
        "g++", ["-pthread", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"], [], {"plain"}
    ),
    "aarch64": Machine("aarch64-linux-gnu-g++", ["-pthread", "-static"], ["qemu-aarch64"], {"neon", "plain"}),
    "wasm": Machine(
        "em++",
        ["-msimd128", "-fexceptions", "-sALLOW_MEMORY_GROWTH=1", "-sSINGLE_FILE=1"],
        ["node"],
        {"wasm", "plain"},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MACHINES)
def test_machines_compute_the_same(name: str, tmp_path: Path) -> None:
    machine = MACHINES[name]
    if missing := [program for program in (machine.compiler, *machine.runner) if shutil.which(program) is None]:
        pytest.skip(f"needs {', '.join(missing)}")
    sources = [Path(__file__).with_name("checksum.cpp"), NATIVE / "receiver.cpp", *(NATIVE / "kernels").glob("*.cpp")]
    program = tmp_path / "checksum.js"
    options = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Werror", *machine.options]
    subprocess.run([machine.compiler, *options, *sources, "-o", program], check=True)
    printed = subprocess.run([*machine.runner, program], check=True, capture_output=True, text=True).stdout
    sums = dict(line.split() for line in printed.splitlines())
    assert sums.keys() >= machine.kernels
    assert set(sums.values()) == {CHECKSUM}
