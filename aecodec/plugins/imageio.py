"""imageio v3 plugin: importing this module teaches imageio .aec files.

>>> import aecodec.imageio
>>> import imageio.v3 as iio
>>> iio.imwrite("photo.aec", array, quality=80)
>>> array = iio.imread("photo.aec")
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from imageio.config import extension_list, known_extensions, known_plugins
from imageio.config.extensions import FileExtension
from imageio.config.plugins import PluginConfig
from imageio.core.request import InitializationError, Request
from imageio.core.v3_plugin_api import ImageProperties, PluginV3
from numpy.typing import NDArray
from PIL import Image

import aecodec
from aecodec.encoder.effort import DEFAULT_EFFORT
from aecodec.errors import InputError
from aecodec.format.container import MAGIC, read_front
from aecodec.image import Metadata, upright

NAME = "aecodec"
EXTENSION = ".aec"


class AecodecPlugin(PluginV3):
    """One picture per file: uint8 [H, W], [H, W, 2] (gray and alpha), [H, W, 3] or [H, W, 4]."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        if request.mode.io_mode == "r" and not request.firstbytes.startswith(MAGIC):
            raise InitializationError("not an .aec file")
        if request.mode.io_mode == "w" and request.extension != EXTENSION:
            raise InitializationError("not the name of an .aec file")
        self._written = 0  # pictures

    def read(self, *, index: Any = 0, mode: str | None = None, rotate: bool = False) -> NDArray[Any]:
        """The picture; index is 0, or ... for a batch of this one.

        mode is one of Pillow's to convert it to; rotate turns it as its EXIF orientation says.
        """
        batch = _is_all(index)
        image: Image.Image = aecodec.decode(self._data())
        if rotate:
            image = upright(image)
        pixels = np.array(image if mode is None else image.convert(mode))
        return pixels[None] if batch else pixels

    def iter(self, *, mode: str | None = None, rotate: bool = False) -> Iterator[NDArray[Any]]:
        yield self.read(mode=mode, rotate=rotate)

    def write(
        self,
        ndimage: Any,
        *,
        mode: str | None = None,
        is_batch: bool | None = None,
        quality: float | None = None,
        lossless: bool = False,
        effort: int = DEFAULT_EFFORT,
    ) -> bytes | None:
        """Encode one picture, or a batch of one; its bytes if the target is imageio's "<bytes>".

        mode (L, LA, RGB or RGBA) converts it first. A list is a batch, and so is an array that is_batch says to be one;
        without that, a last axis of 1 to 4 is taken for channels. Raises InputError for a second picture, written at
        once or later, and as aecodec.encode.
        """
        if mode not in (None, "L", "LA", "RGB", "RGBA"):
            raise InputError(f"mode must be L, LA, RGB or RGBA, got {mode}")
        pictures = _pictures(ndimage, is_batch)
        if len(pictures) + self._written != 1:
            raise InputError(f"an .aec file holds one picture, got {len(pictures) + self._written}")
        picture: Any = np.asarray(pictures[0])
        if picture.shape[2:] == (1,):
            picture = picture[:, :, 0]
        if mode is not None and picture.dtype == np.uint8 and picture.shape[2:] in ((), (2,), (3,), (4,)):
            picture = Image.fromarray(picture).convert(mode)
        data = aecodec.encode(picture, quality=quality, lossless=lossless, effort=effort)
        self.request.get_file().write(data)
        self._written = 1
        return data if self.request.raw_uri == "<bytes>" else None

    def properties(self, index: Any = 0) -> ImageProperties:
        """Shape and type, without decoding."""
        header, _ = read_front(self._data())
        channels = len(header.mode)  # L, LA, RGB, RGBA
        shape = (header.height, header.width) + ((channels,) if channels > 1 else ())
        batch = _is_all(index)
        return ImageProperties((1, *shape) if batch else shape, np.dtype(np.uint8), n_images=1, is_batch=batch)

    def metadata(self, index: Any = 0, exclude_applied: bool = True) -> dict[str, Any]:  # noqa: ARG002 - as imageio calls it
        """ICC profile, EXIF, XMP and dpi under Pillow's names, the mode and the quality."""
        _is_all(index)
        header, sections = read_front(self._data())
        return {"mode": header.mode, "quality": header.quality, **Metadata.from_sections(sections).info}

    def _data(self) -> bytes:
        file = self.request.get_file()
        file.seek(0)
        data: bytes = file.read()
        return data


def _is_all(index: Any) -> bool:
    if index not in (0, None, ...):
        raise IndexError(f"an .aec file holds one picture, got index {index}")
    return index is ...


def _pictures(ndimage: Any, is_batch: bool | None) -> Any:
    """What is given to write, as a sequence of pictures."""
    if isinstance(ndimage, list | tuple):
        return ndimage
    array = np.asarray(ndimage)
    if is_batch is None:
        is_batch = array.ndim > 2 and (array.ndim > 3 or array.shape[-1] not in (1, 2, 3, 4))
    return array if is_batch else [array]


known_plugins[NAME] = PluginConfig(
    name=NAME, class_name=AecodecPlugin.__name__, module_name=__name__, package_name="aecodec"
)
known_extensions[EXTENSION] = [FileExtension(extension=EXTENSION, priority=[NAME], name="aecodec picture")]
extension_list.extend(known_extensions[EXTENSION])
