"""The compiled receiver against section 6 of docs/format.md, to the last bit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from native.random_networks import MODEL_M, ODD, TINY, Arrays, Picture, Widths, random_arrays, random_picture
from native.reference import Reference
from numpy.typing import NDArray

from aecodec import _native
from aecodec.format.container import Box

KERNELS = _native.Receiver.kernels()
LEVEL = 4321
RECEIVER_HALO = 128


def receiver(widths: Widths, arrays: Arrays, kernel: str = "") -> _native.Receiver:
    return _native.Receiver(arrays, widths.N, widths.M, kernel)


def whole(picture: Picture) -> Box:
    return Box(0, 0, *picture.padded)


def cut(picture: Picture, window: Box) -> Picture:
    rows, columns = window.cells(64)
    fine_rows, fine_columns = window.cells(16)
    z, y = picture.z[:, rows, columns], picture.y[:, fine_rows, fine_columns]
    return Picture(np.ascontiguousarray(z), np.ascontiguousarray(y))


def render(
    of: _native.Receiver,
    picture: Picture,
    area: Box | None = None,
    window: Box | None = None,
    *,
    level: int = LEVEL,
    factor: int = 1,
    threads: int = 1,
) -> NDArray[np.uint8]:
    area, window = area or whole(picture), window or whole(picture)
    out = np.full((*area.reduced(factor).shape, 3), 77, np.uint8)
    seen = cut(picture, window)
    of.render(seen.z, seen.y, window, picture.padded, level, area, factor, threads, out)
    return out


def y_hat(of: _native.Receiver, picture: Picture, area: Box | None = None, *, threads: int = 1) -> NDArray[np.int32]:
    area = area or whole(picture)
    out = np.zeros((len(picture.y), *area.reduced(16).shape), np.int32)
    of.y_hat(picture.z, picture.y, whole(picture), picture.padded, LEVEL, area, threads, out)
    return out


CASES = {
    "tiny": (TINY, 3, 2, False),
    "odd": (ODD, 2, 3, False),
    "wide": (TINY, 19, 1, False),  # more than a strip
    "m": (MODEL_M, 1, 1, False),
    "wild": (TINY, 2, 2, True),
    "wild and odd": (ODD, 2, 2, True),
    "wild m": (MODEL_M, 1, 1, True),
}


@pytest.mark.parametrize("name", CASES)
def test_every_kernel_gives_the_integers_of_the_text(name: str) -> None:
    widths, columns, rows, wild = CASES[name]
    for seed in range(1, 5 if wild else 2):
        arrays = random_arrays(widths, seed, wild=wild)
        picture = random_picture(widths, columns, rows, seed, wild=wild)
        reference = Reference(arrays, LEVEL)
        expected = reference.y_hat(picture.z, picture.y)
        pixels = {factor: reference.render(expected, factor) for factor in (1, 2, 4, 8)}
        if not wild:  # otherwise the test would compare black with black
            assert pixels[1].std() > 20
            assert len(np.unique(expected)) > 1000
        for kernel in KERNELS:
            of = receiver(widths, arrays, kernel)
            for threads in (1, 2):
                np.testing.assert_array_equal(y_hat(of, picture, threads=threads), expected, kernel)
                for factor, one in pixels.items():
                    np.testing.assert_array_equal(
                        render(of, picture, factor=factor, threads=threads), one, f"{kernel} {factor}"
                    )


@pytest.mark.parametrize("level", [100, 101, 1513, 1514, 1515, 5000, 9999, 10000])
def test_gains_of_a_level(level: int) -> None:
    arrays, picture = random_arrays(TINY, 2), random_picture(TINY, 1, 1, 2)
    reference = Reference(arrays, level)
    expected = reference.render(reference.y_hat(picture.z, picture.y))
    np.testing.assert_array_equal(render(receiver(TINY, arrays), picture, level=level), expected)


@pytest.mark.parametrize("gain", [0, 1, 1023, 1024, 65535, 65536, 30 * 65536 - 1, 30 * 65536])
def test_gains_from_the_smallest_to_the_largest(gain: int) -> None:
    arrays, picture = random_arrays(TINY, 3), random_picture(TINY, 1, 1, 3)
    arrays["g_s.y_gain"] = np.full_like(arrays["g_s.y_gain"], gain)
    reference = Reference(arrays, LEVEL)
    expected = reference.render(reference.y_hat(picture.z, picture.y))
    np.testing.assert_array_equal(render(receiver(TINY, arrays), picture), expected)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("widths", [TINY, ODD])
def test_an_area_is_that_part_of_the_picture(widths: Widths, kernel: str) -> None:
    picture = random_picture(widths, 9, 8, 5)
    of = receiver(widths, random_arrays(widths, 5), kernel)
    rng = np.random.default_rng(5)
    bounds = whole(picture)
    pixels = {factor: render(of, picture, factor=factor) for factor in (1, 2, 4, 8)}
    latents = y_hat(of, picture)
    for _ in range(20):
        left, top = (int(rng.integers(0, side - 1)) for side in picture.padded)
        area = Box(left, top, left + int(rng.integers(1, 300)), top + int(rng.integers(1, 300))).grown(0, bounds)
        window = area.aligned(64).grown(RECEIVER_HALO, bounds)
        factor, threads = int(rng.choice([1, 2, 4, 8])), int(rng.integers(1, 4))
        seen = render(of, picture, area, window, factor=factor, threads=threads)
        np.testing.assert_array_equal(seen, pixels[factor][area.reduced(factor).cells(1)], f"{area} {factor}")
        np.testing.assert_array_equal(y_hat(of, picture, area, threads=threads), latents[:, *area.cells(16)])


@pytest.mark.parametrize("kernel", KERNELS)
def test_an_encoder_rounds_to_what_a_decoder_adds_means_to(kernel: str) -> None:
    arrays, picture = random_arrays(TINY, 6), random_picture(TINY, 4, 5, 6)
    of, reference = receiver(TINY, arrays, kernel), Reference(arrays, LEVEL)
    f = reference.features(picture.z)
    symbols = picture.y.clip(-900, 900)
    step, m0 = reference.predict_first(f)
    mean = np.where(reference.first_half(m0), m0, reference.predict_second(f, reference.y0(symbols, m0, step)))
    off = np.random.default_rng(6).uniform(-0.4, 0.4, mean.shape)
    y = ((symbols + mean / 256 + off) * step / 4096).transpose(1, 2, 0).astype(np.float32)
    index = np.random.default_rng(7).integers(0, 64, symbols.shape, np.uint8)
    bounds = whole(picture)
    for area, zone in itertools.product((bounds, Box(64, 80, 192, 256)), (0.0, np.inf)):
        window = area.aligned(64).grown(RECEIVER_HALO, bounds)
        seen = area.grown(32, bounds)
        found = np.full((TINY.M, *area.reduced(16).shape), 7, np.int16)
        of.quantize(
            cut(picture, window).z, window, np.ascontiguousarray(y[seen.cells(16)]), seen, index,
            np.full(64, zone, np.float32), picture.padded, LEVEL, area, 2, found,
        )  # fmt: skip
        np.testing.assert_array_equal(found, 0 if zone else symbols[:, *area.cells(16)])


@pytest.mark.parametrize("kernel", KERNELS)
def test_an_encoder_learns_steps_and_means_of_what_it_codes(kernel: str) -> None:
    arrays, picture = random_arrays(TINY, 6), random_picture(TINY, 4, 5, 6)
    of, bounds, rng = receiver(TINY, arrays, kernel), whole(picture), np.random.default_rng(6)
    M, rows, columns = picture.y.shape
    y, index = rng.normal(0, 9, (rows, columns, M)).astype(np.float32), np.zeros((M, rows, columns), np.uint8)
    symbols, step, mean = np.empty_like(picture.y), *(np.empty(picture.y.shape, np.int32) for _ in range(2))
    zone = np.full(64, 0.5, np.float32)
    planes = symbols, step, mean
    of.quantize(picture.z, bounds, y, bounds, index, zone, picture.padded, LEVEL, bounds, 2, *planes)
    expected = y_hat(of, Picture(picture.z, symbols))
    np.testing.assert_array_equal(Reference(arrays, LEVEL).dequantized(symbols, mean, step), expected)
    half = np.abs(y.transpose(2, 0, 1) - expected / 4096) <= step / 4096 / 2 + 1e-2
    assert (half | (np.abs(symbols) > 30000)).all()


def test_any_number_of_threads_may_be_asked_for() -> None:
    of, picture = receiver(TINY, random_arrays(TINY, 7)), random_picture(TINY, 3, 2, 7)
    for threads in (0, 3, 64, 100000):
        np.testing.assert_array_equal(render(of, picture, threads=threads), render(of, picture))


def test_a_small_picture_is_not_cut_finer_than_pays() -> None:
    """Strips of a picture of one position of z would each do nearly all of it."""
    for threads in (1, 2, 4, 64):
        assert _native.Receiver.strips((64, 64), (0, 0, 64, 64), threads) == [1, 1]
    for padded, threads in (((768, 512), 2), ((64, 4096), 2), ((4096, 64), 2), ((2048, 1088), 8), ((4096, 3072), 16)):
        columns, rows = _native.Receiver.strips(padded, (0, 0, *padded), threads)
        assert threads <= columns * rows <= 4 * threads, (padded, columns, rows)
        assert padded[0] / 16 / columns <= 64


INVALID = {
    "mean0.step.weight": lambda a: a.pop("mean0.step.weight"),
    "g_s.scale.bias": lambda a: a.update({"g_s.scale.bias": a["g_s.scale.bias"][1:]}),
    "g_s.gate.weight": lambda a: a.update({"g_s.gate.weight": a["g_s.gate.weight"].astype(np.int32)}),
    "h_s.ups.1.weight": lambda a: a.update({"h_s.ups.1.weight": a["h_s.ups.1.weight"].T.copy()}),
    "mean1.enter.weight": lambda a: a.update({"mean1.enter.weight": a["mean1.enter.weight"][:, :-2].copy()}),
    "g_s.blocks.1.spatial.weight": lambda a: a.update({"g_s.blocks.1.spatial.weight": np.zeros((32, 3, 3), np.int16)}),
    "g_s.blocks.0.expand.weight": lambda a: a.update({"g_s.blocks.0.expand.weight": np.zeros((0, 32), np.int16)}),
    "mean0.enter.weight": lambda a: a.update({"mean0.enter.weight": np.zeros((30, 32), np.int16)}),
    "g_s.enter.weight": lambda a: a.update({"g_s.enter.weight": np.zeros((), np.int16)}),
    "g_s.latent.multiplier": lambda a: a["g_s.latent.multiplier"].__setitem__(5, -1),
    "h_s.leave.format": lambda a: a["h_s.leave.format"].__setitem__(0, 0),
    "mean1.leave.format": lambda a: a["mean1.leave.format"].__setitem__(0, 63),
    "g_s.leave.format": lambda a: a["g_s.leave.format"].__setitem__(1, 16),
    "g_s.shift.format": lambda a: a["g_s.shift.format"].__setitem__(1, -1),
    "g_s.gains.1": lambda a: a["g_s.gains.1"].__setitem__((7, 3), 30 * 65536 + 1),
    "h_s.gain": lambda a: a["h_s.gain"].__setitem__((0, 0), -1),
    "g_s.y_gain": lambda a: a.update({"g_s.y_gain": a["g_s.y_gain"][:7].copy()}),
    "g_s.more": lambda a: a.update({"g_s.more": np.zeros(1, np.int16)}),
    "h_s.leave.multiplier": lambda a: a.update({"h_s.leave.multiplier": np.zeros(32, np.int32)}),
    "g_s.reduce.weight": lambda a: a["g_s.reduce.weight"].__setitem__(2, 32767),
    "g_s.expand.weight": lambda a: a.update(
        {
            "g_s.expand.weight": np.eye(8, dtype=np.int16),
            "g_s.expand.bias": np.full(8, (1 << 31) - 32767, np.int32),  # one more than fits
        }
    ),
}


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_array_is_refused_by_its_name(name: str) -> None:
    arrays = random_arrays(TINY, 8)
    INVALID[name](arrays)
    with pytest.raises(ValueError, match=f"array {name} "):
        receiver(TINY, arrays)


def test_sums_may_fill_32_bits() -> None:
    arrays = random_arrays(TINY, 9)
    arrays["g_s.expand.weight"] = np.eye(8, dtype=np.int16)
    arrays["g_s.expand.bias"] = np.array([1, -1] * 4, np.int32) * ((1 << 31) - 32768)
    picture = random_picture(TINY, 1, 1, 9)
    reference = Reference(arrays, LEVEL)
    expected = reference.render(reference.y_hat(picture.z, picture.y))
    np.testing.assert_array_equal(render(receiver(TINY, arrays), picture), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"level": 99}, "level"),
        ({"level": 10001}, "level"),
        ({"factor": 3}, "factor"),
        ({"factor": 0}, "factor"),
        ({"factor": 16}, "factor"),
        ({"area": Box(0, 0, 257, 64)}, "within the padded picture"),
        ({"area": Box(-1, 0, 9, 9)}, "within the padded picture"),
        ({"area": Box(9, 9, 9, 10)}, "within the padded picture"),
        ({"window": Box(64, 0, 256, 192)}, "all that the area needs"),
        ({"window": Box(0, 0, 250, 192)}, "whole positions"),
        ({"window": Box(0, 0, 320, 192)}, "whole positions"),
        ({"window": Box(2**31 - 64, 0, -(2**31), 192)}, "whole positions"),
        ({"padded": (250, 192)}, "multiples of 64"),
        ({"padded": (65600, 192)}, "multiples of 64"),
        ({"area": Box(0, 0, 2**31 - 1, 64)}, "within the padded picture"),
        ({"padded": (0, 192)}, "multiples of 64"),
        ({"padded": (-64, 192)}, "multiples of 64"),
        ({"out": np.zeros((63, 64, 3), np.uint8)}, "does not fit the area"),
        ({"z": np.zeros((15, 3, 4), np.int8)}, "symbols do not fit"),
        ({"y": np.zeros((32, 12, 15), np.int16)}, "symbols do not fit"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, object], message: str) -> None:
    picture = random_picture(TINY, 4, 3, 1)
    of = receiver(TINY, random_arrays(TINY, 1))
    area = changes.get("area", Box(0, 0, 64, 64))
    assert isinstance(area, Box)
    good = {"z": picture.z, "y": picture.y, "window": whole(picture), "padded": picture.padded, "level": LEVEL}
    good |= {"area": area, "factor": 1, "threads": 1, "out": np.zeros((64, 64, 3), np.uint8)}
    with pytest.raises(ValueError, match=message):
        of.render(**(good | changes))  # type: ignore[arg-type]


def test_numbers_of_channels_that_no_model_has_are_refused() -> None:
    for N, M in ((0, 32), (18, 32), (16, 0), (16, 31), (16, 32 << 40)):
        with pytest.raises(ValueError, match=r"N is|M is|array"):
            _native.Receiver(random_arrays(TINY, 1), N, M)


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel is fast"):
        receiver(TINY, random_arrays(TINY, 1), "fast")
