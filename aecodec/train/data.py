"""Pictures for training: folders or tar shards to one resident uint8 tensor, and random crops from it."""

from __future__ import annotations

import io
import tarfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from aecodec.errors import InputError, PictureWarning
from aecodec.formats import PLUGINS, picture_suffixes, plugin_hint
from aecodec.image import Pixels, to_picture

SUFFIXES = frozenset({".avif", ".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_APPLE_DOUBLE = "._"  # begins the name of what macOS puts beside a file
SIDE = 512  # pixels of a resident square


def list_pictures(sources: Sequence[Path]) -> list[tuple[Path, str]]:
    """(source, member) of every picture in folders (searched recursively), tar shards and single files.

    A PictureWarning counts pictures of formats that are left out, such as HEIC without its plugin. Raises InputError
    where no picture is found.
    """
    found: list[tuple[Path, str]] = []
    left_out: Counter[str] = Counter()
    known = picture_suffixes()
    trained = SUFFIXES | (known & PLUGINS.keys())
    for source in sources:
        for name in _members(source):
            suffix = Path(name or source).suffix.lower()
            if suffix in trained:
                found.append((source, name))
            elif suffix in known | PLUGINS.keys():
                left_out[f"{suffix} ({plugin_hint(suffix) or 'not for training'})"] += 1
    skipped = ", ".join(f"{count} {what}" for what, count in sorted(left_out.items()))
    if not found:
        raise InputError(f"no pictures in {', '.join(map(str, sources))}{skipped and f', skipped: {skipped}'}")
    if skipped:
        warnings.warn(f"skipped pictures: {skipped}", PictureWarning, stacklevel=2)
    return found


def _members(source: Path) -> list[str]:
    """Names of the files in a folder or tar shard; an empty one for a file itself."""
    if source.is_dir():
        names = [str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()]
    elif source.suffix == ".tar":
        try:
            with tarfile.open(source) as shard:
                names = shard.getnames()
        except tarfile.TarError as error:
            raise InputError(f"{source} is not a tar shard") from error
    elif source.is_file():
        names = [""]
    else:
        raise InputError(f"no file or folder {source}")
    return sorted(name for name in names if not Path(name or source).name.startswith(_APPLE_DOUBLE))


def load_squares(sources: Sequence[Path], *, quiet: bool = False) -> Tensor:
    """All pictures of `sources` as uint8 [n, 3, SIDE, SIDE] in memory (0.8 MB each).

    A larger picture gives as many squares as fit side by side; a smaller one is mirrored at its edges.
    """
    pictures = list_pictures(sources)
    with ThreadPoolExecutor() as pool:
        squares = pool.map(lambda picture: _cut(read_pixels(*picture)), read_pictures(pictures))
        bar = tqdm(squares, total=len(pictures), desc="loading pictures", unit="", disable=quiet)
        arrays = [square for group in bar for square in group]
    resident = torch.empty((len(arrays), 3, SIDE, SIDE), dtype=torch.uint8)
    for index in reversed(range(len(arrays))):  # each goes as it is copied: in all they are as much memory again
        resident.numpy()[index] = arrays.pop().transpose(2, 0, 1)
    return resident


def random_crops(squares: Tensor, batch: int, patch: int) -> Tensor:
    """[batch, 3, patch, patch] in 0..1: random squares, places, flips and one downscaling by 1..SIDE/patch (at most 2).

    Drawn from torch's generator of the CPU, gathered on the device of `squares`. Downscaling takes away the coding
    noise of the source pictures and varies the scale.
    """
    side = int(patch * (1 + (min(2.0, SIDE / patch) - 1) * torch.rand(()).item()))
    picture = torch.randint(len(squares), (batch,))
    corners = torch.randint(SIDE - side + 1, (2, batch, 1))
    steps = torch.arange(side)
    rows, columns = (corners[0] + steps), (corners[1] + steps)
    flip = torch.rand(batch, 1) < 0.5
    columns = torch.where(flip, columns.flip(1), columns)
    picture, rows, columns = (index.to(squares.device) for index in (picture, rows, columns))
    crops = squares[picture[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # [B, side, side, 3]
    x = crops.permute(0, 3, 1, 2).float() / 255
    return x if side == patch else F.interpolate(x, (patch, patch), mode="bilinear", antialias=True)


def read_pictures(pictures: Sequence[tuple[Path, str]]) -> Iterator[tuple[bytes, str]]:
    """(bytes, name) of each of list_pictures."""
    for source, group in groupby(pictures, key=lambda picture: picture[0]):
        if source.suffix != ".tar":
            yield from (((source / name).read_bytes(), str(source / name)) for _, name in group)
            continue
        with tarfile.open(source) as shard:
            for _, name in group:
                member = shard.extractfile(name)
                if member is None:
                    raise InputError(f"{source}: {name} is not a file")
                yield member.read(), str(source / name)


def read_pixels(data: bytes, name: str) -> Pixels:
    """RGB of a picture of any mode, as the encoder sees it. Raises InputError that names it where it has none."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return to_picture(image, strip=True).filled
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # InputError is a ValueError
        raise InputError(f"{name} cannot be read: {error}") from error


def _cut(pixels: Pixels) -> list[Pixels]:
    H, W, _ = pixels.shape
    if H < SIDE or W < SIDE:
        pixels = np.pad(pixels, ((0, max(0, SIDE - H)), (0, max(0, SIDE - W)), (0, 0)), mode="symmetric")
        H, W, _ = pixels.shape
    tops, lefts = range(0, H - SIDE + 1, SIDE), range(0, W - SIDE + 1, SIDE)
    return [pixels[top : top + SIDE, left : left + SIDE] for top in tops for left in lefts]
