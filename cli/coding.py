"""The commands that write pictures and files of pictures: encode, decode, thumbnail."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

import aecodec
from aecodec.cli import tasks
from aecodec.cli.codecs import Enhance, codec_for, load, small_picture
from aecodec.cli.files import (
    check_target,
    image_file,
    image_format,
    open_data,
    read_picture,
    remove_leftovers,
    replace_file,
)
from aecodec.cli.folders import plan, read_places
from aecodec.cli.options import (
    DENOISE,
    FILE,
    MODELS,
    PLACE,
    POSITIVE,
    SCALES,
    Many,
    Range,
    codec_options,
    folder_options,
    read_region,
    read_ssim,
    read_tile,
    reporting,
)
from aecodec.cli.reporter import Reporter
from aecodec.cli.urls import Place
from aecodec.formats import AEC, picture_suffixes


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="SOURCE... [TARGET]", type=click.Path())
@click.option("-q", "--quality", type=Range(1, 100), help="Higher is better.  [default: 55]")
@click.option("--bpp", type=POSITIVE, help="Instead of a quality: at most this many bits per pixel.")
@click.option("--max-bytes", type=click.IntRange(min=1), help="Instead of a quality: at most this many bytes.")
@click.option("--psnr", type=POSITIVE, help="Instead of a quality: at least this PSNR, in dB.")
@click.option(
    "--ssim",
    type=POSITIVE,
    callback=read_ssim,
    help="Instead of a quality: at least this MS-SSIM; values below 1 are the index, others dB.",
)
@click.option("--lossless", is_flag=True, help="Keep every pixel exactly; quality 100 does not.")
@click.option("--near-lossless", type=click.IntRange(0, 8), help="No value differs by more than this.")
@click.option("-e", "--effort", type=click.IntRange(0, 9), help="Higher is smaller and slower.  [default: 3]")
@click.option("--model", type=click.Choice(MODELS), help="s is faster and its files are larger.  [default: m]")
@click.option(
    "--tile", default=1024, show_default=True, callback=read_tile, help="Side of independently coded tiles, in pixels."
)
@folder_options(writes=True)
@click.option("--strip", is_flag=True, help="Drop ICC, EXIF, XMP and dpi; apply the EXIF orientation.")
@click.option("--verify", is_flag=True, help="Add a digest, and decode the file before writing it.")
@click.option(
    "--denoise",
    type=DENOISE,
    metavar="auto|SIGMA",
    help="Remove noise first: its standard deviation in levels of 255, or auto to estimate it.",
)
@codec_options
@reporting
@click.pass_obj
def encode(
    report: Reporter,
    /,
    words: tuple[str, ...],
    many: Many,
    quality: float | None,
    bpp: float | None,
    max_bytes: int | None,
    psnr: float | None,
    ssim: float | None,
    lossless: bool,
    near_lossless: int | None,
    effort: int | None,
    model: str | None,
    tile: int,
    threads: int | None,
    strip: bool,
    verify: bool,
    denoise: Enhance | None,
    max_pixels: int,
    device: str,
    weights: Path | None,
) -> None:
    """Encode images to .aec files. SOURCE may be an image, several images or folders; - is stdin or stdout.

    From folders, or several sources, photo.jpg becomes photo.jpg.aec in the folder TARGET, or next to its source. A
    file is skipped if it is newer than its source and has the requested quality, size or PSNR, model, tiles and digest;
    --effort, --denoise and --strip are not compared (--force encodes again). A bad file does not stop the run: failures
    are listed at the end. SOURCE and TARGET may be URLs that fsspec supports (s3://bucket/photos); on a cluster, paths
    must name the same files on all machines.

    \b
    aecodec encode photo.jpg photo.aec
    aecodec encode -q 85 photo.png photo.aec
    aecodec encode --max-bytes 50000 photo.png photo.aec
    aecodec encode --effort 9 photo.png photo.aec
    aecodec encode --denoise auto photo.png photo.aec
    aecodec encode photos/
    aecodec encode a.jpg b.png archive/
    aecodec encode photos/ archive/ --recursive -j 4 --report report.csv
    aecodec encode photos/ archive/ --recursive --engine dask --cluster tcp://host:8786
    """
    targets = {"quality": quality, "bpp": bpp, "max_bytes": max_bytes, "psnr": psnr, "ms_ssim": ssim}
    targets["near_lossless"] = 0 if lossless and near_lossless is None else near_lossless
    if sum(value is not None for value in targets.values()) > 1 or (lossless and near_lossless):
        raise click.UsageError(
            "give one of --quality, --bpp, --max-bytes, --psnr, --ssim, --lossless and --near-lossless"
        )
    options: dict[str, Any] = (
        targets | {"verify": verify, "tile": tile} | ({} if effort is None else {"effort": effort})
    )
    if model and weights:
        raise click.UsageError("give either --model (shipped) or --weights (your own), not both")
    chosen = model or (weights and weights.absolute())  # workers may be in another folder
    places = read_places(words)
    many.check(places)
    if places.many:
        engine, device, threads = many.share(device, threads)
        measure = many.report_file is not None
        how = tasks.Encoding(
            options, max_pixels, strip, device, chosen, model_id(chosen), threads, measure, many.force, denoise
        )
        found = plan(places, picture_suffixes(), "{}.aec".format, recursive=many.recursive)
        many.run(found, how, engine, report)
        return
    (source,), target = places.sources, places.target
    assert target is not None
    check_target(target, AEC, source, weights)
    remove_leftovers(target.parent)
    picture = read_picture(source, max_pixels=max_pixels, strip=strip)
    report.timing("read")
    codec = load(chosen, device, threads)
    report.timing("load model")
    noise = ""
    if denoise is not None:
        picture, noise = denoise.clean(codec, picture, max_pixels)
        report.timing("denoise")
    with report.bar(shown=(effort or 0) > 3) as progress:
        data = codec.encode(picture, max_pixels=max_pixels, progress=progress, **options)
    report.timing("encode")
    replace_file(target, data)
    report.timing("write")
    H, W, _ = picture.pixels.shape
    report.result(target, f"{len(data)} bytes, {8 * len(data) / W / H:.3f} bits per pixel{noise}")
    tasks.tell_growth(data, source)


def model_id(model: Path | str | None) -> int:
    """The model_id of what files are encoded with: the name of a shipped model, or a weights file."""
    from aecodec import weights

    name = weights.DEFAULT_MODEL if model is None else model
    return weights.SHIPPED[name] if isinstance(name, str) else weights.load(name).model_id


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="SOURCE... [TARGET]", type=click.Path())
@click.option("--format", "named", metavar="NAME", help="Format of pictures from folders or to stdout.  [default: png]")
@click.option(
    "--region", metavar="X,Y,W,H", callback=read_region, help="Decode only this part, in pixels from the upper left."
)
@click.option(
    "--scale", type=click.Choice(list(SCALES)), default="1", show_default=True, help="Decode a reduced picture."
)
@click.option(
    "--partial",
    "rescue",
    is_flag=True,
    help="Of a damaged file, decode the tiles that are left; the rest is gray.",
)
@click.option(
    "--denoise",
    type=DENOISE,
    metavar="auto|SIGMA",
    help="Remove noise: its standard deviation in levels of 255, or auto to estimate it.",
)
@click.option("--upscale", type=click.Choice(["2"]), help="Decode at twice the size.")
@folder_options(writes=True)
@codec_options
@reporting
@click.pass_obj
def decode(
    report: Reporter,
    /,
    words: tuple[str, ...],
    many: Many,
    named: str | None,
    region: tuple[int, int, int, int] | None,
    scale: str,
    rescue: bool,
    denoise: Enhance | None,
    upscale: str | None,
    threads: int | None,
    max_pixels: int,
    device: str,
    weights: Path | None,
) -> None:
    """Decode .aec files to images. SOURCE may be a file, several or folders; the suffix of TARGET names the format.

    From folders, or several sources, photo.jpg.aec becomes photo.jpg.png and photo.aec photo.png, in the folder TARGET
    or next to its source: the suffix of --format replaces .aec. An existing picture is not replaced without --force: it
    is skipped if its pixels are the same, and else reported as a failure. Decoded pictures get the modification time of
    their file; one that has this time and the right size is taken to be the same. A bad file does not stop the run:
    failures are listed at the end. A single TARGET is always replaced.

    \b
    aecodec decode photo.aec photo.png
    aecodec decode --region 500,200,640,480 photo.aec detail.png
    aecodec decode --scale 1/8 photo.aec thumbnail.jpg
    aecodec decode --denoise auto photo.aec clean.png
    aecodec decode --upscale 2 photo.aec large.png
    aecodec decode --partial damaged.aec rest.png
    aecodec decode archive/ pictures/ --recursive --format jpg -j 4
    """
    places = read_places(words)
    many.check(places)
    enhance = Enhance("upscale") if upscale else denoise
    if sum([denoise is not None, upscale is not None, scale != "1", rescue]) > 1 and enhance:
        raise click.UsageError("give only one of --denoise, --upscale, --scale and --partial")
    options: dict[str, Any] = {"region": region, "scale": SCALES[scale], "max_pixels": max_pixels}
    if places.many:
        suffix = f".{(named or 'png').removeprefix('.')}".lower()
        engine, device, threads = many.share(device, threads)
        form = image_format(Path(f"any{suffix}"))
        mine = weights and weights.absolute()  # workers may be in another folder
        how = tasks.Decoding(options, form, device, mine, threads, rescue, many.force, enhance)
        found = plan(
            places, {".aec"}, lambda name: re.sub(r"\.aec$", "", name, flags=re.I) + suffix, recursive=many.recursive
        )
        many.run(found, how, engine, report)
        return
    (source,), target = places.sources, places.target
    assert target is not None
    form = image_format(Path(f"any.{named.removeprefix('.')}") if named else target)
    check_target(target, form, source, weights)
    remove_leftovers(target.parent)
    with open_data(source) as data:
        report.timing("open")
        header = aecodec.read_header(data, max_pixels=max_pixels)
        codec = codec_for(header, weights, device, threads)
        report.timing("load model")
        image, losses, noise = tasks.decoded(codec, header, data, options, enhance, rescue=rescue)
        report.timing("decode")
    replace_file(target, image_file(image, form))
    report.timing("write")
    report.result(target, f"{image.width}x{image.height} {image.mode}{noise}")
    tasks.tell_losses(losses, header)


@click.command()
@click.argument("source", type=PLACE)
@click.argument("target", type=FILE)
@click.option("--size", type=click.IntRange(1, 4096), default=256, show_default=True, help="Longest side, in pixels.")
@reporting
@click.pass_obj
def thumbnail(report: Reporter, /, source: Place, target: Path, size: int) -> None:
    """Write a PNG thumbnail of an .aec file. The EXIF orientation is applied.

    \b
    aecodec thumbnail --size 256 photo.aec photo.png
    """
    check_target(target, "PNG", source)
    with open_data(source) as data:
        small = small_picture(data, (size, size))
    replace_file(target, image_file(small, "PNG"))
    report.result(target, f"{small.width}x{small.height} {small.mode}")
