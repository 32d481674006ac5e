from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support import DATA

import aecodec  # whose parts that load torch are loaded where they are used


def pytest_configure(config: pytest.Config) -> None:
    """Before anything loads torch: threads that let others have the cores.

    Test processes (pytest -n) share the cores, and so does what they start. A thread that spins while it waits for
    another takes minutes where cores are fewer than threads, one that sleeps takes seconds.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell starts what is in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what tests start would inherit it
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    workers = config.getoption("numprocesses", None)
    if workers:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


@pytest.fixture(scope="session")
def coffee() -> Image.Image:
    """A photograph, 600x400."""
    with Image.open(DATA / "coffee.png") as image:
        return image.convert("RGB")


@pytest.fixture(scope="session")
def codec() -> aecodec.Codec:
    """The shipped default model."""
    return aecodec.Codec.load(device="cpu")


@pytest.fixture(scope="session")
def tiny() -> aecodec.Codec:
    """The frozen model that pins format and entropy layer; its pictures are poor."""
    return aecodec.Codec.load(DATA / "tiny.safetensors", device="cpu")


@pytest.fixture(scope="session")
def tiny_context() -> aecodec.Codec:
    """The same networks with a context of z, as younger models have."""
    return aecodec.Codec.load(DATA / "tiny_context.safetensors", device="cpu")


@pytest.fixture
def random_pixels() -> NDArray[np.uint8]:
    """Smooth noise, 100x70: cheap, and every symbol counts."""
    rng = np.random.default_rng(1)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 10, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((100, 70), Image.Resampling.BICUBIC))
