"""The engine dask, with real schedulers and workers: what dies is done again, and nothing is lost or half-written."""

from __future__ import annotations

import csv
import fcntl
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dask
import fsspec
import pytest
from click.testing import CliRunner, Result
from distributed import LocalCluster
from PIL import Image
from support import DATA

import aecodec
from aecodec.cli import cluster
from aecodec.cli.app import main
from aecodec.cli.files import replace_file
from aecodec.cli.folders import Job, Outcome
from aecodec.cli.urls import Url, place

FREE_PORT = "127.0.0.1:0"
TINY = ["--weights", DATA / "tiny.safetensors"]
# In a worker: after two files it stops before the renaming of the next, until there is a file. May be loaded twice.
GATE = """
import os, time

def gated(source, target):
    global count
    count += str(target).endswith(".aec")
    while count > 2 and not os.path.exists({gate!r}):
        time.sleep(0.01)
    replace(source, target)

if os.replace.__name__ != "gated":
    replace, count, os.replace = os.replace, 0, gated
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def photos(tmp_path: Path, coffee: Image.Image) -> Path:
    """Two pictures, one in a folder inside."""
    folder = tmp_path / "photos"
    (folder / "may").mkdir(parents=True)
    coffee.crop((0, 0, 70, 50)).save(folder / "a.png")
    coffee.crop((80, 90, 150, 140)).save(folder / "may" / "b.jpg")
    return folder


@pytest.fixture
def here() -> Iterator[str]:
    """Address of a scheduler whose only worker is this process, which sees its memory:// files."""
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=FREE_PORT) as one:
        yield one.scheduler_address


@pytest.mark.xdist_group("machine")
@pytest.mark.slow
def test_nothing_is_lost_when_a_worker_is_killed(tmp_path: Path, coffee: Image.Image) -> None:
    """Two workers stop before they rename their third file, one of them is killed there, and the other goes on."""
    photos, out, report, gate = (tmp_path / name for name in ("photos", "out", "report.csv", "gate"))
    photos.mkdir()
    for number in range(12):
        coffee.crop((5 * number, 3 * number, 5 * number + 96, 3 * number + 64)).save(photos / f"{number:02}.png")
    (photos / "bad.png").write_bytes(b"no picture at all")
    (tmp_path / "preload.py").write_text(GATE.format(gate=str(gate)))
    over = threading.Event()

    def kill_one(pid: int) -> None:
        while len(list(out.glob(".aecodec-*"))) < 2 or len(list(out.glob("*.aec"))) < 4:
            if over.wait(0.01):
                return
        os.kill(pid, signal.SIGKILL)
        gate.touch()

    with (
        dask.config.set({"distributed.worker.preload": [str(tmp_path / "preload.py")]}),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=FREE_PORT, silence_logs=50) as two,
    ):
        victim = two.workers[0].pid
        killer = threading.Thread(target=kill_one, args=(victim,))
        killer.start()
        options = ["--engine", "dask", "--cluster", two.scheduler_address, "--report", report]
        result = run("encode", photos, out, *options, *TINY)
        over.set()
        killer.join()
        assert two.workers[0].pid != victim
    assert gate.exists()
    assert result.exit_code == 1
    assert "12 done, 1 failed" in result.output
    assert f"{photos / 'bad.png'}: not an image that Pillow can read" in result.output
    assert files_below(out) == [f"{number:02}.png.aec" for number in range(12)]
    codec = aecodec.Codec.load(DATA / "tiny.safetensors", "cpu")
    for path in out.iterdir():
        assert codec.decode(path.read_bytes()).size == (96, 64)
    with report.open() as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["source"] for row in rows) == Counter(str(path) for path in photos.iterdir())
    for row in rows:
        done = row["state"] == "done"
        assert done == (Path(row["source"]).name != "bad.png")
        assert not done or int(row["bytes_after"]) == Path(row["target"]).stat().st_size


@pytest.mark.xdist_group("machine")
@pytest.mark.slow
def test_a_file_that_kills_its_workers_fails_alone_and_leaves_nothing(tmp_path: Path) -> None:
    """One job always dies, one the first time, between the writing of its temporary file and the renaming."""
    names = ["always", "once", *(f"good-{number}" for number in range(6))]
    jobs = [Job(tmp_path / name, tmp_path / f"{name}.aec") for name in names]
    other = tmp_path / ".aecodec-01234567-other.tmp"
    living = other.open("wb")  # of a run that is none of ours: it holds the lock
    fcntl.flock(living, fcntl.LOCK_EX)
    seen = tmp_path / "seen"

    def work(job: Job) -> Outcome:
        if job.source.name == "always" or (job.source.name == "once" and not seen.exists()):
            seen.touch()
            os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        replace_file(job.target, b"whole")
        return Outcome(str(job.source), str(job.target), "done")

    # A worker that is not back at once is given up, as one that is slow to come back on a busy machine.
    lost = {"distributed.deploy.lost-worker-timeout": "1ms"}
    with dask.config.set({"distributed.scheduler.allowed-failures": 1, **lost}):
        outcomes = list(cluster.engine(2, None)(jobs, work))
    assert sorted((Path(one.source).name, one.state) for one in outcomes) == sorted(
        (name, "failed" if name == "always" else "done") for name in names
    )
    (failed,) = (one for one in outcomes if one.state == "failed")
    assert failed.error == f"{tmp_path / 'always'}: each worker that tried it died"
    assert files_below(tmp_path) == sorted([other.name, "seen", *(f"{name}.aec" for name in names if name != "always")])
    assert {path.read_bytes() for path in tmp_path.glob("*.aec")} == {b"whole"}
    living.close()


@pytest.mark.xdist_group("machine")
@pytest.mark.slow
def test_a_run_ends_where_no_worker_can_be_started_anymore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_PATIENCE", 0.1)
    monkeypatch.setattr("distributed.nanny.Nanny._on_worker_exit_sync", lambda *_: None)  # which starts it anew

    def die(_: Job) -> Outcome:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    (outcome,) = cluster.engine(1, None)([Job(tmp_path / "a", tmp_path / "a.aec")], die)
    assert (outcome.state, outcome.error.partition(": ")[2]) == (
        "failed",
        "all workers died, and no other could be started",
    )


@pytest.mark.xdist_group("machine")
@pytest.mark.slow
def test_processes_of_this_machine_write_the_same_files(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another folder than the workers', and with a URL of the kind that every process sees."""
    monkeypatch.chdir(tmp_path)
    local = [photos, tmp_path / "one", "-r", "-j", 1]
    dask = ["photos", f"local://{tmp_path}/two", "-r", "-j", 2, "--engine", "dask", "--report", "report.csv"]
    for arguments in (local, dask):
        result = run("encode", *arguments, *TINY)
        assert result.exit_code == 0, result.output
    assert files_below(tmp_path / "two") == files_below(tmp_path / "one") == ["a.png.aec", "may/b.jpg.aec"]
    for name in ("a.png.aec", "may/b.jpg.aec"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    with Path("report.csv").open() as file:
        assert [row["source"] for row in csv.DictReader(file)] == ["photos/a.png", "photos/may/b.jpg"]


def test_urls_in_memory(photos: Path, here: str) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(f"{photos}/", "/photos", recursive=True)
    arguments = ["encode", "memory://photos", "memory://archive", "--recursive", "--engine", "dask", "--cluster", here]
    try:
        assert run(*arguments, "--dry-run", *TINY).output.endswith("\n2 planned\n")
        assert run(*arguments, *TINY).output.splitlines()[-1].startswith("2 done: ")
        assert run(*arguments, *TINY).output == "2 up to date\n"
        assert memory.find("/archive") == ["/archive/a.png.aec", "/archive/may/b.jpg.aec"]
        codec = aecodec.Codec.load(DATA / "tiny.safetensors", "cpu")
        assert codec.decode(memory.cat("/archive/a.png.aec")).size == (70, 50)
    finally:
        memory.rm("/", recursive=True)


def test_one_file_by_url(tmp_path: Path, photos: Path) -> None:
    for target in (f"local://{tmp_path}/one.aec", f"file://{tmp_path}/two.aec"):
        result = run("encode", f"local://{photos}/a.png", target, *TINY)
        assert result.exit_code == 0, result.output
    assert (tmp_path / "one.aec").read_bytes() == (tmp_path / "two.aec").read_bytes()
    assert files_below(tmp_path) == ["one.aec", "photos/a.png", "photos/may/b.jpg", "two.aec"]
    result = run("encode", f"local://{photos}/none.png", tmp_path / "three.aec", *TINY)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: local://{photos}/none.png cannot be used: ")
    assert place("file:///a/b.png") == Path("/a/b.png")


def test_failed_move_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photo.aec").write_bytes(b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(fsspec.filesystem("local")), "mv", full)
    with pytest.raises(aecodec.InputError, match=r"photo.aec cannot be used: .*No space"):
        replace_file(Url(f"local://{tmp_path}/photo.aec"), b"new")
    assert files_below(tmp_path) == ["photo.aec"]
    assert (tmp_path / "photo.aec").read_bytes() == b"old"


def test_folder_without_pictures(tmp_path: Path) -> None:
    result = run("encode", f"local://{tmp_path}", tmp_path / "out", "--engine", "dask")
    assert result.exit_code == 1
    assert "contains no files to process" in result.stderr


@pytest.mark.parametrize(
    ("package", "arguments"),
    [("distributed", ["photos", "out", "--engine", "dask"]), ("fsspec", ["memory://photos", "out"])],
)
def test_missing_package_is_named(
    photos: Path, monkeypatch: pytest.MonkeyPatch, package: str, arguments: list[str]
) -> None:
    monkeypatch.chdir(photos.parent)
    for name in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    result = run("encode", *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.endswith(f"needs the package {package}: pip install 'aecodec[cluster]'\n")
    assert not Path("out").exists()


def test_unknown_filesystem_and_scheduler(photos: Path) -> None:
    assert run("encode", "nowhere://photos", "out").stderr == (
        "Error: nowhere://photos cannot be used: Protocol not known: nowhere\n"
    )
    with dask.config.set({"distributed.comm.timeouts.connect": "100ms"}):
        result = run("encode", photos, photos, "--engine", "dask", "--cluster", "tcp://127.0.0.1:1")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: no scheduler at tcp://127.0.0.1:1: ")
    assert not list(photos.glob("*.aec"))


def test_cluster_is_for_its_engine(photos: Path) -> None:
    for options in (["--cluster", "tcp://host:8786"], ["--engine", "dask", "--cluster", "tcp://host:8786", "-j", 2]):
        assert run("encode", photos, photos, *options).exit_code == 2
    assert run("encode", photos / "a.png", photos / "a.aec", "--engine", "dask").exit_code == 2
