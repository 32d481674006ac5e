"""The integer prior against a plain reading of docs/format.md."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from support import z_tables

from aecodec import Codec, InputError
from aecodec.coding.prior import ANCHORS, Context, Prior, anchor_position


def by_the_document(prior: Prior, z_symbols: np.ndarray, level: int) -> np.ndarray:
    """docs/format.md section 3, one Python integer at a time."""
    N, H, W = z_symbols.shape
    place = 7 * (level - 100)
    low = min(place // 9900, 6)
    part = place - 9900 * low
    index = np.zeros((prior.M, 4 * H, 4 * W), int)
    for o in range(16 * prior.M):
        bias = (int(prior.bias[low, o]) * (9900 - part) + int(prior.bias[low + 1, o]) * part) // 9900
        for i in range(H):
            for j in range(W):
                total = sum(int(prior.weight[o, c]) * int(z_symbols[c, i, j]) for c in range(N))
                value = (total * int(prior.multiplier[o]) + bias + (1 << (prior.shift - 1))) >> prior.shift
                index[o // 16, 4 * i + o % 16 // 4, 4 * j + o % 4] = min(max(value, 0), 63)
    return index


@pytest.mark.parametrize("level", [100, 1514, 1515, 6000, 9999, 10_000])
def test_table_index_follows_the_document(tiny: Codec, level: int) -> None:
    rng = np.random.default_rng(level)
    z_symbols = np.clip(rng.normal(0, 20, (tiny.weights.prior.N, 2, 3)), -127, 127).astype(np.int8)
    assert np.array_equal(
        tiny.weights.prior.table_index(z_symbols, level), by_the_document(tiny.weights.prior, z_symbols, level)
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_largest_sums_stay_exact(tiny: Codec, sign: int) -> None:
    """z at its limits with the signs of the heaviest row: no sum of the model can be larger."""
    row = np.abs(tiny.weights.prior.weight.astype(int)).sum(1).argmax()
    z_symbols = (sign * 127 * np.sign(tiny.weights.prior.weight[row])).astype(np.int8)[:, None, None]
    assert np.array_equal(
        tiny.weights.prior.table_index(z_symbols, 5000), by_the_document(tiny.weights.prior, z_symbols, 5000)
    )


def test_channel_tables_belong_to_the_nearest_anchor(tiny: Codec) -> None:
    for level in range(100, 10_001, 37):
        nearest = round(anchor_position(level) + 1e-9)
        assert z_tables(tiny.weights.prior, 1, level)[0] == nearest * tiny.weights.prior.N
    assert z_tables(tiny.weights.prior, 2, 10_000).tolist()[-3:] == [
        ANCHORS * tiny.weights.prior.N - n for n in (2, 1, 1)
    ]


@pytest.mark.parametrize("level", [100, 5000, 10_000])
def test_a_context_is_what_stands_to_the_left_and_above(tiny_context: Codec, level: int) -> None:
    """Whoever fills z in step by step gets the same tables; what is coded later changes nothing."""
    prior = tiny_context.weights.prior
    z = np.random.default_rng(level).integers(-127, 128, (prior.N, 3, 4), dtype=np.int8)
    filled = np.full_like(z, 77)
    places = []
    for whole, growing in zip(prior.z_steps(z, level), prior.z_steps(filled, level), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(whole, growing, strict=True))
        rows, columns, tables = growing
        filled[:, rows, columns] = z[:, rows, columns]
        places += zip(rows.tolist(), columns.tolist(), strict=True)
        assert tables.max() < prior.z_tables
    assert sorted(places) == [(row, column) for row in range(3) for column in range(4)]
    assert np.array_equal(filled, z)


def test_a_context_makes_files_smaller(tiny: Codec, tiny_context: Codec, coffee: Image.Image) -> None:
    plain, smaller = (codec.encode(coffee, quality=30) for codec in (tiny, tiny_context))
    assert len(smaller) < len(plain)
    assert np.array_equal(tiny.decode_symbols(plain)[0], tiny_context.decode_symbols(smaller)[0])


def test_context_that_is_none_is_refused(tiny: Codec, tiny_context: Codec) -> None:
    context = tiny_context.weights.prior.context
    assert context is not None
    prior = tiny.weights.prior
    for wrong, complaint in (
        ((context.weight[:, :, :-1], context.thresholds), "unusable types"),
        ((context.weight.astype(np.int32), context.thresholds), "unusable types"),
        ((context.weight, context.thresholds[:-1]), "unusable types"),
        ((context.weight, np.zeros((len(context.weight), prior.N, 600), np.int32)), "too large"),
    ):
        with pytest.raises(InputError, match=complaint):
            Context(*wrong)
    ones = np.ones(16, np.int32)
    with pytest.raises(InputError, match="channels of z"):
        Prior(np.ones((16, 2), np.int8), ones, np.zeros((ANCHORS, 16), np.int32), 20, context)


def test_prior_that_could_leave_the_exact_range_is_refused() -> None:
    ones = np.ones(16, np.int32)
    with pytest.raises(InputError, match="exact range"):
        Prior(np.full((16, 1100), 127, np.int8), ones, np.zeros((ANCHORS, 16), np.int32), 20)
    weight, bias = np.ones((16, 2), np.int8), np.zeros((ANCHORS, 16), np.int32)
    for wrong in (np.zeros((ANCHORS, 32), np.int32), np.zeros((ANCHORS - 1, 16), np.int32)):
        with pytest.raises(InputError, match="does not fit"):
            Prior(weight, ones, wrong, 20)
    for arrays, shift in (
        ((weight.astype(np.int16), ones, bias), 20),
        ((weight, ones.astype(np.int64), bias), 20),
        ((weight, ones, bias.astype(np.int64)), 20),
        ((weight, ones, bias), 0),
        ((weight, ones, bias), 32),
    ):
        with pytest.raises(InputError, match="unusable types"):
            Prior(*arrays, shift)
