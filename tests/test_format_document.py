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

from aecodec.container import SectionKind, unpack

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


def test_independent_decoder_makes_the_digest() -> None:
    data = (GOLDEN / "digest.aec").read_bytes()
    header, _, _ = independent_decoder.read_container(data)
    with Image.open(GOLDEN / "digest.png") as reference:
        pixels = np.asarray(reference).astype(int)
    expected = np.frombuffer(unpack(data).sections[SectionKind.DIGEST], np.uint8)
    assert np.abs(independent_decoder.digest(header, pixels) - expected).max() == 0
