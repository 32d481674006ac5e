"""Training on a few pictures with the tiny model: it runs, resumes on the same curve, and exports a working codec."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import os
import re
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from support import DATA

from aecodec import Codec, InputError, PictureWarning
from aecodec.cli.app import main
from aecodec.coding.prior import anchor_position
from aecodec.networks.config import CONFIGS, ModelConfig
from aecodec.networks.layers import inward_clamp
from aecodec.train import Budget, TrainConfig, drawn, export_run, train_model
from aecodec.train.data import load_squares, random_crops
from aecodec.train.export import freeze, restore
from aecodec.train.loop import Trainer
from aecodec.train.objective import Outcome, RateDistortion
from aecodec.train.soap import BatchedSOAP
from aecodec.train.validation import Validation
from aecodec.weights import load, shipped_path

CONFIG = TrainConfig(model="tiny", patch=64)
pytestmark = pytest.mark.xdist_group("compressai")  # which takes nine seconds to import


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, coffee: Image.Image) -> Path:
    """A folder with two pictures, one below 512 pixels, and a file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "sub").mkdir()
    coffee.save(folder / "coffee.png")
    coffee.resize((1100, 600)).save(folder / "sub" / "wide.jpg")
    (folder / "notes.txt").write_text("no picture")
    return folder


def train(pictures: Path, run: Path, steps: int, *, resume: bool = False, decay: float = 0.0) -> None:
    train_model([pictures], run, Budget(steps=steps, decay=decay), CONFIG, resume=resume, device="cpu", quiet=True)


def weights_of(run: Path, name: str = "stable.pt") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / name, weights_only=True)["model"]
    return state


def test_folders_and_shards_give_the_same_squares(tmp_path: Path, pictures: Path) -> None:
    shard = tmp_path / "shard.tar"
    with tarfile.open(shard, "w") as tar:
        for path in sorted(pictures.rglob("*")):
            tar.add(path, path.relative_to(pictures), recursive=False)
    squares = load_squares([pictures], quiet=True)
    assert squares.shape == (3, 3, 512, 512)  # one padded, two side by side
    assert torch.equal(squares, load_squares([shard], quiet=True))
    crops = random_crops(squares, 4, 128)
    assert crops.shape == (4, 3, 128, 128)
    assert 0 <= crops.min() < crops.max() <= 1 + 1e-6  # resampling rounds


def test_resumed_run_continues_the_same_curve(tmp_path: Path, pictures: Path) -> None:
    train(pictures, tmp_path / "straight", 6)
    train(pictures, tmp_path / "parts", 3)
    with pytest.raises(InputError, match="used up its budget"):
        train_model([pictures], tmp_path / "parts", None, CONFIG, resume=True, device="cpu", quiet=True)
    train(pictures, tmp_path / "parts", 6, resume=True)
    straight, parts = weights_of(tmp_path / "straight"), weights_of(tmp_path / "parts")
    assert straight.keys() == parts.keys()
    for name, tensor in straight.items():
        assert torch.equal(tensor, parts[name]), name


def test_run_that_was_cut_off_goes_on_with_its_own_budget_and_not_with_an_older_decay(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(pictures, tmp_path, 4, decay=0.5)
    step = Trainer.train_step

    def cut_off(trainer: Trainer, squares: torch.Tensor, factor: float) -> tuple[Outcome, float]:
        if trainer.step == 4:
            raise KeyboardInterrupt
        return step(trainer, squares, factor)

    monkeypatch.setattr(Trainer, "train_step", cut_off)
    options = {"resume": True, "device": "cpu", "quiet": True, "save_minutes": 0.0}
    with pytest.raises(KeyboardInterrupt):
        train_model([pictures], tmp_path, Budget(steps=10), CONFIG, **options)
    monkeypatch.undo()
    train_model([pictures], tmp_path, None, CONFIG, **options)
    assert torch.load(tmp_path / "decay.pt", weights_only=True)["step"] == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "steps or minutes, got steps None and minutes None"),
        ({"steps": 1, "minutes": 1.0}, "steps or minutes, got steps 1 and minutes 1.0"),
        ({"steps": 0}, "must be positive and finite, got 0"),
        ({"minutes": float("nan")}, "must be positive and finite, got nan"),
        ({"steps": 1, "decay": 1.5}, r"decay must be 0\.\.1, got 1.5"),
    ],
)
def test_budgets_that_are_none_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Budget(**options)


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan"), float("inf")])
def test_learning_rates_that_are_none_are_refused(lr: float) -> None:
    with pytest.raises(InputError, match=f"lr must be positive and finite, got {lr}"):
        TrainConfig(lr=lr)


def test_state_of_a_run_that_was_all_decay_is_refused(tmp_path: Path, pictures: Path) -> None:
    train(pictures, tmp_path, 1, decay=1.0)
    with pytest.raises(InputError, match="holds no state before the decay"):
        export_run(tmp_path, state=tmp_path / "state.safetensors")
    assert export_run(tmp_path)[0].exists()


def test_squares_of_gray_pictures_have_three_channels(tmp_path: Path, coffee: Image.Image) -> None:
    coffee.convert("L").save(tmp_path / "gray.png")
    (square,) = load_squares([tmp_path], quiet=True)
    expected = np.asarray(coffee.convert("L"))[:, :512]
    assert all(np.array_equal(channel[:400], expected) for channel in square.numpy())


def test_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path, pictures: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from aecodec.train import Budget, TrainConfig, train_model\n"
        "config = TrainConfig(model='tiny', patch=64)\n"
        "pictures, run = map(Path, sys.argv[1:])\n"
        "train_model([pictures], run, Budget(steps=10**6), config, device='cpu', quiet=True, save_minutes=0.001)"
    )
    run = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-P", "-c", code, str(pictures), str(run)]) as process:
        while not (run / "stable.pt").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    saved = torch.load(run / "stable.pt", weights_only=True)["step"]
    train(pictures, run, saved + 1, resume=True)
    assert torch.load(run / "stable.pt", weights_only=True)["step"] == saved + 1


def test_run_exports_a_codec_of_its_own(tmp_path: Path, pictures: Path, coffee: Image.Image) -> None:
    run, weights, state = tmp_path / "run", tmp_path / "mine.safetensors", tmp_path / "state.safetensors"
    arguments = ["train", pictures, "--out", run, "--steps", 60, "--model", "tiny", "--patch", 64, "--device", "cpu"]
    runner = CliRunner()
    arguments += ["--validation", pictures / "coffee.png"]
    result = runner.invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    with (run / "log.csv").open() as log:
        assert [row["step"] for row in csv.DictReader(log)] == ["50"]
    with Image.open(run / "rd.png") as plot:
        assert plot.size[0] > 500
    with (run / "validation.csv").open() as file:
        points = list(csv.DictReader(file))
    assert [point["step"] for point in points] == 8 * ["0"] + 8 * ["60"]
    assert all(5 < float(point["psnr"]) < 40 and 0 < float(point["ms_ssim"]) < 20 for point in points)
    assert runner.invoke(main, ["export", str(run), str(weights), "--state", str(state)]).exit_code == 0
    codec = Codec.load(weights, device="cpu")
    data = codec.encode(coffee, quality=90)
    assert codec.decode(data).size == coffee.size
    training = codec.weights.training
    assert training["sessions"][0]["data"] == [pictures.name]
    assert training["steps"] == 60
    again = tmp_path / "again"
    train_model([pictures], again, Budget(steps=1, decay=0), CONFIG, init=state, device="cpu", quiet=True)
    start, end = torch.load(run / "stable.pt", weights_only=True)["model"], weights_of(again)
    name = "g_s.leave.weight"
    assert torch.allclose(start[f"autoencoder.{name}"], end[f"autoencoder.{name}"], atol=1e-2)
    for name, bound in start.items():  # constants of the likelihoods, as small as 1e-9
        if name.endswith("bound"):
            assert torch.equal(bound, end[name]), name


def test_bfloat16_trains_and_keeps_latents_and_loss_in_float32(pictures: Path) -> None:
    squares = load_squares([pictures], quiet=True)
    outcomes = []
    for precision in ("fp32", "bf16"):
        trainer = Trainer(TrainConfig(model="tiny", patch=64, precision=precision), torch.device("cpu"))
        outcomes.append(trainer.train_step(squares, 1.0)[0])
    full, half = outcomes
    assert half.loss.dtype == half.y_bpp.dtype == torch.float32
    assert torch.allclose(full.loss, half.loss, rtol=0.05)
    assert not torch.equal(full.loss, half.loss)


def test_curve_of_validation_begins_before_the_first_step_and_is_dense_at_first(
    tmp_path: Path, coffee: Image.Image, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a clock on which a step takes a minute; what validates is said, and what came of it."""
    picture, clock = tmp_path / "one.png", itertools.count(step=30)
    coffee.crop((100, 100, 260, 220)).save(picture)
    monkeypatch.setattr("aecodec.train.loop.time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    budget, start = Budget(minutes=20), DATA / "tiny.safetensors"
    train_model([picture], tmp_path, budget, CONFIG, init=start, validation=picture, device="cpu")
    with (tmp_path / "validation.csv").open() as file:
        minutes = sorted({float(row["minutes"]) for row in csv.DictReader(file)})
    assert minutes[0] == 0
    assert len([minute for minute in minutes if minute < 8]) == 3
    assert max(np.diff(minutes)) <= 17
    assert minutes[-1] >= 20
    said = capsys.readouterr().err
    assert said.count("validating...") >= len(minutes)
    assert len(re.findall(r"step \d+, minute [\d.]+: no quality in common with JPEG yet", said)) == len(minutes)


def test_validation_has_a_curve_of_small_blank_gray_and_deep_pictures(tmp_path: Path, coffee: Image.Image) -> None:
    """None of them is large enough for MS-SSIM, and JPEG makes the blank one exactly."""
    folder = tmp_path / "held-back"
    folder.mkdir()
    coffee.crop((100, 100, 233, 177)).save(folder / "odd.png")
    coffee.crop((200, 100, 300, 300)).convert("L").save(folder / "gray.png")
    coffee.crop((250, 90, 251, 91)).save(folder / "dot.png")
    Image.new("RGB", (90, 70), "white").save(folder / "blank.png")
    deep = np.asarray(coffee.crop((100, 100, 200, 200)).convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.tif")
    (folder / "._odd.png").write_bytes(b"what macOS puts beside it")
    (folder / "folder.png").mkdir()
    with pytest.warns(PictureWarning, match="16 bits"):
        judge = Validation(folder, tmp_path, torch.device("cpu"))
    assert np.asarray(judge.pictures[1]).mean() < 200  # deep.tif is not white

    class Noisy(torch.nn.Module):
        """From 15 dB at the lowest anchor to 50 dB at the highest, for half a bit more each."""

        def forward(self, x: torch.Tensor, position: torch.Tensor) -> Outcome:
            noise = torch.randn(x.shape) * 10 ** (-(15 + 5 * position) / 20)[:, None, None, None]
            return Outcome(position, position / 2 + 0.5, 0 * position, position, position, (x + noise).clamp(0, 1))

    assert -100 < judge.measure(Noisy(), 0, 0.0) < 1000


def test_validation_names_a_picture_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"broken\.png"):
        Validation(tmp_path, tmp_path, torch.device("cpu"))


def test_two_runs_do_not_share_a_folder(tmp_path: Path, pictures: Path) -> None:
    train(pictures, tmp_path, 1)
    with pytest.raises(InputError, match="already contains a run"):
        train(pictures, tmp_path, 1)
    other = TrainConfig(model="tiny", patch=64, lr=1.0)
    with pytest.raises(InputError, match="was made with"):
        train_model([pictures], tmp_path, Budget(steps=2), other, resume=True, device="cpu", quiet=True)


@pytest.mark.slow
def test_100_steps_are_50_and_50_more(tmp_path: Path, pictures: Path) -> None:
    def run(name: str, steps: int, *options: str) -> None:
        sizes = ["--model", "tiny", "--patch", "64", "--device", "cpu"]
        arguments = ["--quiet", "train", str(pictures), "--out", str(tmp_path / name), "--steps", str(steps), *sizes]
        assert CliRunner().invoke(main, [*arguments, *options], catch_exceptions=False).exit_code == 0

    run("straight", 100, "--decay", "0.25")
    run("parts", 50, "--decay", "0")
    run("parts", 100, "--decay", "0.25", "--resume")
    straight, parts = (weights_of(tmp_path / name, "decay.pt") for name in ("straight", "parts"))
    assert all(torch.equal(tensor, parts[name]) for name, tensor in straight.items())


@pytest.mark.slow
def test_torchrun_with_two_processes_trains_one_model(tmp_path: Path, pictures: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    options = ["--steps", "3", "--decay", "0", "--model", "tiny", "--patch", "64", "--device", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    arguments = [*command, "aecodec.cli", "--quiet", "train", pictures, "--out", tmp_path / "run", *options]
    subprocess.run(arguments, check=True, env=environment)
    export_run(tmp_path / "run", tmp_path / "w.safetensors")
    train(pictures, tmp_path / "alone", 3)
    # The second process brought pictures of its own, so the result differs from one process alone.
    both, alone = weights_of(tmp_path / "run"), weights_of(tmp_path / "alone")
    assert not torch.equal(both["autoencoder.g_s.leave.weight"], alone["autoencoder.g_s.leave.weight"])


def test_drawn_pictures_of_kinds_that_need_no_browser(tmp_path: Path) -> None:
    """One of each, 512x512, that show something; the same from the same seed, without a browser on the way."""
    arguments = [str(tmp_path / "a"), "--count", "3", *(word for kind in drawn.DRAWN for word in ("--kind", kind))]
    assert CliRunner().invoke(drawn.run, arguments, env={"PATH": ""}, catch_exceptions=False).exit_code == 0
    paths = sorted((tmp_path / "a").iterdir())
    assert [path.name for path in paths] == ["chart-00000.png", "map-00001.png", "pixels-00002.png"]
    for path in paths:
        with Image.open(path) as image:
            assert image.size == (512, 512)
            assert np.asarray(image).std() > 5
    with Image.open(paths[1]) as image:
        assert np.array_equal(np.asarray(image), np.asarray(drawn.draw("map", (0, 1), None)))
        assert not np.array_equal(np.asarray(image), np.asarray(drawn.draw("map", (1, 1), None)))


def test_drawn_pages_without_a_browser_or_without_html_name_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [str(tmp_path / "out"), "--kind", "page", "--pages", str(tmp_path)]
    (tmp_path / "developers-reference").mkdir()
    (tmp_path / "developers-reference" / "index.html").write_text("left out: others are tested on it")
    result = CliRunner().invoke(drawn.run, arguments, env={"PATH": ""})
    assert (result.exit_code, "chromium" in result.output) == (1, True)
    (tmp_path / "chromium").write_text("#!/bin/sh\n")
    (tmp_path / "chromium").chmod(0o755)
    result = CliRunner().invoke(drawn.run, arguments, env={"PATH": str(tmp_path)})
    assert (result.exit_code, "no HTML" in result.output) == (1, True)
    (tmp_path / "index.html").write_text("<p>a page")
    result = CliRunner().invoke(drawn.run, arguments, env={"PATH": str(tmp_path)})
    assert (result.exit_code, "made no picture: " in result.output) == (1, True)
    (tmp_path / "chromium").write_text("#!/bin/sh\nkill -STOP $$\n")
    monkeypatch.setattr(drawn, "PATIENCE", 0.2)
    result = CliRunner().invoke(drawn.run, arguments, env={"PATH": str(tmp_path)})
    assert (result.exit_code, "made no picture in 0.2 s" in result.output) == (1, True)


def test_inward_clamp_passes_gradients_only_inward() -> None:
    x = torch.tensor([-2.0, -2.0, 0.0, 2.0, 2.0], requires_grad=True)
    inward_clamp(x, -1.0, 1.0).backward(torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0]))
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, -1.0, 1.0, 1.0, 0.0]


def test_pictures_of_plugins_are_trained_on_and_others_are_counted(tmp_path: Path, coffee: Image.Image) -> None:
    """In a process that has read nothing else: the plugins are not registered yet."""
    pytest.importorskip("pillow_heif").register_heif_opener()
    coffee.crop((0, 0, 64, 48)).save(tmp_path / "a.HEIC", format="HEIF")
    coffee.crop((0, 0, 64, 48)).save(tmp_path / "a.png")
    (tmp_path / "b.gif").touch()
    (tmp_path / "._b.heic").touch()
    (tmp_path / "notes.txt").touch()
    code = (
        "import sys, warnings, pathlib; sys.modules['pillow_jxl'] = None; warnings.simplefilter('always');"
        "sys.modules.update(dict.fromkeys(sys.argv[2:]));"
        "from aecodec.train.data import load_squares;"
        "print(len(load_squares([pathlib.Path(sys.argv[1])], quiet=True)))"
    )
    other, heic = "1 .gif (not for training)", "1 .heic (install pillow-heif)"
    for missing, count, told in (([], "2", other), (["pillow_heif"], "1", f"{other}, {heic}")):
        done = subprocess.run([sys.executable, "-P", "-c", code, tmp_path, *missing], capture_output=True, text=True)
        assert (done.returncode, done.stdout.strip()) == (0, count), done.stderr
        assert f"PictureWarning: skipped pictures: {told}\n" in done.stderr


def test_unreadable_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"broken\.png"):
        load_squares([tmp_path], quiet=True)


@pytest.mark.parametrize(("name", "tolerance"), [("tiny", 0.1), pytest.param("m", 0.03, marks=pytest.mark.slow)])
def test_weights_thaw_to_what_they_were(coffee: Image.Image, name: str, tolerance: float) -> None:
    """What the model estimates after --init is what files cost with those weights."""
    path = DATA / "tiny.safetensors" if name == "tiny" else shipped_path(name)
    original = load(path)
    model = RateDistortion(ModelConfig.from_dict(original.config))
    restore(model, path)
    frozen = freeze(model, {})
    assert np.array_equal(frozen.prior.weight, original.prior.weight)
    rounding = np.spacing(np.float32(np.abs(original.prior.bias).max())) / 2  # of the largest in float32
    assert np.abs(frozen.prior.bias - original.prior.bias).max() <= max(1, rounding)
    codec = Codec(frozen, "cpu")
    picture = np.array(coffee.crop((0, 0, 512, 320)))
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].expand(8, -1, -1, -1) / 255
    levels = [100, 1514, 2929, 4343, 5757, 7171, 8586, 10_000]  # the anchors
    with torch.no_grad():
        outcome = model.eval()(x, torch.tensor([anchor_position(level) for level in levels]))
    estimated = (outcome.y_bpp + outcome.z_bpp).numpy() * picture[:, :, 0].size / 8
    sizes = [len(codec.encode(picture, quality=level / 100, effort=0)) - 30 for level in levels]
    assert sizes == pytest.approx(estimated, rel=tolerance)


def test_anchors_move_to_other_lambdas(coffee: Image.Image) -> None:
    """What was learned for a lambda stays with it when the anchors of the new model stand elsewhere."""
    moved = next_lmbdas(CONFIGS["tiny"])
    before, after = (RateDistortion(config).eval() for config in (CONFIGS["tiny"], moved))
    for model in (before, after):
        restore(model, DATA / "tiny.safetensors")
    position = torch.arange(8) % 6 + 0.5
    assert torch.allclose(moved.lmbda(position), CONFIGS["tiny"].lmbda(position + 1))
    x = torch.from_numpy(np.array(coffee.crop((0, 0, 128, 128)))).permute(2, 0, 1)[None].expand(8, -1, -1, -1) / 255
    with torch.no_grad():
        old, new = before(x, position + 1), after(x, position)
    assert torch.allclose(old.mse, new.mse, rtol=1e-3)
    assert torch.allclose(old.y_bpp, new.y_bpp, rtol=1e-3)


def next_lmbdas(config: ModelConfig) -> ModelConfig:
    """The same model with its anchors one further up."""
    low, high = config.lmbda(torch.tensor([1.0, 8.0])).tolist()
    return dataclasses.replace(config, lmbdas=(low, high))


def test_soap_is_adam_in_the_eigenbasis() -> None:
    """The published update, written down for one matrix: another form of what runs over stacks of them."""
    torch.manual_seed(0)
    matrices = [torch.nn.Parameter(torch.randn(6, 4, dtype=torch.float64)) for _ in range(2)]
    soap = BatchedSOAP(matrices, lr=0.01, every=2, max_side=5)  # the side of 6 has no basis
    expected = matrices[0].detach().clone()
    first = second = torch.zeros(6, 4, dtype=torch.float64)
    for step in range(6):
        gradients = [torch.randn(6, 4, dtype=torch.float64) for _ in matrices]
        for matrix, gradient in zip(matrices, gradients, strict=True):
            matrix.grad = gradient
        soap.step()
        covariance = gradients[0].T @ gradients[0]
        if step == 0:
            average = 0.05 * covariance
            basis = torch.linalg.eigh(average)[1].flip(-1)
            continue
        first = 0.95 * first + 0.05 * gradients[0]
        second = 0.95 * second + 0.05 * (gradients[0] @ basis) ** 2
        adam = (first @ basis) / (1 - 0.95**step) / ((second / (1 - 0.95**step)).sqrt() + 1e-8)
        expected -= 0.01 * adam @ basis.T
        average = 0.95 * average + 0.05 * covariance
        if step % 2 == 0:
            order = (basis * (average @ basis)).sum(0).argsort(descending=True)
            basis, second = torch.linalg.qr((average @ basis)[:, order])[0], second[:, order]
    assert torch.allclose(matrices[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("has", [True, False])
def test_auto_precision_is_bfloat16_only_where_the_cpu_has_it(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has)
    assert Trainer(CONFIG, torch.device("cpu")).bf16 == has


def test_context_counted_on_pictures_makes_files_smaller(tmp_path: Path, pictures: Path, coffee: Image.Image) -> None:
    train(pictures, tmp_path, 2)
    options = ["--data", str(pictures), "--quiet"]
    assert CliRunner().invoke(main, ["export", str(tmp_path), str(tmp_path / "counted"), *options]).exit_code == 0
    plain, counted = export_run(tmp_path)[1], load(tmp_path / "counted")
    assert counted.training["context"] == [pictures.name]
    # By floats: pictures give the integers other ranges as well.
    codecs = [Codec(weights, "cpu", backend="float") for weights in (plain, counted)]
    small, smaller = (codec.encode(coffee, quality=20) for codec in codecs)
    assert len(smaller) < len(small)
    pictures_of = [codec.decode(data) for codec, data in zip(codecs, (small, smaller), strict=True)]
    assert np.array_equal(*map(np.asarray, pictures_of))


def test_export_tells_what_the_integers_lose(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(pictures, tmp_path, 1)
    capsys.readouterr()
    export_run(tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    losses = re.findall(r"quality (\d+): ([+-]\d+\.\d{3}) dB, ([+-]\d+\.\d\d) % of the bytes", line)
    assert line.startswith("integers against floats, 4 extremes: ")
    assert [quality for quality, _, _ in losses] == ["10", "50", "90", "100"]
    assert all(abs(float(psnr)) < 0.5 for _, psnr, _ in losses)


def test_weights_of_another_size_are_refused(tmp_path: Path, pictures: Path) -> None:
    result = CliRunner().invoke(
        main, ["train", str(pictures), "--out", str(tmp_path), "--init", "shipped", "--model", "tiny", "--steps", "1"]
    )
    assert result.exit_code == 1
    assert "tiny.safetensors" in result.output
