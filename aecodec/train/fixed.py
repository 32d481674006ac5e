"""The receiver in integers (docs/format.md, section 6): formats from ranges seen on pictures, layers from floats.

Whatever the pictures are, 32-bit sums cannot overflow: each row of a layer is as fine as that allows. What ranges
decide is only how much room a tensor has before it is cut.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from aecodec.coding.prior import ANCHORS, Z_LIMIT
from aecodec.networks.model import Autoencoder, anchor_weights

Arrays = dict[str, NDArray[Any]]

LIMIT = 32767  # largest input and output of a layer
SUM_LIMIT = 2**31 - 1
# Room above the largest value seen on usual pictures (half of it on extremes), and how much less a channel may have
# than the largest of its tensor. Means need fine weights, which numbers of one unit allow, and may be cut: the
# encoder predicts the same ones. Pixels may not.
MEAN_ROOM, MEAN_SPREAD = 2.0, 1.0
PIXEL_ROOM, PIXEL_SPREAD = 4.0, 64.0
LOG_PLACES = 16  # binary places of the logarithm of a gain
MAX_LOG_GAIN = 30.0
GAIN_SHIFT = 24
MEAN_PLACES, STEP_PLACES, Y_PLACES, CONTEXT_PLACES, SCALE_PLACES, GATE_PLACES = 8, 12, 12, 6, 12, 15
CALIBRATION_SQUARES = 64
POSITIONS = torch.linspace(0, ANCHORS - 1, 5)  # on the anchor axis, that ranges are measured at


def calibration(squares: Tensor | None) -> Iterator[tuple[Tensor, bool]]:
    """Pictures [B, 3, H, W] that ranges are measured on, and whether they are usual ones.

    Usual ones are some of the squares uint8 [n, 3, SIDE, SIDE], or smooth ones without; then come made extremes.
    """
    if squares is None:
        generator = torch.Generator().manual_seed(0)
        coarse = torch.rand(4, 3, 8, 8, generator=generator)
        yield F.interpolate(coarse, 128, mode="bicubic").clamp(0, 1), True
    else:
        for index in torch.linspace(0, len(squares) - 1, CALIBRATION_SQUARES).long():
            yield squares[index : index + 1].float().div(255), True
    for part in extremes().split(4):
        yield part.float().div(255), False


def extremes() -> Tensor:
    """Noise, text, checkers, saturated and plain colors, uint8 [n, 3, 128, 128]."""
    rng, side = np.random.default_rng(0), 128
    ends = np.array([0, 255], np.uint8)
    row, column = np.indices((side, side))
    glyphs = np.pad(rng.choice(ends, (side // 16, 8, side // 8, 5)), ((0, 0), (4, 4), (0, 0), (1, 2)))
    colors = np.stack(np.meshgrid(ends, ends, ends), -1).reshape(8, 3)
    grays = [
        rng.choice(ends, (side, side)),
        glyphs.reshape(side, side),
        255 - glyphs.reshape(side, side),
        *(ends[(row // size + column // size) % 2] for size in (1, 2, 8, 32)),
        np.zeros((side, side), np.uint8),
        np.full((side, side), 255, np.uint8),
    ]
    pictures = [np.repeat(gray[:, :, None], 3, 2) for gray in grays]
    pictures += [rng.integers(0, 256, (side, side, 3), np.uint8), rng.choice(ends, (side, side, 3))]
    # Edges that no grid of the networks has: between saturated colors they ask most of the renderer.
    pictures += [colors[column // 24], colors[(row // 20 + column // 12) % 8]]
    pictures += [colors[rng.integers(0, 8, (11, 11))].repeat(12, 0).repeat(12, 1)[:side, :side]]
    return torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).copy())


class Ranges:
    """Largest magnitude per channel of what enters and leaves each layer of the receiver."""

    def __init__(self, network: Autoencoder) -> None:
        self.network = network
        self.needed: dict[str, Tensor] = defaultdict(lambda: torch.zeros(1))

    @torch.no_grad()
    def add(self, x: Tensor, *, usual: bool) -> None:
        """Pictures [B, 3, H, W] with sides multiple of STRIDE, at all qualities. Of usual ones there may be larger."""
        hooks = [
            module.register_forward_hook(self._hook(name, _room(name) / (1 if usual else 2)))
            for name, module in self.network.named_modules()
            if name.startswith(("h_s.", "mean", "g_s."))
        ]
        for position in POSITIONS:
            weights = anchor_weights(position.expand(len(x)))
            y = self.network.analyze(x, weights)
            z = self.network.hyper_analyze(y, weights).clamp(-Z_LIMIT, Z_LIMIT).round()
            self.network.synthesize(self.network.predict(z, weights, partial(_rounded, y)).y_hat, weights)
        for hook in hooks:
            hook.remove()

    def _hook(self, name: str, room: float) -> Any:
        def record(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            for site, tensor in ((f"{name}<", inputs[0]), (f"{name}>", output)):
                self.needed[site] = torch.maximum(self.needed[site], tensor.abs().amax((0, 2, 3)) * room)

        return record

    def unit(self, *sites: str) -> NDArray[np.float64]:
        """What an integer of each channel stands for, so that there is room for what these sites need."""
        largest = torch.stack([self.needed[site] for site in sites]).amax(0).double().numpy()
        spread = PIXEL_SPREAD if sites[0].startswith("g_s.") else MEAN_SPREAD
        return np.maximum(largest, max(largest.max() / spread, 1e-6)) / LIMIT

    def fraction(self, site: str) -> int:
        """Binary places of all channels, where an activation follows."""
        return max(0, min(15, math.floor(-math.log2(self.unit(site).max()))))


def to_integers(network: Autoencoder, pictures: Iterable[tuple[Tensor, bool]]) -> Arrays:
    """The arrays of section 6 from trained networks, not folded; `pictures` as for Ranges.add."""
    ranges = Ranges(network)
    for x, usual in pictures:
        ranges.add(x, usual=usual)
    return _Converter(network, ranges).arrays


class _Converter:
    def __init__(self, network: Autoencoder, ranges: Ranges) -> None:
        self.modules = dict(network.named_modules())
        self.ranges = ranges
        self.arrays: Arrays = {}
        M = network.config.M

        before = np.array(1.0)  # what an integer of z stands for
        for i in range(2):
            block = f"h_s.blocks.{i}"
            stream = self.stream(block)
            self.layer(f"h_s.ups.{i}", before, stream.repeat(4))
            self.block(block, stream)
            before = stream
        features = ranges.unit("h_s.gain>")
        self.gained_layer("h_s.leave", before, features, "h_s.gain")
        for name, unit in (
            ("mean0", features),
            ("mean1", np.concatenate((np.full(M, _unit(CONTEXT_PLACES)), features))),
        ):
            stream = self.stream(f"{name}.block")
            self.layer(f"{name}.enter", unit, stream)
            self.block(f"{name}.block", stream)
            rows = slice(0, M) if name == "mean1" else slice(M, 2 * M)
            self.layer(f"{name}.leave", stream, _unit(MEAN_PLACES), rows=rows)
        self.layer("mean0.leave", self.stream("mean0.block"), _unit(STEP_PLACES), rows=slice(0, M), target="mean0.step")
        self.synthesis()

    def synthesis(self) -> None:
        ranges = self.ranges
        u = ranges.unit("g_s.y_gain>")
        self.gain("g_s.y_gain", _unit(Y_PLACES) / u)
        streams = [self.stream("g_s.blocks.0"), self.stream("g_s.blocks.1"), ranges.unit("g_s.gains.1>")]
        self.layer("g_s.enter", u, streams[0])
        for i in range(2):
            self.block(f"g_s.blocks.{i}", streams[i])
            self.gain(f"g_s.gains.{i}", streams[i] / streams[i + 1])
        self.activated("g_s.condition", streams[2])
        k = self.output("g_s.condition")
        x = ranges.unit("g_s.expand<", "g_s.leave<")
        x = np.maximum(x, ranges.unit("g_s.latent>").reshape(len(x), -1).max(1))
        gate, mixed = ranges.unit("g_s.modulate>").reshape(3, -1)[2], ranges.unit("g_s.reduce>")
        x = np.maximum(x, gate * mixed * 2.0**GATE_PLACES)
        gate *= np.sqrt(x / (gate * mixed * 2.0**GATE_PLACES))  # what room one does not need, the other has
        C = len(x)
        self.layer("g_s.latent", u, x.repeat(16))
        self.layer("g_s.modulate", k, x, rows=slice(0, C), target="g_s.shift")
        self.layer("g_s.modulate", k, _unit(SCALE_PLACES), rows=slice(C, 2 * C), target="g_s.scale")
        self.layer("g_s.modulate", k, gate, rows=slice(2 * C, 3 * C), target="g_s.gate")
        self.activated("g_s.expand", x)
        self.layer("g_s.reduce", self.output("g_s.expand"), x / (gate * 2.0**GATE_PLACES))
        weight, bias = self.floats("g_s.leave")
        self.store("g_s.leave", 255 * weight * x, 255 * (bias + 0.5), np.array(1.0), alike=True)

    def stream(self, block: str) -> NDArray[np.float64]:
        """Unit of what the branches of a block are added to."""
        return self.ranges.unit(f"{block}<", f"{block}.expand<", f"{block}>")

    def block(self, name: str, stream: NDArray[np.float64]) -> None:
        enter = self.ranges.unit(f"{name}.enter>")
        self.layer(f"{name}.enter", stream, enter)
        self.activated(f"{name}.spatial", enter[:, None])
        self.layer(f"{name}.leave", self.output(f"{name}.spatial"), stream)
        self.activated(f"{name}.expand", stream)
        self.layer(f"{name}.reduce", self.output(f"{name}.expand"), stream)

    def activated(self, name: str, before: NDArray[np.float64]) -> None:
        """A layer that an activation follows."""
        places = self.ranges.fraction(f"{name}>")
        self.layer(name, before, _unit(places))
        self.arrays[f"{name}.format"][1] = places

    def output(self, name: str) -> NDArray[np.float64]:
        """Unit of an activated layer."""
        return _unit(int(self.arrays[f"{name}.format"][1]))

    def layer(
        self,
        name: str,
        before: NDArray[np.float64],
        after: NDArray[np.float64],
        *,
        rows: slice = slice(None),
        target: str = "",
    ) -> None:
        """A layer by the units of its inputs and outputs: one for all channels, or one for each.

        A depthwise layer has those of its inputs as [C, 1].
        """
        weight, bias = self.floats(name)
        if before.ndim == 1:
            groups = before.reshape(-1, weight.shape[1])
            before = groups.repeat(len(weight) // len(groups), 0)[rows]
        self.store(target or name, weight[rows] * before, bias[rows], after)

    def gained_layer(self, name: str, before: NDArray[np.float64], after: NDArray[np.float64], gain: str) -> None:
        weight, bias = self.floats(name)
        integers, sums, ratio = _rows(weight * before, bias)
        log = np.log2(ratio / after) + self.log_gain(gain)
        shift = math.floor(min(62, MAX_LOG_GAIN - log.max()))
        self.arrays[f"{name}.weight"], self.arrays[f"{name}.bias"] = integers, sums
        self.arrays[f"{name}.format"] = np.array([shift, 0], np.int32)
        self.arrays[gain] = _log_integers(log + shift)

    def gain(self, name: str, factor: NDArray[np.float64]) -> None:
        self.arrays[name] = _log_integers(np.log2(factor) + self.log_gain(name) + GAIN_SHIFT)

    def store(
        self,
        name: str,
        weight: NDArray[np.float64],
        bias: NDArray[np.float64],
        after: NDArray[np.float64],
        *,
        alike: bool = False,
    ) -> None:
        integers, sums, ratio = _rows(weight, bias, alike=alike)
        ratio = ratio[:1] if alike else ratio / after
        shift = math.floor(min(58, math.log2(SUM_LIMIT / ratio.max())))
        self.arrays[f"{name}.weight"], self.arrays[f"{name}.bias"] = integers, sums
        self.arrays[f"{name}.multiplier"] = np.minimum(np.rint(ratio * 2.0**shift), SUM_LIMIT).astype(np.int32)
        self.arrays[f"{name}.format"] = np.array([shift, 0], np.int32)

    def floats(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """weight [out, in] and bias [out]"""
        module: Any = self.modules[name]
        return module.weight.detach().flatten(1).double().numpy(), module.bias.detach().double().numpy()

    def log_gain(self, name: str) -> NDArray[np.float64]:
        """Logarithms [ANCHORS, C] to base 2."""
        module: Any = self.modules[name]
        logs: NDArray[np.float64] = module.log_gain.detach().double().numpy() / math.log(2)
        return logs


def _room(site: str) -> float:
    return PIXEL_ROOM if site.startswith("g_s.") else MEAN_ROOM


def _rounded(y: Tensor, mean: Tensor, step: Tensor) -> Tensor:
    return (y / step - mean).round()


def _unit(places: int) -> NDArray[np.float64]:
    return np.array(2.0**-places)


def _rows(
    weight: NDArray[np.float64], bias: NDArray[np.float64], *, alike: bool = False
) -> tuple[NDArray[np.int16], NDArray[np.int32], NDArray[np.float64]]:
    """weight and bias as integers, and what one stands for in each row: as little as sums and int16 allow."""
    inputs = weight.shape[1]
    rounding = LIMIT * (inputs / 2 + 1) + 1
    unit = (LIMIT * np.abs(weight).sum(1) + np.abs(bias)) / (SUM_LIMIT - rounding)
    unit = np.maximum(np.maximum(unit, np.abs(weight).max(1) / LIMIT), 1e-12)
    if alike:
        unit = np.full_like(unit, unit.max())
    return (
        np.rint(weight / unit[:, None]).astype(np.int16),
        np.rint(bias / unit).astype(np.int32),
        unit,
    )


def _log_integers(log: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.rint(log.clip(0, MAX_LOG_GAIN) * 2**LOG_PLACES).astype(np.int32)
