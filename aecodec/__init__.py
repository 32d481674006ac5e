"""aecodec: a learned image codec. Small .aec files that decode the same everywhere.

>>> import aecodec
>>> data = aecodec.encode(image, quality=60)
>>> image = aecodec.decode(data)

Importing this package loads neither torch nor CompressAI; the first encode or decode loads torch.
"""

from __future__ import annotations

from importlib.metadata import version as _version
from typing import TYPE_CHECKING

from aecodec.container import Header, read_header
from aecodec.errors import CodecError, FormatError, InputError, PictureWarning, TruncatedError, UnsupportedError
from aecodec.pillow import register as _register

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from aecodec.codec import Codec

_register()  # Image.open and Image.save know .aec from now on

__version__ = _version("aecodec")
__all__ = [
    "Codec",
    "CodecError",
    "FormatError",
    "Header",
    "InputError",
    "PictureWarning",
    "TruncatedError",
    "UnsupportedError",
    "decode",
    "encode",
    "read_header",
]


def encode(image: Image.Image | NDArray[np.uint8], *, quality: float = 60.0) -> bytes:
    """The .aec file of a PIL image or uint8 array [H, W, 3] or [H, W]; quality 1..100, higher is better.

    Uses the default model, on the GPU where there is one; Codec.load() chooses both. Raises InputError for a picture or
    quality that cannot be used.
    """
    from aecodec.codec import default_codec

    return default_codec().encode(image, quality=quality)


def decode(data: bytes) -> Image.Image:
    """The picture of a .aec file, with whichever shipped model it needs.

    Raises FormatError for damaged data, UnsupportedError if it needs other weights or a newer aecodec.
    """
    from aecodec.codec import codec_for

    return codec_for(read_header(data).model_id).decode(data)


def __getattr__(name: str) -> object:
    if name == "Codec":
        from aecodec.codec import Codec

        return Codec
    raise AttributeError(f"module 'aecodec' has no attribute '{name}'")
