"""The networks of a model on a device, and how arrays get there: what encoder and decoder share.

Networks see a picture area by area, each with a halo of their receptive field, so that memory stays bounded and the
result equals that of the whole picture. docs/architecture.md derives the halos.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aecodec.coding.prior import anchor_position
from aecodec.format.container import STRIDE, Box
from aecodec.isolation import plain_torch
from aecodec.networks.model import Autoencoder, anchor_weights
from aecodec.workers import Workers

MEAN_HALO = 32  # pixels around an area of y that its means depend on
BODY_HALO = 32  # pixels around an area of y_hat that the features which are rendered depend on


class Runtime:
    """Nothing changes after construction."""

    def __init__(self, network: Autoencoder, workers: Workers, work_tile: int = 8) -> None:
        """work_tile: height of what the networks see at once, without halo, in 64 pixels; it is twice as wide."""
        self.network = network
        self.workers = workers
        self.side = work_tile * STRIDE

    def plain(self, *, gradients: bool = False) -> AbstractContextManager[None]:
        """isolation.plain_torch on the device of the networks."""
        return plain_torch(self.workers.device, gradients=gradients)

    def areas(self, area: Box) -> list[Box]:
        """Parts that the networks see one by one: independent of the tiles that the file is coded in."""
        return area.split(2 * self.side, self.side)  # wide: less halo, and strips stay low

    def tensor(self, array: NDArray[np.generic]) -> Tensor:
        """[C, H, W] as [1, C, H, W] in the type, on the device and in the memory order that suits the network."""
        return self.on_device(torch.from_numpy(array)[None])

    def on_device(self, x: Tensor) -> Tensor:
        """[B, C, H, W] likewise."""
        like = next(self.network.parameters())
        tensor = torch.empty(x.shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
        return tensor.copy_(x)

    def anchor_weights(self, level: int) -> Tensor:
        """[1, ANCHORS]: which gains the networks use at a level."""
        like = next(self.network.parameters())
        return anchor_weights(torch.tensor([anchor_position(level)], dtype=like.dtype, device=like.device))
