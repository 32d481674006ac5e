"""What info and compare tell, for programs and in words."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aecodec
from aecodec.cli.files import open_data
from aecodec.cli.urls import Place
from aecodec.format.container import FORMAT_VERSION, STRIDE, SectionKind, unpack

if TYPE_CHECKING:  # info is quick without numpy
    import numpy as np
    from numpy.typing import NDArray

SECTION_FACTS = [f"{kind.name.lower()}_bytes" for kind in SectionKind]
MODES = {"L": "gray", "LA": "gray and transparency", "RGB": "color", "RGBA": "color and transparency"}


def file_facts(source: Place, max_pixels: int) -> dict[str, Any]:
    with open_data(source) as data:
        header, sections, tiles = unpack(data, max_pixels=max_pixels)
        size = len(data)
    facts: dict[str, Any] = {
        "file": str(source),
        "format_version": FORMAT_VERSION,
        "width": header.width,
        "height": header.height,
        "mode": header.mode,
        "quality": header.quality,
        "model_id": f"{header.model_id:08x}",
        "tile": header.tile * STRIDE,
        "tiles": len(tiles),
        "size_bytes": size,
        "bpp": round(8 * size / header.width / header.height, 4),
        **{f"{kind.name.lower()}_bytes": len(block) for kind, block in sections.items() if kind != SectionKind.DENSITY},
    }
    if SectionKind.DENSITY in sections:
        from aecodec.image import read_density

        facts["dpi"] = read_density(sections[SectionKind.DENSITY])
    return facts


def model_id(model: Path | str | None) -> int:
    """The model_id of what files are encoded with: the name of a shipped model, or a weights file."""
    from aecodec import weights

    name = weights.DEFAULT_MODEL if model is None else model
    return weights.SHIPPED[name] if isinstance(name, str) else weights.load(name).model_id


def model_facts(file: Path | None) -> dict[str, Any]:
    codec = aecodec.Codec.load(file, "cpu")
    model = codec.weights
    return {
        "model_id": f"{model.model_id:08x}",
        "sha256": model.sha256,
        "parameters": sum(array.size for array in model.network.values()) + model.prior.weight.size,
        **{f"kmac_per_px_{name.replace(' ', '_')}": round(value, 2) for name, value in codec.complexity().items()},
        "trained_steps": model.training["steps"],
        "trained_minutes": model.training["minutes"],
    }


def table(facts: dict[str, Any]) -> str:
    width = max(16, *map(len, facts))
    return "\n".join(f"{name:{width}} {value}" for name, value in facts.items())


def file_table(facts: dict[str, Any]) -> str:
    """What info found of a file, in words."""
    lines = {
        "file": facts["file"],
        "format version": facts["format_version"],
        "size": f"{facts['width']} x {facts['height']} pixels",
        "mode": f"{facts['mode']}: {MODES[facts['mode']]}",
        "quality": f"{facts['quality']:g}",
        "weights": facts["model_id"],
        "tiles": f"{facts['tiles']} of {facts['tile']} x {facts['tile']} pixels",
        "bytes": f"{facts['size_bytes']}, {facts['bpp']} bits per pixel",
        **{name.removesuffix("_bytes"): f"{facts[name]} bytes" for name in facts if name in SECTION_FACTS},
    }
    if "dpi" in facts:
        lines["density"] = " x ".join(f"{value:g}" for value in facts["dpi"]) + " dots per inch"
    return table(lines)


def comparison(a: NDArray[np.uint8], b: NDArray[np.uint8], size_bytes: int) -> dict[str, float | None]:
    """Figures of b, a file of some size, against a; None for a PSNR without limit and for sides too small."""
    from aecodec import metrics

    psnr = metrics.psnr(a, b)
    return {
        "psnr": None if math.isinf(psnr) else round(psnr, 4),
        "ms_ssim": metrics.ms_ssim(a, b) if min(a.shape[:2]) > metrics.MS_SSIM_MIN_SIDE else None,
        "bpp": round(metrics.bpp(size_bytes, b.shape[1], b.shape[0]), 4),
    }


def comparison_table(facts: dict[str, float | None]) -> str:
    from aecodec import metrics

    psnr, ms_ssim, bpp = facts["psnr"], facts["ms_ssim"], facts["bpp"]
    none = f"none: sides are not above {metrics.MS_SSIM_MIN_SIDE} pixels"
    return "\n".join(
        [
            f"PSNR      {'equal' if psnr is None else f'{psnr:.2f} dB'}",
            f"MS-SSIM   {none if ms_ssim is None else f'{ms_ssim:.5f} ({metrics.ms_ssim_db(ms_ssim):.2f} dB)'}",
            f"bpp       {bpp:.4f}",
        ]
    )
