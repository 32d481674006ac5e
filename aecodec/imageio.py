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

import aecodec
from aecodec.container import MAGIC, read_front
from aecodec.image import Metadata

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

    def read(self, *, index: Any = 0) -> NDArray[np.uint8]:
        """The picture; index is 0, or ... for a batch of this one."""
        image = np.asarray(aecodec.decode(self._data()))
        return image[None] if _is_all(index) else image

    def iter(self) -> Iterator[NDArray[np.uint8]]:
        yield self.read()

    def write(self, ndimage: Any, *, quality: float = 60.0) -> bytes | None:
        """Encode one picture, [H, W, C] or a batch of one; its bytes if the target is imageio's "<bytes>"."""
        array = np.asarray(ndimage)
        data = aecodec.encode(array[0] if array.ndim == 4 else array, quality=quality)
        self.request.get_file().write(data)
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


known_plugins[NAME] = PluginConfig(
    name=NAME, class_name=AecodecPlugin.__name__, module_name=__name__, package_name="aecodec"
)
known_extensions[EXTENSION] = [FileExtension(extension=EXTENSION, priority=[NAME], name="aecodec picture")]
extension_list.extend(known_extensions[EXTENSION])
