"""The benchmark commands."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from aecodec import CodecError

ROOT = Path(__file__).parent.parent
DEMONSTRATION = ROOT / "tests" / "data" / "coffee.png"
POSTER_QUALITY = 20  # of JPEG: half a bit per pixel of the demonstration photograph
NEW = click.Path(path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
RESULTS = click.Path(exists=True, path_type=Path)
ANCHORS = click.option(
    "--anchor",
    "anchors",
    multiple=True,
    help="A measured codec or a published curve, also several times; default is jpeg and avif.",
)
OUT = click.option("--out", type=NEW, help="JSON lines: a .jsonl file or a folder. An interrupted run continues there.")


class _Group(click.Group):
    """Commands whose foreseen errors are one line."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except CodecError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group)
def main() -> None:
    """Measure aecodec beside other codecs, on real files."""


def _command() -> str:
    """This command as a reader repeats it: without the way to this machine's folders."""
    words = [Path(word).name if word.startswith(("/", "..")) else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", "bench", *words])


def _file(out: Path | None, name: str) -> Path | None:
    return out / f"{name}.jsonl" if out and out.suffix != ".jsonl" else out


@main.command()
@click.argument("what", type=click.Choice(["kodak"]))
@click.option("--to", "folder", type=NEW, help="Folder; default is in the user's cache.")
@click.option("--url", help="Another server that has the files.")
def fetch(what: str, folder: Path | None, url: str | None) -> None:
    """Download the 24 KODAK pictures and check them."""
    from bench.fetch import HOME, cache, fetch_kodak

    folder = folder or cache()
    fetch_kodak(folder, url or HOME)
    click.echo(f"{what} is complete. Next: python -m bench rd --images {shlex.quote(str(folder))} --out results")


@main.command()
@click.option("--images", required=True, type=FOLDER)
@click.option(
    "--codecs",
    default="all",
    show_default=True,
    help="Names with commas; aecodec:FILE@9 takes other weights and effort.",
)
@click.option("--device", default="cpu", show_default=True, help="Of aecodec: cpu or cuda.")
@click.option("--butteraugli", is_flag=True, help="Measure it too, about a second a point: needs libjxl's tools.")
@click.option("--ssimulacra2", is_flag=True, help="Measure it too, a second a point.")
@click.option(
    "--middle", type=click.IntRange(64), help="Only what lies in the middle, at most this many pixels square."
)
@OUT
def rd(images: Path, codecs: str, device: str, middle: int | None, out: Path | None, **extras: bool) -> None:
    """Bits per pixel and quality of whole files, mean over a folder of pictures."""
    from bench.codecs import peers
    from bench.compare import table
    from bench.rd import available, pictures_in, run

    pictures = pictures_in(images)
    wanted = available(name for name, asked in extras.items() if asked)
    found = peers(codecs.split(","), device)
    for peer in found:
        click.echo(f"{peer.name}: {peer.settings}")
    names = {peer.name for peer in found}
    points = run(found, pictures, _command(), _file(out, "rd"), wanted, middle)
    print(table([point for point in points if point.codec in names]))


@main.command()
@click.argument("results", type=RESULTS)
def table(results: Path) -> None:
    """The Markdown table of results: bits per pixel at equal PSNR, and BD-rates."""
    from bench import compare
    from bench.results import read

    print(compare.table(read(results)))


@main.command()
@click.argument("results", type=RESULTS)
def speed_table(results: Path) -> None:
    """The Markdown table of RESULTS of speed: seconds and memory by size."""
    from bench import compare
    from bench.results import read

    print(compare.speed_table(read(results)))


@main.command()
@click.argument("results", type=RESULTS)
def effort_table(results: Path) -> None:
    """The Markdown table of RESULTS of rd with levels of effort, aecodec@0 and more."""
    from bench import effort
    from bench.results import read

    print(effort.effort_table(read(results)))


@main.command()
@click.argument("results", type=RESULTS)
def ladder_table(results: Path) -> None:
    """The Markdown table of RESULTS of ladder: bits per pixel at some PSNR, step by step."""
    from bench import compare
    from bench.results import read

    print(compare.ladder_table(read(results)))


@main.command()
@click.argument("results", type=RESULTS, nargs=-1, required=True)
@ANCHORS
def compare(results: tuple[Path, ...], anchors: tuple[str, ...]) -> None:
    """BD-rates of everything in RESULTS, and of published curves where the pictures are Kodak's."""
    from bench.compare import compare as tell

    print(tell(list(results), anchors))


@main.command()
@click.argument("results", type=RESULTS)
@click.argument("target", type=NEW)
def csv(results: Path, target: Path) -> None:
    """The points of RESULTS as comma-separated values in TARGET."""
    from bench.results import read, write_csv

    write_csv(read(results), target)


@main.command()
@click.argument("results", type=RESULTS)
@click.argument("target", type=NEW)
@click.option("--what", type=click.Choice(["rd", "speed"]), default="rd", show_default=True)
def plot(results: Path, target: Path, what: str) -> None:
    """The plot of RESULTS as TARGET, .png or .svg, and its dark form beside it."""
    from bench.plot import rd_plot, speed_plot
    from bench.results import read

    {"rd": rd_plot, "speed": speed_plot}[what](read(results), target)


@main.command()
@click.option("--project", default=ROOT, type=FOLDER, help="Default is this one.")
def readme(project: Path) -> None:
    """Put the committed results into docs: the tables, the plots and the picture."""
    from bench.compare import ladder_table, speed_table, table
    from bench.demo import poster
    from bench.effort import effort_table
    from bench.plot import frontier_plot, ladder_plot, rd_plot, speed_plot
    from bench.results import read
    from bench.web import web_table

    folder = project / "bench" / "results"
    makers = {"table": table, "speed-table": speed_table, "effort-table": effort_table, "ladder-table": ladder_table}
    makers["web-table"] = web_table
    mark = re.compile(
        r"(<!-- table: python -m bench (\S+) bench/results/(\S+) -->\n).*?(?=<!-- end of table -->)", flags=re.DOTALL
    )
    for page in (project / "docs").rglob("*.md"):
        text = mark.sub(lambda found: f"{found[1]}{makers[found[2]](read(folder / found[3]))}\n", page.read_text())
        page.write_text(text)
    rates, speeds = read(folder / "kodak.jsonl"), read(folder / "speed.jsonl")
    rd_plot(rates, project / "docs" / "rd-kodak.svg")
    speed_plot(speeds, project / "docs" / "speed.svg")
    frontier_plot(rates, speeds, project / "docs" / "frontier.svg")
    ladder_plot(read(folder / "ladder.jsonl"), project / "docs" / "ladder.svg")
    poster(DEMONSTRATION, project / "docs" / "side-by-side.png", POSTER_QUALITY)


@main.command("web-demo")
@click.argument("target", type=NEW)
def web_demo(target: Path) -> None:
    """The page of web/dist that compares pictures (make web), as a browser shows it, to the JPEG file TARGET."""
    from bench.page import draw

    draw(ROOT / "web" / "dist", DEMONSTRATION, target)


@main.command()
@click.argument("results", type=RESULTS, nargs=-1, required=True)
@click.option("--html", "target", required=True, type=NEW, help="The page.")
@click.option(
    "--images", type=FOLDER, help="Pictures to look at, the first 3; default is the demonstration photograph."
)
@click.option("-q", "--quality", default=50.0, show_default=True, help="Of these pictures, 1..100.")
@ANCHORS
def report(
    results: tuple[Path, ...], target: Path, images: Path | None, quality: float, anchors: tuple[str, ...]
) -> None:
    """One self-contained HTML page: curves, BD-rates, speed, and pictures at equal bytes."""
    from bench.rd import pictures_in
    from bench.report import write

    pictures = pictures_in(images)[:3] if images else [DEMONSTRATION]
    write(list(results), pictures, target, quality=quality, anchors=anchors)
    click.echo(f"wrote {target}, {target.stat().st_size / 1e6:.1f} MB")


@main.command()
@click.option("--codecs", default="all", show_default=True, help="Names with commas.")
@click.option("--sizes", default="0.4,2,12,48", show_default=True, help="Megapixels, with commas.")
@click.option("--threads", default="1,all", show_default=True)
@click.option("--runs", default=5, show_default=True, type=click.IntRange(1), help="Warm ones; fewer after 30 s.")
@click.option("--device", default="cpu", show_default=True, type=click.Choice(["cpu", "cuda"]))
@OUT
def speed(codecs: str, sizes: str, threads: str, runs: int, device: str, out: Path | None) -> None:
    """Time of encoding and decoding by stage, and memory; on CUDA pictures per second, one and several at once."""
    from bench.speed import NAMES, SIZES, run

    if device == "cuda":
        import torch

        if torch.cuda.is_available():
            from bench import gpu

            gpu.run(runs, _command(), _file(out, "gpu"))
            return
        click.echo("no CUDA device is available: measuring on the CPU", err=True)
    for size in sizes.split(","):
        if size not in SIZES:
            raise click.ClickException(f"size must be one of {', '.join(SIZES)}, got {size}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    counts = sorted({cores if count == "all" else int(count) for count in threads.split(",")})
    names = list(NAMES) if codecs == "all" else codecs.split(",")
    run(names, sizes.split(","), counts, runs, _command(), _file(out, "speed"))


@main.command()
@click.argument("pictures", nargs=-1, type=RESULTS)
@click.option("--sizes", default="768x512,1920x1080", show_default=True, help="WIDTHxHEIGHT, with commas.")
@click.option("--runs", default=5, show_default=True, type=click.IntRange(1), help="Warm ones of each picture.")
@OUT
def web(pictures: tuple[Path, ...], sizes: str, runs: int, out: Path | None) -> None:
    """Time of decoding in Chromium by web/dist, beside its own AVIF and WebP and the library.

    Of PICTURES, files or folders, cut and reduced to each size; default is the demonstration photograph.
    """
    from bench.web import run

    if not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}(,[1-9]\d{0,4}x[1-9]\d{0,4})*", sizes):
        raise click.ClickException(f"sizes must be WIDTHxHEIGHT, with commas, got {sizes}")
    wanted = [(int(width), int(height)) for width, height in (size.split("x") for size in sizes.split(","))]
    run(list(pictures) or [DEMONSTRATION], wanted, runs, _command(), _file(out, "web"))


@main.command()
@click.argument("results", type=RESULTS)
def web_table(results: Path) -> None:
    """The Markdown table of RESULTS of web: milliseconds and megapixels per second."""
    from bench import web
    from bench.results import read

    print(web.web_table(read(results)))


@main.command(hidden=True)
@click.argument("name")
@click.argument("direction")
@click.argument("source", type=NEW)
@click.argument("target", type=NEW)
@click.argument("runs", type=int)
@click.argument("threads", type=int)
@click.argument("started", type=float)
def once(name: str, direction: str, source: Path, target: Path, runs: int, threads: int, started: float) -> None:
    """What speed starts in a process of its own."""
    if hasattr(os, "sched_setaffinity"):  # some codecs ask the system how many threads to start
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    from bench.once import measure

    print(json.dumps(measure(name, direction, source, target, runs, started)))


@main.command()
@click.option("--images", required=True, type=FOLDER)
@click.option("--device", default="cpu", show_default=True)
def scale(images: Path, device: str) -> None:
    """Whether bytes and PSNR rise with quality on every picture; exit code 1 where they do not."""
    from bench.rd import pictures_in
    from bench.scale import run

    if not run(pictures_in(images), device):
        raise SystemExit(1)


@main.command()
@click.option("--images", required=True, type=FOLDER)
@click.option("--middle", type=click.IntRange(min=1), help="Only so many pixels in the middle, in both directions.")
def lossless(images: Path, middle: int | None) -> None:
    """Files without loss, and with a bound of it, beside PNG, WebP and JPEG XL."""
    from bench.lossless import run
    from bench.rd import pictures_in

    run(pictures_in(images), middle)


@main.command()
@click.option("--steps", default=30, show_default=True)
@click.option("--model", default="m", show_default=True)
@click.option("--batch", default=8, show_default=True)
@click.option("--patch", default=192, show_default=True)
@click.option("--precision", default="auto", show_default=True)
@click.option("--device", default="auto", show_default=True)
def training(steps: int, device: str, **settings: Any) -> None:
    """Mpx/s of training, its share of the machine's peak, and the loader's share of a step."""
    from aecodec.train import TrainConfig
    from bench.trainer import run

    run(TrainConfig(**settings), steps, device)


@main.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--out", default=Path("demo"), type=NEW, show_default=True)
@click.option("-q", "--quality", default=50.0, show_default=True)
def demo(source: Path, out: Path, quality: float) -> None:
    """A photograph through aecodec and through JPEG of the same size."""
    from bench.demo import run

    run(source, out, quality)


@main.command()
@click.argument("shards", nargs=-1, required=True, type=RESULTS)
@click.option("--model", default="m", show_default=True)
@click.option(
    "--pictures", default=2000, show_default=True, help="How many are searched; a peer is fitted to the others."
)
@click.option(
    "--queries", type=click.IntRange(1), default=500, show_default=True, help="About how many of them are copied."
)
@click.option("--effort", default=0, show_default=True, help="Of encoding pictures and copies.")
def search(shards: tuple[Path, ...], model: str, pictures: int, queries: int, effort: int) -> None:
    """How often copies of pictures in SHARDS, tar files, are found again, beside PCA of pixels."""
    from bench.search import measure

    measure(shards, model, pictures, queries, effort)


@main.command()
@click.argument("shards", nargs=-1, required=True, type=RESULTS)
@click.option("--model", default="m", show_default=True)
@click.option("--pictures", default=2000, show_default=True, help="How many are left for search to measure.")
@click.option("--out", required=True, type=NEW, help="aecodec/data/search-MODEL.safetensors is the shipped one.")
def fit_search(shards: tuple[Path, ...], model: str, pictures: int, out: Path) -> None:
    """Make the head of embeddings of a model, from pictures in SHARDS, tar files: a few minutes."""
    from bench.search import fit

    fit(shards, model, out, pictures)


@main.command()
@click.option("--model", default="m", show_default=True)
@click.option("--fitted", type=click.IntRange(2), default=30, show_default=True, help="Good pictures to fit to.")
@click.option("--count", type=click.IntRange(4), default=24, show_default=True, help="Good and bad ones, each.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Another one draws other pictures.")
@click.option("--picture", type=NEW, help="Draw some of them with their heatmaps instead.")
def anomalies(model: str, fitted: int, count: int, seed: int, picture: Path | None) -> None:
    """How well defects are found on surfaces, of which three are in scikit-image, beside reconstruction errors."""
    from bench.anomalies import draw, measure

    if picture is not None:
        draw(picture, model, fitted, seed)
        return
    measure(model, fitted, count, seed)


def _fitting(command: Callable[..., None]) -> Callable[..., None]:
    """What commands take that train a head."""
    for option in (
        click.argument("shards", nargs=-1, required=True, type=RESULTS),
        click.option("--model", default="m", show_default=True),
        click.option("--out", required=True, type=NEW, help="aecodec/data/TASK-MODEL.safetensors is the shipped one."),
        click.option("--minutes", default=15.0, show_default=True, type=click.FloatRange(0), help="Of one core."),
        click.option("--init", "start", type=RESULTS, help="A head to go on from, of these or older weights."),
    ):
        command = option(command)
    return command


@main.command()
@_fitting
def fit_denoise(**options: Any) -> None:
    """Train the head that cleans, on pictures in SHARDS with noise."""
    from bench.heads import fit

    fit(task="denoise", **options)


@main.command()
@_fitting
def fit_upscale(**options: Any) -> None:
    """Train the head that enlarges, on pictures in SHARDS reduced by two."""
    from bench.heads import fit

    fit(task="upscale", **options)


_PICTURES = click.argument("pictures", nargs=-1, required=True, type=RESULTS)
_MIDDLE = click.option("--middle", type=click.IntRange(64), help="Only what lies in the middle, at most this square.")


_STRIP = click.option("--picture", type=NEW, help="Only show what becomes of the first one, side by side.")


@main.command()
@_PICTURES
@_MIDDLE
@_STRIP
@click.option("--sigmas", default="15,25,50", show_default=True, help="Of the noise, in levels of 255, with commas.")
def denoise(pictures: tuple[Path, ...], middle: int | None, sigmas: str, picture: Path | None) -> None:
    """PSNR of PICTURES, files or folders, with noise and without, beside non-local means; rate that cleaning saves."""
    from bench.enhance import denoising

    denoising(list(pictures), middle, [float(sigma) for sigma in sigmas.split(",")], picture)


@main.command()
@_PICTURES
@_MIDDLE
@_STRIP
@click.option("--qualities", default="100,90,75", show_default=True, help="Of the files that are enlarged.")
def upscale(pictures: tuple[Path, ...], middle: int | None, qualities: str, picture: Path | None) -> None:
    """PSNR of PICTURES, files or folders, reduced by two, coded and enlarged, beside bicubic enlargement."""
    from bench.enhance import enlarging

    enlarging(list(pictures), middle, [float(quality) for quality in qualities.split(",")], picture)


@main.command()
@click.argument("pictures", type=FOLDER)
@click.option("--train", required=True, type=RESULTS, help="Tar file of pictures that the steps are trained on.")
@click.option("--out", required=True, type=NEW, help="Folder of ladder.jsonl and plots. What it holds is not repeated.")
@click.option("--only", default="", help="Names of steps, with commas.")
@click.option("--steps", default=300, show_default=True, type=click.IntRange(1), help="Length of each training.")
@click.option("--middle", default=512, show_default=True, type=click.IntRange(64), help="Side of what is measured.")
def ladder(pictures: Path, train: Path, out: Path, only: str, steps: int, middle: int) -> None:
    """From PCA to aecodec: autoencoders trained on few pictures, and what each needs in bits for PICTURES."""
    from bench.ladder import run

    run(pictures, train, out, [name for name in only.split(",") if name], steps, middle, _command())
