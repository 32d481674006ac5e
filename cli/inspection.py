"""The commands that look and write nothing: verify, info, compare."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import aecodec
from aecodec import CodecError
from aecodec.cli import tasks
from aecodec.cli.batch import check_failures
from aecodec.cli.codecs import read_shown
from aecodec.cli.files import open_data, read_once
from aecodec.cli.folders import Plan, failure, plan, read_sources, tell_skipped
from aecodec.cli.options import (
    DEVICE,
    MAX_PIXELS_OPTION,
    MODEL,
    PLACE,
    RECURSIVE,
    Many,
    codec_options,
    folder_options,
    refuse_one,
    reporting,
)
from aecodec.cli.reporter import Reporter, printable, reason
from aecodec.cli.urls import Place
from aecodec.format.container import FORMAT_VERSION, LOSSLESS_LEVEL, NO_MODEL, STRIDE, Data, SectionKind, unpack

if TYPE_CHECKING:  # info is quick without numpy
    import numpy as np
    from numpy.typing import NDArray

SECTION_FACTS = [f"{kind.name.lower()}_bytes" for kind in SectionKind]
MODES = {"L": "gray", "LA": "gray and transparency", "RGB": "color", "RGBA": "color and transparency"}


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@click.option("--original", type=PLACE, help="The image that was encoded, to measure the PSNR.")
@folder_options(writes=False)
@codec_options
@reporting
@click.pass_obj
def verify(
    report: Reporter,
    /,
    words: tuple[str, ...],
    many: Many,
    original: Place | None,
    threads: int | None,
    max_pixels: int,
    device: str,
    weights: Path | None,
) -> None:
    """Check .aec files. Structure, checksums, weights, a full decode, and the digest if there is one.

    encode --verify adds digests. Verification ends at the first defect, with exit code 1. For several files and folders
    it counts the sound files and lists the others.

    \b
    aecodec verify photo.aec
    aecodec verify photo.aec --original photo.png
    aecodec verify archive/ --recursive -j 4
    """
    places = read_sources(words)
    many.check(places)
    if places.many:
        if original is not None:
            raise click.UsageError("--original is for one file")
        engine, device, threads = many.share(device, threads)
        files = plan(places, {".aec"}, None, recursive=many.recursive)
        weights = weights and weights.absolute()  # workers may be in another folder
        many.run(files, tasks.Verifying(device, weights, threads, max_pixels), engine, report)
        return
    (source,) = places.sources
    read_once(source, original)
    for check, found in tasks.verify_file(source, original, device, weights, threads, max_pixels):
        if not report.quiet:
            click.echo(f"{check:10}{found}")
        report.timing(check)


@click.command()
@click.argument("words", nargs=-1, metavar="FILE...", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON; for several files one object per line.")
@RECURSIVE
@click.option("--model", is_flag=True, help="Describe the model instead, the shipped one or that of --weights.")
@MAX_PIXELS_OPTION
@MODEL
def info(
    words: tuple[str, ...], as_json: bool, recursive: bool, model: bool, max_pixels: int, weights: Path | None
) -> None:
    """Describe .aec files without decoding them. Several files and folders get a line each.

    \b
    aecodec info photo.aec
    aecodec info archive/ --recursive
    aecodec info --model
    """
    if bool(words) == model:
        raise click.UsageError("give either a FILE or --model")
    if model:
        facts = model_facts(weights)
        click.echo(json.dumps(facts) if as_json else table(facts))
        return
    places = read_sources(words)
    if places.many:
        list_files(plan(places, {".aec"}, None, recursive=recursive), max_pixels, as_json=as_json)
        return
    if recursive:
        refuse_one("--recursive is", places.sources[0])
    facts = file_facts(places.sources[0], max_pixels)
    click.echo(json.dumps(facts) if as_json else file_table(facts))


def list_files(found: Plan, max_pixels: int, *, as_json: bool) -> None:
    """A line for each file. Raises InputError with the list of those that are none, at the end."""
    width = max((len(printable(str(job.source))) for job in found.jobs), default=0)
    line = f"{{:{width}}}  {{:>13}}  {{:4}}  {{:>7}}  {{:>10}}  {{:>6}}"
    if not as_json:
        click.echo(line.format("file", "size", "mode", "quality", "bytes", "bpp"))
    failed = found.failed.copy()
    for job in found.jobs:
        try:
            facts = file_facts(job.source, max_pixels)
        except (CodecError, OSError) as error:
            failed.append(failure(job, reason(error)))
            continue
        size, quality = f"{facts['width']} x {facts['height']}", quality_name(facts)
        words = (printable(facts["file"]), size, facts["mode"], quality, facts["size_bytes"], f"{facts['bpp']:.3f}")
        click.echo(json.dumps(facts) if as_json else line.format(*words))
    if found.skipped:
        click.echo(tell_skipped(found), err=as_json)
    check_failures(failed, len(found.jobs) + len(found.failed))


def file_facts(source: Place, max_pixels: int) -> dict[str, Any]:
    with open_data(source) as data:
        return data_facts(source, data, max_pixels)


def data_facts(source: Place, data: Data, max_pixels: int) -> dict[str, Any]:
    """What info tells of a file, by its bytes."""
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
    if drawn := sum(len(tile.drawn) for tile in tiles):
        from aecodec.format.drawn import drawn_pixels

        facts["drawn_bytes"] = drawn
        facts["drawn_share"] = round(drawn_pixels(tiles, header) / header.pixels, 4)
    if header.level == LOSSLESS_LEVEL:
        facts["largest_difference"] = max(tile.step for tile in tiles) // 2
    if SectionKind.DENSITY in sections:
        from aecodec.image import read_density

        facts["dpi"] = read_density(sections[SectionKind.DENSITY])
    return facts


def quality_name(facts: dict[str, Any]) -> str:
    """The quality of a file, or how exact it is."""
    if "largest_difference" not in facts:
        return f"{facts['quality']:g}"
    return f"near-lossless {facts['largest_difference']}" if facts["largest_difference"] else "lossless"


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
    return table(file_lines(facts))


def file_lines(facts: dict[str, Any]) -> dict[str, Any]:
    """What info found of a file, in words."""
    lines = {
        "file": printable(facts["file"]),
        "format version": facts["format_version"],
        "size": f"{facts['width']} x {facts['height']} pixels",
        "mode": f"{facts['mode']}: {MODES[facts['mode']]}",
        "quality": quality_name(facts),
        "weights": "none" if facts["model_id"] == f"{NO_MODEL:08x}" else facts["model_id"],
        "tiles": f"{facts['tiles']} of {facts['tile']} x {facts['tile']} pixels",
        "bytes": f"{facts['size_bytes']}, {facts['bpp']} bits per pixel",
        **{name.removesuffix("_bytes"): f"{facts[name]} bytes" for name in facts if name in SECTION_FACTS},
    }
    if "drawn_bytes" in facts:
        name = "drawn" if facts["quality"] else "coded without networks"
        lines[name] = f"{100 * facts['drawn_share']:.4g} % of the pixels, {facts['drawn_bytes']} bytes"
    if "dpi" in facts:
        lines["density"] = " x ".join(f"{value:g}" for value in facts["dpi"]) + " dots per inch"
    return lines


@click.command()
@click.argument("reference", type=PLACE)
@click.argument("other", type=PLACE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@MAX_PIXELS_OPTION
@DEVICE
@MODEL
@reporting
def compare(reference: Place, other: Place, as_json: bool, max_pixels: int, device: str, weights: Path | None) -> None:
    """Compare two pictures: PSNR, MS-SSIM, bits per pixel. Over 8-bit channels; the bits are those of OTHER.

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
