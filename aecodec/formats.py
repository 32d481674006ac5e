"""Which formats of pictures Pillow can read, with the plugins that are installed."""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from typing import NamedTuple

from PIL import Image


class Plugin(NamedTuple):
    """What teaches Pillow a format."""

    format: str  # as Pillow names it
    module: str
    package: str


_HEIF = Plugin("HEIF", "pillow_heif", "pillow-heif")
PLUGINS = dict.fromkeys((".heic", ".heics", ".heif", ".heifs", ".hif"), _HEIF)  # by suffix
PLUGINS[".jxl"] = Plugin("JXL", "pillow_jxl", "pillow-jxl-plugin")
AEC = "AECODEC"  # Pillow's name of our format
_DRAWN_BY_WINDOWS = {".emf", ".wmf"} if sys.platform != "win32" else set()  # nowhere else can Pillow read them
_NO_PICTURES = ("BUFR", "GRIB", "HDF5", "MPEG", AEC)  # Pillow knows their names, not what is in them


def register_plugins() -> None:
    """Teach Pillow the formats of the plugins that are installed."""
    for plugin in set(PLUGINS.values()):
        with suppress(ImportError):
            module = importlib.import_module(plugin.module)
            getattr(module, "register_heif_opener", list)()  # pillow_jxl registers itself


def picture_suffixes() -> set[str]:
    """Suffixes of all images that Pillow and its plugins can read."""
    register_plugins()
    Image.init()
    readable = {*Image.OPEN, "MPO"}.difference(_NO_PICTURES)  # MPO is opened as JPEG
    suffixes = {suffix for suffix, name in Image.registered_extensions().items() if name in readable}
    return suffixes - _DRAWN_BY_WINDOWS


def plugin_hint(suffix: str) -> str:
    """What Pillow needs for a suffix, in words; empty where that is unknown."""
    if suffix in _DRAWN_BY_WINDOWS:
        return "Windows is needed"
    return f"install {PLUGINS[suffix].package}" if suffix in PLUGINS else ""
