"""The compiled gradient against autograd."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from aecodec import _native
from aecodec.coding.prior import anchor_position
from aecodec.format.container import Box
from aecodec.networks.config import ModelConfig
from aecodec.networks.model import Synthesis, anchor_weights

KERNELS = _native.Receiver.kernels()
LEVEL = 4321
ERROR, RATE, CURVATURE = 300.0, 0.4, 16.0
SCALES, REACH = 5, 6
HALO = 64  # pixels around an area that its gradient depends on
Floats = NDArray[np.float32]
WIDTHS = {
    "narrow": ModelConfig(N=4, M=26, context=4, body=10, body_hidden=14, render=5),  # fill no vector
    "wide": ModelConfig(N=4, M=100, context=4, body=36, body_hidden=52, render=20),
}


class Problem(NamedTuple):
    """Planes are of a whole padded picture."""

    network: Synthesis
    pixels: NDArray[np.uint8]
    y: Floats  # [H/16, W/16, M]
    symbols: NDArray[np.int16]
    step: NDArray[np.int32]
    mean: NDArray[np.int32]
    index: NDArray[np.uint8]
    bits: Floats

    @property
    def padded(self) -> Box:
        height, width, _ = self.pixels.shape
        return Box(0, 0, -(-width // 64) * 64, -(-height // 64) * 64)

    def arrays(self) -> dict[str, Floats]:
        return {f"g_s.{name}": tensor.numpy() for name, tensor in self.network.state_dict().items()}


def problem(widths: str, width: int, height: int) -> Problem:
    config = WIDTHS[widths]
    generator, rng = torch.Generator().manual_seed(1), np.random.default_rng(1)
    network = Synthesis(config).float()
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = parameter[0].numel() if parameter.dim() > 1 and len(parameter) != 8 else 8
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan_in**0.5)
    rows, columns = -(-height // 64) * 4, -(-width // 64) * 4
    shape = config.M, rows, columns
    step = rng.integers(2048, 9000, shape, np.int32)
    mean = rng.integers(-300, 300, shape, np.int32)
    value = rng.normal(0, 3, shape)
    return Problem(
        network,
        rng.integers(0, 256, (height, width, 3), np.uint8),
        ((value + mean / 256) * step / 4096).transpose(1, 2, 0).astype(np.float32).copy(),
        value.round().astype(np.int16),
        step,
        mean,
        rng.integers(0, SCALES, shape, np.uint8),
        rng.random((SCALES, 2 * REACH + 1), np.float32),
    )


def move(
    of: Problem, kernel: str = "", area: Box | None = None, window: Box | None = None, *, threads: int = 1
) -> Floats:
    area, window = area or of.padded, window or of.padded
    rows, columns = window.cells(16)
    planes = (np.ascontiguousarray(plane[:, rows, columns]) for plane in (of.symbols, of.step, of.mean))
    y = np.ascontiguousarray(of.y[rows, columns])
    out = np.full((*area.reduced(16).shape, of.y.shape[-1]), 77, np.float32)
    costs = of.index, of.bits, ERROR, RATE, CURVATURE
    _native.Gradient(of.arrays(), kernel).move(of.pixels, y, *planes, window, *costs, LEVEL, area, threads, out)
    return out


def by_autograd(of: Problem) -> Floats:
    step, mean = torch.from_numpy(of.step) / 4096, torch.from_numpy(of.mean) / 256
    symbols = torch.from_numpy(of.symbols)
    y_hat = ((symbols + mean) * step)[None].requires_grad_()
    x_hat = of.network(y_hat, anchor_weights(torch.tensor([anchor_position(LEVEL)])))
    x_hat = x_hat + (x_hat.clamp(0, 1) - x_hat).detach()
    height, width, _ = of.pixels.shape
    x = torch.from_numpy(of.pixels).permute(2, 0, 1) / 255
    (x_hat[0, :, :height, :width] - x).square().sum().backward()
    assert y_hat.grad is not None
    y = torch.from_numpy(of.y).permute(2, 0, 1)
    value = y / step - mean
    slope = np.vectorize(slope_of, signature="(b),()->()")(of.bits[of.index], value.numpy())
    newton = (ERROR * step * y_hat.grad[0] + torch.from_numpy(slope)) / CURVATURE
    moved = y + RATE * (symbols - newton - value) * step
    result: Floats = moved.permute(1, 2, 0).detach().numpy().astype(np.float32)
    return result


def slope_of(bits: Floats, value: float) -> float:
    symbols = np.arange(-REACH, REACH + 1)
    value = min(max(value, 1 - REACH), REACH - 1)
    return float(np.interp(value + 0.5, symbols, bits) - np.interp(value - 0.5, symbols, bits))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("widths", "width", "height"), [("narrow", 75, 130), ("wide", 64, 64)])
def test_moves_as_by_autograd(kernel: str, widths: str, width: int, height: int) -> None:
    given = problem(widths, width, height)
    expected = by_autograd(given)
    assert np.abs(expected - given.y).max() > 1
    np.testing.assert_allclose(move(given, kernel), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_large_pictures_move_as_by_autograd() -> None:
    """Those that go patch by patch."""
    given = problem("narrow", 1090, 530)
    expected = by_autograd(given)
    np.testing.assert_allclose(move(given), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("area", [Box(0, 0, 16, 16), Box(80, 96, 208, 112), Box(176, 160, 256, 256)])
@pytest.mark.parametrize("threads", [1, 3])
def test_areas_move_as_the_whole(area: Box, threads: int) -> None:
    given = problem("narrow", 250, 256)
    moved = move(given, area=area, window=area.grown(HALO, given.padded), threads=threads)
    rows, columns = area.cells(16)
    np.testing.assert_array_equal(moved, move(given)[rows, columns])


def test_what_has_no_bounds_stays_inside_the_tables() -> None:
    given = problem("narrow", 64, 64)
    given.y[0, 0, :4] = math.nan, math.inf, -math.inf, 1e30
    given.index[:] = 255
    move(given)


def test_arrays_and_windows_that_do_not_fit_are_refused() -> None:
    given = problem("narrow", 128, 64)
    arrays = given.arrays()
    with pytest.raises(ValueError, match=r"array g_s\.leave\.bias is missing"):
        _native.Gradient({name: array for name, array in arrays.items() if name != "g_s.leave.bias"})
    with pytest.raises(ValueError, match=r"array g_s\.latent\.weight is \[3, 3\], not \[80, 26\]"):
        _native.Gradient(arrays | {"g_s.latent.weight": np.zeros((3, 3), np.float32)})
    with pytest.raises(ValueError, match=r"array g_s\.enter\.weight has no columns"):
        _native.Gradient(arrays | {"g_s.enter.weight": np.zeros(10, np.float32)})
    with pytest.raises(ValueError, match="not within the window"):
        move(given, area=given.padded, window=Box(0, 0, 64, 64))
    with pytest.raises(ValueError, match="index does not fit"):
        move(given._replace(index=given.index[:, :, :4].copy()))
    with pytest.raises(ValueError, match="symbols do not fit"):
        move(given._replace(symbols=given.symbols[:5].copy()))
