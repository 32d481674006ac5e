"""bench/lease: a rehearsal of training on a borrowed machine, in several calls, on a CPU with the tiny model."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

from aecodec import Codec
from aecodec.networks.config import CONFIGS
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


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lease_train", ROOT / "bench" / "lease" / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_deadline_that_is_just_being_written_ends_no_training(program: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "deadline"
    assert program.read_deadline(path, 7.0) == 7
    path.touch()
    assert program.read_deadline(path, 7.0) == 7
    path.write_text("12.5\n")
    assert program.read_deadline(path, 7.0) == 12.5


def test_weights_that_are_not_finite_are_not_brought_home(program: ModuleType, tmp_path: Path) -> None:
    options = argparse.Namespace(
        work=tmp_path, model="tiny", init=None, eager=True, batch=8, patch=64, lr=1e-3, every=50, flat=0.5
    )
    run = program.Run(options, torch.device("cpu"))
    good = {name: parameter.detach().clone() for name, parameter in run.model.named_parameters()}
    with torch.no_grad():
        run.matrices[0][0, 0] = torch.nan
    run.write(30, 1.0, ["a.tar"])
    model = RateDistortion(CONFIGS["tiny"])
    restore(model, tmp_path / "out" / "state.safetensors")
    assert all(torch.equal(parameter, good[name]) for name, parameter in model.named_parameters())
    assert run.lr == 5e-4
    saved = torch.load(tmp_path / "out" / "run" / "decay.pt", weights_only=True)["model"]
    assert all(tensor.isfinite().all() for tensor in saved.values() if tensor.is_floating_point())


def test_shards_that_cannot_be_used_are_not_told_of_as_trained_on(
    program: ModuleType, tmp_path: Path, coffee: Image.Image, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.tar").write_bytes(b"no shard")
    shard(tmp_path / "b.tar", coffee)
    feed = program.Feed(tmp_path, torch.device("cpu"))
    assert feed.names == ["b.tar"]
    assert "shard a.tar cannot be used" in capsys.readouterr().out


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
