"""The compiled analysis against the networks in torch."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support import DATA

from aecodec import _native, weights
from aecodec.coding.prior import anchor_position
from aecodec.format.container import Box
from aecodec.networks.config import CONFIGS, HYPER_RECEPTIVE_FIELD, ModelConfig
from aecodec.networks.model import Autoencoder, anchor_weights

KERNELS = _native.Receiver.kernels()
LEVEL = 4321
Arrays = dict[str, NDArray[np.float32]]


def random_network(config: ModelConfig) -> Autoencoder:
    network = Autoencoder(config).float()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = parameter[0].numel() if parameter.dim() > 1 and len(parameter) != 8 else 8
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan_in**0.5)
    return network


def narrow(depths: tuple[int, int]) -> ModelConfig:
    """Widths that fill no vector."""
    return ModelConfig(N=20, M=26, analysis_widths=(10, 22), analysis_depths=depths, context=12, body=10, render=5)


@pytest.fixture(scope="module")
def networks() -> dict[str, Autoencoder]:
    stored = weights.load(DATA / "tiny.safetensors")
    trained = Autoencoder(ModelConfig.from_dict(stored.config)).float()
    trained.load_state_dict({name: torch.tensor(array) for name, array in stored.network.items()})
    return {
        "trained": trained,
        "tiny": random_network(CONFIGS["tiny"]),
        "narrow": random_network(narrow((2, 1))),
        "without blocks": random_network(narrow((0, 0))),
        "wide": random_network(
            ModelConfig(N=68, M=100, analysis_widths=(36, 84), analysis_depths=(1, 3), context=12, body=10, render=5)
        ),
    }


def arrays(network: Autoencoder) -> Arrays:
    parameters = network.state_dict().items()
    return {name: tensor.numpy() for name, tensor in parameters if name.startswith(("g_a.", "h_a."))}


def picture(width: int, height: int) -> NDArray[np.uint8]:
    return np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)


def padded(pixels: NDArray[np.uint8]) -> Box:
    height, width, _ = pixels.shape
    return Box(0, 0, -(-width // 64) * 64, -(-height // 64) * 64)


def in_torch(network: Autoencoder, pixels: NDArray[np.uint8], level: int = LEVEL) -> tuple[torch.Tensor, torch.Tensor]:
    """y [h/16, w/16, M] and z [N, h/64, w/64], not rounded, of a whole picture."""
    height, width, _ = pixels.shape
    _, _, right, bottom = padded(pixels)
    x = torch.from_numpy(np.pad(pixels, ((0, bottom - height), (0, right - width), (0, 0)), mode="edge"))
    gains = anchor_weights(torch.tensor([anchor_position(level)]))
    with torch.no_grad():
        y = network.analyze(x.permute(2, 0, 1)[None].float() / 255, gains)
        return y[0].permute(1, 2, 0).contiguous(), network.hyper_analyze(y, gains)[0]


def analyze(
    network: Autoencoder,
    pixels: NDArray[np.uint8],
    area: Box | None = None,
    *,
    kernel: str = "",
    level: int = LEVEL,
    threads: int = 1,
) -> NDArray[np.float32]:
    area = area or padded(pixels)
    y = np.full((*area.reduced(16).shape, network.config.M), np.nan, np.float32)
    _native.Analysis(arrays(network), kernel).analyze(pixels, level, area, threads, y)
    return y


def hyper_analyze(
    network: Autoencoder,
    y: NDArray[np.float32],
    area: Box,
    window: Box,
    bounds: Box,
    *,
    kernel: str = "",
    level: int = LEVEL,
    threads: int = 1,
) -> NDArray[np.int8]:
    """z of an area from y of all of the picture, of which it sees a window."""
    z = np.full((network.config.N, *area.reduced(64).shape), 99, np.int8)
    seen = np.ascontiguousarray(y[window.cells(16)])
    of = _native.Analysis(arrays(network), kernel)
    of.hyper_analyze(seen, window, (bounds.right, bounds.bottom), level, area, threads, z)
    return z


def random_y(network: Autoencoder, bounds: Box) -> NDArray[np.float32]:
    y = np.random.default_rng(2).normal(0, 5, (*bounds.reduced(16).shape, network.config.M))
    return y.astype(np.float32)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["trained", "tiny", "narrow", "without blocks", "wide"])
@pytest.mark.parametrize("size", [(1, 1), (65, 63), (200, 131)])
def test_as_the_networks(networks: dict[str, Autoencoder], name: str, size: tuple[int, int], kernel: str) -> None:
    network, pixels = networks[name], picture(*size)
    expected, z = in_torch(network, pixels)
    y = analyze(network, pixels, kernel=kernel)
    np.testing.assert_allclose(y, expected.numpy(), rtol=0, atol=3e-6 * float(expected.abs().max()))
    bounds = padded(pixels)
    found = hyper_analyze(network, expected.numpy(), bounds, bounds, bounds, kernel=kernel)
    certain = ((z - z.floor() - 0.5).abs() > 1e-3).numpy()  # not between two symbols
    assert certain.mean() > 0.9
    np.testing.assert_array_equal(found[certain], z.round().clamp(-127, 127).to(torch.int8).numpy()[certain])


@pytest.mark.parametrize("level", [100, 1514, 1515, 9999, 10000])  # the second anchor is between
def test_gains_of_each_level(networks: dict[str, Autoencoder], level: int) -> None:
    network, pixels = networks["narrow"], picture(64, 64)
    expected, _ = in_torch(network, pixels, level)
    np.testing.assert_allclose(
        analyze(network, pixels, level=level), expected, rtol=0, atol=3e-6 * expected.abs().max()
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_an_area_has_the_bits_of_the_whole(networks: dict[str, Autoencoder], kernel: str) -> None:
    network, pixels = networks["narrow"], picture(300, 250)
    bounds = padded(pixels)
    y = analyze(network, pixels, kernel=kernel)
    for area in (Box(0, 0, 16, 16), Box(304, 240, 320, 256), Box(48, 112, 208, 128), Box(112, 0, 144, 256)):
        np.testing.assert_array_equal(analyze(network, pixels, area, kernel=kernel), y[area.cells(16)])
    z = hyper_analyze(network, y, bounds, bounds, bounds, kernel=kernel)
    for area in (Box(0, 0, 64, 64), Box(256, 192, 320, 256), Box(128, 64, 192, 256)):
        window = area.grown(HYPER_RECEPTIVE_FIELD, bounds)
        part = hyper_analyze(network, y, area, window, bounds, kernel=kernel)
        np.testing.assert_array_equal(part, z[:, *area.cells(64)])


@pytest.mark.parametrize("threads", [-1, 2, 3, 16])
def test_threads_give_the_same_bits(networks: dict[str, Autoencoder], threads: int) -> None:
    network, pixels = networks["narrow"], picture(1300, 450)  # wider than a strip
    bounds = padded(pixels)
    y = analyze(network, pixels)
    np.testing.assert_array_equal(analyze(network, pixels, threads=threads), y)
    z = hyper_analyze(network, y, bounds, bounds, bounds)
    np.testing.assert_array_equal(hyper_analyze(network, y, bounds, bounds, bounds, threads=threads), z)


def test_what_lies_around_the_window_is_not_seen(networks: dict[str, Autoencoder]) -> None:
    """The halo is as far as it looks: y beyond it changes nothing."""
    network, bounds, area = networks["tiny"], Box(0, 0, 384, 384), Box(128, 128, 192, 192)
    y = random_y(network, bounds)
    z = hyper_analyze(network, y, area, bounds, bounds)
    kept = area.grown(HYPER_RECEPTIVE_FIELD, bounds)
    other = np.full_like(y, 1e6)
    other[kept.cells(16)] = y[kept.cells(16)]
    np.testing.assert_array_equal(hyper_analyze(network, other, area, bounds, bounds), z)


def test_z_is_clamped(networks: dict[str, Autoencoder]) -> None:
    network, bounds = networks["tiny"], Box(0, 0, 64, 64)
    z = hyper_analyze(network, 1e6 * random_y(network, bounds), bounds, bounds, bounds)
    assert {z.min(), z.max()} == {-127, 127}
    z = hyper_analyze(network, np.full_like(random_y(network, bounds), np.nan), bounds, bounds, bounds)
    assert (z == -127).all()


@pytest.mark.parametrize(
    ("name", "array", "problem"),
    [
        ("g_a.enter.weight", None, "is missing"),
        ("g_a.coarse.0.spatial.bias", None, "is missing"),
        ("h_a.gains.2.log_gain", None, "is missing"),
        ("h_a.downs.1.weight", np.zeros((16, 63), np.float32), "is [16, 63], not [16, 64]"),
        ("g_a.leave.weight", np.zeros((0, 32), np.float32), "has no rows"),
        ("g_a.linear.bias", np.zeros(32, np.int32), "is not of type float32"),
        ("g_a.linear.bias", np.zeros(32), "is neither int16, int32 nor float32"),
        ("h_s.leave.bias", np.zeros(32, np.float32), "is not known"),
        ("g_a.fine.2.enter.bias", np.zeros(16, np.float32), "is not known"),
    ],
)
def test_bad_arrays(
    networks: dict[str, Autoencoder], name: str, array: NDArray[np.generic] | None, problem: str
) -> None:
    changed: dict[str, NDArray[np.generic]] = {**arrays(networks["tiny"]), name: np.zeros(0)}
    if array is None:
        del changed[name]
    else:
        changed[name] = array
    with pytest.raises(ValueError, match=re.escape(f"array {name} {problem}")):
        _native.Analysis(changed)  # type: ignore[arg-type]


def test_unknown_kernel(networks: dict[str, Autoencoder]) -> None:
    with pytest.raises(ValueError, match="kernel is sse9"):
        _native.Analysis(arrays(networks["tiny"]), "sse9")


FAR = 2**31 - 1


@pytest.mark.parametrize(
    ("size", "level", "area", "shape", "problem"),
    [
        ((65, 70), 99, Box(0, 0, 16, 16), (1, 1, 32), "level is 99"),
        ((65, 70), 10001, Box(0, 0, 16, 16), (1, 1, 32), "level is 10001"),
        ((65, 70), 500, Box(0, 0, 0, 16), (1, 0, 32), "area"),
        ((65, 70), 500, Box(-16, 0, 16, 16), (1, 2, 32), "area"),
        ((65, 70), 500, Box(0, 0, 144, 16), (1, 9, 32), "area"),
        ((65, 70), 500, Box(8, 0, 24, 16), (1, 1, 32), "area"),
        ((65, 70), 500, Box(0, 0, FAR, FAR), (1, 1, 32), "area"),
        ((65, 70), 500, Box(0, 0, 16, 16), (1, 2, 32), "output"),
        ((65, 70), 500, Box(0, 0, 16, 16), (1, 1, 31), "output"),
        ((0, 70), 500, Box(0, 0, 16, 16), (1, 1, 32), "a side is 0"),
        ((65537, 1), 500, Box(0, 0, 16, 16), (1, 1, 32), "pixels"),
    ],
)
def test_bad_areas(
    networks: dict[str, Autoencoder], size: tuple[int, int], level: int, area: Box, shape: tuple[int, ...], problem: str
) -> None:
    pixels, out = np.zeros((*size[::-1], 3), np.uint8), np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match=problem):
        _native.Analysis(arrays(networks["tiny"])).analyze(pixels, level, area, 1, out)


WHOLE = Box(0, 0, 256, 256)


@pytest.mark.parametrize(
    ("window", "bounds", "level", "area", "y_shape", "shape", "problem"),
    [
        (WHOLE, (256, 256), 99, WHOLE, (16, 16, 32), (16, 4, 4), "level is 99"),
        (WHOLE, (256, 200), 500, WHOLE, (16, 16, 32), (16, 4, 4), "padded"),
        (WHOLE, (256, 256), 500, Box(0, 0, 320, 256), (16, 16, 32), (16, 4, 5), "area"),
        (WHOLE, (256, 256), 500, Box(32, 0, 96, 64), (16, 16, 32), (16, 1, 1), "area"),
        (Box(8, 0, 256, 256), (256, 256), 500, WHOLE, (16, 16, 32), (16, 4, 4), "window"),
        (Box(0, 0, 160, 256), (256, 256), 500, Box(0, 0, 64, 64), (16, 10, 32), (16, 1, 1), "window"),
        (WHOLE, (256, 256), 500, WHOLE, (16, 15, 32), (16, 4, 4), "y does not fit"),
        (WHOLE, (256, 256), 500, WHOLE, (16, 16, 31), (16, 4, 4), "y does not fit"),
        (WHOLE, (256, 256), 500, WHOLE, (16, 16, 32), (15, 4, 4), "output"),
    ],
)
def test_bad_windows(
    networks: dict[str, Autoencoder],
    window: Box,
    bounds: tuple[int, int],
    level: int,
    area: Box,
    y_shape: tuple[int, ...],
    shape: tuple[int, ...],
    problem: str,
) -> None:
    y, out = np.zeros(y_shape, np.float32), np.zeros(shape, np.int8)
    with pytest.raises(ValueError, match=problem):
        _native.Analysis(arrays(networks["tiny"])).hyper_analyze(y, window, bounds, level, area, 1, out)
