"""aecodec: a learned image codec. Small .aec files that decode the same everywhere.

>>> import aecodec
>>> data = aecodec.encode(image, quality=60)
>>> image = aecodec.decode(data)

Importing this package loads no numpy. torch is loaded for training, GPUs and tensors alone.
"""

from __future__ import annotations

from importlib.metadata import version as _version
from importlib.util import find_spec as _find_spec
from typing import TYPE_CHECKING

if _find_spec("aecodec._native") is None:  # the checkout, which hides the installed package from a Python started in it
    raise ImportError(
        f"{__path__[0]} is source code without its compiled module: "
        "start Python in another folder or with -P, or install with `pip install -e .`"
    )

from aecodec.errors import (
    CodecError,
    DigestError,
    FormatError,
    InputError,
    PictureWarning,
    TruncatedError,
    UnsupportedError,
)
from aecodec.forked import watch_forks as _watch_forks
from aecodec.format.container import MAX_PIXELS, Header, read_header
from aecodec.plugins.pillow import register as _register

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from aecodec.codec import Codec
    from aecodec.format.container import Buffer

_watch_forks()
_register()  # Image.open and Image.save know .aec from now on

__version__ = _version("aecodec")
__all__ = [
    "Codec",
    "CodecError",
    "DigestError",
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


def encode(
    image: Image.Image | NDArray[np.uint8],
    *,
    quality: float | None = None,
    bpp: float | None = None,
    max_bytes: int | None = None,
    psnr: float | None = None,
    ms_ssim: float | None = None,
    lossless: bool = False,
    near_lossless: int | None = None,
    effort: int = 3,
    strip: bool = False,
    max_pixels: int = MAX_PIXELS,
    device: str = "cpu",
) -> bytes:
    """The .aec file of a PIL image or uint8 array [H, W] or [H, W, 1..4] (gray, gray and alpha, RGB, RGBA).

    At most one of: quality 1..100 (default 55), higher is better; bpp or max_bytes, which the file does not exceed;
    psnr or ms_ssim in dB (ms_ssim below 1: the index), which it reaches; lossless; near_lossless, 0..8, how much a
    value may differ. effort 0..9: smaller files for more time. strip drops ICC, EXIF, XMP and dpi. Pictures of more
    than max_pixels (2^28) are refused. device is "cpu", "cuda", or "auto" (CUDA where there is one). Uses the default
    model; Codec.load() chooses another. Raises InputError for a picture or option that cannot be used, or a target out
    of reach.
    """
    from aecodec.codec import default_codec

    return default_codec(device).encode(
        image,
        quality=quality,
        bpp=bpp,
        max_bytes=max_bytes,
        psnr=psnr,
        ms_ssim=ms_ssim,
        lossless=lossless,
        near_lossless=near_lossless,
        effort=effort,
        strip=strip,
        max_pixels=max_pixels,
    )


def decode(
    data: Buffer,
    *,
    region: tuple[int, int, int, int] | None = None,
    scale: float = 1,
    max_pixels: int = MAX_PIXELS,
    device: str = "cpu",
) -> Image.Image:
    """The picture of a .aec file, bytes or any other buffer of them, with whichever shipped model it needs.

    region (x, y, width, height) and scale (1, 1/2, 1/4 or 1/8) give a part or a reduced picture at less cost. Files of
    more than max_pixels (2^28) are refused before anything of that size is allocated. device is "cpu", "cuda", or
    "auto" (CUDA where there is one). Raises InputError for an option that cannot be used, FormatError for damaged data,
    UnsupportedError if it needs other weights or a newer aecodec.
    """
    from aecodec.codec import decode_shipped

    return decode_shipped(data, region, scale, max_pixels, device)


def __getattr__(name: str) -> object:
    if name == "Codec":
        from aecodec.codec import Codec

        return Codec
    raise AttributeError(f"module 'aecodec' has no attribute '{name}'")
