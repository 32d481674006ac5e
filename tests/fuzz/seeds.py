"""Where targets of make fuzz begin: python tests/fuzz/seeds.py FOLDER writes FOLDER/decode, vp8l and weights."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
from make_invalid import golden
from native.building import smallest_weights
from native.drawing import Part, drawn_over, lossless, random_part, shown_boxes, webp

from aecodec import read_header
from aecodec.format.container import Box, Header


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def part(rng: np.random.Generator, box: Box, *, everything: bool) -> Part:
    found = random_part(rng, box, everything=everything)
    found.rgba[..., :3] //= 128  # which makes it small
    return found


def drawn() -> dict[str, bytes]:
    """Small files with drawn pixels: over a stream, and without any."""
    rng = np.random.default_rng(0)
    files = {}
    for name in ("gray", "1x1"):
        header = read_header(golden(name))
        files[name] = drawn_over(golden(name), {0: part(rng, shown_boxes(header)[0], everything=False)})
    for tile, width in ((1, 70), (2, 20)):
        header = Header(width, 18, 0, 0, tile=tile)
        files[f"width {width}"] = lossless(header, [part(rng, box, everything=True) for box in shown_boxes(header)])
    return files


def pictures() -> dict[str, bytes]:
    """WebP files by all transforms and codes."""
    rng = np.random.default_rng(1)
    ramp = np.add.outer(np.arange(24), np.arange(32))[..., None] * [3, 2, 1, 0] + [0, 9, 30, 255]
    noise = rng.integers(0, 256, (24, 32, 4), np.uint8)
    few = noise[:1, :5, :][:, rng.integers(0, 5, (24, 32))][0]
    kinds = {"ramp": ramp.astype(np.uint8), "noise": noise, "few": few, "repeated": np.tile(noise[:6, :8], (4, 4, 1))}
    return {f"{name} {method}": webp(rgba, method=method) for name, rgba in kinds.items() for method in (0, 4, 6)}


folder = Path(sys.argv[1])
write(folder / "weights", {"smallest": smallest_weights()})
write(folder / "decode", drawn())
write(folder / "vp8l", pictures())
