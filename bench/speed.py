"""How long coding takes, warm, and how much memory: medians on pictures of several sizes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

import aecodec
from aecodec import weights
from aecodec.entropy import SymbolReader, encode_symbols
from aecodec.model import LOG_STEP, SCALE_MIN
from aecodec.prior import ANCHORS

SIZES = {"0.4 MP": (768, 512), "2 MP": (1920, 1080), "12 MP": (4000, 3000)}


def median_seconds(work: Callable[[], object], runs: int) -> float:
    work()  # warm-up
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def entropy_speed(count: int = 4_000_000) -> tuple[float, float]:
    """Encode and decode in Msymbols/s on one thread: Gaussian symbols over the shipped tables."""
    model = weights.load()
    prior, tables = model.prior, model.tables
    rng = np.random.default_rng(0)
    scale_index = rng.integers(3, 40, count)
    scales = SCALE_MIN * np.exp(LOG_STEP * scale_index)
    symbols = np.round(rng.normal(size=count) * scales).astype(np.int16)
    indexes = (scale_index + ANCHORS * prior.N).astype(np.uint16)
    data = encode_symbols(symbols, indexes, tables)
    encode = median_seconds(lambda: encode_symbols(symbols, indexes, tables), 5)
    decode = median_seconds(lambda: SymbolReader(data, tables).read(indexes), 5)
    return count / encode / 1e6, count / decode / 1e6


def peak_memory_mb(size: tuple[int, int]) -> float:
    """Peak resident memory of a process that decodes one picture (Linux; its ru_maxrss would count the parent too)."""
    code = (
        "import sys, aecodec, pathlib\n"
        "aecodec.decode(sys.stdin.buffer.read())\n"
        "print(pathlib.Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    data = aecodec.encode(test_picture(size))
    done = subprocess.run([sys.executable, "-P", "-c", code], input=data, capture_output=True, check=True)
    return int(done.stdout) / 1024


def test_picture(size: tuple[int, int]) -> Image.Image:
    """Noise with the spectrum of photographs (amplitude falling as 1/f), the same at every run."""
    width, height = size
    rng = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.rfftfreq(width), np.fft.fftfreq(height)))
    spectrum = np.fft.rfft2(rng.normal(size=(height, width))) / np.maximum(frequency, 1 / max(size))
    gray = np.fft.irfft2(spectrum, (height, width))
    gray = np.clip(128 + 45 * gray / gray.std(), 0, 255).astype(np.uint8)
    return Image.fromarray(gray).convert("RGB")


def run(runs: int) -> None:
    """Print one line per point."""
    encode, decode = entropy_speed()
    print(f"{torch.get_num_threads()} threads, median of {runs} warm runs")
    print(f"entropy coder, 1 thread: encode {encode:.0f} Msymbols/s, decode {decode:.0f} Msymbols/s")
    for name, size in SIZES.items():
        image = test_picture(size)
        data = aecodec.encode(image)
        encode_seconds = median_seconds(lambda image=image: aecodec.encode(image), runs)
        decode_seconds = median_seconds(lambda data=data: aecodec.decode(data), runs)
        memory = peak_memory_mb(size)
        print(f"{name:>7}: encode {encode_seconds:.3f} s, decode {decode_seconds:.3f} s, decoder peak {memory:.0f} MB")
