"""From a run to a weights file: networks in float16, prior and tables frozen into integers."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor

from aecodec.errors import InputError
from aecodec.model import CONFIGS, LOG_STEP, SCALE_MIN
from aecodec.prior import SCALES, Prior
from aecodec.reference import EntropyBottleneck, GaussianConditional
from aecodec.tables import TableSet
from aecodec.train.objective import EntropyPrior, RateDistortion
from aecodec.weights import Weights

SHIFT = 20  # binary places of the table index before it is rounded


def export_run(run: Path, target: Path | None = None, *, state: Path | None = None) -> tuple[Path, Weights]:
    """Write the weights file of a run: of its newest decay, or of its stable state before there is one.

    `target` is weights.safetensors in the folder of the run unless given; returned with the weights.
    `state` also writes the weights before the decay in float16, from which `train --init` goes on elsewhere.
    Raises InputError for a folder without a run.
    """
    stable, decay = run / "stable.pt", run / "decay.pt"
    if not (stable.exists() or decay.exists()):
        raise InputError(f"{run} holds no checkpoint")
    newest = decay if decay.exists() else stable
    checkpoint: dict[str, Any] = torch.load(newest, map_location="cpu", weights_only=True)
    record = {
        "sessions": checkpoint["origin"],
        "config": checkpoint["config"],
        "steps": checkpoint["step"],
        "minutes": round(checkpoint["seconds"] / 60, 1),
    }
    model = RateDistortion(CONFIGS[checkpoint["config"]["model"]])
    model.load_state_dict(checkpoint["model"])
    weights = freeze(model, record)
    target = target or run / "weights.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    weights.save(target)
    if state is not None:
        before = torch.load(stable, map_location="cpu", weights_only=True)["model"]
        parameters = [name for name, _ in model.named_parameters()]  # buffers are constants, too small for float16
        halves = {name: before[name].half().contiguous().numpy() for name in parameters}
        state.parent.mkdir(parents=True, exist_ok=True)
        state.write_bytes(save(halves))
    return target, weights


def restore(model: RateDistortion, state: Path) -> None:
    """Load the weights that export_run(state=...) wrote. Raises InputError for a file that does not fit."""
    try:
        tensors = {name: torch.from_numpy(array).float() for name, array in load_file(state).items()}
        model.load_state_dict(model.state_dict() | tensors)
    except (RuntimeError, SafetensorError) as error:
        raise InputError(f"{state} does not fit the model: {str(error).splitlines()[0]}") from error
    if tensors.keys() != dict(model.named_parameters()).keys():
        raise InputError(f"{state} does not hold the parameters of the model")


@torch.no_grad()
def freeze(model: RateDistortion, training: dict[str, Any]) -> Weights:
    """Weights of a trained model; `training` says how it was made."""
    network = {name: tensor.half().numpy() for name, tensor in model.autoencoder.state_dict().items()}
    tables = _join(_bottleneck_tables(model.prior.bottleneck), _gaussian_tables())
    tables.native  # noqa: B018 - checks them
    return Weights(asdict(model.autoencoder.config), network, _integer_prior(model.prior), tables, training)


def _integer_prior(prior: EntropyPrior) -> Prior:
    weight: Tensor = prior.scale_weight.weight.double()
    step = weight.abs().amax(1, keepdim=True).clamp(min=1e-9) / 127
    bias = (prior.scale_bias.double().repeat_interleave(16, 1) + prior.scale_weight.bias.double()) * 2**SHIFT
    return Prior(
        (weight / step).round().to(torch.int8).numpy(),
        (step[:, 0] * 2**SHIFT).round().to(torch.int32).numpy(),
        bias.round().to(torch.int32).numpy(),
        SHIFT,
    )


def _bottleneck_tables(bottleneck: EntropyBottleneck) -> TableSet:
    bottleneck.update(force=True, update_quantiles=True)
    bottleneck.quantiles[:, :, 1] = 0  # symbols are plain integers, not distances from a median
    bottleneck.update(force=True)
    return _trim(bottleneck)


def _gaussian_tables() -> TableSet:
    conditional = GaussianConditional([SCALE_MIN * math.exp(LOG_STEP * index) for index in range(SCALES)])
    conditional.update()
    return _trim(conditional)


def _trim(entropy_model: EntropyBottleneck | GaussianConditional) -> TableSet:
    lengths = entropy_model.cdf_length.numpy().astype(np.int32)
    rows: NDArray[np.int32] = entropy_model.quantized_cdf.numpy().astype(np.int32)
    used = np.arange(rows.shape[1]) < lengths[:, None]
    return TableSet(rows[used], lengths, entropy_model.offset.numpy().astype(np.int32))


def _join(*sets: TableSet) -> TableSet:
    return TableSet(
        np.concatenate([part.cumulative for part in sets]),
        np.concatenate([part.lengths for part in sets]),
        np.concatenate([part.offsets for part in sets]),
    )
