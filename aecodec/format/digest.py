"""Digest of a reconstruction, to verify it later: the payload of the digest section (docs/format.md, section 1.5)."""

from __future__ import annotations

import numpy as np
from PIL import Image

from aecodec.errors import DigestError, FormatError
from aecodec.format.container import Header

TOLERANCE = 1  # of 255. Pixels of two decoders differ by no more, so neither do means, nor rounded means
_CELLS = 8  # at most, in each direction
_CELL = 64  # pixels at least, but for the rest of a side


def digest_size(header: Header) -> int:
    """Bytes of the payload."""
    return _cells(header.height) * _cells(header.width) * (1 if header.gray else 3)


def make_digest(image: Image.Image) -> bytes:
    """The payload for a picture of mode L, LA, RGB or RGBA: rounded means over cells. Alpha is exact by itself."""
    channels = np.atleast_3d(np.asarray(image))[:, :, : 1 if image.mode in ("L", "LA") else 3]
    H, W, _ = channels.shape
    means = []
    for rows in _slices(H):
        for columns in _slices(W):
            cell = channels[rows, columns].reshape(-1, channels.shape[2])
            means.append((2 * cell.sum(0, dtype=np.int64) + len(cell)) // (2 * len(cell)))
    digest: bytes = np.concatenate(means).astype(np.uint8).tobytes()
    return digest


def check_digest(digest: bytes, image: Image.Image) -> int:
    """The largest difference between a digest and a picture, of 255.

    Raises FormatError for a digest of another length, DigestError for a difference beyond the tolerance.
    """
    expected, actual = np.frombuffer(digest, np.uint8).astype(int), np.frombuffer(make_digest(image), np.uint8)
    if len(expected) != len(actual):
        raise FormatError(
            f"digest of {image.width}x{image.height} {image.mode} is {len(actual)} bytes, got {len(expected)}"
        )
    differences = np.abs(expected - actual)
    difference = int(differences.max())
    if difference > TOLERANCE:
        raise DigestError(
            f"picture is not what the encoder saw: {np.sum(differences > TOLERANCE)} of {len(actual)} means differ, "
            f"by up to {difference} of 255, {TOLERANCE} is allowed"
        )
    return difference


def _cells(side: int) -> int:
    return min(_CELLS, -(-side // _CELL))


def _slices(side: int) -> list[slice]:
    count = _cells(side)
    return [slice(side * i // count, side * (i + 1) // count) for i in range(count)]
