"""From a run to a weights file: networks in float16; receiver, prior and tables frozen into integers."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor
from tqdm import tqdm

from aecodec import metrics
from aecodec.codec import Codec
from aecodec.coding.prior import ANCHORS, SCALES, Z_LIMIT, Context, Prior
from aecodec.coding.reference import EntropyBottleneck, GaussianConditional
from aecodec.coding.tables import TableSet
from aecodec.errors import InputError
from aecodec.networks.config import CONFIGS, ModelConfig
from aecodec.networks.layers import Gain
from aecodec.networks.model import LOG_STEP, SCALE_MIN, Autoencoder
from aecodec.train.context import fit_context
from aecodec.train.data import load_squares
from aecodec.train.fixed import calibration, extremes, to_integers
from aecodec.train.objective import EntropyPrior, RateDistortion
from aecodec.weights import Weights, load

_FIT_STEPS = 100  # after which z costs half a percent more than by the tables
_LOSS_QUALITIES = (10, 50, 90, 100)
_LOSS_SQUARES = 4
SHIFT = 20  # binary places of the table index before it is rounded


def export_run(
    run: Path,
    target: Path | None = None,
    *,
    state: Path | None = None,
    pictures: Sequence[Path] = (),
    quiet: bool = False,
) -> tuple[Path, Weights]:
    """Write the weights file of a run: of its newest decay, or of its stable state before there is one.

    `target` is weights.safetensors in the folder of the run unless given; returned with the weights.
    `state` also writes the weights before the decay in float16, from which `train --init` goes on elsewhere.
    `pictures` (folders, tar shards, such as the run was trained on) are what neighbors of z are counted on: files
    become up to seven percent smaller, most at low quality, and the export takes some minutes.
    Unless quiet, what the integers of the receiver lose against its floats is told on stderr.
    Raises InputError for a folder without a run, or without the state that is asked for, and for unusable pictures.
    """
    stable, decay = run / "stable.pt", run / "decay.pt"
    if not (stable.exists() or decay.exists()):
        raise InputError(f"{run} holds no checkpoint")
    newest = decay if decay.exists() else stable
    if state is not None and not stable.exists():
        raise InputError(f"{run} holds no state before the decay: its budget was all decay")
    checkpoint: dict[str, Any] = torch.load(newest, map_location="cpu", weights_only=True)
    record = {
        "sessions": checkpoint["origin"],
        "config": checkpoint["config"],
        "steps": checkpoint["step"],
        "minutes": round(checkpoint["seconds"] / 60, 1),
        "context": [source.name for source in pictures],
    }
    model = RateDistortion(CONFIGS[checkpoint["config"]["model"]])
    model.load_state_dict(checkpoint["model"])
    squares = load_squares(pictures, quiet=quiet) if pictures else None
    weights = freeze(model, record, squares, quiet=quiet)
    target = target or run / "weights.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    weights.save(target)
    if not quiet:
        for line in integer_loss(weights, squares):
            tqdm.write(line, file=sys.stderr)
    if state is not None:
        before = torch.load(stable, map_location="cpu", weights_only=True)["model"]
        parameters = [name for name, _ in model.named_parameters()]  # buffers are constants, too small for float16
        halves = {name: before[name].half().contiguous().numpy() for name in parameters}
        state.parent.mkdir(parents=True, exist_ok=True)
        state.write_bytes(save(halves, {"lmbdas": json.dumps(model.autoencoder.config.lmbdas)}))
    return target, weights


def restore(model: RateDistortion, state: Path) -> None:
    """Load what export_run wrote: a state, or a weights file. Raises InputError for one that does not fit.

    Where its anchors stand for other lambdas, gains and biases are moved along log lambda.
    """
    try:
        with safe_open(state, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - no mapping
        if "prior.shift" in tensors:
            weights = load(state)
            thaw(model, weights)
            _move_anchors(model, ModelConfig.from_dict(weights.config).lmbdas)
            return
        model.load_state_dict(model.state_dict() | tensors)
    except (RuntimeError, SafetensorError) as error:
        raise InputError(f"{state} does not fit the model: {str(error).splitlines()[0]}") from error
    if tensors.keys() != dict(model.named_parameters()).keys():
        raise InputError(f"{state} does not hold the parameters of the model")
    _move_anchors(model, json.loads(metadata["lmbdas"]) if "lmbdas" in metadata else ModelConfig().lmbdas)


@torch.no_grad()
def _move_anchors(model: RateDistortion, lmbdas: Sequence[float]) -> None:
    """Let gains and biases that were trained for anchors at `lmbdas` (first and last) stand at those of the model.

    They are interpolated in log lambda and go on linearly beyond the ends; distributions of z are those of the nearest
    anchor.
    """
    config = model.autoencoder.config
    if tuple(lmbdas) == tuple(config.lmbdas):
        return
    low, high = lmbdas
    place = (ANCHORS - 1) * (config.lmbda(torch.arange(float(ANCHORS))) / low).log() / math.log(high / low)
    before = place.floor().clamp(0, ANCHORS - 2).long()
    part = (place - before)[:, None]
    for module in model.modules():
        if isinstance(module, Gain):
            module.log_gain.copy_(torch.lerp(module.log_gain[before], module.log_gain[before + 1], part))
    bias = model.prior.scale_bias
    bias.copy_(torch.lerp(bias[before], bias[before + 1], part))
    nearest = place.round().clamp(0, ANCHORS - 1).long()
    for parameter in model.prior.bottleneck.parameters():
        parameter.copy_(parameter.unflatten(0, (ANCHORS, -1))[nearest].flatten(0, 1))


def thaw(model: RateDistortion, weights: Weights) -> None:
    """The inverse of freeze, as far as there is one: the distributions of z have nearly the tables of the weights."""
    network = {name: torch.from_numpy(array).float() for name, array in weights.network.items()}
    model.autoencoder.load_state_dict(network)
    frozen, prior = weights.prior, model.prior
    scale = torch.from_numpy(frozen.multiplier).double() / 2**frozen.shift
    bias = torch.from_numpy(frozen.bias).double().unflatten(1, (-1, 16))  # [ANCHORS, M, 16]
    # float32 holds numbers of up to 2^26 to 4: one of four shifts gives back what all anchors were before their rows.
    shifted = torch.stack([bias[:, :, 0] - shift for shift in range(4)])
    best = (shifted.float() - shifted).abs().amax(1).argmin(0)  # [M]
    of_anchor = shifted.float().gather(0, best.expand(1, ANCHORS, -1))[0]
    with torch.no_grad():
        prior.scale_weight.weight.copy_(torch.from_numpy(frozen.weight) * scale[:, None])
        prior.scale_bias.copy_(of_anchor / 2**frozen.shift)
        prior.scale_weight.bias.copy_((bias - of_anchor[:, :, None]).mean(0).flatten() / 2**frozen.shift)
    shares = torch.exp2(-torch.from_numpy(weights.tables.bits(slice(0, frozen.z_tables), Z_LIMIT)))
    shares = shares.unflatten(0, (frozen.z_sets, frozen.N, -1)).mean(2)  # the tables of a symbol are equally likely
    anchors = torch.linspace(0, frozen.z_sets - 1, ANCHORS).round().int()
    _fit(prior.bottleneck, shares[anchors].flatten(0, 1))


def _fit(bottleneck: EntropyBottleneck, shares: Tensor) -> None:
    """Give every channel the distribution whose shares [channels, 2 * Z_LIMIT + 1] of the integers these are."""
    like = bottleneck.quantiles
    shares = shares.to(like)
    symbols = torch.arange(-Z_LIMIT, Z_LIMIT + 1, dtype=like.dtype, device=like.device).expand(len(shares), 1, -1)
    parameters = [parameter for parameter in bottleneck.parameters() if parameter is not bottleneck.quantiles]
    optimizer = torch.optim.Adam(parameters, lr=0.05)
    for _ in range(_FIT_STEPS):
        likelihood = bottleneck._likelihood(symbols)[0][:, 0].clamp(min=1e-9)
        loss = -(shares * likelihood.log2()).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def freeze(
    model: RateDistortion, training: dict[str, Any], squares: Tensor | None = None, *, quiet: bool = True
) -> Weights:
    """Weights of a trained model; `training` says how it was made.

    With squares of load_squares z gets a context, and the integers of the receiver have the ranges that these need.
    """
    network = {name: tensor.half().numpy() for name, tensor in model.autoencoder.state_dict().items()}
    z_tables, context = _bottleneck_tables(model.prior.bottleneck), None
    if squares is not None:
        context, z_tables = fit_context(model, squares, z_tables, quiet=quiet)
    tables = _join(z_tables, _gaussian_tables())
    tables.native  # noqa: B018 - checks them
    config = asdict(model.autoencoder.config)
    receiver = to_integers(Autoencoder.from_arrays(config, network), calibration(squares))
    prior = _integer_prior(model.prior, context)
    return Weights(config, network, receiver, prior, tables, training)


def integer_loss(weights: Weights, squares: Tensor | None) -> list[str]:
    """What integers lose against floats, each with files of their own, on some squares and extremes: lines."""
    groups = {"extremes": extremes()}
    if squares is not None:
        groups = {"pictures": squares, **groups}
    codecs = [Codec(weights, "cpu", backend=backend) for backend in ("float", "exact")]
    lines = []
    for name, group in groups.items():
        chosen = torch.linspace(0, len(group) - 1, _LOSS_SQUARES).long()
        pictures = [group[index].permute(1, 2, 0).contiguous().numpy() for index in chosen]
        parts = []
        for quality in _LOSS_QUALITIES:
            files = [[codec.encode(picture, quality=quality, effort=0) for picture in pictures] for codec in codecs]
            floats, integers = (
                metrics.psnr(np.concatenate(pictures), np.concatenate([np.asarray(codec.decode(file)) for file in own]))
                for codec, own in zip(codecs, files, strict=True)
            )
            before, after = (sum(map(len, own)) for own in files)
            parts.append(
                f"quality {quality}: {integers - floats:+.3f} dB, {100 * (after / before - 1):+.2f} % of the bytes"
            )
        lines.append(f"integers against floats, {_LOSS_SQUARES} {name}: {'; '.join(parts)}")
    return lines


def _integer_prior(prior: EntropyPrior, context: Context | None) -> Prior:
    weight: Tensor = prior.scale_weight.weight.double()
    step = weight.abs().amax(1, keepdim=True).clamp(min=1e-9) / 127
    bias = (prior.scale_bias.double().repeat_interleave(16, 1) + prior.scale_weight.bias.double()) * 2**SHIFT
    return Prior(
        (weight / step).round().to(torch.int8).numpy(),
        (step[:, 0] * 2**SHIFT).round().to(torch.int32).numpy(),
        bias.round().to(torch.int32).numpy(),
        SHIFT,
        context,
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
