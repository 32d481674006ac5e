"""The commands that write pictures and files of pictures: encode, decode, thumbnail."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import aecodec
from aecodec.cli import batch, cluster
from aecodec.cli.files import (
    AEC,
    check_target,
    image_file,
    image_format,
    is_stream,
    open_data,
    read_picture,
    remove_leftovers,
    replace_file,
    small_picture,
)
from aecodec.cli.options import (
    FILE,
    MODELS,
    PLACE,
    POSITIVE,
    SCALES,
    codec_options,
    has_cuda,
    read_region,
    read_tile,
    reporting,
)
from aecodec.cli.reporter import Reporter
from aecodec.cli.urls import Place

if TYPE_CHECKING:
    from aecodec.format.rescue import Loss


@click.command()
@click.argument("source", type=PLACE)
@click.argument("target", type=PLACE)
@click.option("-q", "--quality", type=click.FloatRange(1, 100), help="Higher is better.  [default: 60]")
@click.option("--bpp", type=POSITIVE, help="Instead of a quality: at most these bits per pixel.")
@click.option("--max-bytes", type=click.IntRange(min=1), help="... at most this size of the file.")
@click.option("--psnr", type=POSITIVE, help="... the smallest file of at least this PSNR, in dB.")
@click.option(
    "--ssim", type=POSITIVE, help="... the smallest file of at least this MS-SSIM: below 1 the index, above 1 its dB."
)
@click.option("-e", "--effort", type=click.IntRange(0, 9), help="Smaller files for more time.  [default: 3]")
@click.option("--model", type=click.Choice(MODELS), help="Size of the model: s is quicker, in more bits.  [default: m]")
@click.option(
    "--tile", default=1024, show_default=True, callback=read_tile, help="Side of the parts that are coded apart."
)
@click.option("-r", "--recursive", is_flag=True, help="SOURCE is a folder: go into its folders too.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Processes for a folder  [default: one per CPU core]")
@click.option("--engine", type=click.Choice(["processes", "dask"]), help="What works on a folder  [default: processes]")
@click.option(
    "--cluster", "address", metavar="URL", help="Scheduler of --engine dask  [default: one for --jobs processes]"
)
@click.option("--dry-run", is_flag=True, help="For a folder: only say what would be done.")
@click.option("--force", is_flag=True, help="For a folder: also what is up to date.")
@click.option(
    "--report", "report_file", type=PLACE, help="For a folder: CSV file of sizes, PSNR and notes; - is a pipe."
)
@click.option("--strip", is_flag=True, help="Drop ICC, EXIF, XMP and dpi; turn the pixels as EXIF says.")
@click.option("--verify", is_flag=True, help="Add a digest and decode the file before it is written.")
@codec_options
@reporting
@click.pass_obj
def encode(
    report: Reporter,
    /,
    source: Place,
    target: Place,
    quality: float | None,
    bpp: float | None,
    max_bytes: int | None,
    psnr: float | None,
    ssim: float | None,
    effort: int | None,
    model: str | None,
    recursive: bool,
    jobs: int | None,
    engine: str | None,
    address: str | None,
    dry_run: bool,
    force: bool,
    report_file: Place | None,
    tile: int,
    threads: int | None,
    strip: bool,
    verify: bool,
    max_pixels: int,
    device: str,
    weights: Path | None,
) -> None:
    """Encode the image SOURCE to the .aec file TARGET, or all images of a folder to another; - is a pipe.

    In a folder, photo.jpg becomes photo.jpg.aec. What is newer than its source, and of the quality, size or PSNR,
    model, tiles and digest that are asked for, is left alone; the effort, and what --strip has dropped, are not seen.
    A bad file stops nothing: the failures are listed at the end. SOURCE and TARGET may be URLs that fsspec knows
    (s3://bucket/photos); on a cluster, paths must mean the same files everywhere.

    \b
    aecodec encode photo.jpg photo.aec
    aecodec encode -q 85 photo.png photo.aec
    aecodec encode --max-bytes 50000 photo.png photo.aec
    aecodec encode --effort 9 photo.png photo.aec
    aecodec encode photos/ archive/ --recursive -j 4 --report report.csv
    aecodec encode photos/ archive/ --recursive --engine dask --cluster tcp://host:8786
    """
    targets = {"quality": quality, "bpp": bpp, "max_bytes": max_bytes, "psnr": psnr, "ms_ssim": ssim}
    if sum(value is not None for value in targets.values()) > 1:
        raise click.UsageError("give one of --quality, --bpp, --max-bytes, --psnr and --ssim")
    options: dict[str, Any] = (
        targets | {"verify": verify, "tile": tile} | ({} if effort is None else {"effort": effort})
    )
    if address and (jobs or engine != "dask"):
        raise click.UsageError("--cluster is for --engine dask, and has workers of its own in place of --jobs")
    if model and weights:
        raise click.UsageError("--model is a shipped one, --weights are your own: give one of them")
    chosen = model or (weights and weights.absolute())  # workers may be in another folder
    if not is_stream(source) and source.is_dir():
        if device == "auto" and not address:
            device = "cuda" if has_cuda() else "cpu"
        jobs = jobs or (1 if device == "cuda" else os.cpu_count() or 1)
        threads = threads or (1 if jobs > 1 or address else None)
        run = cluster.engine(jobs, address) if engine == "dask" else partial(batch.in_processes, count=jobs)
        measure = report_file is not None
        how = batch.Encoding(
            options, max_pixels, strip, device, chosen, model_id(chosen), threads, measure=measure, force=force
        )
        found = batch.plan(source, target, recursive=recursive)
        work = partial(batch.encode_file, how)
        batch.run(found, work, run, how.is_current, dry_run=dry_run, report=report_file, quiet=report.quiet)
        return
    if recursive or jobs or engine or dry_run or force or report_file:
        if isinstance(source, Path) and not source.exists():
            raise aecodec.InputError(f"no folder {source}")
        raise click.UsageError(
            f"--recursive, --jobs, --engine, --dry-run, --force and --report are for a folder, {source} is none"
        )
    check_target(target, AEC, source)
    remove_leftovers(target.parent)
    picture = read_picture(source, max_pixels=max_pixels, strip=strip)
    report.timing("read")
    codec = aecodec.Codec.load(chosen, device, threads=threads)
    report.timing("load model")
    with report.bar(shown=(effort or 0) > 3) as progress:
        data = codec.encode(picture, max_pixels=max_pixels, progress=progress, **options)
    report.timing("encode")
    replace_file(target, data)
    report.timing("write")
    H, W, _ = picture.pixels.shape
    report.result(target, f"{len(data)} bytes, {8 * len(data) / W / H:.3f} bits per pixel")


def model_id(model: Path | str | None) -> int:
    """The model_id of what files are encoded with: the name of a shipped model, or a weights file."""
    from aecodec import weights

    name = weights.DEFAULT_MODEL if model is None else model
    return weights.SHIPPED[name] if isinstance(name, str) else weights.load(name).model_id


@click.command()
@click.argument("source", type=PLACE)
@click.argument("target", type=PLACE)
@click.option(
    "--region", metavar="X,Y,W,H", callback=read_region, help="Only this part, in pixels from the upper left."
)
@click.option("--scale", type=click.Choice(list(SCALES)), default="1", show_default=True, help="A smaller picture.")
@click.option("--partial", "rescue", is_flag=True, help="Of a damaged file: every sound tile, gray for the rest.")
@codec_options
@reporting
@click.pass_obj
def decode(
    report: Reporter,
    /,
    source: Place,
    target: Place,
    region: tuple[int, int, int, int] | None,
    scale: str,
    rescue: bool,
    threads: int | None,
    max_pixels: int,
    device: str,
    weights: Path | None,
) -> None:
    """Decode the .aec file SOURCE to the image TARGET; its suffix names the format.

    \b
    aecodec decode photo.aec photo.png
    aecodec decode --region 500,200,640,480 photo.aec detail.png
    aecodec decode --scale 1/8 photo.aec thumbnail.jpg
    aecodec decode --partial damaged.aec rest.png
    """
    form = image_format(target)
    check_target(target, form, source)
    remove_leftovers(target.parent)
    with open_data(source) as data:
        report.timing("open")
        load = (
            partial(aecodec.Codec.load, weights)
            if weights
            else partial(aecodec.Codec.load_for, data, max_pixels=max_pixels)
        )
        codec = load(device, threads=threads)
        report.timing("load model")
        options: dict[str, Any] = {"region": region, "scale": SCALES[scale], "max_pixels": max_pixels}
        image, losses = codec.decode_partial(data, **options) if rescue else (codec.decode(data, **options), [])
        report.timing("decode")
        tiles = len(aecodec.read_header(data, max_pixels=max_pixels).tiles())
    replace_file(target, image_file(image, form))
    report.timing("write")
    report.result(target, f"{image.width}x{image.height} {image.mode}")
    tell_losses(losses, tiles)


def tell_losses(losses: Sequence[Loss], count: int) -> None:
    """Raises FormatError with a list of what was lost of a file of count tiles, if anything was."""
    if losses:
        lines = [f"lost: {_place(loss)}{loss.reason}" for loss in losses]
        tiles = sum(loss.box is not None for loss in losses)
        raise aecodec.FormatError(
            "\n".join([f"the file is damaged, {tiles} of {count} tiles {'is' if tiles == 1 else 'are'} lost", *lines])
        )


def _place(loss: Loss) -> str:
    if loss.box is None:
        return ""
    height, width = loss.box.shape
    return f"tile {loss.box.left},{loss.box.top},{width},{height}: "


@click.command()
@click.argument("source", type=PLACE)
@click.argument("target", type=FILE)
@click.option("--size", type=click.IntRange(1, 4096), default=256, show_default=True, help="Longest side, in pixels.")
@reporting
@click.pass_obj
def thumbnail(report: Reporter, /, source: Place, target: Path, size: int) -> None:
    """Write a small picture of the .aec file SOURCE, turned as EXIF says, to the PNG file TARGET.

    \b
    aecodec thumbnail --size 256 photo.aec photo.png
    """
    check_target(target, "PNG", source)
    with open_data(source) as data:
        small = small_picture(data, size)
    replace_file(target, image_file(small, "PNG"))
    report.result(target, f"{small.width}x{small.height} {small.mode}")
