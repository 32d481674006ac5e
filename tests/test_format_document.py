"""docs/format.md says enough: a decoder written from it alone reads every golden file."""

from __future__ import annotations

import hashlib
import json

import independent_decoder
import numpy as np
import pytest
from make_golden import GOLDEN
from PIL import Image
from support import DATA

MANIFEST: dict[str, str] = json.loads((GOLDEN / "manifest.json").read_text())


@pytest.mark.parametrize("name", MANIFEST)
def test_independent_decoder_reads_golden_files(name: str) -> None:
    data = (GOLDEN / f"{name}.aec").read_bytes()
    weights = independent_decoder.read_weights(DATA / "tiny.safetensors")
    _, z, y = independent_decoder.read_symbols(data, weights)
    assert hashlib.sha256(z.astype("i1").tobytes() + y.astype("<i2").tobytes()).hexdigest() == MANIFEST[name]
    with Image.open(GOLDEN / f"{name}.png") as reference:
        difference = independent_decoder.decode(data, weights) - np.asarray(reference).astype(int)
    assert np.abs(difference).max() <= 1
