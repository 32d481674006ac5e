"""One codec in one direction, in the process that is measured: it imports what a user of the codec would, and no more.

From a file to a file; pixels are read and written as PPM, which costs next to nothing.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

QUALITIES = {"aecodec": 60.0, "jpeg": 75.0, "webp": 75.0, "avif": 60.0, "jxl": 75.0, "aecodec:s": 60.0}
COMPRESSAI = {  # their speed does not depend on what the weights are
    f"{name} (random weights)": name for name in ("bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean")
}
PATIENCE = 30.0  # seconds, after which no further warm run begins
# Of the steps of Codec and its parts, those whose time is told apart (docs/architecture.md describes them).
STAGES = {
    "encode": {
        "analyze": "analysis",
        "hyper_analyze": "hyper analysis",
        "refine": "gradients",
        "quantize": "quantization",
        "_pack": "entropy coding",
    },
    "decode": {"_parse": "entropy coding", "synthesize": "synthesis"},
}


class Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def timed(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            result = work(*arguments, **options)
            self.seconds[stage] += time.perf_counter() - start
            return result

        return timed


def measure(name: str, direction: str, source: Path, target: Path, runs: int, started: float) -> dict[str, Any]:
    """Code source to target once for all that happens only at first, then runs times; the figures of a Speed."""
    clock = Clock()
    encode, decode = _coder(name, direction, clock)
    read, write = clock.timed("read", _read_pixels), clock.timed("write", Path.write_bytes)
    if direction == "decode":
        read, write = clock.timed("read", Path.read_bytes), clock.timed("write", _write_pixels)

    def work() -> None:
        write(target, (encode if direction == "encode" else decode)(read(source)))

    work()
    cold = time.time() - started
    times: list[float] = []
    stages: dict[str, list[float]] = defaultdict(list)
    while len(times) < runs and sum(times) < PATIENCE:
        clock.seconds.clear()
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
        for stage, seconds in clock.seconds.items():
            stages[stage].append(seconds)
    return {
        "runs": len(times),
        "size_bytes": (target if direction == "encode" else source).stat().st_size,
        "cold_seconds": cold,
        "seconds": statistics.median(times),
        "fastest": min(times),
        "slowest": max(times),
        "stages": {stage: statistics.median(seconds) for stage, seconds in stages.items()}
        if name.startswith("aecodec")
        else {},
        "peak_memory_mb": _peak_memory_mb(),
    }


def _coder(
    name: str, direction: str, clock: Clock
) -> tuple[Callable[[Image.Image], bytes], Callable[[bytes], Image.Image]]:
    if name in COMPRESSAI:
        return _compressai(COMPRESSAI[name])
    if _is_ours(name):
        import aecodec

        codec = aecodec.Codec.load(name.partition(":")[2] or None, device="cpu")
        for step, stage in STAGES[direction].items():
            owner = next(part for part in (codec, codec.transform, codec.receiver) if hasattr(part, step))
            setattr(owner, step, clock.timed(stage, getattr(owner, step)))
        return lambda image: codec.encode(image, quality=QUALITIES[name]), codec.decode
    from bench.codecs import peers

    (peer,) = peers([name])
    return lambda image: peer.encode(image, QUALITIES[name]), peer.decode


def _is_ours(name: str) -> bool:
    """aecodec, or aecodec:MODEL."""
    return name.partition(":")[0] == "aecodec"


def _compressai(name: str) -> tuple[Callable[[Image.Image], bytes], Callable[[bytes], Image.Image]]:
    """A model of CompressAI with its own coder; the strings stand one behind the other after their lengths."""
    import numpy as np
    import torch
    import torch.nn.functional as F

    import aecodec.train  # noqa: F401 - it makes CompressAI importable beside every build of torch

    # isort: split
    from compressai.zoo import image_models

    torch.manual_seed(0)
    model = image_models[name](quality=4, pretrained=False).eval()
    model.update()

    def encode(image: Image.Image) -> bytes:
        x = torch.from_numpy(np.asarray(image).transpose(2, 0, 1)[None] / np.float32(255))
        H, W = x.shape[2:]
        with torch.inference_mode():
            coded = model.compress(F.pad(x, (0, -W % 64, 0, -H % 64), mode="replicate"))
        strings = [string for (string,) in coded["strings"]]
        head = np.array([W, H, *coded["shape"], len(strings), *map(len, strings)], np.uint32)
        return b"".join([head.tobytes(), *strings])

    def decode(data: bytes) -> Image.Image:
        W, H, rows, columns, count = np.frombuffer(data, np.uint32, 5).tolist()
        lengths = np.frombuffer(data, np.uint32, count, 20)
        ends = 20 + 4 * count + np.cumsum(lengths)
        strings = [[data[end - length : end]] for end, length in zip(ends, lengths, strict=True)]
        with torch.inference_mode():
            x_hat = model.decompress(strings, (rows, columns))["x_hat"][0, :, :H, :W]
        return Image.fromarray((x_hat * 255).round().byte().permute(1, 2, 0).numpy())

    return encode, decode


def _read_pixels(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def _write_pixels(path: Path, image: Image.Image) -> None:
    image.save(path, "PPM")


def _peak_memory_mb() -> float | None:
    """Peak resident memory of this process (ru_maxrss would count the one that started it too)."""
    status = Path("/proc/self/status")
    return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024 if status.exists() else None
