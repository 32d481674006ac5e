"""The weights file: networks, prior and tables of one model in safetensors, named by its SHA-256."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from aecodec.coding.prior import Context, Prior
from aecodec.coding.tables import TableSet
from aecodec.errors import InputError, UnsupportedError
from aecodec.forked import computed_once
from aecodec.format.container import NO_MODEL

DEFAULT_MODEL = "m"
SHIPPED = {"m": 0x0CDC263D, "s": 0x623887D6}  # name: model_id; append-only from 1.0 on
_NETWORK, _RECEIVER = "network.", "receiver."
_FORMAT = "aecodec weights 2"


@dataclass(frozen=True)
class Weights:
    """One model, ready for Codec."""

    config: dict[str, Any]  # the fields of ModelConfig
    network: dict[str, NDArray[Any]]  # parameters of model.Autoencoder
    receiver: dict[str, NDArray[Any]]  # integers of docs/format.md, section 6
    prior: Prior
    tables: TableSet  # first the sets of z per anchor, then the tables of y
    training: dict[str, Any]  # command, data and settings that made it

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Everything that is stored, by its name in the file."""
        context = self.prior.context
        return {
            **{_NETWORK + name: array for name, array in self.network.items()},
            **{_RECEIVER + name: array for name, array in self.receiver.items()},
            "prior.weight": self.prior.weight,
            "prior.multiplier": self.prior.multiplier,
            "prior.bias": self.prior.bias,
            "prior.shift": np.array([self.prior.shift], np.int32),
            **({"context.weight": context.weight, "context.thresholds": context.thresholds} if context else {}),
            "tables.cumulative": self.tables.cumulative,
            "tables.lengths": self.tables.lengths,
            "tables.offsets": self.tables.offsets,
        }

    @computed_once
    def sha256(self) -> str:
        """Digest of the configuration and of every tensor's name, type, shape and bytes, in order of names."""
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for name, array in sorted(self.tensors().items()):
            digest.update(f"{name} {array.dtype.str} {list(array.shape)}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @property
    def model_id(self) -> int:
        """What files that need these weights carry."""
        return int.from_bytes(bytes.fromhex(self.sha256[:8]), "little")

    def save(self, path: Path) -> None:
        """Write the weights file, replacing an older one only when it is complete."""
        metadata = {
            "format": _FORMAT,
            "config": json.dumps(self.config, sort_keys=True),
            "sha256": self.sha256,
            "training": json.dumps(self.training),
        }
        tensors = {name: np.ascontiguousarray(array) for name, array in self.tensors().items()}
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_bytes(save(tensors, metadata))
        os.replace(temporary, path)


def load(model: str | Path | None = None) -> Weights:
    """Weights by the name of a shipped model (default) or by path.

    Raises InputError for a name or file that does not exist, is no weights file, or differs from its own SHA-256.
    """
    if not isinstance(model, str | Path | None):
        raise InputError(f"model must be a name or a path, got {type(model).__name__}")
    path = shipped_path(model or DEFAULT_MODEL) if model is None or model in SHIPPED else Path(model)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError, TypeError) as error:  # a type that numpy does not have
        raise InputError(f"{path} is not a weights file: {error}") from error
    if metadata.get("format") != _FORMAT:
        raise InputError(
            f"{path} is not an aecodec weights file: its format is {metadata.get('format')}, not {_FORMAT}"
        )
    try:
        weights = Weights(
            config=json.loads(metadata["config"]),
            network=_under(_NETWORK, tensors),
            receiver=_under(_RECEIVER, tensors),
            prior=Prior(
                tensors["prior.weight"],
                tensors["prior.multiplier"],
                tensors["prior.bias"],
                int(tensors["prior.shift"][0]),
                Context(tensors["context.weight"], tensors["context.thresholds"])
                if "context.weight" in tensors
                else None,
            ),
            tables=TableSet(tensors["tables.cumulative"], tensors["tables.lengths"], tensors["tables.offsets"]),
            training=json.loads(metadata["training"]),
        )
        _ = weights.tables.native  # checks them
    except (IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not an aecodec weights file: {error}") from error
    if weights.sha256 != metadata.get("sha256"):
        raise InputError(f"{path} is damaged: SHA-256 {weights.sha256}, expected {metadata.get('sha256')}")
    return weights


def _under(prefix: str, tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def load_for(model_id: int) -> Weights:
    """The shipped weights that a file needs. Raises UnsupportedError, naming both sides, where there are none."""
    return load(shipped_name(model_id))


def shipped_name(model_id: int) -> str:
    """The name of the shipped weights that a file needs, any where it needs none. Raises as load_for."""
    if model_id == NO_MODEL:
        return DEFAULT_MODEL
    for name, shipped in SHIPPED.items():
        if shipped == model_id:
            return name
    raise missing(model_id, *SHIPPED.values())


def missing(model_id: int, *present: int) -> UnsupportedError:
    """The error for a file whose weights are not among those present."""
    return UnsupportedError(f"file needs weights {model_id:08x}, present: {', '.join(f'{one:08x}' for one in present)}")


def shipped_path(name: str) -> Path:
    return Path(str(resources.files("aecodec") / "data" / f"{name}.safetensors"))
