"""The integer prior against a plain reading of docs/format.md."""

from __future__ import annotations

import numpy as np
import pytest

from aecodec import Codec, InputError
from aecodec.prior import ANCHORS, Prior, anchor_position


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
        assert tiny.weights.prior.channel_index(1, level)[0] == nearest * tiny.weights.prior.N
    assert tiny.weights.prior.channel_index(2, 10_000).tolist()[-3:] == [
        ANCHORS * tiny.weights.prior.N - n for n in (2, 1, 1)
    ]


def test_prior_that_could_leave_the_exact_range_is_refused() -> None:
    ones = np.ones(16, np.int32)
    with pytest.raises(InputError, match="exact range"):
        Prior(np.full((16, 1100), 127, np.int8), ones, np.zeros((ANCHORS, 16), np.int32), 20)
    with pytest.raises(InputError, match="does not fit"):
        Prior(np.ones((16, 2), np.int8), ones, np.zeros((ANCHORS, 32), np.int32), 20)
