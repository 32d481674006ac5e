"""One HTML page of everything that was measured; it needs no network and no server."""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image
from tqdm import tqdm

import aecodec
from aecodec import metrics
from bench.codecs import open_rgb, save
from bench.compare import APART, LANDMARKS, Comparison, Row, compare_curves, is_kodak, merge, published_curves
from bench.demo import jpeg_of_size
from bench.rd import load
from bench.results import METRICS, Curve, Point, Record, Run, Speed, Throughput, curves

_TEMPLATE = Path(__file__).with_name("report.html")


def write(files: list[Path], pictures: list[Path], target: Path, *, quality: float, anchors: Sequence[str]) -> None:
    """The page of these results, with these pictures to look at."""
    records = merge(files)
    provenance = _runs(records)
    points = [record for record in records if isinstance(record, Point)]
    measured, names = curves(points) if points else ({}, [])
    published = published_curves() if points and is_kodak(records, names) else {}
    found = compare_curves(measured, published, anchors) if points else None
    codec = aecodec.Codec.load()
    data = {
        "metrics": METRICS,
        "curves": [_series(name, curve) for name, curve in measured.items()]
        + [
            _series(name, curve) | {"published": True, "hidden": name not in LANDMARKS}
            for name, curve in published.items()
        ],
        "pictures": [
            side_by_side(path, codec, quality) for path in tqdm(pictures, desc="pictures", disable=len(pictures) < 2)
        ],
    }
    summary = f"Whole files, decoded again; means over {len(names)} pictures. " if points else ""
    page = string.Template(_TEMPLATE.read_text()).substitute(
        summary=escape(summary + "Everything on this page can be measured again by the commands at its end."),
        table=_comparison(found) if found else "<p>No rate-distortion points.</p>",
        speed=_speed(records),
        runs=provenance,
        data=json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page)


def side_by_side(path: Path, codec: aecodec.Codec, quality: float) -> dict[str, Any]:
    """JPEG, aecodec and the original of one picture, as the page shows them."""
    image = load(path)
    data = codec.encode(image, quality=quality)
    decoded = codec.decode(data)
    jpeg = jpeg_of_size(image, len(data))
    forms = [
        _form("JPEG", image, open_rgb(jpeg), len(jpeg), _url("jpeg", jpeg)),
        _form("aecodec", image, decoded, len(data), _lossless(decoded)),
        {"name": "original", "label": "original", "source": _lossless(image)},
    ]
    return {"name": path.name, "width": image.width, "height": image.height, "forms": forms}


def _form(name: str, original: Image.Image, decoded: Image.Image, size_bytes: int, source: str) -> dict[str, str]:
    psnr = metrics.psnr(np.asarray(original), np.asarray(decoded))
    return {"name": name, "label": f"{name}, {size_bytes:,} bytes, {psnr:.2f} dB", "source": source}


def _lossless(image: Image.Image) -> str:
    return _url("webp", save(image, "WEBP", lossless=True, quality=50, method=2))


def _url(form: str, data: bytes) -> str:
    return f"data:image/{form};base64,{base64.b64encode(data).decode()}"


def _series(name: str, curve: Curve) -> dict[str, Any]:
    series: dict[str, Any] = {"name": name, "bpp": curve.bpp.tolist(), "quality": curve.quality.tolist()}
    for metric in METRICS:
        values = getattr(curve, metric)
        if not np.isnan(values).any():
            series[metric] = values.round(4).tolist()
    return series


def _comparison(found: Comparison) -> str:
    parts = [_bd_table(found.heads, found.ranked), _soft(found.note)]
    if found.apart:
        parts += [_soft(APART), _bd_table(found.heads, found.apart)]
    return "\n".join(parts)


def _soft(text: str) -> str:
    return f'<p class="soft">{escape(text)}</p>'


def _bd_table(heads: list[str], found: list[Row]) -> str:
    lines = ['<div class="wide"><table><tr>' + "".join(f"<th>{escape(head)}" for head in heads) + "</tr>"]
    for row in found:
        kind = "ours" if row.name.startswith("aecodec") else row.source
        if row.source == "published" and row.name not in LANDMARKS:
            kind += " more"
        lines.append(f'<tr class="{kind}">' + "".join(f"<td>{escape(cell)}</td>" for cell in row.cells) + "</tr>")
    return "\n".join([*lines, "</table></div>"])


def _speed(records: list[Record]) -> str:
    """Bars of every size, direction and thread count, the fastest first."""
    speeds = [record for record in records if isinstance(record, Speed)]
    blocks = []

    def group(speed: Speed) -> tuple[int, int, int, str]:
        return speed.width, speed.height, speed.threads, speed.direction

    for (width, height, threads, direction), members in groupby(sorted(speeds, key=group), group):
        bars = [
            (s.codec, s.megapixels / s.seconds, f"{s.megapixels / s.seconds:.3g} MP/s, {s.seconds:.3g} s", _more(s))
            for s in members
        ]
        cores = "1 thread" if threads == 1 else f"{threads} threads"
        blocks.append(_bars(f"{direction}, {width}x{height}, {cores}", bars))
    throughputs = [record for record in records if isinstance(record, Throughput)]

    def device(one: Throughput) -> tuple[str, str, int, int]:
        return one.device, one.direction, one.width, one.height

    for (name, direction, width, height), found in groupby(sorted(throughputs, key=device), device):
        bars = [
            (
                f"{t.codec}, {t.batch} at once",
                t.images_per_second,
                f"{t.images_per_second:.3g} images/s",
                f"{t.slowest:.3g} to {t.fastest:.3g} images/s",
            )
            for t in found
        ]
        blocks.append(_bars(f"{direction}, {width}x{height} on {name}", bars))
    return "\n".join(blocks) or "<p>Not measured here: <code>python -m bench speed --out RESULTS</code>.</p>"


def _more(speed: Speed) -> str:
    """Spread, the cold start, memory and the shares of the stages."""
    memory = f", {speed.peak_memory_mb:.0f} MB" if speed.peak_memory_mb else ""
    shares = "".join(f", {name} {seconds / speed.seconds:.0%}" for name, seconds in speed.stages.items())
    return f"{speed.fastest:.3g} to {speed.slowest:.3g} s, cold {speed.cold_seconds:.3g} s{memory}{shares}"


def _bars(title: str, bars: list[tuple[str, float, str, str]]) -> str:
    """Bars of (name, value, text, small text), the longest first."""
    longest = max(value for _, value, _, _ in bars)
    lines = [f'<figure><figcaption>{escape(title)}</figcaption><div class="bars">']
    for name, value, text, more in sorted(bars, key=lambda bar: -bar[1]):
        kind = ' class="ours"' if name.startswith("aecodec") else ""
        width = f"width: {100 * value / longest:.1f}%"
        lines.append(f'<span>{escape(name)}</span><i{kind} style="{width}"></i><span>{escape(text)}</span>')
        lines.append(f"<small>{escape(more)}</small>")
    return "\n".join([*lines, "</div></figure>"])


def _runs(records: list[Record]) -> str:
    runs = [record for record in records if isinstance(record, Run)]
    if not runs:
        raise click.ClickException("these results do not say how they were measured")
    blocks = []
    for run in runs:
        facts = [*run.environment.items(), *run.codecs.items()]
        lines = [run.command, "", *(f"{name}: {value}" for name, value in facts)]
        blocks.append(f"<pre>{escape(chr(10).join(lines))}</pre>")
    return "\n".join(blocks)
