"""bench speed: real processes, figures that fit together, and the GPU part as far as it runs on a CPU."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from bench_support import bench
from PIL import Image

from aecodec import Codec
from bench import gpu, results, speed
from bench.results import Run, Speed, Throughput
from bench.speed import Job


@pytest.mark.xdist_group("machine")
@pytest.mark.slow
def test_speed_of_two_codecs(tmp_path: Path) -> None:
    command = (
        "speed",
        "--codecs",
        "aecodec,jpeg",
        "--sizes",
        "0.4",
        "--threads",
        "1",
        "--runs",
        "2",
        "--out",
        tmp_path,
    )
    result = bench(*command)
    assert result.exit_code == 0, result.output
    run, *measured = results.read(tmp_path / "speed.jsonl")
    assert isinstance(run, Run)
    assert run.codecs == {"aecodec": "quality 60", "jpeg": "quality 75"}
    assert [(s.codec, s.direction) for s in measured if isinstance(s, Speed)] == [
        (codec, direction) for codec in ("aecodec", "jpeg") for direction in ("encode", "decode")
    ]
    for s in measured:
        assert isinstance(s, Speed)
        assert (s.width, s.height, s.threads, s.runs) == (768, 512, 1, 2)
        assert 0 < s.fastest <= s.seconds <= s.slowest
        assert s.cold_seconds > s.fastest
        assert s.peak_memory_mb is None or s.peak_memory_mb > 3 * s.megapixels
    ours, back, jpeg, _ = (s for s in measured if isinstance(s, Speed))
    assert list(ours.stages) == [
        "read",
        "analysis",
        "hyper analysis",
        "gradients",
        "quantization",
        "entropy coding",
        "write",
    ]
    assert list(back.stages) == ["read", "entropy coding", "synthesis", "write"]
    for s in (ours, back):
        assert 0.5 * s.fastest < sum(s.stages.values()) < 1.5 * s.slowest
    assert jpeg.stages == {}
    assert jpeg.seconds < ours.seconds
    assert ours.size_bytes == back.size_bytes
    before = (tmp_path / "speed.jsonl").read_text()
    assert bench(*command).exit_code == 0
    assert (tmp_path / "speed.jsonl").read_text() == before  # all was known


def test_speeds_of_another_machine_are_not_taken_for_those_of_this_one(tmp_path: Path) -> None:
    path = tmp_path / "speed.jsonl"
    for direction in ("encode", "decode"):
        results.append(path, Run("command", {"machine": "another one"}, {}))
        results.append(path, Speed("jpeg", direction, 768, 512, 1, 5, 9, 1.0, 1, 1, 1, {}, None))
    before = path.read_text()
    result = bench("speed", "--codecs", "jpeg", "--sizes", "0.4", "--threads", "1", "--out", path)
    assert result.exit_code == 1
    assert "speed.jsonl holds machine as another one, now it is " in result.output
    assert path.read_text() == before


def test_a_codec_that_cannot_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """WebP ends at 16383 pixels per side."""
    assert list(speed.measure(Job("webp", (17_000, 8), 1), 1)) == []
    assert re.fullmatch(r"webp, encode, 17000x8 failed: .+\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--codecs", "png", "no codec png here; known are aecodec, jpeg"),
        ("--sizes", "3", "size must be one of 0.4, 2, 12, 48, got 3"),
    ],
)
def test_unknown_names_are_one_line(option: str, value: str, message: str) -> None:
    result = bench("speed", option, value)
    assert result.exit_code == 1
    assert message in result.output


def test_plot_and_table_of_speeds(tmp_path: Path) -> None:
    path = tmp_path / "speed.jsonl"
    for codec, seconds in (("aecodec", 0.2), ("jpeg", 0.01)):
        for direction in ("encode", "decode"):
            record = Speed(codec, direction, 1000, 1000, 2, 5, 9, 1.0, seconds, seconds, seconds, {}, None)
            results.append(path, record)
    assert bench("plot", path, tmp_path / "s.svg", "--what", "speed").exit_code == 0
    words = re.findall(r"<text[^>]*>([^<]+)</text>", (tmp_path / "s.svg").read_text())
    assert {"aecodec", "jpeg", "5", "100", "encode, MP/s at 1000x1000, 2 threads"} <= set(words)
    result = bench("plot", path, tmp_path / "s.svg")
    assert result.exit_code == 1
    assert "no rate-distortion points" in result.output
    results.append(tmp_path / "none.jsonl", Run("command", {}, {}))
    result = bench("speed-table", tmp_path / "none.jsonl")
    assert (result.exit_code, "these results hold no speeds" in result.output) == (1, True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_cuda_it_says_so() -> None:
    result = bench("speed", "--device", "cuda", "--codecs", "png")
    assert result.output.startswith("no CUDA device is available: measuring on the CPU\n")


def test_throughput_counts_pictures(tiny: Codec, random_pixels: np.ndarray) -> None:
    with ThreadPoolExecutor(2) as pool:
        for name, coder in (("aecodec", gpu.aecodec_coder(tiny)), ("jpeg", gpu.jpeg_coder(pool))):
            points = list(gpu.measure(name, "cpu", coder, [Image.fromarray(random_pixels)] * 4, 3))
            assert [(p.codec, p.direction, p.width, p.height, p.batch) for p in points] == [
                (name, direction, 100, 70, 4) for direction in ("encode", "decode")
            ]
            assert all(0 < p.slowest <= p.images_per_second <= p.fastest for p in points)


def test_devices_must_agree(tiny: Codec, random_pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(random_pixels)
    other = Codec(tiny.weights, "cpu")
    gpu.check(tiny, other, image)
    parse = other.decode_symbols
    monkeypatch.setattr(other, "decode_symbols", lambda data: tuple(part + 1 for part in parse(data)))
    with pytest.raises(click.ClickException, match="different symbols"):
        gpu.check(tiny, other, image)
    monkeypatch.undo()
    decode = other.decode
    monkeypatch.setattr(other, "decode", lambda data: decode(data).point(lambda level: level // 2))
    with pytest.raises(click.ClickException, match="differ by more than 1"):
        gpu.check(tiny, other, image)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_throughput_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "SIZES", {(768, 512): 4})
    result = bench("speed", "--device", "cuda", "--runs", "2", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    run, *points = results.read(tmp_path / "gpu.jsonl")
    assert isinstance(run, Run)
    assert {"gpu", "driver", "cuda"} <= run.environment.keys()
    assert {(p.codec, p.batch) for p in points if isinstance(p, Throughput)} == {
        (codec, batch) for codec in ("aecodec", "jpeg", "jpeg (nvJPEG)") for batch in (1, 4)
    }
