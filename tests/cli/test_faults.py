"""Full disks, read-only folders, kill -9, two writers: there is the old file or the new one, nothing else for long."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from support import DATA

from aecodec import Codec
from aecodec.cli.app import main
from aecodec.cli.files import read_picture, remove_leftovers, replace_file

TINY = ["--weights", str(DATA / "tiny.safetensors")]
GOLDEN = DATA / "golden" / "tiles.aec"
# Writes two contents in turn over a target, as often as it is told; says when it begins, or when it has come to a step
# of the writing, and there it stays.
WRITER = """
import os, signal, sys
from pathlib import Path
from aecodec.cli.files import replace_file
target, letter, size, count = Path(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3]), int(sys.argv[4])

def stay(*_):
    print("there", flush=True)
    signal.pause()

if len(sys.argv) > 5:
    setattr(os, sys.argv[5], stay)
else:
    print("ready", flush=True)
for n in range(count):
    replace_file(target, letter * (size + n % 2))
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def writer(target: Path, letter: str, size: int, count: int, *step: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-c", WRITER, str(target), letter, str(size), str(count), *step]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def leftovers(folder: Path) -> list[Path]:
    return list(folder.glob(".*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 KB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", disk]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """A picture whose file is larger than the small disk: alpha is kept exactly."""
    path = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 4), dtype=np.uint8)).save(path)
    return path


def test_full_disk(small_disk: Path, noise: Path) -> None:
    packed, restored = small_disk / "a.aec", small_disk / "a.bmp"
    for path in (packed, restored):
        path.write_bytes(b"old")
    for arguments in (["encode", "-q", 100, noise, packed], ["decode", GOLDEN, restored]):
        result = run(*arguments, *TINY)
        assert (result.exit_code, "No space left on device" in result.stderr) == (1, True), result.output
    assert {path.name: path.read_bytes() for path in small_disk.iterdir()} == {"a.aec": b"old", "a.bmp": b"old"}


def test_full_disk_stops_no_folder(small_disk: Path, noise: Path, coffee: Image.Image) -> None:
    coffee.crop((0, 0, 40, 40)).save(noise.parent / "small.png")
    photos = noise.parent / "photos"
    photos.mkdir()
    for path in (noise, noise.parent / "small.png"):
        path.rename(photos / path.name)
    result = run("encode", "-q", 100, "-j", 1, photos, small_disk, *TINY)
    assert (result.exit_code, "1 of 2 files failed" in result.stderr) == (1, True), result.output
    assert [path.name for path in small_disk.iterdir()] == ["small.png.aec"]


def test_read_only_disk(small_disk: Path, noise: Path) -> None:
    target = small_disk / "a.bmp"
    target.write_bytes(b"old")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    result = run("decode", GOLDEN, target, *TINY)
    assert (result.exit_code, "Read-only file system" in result.stderr) == (1, True), result.output
    assert target.read_bytes() == b"old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    tmp_path.chmod(0o555)
    result = run("decode", GOLDEN, target, *TINY)
    tmp_path.chmod(0o755)
    assert (result.exit_code, "Permission denied" in result.stderr) == (1, True), result.output
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_leftovers_go_and_files_in_use_stay(tmp_path: Path) -> None:
    dead, alive, other = (tmp_path / name for name in (".aecodec-dead.tmp", ".aecodec-alive.tmp", ".hidden.tmp"))
    for path in (dead, alive, other):
        path.write_bytes(b"half a file")
    link = tmp_path / ".aecodec-link.tmp"
    link.symlink_to(other)
    with alive.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        remove_leftovers(tmp_path)
        assert sorted(leftovers(tmp_path)) == [alive, link, other]
    assert run("decode", GOLDEN, tmp_path / "a.png", *TINY).exit_code == 0
    assert sorted(leftovers(tmp_path)) == [link, other]


def test_folders_are_swept_too(tmp_path: Path, coffee: Image.Image) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "out").mkdir()
    coffee.crop((0, 0, 40, 40)).save(tmp_path / "photos" / "a.png")
    dead = tmp_path / "out" / ".aecodec-dead.tmp"
    dead.write_bytes(b"half a file")
    assert run("encode", tmp_path / "photos", tmp_path / "out", "--dry-run", *TINY).exit_code == 0
    assert dead.exists()
    assert run("encode", "-j", 1, tmp_path / "photos", tmp_path / "out", *TINY).exit_code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png.aec"]


def test_a_sweep_at_the_worst_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run takes the new file for a leftover before it is locked: a second one is made."""
    flock, sweeps = fcntl.flock, iter(range(2))

    def swept(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX and next(sweeps, None) is not None:
            remove_leftovers(tmp_path)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", swept)
    replace_file(tmp_path / "a.aec", b"new")
    assert next(sweeps, None) is None
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.aec", b"new")]


def test_threads_leave_umask_and_pixel_limit_alone(tmp_path: Path) -> None:
    """Both belong to the process: what one thread sets for a moment, another would take for what was there."""
    Image.new("1", (10, 10)).save(tmp_path / "a.png")
    before = os.umask(0o027)
    limit = Image.MAX_IMAGE_PIXELS

    def work(number: int) -> None:
        read_picture(tmp_path / "a.png")
        replace_file(tmp_path / f"{number}.aec", b"new")

    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(200)))
        assert limit == Image.MAX_IMAGE_PIXELS
        assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*.aec")} == {0o640}
    finally:
        assert os.umask(before) == 0o027


def test_system_without_fcntl(tmp_path: Path, coffee: Image.Image) -> None:
    """Windows has none: the commands run, and no file is half-written."""
    coffee.crop((0, 0, 40, 30)).save(tmp_path / "a.png")
    (tmp_path / ".aecodec-dead.tmp").write_bytes(b"half a file")
    script = "import sys; sys.modules['fcntl'] = None; from aecodec.cli.app import run; run()"
    arguments = ["encode", tmp_path / "a.png", tmp_path / "a.aec", *TINY]
    subprocess.run([sys.executable, "-P", "-c", script, *arguments], check=True, capture_output=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.aec", "a.png"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_kill_in_the_middle_of_writing(tmp_path: Path, step: str) -> None:
    """kill -9 when the temporary file is written, and when only the renaming is left."""
    target = tmp_path / "a.aec"
    target.write_bytes(b"old")
    with writer(target, "x", 4_000_000, 1, step) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        remove_leftovers(tmp_path)  # of a run that lives: it stays
        assert len(leftovers(tmp_path)) == 1
        process.kill()
    assert target.read_bytes() == b"old"
    assert len(leftovers(tmp_path)) == 1
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.aec"]


def test_kill_at_random_points_of_writing(tmp_path: Path) -> None:
    """kill -9 somewhere in a row of writes over an existing file."""
    target, size, rng = tmp_path / "a.aec", 1_000_000, random.Random(0)
    target.write_bytes(b"x" * size)
    for _ in range(8):
        with writer(target, "x", size, 1_000_000) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.uniform(0, 0.05))
            process.kill()
        data = target.read_bytes()
        assert len(data) in (size, size + 1)
        assert data == b"x" * len(data)
        remove_leftovers(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["a.aec"]


@pytest.mark.slow
def test_kill_at_each_step_of_an_encode(tmp_path: Path, tiny: Codec, coffee: Image.Image) -> None:
    """At its start, and after each of the steps that it tells."""
    source, target = tmp_path / "photo.png", tmp_path / "photo.aec"
    picture = coffee.crop((0, 0, 300, 200))
    picture.save(source)
    command = [sys.executable, "-P", "-m", "aecodec.cli", "encode", "-v", "-q", "90", str(source), str(target), *TINY]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stderr.splitlines()
    new, old = target.read_bytes(), tiny.encode(picture, quality=1)
    for lines in range(len(told)):
        target.write_bytes(old)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for _ in range(lines):
                process.stderr.readline()
            process.kill()
        assert target.read_bytes() in (old, new)
    subprocess.run(command, check=True, capture_output=True)
    assert target.read_bytes() == new
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.aec", "photo.png"]


def test_two_processes_write_one_file(tmp_path: Path) -> None:
    target, size = tmp_path / "a.aec", 500_000
    target.write_bytes(b"x" * size)
    with writer(target, "x", size, 60) as first, writer(target, "y", size, 60) as second:
        looks = 0
        while first.poll() is None or second.poll() is None:
            data = target.read_bytes()
            remove_leftovers(tmp_path)  # a third run begins
            assert len(data) in (size, size + 1)
            assert data in (b"x" * len(data), b"y" * len(data))
            looks += 1
    assert (first.returncode, second.returncode) == (0, 0)
    assert looks
    assert [path.name for path in tmp_path.iterdir()] == ["a.aec"]


def test_what_is_missing_is_told_once() -> None:
    result = CliRunner().invoke(main, ["export"])
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (2, "Error: Missing argument 'RUN'.")
