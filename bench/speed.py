"""How long coding takes, cold and warm, by stage, on 1 and on all threads, and how much memory.

Every codec, direction, size and thread count is measured in a process of its own (bench/once.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np
from PIL import Image
from tqdm import tqdm

from bench.codecs import PEERS, peers
from bench.once import COMPRESSAI, QUALITIES
from bench.results import Record, Run, Speed, append, environment, resume

SIZES = {"0.4": (768, 512), "2": (1920, 1080), "12": (4000, 3000), "48": (8000, 6000)}  # by megapixels
NAMES = (*QUALITIES, *COMPRESSAI)
COMPRESSAI_PIXELS = 1920 * 1080  # these models see a picture whole: 12 MP need tens of gigabytes
_ROOT = Path(__file__).parent.parent


def test_picture(size: tuple[int, int]) -> Image.Image:
    """Noise with the spectrum of photographs (amplitude falling as 1/f), the same at every run."""
    width, height = size
    rng = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.rfftfreq(width), np.fft.fftfreq(height)))
    spectrum = np.fft.rfft2(rng.normal(size=(height, width))) / np.maximum(frequency, 1 / max(size))
    gray = np.fft.irfft2(spectrum, (height, width))
    gray = np.clip(128 + 45 * gray / gray.std(), 0, 255).astype(np.uint8)
    return Image.fromarray(gray).convert("RGB")


@dataclass(frozen=True)
class Job:
    name: str
    size: tuple[int, int]
    threads: int


def run(names: list[str], sizes: list[str], threads: list[int], runs: int, command: str, out: Path | None) -> None:
    """Measure, print and write one line per codec, direction, size and thread count."""
    names = available(names)
    settings = {
        name: f"quality {QUALITIES[name]:g}" if name in QUALITIES else "CompressAI, quality 4" for name in names
    }
    note = Run(command, environment(), settings)
    known = _known(resume(out, note, timed=True)) if out else set()
    jobs = [Job(name, SIZES[size], n) for size in sizes for n in threads for name in names]
    jobs = [job for job in jobs if job not in known]
    bar = tqdm(jobs, desc="speed", unit="codec")
    for job in bar:
        bar.set_postfix_str(f"{job.name} {job.size[0]}x{job.size[1]}")
        if job.name in COMPRESSAI and job.size[0] * job.size[1] > COMPRESSAI_PIXELS:
            continue
        for speed in measure(job, runs):
            bar.write(line(speed))
            if out:
                append(out, speed)


def available(names: list[str]) -> list[str]:
    for name in names:
        if name not in NAMES:
            raise click.ClickException(f"there is no codec {name} here; known are {', '.join(NAMES)}")
    found = (
        {peer.name for peer in peers([name for name in names if name in PEERS])} if set(names) & PEERS.keys() else set()
    )
    if find_spec("compressai"):
        found |= COMPRESSAI.keys()
    elif set(names) & COMPRESSAI.keys():
        click.echo("CompressAI's models are left out: pip install compressai", err=True)
    return [name for name in names if name.startswith("aecodec") or name in found]


def _known(records: list[Record]) -> set[Job]:
    """What was measured in both directions."""
    done: dict[Job, set[str]] = defaultdict(set)
    for speed in records:
        if isinstance(speed, Speed):
            done[Job(speed.codec, (speed.width, speed.height), speed.threads)].add(speed.direction)
    return {job for job, directions in done.items() if len(directions) == 2}


def measure(job: Job, runs: int) -> Iterator[Speed]:
    """Encode and decode, each in its own process; decoding takes the file that encoding made."""
    with tempfile.TemporaryDirectory() as folder:
        pixels, coded, decoded = (Path(folder) / name for name in ("pixels.ppm", "coded", "decoded.ppm"))
        test_picture(job.size).save(pixels)
        for direction, source, target in (("encode", pixels, coded), ("decode", coded, decoded)):
            arguments = [job.name, direction, str(source), str(target), str(runs), str(job.threads), str(time.time())]
            environ = os.environ | {"OMP_NUM_THREADS": str(job.threads)}
            child = [sys.executable, "-m", "bench", "once", *arguments]
            done = subprocess.run(child, cwd=_ROOT, env=environ, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
                click.echo(f"{job.name}, {direction}, {job.size[0]}x{job.size[1]} failed: {reason}", err=True)
                return
            yield Speed(job.name, direction, *job.size, job.threads, **json.loads(done.stdout))


def line(speed: Speed) -> str:
    stages = "; " + ", ".join(f"{name} {seconds:.3f}" for name, seconds in speed.stages.items()) if speed.stages else ""
    memory = f", {speed.peak_memory_mb:.0f} MB" if speed.peak_memory_mb else ""
    threads = "1 thread" if speed.threads == 1 else f"{speed.threads} threads"
    return (
        f"{speed.codec:37} {speed.direction} {speed.megapixels:4.1f} MP, {threads}: "
        f"{speed.seconds:.3f} s ({speed.fastest:.3f}..{speed.slowest:.3f}, {speed.runs} runs), "
        f"{speed.megapixels / speed.seconds:.3g} MP/s, cold {speed.cold_seconds:.2f} s{memory}{stages}"
    )
