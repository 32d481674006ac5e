"""The codec for arrays of zarr format 3 under the name that users import."""

from aecodec.plugins.zarr import Aecodec

__all__ = ["Aecodec"]
