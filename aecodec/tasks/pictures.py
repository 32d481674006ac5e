"""Pictures from wherever they are, and a few of them looked at side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from aecodec import weights
from aecodec.codec import Codec
from aecodec.errors import CodecError, InputError
from aecodec.format.container import MAGIC, read_header
from aecodec.formats import register_plugins
from aecodec.image import check_size, flatten, shown_pixels, to_picture, upright

# A path, the bytes of a file, a function that reads them, or a picture.
Source: TypeAlias = "str | os.PathLike[str] | bytes | Callable[[], bytes] | Image.Image | NDArray[np.uint8]"
Seen = TypeVar("Seen")


class Reader:
    """Reads pictures of any format. Safe to share between threads."""

    def __init__(self, codec: Codec, max_pixels: int) -> None:
        """codec decodes the files of its model; those of others are loaded as they come."""
        self.max_pixels = max_pixels
        self._codecs = {codec.weights.model_id: codec}

    def read(self, source: Source, side: int | None = None) -> Image.Image:
        """A picture as a viewer shows it, RGB; with a side perhaps smaller, yet of that many pixels per side.

        Raises InputError for what cannot be read, FormatError and UnsupportedError for .aec files as decode; each names
        the path.
        """
        try:
            return self._read(source, side)
        except (CodecError, OSError) as error:
            if not isinstance(source, str | os.PathLike):
                raise
            if isinstance(error, OSError):
                raise InputError(f"{os.fspath(source)} cannot be read: {error.strerror or error}") from error
            if os.fspath(source) in str(error):
                raise
            raise type(error)(f"{os.fspath(source)}: {error}") from error

    def _read(self, source: Source, side: int | None) -> Image.Image:
        if isinstance(source, Image.Image | np.ndarray):
            return self._shown(source)
        data = _content(source)
        if data[: len(MAGIC)] == MAGIC:
            return self._decode(data, side)
        register_plugins()
        try:
            with Image.open(BytesIO(data)) as image:
                check_size(*image.size, self.max_pixels)
                if side is not None:
                    image.draft(None, (2 * side, 2 * side))  # JPEG: reduced as it is read
                return self._shown(image)
        except (CodecError, MemoryError):
            raise
        except UnidentifiedImageError as error:
            raise InputError("not an image that Pillow can read") from error
        except Exception as error:  # Pillow's parsers raise whatever a broken file makes them raise
            raise InputError(f"picture cannot be read: {error}") from error

    def _shown(self, image: Image.Image | NDArray[np.uint8]) -> Image.Image:
        pixels = shown_pixels(to_picture(image, strip=True, max_pixels=self.max_pixels))
        return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")

    def _decode(self, data: bytes, side: int | None) -> Image.Image:
        """What is in a .aec file, as small as its decoder makes it in one go."""
        header = read_header(data, max_pixels=self.max_pixels)
        codec = self._codecs.get(header.model_id)
        if codec is None:
            codec = Codec(weights.load_for(header.model_id), "cpu", threads=1)
            self._codecs[header.model_id] = codec
        scale: float = 1
        if side is not None:
            shorter = min(header.width, header.height)
            scale = next((scale for scale in (1 / 8, 1 / 4, 1 / 2) if shorter * scale >= side), 1)
        return flatten(upright(codec.decode(data, scale=scale, header=header))).convert("RGB")


def each(see: Callable[[Source], Seen], sources: Iterable[Source], count: int) -> Iterator[Seen | Exception]:
    """What is seen of each picture, count at once and in their order, or the error that seeing it raises."""

    def attempt(source: Source) -> Seen | Exception:
        try:
            return see(source)
        except (CodecError, OSError, MemoryError) as error:
            return error

    waiting = iter(sources)
    with ThreadPoolExecutor(count) as pool:
        ahead = [pool.submit(attempt, source) for source in islice(waiting, 4 * count)]
        try:
            while ahead:
                seen = ahead.pop(0).result()
                ahead += [pool.submit(attempt, source) for source in islice(waiting, 1)]
                yield seen
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def checked(sources: Iterable[Source]) -> Iterable[Source]:
    """Raises InputError for one source in place of several."""
    if isinstance(sources, str | bytes | os.PathLike):
        raise InputError(f"files must be several, got {type(sources).__name__}")
    return sources


def _content(source: str | os.PathLike[str] | bytes | Callable[[], bytes]) -> bytes:
    if isinstance(source, bytes):
        return source
    if isinstance(source, str | os.PathLike):
        return Path(source).read_bytes()
    if callable(source):
        return source()
    raise InputError(f"source must be a path, bytes or a picture, got {type(source).__name__}")
