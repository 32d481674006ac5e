"""The networks of a model on a device, and how arrays get there: what encoder and decoder share.

Networks see a picture area by area, each with a halo of their receptive field, so that memory stays bounded and the
result equals that of the whole picture. docs/architecture.md derives the halos.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aecodec.coding.prior import anchor_position
from aecodec.forked import is_forked
from aecodec.format.container import STRIDE, Box
from aecodec.isolation import plain_torch, set_own_threads
from aecodec.networks.model import Autoencoder, anchor_weights
from aecodec.weights import Weights
from aecodec.workers import Workers

Part = TypeVar("Part")
Result = TypeVar("Result")


class TorchWorkers(Workers):
    """Several threads on a CPU, each with its own part; one on a GPU, which is parallel by itself."""

    def __init__(self, threads: int | None, device: torch.device) -> None:
        super().__init__(threads)
        self.device = device
        self._torch_pools: dict[tuple[int, int | None, int], ThreadPoolExecutor] = {}

    @property
    def count(self) -> int:
        """As Workers; one in a forked process."""
        return 1 if is_forked() else super().count

    def map(self, work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
        """work(part) for every part: a thread for each, or one by one with all of torch's threads where that is it."""
        default, threads = torch.get_num_threads(), self.count
        if self.device.type == "cpu" and min(threads, len(parts)) > 1:
            return list(self._torch_pool(threads, 1).map(work, parts))
        if self.device.type == "cpu" and threads != default:  # not by a switch, which other threads would feel
            return self._torch_pool(None, threads).submit(lambda: [work(part) for part in parts]).result()
        return [work(part) for part in parts]

    def _torch_pool(self, threads: int | None, torch_threads: int) -> ThreadPoolExecutor:
        """Threads of this process, each with some of torch's."""
        key = os.getpid(), threads, torch_threads
        if key not in self._torch_pools:
            pool = ThreadPoolExecutor(threads, initializer=set_own_threads, initargs=(torch_threads,))
            self._torch_pools.setdefault(key, pool)
        return self._torch_pools[key]


class Runtime:
    """Nothing changes after construction."""

    def __init__(self, network: Autoencoder, workers: TorchWorkers, work_tile: int = 8) -> None:
        """work_tile: height of what the networks see at once, without halo, in 64 pixels; it is twice as wide."""
        self.network = network
        self.workers = workers
        self.side = work_tile * STRIDE

    @classmethod
    def load(cls, weights: Weights, device: str, threads: int | None, work_tile: int = 8) -> Runtime:
        """The networks of weights, on a device. Raises InputError for weights that do not fit their configuration."""
        place = torch.device(device)
        with plain_torch(place, gradients=True):
            network = Autoencoder.from_arrays(weights.config, weights.network)
            network.fold()
            network.to(place).eval().requires_grad_(requires_grad=False)
        return cls(network, TorchWorkers(threads, place), work_tile)

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
