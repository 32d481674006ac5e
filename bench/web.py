"""Decoding in a real browser by web/dist, with one thread and all, beside the browser's own decoders and the library.

Time on the clock and, on Linux, of cores: of all of the browser's processes, which counts where others are at work.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import click
from PIL import Image, ImageOps
from tqdm import tqdm

import aecodec
from bench.codecs import peers
from bench.fetch import sha256
from bench.once import QUALITIES
from bench.rd import load, pictures_in
from bench.results import Record, Run, Speed, append, environment, resume

DIST = Path(__file__).parent.parent / "web" / "dist"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
MOST = 4  # threads that web/src/parts.js takes by default
OWN = 0  # threads: as many as the browser takes for its own decoders
CORE = "core"  # the stage: seconds of all cores together

WORK = """async ([file, type, simd, threads, runs]) => {
  window.work ??= (async () => {
    const bytes = await (await fetch(file)).arrayBuffer();
    if (type) return async () => (await createImageBitmap(new Blob([bytes], { type }))).close();
    const api = await import("/index.js");
    await api.useSimd(simd);
    return () => api.decode(bytes, { threads });
  })();
  const work = await window.work, seconds = [];
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    await work();
    seconds.push((performance.now() - start) / 1000);
  }
  return seconds;
}"""


class Row(NamedTuple):
    """What decodes."""

    codec: str
    place: str  # "library", "browser" or "browser, no SIMD"
    threads: int

    @property
    def name(self) -> str:
        return f"{self.codec} ({self.place})"


class Times(NamedTuple):
    cold: float
    warm: list[float]
    core: float | None  # of a run


def rows() -> list[Row]:
    most = min(os.cpu_count() or 1, MOST)
    found = []
    for codec in ("aecodec", "aecodec:s"):
        found += [Row(codec, "library", 1), Row(codec, "browser", 1), Row(codec, "browser", most)]
    return list(
        dict.fromkeys(
            [*found, Row("aecodec", "browser, no SIMD", 1), Row("avif", "browser", OWN), Row("webp", "browser", OWN)]
        )
    )


def run(paths: list[Path], sizes: list[tuple[int, int]], runs: int, command: str, out: Path | None) -> None:
    """Measure, print and write one line per row and size; then the table."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise click.ClickException(f"needs a browser: {', '.join(BROWSERS)} (Debian: chromium-headless-shell)")
    if not (DIST / "models.js").exists():
        raise click.ClickException(f"{DIST} is not built: make web")
    files = [file for path in paths for file in (pictures_in(path) if path.is_dir() else [path])]
    with tempfile.TemporaryDirectory() as folder, _site(Path(folder)) as url, _browser(program) as browser:
        settings = {
            row.name: f"quality {QUALITIES[row.codec]:g}"
            + (f", Chromium {browser.version}" if "browser" in row.place else "")
            for row in rows()
        }
        note = Run(command, environment(), settings, {file.name: sha256(file) for file in files})
        records: list[Record] = resume(out, note, timed=True) if out else []
        known = {(r.codec, r.threads, r.width, r.height) for r in records if isinstance(r, Speed)}
        jobs = [(row, size) for size in sizes for row in rows() if (row.name, row.threads, *size) not in known]
        for row, size in tqdm(jobs, desc="web"):
            coded = [_coded(Path(folder), file, row.codec, size) for file in files]
            times = [_measure(browser, url, row, file, runs) for file in coded]
            records.append(_speed(row, size, coded, times))
            if out:
                append(out, records[-1])
    print(web_table(records))


def web_table(records: list[Record]) -> str:
    """Markdown: time to decode, of the clock and of cores, and how often that of the library."""
    speeds = [
        record for record in records if isinstance(record, Speed) and "(" in record.codec and not record.peak_memory_mb
    ]
    if not speeds:
        raise click.ClickException("these results hold no figures of a browser")
    sizes = list(dict.fromkeys((s.width, s.height) for s in speeds))
    library = {(s.codec.partition(" ")[0], s.width): _cost(s) for s in speeds if s.codec.endswith("(library)")}
    lines = ["| decoder | threads | " + " | ".join(f"{w}x{h} | of cores | MP/s of a core" for w, h in sizes) + " |"]
    lines.append("|---|---|" + "---|" * 3 * len(sizes))
    found: dict[tuple[str, int], dict[tuple[int, int], Speed]] = defaultdict(dict)
    for s in speeds:
        found[s.codec, s.threads][s.width, s.height] = s
    for (name, threads), of_size in found.items():
        cells = []
        for size in sizes:
            s = of_size.get(size)
            base = library.get((name.partition(" ")[0], size[0]))
            ratio = f" ({_cost(s) / base:.2g}x)" if s and base and not name.endswith("(library)") else ""
            cells += (
                [
                    f"{1000 * s.seconds:.0f} ms",
                    f"{1000 * _cost(s):.0f} ms{ratio}",
                    f"{s.megapixels / _cost(s):.3g}",
                ]
                if s
                else ["-"] * 3
            )
        lines.append(f"| {name} | {threads or 'its own'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cost(speed: Speed) -> float:
    """Seconds of all cores together; of the clock where the system does not tell."""
    return speed.stages.get(CORE) or speed.seconds


def _coded(folder: Path, source: Path, codec: str, size: tuple[int, int]) -> Path:
    """The picture cut and reduced to a size, coded once; beside what the site serves."""
    file = folder / f"{source.stem}-{codec.replace(':', '-')}-{size[0]}x{size[1]}"
    if not file.exists():
        image = ImageOps.fit(load(source), size, Image.Resampling.LANCZOS)
        (peer,) = peers([codec])
        file.write_bytes(peer.encode(image, QUALITIES[codec]))
    return file


def _measure(browser: Any, url: str, row: Row, file: Path, runs: int) -> Times:
    if row.place == "library":
        codec, data = (
            aecodec.Codec.load(row.codec.partition(":")[2] or None, device="cpu", threads=1),
            file.read_bytes(),
        )
        times, used = [], []
        for _ in range(runs + 1):
            start, core = time.perf_counter(), time.process_time()
            codec.decode(data)
            times.append(time.perf_counter() - start)
            used.append(time.process_time() - core)
        return Times(times[0], times[1:], statistics.median(used[1:]))
    kind = "" if row.codec.startswith("aecodec") else f"image/{row.codec}"
    arguments = [f"/{file.name}", kind, "no SIMD" not in row.place, row.threads]
    with browser.new_context() as context:  # nothing is kept of another row
        page = context.new_page()
        page.goto(f"{url}/errors.js")
        (cold,) = page.evaluate(WORK, [*arguments, 1])
        before = _core_seconds()
        warm = page.evaluate(WORK, [*arguments, runs])
        after = _core_seconds()
    return Times(cold, warm, (after - before) / runs if before is not None and after is not None else None)


def _speed(row: Row, size: tuple[int, int], files: list[Path], times: list[Times]) -> Speed:
    warm = [seconds for one in times for seconds in one.warm]
    cores = [one.core for one in times if one.core is not None]
    return Speed(
        row.name,
        "decode",
        *size,
        row.threads,
        len(warm),
        round(statistics.mean(file.stat().st_size for file in files)),
        cold_seconds=statistics.median(one.cold for one in times),
        seconds=statistics.median(warm),
        fastest=min(warm),
        slowest=max(warm),
        stages={CORE: statistics.median(cores)} if cores else {},
        peak_memory_mb=None,
    )


def _core_seconds() -> float | None:
    """Of all processes that this one has started and theirs, which still run; None where the system does not tell."""
    parents, seconds = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        parents[int(stat.parent.name)] = int(fields[1])
        seconds[int(stat.parent.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    if not seconds:
        return None
    total = 0.0
    for process, of_it in seconds.items():
        parent = parents.get(process)
        while parent and parent != os.getpid():
            parent = parents.get(parent)
        total += of_it if parent else 0
    return total


@contextmanager
def _browser(program: str) -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise click.ClickException("needs pip install playwright") from error
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def _site(folder: Path) -> Iterator[str]:
    """web/dist on localhost, and what else will be in a folder."""
    for file in DIST.iterdir():
        (folder / file.name).symlink_to(file)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
