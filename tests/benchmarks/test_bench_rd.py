"""bench rd: real files of every codec, results that survive an interruption, errors that say what to do."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import which

import click
import numpy as np
import pytest
from bench_support import ROOT, bench
from PIL import Image

from aecodec import metrics
from bench import compare, rd, results, speed
from bench.codecs import NAMES, peers
from bench.pca import BlockPca
from bench.results import Point, Run


@pytest.fixture
def folder(coffee: Image.Image, tmp_path: Path) -> Path:
    """Two small pictures, large enough for MS-SSIM."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, left in (("a", 100), ("b", 300)):
        coffee.crop((left, 120, left + 176, 120 + 168)).save(folder / f"{name}.png")
    return folder


def points(path: Path) -> list[Point]:
    return [record for record in results.read(path) if isinstance(record, Point)]


def test_every_codec_writes_files_that_grow_with_quality(folder: Path, tmp_path: Path) -> None:
    (folder / "b.png").unlink()
    result = bench("rd", "--images", folder, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    measured = points(tmp_path / "out" / "rd.jsonl")
    assert {point.codec for point in measured} == set(NAMES), result.output
    for name, group in itertools.groupby(measured, lambda point: point.codec):
        curve = sorted(group, key=lambda point: point.quality)
        sizes, levels = [point.size_bytes for point in curve], [point.psnr for point in curve]
        assert sizes == sorted(sizes), name
        assert sizes[-1] > 2 * sizes[0], name
        assert levels[-1] > levels[0] + 4, name
        assert levels[-1] > 28, name
        assert all(point.bpp == pytest.approx(8 * point.size_bytes / (176 * 168)) for point in curve)
        assert all(point.encode_seconds > 0 and point.decode_seconds > 0 for point in curve)
    curves, _ = results.curves(measured)
    for name, curve in curves.items():  # settings are sensible: nothing needs much more than JPEG
        rate = compare.bd_rate(curves["jpeg"], curve, "psnr")
        assert rate is not None
        assert rate < 10, name


def test_only_the_middle_is_measured(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "rd.jsonl"
    for options in (["--middle", 100], []):
        assert bench("rd", "--images", folder, "--codecs", "webp", "--out", out, *options).exit_code == 0
    part, whole = (sorted(group, key=lambda point: point.quality) for group in _by_size(points(out)))
    assert {(point.width, point.height, point.image) for point in part} == {
        (100, 100, "a.png, middle 100"),
        (100, 100, "b.png, middle 100"),
    }
    assert {(point.width, point.height) for point in whole} == {(176, 168)}
    image = rd.load(folder / "a.png")
    expected = Image.fromarray(np.asarray(image)[34:134, 38:138])
    (webp,) = peers(["webp"])
    assert next(p for p in part if p.image[0] == "a" and p.quality == 50).size_bytes == len(webp.encode(expected, 50.0))


def _by_size(measured: list[Point]) -> list[list[Point]]:
    return [[point for point in measured if point.width == width] for width in (100, 176)]


def test_figures_are_those_of_the_file(folder: Path) -> None:
    image = rd.load(folder / "a.png")
    (jpeg,) = peers(["jpeg"])
    point = rd.measure(jpeg, 50.0, image, "a.png", ["ssimulacra2"])
    data = jpeg.encode(image, 50.0)
    a, b = np.asarray(image), np.asarray(jpeg.decode(data))
    assert point.size_bytes == len(data)
    assert point.psnr == metrics.psnr(a, b)
    luma = metrics.psnr(np.asarray(Image.fromarray(a).convert("L")), np.asarray(Image.fromarray(b).convert("L")))
    assert point.psnr_y == pytest.approx(luma, abs=0.1)  # convert rounds luma to integers
    assert point.ms_ssim == metrics.ms_ssim(a, b)
    assert point.ssimulacra2 is not None
    better = rd.measure(jpeg, 90.0, image, "a.png", ["ssimulacra2"])
    assert better.ssimulacra2 is not None
    assert point.ssimulacra2 + 5 < better.ssimulacra2 < 100
    assert point.butteraugli is None  # slow ones are measured where they are asked for


def test_butteraugli_is_the_3_norm(folder: Path) -> None:
    """By the program itself; the figure of the maximum, which it prints too, is another one."""
    if which(rd.BUTTERAUGLI) is None:
        message = "no butteraugli_main here: apt-get install libjxl-devtools"
        pytest.fail(message) if "CI" in os.environ else pytest.skip(message)
    image = rd.load(folder / "a.png").crop((0, 0, 64, 64))
    (jpeg,) = peers(["jpeg"])
    good, poor = (rd.measure(jpeg, quality, image, "a", ["butteraugli"]).butteraugli for quality in (90.0, 10.0))
    assert good is not None
    assert poor is not None
    assert 0.1 < good < poor / 2 < 5
    assert rd.butteraugli(image, image) == 0
    with pytest.raises(click.ClickException, match="butteraugli_main failed: "):
        rd.butteraugli(image, image.crop((0, 0, 32, 32)))


@pytest.mark.parametrize("name", ["butteraugli", "ssimulacra2"])
def test_a_missing_measure_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PATH", str(folder))  # no git either
    monkeypatch.setattr(rd, "find_spec", lambda _: None)
    result = bench("rd", "--images", folder, "--codecs", "jpeg", f"--{name}")
    assert result.exit_code == 0, result.output
    assert re.search(rf"^{name} is left out: (apt-get|pip) install \S+$", result.output, re.MULTILINE)
    assert "Butteraugli" not in result.output


def test_a_measure_is_added_to_results_that_lack_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r.jsonl"
    calls = itertools.count(1)
    monkeypatch.setitem(rd.EXTRAS, "butteraugli", rd.Extra(lambda *_: float(next(calls)), "", lambda: True))
    command = ("rd", "--images", folder, "--codecs", "jpeg", "--out", out)
    for options in ((), ("--butteraugli",), ("--butteraugli",), ()):
        assert bench(*command, *options).exit_code == 0
    kept = results.points_of(results.read(out))
    assert [point.butteraugli for point in kept] == list(range(1, 23))  # 2 pictures, 11 qualities, each once
    assert next(calls) == 23


def test_no_codec_stores_the_profile_of_a_picture(folder: Path) -> None:
    with Image.open(folder / "a.png") as image:
        image.save(folder / "a.png", icc_profile=b"profile" * 1000)
    (jpeg,) = peers(["jpeg"])
    assert b"profileprofile" not in jpeg.encode(rd.load(folder / "a.png"), 50.0)


def test_jpeg2000_transforms_colors(folder: Path) -> None:
    """Pillow does not by default, which costs a third more."""
    (jpeg2000,) = peers(["jpeg2000"])
    data = jpeg2000.encode(rd.load(folder / "a.png"), 30.0)
    style = data.index(b"\xff\x52")  # the COD marker; length, style, progression and layers stand before the transform
    assert data[style + 8] == 1


def test_equal_pictures_have_finite_figures(tmp_path: Path) -> None:
    gray = Image.new("RGB", (64, 64), (128, 128, 128))
    (jpeg,) = peers(["jpeg"])
    point = rd.measure(jpeg, 95.0, gray, "gray")
    assert (point.psnr, point.psnr_y, point.ms_ssim) == (100, 100, None)
    results.append(tmp_path / "r.jsonl", point)
    assert points(tmp_path / "r.jsonl") == [point]


def test_results_are_never_emptied_to_be_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that ends in between would lose hours."""
    path, run = tmp_path / "r.jsonl", Run("command", {}, {"webp": "é"})
    results.append(path, run)
    kept = path.read_bytes()
    path.write_bytes(kept + '{"kind": "point", "é'.encode()[:-1])  # cut within a letter
    monkeypatch.setattr(Path, "write_text", None)
    assert results.resume(path, run) == [run]
    assert path.read_bytes() == kept


def test_an_interrupted_run_continues(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "r.jsonl"
    command = ("rd", "--images", folder, "--codecs", "jpeg,webp", "--out", out)
    measure = rd.measure
    calls = itertools.count()

    def stop_at_30(*arguments: object, **options: object) -> Point:
        if next(calls) == 30:
            raise KeyboardInterrupt
        return measure(*arguments, **options)

    monkeypatch.setattr(rd, "measure", stop_at_30)
    bench(*command)
    kept = out.read_text()
    assert len(points(out)) == 30
    out.write_text(kept + '{"kind": "point", "codec": "we')  # killed in the middle of a line
    result = bench(*command)
    assert result.exit_code == 0, result.output
    assert out.read_text().startswith(kept)
    keys = [(point.codec, point.quality, point.image) for point in points(out)]
    assert len(keys) == len(set(keys)) == 2 * 2 * 11
    calls_before = next(calls)
    assert bench(*command).output.splitlines()[-4:] == result.output.splitlines()[-4:]
    assert next(calls) == calls_before + 1  # nothing was measured again


def test_results_of_other_pictures_or_settings_are_not_mixed(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    command = ("rd", "--images", folder, "--codecs", "jpeg", "--out", out)
    assert bench(*command).exit_code == 0
    before = out.read_text()
    with Image.open(folder / "a.png") as image:
        image.rotate(180).save(folder / "a.png")
    result = bench(*command)
    assert result.exit_code == 1
    assert re.search(r"r\.jsonl holds a\.png as .* choose another --out", result.output)
    assert out.read_text() == before


def test_a_missing_package_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    result = bench("rd", "--images", folder, "--codecs", "heic,jpeg")
    assert result.exit_code == 0
    assert re.search(r"^heic is left out: pip install pillow-heif .*$", result.output, re.MULTILINE)
    assert "| jpeg |" in result.output
    alone = bench("rd", "--images", folder, "--codecs", "heic")
    assert alone.exit_code == 1
    assert "none of these codecs" in alone.output


def run_without(package: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """python -m bench in a process of its own, where a package cannot be imported."""
    code = f"import sys, runpy; sys.modules[{package!r}] = None; runpy.run_module('bench', run_name='__main__')"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("package", ["tqdm", "click"])
def test_without_its_packages_bench_names_them_and_how_to_install(folder: Path, package: str) -> None:
    done = run_without(package, "rd", "--images", folder, "--codecs", "jpeg")
    assert done.returncode == 1
    assert done.stderr == f"Error: python -m bench needs the package {package}: pip install '.[bench]'\n"


def test_the_commands_of_the_docs_make_all_rows() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    (codecs,) = re.findall(r"^python -m bench rd .*--codecs (\S+) .*# the rows below", text, re.MULTILINE)
    assert re.search(r"^python -m bench speed --out", text, re.MULTILINE)  # every codec that it knows
    rows = [re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for table in text.split("<!-- table: ")[1:]]
    assert {peer.name for peer in peers(codecs.split(","))} == set(rows[0][1:])  # without the head
    assert set(speed.NAMES) == set(rows[1][1:])


@pytest.mark.parametrize(
    ("codecs", "message"),
    [("jpg", "no codec jpg; known are aecodec, jpeg"), ("aecodec:none.safetensors", "none.safet")],
)
def test_unknown_codecs_are_one_line(folder: Path, codecs: str, message: str) -> None:
    result = bench("rd", "--images", folder, "--codecs", codecs)
    assert result.exit_code == 1
    assert message in result.output
    assert len(result.output.splitlines()) == 1


def test_unusable_folders_are_one_line(tmp_path: Path) -> None:
    result = bench("rd", "--images", tmp_path, "--codecs", "jpeg")
    assert result.exit_code == 1
    assert "no pictures in" in result.output
    (tmp_path / "broken.png").write_bytes(b"no picture")
    result = bench("rd", "--images", tmp_path, "--codecs", "jpeg")
    assert result.exit_code == 1
    assert "broken.png is no picture" in result.output


def test_files_that_are_no_results_are_named(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    results.append(path, Run("command", {}, {}))
    path.write_text(path.read_text() + '{"kind": "point", "codec": 1}\n')
    result = bench("table", path)
    assert result.exit_code == 1
    assert "r.jsonl, line 2 is no result" in result.output


def test_means_are_over_the_pictures_that_every_codec_has(folder: Path) -> None:
    image = rd.load(folder / "a.png")
    jpeg, webp = peers(["jpeg", "webp"])
    complete = [
        rd.measure(peer, quality, image, name)
        for peer in (jpeg, webp)
        for name in ("a", "b")
        for quality in (30.0, 60.0)
    ]
    part = [dataclasses.replace(complete[0], image="c", bpp=100.0)]
    part += [dataclasses.replace(complete[0], image="d", quality=quality) for quality in (30.0, 61.0)]
    curves, pictures = results.curves(complete + part)
    assert pictures == ["a", "b"]
    assert curves["jpeg"].bpp.tolist() == [complete[0].bpp, complete[1].bpp]


def test_csv_holds_the_points(tmp_path: Path) -> None:
    source = ROOT / "bench" / "results" / "kodak.jsonl"
    assert bench("csv", source, tmp_path / "r.csv").exit_code == 0
    with (tmp_path / "r.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = points(source)
    assert [(row["codec"], row["image"], float(row["psnr"])) for row in rows] == [
        (point.codec, point.image, point.psnr) for point in expected
    ]
    assert [row["ssimulacra2"] for row in rows] == [
        "" if point.ssimulacra2 is None else str(point.ssimulacra2) for point in expected
    ]


def test_the_schema_is_documented() -> None:
    document = (ROOT / "docs" / "benchmarks.md").read_text()
    for kind in (results.Run, results.Point, results.Speed, results.Throughput):
        section = document.split(f"### {kind.__name__.lower()}\n")[1].split("\n##")[0]
        described = re.findall(r"^\| `(\w+)`", section, re.MULTILINE)
        assert described == [field.name for field in dataclasses.fields(kind)], kind.__name__


def test_the_linear_autoencoder_is_one(random_pixels: np.ndarray) -> None:
    """Orthonormal and, at its finest step, near-lossless; sides need not be multiples of a block."""
    codec = BlockPca()
    assert np.allclose(codec.basis @ codec.basis.T, np.eye(len(codec.basis)), atol=1e-5)
    image = Image.fromarray(random_pixels)
    decoded = codec.decode(codec.encode(image, 150.0))
    assert decoded.size == image.size
    assert metrics.psnr(random_pixels, np.asarray(decoded)) > 45
