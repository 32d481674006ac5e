"""The receiver of docs/format.md, section 6, as it is written there: numpy, int64, the whole picture at once.

Arrays are [channels, rows, columns].
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, getcontext

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Arrays = Mapping[str, NDArray[np.generic]]

getcontext().prec = 50
POWERS = np.array([int((Decimal(2) ** (30 + Decimal(i) / 64)).to_integral_value()) for i in range(65)])


def clamp16(x: Ints) -> Ints:
    return np.clip(x, -32767, 32767)


def scale(v: Ints, m: Ints, s: int) -> Ints:
    return (v * m + (1 << (s - 1))) >> s


def column(v: NDArray[np.generic]) -> Ints:
    return v.astype(np.int64)[:, None, None]


def shuffle(x: Ints, k: int) -> Ints:
    C, H, W = x.shape
    return x.reshape(C // k**2, k, k, H, W).transpose(0, 3, 1, 4, 2).reshape(C // k**2, k * H, k * W)


class Reference:
    def __init__(self, arrays: Arrays, level: int) -> None:
        self.arrays = arrays
        self.level = level

    def gain(self, name: str) -> Ints:
        place = 7 * (self.level - 100)
        low = min(place // 9900, 6)
        part = place - 9900 * low
        anchors = self.arrays[name].astype(np.int64)
        v = (anchors[low] * (9900 - part) + anchors[low + 1] * part) // 9900
        i = (v & 65535) >> 10
        t = POWERS[i] + (((POWERS[i + 1] - POWERS[i]) * (v & 1023)) >> 10)
        return column(t >> (30 - (v >> 16)))

    def shift(self, name: str) -> int:
        return int(self.arrays[f"{name}.format"][0])

    def sums(self, name: str, x: Ints, groups: int = 1) -> Ints:
        weight = self.arrays[f"{name}.weight"].astype(np.int64)
        grouped = weight.reshape(groups, -1, weight.shape[1]) @ x.reshape(groups, weight.shape[1], -1)
        return grouped.reshape(len(weight), *x.shape[1:]) + column(self.arrays[f"{name}.bias"])

    def wide(self, name: str, x: Ints) -> Ints:
        y = scale(self.sums(name, x), column(self.arrays[f"{name}.multiplier"]), self.shift(name))
        return np.clip(y, -8388607, 8388607)

    def P(self, name: str, x: Ints, groups: int = 1) -> Ints:
        m = column(self.arrays[f"{name}.multiplier"])
        return clamp16(scale(self.sums(name, x, groups), m, self.shift(name)))

    def D(self, name: str, x: Ints) -> Ints:
        _, H, W = x.shape
        weight = self.arrays[f"{name}.weight"].astype(np.int64)
        around = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        sums = column(self.arrays[f"{name}.bias"]) + sum(
            column(weight[:, 3 * i + j]) * around[:, i : i + H, j : j + W] for i in range(3) for j in range(3)
        )
        return clamp16(scale(sums, column(self.arrays[f"{name}.multiplier"]), self.shift(name)))

    def act(self, name: str, x: Ints) -> Ints:
        slope = ((x * 9830) >> int(self.arrays[f"{name}.format"][1])) + 16384
        return (x * np.clip(slope, 0, 32768) + 16384) >> 15

    def block(self, name: str, x: Ints, groups: int = 1) -> Ints:
        spatial = self.act(f"{name}.spatial", self.D(f"{name}.spatial", self.P(f"{name}.enter", x, groups)))
        x = clamp16(x + self.P(f"{name}.leave", spatial, groups))
        expanded = self.act(f"{name}.expand", self.P(f"{name}.expand", x, groups))
        return clamp16(x + self.P(f"{name}.reduce", expanded, groups))

    def features(self, z: NDArray[np.int8]) -> Ints:
        f = z.astype(np.int64)
        for i in range(2):
            f = self.block(f"h_s.blocks.{i}", shuffle(self.P(f"h_s.ups.{i}", f, 4), 2), 4)
        return clamp16(scale(self.sums("h_s.leave", f), self.gain("h_s.gain"), self.shift("h_s.leave")))

    def first_half(self, y: Ints) -> NDArray[np.bool_]:
        M, H, W = y.shape
        odd = (np.arange(H)[:, None] + np.arange(W)) % 2
        return odd == (np.arange(M) >= M / 2)[:, None, None]

    def dequantized(self, y: NDArray[np.int16], m: Ints, step: Ints) -> Ints:
        return np.clip(((y.astype(np.int64) * 256 + m) * step + 128) >> 8, -(2**31 - 1), 2**31 - 1)

    def predict_first(self, f: Ints) -> tuple[Ints, Ints]:
        """Steps, and means of which those in the first half count."""
        h = self.block("mean0.block", self.P("mean0.enter", f), 4)
        return np.clip(4096 + self.wide("mean0.step", h), 2048, 262144), self.wide("mean0.leave", h)

    def y0(self, y: NDArray[np.int16], m0: Ints, step: Ints) -> Ints:
        return np.where(self.first_half(m0), clamp16((self.dequantized(y, m0, step) + 32) >> 6), 0)

    def predict_second(self, f: Ints, y0: Ints) -> Ints:
        entered = self.P("mean1.enter", np.concatenate((y0, f)))
        return self.wide("mean1.leave", self.block("mean1.block", entered, 4))

    def y_hat(self, z: NDArray[np.int8], y: NDArray[np.int16]) -> Ints:
        f = self.features(z)
        step, m0 = self.predict_first(f)
        m1 = self.predict_second(f, self.y0(y, m0, step))
        return self.dequantized(y, np.where(self.first_half(m0), m0, m1), step)

    def render(self, y_hat: Ints, factor: int = 1) -> NDArray[np.uint8]:
        """Pixels [rows, columns, 3] of the padded picture, reduced."""
        u = clamp16(scale(y_hat, self.gain("g_s.y_gain"), 24))
        b = self.P("g_s.enter", u)
        for i in range(2):
            b = clamp16(scale(self.block(f"g_s.blocks.{i}", b), self.gain(f"g_s.gains.{i}"), 24))
        x, k = shuffle(self.P("g_s.latent", u), 4), shuffle(self.P("g_s.condition", b), 4)
        if factor == 8:
            x, k = ((pooled(t, 2) + 2) >> 2 for t in (x, k))
        k = self.act("g_s.condition", k)
        v = clamp16(x + self.P("g_s.shift", k) + ((x * self.P("g_s.scale", k) + 2048) >> 12))
        w = self.P("g_s.reduce", self.act("g_s.expand", self.P("g_s.expand", v)))
        x = clamp16(x + ((self.P("g_s.gate", k) * w + 16384) >> 15))
        merged = min(factor, 4)
        sums = pooled(shuffle(self.sums("g_s.leave", x), 4), merged)
        shift = self.shift("g_s.leave") + {1: 0, 2: 2, 4: 4}[merged]
        multiplier = int(self.arrays["g_s.leave.multiplier"][0])
        # sums of many pixels by a multiplier may need more than 64 bits
        rgb = np.clip((sums.astype(object) * multiplier + (1 << (shift - 1))) >> shift, 0, 255)
        return rgb.astype(np.uint8).transpose(1, 2, 0)


def pooled(x: Ints, k: int) -> Ints:
    """Sums of k x k."""
    C, H, W = x.shape
    return x.reshape(C, H // k, k, W // k, k).sum((2, 4))
