"""docs/format.md says enough: a decoder written from it alone reads every golden file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import independent_decoder
import numpy as np
import pytest
from make_golden import CONTEXT_GOLDEN, GOLDEN
from PIL import Image
from support import DATA

from aecodec.format.container import SectionKind, unpack
from aecodec.format.digest import make_digest

MANIFEST: dict[str, str] = json.loads((GOLDEN / "manifest.json").read_text())


@pytest.mark.parametrize(("folder", "name"), [*((GOLDEN, name) for name in MANIFEST), (CONTEXT_GOLDEN, "context")])
def test_independent_decoder_reads_golden_files(folder: Path, name: str) -> None:
    data = (folder / f"{name}.aec").read_bytes()
    symbols_sha256 = json.loads((folder / "manifest.json").read_text())[name]
    weights = independent_decoder.read_weights(
        DATA / ("tiny.safetensors" if folder == GOLDEN else "tiny_context.safetensors")
    )
    _, z, y = independent_decoder.read_symbols(data, weights)
    assert hashlib.sha256(z.astype("i1").tobytes() + y.astype("<i2").tobytes()).hexdigest() == symbols_sha256
    with Image.open(folder / f"{name}.png") as reference:
        difference = independent_decoder.decode(data, weights) - np.asarray(reference).astype(int)
    assert not difference.any()


def test_independent_decoder_makes_the_digest() -> None:
    data = (GOLDEN / "digest.aec").read_bytes()
    header, _, _ = independent_decoder.read_container(data)
    with Image.open(GOLDEN / "digest.png") as reference:
        assert independent_decoder.digest(header, np.asarray(reference)) == unpack(data).sections[SectionKind.DIGEST]
    for mode in ("L", "LA", "RGBA"):
        image = Image.effect_noise((header.width, header.height), 90).convert("RGB").convert(mode)
        assert independent_decoder.digest(header, np.asarray(image)) == make_digest(image)
