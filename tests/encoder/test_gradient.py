"""Refinement without torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from support import DATA

from aecodec import weights
from aecodec.coding.prior import anchor_position
from aecodec.coding.symbols import Symbols, TileCoder
from aecodec.decoder.exact import ExactReceiver
from aecodec.encoder.analysis import Analyzer, Strips, Transform
from aecodec.encoder.effort import ERROR_WORTH, PLAIN
from aecodec.encoder.gradient import GradientRefiner
from aecodec.encoder.native import NativeTransform
from aecodec.format.container import Box, Header
from aecodec.networks.config import ModelConfig
from aecodec.workers import Workers

MODEL = weights.load(DATA / "tiny.safetensors")


class Encoder:
    """Of one picture, as Analyzer has it."""

    def __init__(self, pixels: NDArray[np.uint8], level: int, threads: int = 1) -> None:
        self.pixels = pixels
        self.header = Header(pixels.shape[1], pixels.shape[0], level, MODEL.model_id)
        workers = Workers(threads)
        self.receiver = ExactReceiver(MODEL, workers)
        self.refiner = GradientRefiner(MODEL, self.receiver, workers)
        transform: Transform = NativeTransform(MODEL, self.receiver, workers, lambda: transform)
        self.transform = transform
        self.stepped = 0

    def encode(self, rates: Sequence[float] = (), strip: int = 512) -> Symbols:
        def refined(y: Strips, strip: Box, symbols: Symbols) -> None:
            refine = partial(self.refiner.refine, self.pixels, y, strip, self.header, symbols)
            y[strip] = refine(rates, 0.0, self.count)

        def analyzed(strip: Box) -> NDArray[np.float32]:
            return self.transform.analyze(self.pixels, strip, self.header)

        analyzer = Analyzer(self.transform, MODEL.prior, strip)
        return analyzer._code(analyzed, self.header, PLAIN, refined if rates else None)

    def count(self) -> None:
        self.stepped += 1

    def cost(self, symbols: Symbols) -> float:
        """Bits, and what errors are worth."""
        header = self.header
        stream = TileCoder(MODEL.prior, MODEL.tables).encode(symbols, header.padded, header.level)
        shown = self.receiver.synthesize(symbols, header, header.bounds)
        lmbda = ERROR_WORTH * ModelConfig.from_dict(MODEL.config).lmbda(anchor_position(header.level))
        return 8 * len(stream) + lmbda * float(((shown.astype(float) - self.pixels) ** 2).sum()) / 3


@pytest.mark.parametrize("level", [1500, 4000])
def test_each_step_lowers_the_cost(random_pixels: NDArray[np.uint8], level: int) -> None:
    encoder = Encoder(random_pixels, level)
    costs = [encoder.cost(encoder.encode(rates)) for rates in ((), (0.35,), (0.35, 0.25, 0.12))]
    assert costs[1] < 0.99 * costs[0]
    assert costs[2] < costs[1]
    assert encoder.stepped == 4


def test_threads_do_not_matter(random_pixels: NDArray[np.uint8]) -> None:
    pixels = np.tile(random_pixels, (6, 1, 1))
    expected = Encoder(pixels, 5500).encode((0.35, 0.15), strip=192)
    found = Encoder(pixels, 5500, threads=3).encode((0.35, 0.15), strip=192)
    np.testing.assert_array_equal(found.y, expected.y)


def test_strips_hardly_matter(random_pixels: NDArray[np.uint8]) -> None:
    encoder = Encoder(np.tile(random_pixels, (6, 1, 1)), 5500)
    costs = [encoder.cost(encoder.encode((0.35, 0.15), strip)) for strip in (512, 192)]
    assert costs[1] == pytest.approx(costs[0], rel=2e-3)
