"""A made set of surfaces with and without defects: three CC0 photographs of scikit-image's data, and drawn ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

SIDE = 192  # pixels of each picture
_LARGE = 2  # what is drawn is drawn so many times as large: edges are smooth
_BORDER = 0.6  # of a photograph's height: good pictures to fit to are above it, all others below
Rng = np.random.Generator


class Sample(NamedTuple):
    """A picture, and where it is wrong."""

    image: Image.Image  # RGB, SIDE x SIDE
    mask: NDArray[np.bool_]  # [SIDE, SIDE]
    defect: str  # empty for a good one


def _photograph(name: str) -> Callable[[Rng, bool], Image.Image]:
    """Cuts of a photograph of 512x512 pixels, mirrored or not: those to fit to show nothing of the others."""

    def cut(rng: Rng, fitting: bool) -> Image.Image:
        with resources.as_file(resources.files("skimage") / "data" / f"{name}.png") as path:
            photo = Image.open(path).convert("RGB")
        border = round(_BORDER * photo.height)
        low, high = (0, border - SIDE) if fitting else (border, photo.height - SIDE)
        left, top = int(rng.integers(0, photo.width - SIDE + 1)), int(rng.integers(low, high + 1))
        image = photo.crop((left, top, left + SIDE, top + SIDE))
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image

    return cut


def _woven(rng: Rng, _: bool) -> Image.Image:
    """Threads over and under each other."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    x, y = x + rng.uniform(0, 24), y + rng.uniform(0, 24) + 1.5 * np.sin(x / 40 + rng.uniform(0, 6))
    over = (x // 12 + y // 12) % 2 < 1
    thread = np.where(over, np.sin(np.pi * (y % 12) / 12), np.sin(np.pi * (x % 12) / 12))
    light = 0.35 + 0.5 * thread + rng.normal(0, 0.03, (SIDE, SIDE))
    return _tinted(light, (0.55, 0.75, 1.0))


def _wood(rng: Rng, _: bool) -> Image.Image:
    """Rings of a tree, cut along."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    bend = _smooth(rng, 48) * 14 + rng.uniform(0, 100)
    rings = np.abs(np.sin((x + bend) / 9)) ** 0.7
    fibers = np.asarray(Image.fromarray(rng.normal(0, 1, (SIDE // 16, SIDE))).resize((SIDE, SIDE)))
    return _tinted(0.55 + 0.25 * rings + 0.05 * fibers + 0.0 * y, (1.0, 0.72, 0.45))


def _studs(rng: Rng, _: bool) -> Image.Image:
    """Rows of round heads on a brushed plate."""
    image = _drawn(np.asarray(Image.fromarray(rng.normal(0.62, 0.05, (SIDE, 12))).resize((SIDE, SIDE))), rng)
    for x, y in _grid(rng, 32, 1.0):
        _disc(image, x, y, 8, 70)
        _disc(image, x - 1.5, y - 1.5, 5.5, 190)
        _disc(image, x - 2.5, y - 2.5, 2, 240)
    return _finished(image)


def _circuit(rng: Rng, _: bool) -> Image.Image:
    """Pads in rows, joined by lines."""
    base = np.stack([0.12 + 0.0 * _smooth(rng, 32), 0.34 + 0.03 * _smooth(rng, 32), 0.2 + 0.02 * _smooth(rng, 32)], 2)
    base += rng.normal(0, 0.012, base.shape)
    image = _drawn(base, rng)
    draw = ImageDraw.Draw(image)
    places = _grid(rng, 24, 0.5)
    for x, y in places:
        draw.line([(_LARGE * x, _LARGE * y), (_LARGE * x, _LARGE * (y + 24))], fill=(70, 130, 80), width=3 * _LARGE)
        _disc(image, x, y, 6, (205, 170, 90))
        _disc(image, x, y, 2.5, (30, 40, 30))
    return _finished(image)


SURFACES: dict[str, Callable[[Rng, bool], Image.Image]] = {
    "brick": _photograph("brick"),
    "grass": _photograph("grass"),
    "gravel": _photograph("gravel"),
    "woven": _woven,
    "wood": _wood,
    "studs": _studs,
    "circuit": _circuit,
}


def scratch(image: Image.Image, mask: ImageDraw.ImageDraw, rng: Rng) -> None:
    """A bent line, lighter or darker, of 2 or 3 pixels."""
    angle, length = rng.uniform(0, np.pi), rng.uniform(50, 110)
    x, y = rng.uniform(50, SIDE - 50, 2)
    steps = np.linspace(-0.5, 0.5, 12) * length
    bend = rng.uniform(-20, 20) * (np.linspace(-1, 1, 12) ** 2)
    points = [
        (float(x + a * np.cos(angle) - b * np.sin(angle)), float(y + a * np.sin(angle) + b * np.cos(angle)))
        for a, b in zip(steps, bend, strict=True)
    ]
    mean = int(np.asarray(image).mean())
    level = int(np.clip(mean + rng.choice([-110, 110]), 5, 250))
    width = int(rng.integers(2, 4))
    ImageDraw.Draw(image).line(points, fill=(level, level, level), width=width)
    mask.line(points, fill=255, width=width)


def spot(image: Image.Image, mask: ImageDraw.ImageDraw, rng: Rng) -> None:
    """A stain with soft borders."""
    radius = rng.uniform(6, 14)
    x, y = rng.uniform(24, SIDE - 24, 2)
    box = [x - radius, y - 0.8 * radius, x + radius, y + 0.8 * radius]
    stain = Image.new("L", image.size)
    ImageDraw.Draw(stain).ellipse(box, fill=round(255 * rng.uniform(0.6, 0.9)))
    color = (40, 25, 15) if rng.random() < 0.5 else (235, 230, 220)
    image.paste(Image.new("RGB", image.size, color), mask=stain.filter(ImageFilter.GaussianBlur(1.5)))
    mask.ellipse(box, fill=255)


def missing(image: Image.Image, mask: ImageDraw.ImageDraw, rng: Rng) -> None:
    """A part that broke out, and the dark ground beneath it."""
    width, height = rng.uniform(14, 32, 2)
    left, top = rng.uniform(12, SIDE - 12 - width), rng.uniform(12, SIDE - 12 - height)
    points = [(left, top + 0.3 * height), (left + 0.4 * width, top), (left + width, top + 0.2 * height)]
    points += [(left + 0.9 * width, top + height), (left + 0.2 * width, top + 0.9 * height)]
    hole = Image.new("L", image.size)
    ImageDraw.Draw(hole).polygon(points, fill=255)
    ground = np.clip(rng.normal((46, 42, 40), 5, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    image.paste(Image.fromarray(ground), mask=hole.filter(ImageFilter.GaussianBlur(0.7)))
    mask.polygon(points, fill=255)


def discolored(image: Image.Image, mask: ImageDraw.ImageDraw, rng: Rng) -> None:
    """An area of another color that keeps what is drawn there."""
    radius = rng.uniform(14, 26)
    x, y = rng.uniform(30, SIDE - 30, 2)
    box = [x - radius, y - radius, x + radius, y + radius]
    area = Image.new("L", image.size)
    ImageDraw.Draw(area).ellipse(box, fill=255)
    shift = rng.choice([(40, -15, -25), (-30, 10, 35), (25, 25, -40)])
    tinted = np.clip(np.asarray(image, int) + shift, 0, 255).astype(np.uint8)
    image.paste(Image.fromarray(tinted), mask=area.filter(ImageFilter.GaussianBlur(2)))
    mask.ellipse(box, fill=255)


DEFECTS = {"scratch": scratch, "spot": spot, "missing": missing, "discolored": discolored}


def good(surface: str, count: int, seed: int, *, fitting: bool) -> Iterator[Sample]:
    """Pictures without defects, each lit a little otherwise."""
    rng = np.random.default_rng([seed, fitting, list(SURFACES).index(surface)])
    for _ in range(count):
        yield Sample(_lit(SURFACES[surface](rng, fitting), rng), np.zeros((SIDE, SIDE), bool), "")


def bad(surface: str, count: int, seed: int) -> Iterator[Sample]:
    """Pictures with a defect each, of all kinds in turn."""
    rng = np.random.default_rng([seed, 2, list(SURFACES).index(surface)])
    for at in range(count):
        image, mask = _lit(SURFACES[surface](rng, False), rng), Image.new("L", (SIDE, SIDE))
        defect = list(DEFECTS)[at % len(DEFECTS)]
        DEFECTS[defect](image, ImageDraw.Draw(mask), rng)
        yield Sample(image, np.asarray(mask) > 0, defect)


def _lit(image: Image.Image, rng: Rng) -> Image.Image:
    lit = np.asarray(image, float) * rng.uniform(0.93, 1.07) + rng.normal(0, 1.5, (SIDE, SIDE, 1))
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))


def _tinted(light: NDArray[np.float64], color: tuple[float, float, float]) -> Image.Image:
    return Image.fromarray(np.clip(255 * light[:, :, None] * color, 0, 255).astype(np.uint8))


def _smooth(rng: Rng, step: int) -> NDArray[np.float64]:
    """Noise of one deviation or so that changes over so many pixels."""
    coarse = Image.fromarray(rng.normal(0, 1, (SIDE // step + 2,) * 2))
    return np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), float)


def _grid(rng: Rng, step: int, jitter: float) -> list[tuple[float, float]]:
    """Places in rows, over the borders as well."""
    x0, y0 = rng.uniform(-step, 0, 2)
    places = np.mgrid[0 : SIDE // step + 3, 0 : SIDE // step + 3].reshape(2, -1).T * step + (x0, y0)
    return [(float(x), float(y)) for x, y in places + rng.normal(0, jitter, places.shape)]


def _drawn(light: NDArray[np.float64], rng: Rng) -> Image.Image:
    light = light if light.ndim == 3 else np.repeat(light[:, :, None] + rng.normal(0, 0.015, (SIDE, SIDE, 1)), 3, 2)
    return Image.fromarray(np.clip(255 * light, 0, 255).astype(np.uint8)).resize((_LARGE * SIDE,) * 2)


def _disc(image: Image.Image, x: float, y: float, radius: float, color: int | tuple[int, int, int]) -> None:
    box = [_LARGE * edge for edge in (x - radius, y - radius, x + radius, y + radius)]
    ImageDraw.Draw(image).ellipse(box, fill=color if isinstance(color, tuple) else (color,) * 3)


def _finished(image: Image.Image) -> Image.Image:
    return image.resize((SIDE, SIDE), Image.Resampling.BOX)
