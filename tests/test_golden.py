"""Released files decode to the symbols and pictures that they had when they were written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from make_golden import CONTEXT_GOLDEN, GOLDEN, SHIPPED_GOLDEN, symbols_sha256
from PIL import ExifTags, Image
from support import DATA

from aecodec import Codec, read_header
from aecodec.format.container import NO_MODEL
from aecodec.weights import SHIPPED

MANIFEST: dict[str, str] = json.loads((GOLDEN / "manifest.json").read_text())


def check(codec: Codec, folder: Path, name: str, symbols: str) -> None:
    data = (folder / f"{name}.aec").read_bytes()
    assert symbols_sha256(codec, data) == symbols
    image = codec.decode(data)
    with Image.open(folder / f"{name}.png") as reference:
        assert image.mode == reference.mode
        difference = np.asarray(image).astype(int) - np.asarray(reference)
    assert not difference.any()  # integers make pixels


@pytest.mark.parametrize("name", MANIFEST)
def test_golden_file_decodes_to_its_symbols_and_picture(tiny: Codec, name: str) -> None:
    check(tiny, GOLDEN, name, MANIFEST[name])


def test_golden_file_with_a_context_of_z(tiny_context: Codec) -> None:
    check(
        tiny_context, CONTEXT_GOLDEN, "context", json.loads((CONTEXT_GOLDEN / "manifest.json").read_text())["context"]
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_model_has_a_golden_file(name: str) -> None:
    manifest = json.loads((SHIPPED_GOLDEN / "manifest.json").read_text())
    check(Codec.load(name, "cpu"), SHIPPED_GOLDEN, name, manifest[name])


def test_golden_metadata_is_untouched(tiny: Codec) -> None:
    info = tiny.decode((GOLDEN / "metadata.aec").read_bytes()).info
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "aecodec"
    assert info == {"icc_profile": b"an ICC profile", "exif": exif.tobytes(), "xmp": b"<x:xmpmeta/>"}


def test_golden_files_name_the_frozen_model(tiny: Codec) -> None:
    ids = {read_header((GOLDEN / f"{name}.aec").read_bytes()).model_id for name in MANIFEST}
    assert ids == {tiny.weights.model_id, NO_MODEL}
    assert (DATA / "tiny.safetensors").stat().st_size < 500_000
