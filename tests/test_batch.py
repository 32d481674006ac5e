"""Folders, pipes, failures: what one command does to many files."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import aecodec
from aecodec import metrics
from aecodec.cli.app import main


def run(*arguments: object, data: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=data)


@pytest.fixture
def photos(tmp_path: Path, coffee: Image.Image) -> Path:
    folder = tmp_path / "photos"
    (folder / "2026" / "may").mkdir(parents=True)
    coffee.crop((0, 0, 120, 80)).save(folder / "a.png")
    coffee.crop((90, 0, 180, 80)).save(folder / "a.jpg")
    coffee.crop((0, 90, 128, 180)).save(folder / "2026" / "may" / "b.webp")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_folder_is_encoded_with_a_report(tmp_path: Path, photos: Path) -> None:
    out, report = tmp_path / "out", tmp_path / "report.csv"
    result = run("encode", photos, out, "--recursive", "-j", 1, "--report", report, "-q", 80)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("3 done: ")
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert names == ["2026/may/b.aec", "a.jpg.aec", "a.png.aec"]
    with report.open() as file:
        rows = {Path(row["source"]).name: row for row in csv.DictReader(file)}
    assert set(rows) == {"a.png", "a.jpg", "b.webp"}
    row, pixels = rows["a.png"], np.asarray(Image.open(photos / "a.png"))
    assert int(row["bytes_before"]) == (photos / "a.png").stat().st_size
    data = (out / "a.png.aec").read_bytes()
    assert int(row["bytes_after"]) == len(data)
    assert float(row["psnr"]) == pytest.approx(metrics.psnr(pixels, np.asarray(aecodec.decode(data))), abs=1e-3)


def test_second_run_does_what_is_new(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "out"
    assert run("encode", photos, out, "-j", 1).output.startswith("2 done")
    assert not (out / "2026").exists()
    before = (out / "a.png.aec").stat().st_mtime_ns
    os.utime(photos / "a.jpg", (2e9, 2e9))
    assert run("encode", photos, out, "-j", 1, "--dry-run").output.strip() == "1 planned, 1 up to date"
    assert "1 done" in run("encode", photos, out, "-j", 1).output
    assert (out / "a.png.aec").stat().st_mtime_ns == before


def test_bad_file_stops_nothing(tmp_path: Path, photos: Path) -> None:
    (photos / "bad.png").write_bytes(b"no picture at all")
    result = run("encode", photos, tmp_path / "out", "--recursive", "-j", 1)
    assert result.exit_code == 1
    assert "3 done" in result.output
    assert "1 of 4 files failed" in result.output
    assert str(photos / "bad.png") in result.output
    assert not list((tmp_path / "out").rglob("bad*"))


def test_options_of_folders_need_one(tmp_path: Path, photos: Path) -> None:
    assert run("encode", photos / "a.png", tmp_path / "a.aec", "--recursive").exit_code == 2
    result = run("encode", tmp_path, tmp_path / "out")
    assert result.exit_code == 1
    assert "--recursive" in result.output


@pytest.mark.xdist_group("machine")
@pytest.mark.slow
def test_processes_write_the_same_files(tmp_path: Path, photos: Path) -> None:
    for name, processes in (("one", "1"), ("two", "2")):
        command = [sys.executable, "-P", "-m", "aecodec.cli", "encode", photos, tmp_path / name, "-r", "-j", processes]
        subprocess.run(command, check=True, timeout=300)
    one, two = (sorted((tmp_path / name).rglob("*.aec")) for name in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    assert len(one) == 3


def test_pipes(photos: Path) -> None:
    encoded = run("encode", "-", "-", data=(photos / "a.png").read_bytes())
    assert encoded.exit_code == 0
    assert encoded.stdout_bytes == aecodec.encode(Image.open(photos / "a.png"))
    assert "bits per pixel" in encoded.stderr
    decoded = run("decode", "-", "-", data=encoded.stdout_bytes)
    with Image.open(io.BytesIO(decoded.stdout_bytes)) as image:
        assert (image.format, image.size) == ("PNG", (120, 80))
