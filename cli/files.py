"""Pictures and files on disk for the commands."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from io import BytesIO
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import ExifTags, Image, ImageOps, PngImagePlugin, UnidentifiedImageError

import aecodec
from aecodec import InputError, PictureWarning
from aecodec.cli.urls import Place, Url
from aecodec.container import MAGIC, MAX_PIXELS, Data

if TYPE_CHECKING:  # info and --help are quick without numpy
    import numpy as np
    from numpy.typing import NDArray

    from aecodec.image import Picture

_PLUGINS = {".heic": "pillow_heif", ".heif": "pillow_heif", ".jxl": "pillow_jxl"}
_PREFIX, _SUFFIX = ".aecodec-", ".tmp"  # of temporary files
_EXIF_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "HEIF", "JXL")
_OPAQUE_FORMATS = ("BMP", "JPEG", "PPM")
_METADATA: tuple[str, ...] = ("icc_profile", "exif", "xmp", "dpi")  # as Pillow names it
_XMP_TAG = ExifTags.Base.XMLPacket  # in TIFF


def read_picture(path: Place, *, max_pixels: int = MAX_PIXELS, strip: bool = False) -> Picture:
    """The picture of an image file. Raises InputError where it cannot be read, or is larger than max_pixels."""
    from aecodec.image import to_picture

    source = BytesIO(path.read_bytes()) if isinstance(path, Url) else path
    pillow_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # to_picture checks the size before it loads
    try:
        with _open(source, path) as image:
            return to_picture(image, max_pixels=max_pixels, strip=strip)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # Pillow's parsers raise whatever a broken file makes them raise
        raise InputError(f"{path} cannot be read: {error}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = pillow_limit


def is_stream(path: Place) -> bool:
    """Whether a name stands for standard input or output."""
    return str(path) == "-"


@contextmanager
def open_data(path: Path) -> Iterator[Data]:
    """The bytes of a file, which are read from the disk as far as they are looked at; "-" is standard input."""
    if is_stream(path):
        yield sys.stdin.buffer.read()
        return
    with path.open("rb") as file:
        try:
            mapped = mmap(file.fileno(), 0, access=ACCESS_READ)
        except (ValueError, OSError):  # empty, or a pipe
            yield file.read()
            return
        with mapped:
            yield mapped


def read_shown(path: Path, device: str, weights: Path | None, max_pixels: int) -> NDArray[np.uint8]:
    """What a viewer shows of an image or .aec file, [H, W, 3]: turned as EXIF says, transparency on white."""
    from aecodec.image import shown_pixels

    with path.open("rb") as file:
        packed = file.read(len(MAGIC)) == MAGIC
    if not packed:
        picture = read_picture(path, max_pixels=max_pixels, strip=True)
        return shown_pixels(picture._replace(gray=False))
    with open_data(path) as data:
        codec = aecodec.Codec.load(weights, device) if weights else None
        codec = codec or aecodec.Codec.load_for(data, device, max_pixels=max_pixels)
        return shown(codec.decode(data, max_pixels=max_pixels))


def shown(image: Image.Image) -> NDArray[np.uint8]:
    """What a viewer shows of a decoded picture, [H, W, 3]."""
    import numpy as np

    from aecodec.image import flatten

    return np.asarray(flatten(ImageOps.exif_transpose(image)).convert("RGB"))


def image_format(path: Path) -> str:
    """Pillow's name of the format for a file name; PNG for "-". Raises InputError for what Pillow cannot write."""
    if is_stream(path):
        return "PNG"
    suffix = path.suffix.lower()
    if suffix not in Image.registered_extensions():
        _register_plugins()
    name = Image.registered_extensions().get(suffix)
    if name is None or name.upper() not in Image.SAVE:
        raise InputError(f"no image format for '{path.name}': try .png, .jpg, .webp or .tiff{_hint(path)}")
    return name


def image_file(image: Image.Image, name: str) -> bytes:
    """The picture as a file of a format, with the metadata in its info. Raises InputError if Pillow cannot write it.

    Where the format has no place for EXIF, pixels are turned as its orientation says; where it has none for
    transparency, they are put on white, which a PictureWarning tells.
    """
    from aecodec.image import flatten

    try:
        options = _save_options(image, name)
        if "exif" in options and name not in _EXIF_FORMATS:
            image = ImageOps.exif_transpose(image)
        if image.mode in ("LA", "RGBA") and name in _OPAQUE_FORMATS:
            warnings.warn(f"{name} has no transparency: the picture is put on white", PictureWarning, stacklevel=2)
            image = flatten(image)
        file = BytesIO()
        image.save(file, name, **options)
    except Exception as error:  # Pillow raises anything; metadata from a file may be anything
        raise InputError(f"picture cannot be written as {name}: {error}") from error
    return file.getvalue()


def _save_options(image: Image.Image, name: str) -> dict[str, Any]:
    """What Image.save takes to keep the metadata; Pillow knows no XMP for PNG and TIFF."""
    options: dict[str, Any] = {key: image.info[key] for key in _METADATA if key in image.info}
    if name in ("JPEG", "WEBP", "AVIF"):
        options["quality"] = 95
    if name == "PNG" and "xmp" in options:
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", options["xmp"])
    if name == "TIFF" and "xmp" in options:
        exif = Image.Exif()
        exif.load(options.get("exif", b""))
        exif[_XMP_TAG] = options["xmp"]
        options["exif"] = exif
    return options


def _open(source: Path | BytesIO, path: Place) -> Image.Image:
    if is_stream(path):
        source = BytesIO(sys.stdin.buffer.read())
    try:
        return Image.open(source)
    except UnidentifiedImageError:
        _register_plugins()
    try:
        return Image.open(source)
    except UnidentifiedImageError as error:
        raise InputError(f"no image that Pillow can read{_hint(path)}") from error


def _register_plugins() -> None:
    """Teach Pillow the formats of the plugins that are installed."""
    for name in _PLUGINS.values():
        with suppress(ImportError):
            module = importlib.import_module(name)
            getattr(module, "register_heif_opener", list)()  # pillow_jxl registers itself


def _hint(path: Place) -> str:
    plugin = _PLUGINS.get(path.suffix.lower())
    return f" (for {path.suffix} install {plugin.replace('_jxl', '-jxl-plugin').replace('_', '-')})" if plugin else ""


def check_target(path: Place) -> None:
    """Raise InputError where replace_file could not write: better before the work than after it.

    What a killed run has left in the folder goes.
    """
    if is_stream(path) or isinstance(path, Url):
        return
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a regular file")
    if not path.absolute().parent.is_dir():
        raise InputError(f"no folder {path.parent}")
    remove_leftovers(path.resolve().parent)


def replace_file(path: Place, data: bytes) -> None:
    """Write data under a temporary name beside path, then rename: path holds the old or the new file, nothing else.

    "-" is standard output.
    """
    if is_stream(path):
        sys.stdout.buffer.write(data)
        return
    if isinstance(path, Url):
        path.replace(data)
        return
    target = path.resolve()
    descriptor, temporary = _locked_file(target.parent)
    with os.fdopen(descriptor, "wb") as file:  # the lock goes with it
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), target.stat().st_mode if target.exists() else 0o666 & ~_umask())
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def remove_leftovers(folder: Place) -> None:
    """Remove temporary files whose process is gone: nobody locks them. Nothing happens where that is not allowed."""
    if isinstance(folder, Url):
        return
    for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                flock(descriptor, LOCK_EX | LOCK_NB)
                path.unlink()
            finally:
                os.close(descriptor)


def _locked_file(folder: Path) -> tuple[int, str]:
    """A new temporary file, which nobody takes for a leftover."""
    while True:
        descriptor, name = tempfile.mkstemp(prefix=_PREFIX, suffix=_SUFFIX, dir=folder)
        with suppress(OSError):  # a file system without locks: leftovers stay there
            flock(descriptor, LOCK_EX)
        if os.fstat(descriptor).st_nlink:  # not removed between its making and the lock
            return descriptor, name
        os.close(descriptor)


def _umask() -> int:
    """The mask for new files, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
