"""The Kodak pictures, fetched from their public home into a cache and checked."""

from __future__ import annotations

import hashlib
import os
import time
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import click
from tqdm import tqdm

from bench.compare import kodak_sums

HOME = "https://r0k.us/graphics/kodak/kodak"
TRIES = 3
_CHUNK = 1 << 16


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aecodec" / "kodak"


def fetch_kodak(folder: Path, url: str = HOME, *, pause: float = 1.0) -> None:
    """All 24 pictures in folder; those that are there and sound are kept, partial ones are continued."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = {n: digest for n, digest in kodak_sums().items() if sha256(folder / n) != digest}
    for name, digest in tqdm(missing.items(), desc="fetch", unit="picture", disable=not missing):
        for attempt in range(TRIES):
            problem = _download(f"{url}/{name}", folder / f"{name}.part", digest)
            if problem is None:
                os.replace(folder / f"{name}.part", folder / name)
                break
            if attempt + 1 < TRIES:
                time.sleep(pause * 2**attempt)
        else:
            raise click.ClickException(
                f"{url}/{name}: {problem}\n"
                "What has arrived is kept: run this again to go on. Without a network, copy kodim01.png .. kodim24.png "
                f"into\n{folder}, or measure any folder of pictures: python -m bench rd --images FOLDER"
            )


def sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _download(url: str, part: Path, digest: str) -> str | None:
    """Continue part to the whole file. Returns what went wrong, or None."""
    have = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urlopen(request, timeout=30) as answer, part.open("ab" if answer.status == 206 else "wb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
            if getattr(answer, "length", 0):  # what was announced and did not come
                return f"the connection ended {answer.length} bytes early"
    except HTTPError as error:
        if error.code == 416:  # part is as long as the file or longer, and not the file
            part.unlink()
        return f"the server says {error.code} {error.reason}"
    except (URLError, HTTPException, OSError) as error:
        return f"no connection: {getattr(error, 'reason', error)}"
    if sha256(part) != digest:
        part.unlink()
        return "the file is not the picture (its SHA-256 differs)"
    return None
