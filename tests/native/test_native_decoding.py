"""Windows, regions, reductions, channels and transparency of the C library: a receiver shows what it is given."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from make_golden import GOLDEN
from native.building import Driver
from numpy.typing import NDArray
from PIL import Image
from support import DATA

from aecodec import Codec, read_header
from aecodec.format.alpha import decode_alpha
from aecodec.format.container import Box, SectionKind, unpack

pytestmark = pytest.mark.xdist_group("native")
TINY = DATA / "tiny.safetensors"
REACH = 128


def painted(z: NDArray[np.int8], y: NDArray[np.int16], area: Box, factor: int) -> NDArray[np.uint8]:
    """What paint.hpp makes of symbols: [h, w, 3]."""
    frame = area.reduced(factor)
    rows, columns = np.mgrid[frame.top : frame.bottom, frame.left : frame.right]
    top, left = rows * factor, columns * factor
    cell_top, cell_left = top // 64 * 64, left // 64 * 64

    def at(
        symbols: NDArray[np.signedinteger], stride: int, i: NDArray[np.intp], j: NDArray[np.intp]
    ) -> NDArray[np.intp]:
        i, j = i // stride, j // stride
        inside = (i >= 0) & (j >= 0) & (i < symbols.shape[0]) & (j < symbols.shape[1])
        return np.where(inside, symbols[np.where(inside, i, 0), np.where(inside, j, 0)], 0).astype(int)

    red = 16 * at(y[1], 16, top, left) + at(z[0], 64, top, left) + columns % 16
    green = at(y[0], 16, cell_top - REACH, cell_left - REACH)
    blue = at(y[0], 16, cell_top + 63 + REACH, cell_left + 63 + REACH)
    return np.stack((red, green, blue), -1).astype(np.uint8)


def expected(codec: Codec, data: bytes, area: Box, factor: int, channels: int) -> NDArray[np.uint8]:
    header = read_header(data)
    pixels = painted(*codec.decode_symbols(data), area, factor)
    if header.gray:
        pixels = np.repeat((pixels.sum(-1, keepdims=True) + 1) // 3, 3, -1).astype(np.uint8)
    pixels = pixels[..., :1] if channels < 3 else pixels
    if channels % 2:
        return pixels
    alpha = np.full(pixels.shape[:2], 255, np.uint8)
    if header.alpha:
        alpha = decode_alpha(unpack(data).sections[SectionKind.ALPHA], header, area, factor)
    return np.dstack((pixels, alpha))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, tiny: Codec) -> dict[str, Path]:
    """Golden files, and such as need several windows with tiles of several heights."""
    folder = tmp_path_factory.mktemp("files")
    paths = {
        name: GOLDEN / f"{name}.aec" for name in ("1x1", "1x4096_tall", "alpha", "constant_alpha", "gray", "tiles")
    }
    noise = np.random.default_rng(0).integers(0, 256, (54, 6, 3), np.uint8)
    tall = Image.fromarray(noise).resize((180, 1700))
    for tile in (1, 5, 9):
        paths[f"tall{tile}"] = folder / f"{tile}.aec"
        paths[f"tall{tile}"].write_bytes(tiny.encode(tall, tile=tile, quality=90, effort=0))
    return paths


class Job(NamedTuple):
    name: str
    area: Box
    factor: int = 1
    channels: int = 3
    threads: int = 1


def run(driver: Driver, codec: Codec, files: dict[str, Path], folder: Path, jobs: list[Job]) -> None:
    """Each job in one run of the driver, compared with what Python paints."""
    arguments: list[object] = []
    for i, job in enumerate(jobs):
        left, top, right, bottom = job.area
        arguments += [files[job.name], left, top, right - left, bottom - top, *job[2:], folder / str(i)]
    for i, (job, (status, text)) in enumerate(zip(jobs, driver("paint", TINY, *arguments), strict=True)):
        assert status == 0, f"{job}: {text}"
        width, height = map(int, text.split())
        pixels = np.fromfile(folder / str(i), np.uint8).reshape(height, width, job.channels)
        assert np.array_equal(pixels, expected(codec, files[job.name].read_bytes(), *job[1:4])), job


def test_whole_pictures_at_every_reduction(driver: Driver, tiny: Codec, files: dict[str, Path], tmp_path: Path) -> None:
    jobs = [
        Job(name, read_header(path.read_bytes()).bounds, factor, threads=threads)
        for name, path in files.items()
        for factor, threads in ((1, 1), (2, 2), (4, 1), (8, 3))
    ]
    run(driver, tiny, files, tmp_path, jobs)


def test_regions_of_several_windows(driver: Driver, tiny: Codec, files: dict[str, Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    jobs = []
    for i in range(60):
        name = ("tall1", "tall5", "tall9", "1x4096_tall", "tiles")[i % 5]
        header = read_header(files[name].read_bytes())
        left, top = int(rng.integers(header.width)), int(rng.integers(header.height))
        area = Box(left, top, int(rng.integers(left, header.width)) + 1, int(rng.integers(top, header.height)) + 1)
        jobs.append(Job(name, area, (1, 2, 4, 8)[i // 5 % 4], threads=1 + i % 2))
    run(driver, tiny, files, tmp_path, jobs)


def test_channels(driver: Driver, tiny: Codec, files: dict[str, Path], tmp_path: Path) -> None:
    jobs = []
    for name in ("alpha", "constant_alpha", "gray", "tiles"):
        header = read_header(files[name].read_bytes())
        inner = Box(header.width // 3, header.height // 4, header.width - 1, header.height)
        for channels in (1, 2, 3, 4) if header.gray else (3, 4):
            jobs += [Job(name, area, factor, channels) for area in (header.bounds, inner) for factor in (1, 2, 4, 8)]
    run(driver, tiny, files, tmp_path, jobs)
