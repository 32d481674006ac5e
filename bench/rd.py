"""Rate and distortion on a folder of pictures, from whole files."""

from __future__ import annotations

import hashlib
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from shutil import which
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from aecodec import InputError, metrics
from aecodec.image import crop_middle
from bench.codecs import Peer
from bench.results import MAX_DB, Point, Run, append, environment, resume

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
BUTTERAUGLI = "butteraugli_main"  # of libjxl
_BT601 = np.array([0.299, 0.587, 0.114])


def pictures_in(folder: Path) -> list[Path]:
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not pictures:
        raise click.ClickException(f"no pictures in {folder}")
    return pictures


def load(path: Path) -> Image.Image:
    """RGB of 8 bits and nothing else: no codec has to store profiles or EXIF."""
    try:
        with Image.open(path) as file:
            return Image.fromarray(np.asarray(file.convert("RGB")))
    except OSError as error:
        raise click.ClickException(f"{path} is no picture: {error}") from error


def measure(peer: Peer, quality: float, image: Image.Image, name: str, extras: Iterable[str] = ()) -> Point:
    """The point; extras are names of EXTRAS that are measured too."""
    start = time.perf_counter()
    data = peer.encode(image, quality)
    encoded = time.perf_counter()
    decoded = peer.decode(data)
    done = time.perf_counter()
    a, b = np.asarray(image), np.asarray(decoded)
    return Point(
        peer.name,
        quality,
        name,
        *image.size,
        size_bytes=len(data),
        bpp=metrics.bpp(len(data), *image.size),
        psnr=min(metrics.psnr(a, b), MAX_DB),
        psnr_y=psnr_y(a, b),
        ms_ssim=ms_ssim(a, b),
        encode_seconds=encoded - start,
        decode_seconds=done - encoded,
        **{extra: EXTRAS[extra].measure(image, decoded) for extra in extras},
    )


def psnr_y(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """PSNR in dB of the luma of BT.601, unrounded."""
    mse = float(np.mean(((a.astype(np.float64) - b) @ _BT601) ** 2))
    return MAX_DB if mse == 0 else min(10 * float(np.log10(255**2 / mse)), MAX_DB)


def ms_ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float | None:
    try:
        return metrics.ms_ssim(a, b)
    except InputError:  # too small
        return None


def ssimulacra2(a: Image.Image, b: Image.Image) -> float:
    from ssimulacra2 import compute_ssimulacra2

    files = []
    for image in (a, b):
        file = BytesIO()
        image.save(file, "BMP")
        files.append(file)
    return float(compute_ssimulacra2(*files))


def butteraugli(a: Image.Image, b: Image.Image) -> float:
    """The 3-norm, on a screen of 80 nits."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("a.ppm", "b.ppm")]
        for image, file in zip((a, b), files, strict=True):
            image.save(file)
        done = subprocess.run([BUTTERAUGLI, *files, "--pnorm", "3"], capture_output=True, text=True, check=False)
    found = re.search(r"^3-norm: (.+)$", done.stdout, re.MULTILINE)
    if found is None:
        raise click.ClickException(f"{BUTTERAUGLI} failed: {done.stderr.strip()[-200:]}")
    return float(found[1])


class Extra(NamedTuple):
    """A measure of what people see, which takes a second a point and is asked for."""

    measure: Callable[[Image.Image, Image.Image], float]
    install: str
    there: Callable[[], bool]


EXTRAS = {
    "butteraugli": Extra(butteraugli, "apt-get install libjxl-devtools", lambda: which(BUTTERAUGLI) is not None),
    "ssimulacra2": Extra(ssimulacra2, "pip install ssimulacra2", lambda: find_spec("ssimulacra2") is not None),
}


def available(wanted: Iterable[str]) -> list[str]:
    """Of the names of EXTRAS those that can be measured here; the others are named in a line each."""
    found = []
    for name in wanted:
        if EXTRAS[name].there():
            found.append(name)
        else:
            click.echo(f"{name} is left out: {EXTRAS[name].install}", err=True)
    return found


def run(
    peers: list[Peer],
    pictures: list[Path],
    command: str,
    out: Path | None,
    extras: Collection[str] = (),
    middle: int | None = None,
) -> list[Point]:
    """Every codec at every quality on every picture; points that out holds already with all extras are not repeated."""
    images = {_name(path, middle): hashlib.sha256(path.read_bytes()).hexdigest() for path in pictures}
    note = Run(command, environment(), {peer.name: peer.settings for peer in peers}, images)
    before = resume(out, note) if out else []
    points = [record for record in before if isinstance(record, Point)]
    known = {
        (point.codec, point.quality, point.image)
        for point in points
        if all(getattr(point, extra) is not None for extra in extras)
    }
    jobs = [(path, peer, q) for path in pictures for peer in peers for q in peer.qualities]
    missing = [(path, peer, q) for path, peer, q in jobs if (peer.name, q, _name(path, middle)) not in known]
    with tqdm(total=len(jobs), initial=len(jobs) - len(missing), desc="rd", unit="point") as bar:
        for point in _measured(missing, extras, middle, bar):
            points.append(point)
            if out:
                append(out, point)
            bar.update()
    return points


def _name(path: Path, middle: int | None) -> str:
    """What results call a picture; a part of it is another one."""
    return f"{path.name}, middle {middle}" if middle else path.name


def _measured(
    jobs: list[tuple[Path, Peer, float]], extras: Collection[str], middle: int | None, bar: tqdm[Any]
) -> Iterator[Point]:
    warm: set[str] = set()
    loaded: tuple[Path, Image.Image] | None = None
    for path, peer, quality in jobs:
        if loaded is None or loaded[0] != path:
            loaded = path, crop_middle(load(path), middle) if middle else load(path)
        image = loaded[1]
        bar.set_postfix_str(f"{path.stem} {peer.name}", refresh=False)
        if peer.name not in warm:
            peer.decode(peer.encode(image, quality))
            warm.add(peer.name)
        yield measure(peer, quality, image, _name(path, middle), extras)
