"""The commands that look and write nothing: verify, info, compare."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import aecodec
from aecodec.cli.files import open_data, read_once, read_shown, shown
from aecodec.cli.options import DEVICE, MAX_PIXELS_OPTION, MODEL, PLACE, codec_options, reporting
from aecodec.cli.reporter import Reporter
from aecodec.cli.urls import Place
from aecodec.format.container import FORMAT_VERSION, STRIDE, SectionKind, unpack

if TYPE_CHECKING:  # info is quick without numpy
    import numpy as np
    from numpy.typing import NDArray

SECTION_FACTS = [f"{kind.name.lower()}_bytes" for kind in SectionKind]
MODES = {"L": "gray", "LA": "gray and transparency", "RGB": "color", "RGBA": "color and transparency"}


@click.command()
@click.argument("source", type=PLACE, metavar="FILE")
@click.option("--original", type=PLACE, help="The image that was encoded: tell the PSNR, too.")
@codec_options
@reporting
@click.pass_obj
def verify(
    report: Reporter,
    /,
    source: Place,
    original: Place | None,
    threads: int | None,
    max_pixels: int,
    device: str,
    weights: Path | None,
) -> None:
    """Check the .aec FILE: structure, checksums, weights, a full decode, and its digest if it has one.

    A digest comes from encode --verify. The first thing that is wrong ends it, with exit code 1.

    \b
    aecodec verify photo.aec
    aecodec verify photo.aec --original photo.png
    """
    read_once(source, original)
    for check, found in verify_file(source, original, device, weights, threads, max_pixels):
        if not report.quiet:
            click.echo(f"{check:10}{found}")
        report.timing(check)


def verify_file(
    source: Place, original: Place | None, device: str, weights_file: Path | None, threads: int | None, max_pixels: int
) -> Iterator[tuple[str, str]]:
    """Each check and what it found. Raises CodecError at the first that fails."""
    from aecodec.format.digest import TOLERANCE  # brings numpy

    with open_data(source) as data:
        header, sections, tiles = unpack(data, max_pixels=max_pixels)
        yield "structure", f"{header.width}x{header.height} {header.mode}, {len(tiles)} tiles"
        yield "checksums", f"header and {len(sections) + len(tiles)} sections"
        codec = aecodec.Codec.load(weights_file, device, threads=threads) if weights_file else None
        codec = codec or aecodec.Codec.load_for(data, device, threads=threads, max_pixels=max_pixels)
        codec.check_weights(header)
        yield "weights", f"{header.model_id:08x}"
        image, difference = codec.verify(data, max_pixels=max_pixels)
    yield "decode", f"{image.width}x{image.height} {image.mode}"
    yield "digest", "none in the file" if difference is None else f"within {difference} of 255, {TOLERANCE} is allowed"
    if original is not None:
        from aecodec import metrics

        seen, _ = read_shown(original, device, weights_file, max_pixels)
        psnr = metrics.psnr(seen, shown(image))
        yield "PSNR", "equal" if psnr == float("inf") else f"{psnr:.2f} dB"


@click.command()
@click.argument("source", type=PLACE, metavar="FILE", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@click.option("--model", is_flag=True, help="Tell about the model instead, the shipped one or that of --weights.")
@MAX_PIXELS_OPTION
@MODEL
def info(source: Place | None, as_json: bool, model: bool, max_pixels: int, weights: Path | None) -> None:
    """Say what the .aec FILE holds, without decoding it.

    \b
    aecodec info photo.aec
    aecodec info --model
    """
    if (source is None) != model:
        raise click.UsageError("give either a FILE or --model")
    facts = file_facts(source, max_pixels) if source else model_facts(weights)
    click.echo(json.dumps(facts) if as_json else file_table(facts) if source else table(facts))


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


@click.command()
@click.argument("reference", type=PLACE)
@click.argument("other", type=PLACE)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@MAX_PIXELS_OPTION
@DEVICE
@MODEL
@reporting
def compare(reference: Place, other: Place, as_json: bool, max_pixels: int, device: str, weights: Path | None) -> None:
    """Measure OTHER against REFERENCE: PSNR and MS-SSIM over 8-bit channels, and the bits per pixel of OTHER.

    Both may be images or .aec files. What a viewer sees is compared: turned as EXIF says, transparency on white.

    \b
    aecodec compare photo.png photo.aec
    """
    read_once(reference, other)
    (a, _), (b, size) = (read_shown(path, device, weights, max_pixels) for path in (reference, other))
    facts = comparison(a, b, size)
    click.echo(json.dumps(facts) if as_json else comparison_table(facts))


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
