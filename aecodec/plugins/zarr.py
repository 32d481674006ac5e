"""zarr codec: arrays of pictures of format 3, zarr's default, as .aec chunks. For format 2 there is aecodec.numcodecs.

>>> import zarr, aecodec.zarr
>>> zarr.create_array("photos.zarr", shape=(100, 480, 640, 3), chunks=(1, 480, 640, 3), dtype="uint8",
...                   serializer=aecodec.zarr.Aecodec(quality=80), compressors=None)
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from zarr.abc.codec import ArrayBytesCodec

from aecodec.encoder.effort import DEFAULT_EFFORT
from aecodec.errors import InputError
from aecodec.format.container import DEFAULT_QUALITY
from aecodec.plugins import numcodecs


@dataclass(frozen=True)
class Aecodec(ArrayBytesCodec):
    """Compression of uint8 chunks, as those of aecodec.numcodecs.Aecodec, for the argument serializer.

    quality is 1..100, effort 0..9, and lossless keeps every value; other values raise InputError, and so do arrays of
    another type or shape. Registered as "aecodec" with zarr by an entry point: reading needs no import.
    """

    quality: float = DEFAULT_QUALITY
    effort: int = DEFAULT_EFFORT
    lossless: bool = False
    is_fixed_size = False

    def __post_init__(self) -> None:
        checked = self._codec
        object.__setattr__(self, "quality", checked.quality)  # they go to JSON
        object.__setattr__(self, "effort", checked.effort)

    @property
    def _codec(self) -> numcodecs.Aecodec:
        return numcodecs.Aecodec(self.quality, self.effort, lossless=self.lossless)

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """The codec that an array names."""
        configuration = data.get("configuration", {})
        unknown = configuration.keys() - {"quality", "effort", "lossless"}
        if unknown:
            raise InputError(
                f"configuration of aecodec contains {', '.join(sorted(unknown))}, which this version does not know"
            )
        return cls(**configuration)

    def to_dict(self) -> dict[str, Any]:
        """What an array names it by."""
        configuration = {"quality": self.quality, "effort": self.effort} | ({"lossless": True} if self.lossless else {})
        return {"name": numcodecs.Aecodec.codec_id, "configuration": configuration}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Refuse an array before it is made. Raises InputError."""
        native = dtype.to_native_dtype() if hasattr(dtype, "to_native_dtype") else dtype  # zarr from 3.1 on, and 3.0
        if native != np.uint8:
            raise InputError(f"arrays must be uint8, got {native}")
        chunk = getattr(chunk_grid, "chunk_shape", shape)
        numcodecs.split_shape(chunk)

    def compute_encoded_size(self, _input_byte_length: int, _chunk_spec: Any) -> int:
        """Nobody knows before. Raises NotImplementedError, as zarr's own codecs do."""
        raise NotImplementedError

    async def _encode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        array = np.ascontiguousarray(chunk_data.as_numpy_array())
        return chunk_spec.prototype.buffer.from_bytes(await asyncio.to_thread(self._codec.encode, array))

    async def _decode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        array = np.empty(chunk_spec.shape, np.uint8)
        await asyncio.to_thread(self._codec.decode, chunk_data.to_bytes(), array)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(array)
