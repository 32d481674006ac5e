"""The linear autoencoder: principal components of blocks, coded by aecodec's own entropy coder.

A basis learned from pictures would have to be shipped (a 768x768 matrix), and its pictures would get praise and blame.
This one follows from two statistics of photographs that are old common knowledge, so nothing is tuned: in space
neighbors correlate by 0.95 (a first-order Markov process along each axis, the model behind the DCT), and the principal
components of RGB are those of Ohta, Kanade and Sakai 1980: (1, 1, 1), (1, 0, -1), (1, -2, 1). Blocks are coded apart
from each other, and each component with the Gaussian table that fits its variance in this picture. What aecodec gains
over it is what nonlinear transforms and a learned prior are worth.
"""

from __future__ import annotations

import struct
import zlib
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aecodec import weights
from aecodec.coding.entropy import SymbolReader, encode_symbols
from aecodec.coding.prior import SCALES
from aecodec.networks.model import LOG_STEP, SCALE_MIN

BLOCK = 16
CORRELATION = 0.95
_HEADER = struct.Struct("<HHfH")  # width, height, step, bytes of the compressed scale indexes


class BlockPca:
    """encode and decode, as a Codec."""

    @cached_property
    def basis(self) -> NDArray[np.float32]:
        """Orthonormal rows [3 * BLOCK^2, 3 * BLOCK^2], over blocks [BLOCK, BLOCK, 3]."""
        distance = np.abs(np.subtract.outer(np.arange(BLOCK), np.arange(BLOCK)))
        _, axis = np.linalg.eigh(CORRELATION**distance)
        color = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]])
        color = color / np.linalg.norm(color, axis=1, keepdims=True)
        return np.kron(np.kron(axis.T, axis.T), color).astype(np.float32)

    def encode(self, image: Image.Image, quality: float) -> bytes:
        step = np.float32(2 ** (8 - quality / 20))
        rows = to_blocks(np.asarray(image), BLOCK) - 128
        symbols = np.rint(rows @ (self.basis.T / step)).astype(np.int16)  # [blocks, components]
        scales = np.sqrt(np.mean(symbols.astype(np.float64) ** 2, axis=0))
        fitting = np.rint(np.log(np.maximum(scales, SCALE_MIN) / SCALE_MIN) / LOG_STEP)
        scale_index = np.where(scales > 0, np.clip(fitting, 1, SCALES - 1), 0).astype(np.uint8)  # 0: nothing to code
        coded = scale_index > 0
        packed = zlib.compress(scale_index.tobytes(), 9)
        header = _HEADER.pack(*image.size, step, len(packed))
        model = weights.load()
        indexes = np.tile(self._tables(scale_index[coded], model), len(symbols))
        return header + packed + encode_symbols(symbols[:, coded].ravel(), indexes, model.tables)

    def decode(self, data: bytes) -> Image.Image:
        width, height, step, packed = _HEADER.unpack_from(data)
        body = _HEADER.size + packed
        scale_index = np.frombuffer(zlib.decompress(data[_HEADER.size : body]), np.uint8)
        coded = scale_index > 0
        blocks = -(-height // BLOCK) * -(-width // BLOCK)
        symbols = np.zeros((blocks, len(coded)), np.float32)
        model = weights.load()
        reader = SymbolReader(data[body:], model.tables)
        indexes = np.tile(self._tables(scale_index[coded], model), len(symbols))
        symbols[:, coded] = reader.read(indexes).reshape(len(symbols), -1)
        return Image.fromarray(from_blocks(symbols * step @ self.basis + 128, BLOCK, height, width))

    def _tables(self, scale_index: NDArray[np.uint8], model: weights.Weights) -> NDArray[np.uint16]:
        """Tables of y stand behind the sets of z."""
        return scale_index.astype(np.uint16) + np.uint16(model.prior.z_tables)


def to_blocks(pixels: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """[blocks, 3 * side^2], the last row and column repeated to fill the blocks at the border."""
    H, W, _ = pixels.shape
    padded = np.pad(pixels, ((0, -H % side), (0, -W % side), (0, 0)), mode="edge")
    rows, columns = padded.shape[0] // side, padded.shape[1] // side
    grid = padded.reshape(rows, side, columns, side, 3).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * columns, -1).astype(np.float32)


def from_blocks(blocks: NDArray[np.float32], side: int, height: int, width: int) -> NDArray[np.uint8]:
    """The pixels [height, width, 3] of what to_blocks gives."""
    rows, columns = -(-height // side), -(-width // side)
    grid = blocks.reshape(rows, columns, side, side, 3).transpose(0, 2, 1, 3, 4)
    pixels = grid.reshape(rows * side, columns * side, 3)[:height, :width]
    return np.rint(pixels).clip(0, 255).astype(np.uint8)
