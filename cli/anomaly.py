"""The commands that find what is not as it should be: anomaly fit, anomaly score."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import click

from aecodec import InputError
from aecodec.cli.files import check_target, image_file, is_stream, open_data, replace_file
from aecodec.cli.folders import failure
from aecodec.cli.options import MAX_PIXELS_OPTION, PLACE, RECURSIVE, THREADS, Range, reporting
from aecodec.cli.reporter import Reporter, counted, printable, reason
from aecodec.cli.search import FILES, JSON, Found, looking
from aecodec.cli.table import Table
from aecodec.cli.urls import Place
from aecodec.format.container import Y_STRIDE

if TYPE_CHECKING:  # --help is quick without numpy
    from aecodec.tasks import Study


class Verdict(NamedTuple):
    """A row of the report."""

    source: str
    heatmap: str  # empty where none is written
    state: str  # normal, anomaly, failed
    distance: float | None = None  # of the worst cell, in units of the threshold: above 1 is an anomaly
    error: str = ""


@click.group()
def anomaly() -> None:
    """Learn from good pictures, and find those that differ."""


@anomaly.command()
@FILES
@click.option("--out", "target", required=True, type=PLACE, help="What was learned: an .aem file.")
@click.option(
    "--method",
    type=click.Choice(["gaussian", "neighbors"]),
    default="neighbors",
    show_default=True,
    help="Distance from the mean of good cells, or from the nearest of them.",
)
@click.option(
    "--false-alarms",
    type=Range(0, 0.5, min_open=True),
    default=0.05,
    show_default=True,
    help="Share of good pictures that may be called anomalies.",
)
@looking
def fit(
    report: Reporter,
    /,
    words: tuple[str, ...],
    target: Place,
    method: str,
    false_alarms: float,
    recursive: bool,
    model: str,
    max_pixels: int,
    threads: int | None,
) -> None:
    """Learn from good pictures. Nothing is written if one of them cannot be read.

    \b
    aecodec anomaly fit good/ --out parts.aem
    """
    from aecodec.tasks import AnomalyDetector

    if not is_stream(target) and target.suffix.lower() != ".aem":
        raise click.UsageError(f"the name of a detector file must end in .aem, got '{target.name}'")
    check_target(target, "AEM")
    found = Found.of(words, recursive=recursive)
    detector = AnomalyDetector(method, false_alarms=false_alarms, model=model, threads=threads, max_pixels=max_pixels)
    names: list[str] = []
    sizes: list[tuple[int, int]] = []  # in cells

    def studies() -> Iterator[Study]:
        for job, study in found.look(report, detector.study):
            names.append(printable(str(job.source)))
            height, width, _ = study.y.shape
            sizes.append((width, height))
            yield study

    try:
        detector.learn(studies())
    except InputError:
        found.check()  # too few that can be read
        raise
    found.check()
    replace_file(target, detector.to_bytes())
    _tell_mixture(report, sizes, [names[at] for at in detector.unlike_])
    line = (
        f"{counted(len(names), 'good picture')}; {100 * detector.false_alarm_rate_:.1f} % false alarms "
        f"on {detector.held_out_} held out"
    )
    report.result(target, ", ".join(filter(None, (line, found.skipped))))


@anomaly.command()
@click.argument("learned", metavar="LEARNED", type=PLACE)
@FILES
@click.option("--heatmap", "folder", type=PLACE, help="Folder for a PNG of each picture: where it is off.")
@click.option("--report", "report_file", type=PLACE, help="CSV file of what is told; - is a pipe.")
@JSON
@RECURSIVE
@MAX_PIXELS_OPTION
@THREADS
@reporting
@click.pass_obj
def score(
    report: Reporter,
    /,
    learned: Place,
    words: tuple[str, ...],
    folder: Place | None,
    report_file: Place | None,
    as_json: bool,
    recursive: bool,
    max_pixels: int,
    threads: int | None,
) -> None:
    """Find pictures that differ from good ones. LEARNED is the .aem file of anomaly fit.

    A line for each: normal or anomaly, how far off it is (1 is the threshold), and its name.

    \b
    aecodec anomaly score parts.aem new/ --heatmap out/
    """
    from aecodec.tasks import AnomalyDetector

    with open_data(learned) as data:
        content = bytes(data)
    try:
        detector = AnomalyDetector.from_bytes(content, threads=threads, max_pixels=max_pixels)
    except InputError as error:
        raise InputError(f"{learned}: {error}") from error
    found = Found.of(words, recursive=recursive, into=folder, rename=_heatmap_name if folder else None)
    folders = list({job.target.parent: None for job in found.jobs if job.target is not None})
    table = Table(report_file, Verdict._fields, [learned, *(job.source for job in found.jobs)], folders)
    rows = []
    for job, seen in found.look(report, detector.look):
        distance = seen.score / detector.offset_ if detector.offset_ else float("inf")
        heatmap = str(job.target or "")
        rows.append(Verdict(str(job.source), heatmap, "anomaly" if distance > 1 else "normal", round(distance, 4)))
        if job.target is not None:
            try:
                job.target.parent.mkdir(parents=True, exist_ok=True)
                replace_file(job.target, image_file(detector.heatmap(seen), "PNG"))
            except OSError as error:
                found.failed.append(failure(job, reason(error)))
                rows[-1] = rows[-1]._replace(heatmap="", error=reason(error))
        table.add(rows[-1])
        if not (report.quiet or table.is_stream):
            click.echo(json.dumps(rows[-1]._asdict()) if as_json else _line(rows[-1]))
    bad = [Verdict(one.source, "", "failed", None, one.error) for one in found.failed]
    table.close(sorted([*rows, *(row for row in bad if row.source not in {one.source for one in rows})]))
    if not report.quiet:
        count = sum(row.state == "anomaly" for row in rows)
        expected = f"{100 * detector.false_alarm_rate_:.1f} % false alarms are expected on good pictures"
        line = f"anomalies: {count} of {counted(len(rows), 'picture')}; {expected}"
        click.echo(", ".join(filter(None, (line, found.skipped))), err=True)
    found.check()


def _tell_mixture(report: Reporter, sizes: list[tuple[int, int]], unlike: list[str]) -> None:
    """Notes of what makes a detector blind: good pictures at different scales, and of different kinds."""
    least, most = min(sizes, key=max), max(sizes, key=max)
    if max(most) >= 2 * max(least):
        shown = " to ".join(f"{Y_STRIDE * width}x{Y_STRIDE * height}" for width, height in (least, most))
        report.note(f"good pictures range from about {shown} pixels: use pictures of one scale")
    if unlike:
        more = f" (and {counted(len(unlike) - 1, 'more picture')})" if len(unlike) > 1 else ""
        report.note(f"{unlike[0]}{more}: very different from the other good pictures; remove it if it is not good")


def _heatmap_name(name: str) -> str:
    return f"{name}.png"


def _line(row: Verdict) -> str:
    return f"{row.state:7}  {row.distance:8.3f}  {printable(row.source)}"
