"""The commands that make pictures nobody took: sample, interpolate."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING

import click
from PIL import Image

import aecodec
from aecodec import InputError
from aecodec.cli.files import check_target, image_file, image_format, open_data, read_once, read_picture, replace_file
from aecodec.cli.options import MAX_PIXELS_OPTION, MODELS, PLACE, Range, reporting
from aecodec.cli.reporter import Reporter
from aecodec.cli.urls import Place
from aecodec.format.container import DEFAULT_QUALITY, MAGIC
from aecodec.formats import AEC

if TYPE_CHECKING:  # --help is quick without numpy
    from aecodec.tasks import Coded, Frame

ANIMATIONS = ("GIF", "WEBP")
QUALITY = click.option("-q", "--quality", type=Range(1, 100), default=DEFAULT_QUALITY, show_default=True)


def read_size(_: click.Context, __: click.Parameter, value: str) -> tuple[int, int]:
    """The value of --size."""
    found = re.fullmatch(r"(\d{1,6})x(\d{1,6})", value)
    if found is None:
        raise click.BadParameter(f"'{value}' is not WIDTHxHEIGHT in pixels")
    return int(found[1]), int(found[2])


@click.command()
@click.argument("target", type=PLACE)
@click.option("--size", callback=read_size, default="512x512", show_default=True, metavar="WxH", help="In pixels.")
@QUALITY
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another one, another picture.")
@click.option("--model", type=click.Choice(MODELS), default="m", show_default=True, help="Whose tables are drawn from.")
@MAX_PIXELS_OPTION
@reporting
@click.pass_obj
def sample(
    report: Reporter,
    /,
    target: Place,
    size: tuple[int, int],
    quality: float,
    seed: int,
    model: str,
    max_pixels: int,
) -> None:
    """Generate a picture from the entropy model. TARGET gets textures and abstract colors, and no more than that.

    Symbols are drawn as often as the tables of a file say, so the picture is what a decoder makes of random bits; a
    TARGET named .aec gets the file itself.

    \b
    aecodec sample texture.png --size 512x384 --seed 3
    aecodec sample texture.aec --quality 20
    """
    form = AEC if target.suffix.lower() == ".aec" else image_format(target)
    check_target(target, form)
    from aecodec import tasks

    data = tasks.sample_file(*size, quality=quality, seed=seed, model=model, max_pixels=max_pixels)
    content = data if form == AEC else image_file(aecodec.decode(data, max_pixels=max_pixels), form)
    replace_file(target, content)
    report.result(target, f"{size[0]}x{size[1]}, {8 * len(data) / size[0] / size[1]:.3f} bits per pixel as .aec")


@click.command()
@click.argument("a", type=PLACE)
@click.argument("b", type=PLACE)
@click.option("--out", "target", required=True, type=PLACE, help=".gif, .webp: an animation; others: a strip.")
@click.option("--frames", type=click.IntRange(min=2), default=16, show_default=True)
@click.option("--resize", is_flag=True, help="Give B the size of A.")
@click.option("--side", type=click.IntRange(min=8), help="Show frames with at most this many pixels per side.")
@click.option("--seconds", type=Range(0.1, 600), default=2.0, show_default=True, help="From A to B, in an animation.")
@QUALITY
@click.option("--model", type=click.Choice(MODELS), help="Of pictures that are no .aec files.  [default: as the other]")
@MAX_PIXELS_OPTION
@reporting
@click.pass_obj
def interpolate(
    report: Reporter,
    /,
    a: Place,
    b: Place,
    target: Place,
    frames: int,
    resize: bool,
    side: int | None,
    seconds: float,
    quality: float,
    model: str | None,
    max_pixels: int,
) -> None:
    """Interpolate between the codes of two pictures. A cross-fade of their pixels is shown beside it.

    A and B are .aec files or any pictures, which are encoded first. The codes of a codec say what is where, not what it
    is, so their blend is nearly a cross-fade.

    \b
    aecodec interpolate a.aec b.aec --frames 16 --out path.gif
    aecodec interpolate a.jpg b.jpg --resize --frames 6 --side 200 --out path.png
    """
    form = image_format(target)
    check_target(target, form, a, b)
    read_once(a, b)
    from aecodec import tasks

    steps = tasks.interpolate(
        *(_read(one, max_pixels) for one in (a, b)),
        frames=frames,
        quality=quality,
        model=model,
        resize=resize,
        max_pixels=max_pixels,
    )
    shown = _shown(steps, frames, side, report)
    if form in ANIMATIONS:
        images = list(map(tasks.side_by_side, shown))
        replace_file(target, _animation(images, form, round(1000 * seconds / (frames - 1))))
    else:
        replace_file(target, image_file(tasks.strip(shown), form))
    report.result(target, f"{frames} frames")


def _read(source: Place, max_pixels: int) -> Coded:
    """The bytes of a .aec file, or the picture of another one."""
    with open_data(source) as data:
        if data[: len(MAGIC)] == MAGIC:
            aecodec.read_header(data, max_pixels=max_pixels)  # so that what is wrong is told with the name
            return bytes(data)
        return read_picture(source, data, max_pixels=max_pixels, strip=True)


def _shown(frames: Iterator[Frame], count: int, side: int | None, report: Reporter) -> Iterator[Frame]:
    """Frames as they are made, with a progress bar, none larger than side."""
    hidden = report.quiet or sys.stderr is None or not sys.stderr.isatty()
    with click.progressbar(length=count, label="frames", file=sys.stderr, hidden=hidden, show_pos=True) as bar:
        for frame in frames:
            for image in frame:
                image.thumbnail((side or image.width, side or image.height), Image.Resampling.LANCZOS)
            yield frame
            bar.update(1)


def _animation(images: list[Image.Image], form: str, milliseconds: int) -> bytes:
    """There and back, without end."""
    file = BytesIO()
    rest = [*images[1:], *images[-2:0:-1]]
    options = {"method": 4, "quality": 90} if form == "WEBP" else {"optimize": True}
    try:
        images[0].save(file, form, save_all=True, append_images=rest, duration=milliseconds, loop=0, **options)
    except (OSError, ValueError) as error:
        raise InputError(
            f"frames of {images[0].width}x{images[0].height} cannot be written as {form}: {error}"
        ) from error
    return file.getvalue()
