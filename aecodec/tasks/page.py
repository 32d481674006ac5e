"""The map as a page for browsers, and as a picture."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from importlib import resources
from io import BytesIO
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aecodec.arguments import as_integer
from aecodec.errors import InputError

THUMBNAIL = 96  # pixels of the longer side
MOST = 5000  # pictures of one page
_CELLS = 20  # thumbnails per side of a sheet
_QUALITY = 80  # of sheets
_PAPER = (250, 250, 250)
_FILLED = 0.7  # share of a map that its thumbnails would cover side by side
_SMALLEST = 12  # pixels


class Point(NamedTuple):
    """A picture on the map."""

    name: str
    link: str  # where a click leads, relative to the page
    thumbnail: Image.Image  # RGB, at most THUMBNAIL pixels per side


def map_page(points: Sequence[Point], places: NDArray[np.float32], title: str) -> str:
    """One self-contained HTML page of points at places [n, 2], 0..1. Raises InputError for none and more than MOST."""
    _check(points, places)
    if len(points) > MOST:
        raise InputError(f"a page holds at most {MOST} pictures, got {len(points)}")
    rows = [
        [_shown(point.name), point.link, *np.round(place.astype(float), 5).tolist(), *point.thumbnail.size]
        for point, place in zip(points, places, strict=True)
    ]
    data = {"title": _shown(title), "cells": _CELLS, "side": THUMBNAIL, "points": rows, "sheets": _sheets(points)}
    template = (resources.files("aecodec") / "tasks" / "map.html").read_text("utf-8")
    text = json.dumps(data).replace("<", "\\u003c")  # no name ends the script
    return template.replace("$data", text)


def draw_map(points: Sequence[Point], places: NDArray[np.float32], side: int = 2048) -> Image.Image:
    """The map as a picture of side x side pixels, 256..8192. Raises InputError for another side, and as map_page."""
    _check(points, places)
    if not 256 <= as_integer("side", side) <= 8192:
        raise InputError(f"side must be 256..8192, got {side}")
    longest = int(np.clip(side * np.sqrt(_FILLED / len(points)), _SMALLEST, THUMBNAIL))
    sheet = Image.new("RGB", (side, side), _PAPER)
    for point, (x, y) in zip(points, places * (side - longest), strict=True):
        thumbnail = point.thumbnail.copy()
        thumbnail.thumbnail((longest, longest))
        left, top = (
            round(float(at) + (longest - length) / 2) for at, length in zip((x, y), thumbnail.size, strict=True)
        )
        sheet.paste(thumbnail, (left, top))
    return sheet


def _check(points: Sequence[Point], places: NDArray[np.float32]) -> None:
    if not points:
        raise InputError("a map needs at least one picture")
    if places.shape != (len(points), 2):
        raise InputError(f"{len(points)} pictures need as many places, got {list(places.shape)}")


def _shown(name: str) -> str:
    """A name as text: its bytes need not be UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _sheets(points: Sequence[Point]) -> list[str]:
    """Thumbnails side by side, as many per sheet as _CELLS allows: a browser is quicker with few pictures."""
    sheets = []
    for first in range(0, len(points), _CELLS**2):
        part = points[first : first + _CELLS**2]
        rows = -(-len(part) // _CELLS)
        sheet = Image.new("RGB", (_CELLS * THUMBNAIL, rows * THUMBNAIL), _PAPER)
        for cell, point in enumerate(part):
            sheet.paste(point.thumbnail, (cell % _CELLS * THUMBNAIL, cell // _CELLS * THUMBNAIL))
        file = BytesIO()
        sheet.save(file, "JPEG", quality=_QUALITY)
        sheets.append(f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}")
    return sheets
