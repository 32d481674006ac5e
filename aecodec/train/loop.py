"""The training loop: warm-up, stable, decay; checkpoints that continue the same curve; validation and logs."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW, Optimizer
from tqdm import tqdm

from aecodec.coding.prior import ANCHORS
from aecodec.device import pick_device
from aecodec.errors import CodecError, InputError
from aecodec.format.container import STRIDE
from aecodec.networks.config import CONFIGS
from aecodec.networks.layers import Pointwise
from aecodec.train.data import SIDE, load_squares, random_crops
from aecodec.train.export import restore
from aecodec.train.objective import Outcome, RateDistortion
from aecodec.train.soap import BatchedSOAP
from aecodec.train.validation import Validation
from aecodec.weights import shipped_path

WARM_UP = 200  # steps
LOG_EVERY = 50  # steps


@dataclass(frozen=True)
class TrainConfig:
    """Everything that shapes a run; stored beside it and compared on resume."""

    model: str = "m"  # key of CONFIGS
    batch: int = 8  # per process, multiple of ANCHORS
    patch: int = 192  # pixels, multiple of STRIDE
    lr: float = 1e-3
    precision: str = "auto"  # of the networks: bf16 (autocast), fp32, or auto: bf16 where the device has it
    seed: int = 0

    def __post_init__(self) -> None:
        if self.model not in CONFIGS:
            raise InputError(f"no model '{self.model}', there are {', '.join(CONFIGS)}")
        if self.batch <= 0 or self.batch % ANCHORS:
            raise InputError(f"batch must be a multiple of {ANCHORS}, got {self.batch}")
        if not STRIDE <= self.patch <= SIDE or self.patch % STRIDE:
            raise InputError(f"patch must be a multiple of {STRIDE} up to {SIDE}, got {self.patch}")
        if not 0 < self.lr < math.inf:
            raise InputError(f"lr must be positive and finite, got {self.lr}")
        if self.precision not in ("auto", "bf16", "fp32"):
            raise InputError(f"precision must be auto, bf16 or fp32, got {self.precision}")
        if self.seed < 0:
            raise InputError(f"seed must not be negative, got {self.seed}")


@dataclass(frozen=True)
class Budget:
    """How long to train in all: steps or minutes, exactly one of them; the last `decay` share brings lr to 0."""

    steps: int | None = None
    minutes: float | None = None
    decay: float = 0.5

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise InputError(f"a budget has steps or minutes, got steps {self.steps} and minutes {self.minutes}")
        length = self.minutes if self.steps is None else self.steps
        if length is None or not 0 < length < math.inf:
            raise InputError(f"a budget must be positive and finite, got {length}")
        if not 0 <= self.decay <= 1:
            raise InputError(f"decay must be 0..1, got {self.decay}")

    def progress(self, step: int, seconds: float) -> float:
        """Share of the budget that is used up, 0..1."""
        if self.steps is not None:
            return step / self.steps
        assert self.minutes is not None
        return seconds / 60 / self.minutes

    def lr_factor(self, step: int, progress: float) -> float:
        decay = (1 - progress) / self.decay if self.decay > 0 else 1.0
        return max(0.0, min(1.0, (step + 1) / WARM_UP, decay))


class Trainer:
    """Model, optimizers and counters of one run: all that a checkpoint holds."""

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.device = device
        self.bf16 = config.precision == "bf16" or (config.precision == "auto" and _has_bf16(device))
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.model = RateDistortion(CONFIGS[config.model]).to(device)
        # The quantiles of the bottleneck are no part of the loss; export finds them by bisection.
        self.model.prior.bottleneck.quantiles.requires_grad_(requires_grad=False)
        self.forward: nn.Module = DistributedDataParallel(self.model) if dist.is_initialized() else self.model
        if device.type == "cuda":  # hundreds of small kernels: fused, or the launches limit
            torch.set_float32_matmul_precision("high")
            self.forward = cast(nn.Module, torch.compile(self.forward))
        matrices = [module.weight for module in self.model.modules() if isinstance(module, Pointwise)]
        known = {id(weight) for weight in matrices}
        trained = (parameter for parameter in self.model.parameters() if parameter.requires_grad)
        others = [parameter for parameter in trained if id(parameter) not in known]
        self.optimizers: list[Optimizer] = [
            BatchedSOAP(matrices, lr=config.lr),
            AdamW(others, lr=config.lr, betas=(0.9, 0.99), weight_decay=0.0),
        ]
        self.step = 0
        self.seconds = 0.0
        self.origin: list[dict[str, Any]] = []  # command and data of every session of the run

    def train_step(self, squares: Tensor, lr_factor: float) -> tuple[Outcome, float]:
        """One optimizer step; returns the outcome per sample and the gradient norm before clipping."""
        config = self.config
        # Seeded by step and rank: a resumed run draws what the unbroken one would have drawn.
        (seed,) = np.random.SeedSequence((config.seed, self.step, self.rank)).generate_state(1)
        torch.manual_seed(int(seed))
        x = random_crops(squares, config.batch, config.patch)
        anchor = torch.arange(config.batch) % ANCHORS
        position = (anchor + torch.rand(config.batch) - 0.5).clamp(0, ANCHORS - 1).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            outcome: Outcome = self.forward(x.contiguous(memory_format=torch.channels_last), position)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = config.lr * lr_factor
        outcome.loss.mean().backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        if torch.isfinite(norm):
            for optimizer in self.optimizers:
                optimizer.step()
        self.step += 1
        return outcome, float(norm)

    def advance_clock(self, seconds: float) -> None:
        """Set the time trained so far; processes take that of the slowest, so that all stop at the same step."""
        self.seconds = seconds
        if dist.is_initialized():
            slowest = torch.tensor(seconds, dtype=torch.float64)
            dist.all_reduce(slowest, dist.ReduceOp.MAX)
            self.seconds = slowest.item()

    def save(self, path: Path, budget: Budget) -> None:
        state = {
            "config": asdict(self.config),
            "budget": asdict(budget),
            "origin": self.origin,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
        }
        temporary = path.with_suffix(".tmp")
        torch.save(state, temporary)
        os.replace(temporary, path)

    def resume(self, run: Path, budget: Budget | None) -> Budget:
        """Go on with the decay that belongs to this budget, or else from the state before any decay.

        Returns the budget; None stands for the one that the newest checkpoint was made with.
        """
        paths = [path for path in (run / "decay.pt", run / "stable.pt") if path.exists()]
        if not paths:
            raise InputError(f"{run} holds no checkpoint to resume from")
        states = {path: torch.load(path, map_location="cpu", weights_only=True) for path in paths}
        if budget is None:  # of a decay that is left behind by a longer run, the budget is used up
            budget = Budget(**states[max(paths, key=lambda path: path.stat().st_mtime_ns)]["budget"])
        path = next((path for path in paths if states[path].get("budget") == asdict(budget)), paths[-1])
        self._load(states[path], path)
        return budget

    def _load(self, state: dict[str, Any], path: Path) -> None:
        known = {name: value for name, value in state["config"].items() if name in asdict(self.config)}
        if TrainConfig(**known) != self.config:  # younger fields have their defaults, dropped ones do not matter
            raise InputError(f"{path} was made with {state['config']}, not {asdict(self.config)}")
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.seconds = state["step"], state["seconds"]
        self.origin = [*state.get("origin", []), *self.origin]


def train_model(
    sources: Sequence[Path],
    run: Path,
    budget: Budget | None = None,
    config: TrainConfig | None = None,
    *,
    device: str = "auto",
    resume: bool = False,
    init: Path | Literal["shipped"] | None = None,
    validation: Path | None = None,
    save_minutes: float = 5.0,
    validate_minutes: float = 15.0,
    quiet: bool = False,
    command: str = "",
) -> None:
    """Train on the pictures of `sources` (folders, tar shards) and keep everything in the folder `run`.

    `stable.pt` is the newest state before the decay, `decay.pt` the newest one in it. Resuming continues the decay
    that was cut off; with another budget it goes on from `stable.pt`, so that one long stable run feeds many exports.
    Without a budget, a new run takes 60 minutes and a resumed one what it was begun with.
    `validation` is measured before the first step, after about 1, 2, 4 and 8 minutes, then every `validate_minutes`
    and at the end: validation.csv and rd.png.
    `init` starts a new run from a state or a weights file that export_run wrote, "shipped" from the shipped weights.
    Raises InputError for unusable pictures, settings, or a folder that holds another run.
    """
    config = config or TrainConfig()
    with _process_group():
        trainer = Trainer(config, _own_device(device))
        trainer.origin.append({"command": command, "data": [source.name for source in sources]})
        if resume:
            budget = trainer.resume(run, budget)
        elif (run / "stable.pt").exists() or (run / "decay.pt").exists():
            raise InputError(f"{run} already contains a run: use --resume or another folder")
        elif init is not None:
            restore(trainer.model, shipped_path(config.model) if init == "shipped" else init)
        budget = budget or Budget(minutes=60)
        main = trainer.rank == 0
        quiet = quiet or not main
        if main:
            run.mkdir(parents=True, exist_ok=True)
        squares = load_squares(sources, quiet=quiet).to(trainer.device)
        judge = Validation(validation, run, trainer.device, quiet=quiet) if validation and main else None
        try:
            _loop(trainer, squares, budget, run if main else None, judge, save_minutes, validate_minutes, quiet)
        finally:
            # DDP goes before the process group: as the last to hold it, it would wait for a thread of the group with
            # Python's lock, which that thread may want.
            trainer.forward = trainer.model


def _loop(
    trainer: Trainer,
    squares: Tensor,
    budget: Budget,
    run: Path | None,
    judge: Validation | None,
    save_minutes: float,
    validate_minutes: float,
    quiet: bool,
) -> None:
    log = _Log(run / "log.csv") if run else None
    pixels = trainer.config.batch * trainer.config.patch**2
    progress = budget.progress(trainer.step, trainer.seconds)
    if progress >= 1:
        raise InputError(f"the run has used up its budget after {trainer.step} steps: give it a larger one")
    form = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
    if judge:
        judge.measure(trainer.model, trainer.step, trainer.seconds)  # what the run begins with
    bar = tqdm(total=1.0, initial=progress, desc="training", disable=quiet, bar_format=form)
    started, before = time.monotonic(), trainer.seconds
    saved = started
    due = started + _until_next(0.0, judge, validate_minutes)
    while (progress := budget.progress(trainer.step, trainer.seconds)) < 1:
        step_started = time.monotonic()
        outcome, norm = trainer.train_step(squares, budget.lr_factor(trainer.step, progress))
        now = time.monotonic()
        trainer.advance_clock(before + now - started)
        decaying = progress >= 1 - budget.decay
        if trainer.step % LOG_EVERY == 0 and log:
            row = log.write(trainer, outcome, norm, pixels / (now - step_started) / 1e6)
            bar.set_postfix_str(" ".join(f"{key} {value:.4g}" for key, value in row.items()))
        bar.update(min(1.0, progress) - bar.n)
        if run and now - saved > 60 * save_minutes:
            trainer.save(run / ("decay.pt" if decaying else "stable.pt"), budget)
            saved = now
        if run and not decaying and budget.progress(trainer.step, trainer.seconds) >= 1 - budget.decay:
            trainer.save(run / "stable.pt", budget)
        if judge and now > due:
            judge.measure(trainer.model, trainer.step, trainer.seconds)
            now = time.monotonic()
            due = now + _until_next(now - started, judge, validate_minutes)
    bar.close()
    if run:
        trainer.save(run / ("decay.pt" if budget.decay > 0 else "stable.pt"), budget)
    if judge:
        judge.measure(trainer.model, trainer.step, trainer.seconds)


def _until_next(elapsed: float, judge: Validation | None, validate_minutes: float) -> float:
    """Seconds to the next validation: often at first, when a curve tells most, but never a tenth of the time or more.

    About minutes 1, 2, 4, 8, then every validate_minutes.
    """
    cost = judge.seconds if judge else 0.0
    return max(min(60 * validate_minutes, max(60.0, elapsed)), 10 * cost)


class _Log:
    """log.csv of a run: appended, one row per LOG_EVERY steps."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, trainer: Trainer, outcome: Outcome, norm: float, mpx_per_s: float) -> dict[str, float]:
        row = {
            "step": trainer.step,
            "loss": outcome.loss.mean().item(),
            "bpp": (outcome.y_bpp + outcome.z_bpp).mean().item(),
            "z_bpp": outcome.z_bpp.mean().item(),
            "psnr": (-10 * outcome.mse.detach().log10()).mean().item(),
            "z_max": outcome.z_max.max().item(),
            "grad_norm": norm,
            "mpx_per_s": mpx_per_s,
        }
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["minutes", "lr", *row])
            lr = trainer.optimizers[0].param_groups[0]["lr"]
            writer.writerow([f"{trainer.seconds / 60:.2f}", f"{lr:.3g}", *(f"{value:.5g}" for value in row.values())])
        if not math.isfinite(row["loss"]):
            raise CodecError(f"training diverged at step {trainer.step}: the loss is {row['loss']}")
        return row


def _has_bf16(device: torch.device) -> bool:
    """Whether products in bfloat16 are faster than in float32; a CPU without them emulates them, ten times slower."""
    return device.type == "cuda" or torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def _own_device(name: str) -> torch.device:
    """The device of a name; with several GPUs each process that torchrun started has its own."""
    device = torch.device(pick_device(name))
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if device.type == "cuda" else device


@contextmanager
def _process_group() -> Iterator[None]:
    """Join the processes that torchrun started, if it did."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    dist.init_process_group("gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()
