"""Drawn pixels: what stands in a tile itself, beside the networks or in their place (docs/format.md, section 1.6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aecodec.errors import FormatError
from aecodec.format.alpha import sums
from aecodec.format.container import Box, Header, Tile
from aecodec.format.webp import decode_webp, encode_webp


class Drawn(NamedTuple):
    """What of a picture is drawn."""

    values: NDArray[np.uint8]  # [H, W, 3]: pixels divided by the step
    mask: NDArray[np.bool_]  # [H, W]
    step: int = 1

    @property
    def colors(self) -> NDArray[np.uint8]:
        """[H, W, 3]"""
        return multiplied(self.values, self.step)

    def encode(self, box: Box, *, quality: int = 75, method: int = 4) -> bytes:
        """The data of a tile, nothing where none of it is drawn; quality and method as for encode_webp."""
        values, mask = self.values[box.cells(1)], self.mask[box.cells(1)]
        if not mask.any():
            return b""
        if mask.all():
            return encode_webp(np.ascontiguousarray(values), quality=quality, method=method)
        alpha = 255 * mask.astype(np.uint8)
        return encode_webp(np.dstack((values * mask[:, :, None], alpha)), quality=quality, method=method)


def paint(pixels: NDArray[np.uint8], tile: Tile, box: Box, header: Header, area: Box, factor: int) -> None:
    """Put what is drawn in a tile over the pixels [h, w, 3] of an area, each the mean of factor x factor.

    box is what of the tile lies in the picture. Raises FormatError for data that Drawn.encode cannot have written.
    """
    cells, frame = area.aligned(factor), area.reduced(factor)
    shared = box.intersection(cells)
    if not tile.drawn or shared is None:
        return
    values = decode_webp(tile.drawn, *box.shape, "drawn part")
    alpha = values[:, :, 3]
    mask = alpha == 255
    if not (mask | (alpha == 0)).all():
        raise FormatError("drawn part has alpha other than 0 and 255")
    if tile.is_drawn and not mask.all():
        raise FormatError("a tile without a stream has pixels that are not drawn")
    part = shared.relative_to(box).cells(1)
    channels = (1, 1, 1) if header.gray else (0, 1, 2)
    colors = multiplied(values[part][:, :, channels], tile.step)
    shown = pixels[shared.reduced(factor).relative_to(frame).cells(1)]
    if header.gray:
        shown[:] = (shown.sum(2, keepdims=True, dtype=np.uint16) + 1) // 3
    _blend(shown, colors, mask[part], factor)


def drawn_pixels(tiles: Sequence[Tile], header: Header) -> int:
    """How many pixels of a picture are drawn. Raises FormatError."""
    drawn = [(box, tile) for box, tile in zip(header.seen_tiles(), tiles, strict=True) if tile.drawn]
    return sum(
        math.prod(box.shape)
        if tile.is_drawn
        else np.count_nonzero(decode_webp(tile.drawn, *box.shape, "drawn part")[:, :, 3])
        for box, tile in drawn
    )


def multiplied(values: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Pixels of values that were divided by the step."""
    return values if step == 1 else np.minimum(values.astype(np.uint16) * step, 255).astype(np.uint8)


def _blend(shown: NDArray[np.uint8], colors: NDArray[np.uint8], mask: NDArray[np.bool_], factor: int) -> None:
    if factor == 1:
        np.copyto(shown, colors, where=mask[:, :, None])
        return
    count = factor**2
    drawn = sums(mask[:, :, None].astype(np.uint8), factor)
    total = sums(colors * mask[:, :, None], factor) + (count - drawn) * shown
    shown[:] = (total + count // 2) // count
