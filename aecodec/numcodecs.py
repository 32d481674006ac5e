"""numcodecs codec: arrays of pictures, such as those of zarr, as .aec chunks.

>>> import zarr, aecodec.numcodecs
>>> compressor = aecodec.numcodecs.Aecodec(quality=80)
>>> zarr.create_array("photos.zarr", shape=(100, 480, 640, 3), chunks=(1, 480, 640, 3), dtype="uint8",
...                   compressors=compressor, zarr_format=2)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_contiguous_ndarray_like, ndarray_copy

import aecodec
from aecodec.errors import InputError


class Aecodec(Codec):  # type: ignore[misc] # numcodecs is untyped
    """Lossy compression of uint8 chunks [..., H, W, 3], [..., H, W, 4] (RGBA) or [..., H, W] (gray).

    Pictures of one chunk are coded as one, one below the other: chunks of one picture are read fastest. quality is
    1..100. Registered as "aecodec" with numcodecs by an entry point: reading needs no import.
    """

    codec_id = "aecodec"

    def __init__(self, quality: float = 60.0) -> None:
        self.quality = quality

    def encode(self, buf: Any) -> bytes:
        """The .aec file of a chunk. Raises InputError for arrays of another shape or type."""
        array = np.asarray(buf)
        if array.dtype != np.uint8 or array.ndim < 2:
            raise InputError(
                f"chunks must be uint8 [..., H, W] or [..., H, W, 3 or 4], got {array.dtype} {array.shape}"
            )
        inner = array.shape[-2:] if array.ndim > 2 and array.shape[-1] in (3, 4) else array.shape[-1:]
        return aecodec.encode(array.reshape(-1, *inner), quality=self.quality)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The pictures of a chunk, one below the other. Raises as aecodec.decode does."""
        array = np.asarray(aecodec.decode(ensure_contiguous_ndarray_like(buf).tobytes()))
        return ndarray_copy(array, out)
