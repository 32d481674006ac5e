"""The commands that make weights: train, export."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from aecodec import InputError
from aecodec.cli.files import check_target
from aecodec.cli.options import DEVICE, FILE, POSITIVE, Range, reporting
from aecodec.cli.reporter import Reporter
from aecodec.device import needing


@click.command()
@click.argument("data", nargs=-1, required=True, type=FILE)
@click.option("--out", "run", required=True, type=FILE, help="Folder of the run: checkpoints, logs, plot.")
@click.option("--resume", is_flag=True, help="Continue from the latest checkpoint of the run.")
@click.option("--init", type=FILE, help="Start from exported weights, or from `shipped` ones.")
@click.option(
    "--minutes",
    type=POSITIVE,
    help="Length of the run  [default: 60, or that of the resumed run]",
)
@click.option("--steps", type=click.IntRange(min=1), help="Length of the run in steps instead.")
@click.option(
    "--decay",
    type=Range(0, 1),
    default=0.5,
    show_default=True,
    help="Last part of the run, in which the learning rate falls to 0.",
)
@click.option("--validation", type=FILE, help="Folder of pictures to measure on; they are not trained on.")
@click.option("--model", default="m", show_default=True, help="Size of the model.")
@click.option("--batch", type=int, default=8, show_default=True, help="Pictures per step and process, multiple of 8.")
@click.option("--patch", type=int, default=192, show_default=True, help="Side of the crops in pixels, multiple of 64.")
@click.option("--lr", type=POSITIVE, default=1e-3, show_default=True, help="Learning rate of the stable phase.")
@click.option(
    "--precision", default="auto", show_default=True, help="bf16, fp32, or auto: bf16 if the device supports it."
)
@click.option("--seed", type=int, default=0, show_default=True)
@DEVICE
@reporting
@click.pass_obj
def train(
    report: Reporter,
    /,
    data: tuple[Path, ...],
    run: Path,
    resume: bool,
    init: Path | None,
    minutes: float | None,
    steps: int | None,
    decay: float,
    validation: Path | None,
    device: str,
    **settings: Any,
) -> None:
    """Train a model on DATA: folders of images, tar shards, or single images.

    \b
    aecodec train photos/ --out run --validation held-back/ --minutes 120
    aecodec export run mine.safetensors
    """
    with needing("torch", "train"):
        from aecodec.train import Budget, TrainConfig, train_model

    if minutes is not None and steps is not None:
        raise click.UsageError("--minutes and --steps exclude each other")
    budget = None if resume else Budget(minutes=60, decay=decay)
    if minutes is not None or steps is not None:
        budget = Budget(steps, minutes, decay)
    try:
        config = TrainConfig(**settings)
    except InputError as error:
        raise click.UsageError(str(error)) from error
    command = shlex.join(["aecodec", *(Path(word).name for word in sys.argv[1:])])  # folders stay private
    train_model(
        data, run, budget, config, device=device, resume=resume, validation=validation,
        init="shipped" if init == Path("shipped") else init,
        quiet=report.quiet, command=command,
    )  # fmt: skip


@click.command()
@click.argument("run", type=FILE)
@click.argument("target", type=FILE, required=False)
@click.option("--state", type=FILE, help="Also write the weights before the decay, for train --init.")
@click.option(
    "--data",
    type=FILE,
    multiple=True,
    help="Training pictures, to count the contexts of z on; saves up to 7 % of the bytes.",
)
@reporting
@click.pass_obj
def export(report: Reporter, run: Path, target: Path | None, state: Path | None, data: tuple[Path, ...]) -> None:
    """Export the weights of a training run. TARGET defaults to weights.safetensors in RUN."""
    with needing("torch", "train"):
        from aecodec.train import export_run

    if target is not None:
        check_target(target, "weights")
    target, weights = export_run(run, target, state=state, pictures=data, quiet=report.quiet)
    report.result(target, f"model {weights.model_id:08x}, sha256 {weights.sha256}")
