"""One variant of the training for a given time: what trains best per hour."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel

from aecodec.model import CONFIGS, MIDDLE_LMBDA, Pointwise, lmbda
from aecodec.train.data import load_squares
from aecodec.train.loop import Budget, TrainConfig, Trainer
from aecodec.train.objective import Outcome, RateDistortion
from aecodec.train.validation import Validation

CONFIGS["narrow"] = replace(CONFIGS["m"], M=192, analysis_widths=(64, 160))
HORIZONS = (0.99, 0.997)  # of averages that are measured beside the trainer's own


def _adamw(trainer: Trainer) -> None:
    parameters = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    trainer.optimizers = [AdamW(parameters, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0)]


class Muon(Optimizer):
    """Orthogonalized momentum (Jordan et al. 2024) in float32: torch computes in bfloat16, which this CPU lacks."""

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                momentum.lerp_(p.grad, 0.05)
                x = p.grad.lerp(momentum, 0.95)
                tall = x.shape[0] > x.shape[1]
                x = (x.T if tall else x) / (x.norm() + 1e-7)
                for _ in range(5):
                    a = x @ x.T
                    x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
                p.data.add_(x.T if tall else x, alpha=-group["lr"] * 0.2 * max(p.shape) ** 0.5)


def _muon(trainer: Trainer) -> None:
    matrices = [module.weight for module in trainer.model.modules() if isinstance(module, Pointwise)]
    trainer.optimizers[0] = Muon(matrices, {"lr": 1e-3})


class _Unnormalized(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, position: Tensor) -> Outcome:
        outcome: Outcome = self.model(x, position)
        return outcome._replace(loss=outcome.loss * (lmbda(position) / MIDDLE_LMBDA).sqrt())


def _unnormalized(trainer: Trainer) -> None:
    trainer.forward = _Unnormalized(trainer.model)


def _plain(_trainer: Trainer) -> None:
    pass


VARIANTS: dict[str, tuple[TrainConfig, Callable[[Trainer], None]]] = {
    "base": (TrainConfig(), _plain),
    "AdamW": (TrainConfig(), _adamw),
    "Muon": (TrainConfig(), _muon),
    "16 of 128": (TrainConfig(patch=128, batch=16), _plain),
    "8 of 128": (TrainConfig(patch=128), _plain),
    "8 of 256": (TrainConfig(patch=256), _plain),
    "unnormalized": (TrainConfig(), _unnormalized),
    "narrow": (TrainConfig(model="narrow"), _plain),
}


def run(name: str, sources: list[Path], validation: Path, minutes: float, out: Path, every: float) -> None:
    """Train a variant from new weights, the last half with a falling rate; write a JSON line of its BD-rates."""
    config, change = VARIANTS[name]
    trainer = Trainer(config, torch.device("cpu"))
    change(trainer)
    squares = load_squares(sources, quiet=True)
    out.mkdir(parents=True, exist_ok=True)
    judge = Validation(validation, out, trainer.device)
    budget = Budget(minutes=minutes)
    averages = {str(horizon): _averaged(trainer, horizon) for horizon in HORIZONS}
    curve: list[tuple[float, int, float]] = []

    def measure() -> None:
        curve.append(
            (trainer.seconds / 60, trainer.step, judge.measure(trainer.average, trainer.step, trainer.seconds))
        )

    while (progress := budget.progress(trainer.step, trainer.seconds)) < 1:
        started = time.process_time()  # whatever else the machine does
        trainer.train_step(squares, budget.lr_factor(trainer.step, progress))
        for averaged in averages.values():
            averaged.update_parameters(trainer.model)
        trainer.advance_clock(trainer.seconds + time.process_time() - started)  # validation does not count
        if every and trainer.seconds > 60 * every * (len(curve) + 1):
            measure()
    measure()
    line = {
        "variant": name,
        "minutes": minutes,
        "steps": trainer.step,
        "curve": curve,
        "threads": torch.get_num_threads(),
    }
    if name == "base":
        line["without average"] = judge.measure(trainer.model, trainer.step, trainer.seconds)
        for horizon, averaged in averages.items():
            line[f"ema {horizon}"] = judge.measure(cast(RateDistortion, averaged.module), trainer.step, trainer.seconds)
    with (out.parent / "variants.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def _averaged(trainer: Trainer, horizon: float) -> AveragedModel:
    def average(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        decay = min(horizon, (1 + float(count)) / (10 + float(count)))
        torch._foreach_lerp_(list(averaged), list(current), 1 - decay)

    return AveragedModel(trainer.model, multi_avg_fn=average)
