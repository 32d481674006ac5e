"""The networks that correct decoded pictures by what these were coded as: to be without noise, or larger.

The latent y goes through blocks at 1/16, which see far; what they find joins the decoded pixels at 1/4, where further
blocks make a correction of them. So the latent tells what is there, and the pixels where exactly.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor, nn

from aecodec.coding.prior import ANCHORS
from aecodec.errors import InputError
from aecodec.format.container import Y_STRIDE
from aecodec.networks.layers import DepthConvBlock, Pointwise, in_full

_FORMAT = "aecodec correction 1"
_SIDE = 4  # pixels per side that the fine blocks see as one position
SIGMA_UNIT = 50.0  # of the noise that a network is told
_CONDITIONS = 3  # deviation of the noise, whether it is a gray picture, place on the anchor axis
_QUANTILES = (0.1, 0.25, 0.5)  # of each channel of the latent, which tell the noise
_SMALLEST = 1e-3  # of the latent, in its deviations: what quantization leaves is 0


class Shape(NamedTuple):
    """Widths and depths of a network."""

    M: int  # channels of y
    factor: int = 1  # of enlargement
    width: int = 64  # at 1/4
    depth: int = 4
    coarse_width: int = 96  # at 1/16
    coarse_depth: int = 2
    carried: int = 16  # channels at 1/4 that come from 1/16

    @property
    def halo(self) -> int:
        """Pixels around an area that it depends on, in whole cells of y."""
        seen = Y_STRIDE * self.coarse_depth + _SIDE * self.depth
        return -(-seen // Y_STRIDE) * Y_STRIDE


class CorrectionNetwork(nn.Module):
    """x_hat [B, 3, H, W] and the latent [B, M, H/16, W/16] to pictures [B, 3, factor H, factor W]."""

    spread: Tensor  # [M]: deviation of the latent
    noise: Tensor  # [1 + len(_QUANTILES) * M]: from its statistics to the noise; zeros where that is not asked

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("spread", torch.ones(shape.M))
        self.register_buffer("noise", torch.zeros(1 + len(_QUANTILES) * shape.M))
        self.coarse_enter = Pointwise(shape.M, shape.coarse_width)
        self.coarse_condition = nn.Linear(_CONDITIONS, shape.coarse_width)
        self.coarse = nn.ModuleList(DepthConvBlock(shape.coarse_width) for _ in range(shape.coarse_depth))
        self.carry = Pointwise(shape.coarse_width, shape.carried * (Y_STRIDE // _SIDE) ** 2)
        self.enter = Pointwise(3 * _SIDE**2 + shape.carried, shape.width)
        self.condition = nn.Linear(_CONDITIONS, shape.width)
        self.blocks = nn.ModuleList(DepthConvBlock(shape.width) for _ in range(shape.depth))
        self.leave = Pointwise(shape.width, 3 * (_SIDE * shape.factor) ** 2)
        nn.init.zeros_(self.leave.weight)

    def forward(self, x_hat: Tensor, latent: Tensor, conditions: Tensor) -> Tensor:
        """The corrected picture; both sides are multiples of 16 pixels."""
        x = self.coarse_enter(latent / self.spread[:, None, None])
        x = x + self.coarse_condition(conditions)[:, :, None, None]
        for block in self.coarse:
            x = block(x)
        carried = F.pixel_shuffle(self.carry(x), Y_STRIDE // _SIDE)
        fine = F.pixel_unshuffle(x_hat - 0.5, _SIDE)
        x = self.enter(torch.cat((fine, carried.to(fine.dtype)), 1)) + self.condition(conditions)[:, :, None, None]
        for block in self.blocks:
            x = block(x)
        factor = self.shape.factor
        return enlarged(x_hat, factor) + F.pixel_shuffle(in_full(self.leave, x), _SIDE * factor)

    def estimate(self, latents: Tensor) -> float:
        """The deviation of the noise, from positions [n, M] of the latent."""
        return float(log_to_noise(self.statistics(latents) @ self.noise))

    def statistics(self, latents: Tensor) -> Tensor:
        """[1 + len(_QUANTILES) * M] of positions [n, M] of the latent, which tell how strong its noise is."""
        size = (latents / self.spread).abs()
        quantiles = torch.quantile(size, torch.tensor(_QUANTILES, device=size.device), dim=0)
        return torch.cat((torch.ones(1, device=size.device), (quantiles + _SMALLEST).log().flatten()))


def enlarged(x: Tensor, factor: int) -> Tensor:
    """Bicubic, as Pillow's."""
    if factor == 1:
        return x
    size = [factor * side for side in x.shape[-2:]]
    return F.interpolate(x.float(), size, mode="bicubic", antialias=True, align_corners=False)


def conditions(sigma: Tensor, gray: Tensor, position: Tensor) -> Tensor:
    """[B, 3] of noise in levels of 255, whether pictures are gray, and their places on the anchor axis."""
    return torch.stack((sigma / SIGMA_UNIT, gray.to(sigma.dtype), position / (ANCHORS - 1)), 1)


def noise_to_log(sigma: Tensor) -> Tensor:
    """What the noise is regressed as: errors relative to it count, but not those of next to none."""
    return (sigma + 2).log()


def log_to_noise(value: Tensor) -> Tensor:
    return (value.exp() - 2).clamp(min=0)


@dataclass(frozen=True)
class Correction:
    """A trained network, a head, for the weights of one model."""

    model_id: int
    task: str  # denoise or upscale
    network: CorrectionNetwork

    def save(self, path: Path) -> None:
        tensors = {name: value.detach().contiguous().numpy() for name, value in self.network.state_dict().items()}
        halves = {name: value.astype(np.float32 if name == "noise" else np.float16) for name, value in tensors.items()}
        shape = json.dumps(self.network.shape._asdict())
        metadata = {"format": _FORMAT, "model_id": f"{self.model_id:08x}", "task": self.task, "shape": shape}
        path.write_bytes(save(halves, metadata))

    @classmethod
    def load(cls, path: Path, task: str) -> Correction:
        """Raises InputError for what save has not written, and for a head of another task."""
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                tensors = {name: torch.from_numpy(file.get_tensor(name)).float() for name in file.keys()}  # noqa: SIM118 - no mapping
            found = metadata.get("format"), metadata.get("task")
            if found != (_FORMAT, task):
                raise InputError(f"its format and task are {found[0]}, {found[1]}, not {_FORMAT}, {task}")
            shape = Shape(**json.loads(metadata["shape"]))
            if max(shape.depth, shape.coarse_depth) > len(tensors):
                raise InputError(f"{shape} has more blocks than {len(tensors)} tensors")
            with torch.device("meta"):  # a size that is only claimed takes no memory
                network = CorrectionNetwork(shape)
            _check_shapes(tensors, network.state_dict())
            network.load_state_dict(tensors, assign=True)
            broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
            if broken or not (tensors["spread"] > 0).all():
                raise InputError(f"{', '.join(broken) or 'spread'} holds numbers that no head has")
            network.requires_grad_(requires_grad=False)
            return cls(int(metadata["model_id"], 16), task, network)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{path} is not a head to {task}: {str(error).partition(chr(10))[0]}") from error


def _check_shapes(tensors: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Raises InputError for tensors that are not those of a network."""
    there, needed = ({name: list(one.shape) for name, one in some.items()} for some in (tensors, wanted))
    for name in sorted(there.keys() | needed.keys()):
        if there.get(name) != needed.get(name):
            raise InputError(f"{name} is {there.get(name)}, not {needed.get(name)}")
