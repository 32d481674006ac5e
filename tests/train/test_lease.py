"""bench/lease: a rehearsal of training on a borrowed machine, in several calls, on a CPU with the tiny model."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from aecodec import Codec
from aecodec.networks.model import CONFIGS
from aecodec.train import Budget, TrainConfig, export_run, train_model
from aecodec.train.export import restore
from aecodec.train.objective import RateDistortion

ROOT = Path(__file__).parents[2]


def shard(path: Path, image: Image.Image) -> Path:
    picture = path.with_suffix(".png")
    image.save(picture)
    with tarfile.open(path, "w") as tar:
        tar.add(picture, picture.name)
    picture.unlink()
    return path


@pytest.mark.slow
def test_rehearsal_trains_on_between_calls_and_brings_home_what_export_takes(
    tmp_path: Path, coffee: Image.Image
) -> None:
    kit, more, out = tmp_path / "a", tmp_path / "b", tmp_path / "out"
    (kit / "val").mkdir(parents=True)
    more.mkdir()
    coffee.crop((0, 0, 192, 192)).save(kit / "val" / "v.png")
    shard(kit / "a.tar", coffee)
    shard(more / "b.tar", coffee.rotate(90, expand=True))
    config = TrainConfig(model="tiny", patch=64)
    train_model([kit / "a.tar"], tmp_path / "run", Budget(steps=1, decay=0), config, device="cpu", quiet=True)
    export_run(tmp_path / "run", state=kit / "init.safetensors", quiet=True)
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    places = {"WORK": str(tmp_path / "work"), "KIT": str(kit), "OUT": str(out), "SITE": "", "OMP_NUM_THREADS": "1"}

    def lease(*arguments: object) -> str:
        command = ["bash", "bench/lease/lease.sh", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"PATH": programs} | places, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    small = ["--device", "cpu", "--eager", "--batch", 8, "--patch", 64, "--model", "tiny", "--reserve", 5]
    assert "step 200" in lease("start", 600, *small)
    assert "a.tar, b.tar" in lease("feed", more)
    lease("until", 12)
    assert "BD-rate" in lease("wait", 120)
    brought = {path.name for path in out.iterdir()}
    assert {"state.safetensors", "decay.pt", "log.csv", "validation.csv", "summary.txt", "log"} <= brought
    restore(RateDistortion(CONFIGS["tiny"]), out / "state.safetensors")
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(out / "decay.pt", home)
    weights, exported = export_run(home, quiet=True)
    assert exported.training["steps"] > 200
    codec = Codec.load(weights, "cpu")
    assert codec.decode(codec.encode(coffee)).size == coffee.size
