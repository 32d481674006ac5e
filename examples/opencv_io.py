"""imread and imwrite as in OpenCV, for .aec files too: arrays of B, G, R (and alpha).

python opencv_io.py IN OUT    # any of .aec and what Pillow reads and writes
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

import aecodec  # noqa: F401 - Pillow reads and writes .aec from here on

UNCHANGED, GRAYSCALE, COLOR = -1, 0, 1  # values of cv2.IMREAD_...
QUALITY = 1001  # in `params`, as cv2.IMWRITE_JPEG_QUALITY is


def imread(path: str | Path, flags: int = COLOR) -> NDArray[np.uint8] | None:
    """uint8 [H, W, 3] in order B, G, R; [H, W] of GRAYSCALE; UNCHANGED keeps gray and alpha (B, G, R, A).

    Turned as EXIF says, except UNCHANGED. None for what cannot be read, as OpenCV does.
    """
    try:
        with Image.open(path) as image:
            if flags == UNCHANGED:
                alpha = "A" in image.getbands() or "transparency" in image.info
                mode = "RGBA" if alpha else "L" if image.mode == "L" else "RGB"
                pixels = np.asarray(image.convert(mode))
            else:
                pixels = np.asarray(ImageOps.exif_transpose(image).convert("L" if flags == GRAYSCALE else "RGB"))
    except OSError:  # damaged .aec files as well, as Pillow's plugins have it
        return None
    return _swapped(pixels)


def imwrite(path: str | Path, pixels: NDArray[np.uint8], params: tuple[int, ...] = ()) -> bool:
    """Write uint8 [H, W], [H, W, 3] or [H, W, 4] in order B, G, R (A). params: (QUALITY, 1..100). Raises as Pillow."""
    quality = dict(zip(params[::2], params[1::2], strict=True)).get(QUALITY)
    options = {} if quality is None else {"quality": quality}
    Image.fromarray(_swapped(pixels)).save(path, **options)
    return True


def _swapped(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """R, G, B of B, G, R, and the other way round."""
    if pixels.ndim == 2:
        return np.array(pixels)
    return np.ascontiguousarray(pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]])


if __name__ == "__main__":
    source, target = sys.argv[1:]
    picture = imread(source, UNCHANGED)
    if picture is None:
        sys.exit(f"{source} cannot be read")
    imwrite(target, picture)
