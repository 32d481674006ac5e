"""The commands that look for pictures: embed, similar, duplicates, map."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import quote

import click
from PIL import Image

from aecodec import InputError, PictureWarning
from aecodec.cli.batch import check_failures, files_bar
from aecodec.cli.files import check_target, image_file, image_format, is_stream, open_data, replace_file
from aecodec.cli.folders import Job, Outcome, Rename, failure, plan, read_sources, tell_skipped
from aecodec.cli.options import MAX_PIXELS_OPTION, MODELS, PLACE, RECURSIVE, THREADS, Range, reporting
from aecodec.cli.reporter import Reporter, counted, printable, reason
from aecodec.cli.urls import Place, Url, place
from aecodec.formats import picture_suffixes

if TYPE_CHECKING:  # --help is quick without numpy
    import numpy as np
    from numpy.typing import NDArray

    from aecodec.tasks import Embedder, Entry, Index, Source

Seen = TypeVar("Seen")
FILES = click.argument("words", nargs=-1, required=True, metavar="FILE...", type=click.Path())
MODEL = click.option(
    "--model",
    type=click.Choice(MODELS),
    default="m",
    show_default=True,
    help="Model of the embeddings; those of two models cannot be compared.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def looking(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of what learns something of pictures by a model, and its reporter."""
    for option in (click.pass_obj, reporting, THREADS, MAX_PIXELS_OPTION, MODEL, RECURSIVE):
        command = option(command)
    return command


class Found(NamedTuple):
    """Files to look at, and what was not right so far."""

    jobs: list[Job]
    failed: list[Outcome]
    skipped: str

    @classmethod
    def of(
        cls, words: tuple[str, ...], *, recursive: bool, into: Place | None = None, rename: Rename | None = None
    ) -> Found:
        """Pictures; into and rename tell what is made of them, if anything."""
        places = read_sources(words)._replace(target=into)
        found = plan(places, picture_suffixes() | {".aec"}, rename, recursive=recursive)
        return cls(found.jobs, found.failed.copy(), tell_skipped(found))

    def look(
        self,
        report: Reporter,
        look: Callable[[Iterable[Source]], Iterator[Seen | Exception]],
        jobs: Sequence[Job] | None = None,
    ) -> Iterator[tuple[Job, Seen]]:
        """What is seen of each file, with a progress bar; failures are kept for check."""
        jobs = self.jobs if jobs is None else jobs
        with undisturbed(), files_bar(len(jobs), hidden=report.quiet) as bar:
            for job, seen in zip(jobs, look(map(source_of, (job.source for job in jobs))), strict=True):
                bar.update(1)
                if isinstance(seen, Exception):
                    self.failed.append(failure(job, reason(seen)))
                else:
                    yield job, seen

    def check(self) -> None:
        """Raises InputError with the list of failures, if there are any."""
        check_failures(self.failed, len({str(job.source) for job in self.jobs} | {one.source for one in self.failed}))


@click.command()
@FILES
@click.option("--out", "target", required=True, type=PLACE, help="The index: .npz, .csv or .parquet (with pyarrow).")
@click.option("--force", is_flag=True, help="Embed all files again, and replace any existing file.")
@looking
def embed(
    report: Reporter,
    /,
    words: tuple[str, ...],
    target: Place,
    force: bool,
    recursive: bool,
    model: str,
    max_pixels: int,
    threads: int | None,
) -> None:
    """Write an index of pictures. FILE may be an .aec file, another image or a folder.

    An existing index is updated: only new and changed files are read, and files that are not named anymore are removed.

    \b
    aecodec embed photos/ --out index.npz
    aecodec similar index.npz query.jpg -k 10
    """
    from aecodec.tasks import Embedder

    form = _form(target)
    check_target(target, form)
    found = Found.of(words, recursive=recursive)
    embedder = Embedder.load(model, threads=threads, max_pixels=max_pixels)
    old = {} if force or not target.exists() else _vectors(_read_index(target, embedder))
    entries = {job: _entry(job.source, target) for job in found.jobs}
    new = {job: entry for job, entry in entries.items() if entry not in old or entry.mtime_ns < 0}
    vectors: dict[Entry, NDArray[np.float32]] = {}
    try:
        for job, seen in found.look(report, embedder.look, list(new)):
            vectors[entries[job]] = seen.vector
    finally:  # what is interrupted goes on from here
        added = len(vectors)
        vectors |= {entry: old[entry] for job, entry in entries.items() if job not in new}
        if vectors:
            replace_file(target, embedder.index(vectors).to_bytes(form))
    if vectors:
        line = f"{counted(len(vectors), 'picture')}, {added} of them new or changed"
        report.result(target, ", ".join(filter(None, (line, found.skipped))))
    found.check()


@click.command()
@click.argument("index_file", metavar="INDEX", type=PLACE)
@click.argument("query", type=PLACE)
@click.option(
    "-k", "count", type=click.IntRange(min=1), default=10, show_default=True, help="Number of pictures to list."
)
@JSON
@MAX_PIXELS_OPTION
@reporting
def similar(index_file: Place, query: Place, count: int, as_json: bool, max_pixels: int) -> None:
    """List the most similar pictures of an index. QUERY may have any format.

    \b
    aecodec similar index.npz query.jpg -k 10
    """
    from aecodec.tasks import Embedder

    index = _read_index(index_file)
    embedder = Embedder.load_for(index.head_id, max_pixels=max_pixels)
    with undisturbed():
        (seen,) = embedder.look([source_of(query)])
    if isinstance(seen, Exception):
        raise InputError(failure(Job(query), reason(seen)).error) from seen
    places, similarities = index.nearest(seen.vector[None], count)
    rows = [
        {"similarity": round(float(value), 4), "file": _shown(index.entries[at], index_file)}
        for at, value in zip(places[0], similarities[0], strict=True)
    ]
    click.echo(json.dumps(rows) if as_json else "\n".join(map(_line, rows)))


@click.command()
@FILES
@click.option(
    "--threshold",
    type=Range(0, 1),
    help="Similarity from which pictures count as copies  [default: that of the model]",
)
@JSON
@looking
def duplicates(
    report: Reporter,
    /,
    words: tuple[str, ...],
    threshold: float | None,
    as_json: bool,
    recursive: bool,
    model: str,
    max_pixels: int,
    threads: int | None,
) -> None:
    """List near-duplicates. Copies at another quality, size or format, and cropped ones. FILE may be one index.

    Each group begins with its largest file; numbers are similarities to it.

    \b
    aecodec duplicates photos/
    aecodec duplicates index.npz --threshold 0.9
    """
    from aecodec.tasks import FORMS, Embedder

    first, found = place(words[0]), None
    if len(words) == 1 and first.suffix.lower() in FORMS:
        index = _read_index(first)
        embedder = Embedder.load_for(index.head_id, max_pixels=max_pixels)
    else:
        first, found = Path("index"), Found.of(words, recursive=recursive)
        embedder = Embedder.load(model, threads=threads, max_pixels=max_pixels)
        index = embedder.index(
            {_entry(job.source, first): seen.vector for job, seen in found.look(report, embedder.look)}
        )
    groups = list(index.duplicates(embedder.threshold if threshold is None else threshold))
    if not groups:
        report.note(f"no duplicates among {counted(len(index.entries), 'picture')}")
    for group in groups:
        group.sort(key=lambda at: -index.entries[at].size_bytes)
        alike = index.vectors[group] @ index.vectors[group[0]]
        rows = [
            {"similarity": round(float(value), 4), "file": _shown(index.entries[at], first)}
            for at, value in zip(group, alike, strict=True)
        ]
        click.echo(json.dumps(rows) if as_json else "\n".join(map(_line, rows)) + "\n")
    if found is not None:
        if found.skipped and not report.quiet:
            click.echo(found.skipped, err=True)
        found.check()


@click.command("map")
@FILES
@click.option("--html", type=PLACE, help="Write a self-contained page with zoom and thumbnails.")
@click.option("--png", type=PLACE, help="Write the map as a picture.")
@click.option(
    "--method",
    type=click.Choice(["auto", "pca", "tsne", "umap"]),
    default="auto",
    show_default=True,
    help="Layout of the embeddings; auto is tsne if scikit-learn is installed, else pca.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Random seed of tsne and umap."
)
@looking
def map_(
    report: Reporter,
    /,
    words: tuple[str, ...],
    html: Place | None,
    png: Place | None,
    method: str,
    seed: int,
    recursive: bool,
    model: str,
    max_pixels: int,
    threads: int | None,
) -> None:
    """Draw a map on which similar pictures are close. A page for browsers (up to 5,000 pictures), or an image.

    \b
    aecodec map photos/ --html map.html
    aecodec map photos/ --png map.png --method pca
    """
    from aecodec.tasks import MOST, Embedder, Point, draw_map, lay_out, map_page

    if html is None and png is None:
        raise click.UsageError("give --html, --png or both")
    form = "" if png is None else image_format(png)
    for target, kind in ((html, "HTML"), (png, form)):
        if target is not None:
            check_target(target, kind)
    found = Found.of(words, recursive=recursive)
    if html is not None and len(found.jobs) > MOST:
        raise InputError(f"a page holds at most {MOST} pictures, got {len(found.jobs)}")
    embedder = Embedder.load(model, threads=threads, max_pixels=max_pixels)
    points, vectors = [], {}
    for job, seen in found.look(report, embedder.look):
        points.append(Point(str(job.source), _link(job.source, html), seen.thumbnail))
        vectors[_entry(job.source, Path("index"))] = seen.vector
    if points:
        places = lay_out(embedder.index(vectors).vectors, method, seed=seed)
        title = ", ".join(Path(word).name or word for word in words)
        if html is not None:
            replace_file(html, map_page(points, places, title).encode())
            report.result(html, counted(len(points), "picture"))
        if png is not None:
            replace_file(png, image_file(draw_map(points, places), form))
            report.result(png, counted(len(points), "picture"))
    found.check()


def _form(target: Place) -> str:
    """The form of an index, by its name."""
    from aecodec.tasks import FORMS

    form = target.suffix.lower()
    if form not in FORMS:
        raise click.UsageError(f"the name of an index must end in {', '.join(FORMS)}, got '{target.name}'")
    return form


def _read_index(source: Place, embedder: Embedder | None = None) -> Index:
    """An index, by the head of an embedder. Raises InputError, which names the file."""
    from aecodec.tasks import Index

    form = _form(source)
    with open_data(source) as data:
        content = bytes(data)
    try:
        index = Index.from_bytes(content, form)
        if embedder is not None:
            index.check_head(embedder.head_id)
    except InputError as error:
        hint = "; --force makes it anew" if embedder else ""
        raise InputError(f"{source}: {error}{hint}") from error
    return index


def _vectors(index: Index) -> dict[Entry, NDArray[np.float32]]:
    return dict(zip(index.entries, index.vectors, strict=True))


def _entry(source: Place, index: Place) -> Entry:
    """A file as it is now, its name relative to the folder of the index: both may move together."""
    from aecodec.tasks import Entry

    try:
        status = source.stat()
    except (OSError, InputError):  # who looks at it tells
        return Entry(str(source), -1, -1)
    name = str(source)
    if isinstance(source, Path) and isinstance(index, Path):
        name = os.path.relpath(source.absolute(), index.absolute().parent)
    if isinstance(status, os.stat_result):
        return Entry(name, status.st_size, status.st_mtime_ns)
    changed = -1 if math.isnan(status.st_mtime) else int(status.st_mtime * 1e9)
    return Entry(name, status.st_size, changed)


def _shown(entry: Entry, index: Place) -> str:
    """The name of an entry as seen from here."""
    if "://" in entry.name or isinstance(index, Url):
        return entry.name
    path = os.path.normpath(index.absolute().parent / entry.name)
    near = os.path.relpath(path)
    return path if near.startswith(os.pardir) else near


def _line(row: dict[str, Any]) -> str:
    return f"{row['similarity']:.4f}  {printable(row['file'])}"


def _link(source: Place, page: Place | None) -> str:
    """Where a click on the page leads to."""
    if isinstance(source, Url):
        return source.url
    if isinstance(page, Path) and not is_stream(page):
        return quote(
            f"./{Path(os.path.relpath(source.absolute(), page.absolute().parent)).as_posix()}", errors="ignore"
        )
    return source.absolute().as_uri()


def source_of(source: Place) -> Source:
    """A file as an embedder takes it, to be read when its turn comes."""

    def read() -> bytes:
        with open_data(source) as data:
            return bytes(data)

    return source if isinstance(source, Path) and not is_stream(source) else read


@contextmanager
def undisturbed() -> Iterator[None]:
    """No notes of what is not kept of pictures, since nothing is; and no limit of Pillow's besides ours."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PictureWarning)
            warnings.simplefilter("ignore", UserWarning)  # Pillow's, of broken files
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
