"""Which pixels of a picture are drawn: those that cost less so than through the networks, at the same worth of errors.

Text, charts, icons and screens have few colors and hard edges: lossless coding is cheap where networks are at their
worst. Blocks of 16x16 are looked at, as many pixels as one position of y stands for. The rarer colors of an antialiased
edge are first replaced by frequent ones, as far as the quality allows. Photographs have no such blocks and pass by.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aecodec.format.container import Y_STRIDE
from aecodec.format.drawn import Drawn
from aecodec.image import Picture, Pixels

Blocks = NDArray[np.bool_]  # [H/16, W/16]
Colors = NDArray[np.int32]  # packed, 8 bits a channel

_TINY, _HUGE = 1 << 12, 1 << 26  # pixels: up to the first any picture is looked at, above the second none
_NARROW = 16  # of such sides as well: networks code squares of 64
_RELATED = 0.5  # correlation of neighbors; photographs have more than 0.85, noise none
_PER_COLOR = 4  # pixels for each color of a block that may be drawn, at least
_PER_COLOR_ALONE = 8  # of one that only drawn pictures have, if there is an edge in it
_EDGE = 48  # difference of neighbors in a channel
_LEAST = 1 / 80  # share of such blocks that makes a picture worth a closer look; 59 of 60 photographs have less
_SAMPLE = 4096  # blocks that are looked at first
_MOSTLY = 0.5  # share of blocks that may be drawn, from which on all may
_WORTH = 2.0  # bits that a pixel saves that has the color of a neighbor
_BAND = 512  # rows
_ROWS = 64  # that are looked at for noise
_MERGED, _ROUNDS = 8192, 1024  # colors at most that are merged, the most frequent ones, and into how many


class Candidates(NamedTuple):
    """What of a picture may be drawn."""

    blocks: Blocks
    whole: bool  # whether all of it may


def find(picture: Picture) -> Candidates | None:
    """None for a photograph."""
    pixels = picture.pixels
    H, W, _ = pixels.shape
    if H * W > _HUGE:
        return None
    tiny = H * W <= _TINY or min(H, W) < _NARROW or _is_noise(pixels)
    step = max(1, int((H * W / Y_STRIDE**2 / _SAMPLE) ** 0.5))
    if not tiny and step > 1 and _blocks(_every(pixels, step))[1].mean() < _LEAST:
        return None
    few, plain = _blocks(pixels)
    if not tiny and plain.mean() < _LEAST:
        return None
    return Candidates(few, tiny or bool(few.mean() >= _MOSTLY))


def _is_noise(pixels: Pixels) -> bool:
    """Whether neighbors have little to do with each other, in both directions, in rows from all over the picture."""
    rows = np.linspace(0, len(pixels) - 2, min(len(pixels) - 1, _ROWS)).astype(int)
    here, below = pixels[rows].astype(np.float32), pixels[rows + 1].astype(np.float32)
    apart = min(float(((a - b) ** 2).mean()) for a, b in ((here[:, 1:], here[:, :-1]), (here, below)))
    return apart > 2 * (1 - _RELATED) * float(here.var((0, 1)).mean())


def _every(pixels: Pixels, step: int) -> Pixels:
    """Every so many whole blocks in both directions."""
    H, W, _ = pixels.shape
    rows, columns = H // Y_STRIDE, W // Y_STRIDE
    blocks = pixels[: rows * Y_STRIDE, : columns * Y_STRIDE].reshape(rows, Y_STRIDE, columns, Y_STRIDE, 3)
    some = blocks[::step, :, ::step]
    return some.reshape(some.shape[0] * Y_STRIDE, some.shape[2] * Y_STRIDE, 3)


def _blocks(pixels: Pixels) -> tuple[Blocks, Blocks]:
    """Which blocks may be drawn, and which only drawn pictures have."""
    H, W, _ = pixels.shape
    rows, columns = -(-H // Y_STRIDE), -(-W // Y_STRIDE)
    padded = np.pad(pixels, ((0, rows * Y_STRIDE - H), (0, columns * Y_STRIDE - W), (0, 0)), "edge")
    cells = padded.reshape(rows, Y_STRIDE, columns, Y_STRIDE, 3).swapaxes(1, 2)
    counts, edges = np.empty((rows, columns)), np.empty((rows, columns), bool)
    for i, row in enumerate(cells):
        colors = np.sort(pack_colors(row).reshape(columns, -1), axis=1)
        counts[i] = 1 + np.count_nonzero(colors[:, 1:] != colors[:, :-1], axis=1)
        edges[i] = np.abs(np.diff(row.astype(np.int16), axis=2)).max((1, 2, 3)) >= _EDGE
    per_color = sum_blocks(np.ones((H, W), np.float32)) / counts
    return per_color >= _PER_COLOR, (per_color >= _PER_COLOR_ALONE) & edges


def pack_colors(pixels: NDArray[np.uint8]) -> Colors:
    """One integer for the three channels in the last axis."""
    wide = pixels.astype(np.int32)
    packed: Colors = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    return packed


def in_pixels(blocks: Blocks, height: int, width: int) -> NDArray[np.bool_]:
    """[H, W]"""
    mask: NDArray[np.bool_] = blocks.repeat(Y_STRIDE, 0)[:height].repeat(Y_STRIDE, 1)[:, :width]
    return mask


def draw(picture: Picture, mask: NDArray[np.bool_], weight: float) -> Drawn:
    """A picture with fewer colors where the mask is: the most frequent ones, and those far from them.

    weight: bits that a squared error of 1 in one value 0..255 is worth.
    """
    pixels = np.array(picture.pixels)
    for band in _bands(len(pixels)):
        rows, inside = pixels[band], mask[band]
        if picture.alpha is not None:
            _continue_under(rows, picture.alpha[band] == 0)
        colors = pack_colors(rows)
        found, places, counts = np.unique(colors[inside], return_inverse=True, return_counts=True)
        if 2 * len(found) > len(places):  # noise, of which nothing can be merged
            continue
        fresh = np.bincount(places, _is_fresh(colors)[inside], len(found)) / counts
        merged = _merge(found, counts, (_WORTH / weight * fresh).astype(np.float32))
        rows[inside] = np.stack((merged >> 16, merged >> 8 & 255, merged & 255), 1).astype(np.uint8)[places]
    return Drawn(pixels, mask)


def _continue_under(pixels: Pixels, hidden: NDArray[np.bool_]) -> None:
    """Give hidden pixels the color to their left: runs cost nothing."""
    columns = np.where(hidden, 0, np.arange(hidden.shape[1]))
    nearest = np.maximum.accumulate(columns, axis=1)
    pixels[:] = np.take_along_axis(pixels, nearest[:, :, None], 1)


def _is_fresh(colors: Colors) -> NDArray[np.bool_]:
    """Pixels that are neither like the one to their left nor like the one above: those cost bits."""
    fresh = np.ones(colors.shape, bool)
    fresh[:, 1:] &= colors[:, 1:] != colors[:, :-1]
    fresh[1:] &= colors[1:] != colors[:-1]
    return fresh


def _merge(found: Colors, counts: NDArray[np.intp], limits: NDArray[np.float32]) -> Colors:
    """For each color a more frequent one whose squared difference is at most the color's limit, or itself."""
    merged = found.copy()
    left = np.argsort(-counts, kind="stable")[:_MERGED]
    values = np.stack((found >> 16, found >> 8 & 255, found & 255), 1).astype(np.float32)
    for _ in range(_ROUNDS):
        if not len(left):
            break
        near = ((values[left] - values[left[0]]) ** 2).sum(1) <= limits[left]
        near[0] = True
        merged[left[near]] = found[left[0]]
        left = left[~near]
    return merged


def estimate_bits(drawn: Drawn) -> NDArray[np.float32]:
    """[H/16, W/16]: what each block of a drawn picture costs, up to a factor, by how its pixels repeat neighbors."""
    parts = [_estimate_bits(drawn.values[band], drawn.mask[band]) for band in _bands(len(drawn.mask))]
    return np.concatenate(parts)


def _estimate_bits(values: Pixels, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    colors = pack_colors(values)
    padded = np.pad(colors, ((1, 0), (1, 0)), "edge")
    left, above, corner = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    context = (left == above) * np.uint8(4) + (above == corner) * np.uint8(2) + (left == corner)
    event = np.where(colors == left, np.uint8(0), np.where(colors == above, np.uint8(1), np.uint8(2)))
    joint = np.bincount((context * np.uint8(3) + event)[mask], minlength=24).reshape(8, 3) + 1.0
    cost = -np.log2(joint / joint.sum(1, keepdims=True)).astype(np.float32)[context, event]
    fresh = (event == 2) & mask
    _, places, counts = np.unique(colors[fresh], return_inverse=True, return_counts=True)
    cost[fresh] += np.log2(max(counts.sum(), 1) / counts).astype(np.float32)[places]
    return sum_blocks(cost * mask)


def errors(picture: Picture, shown: Pixels) -> NDArray[np.float32]:
    """[H/16, W/16]: squared differences, summed over channels and pixels, where a viewer sees them."""
    parts = []
    for band in _bands(len(shown)):
        original, seen = picture.pixels[band].astype(np.float32), shown[band].astype(np.float32)
        if picture.gray:
            seen = np.broadcast_to((seen.sum(2, keepdims=True) + 1) // 3, original.shape)
        squares = ((original - seen) ** 2).sum(2)
        parts.append(sum_blocks(squares if picture.alpha is None else squares * (picture.alpha[band] > 0)))
    return np.concatenate(parts)


def _bands(height: int) -> list[slice]:
    """Rows that are worked on at once, so that memory is bounded."""
    return [slice(top, min(top + _BAND, height)) for top in range(0, height, _BAND)]


def sum_blocks(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """[H/16, W/16]: sums of values [H, W] over blocks."""
    H, W = values.shape
    padded = np.pad(values, ((0, -H % Y_STRIDE), (0, -W % Y_STRIDE)))
    total: NDArray[np.float32] = padded.reshape(len(padded) // Y_STRIDE, Y_STRIDE, -1, Y_STRIDE).sum((1, 3))
    return total
