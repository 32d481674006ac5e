"""The benchmark commands."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)
SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


@click.group()
def main() -> None:
    """Measure aecodec beside other codecs."""


def list_images(folder: Path) -> list[Path]:
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not pictures:
        raise click.ClickException(f"no pictures in {folder}")
    return pictures


@main.command()
@click.option("--images", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--codecs", default="aecodec,jpeg,webp,avif", show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--out", type=PATH, help="JSON file for all points.")
def rd(images: Path, codecs: str, device: str, out: Path | None) -> None:
    """Bits per pixel and quality of whole files, mean over a folder of pictures."""
    from bench.codecs import peers
    from bench.rd import run, table

    pictures = list_images(images)
    options = ["--images", images.name, "--codecs", codecs, "--device", device]
    command = shlex.join(["python", "-m", "bench", "rd", *options])
    results = run(peers(tuple(codecs.split(",")), device), pictures, command)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


@main.command()
@click.argument("results", type=click.Path(exists=True, path_type=Path))
def table(results: Path) -> None:
    """The Markdown table of a results file."""
    from bench import rd as figures

    print(figures.table(json.loads(results.read_text())))


@main.command()
@click.argument("results", type=click.Path(exists=True, path_type=Path))
@click.argument("target", type=PATH)
def plot(results: Path, target: Path) -> None:
    """The rate-distortion plot of a results file, as .png or .svg."""
    from bench.plot import rd_plot

    rd_plot(json.loads(results.read_text()), target)


@main.command()
@click.option("--runs", default=5, show_default=True)
def speed(runs: int) -> None:
    """Time of encoding and decoding, and memory."""
    from bench.speed import run

    run(runs)


@main.command()
@click.option("--images", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--device", default="cpu", show_default=True)
def scale(images: Path, device: str) -> None:
    """Whether bytes and PSNR rise with quality on every picture; exit code 1 where they do not."""
    from bench.scale import run

    if not run(list_images(images), device):
        raise SystemExit(1)


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
@click.option("--out", default=Path("demo"), type=PATH, show_default=True)
@click.option("-q", "--quality", default=40.0, show_default=True)
def demo(source: Path, out: Path, quality: float) -> None:
    """A photograph through aecodec and through JPEG of the same size."""
    from bench.demo import run

    run(source, out, quality)
