"""The codec for numcodecs and zarr under the name that users import."""

from aecodec.plugins.numcodecs import Aecodec

__all__ = ["Aecodec"]
