"""What the networks are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aecodec.coding.prior import ANCHORS

ACT_SCALE = 1.8  # what makes hardswish the activation of the published topology


class InwardClamp(torch.autograd.Function):
    """clamp whose gradient passes inside the bounds, and at a bound only when it leads back inside.

    Plain clamps get stuck and straight-through clamps drift; both made long runs diverge.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bounds = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        (grad,) = grads
        low, high = ctx.bounds
        blocked = ((x < low) & (grad > 0)) | ((x > high) & (grad < 0))
        return grad.masked_fill(blocked, 0.0), None, None


def inward_clamp(x: Tensor, low: float, high: float) -> Tensor:
    clamped: Tensor = InwardClamp.apply(x, low, high)  # type: ignore[no-untyped-call] # torch leaves it untyped
    return clamped


def in_full(layer: Pointwise, x: Tensor) -> Tensor:
    """A layer in the type of its weights, whatever autocast says: y, means and pixels need more than 8 bits."""
    with torch.autocast(x.device.type, enabled=False):
        result: Tensor = layer(x.to(layer.weight.dtype))
    return result


def act(x: Tensor) -> Tensor:
    """x * clamp(0.3 x + 0.5, 0, 1)"""
    return F.hardswish(ACT_SCALE * x) / ACT_SCALE


class InnerSides(NamedTuple):
    """Which sides of an area lie inside the picture: there a 3x3 convolution is valid one position further in."""

    left: bool = False
    top: bool = False
    right: bool = False
    bottom: bool = False

    def __call__(self, x: Tensor, margin: int = 1) -> Tensor:
        """x without the positions that are not valid."""
        _, _, H, W = x.shape
        left, top, right, bottom = (margin * side for side in self)
        return x[:, :, top : H - bottom, left : W - right]


WHOLE = InnerSides()


class Pointwise(nn.Module):
    """1x1 convolution with a two-dimensional weight [C_out, C_in / groups] (what matrix optimizers want)."""

    def __init__(self, C_in: int, C_out: int, groups: int = 1) -> None:
        super().__init__()
        self.groups = groups
        fan_in = C_in // groups
        self.weight = nn.Parameter(torch.empty(C_out, fan_in).uniform_(-1, 1) / fan_in**0.5)
        self.bias = nn.Parameter(torch.zeros(C_out))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1).contiguous()  # as it lies in memory, where channels are last: a matrix product
        if self.groups == 1:
            return F.linear(rows, self.weight, self.bias).permute(0, 3, 1, 2)
        parts = rows.reshape(-1, self.groups, self.weight.shape[1]).transpose(0, 1)
        weight = self.weight.view(self.groups, -1, self.weight.shape[1]).transpose(1, 2)
        mixed = torch.baddbmm(self.bias.view(self.groups, 1, -1), parts, weight)
        return mixed.transpose(0, 1).reshape(*rows.shape[:3], -1).permute(0, 3, 1, 2)


class Down(Pointwise):
    """pixel_unshuffle and a 1x1 convolution in one."""

    def __init__(self, C_in: int, C_out: int, factor: int) -> None:
        super().__init__(factor**2 * C_in, C_out)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight.view(len(self.weight), -1, self.factor, self.factor)
        return F.conv2d(x, kernel, self.bias, stride=self.factor)


class DepthConvBlock(nn.Module):
    """Two residual branches: one mixes space, one mixes channels."""

    def __init__(self, C: int, hidden: int | None = None, groups: int = 1) -> None:
        super().__init__()
        hidden = hidden or 2 * C
        self.enter = Pointwise(C, C, groups)
        self.spatial = nn.Conv2d(C, C, 3, padding=1, groups=C)
        self.leave = Pointwise(C, C, groups)
        self.expand = Pointwise(C, hidden, groups)
        self.reduce = Pointwise(hidden, C, groups)
        self.act: Callable[[Tensor], Tensor] = act

    def forward(self, x: Tensor, inner: InnerSides = WHOLE) -> Tensor:
        x = self.leave(self.act(inner(self.spatial(self.enter(x))))).add_(inner(x))
        mixed: Tensor = self.reduce(self.act(self.expand(x)))
        return mixed.add_(x)

    def fold(self) -> None:
        fold_act(self.spatial, self.leave)
        fold_act(self.expand, self.reduce)
        self.act = F.hardswish


class Gain(nn.Module):
    """Per-channel factor for each anchor, interpolated in the logarithm."""

    def __init__(self, C: int, initial: Tensor | None = None) -> None:
        super().__init__()
        log_gain = torch.zeros(ANCHORS, C) if initial is None else initial[:, None].expand(ANCHORS, C).clone()
        self.log_gain = nn.Parameter(log_gain)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return x * self.factor(weights)

    def factor(self, weights: Tensor) -> Tensor:
        """[B, C, 1, 1]"""
        return (weights @ self.log_gain).exp()[:, :, None, None]


def fold_act(before: Pointwise | nn.Conv2d, after: Pointwise) -> None:
    """Between two layers, act(x) = hardswish(1.8 x) / 1.8."""
    with torch.no_grad():
        before.weight.mul_(ACT_SCALE)
        assert before.bias is not None
        before.bias.mul_(ACT_SCALE)
        after.weight.div_(ACT_SCALE)
