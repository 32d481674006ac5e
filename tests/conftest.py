from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support import DATA

from aecodec import Codec


@pytest.fixture(scope="session")
def coffee() -> Image.Image:
    """A photograph, 600x400."""
    with Image.open(DATA / "coffee.png") as image:
        return image.convert("RGB")


@pytest.fixture(scope="session")
def codec() -> Codec:
    """The shipped default model."""
    return Codec.load(device="cpu")


@pytest.fixture(scope="session")
def tiny() -> Codec:
    """The frozen model that pins format and entropy layer; its pictures are poor."""
    return Codec.load(DATA / "tiny.safetensors", device="cpu")


@pytest.fixture(scope="session")
def tiny_context() -> Codec:
    """The same networks with a context of z, as younger models have."""
    return Codec.load(DATA / "tiny_context.safetensors", device="cpu")


@pytest.fixture
def random_pixels() -> NDArray[np.uint8]:
    """Smooth noise, 100x70: cheap, and every symbol counts."""
    rng = np.random.default_rng(1)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 10, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((100, 70), Image.Resampling.BICUBIC))
