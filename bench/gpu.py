"""Pictures per second on a GPU, one at a time and several at once, beside JPEG on the same GPU and on the CPU."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

import aecodec
from bench.codecs import open_rgb, save
from bench.results import Run, Throughput, append, environment, resume
from bench.speed import test_picture

SIZES = {(768, 512): 32, (1920, 1080): 16, (4000, 3000): 4}  # and how many at once
JPEG_QUALITY = 75
Coder = tuple[Callable[[list[Image.Image]], list[bytes]], Callable[[list[bytes]], object]]


def run(runs: int, command: str, out: Path | None) -> None:
    """Check that GPU and CPU understand each other, then print and write one line per point."""
    ours, reference = aecodec.Codec.load(device="cuda"), aecodec.Codec.load(device="cpu")
    check(ours, reference, test_picture((768, 512)))
    click.echo("files of the GPU decode on the CPU to the same symbols, and the reverse")
    device = torch.cuda.get_device_name()
    note = Run(command, environment() | gpu_environment(), {"aecodec": f"model {ours.weights.model_id:08x}"})
    before = resume(out, note, timed=True) if out else []
    known = {
        (p.codec, p.device, p.width, p.height, p.batch)
        for p in before
        if isinstance(p, Throughput) and p.direction == "decode"
    }
    bar = tqdm(SIZES.items(), desc="gpu", unit="size")
    for size, batch in bar:
        for pictures_at_once in (1, batch):
            pool = ThreadPoolExecutor(pictures_at_once)
            coders = {"aecodec": (device, aecodec_coder(ours)), "jpeg": ("cpu", jpeg_coder(pool))}
            coders["jpeg (nvJPEG)"] = device, nvjpeg_coder()
            for name, (where, coder) in coders.items():
                if (name, where, *size, pictures_at_once) in known:
                    continue
                for point in measure(name, where, coder, [test_picture(size)] * pictures_at_once, runs):
                    bar.write(line(point))
                    if out:
                        append(out, point)
            pool.shutdown()


def check(ours: aecodec.Codec, reference: aecodec.Codec, image: Image.Image) -> None:
    """Files of either codec mean the same symbols to both, and pixels within 1."""
    for writer, reader in ((ours, reference), (reference, ours)):
        data = writer.encode(image)
        (z, y), (z_other, y_other) = (codec.decode_symbols(data) for codec in (writer, reader))
        if not (np.array_equal(z, z_other) and np.array_equal(y, y_other)):
            raise click.ClickException("GPU and CPU parse a file to different symbols")
        pixels = [np.asarray(codec.decode(data)).astype(int) for codec in (writer, reader)]
        if np.abs(pixels[0] - pixels[1]).max() > 1:
            raise click.ClickException("pixels of GPU and CPU differ by more than 1")


def measure(name: str, device: str, coder: Coder, pictures: list[Image.Image], runs: int) -> Iterator[Throughput]:
    encode, decode = coder
    files = encode(pictures)
    for direction, work in (("encode", lambda: encode(pictures)), ("decode", lambda: decode(files))):
        rates = [len(pictures) / seconds for seconds in _times(work, runs)]
        width, height = pictures[0].size
        yield Throughput(
            name,
            device,
            direction,
            width,
            height,
            len(pictures),
            runs,
            images_per_second=statistics.median(rates),
            fastest=max(rates),
            slowest=min(rates),
        )


def _times(work: Callable[[], object], runs: int) -> Iterator[float]:
    work()  # warm-up
    for _ in range(runs):
        _synchronize()
        start = time.perf_counter()
        work()
        _synchronize()
        yield time.perf_counter() - start


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def aecodec_coder(codec: aecodec.Codec) -> Coder:
    """From and to tensors on the GPU, a batch at once: what a pipeline on the GPU would do."""
    return lambda pictures: codec.encode_tensor(torch.stack(_tensors(pictures, codec.device))), codec.decode_tensor


def jpeg_coder(pool: ThreadPoolExecutor) -> Coder:
    def encode(image: Image.Image) -> bytes:
        return save(image, "JPEG", quality=JPEG_QUALITY)

    return lambda pictures: list(pool.map(encode, pictures)), lambda files: list(pool.map(open_rgb, files))


def nvjpeg_coder() -> Coder:
    """nvJPEG through torchvision, likewise."""
    from torchvision.io import decode_jpeg, encode_jpeg

    def encode(pictures: list[Image.Image]) -> list[bytes]:
        return [
            file.cpu().numpy().tobytes()
            for file in encode_jpeg(_tensors(pictures, torch.device("cuda")), quality=JPEG_QUALITY)
        ]

    def decode(files: list[bytes]) -> object:
        return decode_jpeg([torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files], device="cuda")

    return encode, decode


def _tensors(pictures: list[Image.Image], device: torch.device) -> list[torch.Tensor]:
    """uint8 [3, H, W] each."""
    return [torch.from_numpy(np.array(image)).permute(2, 0, 1).to(device) for image in pictures]


def gpu_environment() -> dict[str, str]:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        driver = "unknown"
    return {"gpu": torch.cuda.get_device_name(), "driver": driver, "cuda": str(torch.version.cuda)}


def line(point: Throughput) -> str:
    megapixels = point.width * point.height / 1e6
    return (
        f"{point.codec:14} {point.direction} {point.width}x{point.height}, {point.batch:2} at once on {point.device}: "
        f"{point.images_per_second:.4g} images/s ({point.slowest:.4g}..{point.fastest:.4g}), "
        f"{point.images_per_second * megapixels:.4g} MP/s"
    )
