"""Click commands: each a few lines of glue over one library call."""

from __future__ import annotations

import io
import json
import os
import shlex
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click

import aecodec
from aecodec.cli import batch, cluster
from aecodec.cli.checks import tell_losses, verify_file
from aecodec.cli.facts import comparison, comparison_table, file_facts, file_table, model_facts, model_id, table
from aecodec.cli.files import (
    AEC,
    check_target,
    image_file,
    image_format,
    is_stream,
    open_data,
    read_once,
    read_picture,
    read_shown,
    reason,
    remove_leftovers,
    replace_file,
    small_picture,
)
from aecodec.cli.options import MODELS, SCALES, has_cuda, read_region, read_tile, share_freed_memory
from aecodec.cli.reporter import Reporter
from aecodec.cli.urls import Place, place
from aecodec.format.container import MAX_PIXELS

FILE = click.Path(path_type=Path)  # what is wrong with a file is told by who opens it: exit code 1, not a usage error


class PlaceType(click.Path):
    """A path, or a URL for fsspec."""

    def convert(self, value: Any, _: click.Parameter | None, __: click.Context | None) -> Any:
        return place(os.fspath(value))


PLACE = PlaceType()
POSITIVE = click.FloatRange(min=0, min_open=True)
DEVICE = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the networks run; auto is CUDA where there is one.",
)
MODEL = click.option("--weights", type=FILE, help="Weights file (.safetensors) in place of the shipped ones.")
MAX_PIXELS_OPTION = click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    default=MAX_PIXELS,
    show_default=True,
    help="Refuse larger pictures; a side has at most 65535 pixels.",
)
THREADS = click.option("--threads", type=click.IntRange(min=1), help="Threads at work  [default: one per CPU core]")


class Group(click.Group):
    """Turns the library's errors into one line on stderr and exit code 1, and its warnings into notes."""

    def invoke(self, ctx: click.Context) -> Any:
        report = ctx.ensure_object(Reporter)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always", aecodec.PictureWarning)
                show: Any = report.note  # the stub of showwarning names each argument
                warnings.showwarning = show
                return super().invoke(ctx)
        except aecodec.UnsupportedError as error:
            hint = " (--weights names a file of others)" if "needs weights" in str(error) else ""
            raise click.ClickException(f"{error}{hint}") from error
        except aecodec.CodecError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            name = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{name}{error.strerror or error}") from error
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, click.exceptions.Exit | click.Abort) or reason(error) != "out of memory":
                raise
            raise click.ClickException("out of memory") from error


def codec_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What every command that codes pictures takes."""
    for option in (MODEL, DEVICE, MAX_PIXELS_OPTION, THREADS):
        command = option(command)
    return command


def reporting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command -v and --quiet, which may stand before and behind its name."""

    def switch_on(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        report = context.ensure_object(Reporter)
        if value:
            setattr(report, str(parameter.name), True)

    options: dict[str, Any] = {"expose_value": False, "is_flag": True, "callback": switch_on}
    command = click.option("--quiet", help="Print nothing but errors.", **options)(command)
    return click.option("-v", "--verbose", help="Say where the time goes.", **options)(command)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(aecodec.__version__, prog_name="aecodec", message="%(prog)s %(version)s")
@reporting
def main() -> None:
    """Learned image compression: small .aec files that decode the same everywhere.

    \b
    aecodec encode photo.png photo.aec
    aecodec decode photo.aec photo.png
    """
    share_freed_memory()


def run() -> NoReturn:
    """The program: main, and out at once, since taking torch down would need half a second."""
    for number in range(3):  # what is closed would become the number of the next file that is opened
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    code: Any = 1
    try:
        main(prog_name="aecodec")
    except SystemExit as end:
        code = end.code
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:  # nobody reads, or a full disk
            code = code or 1
    os._exit(code if isinstance(code, int) else int(code is not None))


@main.command()
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


@main.command()
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


@main.command()
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


@main.command()
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


@main.command()
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


@main.command()
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


@main.command()
@click.argument("data", nargs=-1, required=True, type=FILE)
@click.option("--out", "run", required=True, type=FILE, help="Folder of the run: checkpoints, logs, plot.")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint of the run.")
@click.option("--init", type=FILE, help="Start from weights of a run (export), or from the shipped ones: shipped.")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Length of the run  [default: 60, or what a resumed run was begun with]",
)
@click.option("--steps", type=click.IntRange(min=1), help="Length of the run in steps instead.")
@click.option(
    "--decay",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Share of the run at its end in which the learning rate falls to 0.",
)
@click.option("--validation", type=FILE, help="Folder of pictures that are measured but not trained on.")
@click.option("--model", default="m", show_default=True, help="Size of the model.")
@click.option("--batch", type=int, default=8, show_default=True, help="Pictures per step and process, multiple of 8.")
@click.option("--patch", type=int, default=192, show_default=True, help="Side of the crops in pixels, multiple of 64.")
@click.option("--lr", type=float, default=1e-3, show_default=True, help="Learning rate of the stable phase.")
@click.option(
    "--precision", default="auto", show_default=True, help="bf16, fp32, or auto: bf16 where the device has it."
)
@click.option("--seed", type=int, default=0, show_default=True)
@DEVICE
@reporting
@click.pass_obj
def train(
    report: Reporter,
    /,
    data: tuple[Path, ...],
    run: Path,
    resume: bool,
    init: Path | None,
    minutes: float | None,
    steps: int | None,
    decay: float,
    validation: Path | None,
    device: str,
    **settings: Any,
) -> None:
    """Train a model on DATA: folders of images, tar shards, or single images.

    \b
    aecodec train photos/ --out run --validation held-back/ --minutes 120
    aecodec export run mine.safetensors
    """
    from aecodec.train import Budget, TrainConfig, train_model

    if minutes is not None and steps is not None:
        raise click.UsageError("--minutes and --steps exclude each other")
    budget = None if resume else Budget(minutes=60, decay=decay)
    if minutes is not None or steps is not None:
        budget = Budget(steps, minutes, decay)
    command = shlex.join(["aecodec", *(Path(word).name for word in sys.argv[1:])])  # folders stay private
    train_model(
        data, run, budget, TrainConfig(**settings), device=device, resume=resume, validation=validation,
        init="shipped" if init == Path("shipped") else init,
        quiet=report.quiet, command=command,
    )  # fmt: skip


@main.command()
@click.argument("run", type=FILE)
@click.argument("target", type=FILE, required=False)
@click.option("--state", type=FILE, help="Also write the weights before the decay, for train --init.")
@click.option(
    "--data",
    type=FILE,
    multiple=True,
    help="Pictures of the training: neighbors of z are counted on them, which saves up to 7 %.",
)
@reporting
@click.pass_obj
def export(report: Reporter, run: Path, target: Path | None, state: Path | None, data: tuple[Path, ...]) -> None:
    """Freeze the newest decay of RUN into a weights file, TARGET or weights.safetensors in RUN."""
    from aecodec.train import export_run

    if target is not None:
        check_target(target, "weights")
    target, weights = export_run(run, target, state=state, pictures=data, quiet=report.quiet)
    report.result(target, f"model {weights.model_id:08x}, sha256 {weights.sha256}")
