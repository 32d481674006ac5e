"""Drawn pictures for training: pages, interfaces, icons, charts, maps, pixel art, as PNG files of SIDE x SIDE pixels.

    python -m aecodec.train.drawn drawn/ --count 300

Pages are the HTML of installed packages (Debian: python3-doc, git-doc, postgresql-doc, ...), icons their SVG files
(adwaita-icon-theme, tango-icon-theme, ...), both rendered by headless Chromium, as are interfaces; fonts are those that
are installed. Everything is drawn from one seed, so the same packages give the same pictures.
"""

from __future__ import annotations

import html
import io
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from aecodec.errors import CodecError, InputError
from aecodec.train.data import SIDE

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
# Pictures of these are what others test codecs with: nothing of them is drawn.
LEFT_OUT = re.compile(r"/R/|/r-|developers-reference|darktable|jabref|jupyterlab|godot|plasma-workspace", re.I)
FONTS = ("sans-serif", "serif", "monospace", "DejaVu Sans", "Liberation Serif", "Noto Sans", "Cantarell", "Ubuntu")
WORDS = ("open", "save", "copy", "search", "layer", "total", "month", "value", "status", "error", "view", "size")
PATIENCE = 120.0  # seconds for one picture
RANGE = 1200  # pixels of a rendered window are half to one and a half times as many

# No scripts, no network, and no sandbox, for which containers have no rights.
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND")
_NO_SCRIPTS = """<meta http-equiv="Content-Security-Policy" content="script-src 'none'">"""

Rng = np.random.Generator


class Sources(NamedTuple):
    """What is rendered by the browser; paths in the order of their names."""

    browser: str
    pages: list[Path]
    icons: list[Path]


def draw(kind: str, seed: Sequence[int], sources: Sources | None) -> Image.Image:
    """One picture of SIDE x SIDE of a kind. Raises InputError where the kind needs sources and there are none."""
    rng = np.random.default_rng(seed)
    if kind in RENDERED:
        if sources is None:
            raise InputError(f"{kind} needs a browser and HTML or SVG files to show")
        image = RENDERED[kind](rng, sources)
    else:
        image = DRAWN[kind](rng)
    return _busy_crop(rng, image.convert("RGB"))


def find_sources(kinds: Sequence[str], pages: Path, icons: Path) -> Sources | None:
    """What the kinds need, None if nothing. Raises InputError that names what is missing."""
    if not set(kinds) & set(RENDERED):
        return None
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise InputError(f"{', '.join(RENDERED)} need one of {', '.join(BROWSERS)} (Debian: chromium-headless-shell)")
    found = Sources(browser, _files(pages, ".html"), _files(icons, ".svg"))
    if "page" in kinds and not found.pages:
        raise InputError(f"no HTML in {pages}: install some documentation (Debian: python3-doc)")
    if "icons" in kinds and not found.icons:
        raise InputError(f"no SVG in {icons}: install an icon theme (Debian: adwaita-icon-theme)")
    return found


def _files(folder: Path, suffix: str) -> list[Path]:
    return sorted(path for path in folder.rglob(f"*{suffix}") if path.is_file() and not LEFT_OUT.search(str(path)))


def _busy_crop(rng: Rng, image: Image.Image) -> Image.Image:
    """Of eight places the first that shows something, else the one that shows most."""
    best, most = image, -1.0
    for _ in range(8):
        left, top = (int(rng.integers(length - SIDE + 1)) for length in image.size)
        crop = image.crop((left, top, left + SIDE, top + SIDE))
        edges = np.abs(np.diff(np.asarray(crop.convert("L")).astype(np.int16), axis=1)) > 16
        if edges.mean() > most:
            best, most = crop, float(edges.mean())
        if most > 0.02:
            break
    return best


# Rendered by the browser


def _page(rng: Rng, sources: Sources) -> Image.Image:
    path = sources.pages[rng.integers(len(sources.pages))]
    text = path.read_bytes().decode("utf-8", "replace")
    return _render(rng, sources.browser, f'<base href="{path.as_uri()}">{_theme(rng)}{text}')


def _icons(rng: Rng, sources: Sources) -> Image.Image:
    """Rows of icons in sizes of 16 to 128 pixels."""
    side = int(rng.choice([16, 22, 24, 32, 48, 64, 96, 128]))
    chosen = rng.choice(len(sources.icons), min(len(sources.icons), 4 * (RANGE // (side + 8))))
    images = "".join(f'<img src="{html.escape(sources.icons[i].as_uri())}" height={side}> ' for i in chosen)
    return _render(rng, sources.browser, f'{_theme(rng)}<p style="line-height:{side + 12}px">{images * 9}</p>')


def _interface(rng: Rng, sources: Sources) -> Image.Image:
    """Windows of buttons, fields, lists and tables."""

    def words(most: int) -> str:
        return " ".join(rng.choice(WORDS, rng.integers(1, most + 1))).capitalize()

    def row(tag: str, columns: int) -> str:
        cells = (words(2) if rng.random() < 0.6 else f"{rng.normal(0, 1000):.2f}" for _ in range(columns))
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"

    parts = []
    for _ in range(rng.integers(10, 20)):
        parts.append("<p>" + "".join(f"<button>{words(2)}</button> " for _ in range(rng.integers(2, 9))))
        fields = ("checkbox", "radio", "text", "range", "date", "color", "number")
        inputs = (f'<input type={kind} value="{rng.integers(99)}">' for kind in rng.choice(fields, 6))
        parts += [f"<label>{words(2)} {field}</label> " for field in inputs]
        parts.append(f"<progress value={rng.random():.2f}></progress> <select><option>{words(3)}</select>")
        columns = int(rng.integers(3, 9))
        rows = "".join(row("td", columns) for _ in range(rng.integers(2, 9)))
        parts.append(f"<fieldset><legend>{words(3)}</legend><table>{row('th', columns)}{rows}</table></fieldset>")
    border = f"<style>td,th{{border:{rng.integers(3)}px solid gray;padding:{rng.integers(8)}px}}</style>"
    return _render(rng, sources.browser, _theme(rng) + border + "".join(parts))


def _theme(rng: Rng) -> str:
    """A style sheet: font, size, and in half of the cases colors, dark or light."""
    style = f"font-family:{rng.choice(FONTS)};font-size:{rng.integers(9, 22)}px;"
    if rng.random() < 0.5:
        dark = rng.random() < 0.5
        low, high = (rng.integers(*limits, 3) for limits in ((0, 70), (170, 256)))
        paper, ink = (
            f"rgb({','.join(map(str, color))}) !important;" for color in ((low, high) if dark else (high, low))
        )
        style += f"background:{paper}color:{ink}color-scheme:{'dark' if dark else 'light'};"
    return f"<meta charset=utf-8><style>html,body{{{style}}}</style>"


def _render(rng: Rng, browser: str, text: str) -> Image.Image:
    """A window of the page, at a zoom of its own, with or without subpixels."""
    zoom = float(rng.choice([1, 1, 1, 1.25, 1.5, 2]))
    width, height = (round(RANGE * rng.uniform(0.5, 1.5) / zoom) for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        page, shot = Path(folder, "page.html"), Path(folder, "shot.png")
        page.write_text(f"<!doctype html>{_NO_SCRIPTS}{text}", encoding="utf-8", errors="replace")
        options = (
            f"--user-data-dir={folder}/profile",
            f"--force-device-scale-factor={zoom}",
            f"--window-size={max(width, SIDE)},{max(height, SIDE)}",
            f"--{rng.choice(['enable', 'disable'])}-lcd-text",
            f"--font-render-hinting={rng.choice(['none', 'slight', 'full'])}",
            f"--screenshot={shot}",
        )
        try:
            done = subprocess.run(  # noqa: S603 - a browser that find_sources chose
                [browser, *_FLAGS, *options, page.as_uri()], capture_output=True, timeout=PATIENCE, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise CodecError(f"{browser} made no picture in {PATIENCE} s") from error
        if not shot.exists():
            raise CodecError(f"{browser} made no picture: {done.stderr.decode(errors='replace').strip()[-300:]}")
        return Image.open(io.BytesIO(shot.read_bytes()))


# Drawn here


def _chart(rng: Rng) -> Image.Image:
    """One to four charts, in one of matplotlib's styles."""
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context(str(rng.choice([name for name in sorted(style.available) if not name.startswith("_")]))):
        dpi = int(rng.integers(60, 160))
        figure = Figure(figsize=tuple(rng.uniform(700, 1400, 2) / dpi), dpi=dpi)
        for axes in np.ravel(figure.subplots(*rng.integers(1, 3, 2))):
            _plot(rng, axes)
        file = io.BytesIO()
        figure.savefig(file, dpi=dpi)
        return Image.open(file)


def _plot(rng: Rng, axes: Any) -> None:
    x = np.arange(rng.integers(5, 60))
    series = [np.cumsum(rng.normal(size=len(x))) for _ in range(rng.integers(1, 6))]
    kind = rng.choice(["line", "bar", "scatter", "image", "pie", "step", "fill"])
    for index, y in enumerate(series):
        name = str(rng.choice(WORDS))
        if kind == "bar":
            axes.bar(x[:12] + index / 6, np.abs(y[:12]), 1 / 6, label=name)
        elif kind == "scatter":
            marker = str(rng.choice(list("osx+^D")))
            axes.scatter(y, rng.normal(size=len(x)), rng.integers(4, 80), label=name, marker=marker)
        elif kind == "fill":
            axes.fill_between(x, y, y - 1, alpha=0.5, label=name)
        elif kind in ("line", "step"):
            steps = "steps" if kind == "step" else None
            axes.plot(x, y, str(rng.choice(["-", "--", ":", "o-"])), drawstyle=steps, label=name)
    if kind == "image":
        axes.imshow(np.outer(series[0], series[-1]), cmap=str(rng.choice(["viridis", "gray", "jet", "RdBu", "magma"])))
    elif kind == "pie":
        axes.pie(np.abs(series[0][:7]) + 0.1, labels=list(rng.choice(WORDS, len(x[:7]))), autopct="%.0f %%")
    else:
        axes.grid(rng.random() < 0.5)
        axes.legend(loc="best")
    axes.set_title(" ".join(rng.choice(WORDS, 3)))


def _map(rng: Rng) -> Image.Image:
    """Land and water by height, contours, roads with casings, names."""
    side, cells = 1024, int(rng.integers(4, 10))
    octaves = (rng.normal(0, 1 / k, (cells * k, cells * k)).astype(np.float32) for k in (1, 2, 4))
    field = sum(np.asarray(Image.fromarray(octave).resize((side, side))) for octave in octaves)
    levels = np.quantile(field, np.linspace(0, 1, int(rng.integers(4, 12)) + 1)[1:-1])
    zones = np.searchsorted(levels, field)
    palette = np.sort(rng.integers(120, 256, (len(levels) + 1, 3)), axis=0)
    pixels = palette[zones].astype(np.uint8)
    pixels[:, 1:][np.diff(zones, axis=1) != 0] = rng.integers(60, 160, 3)
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    for _ in range(rng.integers(5, 25)):
        points = np.cumsum(rng.normal(0, 60, (30, 2)), axis=0) + rng.integers(0, side, 2)
        line, width = [tuple(point) for point in points], int(rng.integers(2, 9))
        pen.line(line, "dimgray", width + 2, "curve")
        pen.line(line, str(rng.choice(["white", "gold", "tomato", "lightgray"])), width, "curve")
    for _ in range(40):
        place = tuple(rng.integers(0, side, 2).tolist())
        font = ImageFont.load_default(int(rng.integers(9, 28)))
        pen.text(place, str(rng.choice(WORDS)).title(), "black", font, stroke_width=1, stroke_fill="white")
    return image


def _pixel_art(rng: Rng) -> Image.Image:
    """Symmetrical figures of few colors on a board of plain and patterned fields, each pixel 2 to 8 wide."""
    palette = rng.integers(0, 256, (int(rng.integers(4, 17)), 3), dtype=np.uint8)
    cell, zoom = int(rng.choice([8, 12, 16, 24])), int(rng.integers(2, 9))
    blocks = rng.integers(len(palette), size=(6, cell // 2, cell // 4)) * (rng.random((6, cell // 2, cell // 4)) < 0.6)
    half = blocks.repeat(2, 1).repeat(2, 2)
    fields = np.concatenate((half, half[:, :, ::-1]), 2)  # [6, cell, cell]
    fields[:3] = fields[:3, :1, :1]
    cells = -(-SIDE // (cell * zoom))
    board = rng.integers(len(fields), size=(cells, cells))
    pixels = palette[fields[board].transpose(0, 2, 1, 3).reshape(cells * cell, -1)]
    return Image.fromarray(pixels.repeat(zoom, 0).repeat(zoom, 1))


RENDERED = {"page": _page, "interface": _interface, "icons": _icons}
DRAWN = {"chart": _chart, "map": _map, "pixels": _pixel_art}
KINDS = (*RENDERED, *DRAWN)


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(min=1), default=300, show_default=True, help="Pictures in all.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Some of the kinds.  [default: all]")
@click.option("--pages", type=click.Path(path_type=Path), default="/usr/share/doc", show_default=True, help="HTML.")
@click.option("--icons", type=click.Path(path_type=Path), default="/usr/share/icons", show_default=True, help="SVG.")
def run(out: Path, count: int, seed: int, kinds: tuple[str, ...], pages: Path, icons: Path) -> None:
    """Draw pictures into the folder OUT, as many of each kind."""
    kinds = kinds or KINDS
    try:
        sources = find_sources(kinds, pages, icons)
        out.mkdir(parents=True, exist_ok=True)
        for index in tqdm(range(count), desc="drawing"):
            kind = kinds[index % len(kinds)]
            draw(kind, (seed, index), sources).save(out / f"{kind}-{index:05d}.png")
    except CodecError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    run()
