"""Pictures and files on disk for the commands."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from aecodec import InputError
from aecodec.container import MAX_PIXELS


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """The loaded picture of a file. Raises InputError where it cannot be read."""
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses at twice this: one limit for reading and for coding
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = stack.enter_context(Image.open(path))
            image.load()
        except UnidentifiedImageError as error:
            raise InputError(f"{path} is no image that Pillow can read") from error
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
        except Exception as error:  # Pillow's parsers raise whatever a broken file makes them raise
            raise InputError(f"{path} cannot be read: {error}") from error
        yield image


def image_format(path: Path) -> str:
    """Pillow's name of the format for a file name. Raises InputError for a suffix that Pillow cannot write."""
    name = Image.registered_extensions().get(path.suffix.lower())
    if name is None or name.upper() not in Image.SAVE:
        raise InputError(f"no image format for '{path.name}': try .png, .jpg, .webp or .tiff")
    return name


def image_file(image: Image.Image, name: str) -> bytes:
    """The picture as a file of a format, with the metadata in its info. Raises InputError if Pillow cannot write it."""
    options: dict[str, object] = {key: image.info[key] for key in ("icc_profile", "exif", "xmp") if key in image.info}
    if name in ("JPEG", "WEBP", "AVIF"):
        options["quality"] = 95
    file = BytesIO()
    try:
        image.save(file, name, **options)
    except Exception as error:  # as above; metadata from a file may be anything
        raise InputError(f"picture cannot be written as {name}: {error}") from error
    return file.getvalue()


def check_target(path: Path) -> None:
    """Raise InputError where replace_file could not write: better before the work than after it."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a regular file")
    if not path.absolute().parent.is_dir():
        raise InputError(f"no folder {path.parent}")


def replace_file(path: Path, data: bytes) -> None:
    """Write data under a temporary name beside path, then rename: path holds the old or the new file, nothing else."""
    target = path.resolve()
    descriptor, temporary = tempfile.mkstemp(prefix=".aecodec-", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), target.stat().st_mode if target.exists() else 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink()
        raise


def _umask() -> int:
    """The mask for new files, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
