"""The command that shows pictures: in the browser of this machine, or in the terminal."""

from __future__ import annotations

import html
import os
import re
import shutil
import sys
import tempfile
import time
import webbrowser
from base64 import b64encode
from contextlib import suppress
from importlib import resources
from io import BytesIO
from math import ceil, isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from aecodec import CodecError, InputError
from aecodec.cli.batch import check_failures
from aecodec.cli.codecs import small_picture
from aecodec.cli.files import open_data, read_picture
from aecodec.cli.folders import failure, plan, read_sources
from aecodec.cli.inspection import data_facts, file_lines
from aecodec.cli.options import codec_options
from aecodec.cli.reporter import printable, reason
from aecodec.cli.urls import Place
from aecodec.format.container import MAGIC
from aecodec.formats import picture_suffixes

if TYPE_CHECKING:  # --help is quick without Pillow
    from PIL import Image

_PAGE_PIXELS, _PAGE_SIDE = 2**26, 4096  # of all pictures of a page, and of the longest side of one
_PAGE_NAME, _PAGE_SECONDS = "aecodec-show-", 86_400  # pages of other days are removed
_CELL = 10, 20  # pixels of a character, where the terminal does not say
_CHUNK = 4096  # bytes of a command of kitty
_SIXEL_COLORS = 255


class Shown(NamedTuple):
    """A picture as a viewer sees it, reduced where it is large, and what there is to say of its file."""

    image: Image.Image
    facts: dict[str, Any]


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@click.option("--browser", "where", flag_value="browser", help="In the browser, as one page without a server.")
@click.option("--terminal", "where", flag_value="terminal", help="In the terminal.")
@codec_options
def show(words: tuple[str, ...], where: str | None, **options: Any) -> None:
    """Show .aec files and images. FILE may also be a folder; large pictures are reduced.

    In the browser where there is one (a display, or BROWSER in the environment), else in the terminal: by graphics of
    kitty, iTerm2 or sixel where its name is known to have them, else two pixels for each character, in 24 bits of
    color.

    \b
    aecodec show photo.aec
    aecodec show --terminal a.aec b.jpg
    """
    found = plan(read_sources(words), {".aec"} | picture_suffixes(), None, recursive=False)
    count, failed = len(found.jobs) + len(found.failed), found.failed.copy()
    way = protocol() if where == "terminal" or not (where or has_browser()) else "browser"
    box = page_box(len(found.jobs)) if way == "browser" else terminal_box(way)
    sections: list[str] = []
    for job in found.jobs:
        try:
            shown = read(job.source, box, options)
        except (CodecError, OSError, MemoryError) as error:
            if count == 1:
                raise
            failed.append(failure(job, reason(error)))
            continue
        if way == "browser":
            sections.append(section(len(sections), shown))
        else:
            name, size, weight = (printable(str(shown.facts[key])) for key in ("file", "size", "bytes"))
            click.echo(f"{name}: {size}, {weight.replace(',', ' bytes,')}")
            click.echo(DRAWN[way](shown.image), color=True)
    if sections:
        open_page("\n".join(sections))
    check_failures(failed, count)


def read(source: Place, box: tuple[int, int], options: dict[str, Any]) -> Shown:
    """A file reduced to a box, width and height. Raises what reading and decoding it raise."""
    with open_data(source) as data:
        if data[: len(MAGIC)] == MAGIC:
            image = small_picture(data, box, **options)
            return Shown(image, file_lines(data_facts(source, data, options["max_pixels"])))
        from aecodec.image import from_picture, upright

        picture = read_picture(source, data, max_pixels=options["max_pixels"])
        height, width, _ = picture.pixels.shape
        image = upright(from_picture(picture))
        image.thumbnail(box)
        bits = f"{len(data)}, {8 * len(data) / width / height:.4g} bits per pixel"
        return Shown(image, {"file": str(source), "size": f"{width} x {height} pixels", "bytes": bits})


# -- In the browser ---------------------------------------------------------------------------------------------------


def has_browser() -> bool:
    """Whether somebody would see a browser that is started here."""
    named = any(os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"))
    return named or (sys.platform in ("darwin", "win32") and "SSH_CONNECTION" not in os.environ)


def page_box(count: int) -> tuple[int, int]:
    side = min(_PAGE_SIDE, max(256, isqrt(_PAGE_PIXELS // max(count, 1))))
    return side, side


def section(number: int, shown: Shown) -> str:
    """What a page says of a picture; names are text there whatever is in them."""
    image = f"data:image/png;base64,{b64encode(png(shown.image)).decode()}"
    name = html.escape(printable(shown.facts["file"]))
    zooms = "".join(
        f'<input type="radio" name="z{number}" id="z{number}x{zoom}" class="x{zoom}"{" checked" * (not zoom)}>'
        f'<label for="z{number}x{zoom}">{f"{zoom}00 %" if zoom else "Fit"}</label>'
        for zoom in (0, 1, 2, 4)
    )
    rows = "".join(
        f"<tr><th>{html.escape(str(key))}</th><td>{html.escape(printable(str(value)))}</td></tr>"
        for key, value in (shown.facts | {"shown": f"{shown.image.width} x {shown.image.height} pixels"}).items()
    )
    return (
        f'<section style="--w: {shown.image.width}px"><h2>{name}</h2>{zooms}'
        f'<div tabindex="0"><img src="{image}" alt="{name}"></div><table>{rows}</table></section>'
    )


def png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG", compress_level=1, icc_profile=image.info.get("icc_profile"))
    return file.getvalue()


def open_page(sections: str) -> None:
    """Write the page and open it. Raises InputError if no browser does."""
    folder = Path(tempfile.gettempdir())
    for old in folder.glob(f"{_PAGE_NAME}*.html"):
        with suppress(OSError):  # another user's
            if old.stat().st_mtime < time.time() - _PAGE_SECONDS:
                old.unlink()
    page = (resources.files("aecodec.cli") / "show.html").read_text("utf-8").replace("$sections", sections)
    descriptor, name = tempfile.mkstemp(prefix=_PAGE_NAME, suffix=".html")  # for nobody else to read
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(page)
    if not webbrowser.open(Path(name).as_uri()):
        raise InputError(f"no browser opens {name} (BROWSER names one, --terminal needs none)")


# -- In a terminal ----------------------------------------------------------------------------------------------------


def protocol() -> str:
    """What the terminal can draw, by its name: whoever asks it would have to wait for an answer that may not come."""
    term, program = os.environ.get("TERM", ""), os.environ.get("TERM_PROGRAM", "")
    if (
        sys.stdout is None or not sys.stdout.isatty() or "TMUX" in os.environ or term.startswith("screen")
    ):  # which pass no graphics on
        return "blocks"
    if "KITTY_WINDOW_ID" in os.environ or "kitty" in term or "ghostty" in (term.removeprefix("xterm-"), program):
        return "kitty"
    if program in ("iTerm.app", "WezTerm", "mintty") or os.environ.get("LC_TERMINAL") == "iTerm2":
        return "iterm"
    return "sixel" if term.startswith(("foot", "mlterm", "contour")) or "sixel" in term else "blocks"


def terminal_box(way: str) -> tuple[int, int]:
    """Pixels that fit: of blocks one a column and two a line, with a line for the name and one for the prompt."""
    size = shutil.get_terminal_size()
    width, height = (1, 2) if way == "blocks" else cell()
    return size.columns * width, max(1, size.lines - 2) * height


def cell() -> tuple[int, int]:
    """Width and height of a character in pixels."""
    with suppress(ImportError, OSError, AttributeError, ValueError):
        import fcntl
        import struct
        import termios

        answer = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8))
        lines, columns, width, height = struct.unpack("4H", answer)
        if lines and columns and width >= columns and height >= lines:
            return width // columns, height // lines
    return _CELL


def blocks(image: Image.Image) -> str:
    """Each character is two pixels: the upper half in one color, on the other."""
    from aecodec.image import flatten

    flat = flatten(image).convert("RGB")
    data, row = flat.tobytes(), 3 * flat.width
    lines = []
    for y in range(0, flat.height, 2):
        upper, lower = data[y * row : (y + 1) * row], data[(y + 1) * row : (y + 2) * row]
        cells, colors = [], ""
        for x in range(0, row, 3):
            above = "38;2;{};{};{}".format(*upper[x : x + 3])
            below = "48;2;{};{};{}".format(*lower[x : x + 3]) if lower else "49"
            cells.append("▀" if colors == (colors := f"{above};{below}") else f"\x1b[{colors}m▀")
        lines.append("".join(cells) + "\x1b[0m")
    return "\n".join(lines)


def kitty(image: Image.Image) -> str:
    data = b64encode(png(image)).decode()
    parts = [data[i : i + _CHUNK] for i in range(0, len(data), _CHUNK)]
    first = f"f=100,a=T,q=2,c={ceil(image.width / cell()[0])},"
    commands = (
        f"\x1b_G{first if i == 0 else ''}m={int(i < len(parts) - 1)};{part}\x1b\\" for i, part in enumerate(parts)
    )
    return "".join(commands)


def iterm(image: Image.Image) -> str:
    data = png(image)
    width = f"width={ceil(image.width / cell()[0])}"
    return f"\x1b]1337;File=inline=1;size={len(data)};{width};preserveAspectRatio=1:{b64encode(data).decode()}\x07"


def sixel(image: Image.Image) -> str:
    """Six rows at a time, color after color."""
    import numpy as np

    from aecodec.image import flatten

    drawn = flatten(image).convert("RGB").quantize(_SIXEL_COLORS)
    palette = np.array(drawn.getpalette(), int).reshape(-1, 3) * 100 // 255
    registers = (f"#{i};2;{r};{g};{b}" for i, (r, g, b) in enumerate(palette))
    parts = [f'\x1bP0;1q"1;1;{drawn.width};{drawn.height}', *registers]
    pixels = np.asarray(drawn)
    for y in range(0, drawn.height, 6):
        band = pixels[y : y + 6]
        for color in np.unique(band):
            bits = ((band == color) << np.arange(len(band))[:, None]).sum(0).astype(np.uint8)
            row = re.sub(r"(.)\1{3,}", lambda run: f"!{len(run[0])}{run[1]}", (bits + 63).tobytes().decode())
            parts.append(f"#{color}{row}$")
        parts.append("-")
    return "".join(parts) + "\x1b\\"


DRAWN = {"blocks": blocks, "kitty": kitty, "iterm": iterm, "sixel": sixel}
