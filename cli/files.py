"""Pictures and files on disk for the commands."""

from __future__ import annotations

import os
import stat
import sys
import threading
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import ExifTags, Image, ImageFile, PngImagePlugin, UnidentifiedImageError

from aecodec import DigestError, FormatError, InputError, PictureWarning, UnsupportedError
from aecodec.cli.urls import Place, Url
from aecodec.format.container import MAX_PIXELS, Data
from aecodec.formats import AEC, PLUGINS, plugin_hint, register_plugins

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:  # info and --help are quick without numpy
    from aecodec.image import Picture


_PREFIX, _SUFFIX = ".aecodec-", ".tmp"  # of temporary files
_NAMES = {"icc_profile": "the color profile", "exif": "EXIF", "xmp": "XMP", "dpi": "dpi"}  # by Pillow's
_TRIAL = (16, 16)  # pixels of the picture that tells what a format keeps
_XMP_TAG = ExifTags.Base.XMLPacket  # in TIFF
_PILLOW = threading.RLock()  # around what Pillow and warnings keep for the whole process


class MisuseError(InputError):
    """What no file and no picture could make right: wrong usage, exit code 2."""


def read_picture(
    path: Place, data: Data | None = None, *, max_pixels: int = MAX_PIXELS, strip: bool = False
) -> Picture:
    """The picture of an image file, or of data that were read from it; a PictureWarning names the file.

    Raises InputError where it cannot be read, or is larger than max_pixels.
    """
    from aecodec.image import to_picture

    with noting() as notes, open_picture(path, data) as image:
        picture = to_picture(image, max_pixels=max_pixels, strip=strip)
    for note in notes:
        warnings.warn(f"{path}: {note}", PictureWarning, stacklevel=2)
    return picture


@contextmanager
def noting(kind: type[Warning] = UserWarning) -> Iterator[list[str]]:
    """What warnings tell meanwhile of a picture, which is in the list at the end; one thread at a time.

    All of UserWarning are PictureWarning, and what Pillow says of broken files.
    """
    notes: list[str] = []
    with _PILLOW, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", kind)
        try:
            yield notes
        finally:
            notes += dict.fromkeys(str(one.message) for one in caught)


@contextmanager
def open_picture(path: Place, data: Data | None = None) -> Iterator[Image.Image]:
    """An image file, or data that were read from it, as far as its header. Raises InputError, which names it."""
    with _PILLOW:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # to_picture checks the size before it loads
        block, PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
        try:
            with _open(_content(path) if data is None else BytesIO(data), path) as image:
                yield image
        except InputError as error:
            raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
        except MemoryError:
            raise
        except Exception as error:  # Pillow's parsers raise whatever a broken file makes them raise
            raise InputError(f"{path} cannot be read: {error}") from error
        finally:
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = limit, block


def is_stream(path: Place) -> bool:
    """Whether a name stands for standard input or output."""
    return str(path) == "-"


def _content(path: Place) -> Path | BytesIO:
    """A file that can be read anywhere, as Pillow wants it: pipes and URLs are read."""
    if isinstance(path, Path) and not is_stream(path) and not path.is_fifo():
        return path
    return BytesIO(_read(path))


def _read(path: Place) -> bytes:
    if not is_stream(path):
        return path.read_bytes()
    if sys.stdin is None:
        raise InputError("standard input is closed")
    return sys.stdin.buffer.read()


def read_once(*paths: Place | None) -> None:
    """Raises MisuseError where two files are standard input."""
    if sum(path is not None and is_stream(path) for path in paths) > 1:
        raise MisuseError("standard input can be one of the files, not both")


@contextmanager
def open_data(path: Place) -> Iterator[Data]:
    """The bytes of a file, which are read from the disk as far as they are looked at; "-" is standard input.

    What is wrong with them, as the caller finds out, is told with the name of the file.
    """
    try:
        if is_stream(path) or isinstance(path, Url):
            yield _read(path)
            return
        with path.open("rb") as file:
            try:
                mapped = mmap(file.fileno(), 0, access=ACCESS_READ)
            except (ValueError, OSError):  # empty, or a pipe
                yield file.read()
                return
            with mapped:
                yield mapped
    except (FormatError, UnsupportedError, DigestError) as error:
        raise type(error)(f"{path}: {error}") from error


def image_format(path: Place) -> str:
    """Pillow's name of the format for a file name; PNG for "-". Raises MisuseError for what Pillow cannot write."""
    if is_stream(path):
        return "PNG"
    suffix = path.suffix.lower()
    if suffix not in Image.registered_extensions():
        register_plugins()
    name = Image.registered_extensions().get(suffix)
    if name == AEC:
        raise MisuseError(f"decode writes images, {path.name} is named like an encoded one")
    if name is None or name.upper() not in Image.SAVE:
        raise MisuseError(f"no image format for '{path.name}': try .png, .jpg, .webp or .tiff{_hint(path)}")
    return name


def format_of(path: Place) -> str | None:
    """Pillow's name of the format that a file name promises, whether it is installed or not."""
    suffix = path.suffix.lower()
    return Image.registered_extensions().get(suffix) or (PLUGINS[suffix].format if suffix in PLUGINS else None)


def image_file(image: Image.Image, name: str) -> bytes:
    """The picture as a file of a format, with the metadata in its info. Raises InputError if Pillow cannot write it.

    What the format has no place for is left out, which a PictureWarning tells: metadata that it does not keep or that
    is broken (pixels are turned where nothing says anymore that they should be), and transparency (put on white).
    """
    from aecodec.format.metadata import Metadata
    from aecodec.image import flatten, upright

    before, losses = Metadata.found_in(image)
    info, mode = before.info, _storable_mode(name, image.mode)
    kept = {key: value for key, value in info.items() if _keeps(name, mode, key, value)}
    if lost := [_NAMES[key] for key in info if key not in kept]:
        losses.append(f"{name} does not keep {', '.join(lost)} of this picture")
    if Metadata.from_info(kept).orientation != before.orientation:
        image = upright(image)
        kept |= {key: value for key, value in before.upright.info.items() if key in kept}
    if image.mode.endswith("A") and not mode.endswith("A"):
        losses.append(f"{name} has no transparency: the picture is put on white")
        image = flatten(image)
    image = image if image.mode == mode else image.convert(mode)
    for loss in losses:
        warnings.warn(loss, PictureWarning, stacklevel=2)
    try:
        return _saved(image, name, kept)
    except Exception as error:  # Pillow raises anything
        raise InputError(f"picture cannot be written as {name}: {error}") from error


def _saved(image: Image.Image, name: str, metadata: dict[str, Any]) -> bytes:
    """The file of an image with this metadata alone; Pillow knows no XMP for PNG and TIFF."""
    options = dict(metadata)
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
    file, info = BytesIO(), dict(image.info)
    image.info.clear()  # some writers take from there what they were not given
    try:
        image.save(file, name, **options)
    finally:
        image.info.update(info)
    return file.getvalue()


def _storable_mode(name: str, mode: str) -> str:
    """In which mode a format takes a picture: its own, or else as much of it as there is place for."""
    modes = (mode, "RGBA", mode.removesuffix("A"), "RGB") if mode.endswith("A") else (mode, "RGB")
    return next((one for one in modes if _stores(name, one)), mode)


def _stores(name: str, mode: str) -> bool:
    """Whether a format can be written with pictures of a mode and holds their transparency, tried on a small one."""
    try:
        data = _saved(Image.new(mode, _TRIAL), name, {})
    except Exception:  # Pillow raises anything
        return False
    try:
        with Image.open(BytesIO(data)) as again:
            return not mode.endswith("A") or again.convert("RGBA").getchannel("A").getextrema() == (0, 0)
    except Exception:  # a format that can only be written, as PDF
        return True


def _keeps(name: str, mode: str, key: str, value: Any) -> bool:
    """Whether a format can be written with a block of metadata and holds it then, tried on a small picture."""
    small = Image.new(mode, _TRIAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of what is broken
            data = _saved(small, name, {key: value})
            with Image.open(BytesIO(data)) as again:
                again.load()
                if key in ("icc_profile", "xmp"):
                    return again.info.get(key) == value or value in data
                return key in again.info or (key, name) == ("exif", "TIFF")  # whose tags are the file's own
    except Exception:  # Pillow raises anything; metadata from a file may be anything
        return False


def _open(source: Path | BytesIO, path: Place) -> Image.Image:
    try:
        return Image.open(source)
    except UnidentifiedImageError:
        register_plugins()
    except Exception:
        return _open_broken(source)
    try:
        return Image.open(source)
    except UnidentifiedImageError as error:
        with suppress(Exception):
            return _open_broken(source)
        raise InputError(f"not an image that Pillow can read{_hint(path)}") from error


def _open_broken(source: Path | BytesIO) -> Image.Image:
    """A PNG file whose metadata are broken, as a PictureWarning then tells; its pixels are no less checked."""
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
    try:
        image = Image.open(source)
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
    warnings.warn("broken metadata in this file: some of it may be lost", PictureWarning, stacklevel=2)
    return image


def _hint(path: Place) -> str:
    hint = plugin_hint(path.suffix.lower())
    return f" (for {path.suffix} {hint})" if hint else ""


def check_target(path: Place, form: str, *inputs: Place | str | None) -> None:
    """Raise InputError where replace_file could not, or should not write: better before the work than after it.

    form is Pillow's name of what will be written. Its name, and the name of the file that a link leads to, must not be
    one of another format (MisuseError); nor may it be an input itself, by whichever name: a source, or a file of
    weights (a string is the name of shipped ones).
    """
    if is_stream(path):
        if sys.stdout is None:
            raise InputError("standard output is closed")
        return
    for one in inputs:
        if one is not None and not isinstance(one, str) and is_same(one, path):
            raise InputError(f"{path} is {'the source' if one == inputs[0] else 'an input'} itself")
    for name in [path] if isinstance(path, Url) else [path, _real(path)]:
        promised = format_of(name)
        if promised not in (None, form):
            leads = "" if name == path else f", where {path} leads to,"
            raise MisuseError(f"{name}{leads} has the suffix of {promised}, and {form} would be written")
    if isinstance(path, Url) or path.is_fifo():
        return
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a regular file")
    if not path.absolute().parent.is_dir():
        raise InputError(f"no folder {path.parent}")


def is_same(a: Place, b: Place) -> bool:
    """Whether two names are of one file."""
    first, second = (place.local if isinstance(place, Url) else place for place in (a, b))
    try:
        return str(a) == str(b) or (first is not None and second is not None and first.samefile(second))
    except OSError:  # one is not there
        return False


def _real(path: Path) -> Path:
    """Where links lead to; Path.resolve would raise for those that lead to themselves."""
    return Path(os.path.realpath(path))


def replace_file(path: Place, data: bytes) -> None:
    """Write data under a temporary name beside path, then rename: path holds the old or the new file, nothing else.

    "-" is standard output, and what is a pipe gets the data.
    """
    if is_stream(path):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    if isinstance(path, Url):
        path.replace(data)
        return
    if path.is_fifo():
        path.write_bytes(data)
        return
    target = _real(path)
    descriptor, temporary = _locked_file(
        target.parent, stat.S_IMODE(target.stat().st_mode) if target.exists() else None
    )
    with os.fdopen(descriptor, "wb") as file:  # the lock goes with it
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                file.close()
            temporary.unlink(missing_ok=True)
            raise


def remove_leftovers(folder: Place) -> None:
    """Remove temporary files whose process is gone: nobody locks them. Nothing happens where that is not allowed."""
    if isinstance(folder, Url):
        return
    with suppress(OSError):  # a folder that cannot be read
        for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
            with suppress(OSError):
                _remove_unlocked(path)


def _remove_unlocked(path: Path) -> None:
    if fcntl is None:
        path.unlink()
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(descriptor)


def _locked_file(folder: Path, mode: int | None) -> tuple[int, Path]:
    """A new temporary file, which nobody takes for a leftover: of a mode, or as the umask has it."""
    while True:
        path = folder / f"{_PREFIX}{uuid.uuid4().hex}{_SUFFIX}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else 0o600)
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks: leftovers stay there
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:  # not removed between its making and the lock
            if mode is not None:
                path.chmod(mode)
            return descriptor, path
        os.close(descriptor)
