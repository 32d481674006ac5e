"""Receivers with random arrays: none makes a picture, all must compute the same everywhere."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.generic]]


class Widths(NamedTuple):
    N: int
    M: int
    context: int
    body: int
    hidden: int
    render: int


TINY = Widths(16, 32, 32, 32, 32, 8)
ODD = Widths(20, 26, 12, 10, 14, 5)  # fill no vector, and leave single inputs over
MODEL_M = Widths(96, 384, 128, 144, 272, 48)


def layers(widths: Widths) -> list[tuple[str, int, int, int]]:
    """Name, outputs, columns of the weight, multipliers."""
    N, M, C, body, hidden, R = widths
    found = []

    def add(name: str, outputs: int, columns: int, multipliers: int | None = None) -> None:
        found.append((name, outputs, columns, outputs if multipliers is None else multipliers))

    def block(name: str, width: int, inner: int, groups: int) -> None:
        add(f"{name}.enter", width, width // groups)
        add(f"{name}.spatial", width, 9)
        add(f"{name}.leave", width, width // groups)
        add(f"{name}.expand", inner, width // groups)
        add(f"{name}.reduce", width, inner // groups)

    for i in range(2):
        add(f"h_s.ups.{i}", 4 * N, N // 4)
        block(f"h_s.blocks.{i}", N, 2 * N, 4)
        block(f"g_s.blocks.{i}", body, hidden, 1)
        add(f"mean{i}.enter", C, M * (1 + i))
        block(f"mean{i}.block", C, 2 * C, 4)
        add(f"mean{i}.leave", M, C)
    add("h_s.leave", M, N, 0)
    add("mean0.step", M, C)
    add("g_s.enter", body, M)
    add("g_s.latent", 16 * R, M)
    add("g_s.condition", 16 * R, body)
    for name in ("shift", "scale", "gate", "expand", "reduce"):
        add(f"g_s.{name}", R, R)
    add("g_s.leave", 48, R, 1)
    return found


def random_arrays(widths: Widths, seed: int, *, wild: bool = False) -> Arrays:
    """Arrays within the bounds. Activations fill their range and few are cut; many are, if wild."""
    rng = np.random.default_rng(seed)
    arrays: Arrays = {}
    for name, outputs, columns, multipliers in layers(widths):
        extreme = wild and rng.random() < 0.3
        limit = min(32767, 60000 // columns)
        weight = rng.integers(-limit, limit + 1, (outputs, columns))
        bias = rng.integers(-(1 << 24), 1 << 24, outputs)
        if extreme:
            weight = np.where(rng.random(weight.shape) < 0.7, np.sign(weight) * limit, weight)
            weight[0] = 0
            weight[0, 0] = -32768  # alone in its row
            left = (1 << 31) - 1 - 32767 * np.abs(weight).sum(1)
            bias = np.where(rng.random(outputs) < 0.5, np.sign(bias) * left, bias)
        # What makes 5000 of the sums of inputs of 5000; symbols of z are smaller.
        gain = (40 if name == "h_s.ups.0" else 1) * (3 if multipliers == 1 else 1) / (limit * columns**0.5 / 1.7)
        shift = int(np.floor(31 - np.log2(gain)))
        multiplier = rng.integers(int(gain * 2**shift * 0.3), int(gain * 2**shift), max(multipliers, 1))
        if name in ("mean0.step", "mean0.leave", "mean1.leave", "h_s.leave"):
            shift -= 3
        if multipliers == 1:
            shift += 5
        if extreme:
            shift = int(rng.choice([1, 2, 16, 17, 31, 32, 33, 47, 62]))
            multiplier = rng.integers(0, 1 << 31, max(multipliers, 1))
            multiplier[rng.random(len(multiplier)) < 0.2] = (1 << 31) - 1
        if multipliers == 0 and not extreme:
            shift = 24 + int(np.log2(limit)) - 8
        arrays[f"{name}.weight"] = weight.astype(np.int16)
        arrays[f"{name}.bias"] = bias.astype(np.int32)
        if multipliers:
            arrays[f"{name}.multiplier"] = multiplier[:multipliers].astype(np.int32)
        fraction = int(rng.integers(0, 16)) if extreme else int(rng.integers(11, 14))
        arrays[f"{name}.format"] = np.array([shift, fraction], np.int32)
    gains = {"h_s.gain": widths.M, "g_s.y_gain": widths.M, "g_s.gains.0": widths.body, "g_s.gains.1": widths.body}
    for name, width in gains.items():
        low, high = (0, 30) if wild and rng.random() < 0.5 else (22, 24) if name != "g_s.y_gain" else (18, 20)
        arrays[name] = rng.integers(low << 16, (high << 16) + 1, (8, width), dtype=np.int32)
    return arrays


class Picture(NamedTuple):
    z: NDArray[np.int8]
    y: NDArray[np.int16]

    @property
    def padded(self) -> tuple[int, int]:
        _, rows, columns = self.z.shape
        return 64 * columns, 64 * rows


def random_picture(widths: Widths, columns: int, rows: int, seed: int, *, wild: bool = False) -> Picture:
    """Symbols of columns x rows positions of z."""
    rng = np.random.default_rng(seed)
    z = rng.integers(-127, 128, (widths.N, rows, columns))
    y = np.rint(rng.laplace(0, 1.5, (widths.M, 4 * rows, 4 * columns)))
    if wild:
        y = rng.choice([-32768, -32767, -1, 0, 1, 300, 32767], y.shape)
    return Picture(z.astype(np.int8), y.astype(np.int16))
