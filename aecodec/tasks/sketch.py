"""Small pictures from what a file codes, by one matrix in place of the renderer: quick, and for machines to look at.

y_hat with the gain of its quality is nearly a linear transform of the picture, so least squares give a picture of half
the size that is close to what the renderer shows, in a quarter of its time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aecodec.codec import Codec
from aecodec.coding.prior import ANCHORS, anchor_position
from aecodec.coding.symbols import Symbols
from aecodec.decoder.exact import ExactReceiver
from aecodec.format.container import Y_STRIDE, Box, Header, read_header
from aecodec.image import Pixels

_SIDE = Y_STRIDE // 2  # of a cell in the picture of half the size
_BAND = 512  # rows of a picture that are made at once
_LOG_PLACES, _UNIT = 16, 39  # binary places of the logarithms of gains, and what brings y to 1 or so
_QUALITIES = (30, 60, 75, 90)  # of the files that are fitted to
_RIDGE = 1e-6


class SketchReceiver(ExactReceiver):
    """Shows reduced pictures by a matrix; those of full size as they are."""

    def __init__(self, codec: Codec, matrix: NDArray[np.floating[Any]]) -> None:
        """matrix [M + 1, 8 * 8 * 3] is from fit_sketch, for this model."""
        self.workers, self.M, self.native = codec.workers, codec.normative.M, codec.normative.native
        self.y_gain = codec.weights.receiver["g_s.y_gain"].astype(np.float64)
        self.matrix = matrix.astype(np.float32)

    def synthesize(self, symbols: Symbols, header: Header, area: Box, factor: int = 1) -> Pixels:
        """As ExactReceiver, nearly."""
        if factor == 1:
            return super().synthesize(symbols, header, area)
        side, merged = Y_STRIDE // factor, factor // 2
        matrix = self.matrix.reshape(-1, side, merged, side, merged, 3).mean((2, 4)).reshape(len(self.matrix), -1)
        matrix[:-1] *= self.gain(header.level)[:, None]
        cells = area.aligned(Y_STRIDE)
        bands = []
        for band in cells.split(cells.right - cells.left, _BAND):
            y = self.y_hat(symbols, header, band)
            flat = matrix[:-1].T @ y.reshape(len(y), -1).astype(np.float32) + (matrix[-1][:, None] + 0.5)
            shown = np.clip(flat, 0, 255).astype(np.uint8).reshape(side, side, 3, *y.shape[1:])
            bands.append(shown.transpose(3, 0, 4, 1, 2).reshape(y.shape[1] * side, -1, 3))
        place = area.reduced(factor).relative_to(cells.reduced(factor)).cells(1)
        return np.ascontiguousarray(np.concatenate(bands)[place])

    def y_hat(self, symbols: Symbols, header: Header, area: Box) -> NDArray[np.int32]:
        """[M, h/16, W/16] of an area of whole cells, as integers before their gain."""
        y = np.empty((self.M, *area.reduced(Y_STRIDE).shape), np.int32)
        z_symbols, y_symbols, window = symbols[:3]
        padded, threads = header.padded.shape[::-1], self.workers.count
        self.native.y_hat(z_symbols, y_symbols, window, padded, header.level, area, threads, y)
        return y

    def gain(self, level: int) -> NDArray[np.float32]:
        """[M]: what brings y_hat of a quality to the units of the matrix."""
        place = anchor_position(level)
        low = min(int(place), ANCHORS - 2)
        logs = self.y_gain[low] + (place - low) * (self.y_gain[low + 1] - self.y_gain[low])
        gain: NDArray[np.float32] = np.exp2(logs / 2**_LOG_PLACES - _UNIT).astype(np.float32)
        return gain


class SketchCodec(Codec):
    """A codec of the same weights that decodes reduced pictures by a matrix."""

    def __init__(self, codec: Codec, matrix: NDArray[np.floating[Any]]) -> None:
        """matrix as for SketchReceiver."""
        super().__init__(codec.weights, "cpu", threads=codec.workers.threads, backend="exact")
        self.receiver = SketchReceiver(self, matrix)


def fit_sketch(codec: Codec, pictures: Iterable[Image.Image]) -> NDArray[np.float16]:
    """The matrix of a model [M + 1, 8 * 8 * 3], by least squares on pictures of mode RGB that are coded for it."""
    M = codec.weights.prior.M
    receiver = SketchReceiver(codec, np.zeros((M + 1, _SIDE * _SIDE * 3)))
    squares, products = np.zeros((M + 1, M + 1)), np.zeros((M + 1, _SIDE * _SIDE * 3))
    for rows, pixels in _samples(codec, receiver, pictures):
        squares += rows.T @ rows
        products += rows.T @ pixels
    scale = np.sqrt(np.diag(squares)) + 1e-12
    scaled = squares / scale[:, None] / scale + _RIDGE * np.eye(M + 1)
    matrix: NDArray[np.float64] = np.linalg.solve(scaled, products / scale[:, None]) / scale[:, None]
    return matrix.astype(np.float16)


def _samples(
    codec: Codec, receiver: SketchReceiver, pictures: Iterable[Image.Image]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Of each picture [n, M + 1], y_hat and 1, and [n, 8 * 8 * 3], the pixels of half the size."""
    for at, image in enumerate(pictures):
        data = codec.encode(image, quality=_QUALITIES[at % len(_QUALITIES)], effort=0)
        header = read_header(data)
        area = Box(0, 0, *(side // Y_STRIDE * Y_STRIDE for side in image.size))
        symbols = Symbols(*codec.decode_symbols(data), header.padded)
        y = receiver.y_hat(symbols, header, area).reshape(receiver.M, -1).T * receiver.gain(header.level).astype(float)
        small = np.asarray(image.crop(area).reduce(2), float)
        h, w = (side // _SIDE for side in small.shape[:2])
        pixels = small.reshape(h, _SIDE, w, _SIDE, 3).transpose(0, 2, 1, 3, 4).reshape(h * w, -1)
        yield np.concatenate([y, np.ones((len(y), 1))], 1), pixels
