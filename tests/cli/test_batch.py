"""Folders, pipes, failures: what one command does to many files."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import process_work
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from support import DATA

import aecodec
from aecodec import metrics
from aecodec.cli import batch, folders
from aecodec.cli.app import main
from aecodec.cli.folders import Job, Outcome, Places
from aecodec.cli.processes import in_processes
from aecodec.cli.reporter import Reporter
from aecodec.formats import picture_suffixes

TINY = ["--weights", DATA / "tiny.safetensors"]


def run(*arguments: object, data: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments], input=data)


def encode(*arguments: object) -> Result:
    """A folder in this process, with the tiny model."""
    return run("encode", *arguments, "-j", 1, *TINY)


def rows(report: Path) -> dict[str, dict[str, str]]:
    with report.open() as file:
        return {Path(row["source"]).name: row for row in csv.DictReader(file)}


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


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
    result = encode(photos, out, "--recursive", "--report", report, "-q", 80)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("3 done: ")
    assert result.output.endswith("\nskipped: 1 no picture\n")
    assert files_below(out) == ["2026/may/b.webp.aec", "a.jpg.aec", "a.png.aec"]
    assert set(rows(report)) == {"a.png", "a.jpg", "b.webp"}
    row, pixels = rows(report)["a.png"], np.asarray(Image.open(photos / "a.png"))
    assert int(row["bytes_before"]) == (photos / "a.png").stat().st_size
    data = (out / "a.png.aec").read_bytes()
    assert int(row["bytes_after"]) == len(data)
    decoded = aecodec.Codec.load(DATA / "tiny.safetensors", "cpu").decode(data)
    assert float(row["psnr"]) == pytest.approx(metrics.psnr(pixels, np.asarray(decoded)), abs=1e-3)


def test_second_run_does_what_is_new(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "out"
    assert encode(photos, out).output.startswith("2 done")
    assert not (out / "2026").exists()
    before = (out / "a.png.aec").stat().st_mtime_ns
    os.utime(photos / "a.jpg", (2e9, 2e9))
    size = (photos / "a.jpg").stat().st_size
    planned = f"{photos / 'a.jpg'}: {size} bytes, to {out / 'a.jpg.aec'}\n1 planned, 1 up to date\n"
    assert encode(photos, out, "--dry-run").output.startswith(planned)
    assert "1 done" in encode(photos, out).output
    assert (out / "a.png.aec").stat().st_mtime_ns == before
    assert encode(photos, out, "--force").output.startswith("2 done")
    assert (out / "a.png.aec").stat().st_mtime_ns > before


def test_names_of_targets_differ_and_stay_when_a_file_is_added(tmp_path: Path, coffee: Image.Image) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    coffee.crop((0, 0, 64, 64)).save(photos / "b.png")
    assert encode(photos, out).output.startswith("1 done")
    (first,) = out.iterdir()
    written = first.stat().st_mtime_ns
    for number, name in enumerate(["b.jpg", "b.png.jpg", "b.jpg.png", "b.PNG"], 1):
        coffee.crop((0, 0, 64 + number, 64)).save(photos / name)
    assert encode(photos, out).output.startswith("4 done, 1 up to date")
    sizes = {aecodec.read_header(path.read_bytes()).width for path in out.iterdir()}
    assert (len(list(out.iterdir())), sizes) == (5, {64, 65, 66, 67, 68})
    assert first.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["-q", 60], ["-q", 60.01]),
        ([], ["--model", "s"]),
        ([], ["--tile", 64]),
        ([], ["--verify"]),
        ([], ["--strip"]),
        (["--max-bytes", 1200], ["--max-bytes", 800]),
        (["--bpp", 0.7], ["--bpp", 1]),
        (["--model", "s", "--psnr", 30], ["--model", "s", "--psnr", 33]),
        (["--model", "s", "--psnr", 33], ["--model", "s", "--psnr", 30]),
    ],
)
def test_file_of_other_options_is_not_up_to_date(
    tmp_path: Path, coffee: Image.Image, before: list[object], after: list[object]
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    coffee.crop((0, 0, 120, 80)).save(photos / "a.png", dpi=(300, 300))
    for options, state in ((before, "done"), (before, "up to date"), (after, "done"), (after, "up to date")):
        result = run("encode", photos, out, "-j", 1, *options, *([] if "--model" in options else TINY))
        assert result.output.startswith(f"1 {state}"), (options, result.output)


def test_report_of_a_second_run_has_the_sizes(tmp_path: Path, photos: Path) -> None:
    sizes = []
    for name in ("first.csv", "second.csv"):
        encode(photos, tmp_path / "out", "-r", "--report", tmp_path / name)
        sizes.append({key: (row["bytes_before"], row["bytes_after"]) for key, row in rows(tmp_path / name).items()})
    assert sizes[0] == sizes[1]
    assert all(int(size) for pair in sizes[1].values() for size in pair)


def test_bad_file_stops_nothing(tmp_path: Path, photos: Path) -> None:
    (photos / "bad.png").write_bytes(b"no picture at all")
    for options, state in ((["--dry-run"], "3 planned"), ([], "3 done")):
        result = encode(photos, tmp_path / "out", "--recursive", *options)
        assert result.exit_code == 1
        assert state in result.output
        assert "1 of 4 files failed" in result.output
        assert str(photos / "bad.png") in result.output
    assert not list((tmp_path / "out").rglob("bad*"))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "out of memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] can't allocate memory: 9 GB"), "out of memory"),
        (RuntimeError("CUDA error\nand much more"), "RuntimeError: CUDA error"),
    ],
)
def test_short_memory_and_defects_fail_one_file(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    plain = aecodec.Codec.encode

    def short(codec: aecodec.Codec, picture: object, **options: object) -> bytes:
        if picture.pixels.shape[1] == 120:  # type: ignore[attr-defined]
            raise error
        return plain(codec, picture, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(aecodec.Codec, "encode", short)
    result = encode(photos, tmp_path / "out", "--report", tmp_path / "report.csv")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, f"{photos / 'a.png'}: {told}")
    assert {name: row["state"] for name, row in rows(tmp_path / "report.csv").items()} == {
        "a.png": "failed",
        "a.jpg": "done",
    }
    assert run("encode", photos / "a.png", tmp_path / "a.aec", *TINY).exit_code == 1


def test_formats_of_plugins_are_not_left_out(tmp_path: Path, coffee: Image.Image) -> None:
    """A process that has read nothing else: the plugins are not registered yet."""
    pytest.importorskip("pillow_heif").register_heif_opener()
    (tmp_path / "photos").mkdir()
    coffee.crop((0, 0, 64, 48)).save(tmp_path / "photos" / "a.HEIC", format="HEIF")
    command = [sys.executable, "-P", "-m", "aecodec.cli", "encode", tmp_path / "photos", tmp_path, "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "1 planned" in done.stdout, done.stderr


def test_what_is_no_picture_is_counted_with_the_reason(tmp_path: Path, photos: Path) -> None:
    """Formats of which Pillow knows the name only, metadata of macOS, and pictures whose plugin is missing."""
    for name in ("clip.mpg", "data.h5", "w.grib", "._photo.jpg", "a.aec", "b.HIF", "d.wmf"):
        (photos / name).write_bytes(b"no picture")
    without = "import sys; sys.modules['pillow_heif'] = None; from aecodec.cli.app import run; run()"
    command = [sys.executable, "-P", "-c", without, "encode", photos, tmp_path / "out", "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[2:] == [
        "2 planned",
        "skipped: 1 .aec, 1 .hif (install pillow-heif), 1 .wmf (Windows is needed), "
        "1 folder (--recursive goes into it), 5 no pictures",
    ]


def test_folder_of_no_pictures_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "clip.mpg").touch()
    (tmp_path / "folder").mkdir()
    told = "contains no files to process, skipped: 1 folder (--recursive goes into it), 1 no picture\n"
    assert encode(tmp_path, tmp_path).stderr == f"Error: {tmp_path} {told}"


def test_linked_folders_are_gone_into_once(tmp_path: Path, photos: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (photos / "a.png").rename(elsewhere / "c.png")
    (photos / "linked").symlink_to(elsewhere)
    (photos / "again").symlink_to(photos / "2026")
    (elsewhere / "loop").symlink_to(photos)
    (photos / "gone.png").symlink_to(tmp_path / "nowhere")
    result = encode(photos, tmp_path / "out", "--recursive")
    assert result.stderr == f"Error: 1 of 4 files failed\n{photos / 'gone.png'}: no such file\n"
    assert files_below(tmp_path / "out") == ["2026/may/b.webp.aec", "a.jpg.aec", "linked/c.png.aec"]


@pytest.fixture
def stranger() -> Iterator[Path]:
    """A folder, and meanwhile this process is nobody, who may not do everything."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        me = os.geteuid()
        if me == 0:
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            for path in Path(name).rglob("*"):
                if path.is_dir():
                    path.chmod(0o700)
            os.seteuid(me)


def test_folder_without_permission_fails_alone(stranger: Path, coffee: Image.Image) -> None:
    photos, report = stranger / "photos", stranger / "report.csv"
    for name, mode in (("listable", 0o400), ("private", 0o000), ("sound", 0o700)):
        (photos / name).mkdir(parents=True)
        coffee.crop((0, 0, 40, 30)).save(photos / name / f"{name}.png")
        (photos / name).chmod(mode)
    (stranger / "out").mkdir()
    (stranger / "out" / "fixed").touch()
    (photos / "fixed").mkdir()
    coffee.crop((0, 0, 40, 30)).save(photos / "fixed" / "fixed.png")
    result = encode(photos, stranger / "out", "-r", "--report", report)
    assert result.exit_code == 1, result.output
    found = {name: (row["state"], row["error"].partition(": ")[2]) for name, row in rows(report).items()}
    assert found.pop("sound.png") == ("done", "")
    assert {name: state for name, (state, _) in found.items()} == dict.fromkeys(
        ["listable.png", "private", "fixed.png"], "failed"
    )
    assert "Permission denied" in found["listable.png"][1]
    assert found["private"][1] == "Permission denied"
    assert "exists" in found["fixed.png"][1] or "ot a directory" in found["fixed.png"][1]
    assert files_below(stranger / "out") == ["fixed", "sound/sound.png.aec"]


def test_report_is_checked_before_the_work(tmp_path: Path, photos: Path) -> None:
    for report, code, message in (
        (tmp_path / "nodir" / "r.csv", 1, "no folder"),
        (tmp_path, 1, "not a regular file"),
        (photos / "a.jpg", 2, "has the suffix of JPEG"),
    ):
        before = (photos / "a.jpg").read_bytes()
        result = encode(photos, tmp_path / "out", "--report", report)
        assert (result.exit_code, message in result.stderr) == (code, True), result.output
        assert not (tmp_path / "out").exists()
        assert (photos / "a.jpg").read_bytes() == before


def test_report_to_a_pipe(tmp_path: Path, photos: Path) -> None:
    result = encode(photos, tmp_path / "out", "--report", "-")
    assert [row["state"] for row in csv.DictReader(io.StringIO(result.stdout))] == ["done", "done"]
    assert result.stderr.startswith("2 done: ")
    assert not Path("-").exists()


def test_notes_name_their_file_and_are_in_the_report(tmp_path: Path, photos: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(1 << 16, size=(20, 20)).astype(np.uint16)).save(
        photos / "deep.png"
    )
    report, loss = tmp_path / "r.csv", f"{photos / 'deep.png'}: 16 bits per channel are reduced to 8"
    assert encode(photos, tmp_path / "out", "--report", report).stderr == f"Note: {loss}\n"
    assert {name: row["notes"] for name, row in rows(report).items()} == {"a.png": "", "a.jpg": "", "deep.png": loss}
    arguments = ["encode", photos, tmp_path / "out", "--report", report, "-j", "2", *TINY, "--force", "--quiet"]
    done = subprocess.run([sys.executable, "-P", "-m", "aecodec.cli", *arguments], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
    assert rows(report)["deep.png"]["notes"] == loss


def test_equal_notes_are_one_line_with_a_count(tmp_path: Path, photos: Path) -> None:
    deep = Image.fromarray(np.random.default_rng(0).integers(0, 1 << 16, (20, 20), np.uint16))
    for name in ("x.png", "y.png", "z.png"):
        deep.save(photos / name)
    note, loss = f"Note: {photos / 'x.png'}: ", "16 bits per channel are reduced to 8"
    for options, lines in ((["--force"], 1), (["--force", "-v"], 3)):
        told = [line for line in encode(photos, tmp_path / "out", *options).stderr.splitlines() if loss in line]
        assert (len(told), told[0].startswith(note + loss)) == (lines, True)
    assert encode(photos, tmp_path / "out", "--force").stderr == f"{note}{loss} (and 2 more files; -v names them)\n"


def test_what_is_left_out_is_named_with_v(tmp_path: Path, photos: Path) -> None:
    result = encode(photos, tmp_path / "out", "--dry-run", "-v")
    for name, why in (("notes.txt", "no picture"), ("2026", "folder (--recursive goes into it)")):
        assert f"skipped: {photos / name}: {why}\n" in result.stderr
    assert "notes.txt" not in encode(photos, tmp_path / "out", "--dry-run").output


def test_effort_alone_is_told_not_to_be_seen(tmp_path: Path, photos: Path) -> None:
    out, told = tmp_path / "out", "Note: no file tells its effort: --force encodes again what is up to date\n"
    for options, stderr in (
        (["-e", 0], ""),
        (["-e", 1], told),
        (["-e", 1, "--dry-run"], told),
        ([], ""),
        (["-e", 1, "--force"], ""),
        (["-e", 1, "--quiet"], ""),
    ):
        assert encode(photos, out, *options).stderr == stderr, options


def test_line_ends_and_controls_in_names_are_escaped(tmp_path: Path, photos: Path) -> None:
    name = "new\nline\x1b[31m.png"
    (photos / "a.png").rename(photos / name)
    Image.fromarray(np.full((20, 20), 999, np.uint16)).save(photos / "deep\n.png")
    (photos / "bad\r.png").write_bytes(b"no picture")
    (photos / "skip\n.txt").touch()
    out = tmp_path / "out"
    for command in (
        ["encode", photos, out, "--dry-run", "-v"],
        ["encode", photos, out, "-j", 1, *TINY],
        ["info", out],
        ["info", out / f"{name}.aec"],
        ["encode", photos / name, out / "a\nb.aec", *TINY],
        ["encode", photos / "deep\n.png", out / "deep.aec", *TINY],  # a note
        ["encode", photos / "bad\r.png", out / "bad.aec"],
        ["encode", photos / "a.jpg", out / "new\n.png"],
        ["encode", photos / "a.jpg", tmp_path / "new\n" / "a.aec"],
        ["decode", photos / "new\n", tmp_path / "a.png"],
        ["decode", out / f"{name}.aec", out / "new\n.unknown"],
        ["encode", photos / "new\n", out, "-r"],
        ["info", "-r", out / f"{name}.aec"],
        ["info", photos / "new\n"],
        ["info", photos / "bad\r.png", photos / "new\n"],
        ["verify", photos / "bad\r.png"],
        ["compare", photos / "new\n", photos / "a.jpg"],
        ["encode", photos, out, "--report", tmp_path / "new\n" / "r.csv"],
        ["thumbnail", photos / "bad\r.png", out / "t.png"],
        ["info", "--model", "--weights", photos / "new\n"],
    ):
        result = run(*command)
        assert re.search(r"\\[nr]", result.output), command
        assert not re.search(r"new\n|deep\n|skip\n|a\nb|[\r\x1b]", result.output), result.output
    for facts in map(json.loads, run("info", out, "--json").stdout.splitlines()):  # programs get the name itself
        assert Path(facts["file"]).exists()


def test_names_that_are_not_utf8(tmp_path: Path, photos: Path) -> None:
    name = os.fsdecode(b"K\xf6nig.jpg")
    (photos / "a.jpg").rename(photos / name)
    (photos / "a.png").rename(photos / os.fsdecode(b"bad\xff.png"))
    (photos / os.fsdecode(b"bad\xff.png")).write_bytes(b"no picture")
    arguments = ["encode", photos, tmp_path / "out", "-j", "1", "--report", tmp_path / "r.csv", *TINY]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "aecodec.cli", *arguments],
        capture_output=True,
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        check=False,
    )
    assert done.returncode == 1
    assert b"1 done" in done.stdout
    assert b"1 of 2 files failed\n" in done.stderr
    assert b"Traceback" not in done.stderr
    assert {row["state"] for row in rows(tmp_path / "r.csv").values()} == {"done", "failed"}
    assert (tmp_path / "out" / f"{name}.aec").exists()
    dry = run("encode", photos, tmp_path / "other", "--dry-run")
    assert "K\\udcf6nig.jpg" in dry.output


def test_many_files_begin_at_once(tmp_path: Path) -> None:
    """Processor time up to the first file of 20,000, half of which are there already: not their square."""
    photos, out = tmp_path / "photos", tmp_path / "out"
    for folder in (photos, out):
        folder.mkdir()
    for number in range(20_000):
        (photos / f"{number}.png").touch()
    begun = []

    def engine(jobs: Iterable[Job], work: Callable[[Job], Outcome]) -> Generator[Outcome, None, None]:
        for job in jobs:
            begun.append(time.process_time())
            yield work(job)

    def current(job: Job) -> bool:
        return int(job.source.stem) % 2 == 0

    started = time.process_time()
    found = folders.plan(Places([photos], out, many=True), picture_suffixes(), "{}.aec".format, recursive=True)
    done = partial(Outcome, target="", state="done")
    batch.run(
        found,
        lambda job: done(str(job.source)),
        engine,
        current,
        dry_run=False,
        report=tmp_path / "r.csv",
        teller=Reporter(quiet=True),
    )
    assert len(begun) == 10_000
    assert begun[0] - started < 3  # 100 s when it was quadratic
    assert begun[-1] - started < 6


def test_killed_process_loses_its_file_alone(tmp_path: Path) -> None:
    names = ["always", "once", *"abcdef"]
    results = list(in_processes(names, partial(process_work.die, tmp_path), "dead: {}".format, 2))
    assert sorted(results) == sorted(["dead: always", "once", *"abcdef"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_processes_end_with_their_parent_and_the_report_stands(tmp_path: Path, number: signal.Signals) -> None:
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen([sys.executable, process_work.__file__, tmp_path], stderr=subprocess.PIPE) as parent:
        with (tmp_path / "pipe").open("rb") as pipe:
            assert pipe.read(2) == b"bb"  # the first file is done, both processes are at work
            parent.send_signal(number)
            assert pipe.read() == b""  # nobody is left who could write
        parent.wait()
        assert parent.stderr is not None
        assert parent.stderr.read() == b""
    assert parent.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert [(name, row["state"]) for name, row in rows(tmp_path / "report.csv").items()] == [("a", "done")]


def test_gpu_is_for_one_process(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[object, object]] = []

    def record(_: object, work: partial[Outcome], engine: partial[object], *__: object, **___: object) -> None:
        seen.append((engine.keywords["count"], work.args[0].device))

    monkeypatch.setattr(batch, "run", record)
    for has_cuda in (True, False):
        monkeypatch.setattr("aecodec.cli.options.has_cuda", lambda found=has_cuda: found)
        run("encode", photos, tmp_path / "out", *TINY)
    assert seen == [(1, "cuda"), (os.cpu_count(), "cpu")]


@pytest.fixture
def archive(tmp_path: Path, photos: Path) -> Path:
    """Three files of the tiny model, one of them damaged."""
    folder = tmp_path / "archive"
    assert encode(photos, folder, "-r", "--tile", 64).exit_code == 0
    data = bytearray((folder / "a.jpg.aec").read_bytes())
    data[-1] ^= 1
    (folder / "a.jpg.aec").write_bytes(data)
    (folder / "notes.txt").touch()
    return folder


def test_folder_is_decoded(tmp_path: Path, archive: Path) -> None:
    out, report = tmp_path / "out", tmp_path / "report.csv"
    arguments = ["decode", archive, out, "-r", *TINY, "--report", report]
    done = subprocess.run([sys.executable, "-P", "-m", "aecodec.cli", *arguments, "-j", "2"], capture_output=True)
    assert (done.returncode, b"1 of 3 files failed\n" in done.stderr, b"Traceback" in done.stderr) == (1, True, False)
    assert done.stdout.startswith(b"2 done, 1 failed: ")
    assert done.stdout.endswith(b"skipped: 1 no .aec\n")
    assert files_below(out) == ["2026/may/b.webp.png", "a.png.png"]
    codec = aecodec.Codec.load(DATA / "tiny.safetensors", "cpu")
    with Image.open(out / "a.png.png") as image:
        assert np.array_equal(image, codec.decode((archive / "a.png.aec").read_bytes()))
    assert {name: row["state"] for name, row in rows(report).items()} == {
        "a.png.aec": "done",
        "a.jpg.aec": "failed",
        "b.webp.aec": "done",
    }
    (archive / "a.jpg.aec").unlink()
    assert run(*arguments, "-j", 1).output.startswith("2 up to date\n")
    small = run(*arguments, "-j", 1, "--scale", "1/2", "--force", "--format", ".JPG")
    assert small.output.startswith("2 done: ")
    with Image.open(out / "a.png.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (60, 40))
    assert run(*arguments, "-j", 1, "--scale", "1/2", "--format", "jpg").output.startswith("2 up to date\n")


def test_decoded_folder_replaces_no_picture_that_is_not_its_own(photos: Path) -> None:
    """Beside the originals: b.aec would become b.png, which is another picture."""
    (photos / "a.png").rename(photos / "b.png")
    original = (photos / "b.png").read_bytes()
    assert run("encode", photos / "b.png", photos / "b.aec", *TINY).exit_code == 0
    os.utime(photos / "b.aec", (2e9, 2e9))
    for options, state in (([], "failed"), (["--force", "--dry-run"], "planned"), (["--partial"], "failed")):
        result = run("decode", photos, "-j", 1, *options, *TINY)
        assert f"1 {state}" in result.output, result.output
        assert (photos / "b.png").read_bytes() == original
    assert "use --force to replace it" in result.stderr
    os.utime(photos / "b.png", (3e9, 3e9))  # touched, which makes it no result
    assert "1 failed" in run("decode", photos, "-j", 1, *TINY).output
    assert run("decode", photos, "-j", 1, "--force", *TINY).output.startswith("1 done")
    assert (photos / "b.png").read_bytes() != original


def test_picture_of_another_time_is_compared(tmp_path: Path, archive: Path) -> None:
    """One that was copied or touched is up to date where it is the same; the next run knows it by its time."""
    out, source = tmp_path / "out", archive / "a.png.aec"
    (archive / "a.jpg.aec").unlink()  # a broken one
    arguments = ("decode", archive, out, "-j", 1, *TINY)
    assert run(*arguments).output.startswith("1 done")
    for touched in (out / "a.png.png", source):
        os.utime(touched, (3e9, 3e9))
        result = run(*arguments)
        assert (result.exit_code, result.output[:12]) == (0, "1 up to date"), result.output
        assert (out / "a.png.png").stat().st_mtime == source.stat().st_mtime


def test_what_is_left_of_damaged_files_in_a_folder(tmp_path: Path, archive: Path) -> None:
    result = run("decode", archive, tmp_path / "out", "--partial", "-j", 1, *TINY)
    assert (result.exit_code, "tiles" in result.stderr, str(archive / "a.jpg.aec") in result.stderr) == (1, True, True)
    with Image.open(tmp_path / "out" / "a.jpg.png") as image:
        assert image.size == (90, 80)


def test_names_of_decoded_pictures_differ(tmp_path: Path, archive: Path) -> None:
    data = (archive / "a.png.aec").read_bytes()
    names = ["p.aec", "p.png.aec", "p.jpg.png.aec", "p.jpg.aec", "p.AEC"]
    for name in names:
        (archive / name).write_bytes(data)
    result = run("decode", archive, tmp_path / "out", "-j", 1, *TINY)
    assert result.stderr.count(f"another would be written to {tmp_path / 'out' / 'p.png'} too") == 2
    assert files_below(tmp_path / "out") == ["a.png.png", "p.jpg.png", "p.jpg.png.png", "p.png.png"]


def test_folder_is_verified(tmp_path: Path, archive: Path) -> None:
    report = tmp_path / "report.csv"
    result = run("verify", archive, "-r", "-j", 1, "--report", report, *TINY)
    assert result.exit_code == 1
    assert result.output.startswith("2 sound, 1 failed\nskipped: 1 no .aec\n")
    assert result.stderr.startswith(f"Error: 1 of 3 files failed\n{archive / 'a.jpg.aec'}: ")
    assert {row["state"] for row in rows(report).values()} == {"sound", "failed"}
    sound = [archive / "a.png.aec", archive / "2026"]
    assert run("verify", *sound, "-r", "-j", 1, *TINY).output == "2 sound\n"
    assert run("verify", *sound, "--original", archive / "a.png.aec").exit_code == 2
    assert run("verify", archive / "a.png.aec", "-j", 1, *TINY).exit_code == 2


def test_info_of_a_folder(archive: Path) -> None:
    (archive / "text.aec").write_text("no .aec")
    result = run("info", archive, "--recursive")
    assert result.exit_code == 1
    assert re.findall(r"^(?:Error: )?(.*?): ", result.stderr.replace("failed", "failed: "), re.MULTILINE) == [
        "2 of 4 files failed",
        str(archive / "a.jpg.aec"),
        str(archive / "text.aec"),
    ]
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["file", "size", "mode", "quality", "bytes", "bpp"]
    assert lines[2].split()[:6] == [str(archive / "a.png.aec"), "120", "x", "80", "RGB", "55"]
    objects = [json.loads(line) for line in run("info", archive, "-r", "--json").stdout.splitlines()]
    assert [Path(one["file"]).name for one in objects] == ["b.webp.aec", "a.png.aec"]
    assert run("info", archive / "a.png.aec", "-r").exit_code == 2


def test_beside_the_sources_and_several_of_them(tmp_path: Path, photos: Path) -> None:
    assert encode(photos, "-r").output.startswith("3 done")
    beside = ["2026/may/b.webp.aec", "a.jpg.aec", "a.png.aec"]
    assert [name for name in files_below(photos) if name.endswith(".aec")] == beside
    assert encode(photos / "a.png").output == "1 up to date\n"
    (tmp_path / "out").mkdir()
    one, folder = ["a.png.aec"], ["2026/may/b.webp.aec", "a.png.aec"]  # a folder among several keeps its name
    for target, more, made in (
        ("out", [photos / "2026"], folder),
        ("new", [photos / "2026"], folder),
        ("slash/", [], one),
    ):
        result = encode(photos / "a.png", *more, f"{tmp_path}/{target}", "-r")
        assert (result.exit_code, files_below(tmp_path / target)) == (0, made), result.output
    assert encode(photos / "a.png", photos / "a.jpg", photos / "2026" / "may" / "b.webp", "--force").exit_code == 0
    assert encode(photos / "a.png", "-", tmp_path / "out").exit_code == 2
    assert run("encode", "-").exit_code == 2


def test_two_sources_of_one_name_are_refused(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.png").write_bytes((photos / "a.png").read_bytes())
    result = encode(photos / "a.png", photos / "a.jpg", tmp_path / "other" / "a.png", tmp_path / "out")
    assert "1 done, 2 failed" in result.output or "2 failed, 1 done" in result.output
    assert files_below(tmp_path / "out") == ["a.jpg.aec"]


def test_target_that_leads_to_an_original_is_refused(tmp_path: Path, photos: Path) -> None:
    original = (photos / "a.jpg").read_bytes()
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png.aec").symlink_to(photos / "a.jpg")
    (out / "a.jpg.aec").hardlink_to(photos / "a.jpg")
    result = encode(photos, out)
    assert "2 of 2 files failed" in result.stderr
    assert (photos / "a.jpg").read_bytes() == (out / "a.jpg.aec").read_bytes() == original


def test_options_of_folders_need_one(tmp_path: Path, photos: Path) -> None:
    assert run("encode", photos / "a.png", tmp_path / "a.aec", "--recursive").exit_code == 2
    result = run("encode", tmp_path, tmp_path / "out")
    assert result.exit_code == 1
    assert "--recursive" in result.output
    result = run("encode", tmp_path / "nowhere", tmp_path / "out", "--recursive")
    assert (result.exit_code, result.stderr) == (1, f"Error: no folder {tmp_path / 'nowhere'}\n")


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


def test_link_that_leads_to_itself_fails_alone(tmp_path: Path, photos: Path) -> None:
    (photos / "loop.png").symlink_to("loop.png")
    result = encode(photos, tmp_path / "out")
    assert result.exit_code == 1
    assert "1 of 3 files failed" in result.output
    assert f"{photos / 'loop.png'}: " in result.output
    assert files_below(tmp_path / "out") == ["a.jpg.aec", "a.png.aec"]


def test_damaged_file_is_not_up_to_date(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "out"
    encode(photos, out)
    whole = (out / "a.png.aec").read_bytes()
    (out / "a.png.aec").write_bytes(whole[:-20])
    assert encode(photos, out).output.startswith("1 up to date, 1 done")
    assert (out / "a.png.aec").read_bytes() == whole


def test_folders_that_are_one_by_links_hold_no_two_files_of_a_name(tmp_path: Path, photos: Path) -> None:
    may, out = photos / "2026" / "may", tmp_path / "out"
    Image.new("RGB", (16, 16)).save(may / "a.png")
    (out / "2026").mkdir(parents=True)
    (out / "2026" / "may").symlink_to(out)
    result = encode(photos, out, "--recursive")
    assert result.exit_code == 1
    assert "2 of 4 files failed" in result.output
    assert files_below(out) == ["a.jpg.aec", "b.webp.aec"]


def test_parent_folder_is_not_left(tmp_path: Path, photos: Path) -> None:
    other, out = photos / "2026" / "may", tmp_path / "deep" / "out"
    assert encode(other, photos / "2026" / "..", f"{out}/").exit_code == 0
    assert files_below(tmp_path / "deep") == ["out/may/b.webp.aec", "out/photos/a.jpg.aec", "out/photos/a.png.aec"]


def test_file_that_is_named_twice_is_done_once(photos: Path) -> None:
    result = encode(photos, photos / "a.jpg", photos / "a.png")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("2 done")


def test_report_replaces_no_source(tmp_path: Path, photos: Path) -> None:
    for name in ("a.png", "a.jpg"):
        (photos / name).rename(photos / name[2:])
    before = (photos / "png").read_bytes()
    result = encode(photos / "png", photos / "jpg", f"{tmp_path}/out/", "--report", photos / "png")
    assert result.exit_code == 1
    assert f"would replace the input {photos / 'png'}: choose another name" in result.output
    assert (photos / "png").read_bytes() == before


def test_weights_are_neither_report_nor_target(tmp_path: Path, photos: Path) -> None:
    weights = tmp_path / "weights.aec"  # whose suffix is no hindrance
    before = (DATA / "tiny.safetensors").read_bytes()
    weights.write_bytes(before)
    (tmp_path / "link").symlink_to(weights)
    (tmp_path / "plain").hardlink_to(weights)
    for command in (
        ["encode", photos, tmp_path / "out", "--report", tmp_path / "plain", "-j", 1],
        ["verify", DATA / "golden", "--report", tmp_path / "plain", "-j", 1],
        ["encode", photos / "a.png", tmp_path / "link"],
        ["decode", DATA / "golden" / "gray.aec", tmp_path / "plain", "--format", "png"],
    ):
        result = run(*command, "--weights", weights)
        assert (result.exit_code, weights.read_bytes()) == (1, before), result.output
        assert "itself" in result.stderr or "would replace the input" in result.stderr
    (photos / "a.png").rename(photos / "a.png.aec")  # of a folder, where a.png.aec would be the weights
    Image.new("RGB", (16, 16)).save(photos / "a.png")
    (photos / "a.png.aec").unlink()
    (photos / "a.png.aec").hardlink_to(weights)
    result = run("encode", photos, "-j", 1, "--weights", photos / "a.png.aec", "--force")
    assert (result.exit_code, weights.read_bytes()) == (1, before), result.output


def test_report_replaces_no_source_that_fails_before_the_work(tmp_path: Path, photos: Path) -> None:
    sources = [photos / "x", tmp_path / "x", photos / "a.png"]
    for path in sources[:2]:
        path.write_bytes((photos / "a.jpg").read_bytes())
    before = sources[0].read_bytes()
    result = encode(*sources, f"{tmp_path}/out/", "--report", sources[0])
    assert (result.exit_code, sources[0].read_bytes()) == (1, before), result.output


def test_report_in_the_folder_that_will_be_made(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for out, report in ((tmp_path / "a" / "out", "a/out/r.csv"), (Path("b/out"), tmp_path / "b" / "r.csv")):
        result = encode(photos, out, "--report", report)
        assert (result.exit_code, set(rows(Path(report)))) == (0, {"a.png", "a.jpg"}), result.output


def test_file_that_is_no_aec_is_not_replaced(tmp_path: Path, photos: Path) -> None:
    other, empty = photos / "a.png.aec", photos / "a.jpg.aec"
    other.write_text("notes")
    empty.touch()
    for options, counts in ((["--dry-run"], "1 planned, 1 failed"), ([], "1 done, 1 failed")):
        result = encode(photos, *options)
        assert (result.exit_code, other.read_text()) == (1, "notes"), result.output
        assert result.stdout.splitlines()[-2].startswith(counts)
        assert f"{other} already exists and is not an .aec file: use --force to replace it" in result.stderr
    assert encode(photos, "--force").exit_code == 0
    assert aecodec.read_header(other.read_bytes()).width == 120


def test_source_that_changes_meanwhile_fails(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = aecodec.Codec.encode

    def slow(codec: aecodec.Codec, picture: object, **options: object) -> bytes:
        if picture.pixels.shape[1] == 120:  # type: ignore[attr-defined]
            os.utime(photos / "a.png", (2e9, 2e9))
        return plain(codec, picture, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(aecodec.Codec, "encode", slow)
    result = encode(photos, tmp_path / "out")
    assert (result.exit_code, files_below(tmp_path / "out")) == (1, ["a.jpg.aec"]), result.output
    assert f"{photos / 'a.png'} has changed while it was encoded\n" in result.stderr


def test_other_region_of_the_same_size_is_not_up_to_date(tmp_path: Path, archive: Path) -> None:
    out = tmp_path / "out"
    options = ("-j", 1, *TINY, "--region")
    (archive / "a.jpg.aec").unlink()  # a broken one
    assert run("decode", archive, out, *options, "0,0,16,16").exit_code == 0
    again = run("decode", archive, out, *options, "0,0,16,16")
    assert (again.exit_code, " up to date" in again.output) == (0, True)
    other = run("decode", archive, out, *options, "16,16,16,16")
    assert (other.exit_code, " up to date" in other.output) == (1, False)
    assert "use --force to replace it" in other.output


def test_what_is_left_of_a_damaged_file_is_not_up_to_date(tmp_path: Path, photos: Path) -> None:
    archive, out = tmp_path / "archive", tmp_path / "out"
    encode(photos, archive, "--tile", 64)
    path = archive / "a.png.aec"
    data = bytearray(path.read_bytes())
    data[-5] ^= 255
    path.write_bytes(data)
    for options in (["--partial"], ["--partial"], []):
        result = run("decode", archive, out, "-j", 1, *TINY, *options)
        assert result.exit_code == 1, (options, result.output)
        assert "1 of 2 files failed" in result.output
    assert files_below(out) == ["a.jpg.png", "a.png.png"]


def test_dry_run_tells_what_would_not_be_replaced(photos: Path) -> None:
    encode(photos)
    (photos / "a.png.aec").rename(photos / "a.aec")
    (photos / "a.jpg.aec").unlink()
    for options in (["--dry-run"], []):
        result = run("decode", photos, "--scale", "1/2", "-j", 1, *TINY, *options)
        assert result.exit_code == 1, result.output
        assert "use --force to replace it" in result.output
