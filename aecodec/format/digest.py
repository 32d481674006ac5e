"""Digest of a picture, to verify it later: the payload of the digest section (docs/format.md, section 1.5)."""

from __future__ import annotations

import hashlib
import struct

from PIL import Image

from aecodec.errors import DigestError, FormatError

DIGEST_SIZE = 16
_FRONT = struct.Struct("<HHB")  # width, height, channels
_ROWS = 256  # that are copied at once


def make_digest(image: Image.Image) -> bytes:
    """The payload for a picture of mode L, LA, RGB or RGBA."""
    sha256 = hashlib.sha256(_FRONT.pack(*image.size, len(image.getbands())))
    for top in range(0, image.height, _ROWS):
        sha256.update(image.crop((0, top, image.width, min(top + _ROWS, image.height))).tobytes())
    return sha256.digest()[:DIGEST_SIZE]


def check_digest(digest: bytes, image: Image.Image) -> None:
    """Raises FormatError for a digest of another length, DigestError for that of another picture."""
    if len(digest) != DIGEST_SIZE:
        raise FormatError(f"digest needs {DIGEST_SIZE} bytes, got {len(digest)}")
    actual = make_digest(image)
    if actual != digest:
        raise DigestError(
            f"picture is not what the encoder saw: its digest is {actual.hex()}, the file has {digest.hex()}"
        )
