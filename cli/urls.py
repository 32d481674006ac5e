"""Files behind URLs, through fsspec, in as many of pathlib's words as the commands use."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from aecodec import CodecError, InputError

# Here a file appears when its upload is complete; elsewhere it grows under its name.
_WHOLE_UPLOADS = ("abfs", "abfss", "az", "gcs", "gs", "memory", "s3", "s3a")


class Status(NamedTuple):
    st_size: int  # bytes
    st_mtime: float  # seconds; nan, which is never up to date, where the filesystem does not tell


class Url(NamedTuple):
    """A file or folder. Its methods raise InputError, whatever the filesystem raises."""

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: object) -> Url:
        return Url(f"{self.url.rstrip('/')}/{name}")

    @property
    def local(self) -> Path | None:
        """The path of a file of this machine."""
        scheme, _, path = self.url.partition("://")
        return Path(path) if scheme == "local" else None

    @property
    def name(self) -> str:
        return self.url.rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> Url:
        return Url(self.url.rstrip("/").rpartition("/")[0])

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    def is_dir(self) -> bool:
        with self._filesystem() as (files, path):
            return bool(files.isdir(path))

    def exists(self) -> bool:
        with self._filesystem() as (files, path):
            return bool(files.exists(path))

    def stat(self) -> Status:
        with self._filesystem() as (files, path):
            modified = math.nan
            with suppress(NotImplementedError):
                modified = files.modified(path).timestamp()
            return Status(files.size(path) or 0, modified)

    def names(self, *, recursive: bool) -> list[PurePosixPath]:
        """Files in a folder, relative to it."""
        with self._filesystem() as (files, path):
            found = files.find(path, maxdepth=None if recursive else 1)
            return [PurePosixPath(file).relative_to(path) for file in found]

    def mkdir(self, *, parents: bool, exist_ok: bool) -> None:
        with self._filesystem() as (files, path):
            assert parents
            files.makedirs(path, exist_ok=exist_ok)

    def read_bytes(self) -> bytes:
        with self._filesystem() as (files, path):
            return bytes(files.cat_file(path))

    def replace(self, data: bytes) -> None:
        """Write a file: by one upload where that shows it whole, else under a temporary name that is then moved."""
        with self._filesystem() as (files, path):
            if self.url.partition("://")[0] in _WHOLE_UPLOADS:
                files.pipe_file(path, data)
                return
            folder, _, _ = path.rpartition("/")
            temporary = f"{folder}/.aecodec-{uuid.uuid4().hex}.tmp"
            try:
                files.pipe_file(temporary, data)
                files.mv(temporary, path)
            except BaseException:
                with suppress(Exception):  # the first error is the one to tell
                    files.rm_file(temporary)
                raise

    @contextmanager
    def _filesystem(self) -> Iterator[tuple[Any, str]]:
        """The filesystem, and its own name for this place."""
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise InputError(f"{self} needs the package fsspec: pip install 'aecodec[cluster]'") from error
        try:
            yield url_to_fs(self.url)
        except CodecError:
            raise
        except Exception as error:  # each filesystem has exceptions of its own
            raise InputError(f"{self} cannot be used: {str(error) or type(error).__name__}") from error


Place = Path | Url


def place(text: str) -> Place:
    """What a command's argument names; file:/ is a path like any other, and replaced as atomically.

    Raises InputError for a file of another machine.
    """
    if text[:6].lower() == "file:/":
        host, slash, path = text[7:].partition("/") if text[6:7] == "/" else ("", "", text[5:])
        if host not in ("", "localhost"):
            raise InputError(f"{text} is on the machine {host}, not on this one")
        path = os.fsdecode(unquote_to_bytes(os.fsencode(slash + path)))
        return Path(path.lstrip("/") if os.name == "nt" else path)
    if "://" in text:
        return Url(text)
    return Path(text) if text == "-" or Path(text) != Path("-") else Path(text).absolute()  # ./- is a file
