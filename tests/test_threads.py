"""Many threads on one codec, and many files in one process."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from support import DATA

from aecodec import Codec, weights
from aecodec import codec as codec_module
from aecodec.networks.layers import InnerSides
from aecodec.workers import default_threads

SIZES = [(16, 16), (70, 40), (130, 65), (64, 300), (33, 200)]  # one to four areas


@pytest.fixture(scope="module")
def single() -> Codec:
    """One thread for each call, so that sums are added in one order."""
    return Codec.load(DATA / "tiny.safetensors", device="cpu", threads=1)


@pytest.fixture(scope="module", params=["exact", "float"])
def pooled(request: pytest.FixtureRequest) -> Codec:
    """Two threads for the areas of a picture, which are as small as they can be."""
    return Codec(weights.load(DATA / "tiny.safetensors"), "cpu", threads=2, work_tile=1, backend=request.param)


def round_trip(codec: Codec, number: int) -> tuple[bytes, bytes]:
    """File and pixels of a picture that depends on number alone."""
    height, width = SIZES[number % len(SIZES)]
    pixels = np.random.default_rng(number % 20).integers(0, 256, (height, width, 3), dtype=np.uint8)
    data = codec.encode(pixels, quality=5 + number % 90)
    return data, codec.decode(data).tobytes()


@pytest.mark.parametrize("count", [60, pytest.param(360, marks=pytest.mark.slow)])
def test_eight_threads_get_what_one_gets(pooled: Codec, count: int) -> None:
    alone = [round_trip(pooled, number) for number in range(count)]
    areas = Counter[int]()  # by the thread that made them
    network = pooled.floats.network
    analyze = network.analyze

    def watched(x: torch.Tensor, weights: torch.Tensor, inner: InnerSides) -> torch.Tensor:
        areas[threading.get_ident()] += 1
        return analyze(x, weights, inner)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(8) as callers:
        patch.setattr(network, "analyze", watched)
        together = list(callers.map(lambda number: round_trip(pooled, number), range(count)))
    assert together == alone
    if pooled.backend == "float":
        assert len(areas) > 2  # two of the codec, and callers that have one area only


def test_a_codec_without_a_number_of_threads_uses_as_many_as_torch_does_now() -> None:
    """And not as many as it did at the first picture."""
    codec = Codec(weights.load(DATA / "tiny.safetensors"), "cpu", work_tile=1)
    before = torch.get_num_threads()
    try:
        for count in (2, 3):
            torch.set_num_threads(count)
            all_here = threading.Barrier(count)
            places = codec.workers.map(lambda _, here=all_here: here.wait(60), range(count))
            assert sorted(places) == list(range(count))
    finally:
        torch.set_num_threads(before)


def test_threads_can_be_counted_while_torch_is_being_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert default_threads() == 3


def test_threads_that_begin_together_load_one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[int] = []
    load_for = weights.load_for

    def slow(model_id: int) -> weights.Weights:
        loaded.append(model_id)
        together.wait()  # for the others, which then ask as well
        return load_for(model_id)

    together = threading.Barrier(2)
    monkeypatch.setattr(codec_module, "_shared_codec", cache(codec_module._shared_codec.__wrapped__))
    monkeypatch.setattr(weights, "load_for", slow)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(codec_module.default_codec) for _ in range(4)]
        together.wait()
        assert len({id(one.result()) for one in asked}) == 1
    assert len(loaded) == 1


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
