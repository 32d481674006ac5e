"""How fast training is on this machine, and what limits it."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from aecodec.device import pick_device
from aecodec.networks.config import complexity
from aecodec.train import TrainConfig
from aecodec.train.data import SIDE, random_crops
from aecodec.train.loop import Trainer


def run(config: TrainConfig, steps: int, device: str) -> None:
    """Print Mpx/s, the share of the machine's matrix product peak and the loader's share of a step."""
    trainer = Trainer(config, torch.device(pick_device(device)))
    squares = torch.randint(0, 256, (64, 3, SIDE, SIDE), dtype=torch.uint8, device=trainer.device)
    for _ in range(12):  # past compilation and the first change of SOAP's basis
        trainer.train_step(squares, 0.01)
    step_seconds = _seconds(lambda: trainer.train_step(squares, 0.01), steps, trainer.device)
    load_seconds = _seconds(lambda: random_crops(squares, config.batch, config.patch), steps, trainer.device)
    pixels = config.batch * config.patch**2
    parameters = trainer.model.autoencoder.named_parameters()
    stages = complexity({name: tuple(parameter.shape) for name, parameter in parameters})
    flop = 6e3 * (stages["analysis"] + stages["hyper analysis"] + stages["receiver"])  # forward and twice backward
    dtype = torch.bfloat16 if trainer.bf16 else torch.float32
    peak = _matmul_peak(trainer.device, dtype)
    name = torch.cuda.get_device_name() if trainer.device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(f"{name}, torch {torch.__version__}, {config.batch} crops of {config.patch}x{config.patch}, {dtype}")
    print(f"{1 / step_seconds:.2f} steps/s, {pixels / step_seconds / 1e6:.2f} Mpx/s")
    rate = flop * pixels / step_seconds
    print(f"{rate / 1e12:.3f} TFLOP/s in the networks, {100 * rate / peak:.1f} % of a large matrix product")
    print(f"loading takes {100 * load_seconds / step_seconds:.1f} % of a step")


def _seconds(work: Callable[[], object], times: int, device: torch.device) -> float:
    """Mean seconds of one call, until the device is done."""
    _wait(device)
    start = time.perf_counter()
    for _ in range(times):
        work()
    _wait(device)
    return (time.perf_counter() - start) / times


def _matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product."""
    side = 8192 if device.type == "cuda" else 1024
    a = torch.randn(side, side, device=device).to(dtype)
    a @ a
    return 2 * side**3 / _seconds(lambda: a @ a, 10, device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
