"""numcodecs codec: arrays of pictures, such as those of zarr, as .aec chunks.

>>> import zarr, aecodec.numcodecs
>>> compressor = aecodec.numcodecs.Aecodec(quality=80)
>>> zarr.create_array("photos.zarr", shape=(100, 480, 640, 3), chunks=(1, 480, 640, 3), dtype="uint8",
...                   compressors=compressor, zarr_format=2)
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_contiguous_ndarray_like, ensure_ndarray_like
from numpy.typing import NDArray
from PIL import Image

import aecodec
from aecodec.arguments import as_integer, as_number
from aecodec.encoder.effort import DEFAULT_EFFORT, pick_effort
from aecodec.errors import InputError
from aecodec.format.container import DEFAULT_QUALITY, MAX_SIDE, quality_level

_CHANNELS = (1, 2, 3, 4)


class Aecodec(Codec):  # type: ignore[misc] # numcodecs is untyped
    """Compression of uint8 chunks in C order: [..., H, W], or [..., H, W, C] of 1 to 4 channels.

    Two channels are gray and alpha, four RGBA; a last axis of 1 to 4 is always one of channels.
    Pictures of one chunk are coded as one, one below the other: chunks of one picture are read fastest, and the rows
    of all together may be 65,535. Shape and channels come back as they were, alpha exactly. quality is 1..100, effort
    0..9, and lossless keeps every value; other values raise InputError. For arrays of zarr format 2: those of format 3
    take aecodec.zarr.Aecodec. Registered as "aecodec" with numcodecs by an entry point: reading needs no import.
    """

    codec_id = "aecodec"

    def __init__(
        self, quality: float = DEFAULT_QUALITY, effort: int = DEFAULT_EFFORT, *, lossless: bool = False
    ) -> None:
        quality_level(quality)
        pick_effort(effort)
        self.lossless = bool(lossless)
        self.quality, self.effort = as_number("quality", quality), as_integer("effort", effort)  # they go to JSON

    def get_config(self) -> dict[str, Any]:
        """What an array names the codec by; readers before lossless find nothing that they do not know."""
        config: dict[str, Any] = super().get_config()
        return config if self.lossless else {name: value for name, value in config.items() if name != "lossless"}

    def __getitem__(self, _: object) -> Any:
        """What zarr finds that takes a codec of format 2 for a sequence of those of format 3. Raises InputError."""
        raise InputError(
            "aecodec.numcodecs.Aecodec is for arrays of zarr format 2: create them with zarr_format=2, or those of "
            "format 3 with serializer=aecodec.zarr.Aecodec()"
        )

    def encode(self, buf: Any) -> bytes:
        """The .aec file of a chunk. Raises InputError for arrays of another shape, type or memory order."""
        picture: Any = _picture(np.asarray(buf))
        quality = None if self.lossless else self.quality
        return aecodec.encode(picture, quality=quality, lossless=self.lossless, effort=self.effort)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The pictures of a chunk, one below the other, or in the shape of out. Raises as aecodec.decode does, and
        InputError for an out of another size."""
        pixels = np.asarray(aecodec.decode(ensure_contiguous_ndarray_like(buf).tobytes()))
        if out is None:
            return pixels
        target = ensure_ndarray_like(out)
        if target.nbytes != pixels.nbytes:
            raise InputError(f"out of {target.nbytes} bytes is not for a chunk of {pixels.nbytes}")
        target[...] = pixels.reshape(-1).view(target.dtype).reshape(target.shape)
        return out


def split_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Rows of all pictures of a chunk, their width and their channels. Raises InputError where they are none."""
    if len(shape) < 2 or 0 in shape:
        raise InputError(f"chunks must be [..., H, W] or [..., H, W, 1 to 4], got {shape}")
    W, channels = shape[-2:] if len(shape) > 2 and shape[-1] in _CHANNELS else (shape[-1], 1)
    H = prod(shape) // (W * channels)
    if H > MAX_SIDE:
        raise InputError(
            f"chunk {shape} has {H} rows in total, at most {MAX_SIDE} are possible: put fewer pictures in a chunk"
        )
    return H, W, channels


def _picture(array: NDArray[Any]) -> Any:
    """A chunk as one picture that decodes to as many channels, for aecodec.encode."""
    from aecodec.image import to_picture

    if array.dtype != np.uint8:
        raise InputError(f"chunks must be uint8, got {array.dtype}")
    if array.flags.f_contiguous and not array.flags.c_contiguous:
        raise InputError(f"chunks must be in C order, as they are read back, got F order {array.shape}")
    H, W, channels = split_shape(array.shape)
    pixels = array.reshape(H, W, channels)
    picture = to_picture(pixels[:, :, 0] if channels == 1 else Image.fromarray(pixels))
    if channels in (2, 4) and picture.alpha is None:
        picture = picture._replace(alpha=np.full((H, W), 255, np.uint8))
    return picture
