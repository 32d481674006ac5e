"""Many threads on one codec, and many files in one process."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support import DATA

from aecodec import Codec

SIZES = [(16, 16), (70, 40), (130, 65), (64, 128), (33, 200)]


@pytest.fixture(scope="module")
def single() -> Codec:
    """One thread for each call, so that sums are added in one order."""
    return Codec.load(DATA / "tiny.safetensors", device="cpu", threads=1)


def round_trip(codec: Codec, number: int) -> tuple[bytes, bytes]:
    """File and pixels of a picture that depends on number alone."""
    height, width = SIZES[number % len(SIZES)]
    pixels = np.random.default_rng(number % 20).integers(0, 256, (height, width, 3), dtype=np.uint8)
    data = codec.encode(pixels, quality=5 + number % 90)
    return data, codec.decode(data).tobytes()


@pytest.mark.parametrize("count", [60, pytest.param(360, marks=pytest.mark.slow)])
def test_eight_threads_get_what_one_gets(single: Codec, count: int) -> None:
    alone = [round_trip(single, number) for number in range(count)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda number: round_trip(single, number), range(count)))
    assert together == alone


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_over_two_thousand_files(single: Codec) -> None:
    def resident_mb() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

    for number in range(200):
        round_trip(single, number)
    before = resident_mb()
    for number in range(2000):
        round_trip(single, number)
    assert resident_mb() - before < 4  # pictures that stay would be 30
