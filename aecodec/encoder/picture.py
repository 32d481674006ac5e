"""A picture to what its file holds: symbols of the networks, drawn pixels, or both."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aecodec.coding.prior import anchor_position
from aecodec.coding.symbols import Costs, Symbols, TileCoder
from aecodec.decoder.exact import ExactReceiver
from aecodec.encoder import drawn as drawing
from aecodec.encoder.analysis import Analyzer, Progress
from aecodec.encoder.drawn import Candidates
from aecodec.encoder.effort import PLAIN, Effort, error_weight
from aecodec.format.container import LOSSLESS_LEVEL, NO_MODEL, Header, SectionKind, Tile, pack
from aecodec.format.drawn import Drawn
from aecodec.image import Picture, Pixels, fill_hidden
from aecodec.networks.config import ModelConfig
from aecodec.workers import Workers

_GAIN = 0.93  # of a default effort to none, in bits: what is chosen between is coded without
_EXACT = 100.0  # bits for a squared error, from which on nothing is merged
# Logarithms of lambda and PSNR of photographs (Kodak) there, by a model that is no limit.
_PSNR = np.log((0.0003, 0.0029, 0.025, 0.2, 1.0)), (24.75, 29.1, 35.3, 40.9, 44.25)
_GAP = 8.0  # bits that a block costs that is not drawn among others
_FILLED = 0.05  # of the bits of blocks that are drawn: what stands there in their place costs some
_MARGIN = 0.98  # drawing part of a picture must be worth it


class Coded(NamedTuple):
    """What a file holds of a picture."""

    header: Header
    symbols: Symbols | None  # None where all is drawn
    drawn: Drawn | None = None
    parts: list[bytes] | None = None  # what is drawn, tile by tile


class _Choice(NamedTuple):
    """One way to code a picture."""

    drawn: Drawn | None
    bits: float
    error: float  # sum of squared differences


class PictureEncoder:
    """Nothing changes after construction."""

    def __init__(
        self, analyzer: Analyzer, receiver: ExactReceiver, coder: TileCoder, config: ModelConfig, workers: Workers
    ) -> None:
        self.analyzer = analyzer
        self.receiver = receiver
        self.coder = coder
        self.config = config
        self.workers = workers
        self.costs = Costs(coder.tables)

    def code(
        self,
        picture: Picture,
        header: Header,
        effort: Effort,
        progress: Progress | None = None,
        *,
        candidates: Candidates | None,
    ) -> Coded:
        """The picture at the quality of the header; candidates are what of it may be drawn."""
        picture = picture._replace(pixels=picture.filled)
        drawn = None if candidates is None else self._choose(picture, header, candidates)
        if drawn is None:
            return Coded(header, self.analyzer.analyze(picture.pixels, header, effort, progress))
        parts = self._encode(drawn, header)
        if drawn.mask.all():
            if progress is not None:
                progress(1.0)
            return Coded(dataclasses.replace(header, model_id=NO_MODEL), None, drawn, parts)
        hidden = drawn.mask if picture.alpha is None else drawn.mask | (picture.alpha == 0)
        pixels = fill_hidden(picture.pixels, hidden)
        return Coded(header, self.analyzer.analyze(pixels, header, effort, progress), drawn, parts)

    def code_exactly(self, picture: Picture, header: Header, bound: int) -> Coded:
        """The picture to within a largest difference in each value, 0..8."""
        step = 2 * bound + 1
        values = ((picture.pixels.astype(np.uint16) + bound) // step).astype(np.uint8)
        drawn = Drawn(values, np.ones(values.shape[:2], bool), step)
        header = dataclasses.replace(header, level=LOSSLESS_LEVEL, model_id=NO_MODEL)
        return Coded(header, None, drawn, self._encode(drawn, header))

    def pack(self, coded: Coded, sections: dict[SectionKind, bytes]) -> bytes:
        """The file."""
        header, symbols, drawn, parts = coded
        streams = [b""] * len(header.tiles())
        if symbols is not None:
            streams = self.workers.map(lambda box: self.coder.encode(symbols, box, header.level), header.tiles())
        if drawn is None or parts is None:
            return pack(header, sections, [Tile(stream) for stream in streams])
        tiles = [Tile(stream, part, drawn.step) for stream, part in zip(streams, parts, strict=True)]
        return pack(header, sections, tiles)

    def show(self, coded: Coded) -> Pixels:
        """Pixels [H, W, 3] that the file decodes to."""
        header, symbols, drawn, _ = coded
        if symbols is None:
            pixels = np.empty((header.height, header.width, 3), np.uint8)
        else:
            pixels = self.receiver.synthesize(symbols, header, header.bounds)
        if drawn is not None:
            np.copyto(pixels, drawn.colors, where=drawn.mask[:, :, None])
        return pixels

    def _encode(self, drawn: Drawn, header: Header) -> list[bytes]:
        return self.workers.map(drawn.encode, header.seen_tiles())

    def _choose(self, picture: Picture, header: Header, candidates: Candidates) -> Drawn | None:
        """What is drawn at the quality of the header: nothing, some blocks, or all."""
        H, W, _ = picture.pixels.shape
        own = weight = error_weight(self.config, header.level) / 255**2
        symbols = self.analyzer.analyze(picture.pixels, header, PLAIN)
        shown = self.receiver.synthesize(symbols, header, header.bounds)
        bits = self._bits(symbols, header)
        lost = drawing.errors(picture, shown)
        plain = bits + weight * lost

        few = drawing.draw(picture, drawing.in_pixels(candidates.blocks, H, W), weight)
        errors = drawing.errors(picture, few.values)
        size = self._size(few, header)
        cost = drawing.estimate_bits(few)
        blocks = candidates.blocks & (cost * size / max(float(cost.sum()), 1) + weight * errors < plain + _GAP)
        besides = _GAIN * 8.0 * len(self.pack(Coded(header, symbols), {})) - float(bits.sum())  # z above all
        choices = [_Choice(None, float(bits.sum()) + besides, float(lost.sum()))]
        if blocks.any():
            some = few._replace(mask=drawing.in_pixels(blocks, H, W))
            left = float(bits[~blocks].sum()) + _FILLED * float(bits[blocks].sum()) + besides
            rate = (self._size(some, header) + left) / _MARGIN
            choices.append(_Choice(some, rate, float(np.where(blocks, errors, lost).sum())))
        if candidates.whole:
            choices.append(self._draw_all(picture, header, weight))
            limit = H * W * _largest_error(self.config, header.level)
            while choices[-1].error > limit and weight < _EXACT:  # the scale says that this is not what is wanted
                weight *= 4
                choices.append(self._draw_all(picture, header, weight))
            choices = [choice for choice in choices if choice.error <= limit]
        return min(choices, key=lambda choice: choice.bits + own * choice.error).drawn

    def _draw_all(self, picture: Picture, header: Header, weight: float) -> _Choice:
        whole = drawing.draw(picture, np.ones(picture.pixels.shape[:2], bool), weight)
        return _Choice(whole, self._size(whole, header), float(drawing.errors(picture, whole.values).sum()))

    def _size(self, drawn: Drawn, header: Header) -> float:
        """Bits of what is drawn."""
        return 8.0 * sum(map(len, self._encode(drawn, header)))

    def _bits(self, symbols: Symbols, header: Header) -> NDArray[np.float32]:
        """[H/16, W/16]: what y costs in each block that lies in the picture."""
        reach = self.costs.bits.shape[1] // 2
        values = np.clip(symbols.y, -reach, reach) + reach
        bits = self.costs.bits[symbols.known_index, values].sum(0, dtype=np.float32)
        inside: NDArray[np.float32] = _GAIN * bits[header.bounds.cells(16)]
        return inside


def _largest_error(config: ModelConfig, level: int) -> float:
    """The squared error of a pixel, summed over channels, 3 dB below what photographs have at a level on average."""
    place = math.log(config.lmbda(anchor_position(level)))
    return 3 * 255**2 * 10 ** (-(float(np.interp(place, *_PSNR)) - 3) / 10)
