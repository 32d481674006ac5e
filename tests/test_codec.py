"""Pictures in, bytes out, pictures back; the same everywhere."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file
from support import DATA, psnr, z_tables

import aecodec
from aecodec import Codec, FormatError, InputError, UnsupportedError, metrics
from aecodec.coding.entropy import encode_symbols
from aecodec.coding.prior import Prior
from aecodec.coding.tables import TableSet
from aecodec.format.container import HEADER_SIZE, Header, Tile, pack, unpack


def test_photograph_round_trip(codec: Codec, coffee: Image.Image) -> None:
    data = codec.encode(coffee, quality=60)
    decoded = codec.decode(data)
    assert (decoded.mode, decoded.size) == ("RGB", coffee.size)
    assert psnr(coffee, decoded) > 30
    assert metrics.bpp(len(data), *coffee.size) < 1.5


def test_quality_orders_size_and_psnr_below_jpeg(codec: Codec, coffee: Image.Image) -> None:
    """What the codec is for, on one picture that it was not trained on."""
    files = [codec.encode(coffee, quality=quality) for quality in (1, 20, 40, 60, 80, 100)]
    sizes = [len(data) for data in files]
    values = [psnr(coffee, codec.decode(data)) for data in files]
    assert sizes == sorted(set(sizes))
    assert values == sorted(set(values))
    jpegs = [io.BytesIO() for _ in range(4)]
    for file, quality in zip(jpegs, (10, 30, 60, 90), strict=True):
        coffee.save(file, "JPEG", quality=quality)
    jpeg_sizes = [len(file.getvalue()) for file in jpegs]
    jpeg_values = [psnr(coffee, Image.open(file).convert("RGB")) for file in jpegs]
    assert metrics.bd_rate(jpeg_sizes, jpeg_values, sizes, values) < -15


def test_module_functions_use_the_shipped_model(codec: Codec, coffee: Image.Image) -> None:
    small = coffee.resize((80, 60))
    data = aecodec.encode(small, quality=30)
    assert data == codec.encode(small, quality=30) or torch.cuda.is_available()
    assert aecodec.decode(data).size == (80, 60)
    assert aecodec.read_header(data) == Header(80, 60, 3000, codec.weights.model_id)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 150), st.integers(1, 150), st.integers(1, 3), st.floats(1, 100), st.booleans())
def test_any_size_comes_back(tiny: Codec, width: int, height: int, tile: int, quality: float, gray: bool) -> None:
    rng = np.random.default_rng(width * height)
    pixels = rng.integers(0, 256, (height, width) if gray else (height, width, 3), dtype=np.uint8)
    data = tiny.encode(pixels, quality=quality, tile=tile)
    decoded = tiny.decode(data)
    assert decoded.size == (width, height)
    assert decoded.mode == ("L" if gray else "RGB")
    assert aecodec.read_header(data).quality == pytest.approx(quality, abs=0.0051)


def test_analysis_in_tiles_equals_the_whole(codec: Codec, coffee: Image.Image) -> None:
    header = Header(600, 400, 6000, 0)
    tiled = Codec(codec.weights, "cpu", work_tile=1).encoder.analyzer.analyze(np.asarray(coffee), header)
    whole = codec.encoder.analyzer.analyze(np.asarray(coffee), header)
    assert np.mean(tiled.z != whole.z) < 1e-3  # a rounding tie may fall either way; both are valid files
    assert np.mean(tiled.y != whole.y) < 1e-3


@pytest.mark.xdist_group("compressai")
def test_compressai_coder_writes_the_same_file(coffee: Image.Image, codec: Codec) -> None:
    small = coffee.crop((0, 0, 130, 120))
    reference = Codec.load(device="cpu", entropy_coder="compressai")
    assert reference.encode(small, quality=40) == codec.encode(small, quality=40)


@pytest.mark.parametrize("quality", [0, 0.99, 100.01, -1, float("nan")])
def test_quality_outside_its_range(tiny: Codec, random_pixels: NDArray[np.uint8], quality: float) -> None:
    with pytest.raises(InputError, match=r"quality must be 1\.\.100"):
        tiny.encode(random_pixels, quality=quality)


def test_file_of_another_model_names_both(tiny: Codec, codec: Codec, random_pixels: NDArray[np.uint8]) -> None:
    data = tiny.encode(random_pixels)
    names = f"{tiny.weights.model_id:08x}, present: {codec.weights.model_id:08x}"
    with pytest.raises(UnsupportedError, match=names):
        codec.decode(data)
    with pytest.raises(UnsupportedError, match=names):
        aecodec.decode(data)


def test_every_truncation_and_flip_of_a_file_is_an_error(tiny: Codec) -> None:
    data = (DATA / "golden" / "17x33.aec").read_bytes()
    for length in range(len(data)):
        with pytest.raises(aecodec.TruncatedError):
            tiny.decode(data[:length])
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0xFF
        with pytest.raises((FormatError, UnsupportedError)):
            tiny.decode(bytes(damaged))


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_hostile_streams_with_right_checksums(tiny: Codec, draw: st.DataObject) -> None:
    """Checksums stop accidents, not attackers: streams with any bytes give an error or a picture, nothing else."""
    container = unpack((DATA / "golden" / "gray.aec").read_bytes())
    stream = bytearray(container.tiles[0].stream)
    for _ in range(draw.draw(st.integers(1, 4))):
        stream[draw.draw(st.integers(0, len(stream) - 1))] = draw.draw(st.integers(0, 255))
    cut = draw.draw(st.integers(0, len(stream)))
    with contextlib.suppress(FormatError):
        tiny.decode_symbols(pack(container.header, {}, [Tile(bytes(stream[: len(stream) - cut % 64]))]))


def test_z_symbol_beyond_eight_bits_is_refused(tiny: Codec) -> None:
    header = Header(64, 64, 5000, tiny.weights.model_id)
    count = tiny.weights.prior.N
    symbols = np.full(count, 300, np.int16)
    stream = encode_symbols(symbols, z_tables(tiny.weights.prior, 1, 5000), tiny.weights.tables)
    with pytest.raises(FormatError, match="z symbol"):
        tiny.decode(pack(header, {}, [Tile(stream)]))


def test_huge_claim_in_a_small_file_is_refused_at_once(tiny: Codec) -> None:
    header = Header(4096, 4096, 5000, tiny.weights.model_id, tile=64)
    data = pack(header, {}, [Tile(bytes(8))])
    assert len(data) < HEADER_SIZE + 20
    with pytest.raises(FormatError, match="impossible state"):
        tiny.decode(data)


def test_picture_above_the_cap_is_refused(tiny: Codec) -> None:
    pixels = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (65_536, 1, 3))
    with pytest.raises(InputError, match="65535 per side"):
        tiny.encode(pixels)


def test_weights_that_do_not_fit_are_refused(tiny: Codec, tmp_path: Path) -> None:
    model = tiny.weights
    network = dict(model.network)
    network.pop("g_s.leave.weight")
    short = TableSet(
        model.tables.cumulative[: -model.tables.lengths[-1]], model.tables.lengths[:-1], model.tables.offsets[:-1]
    )
    for broken, message in (
        (dataclasses.replace(model, network=network), "do not fit their configuration"),
        (dataclasses.replace(model, tables=short), "tables, not"),
    ):
        broken.save(tmp_path / "broken.safetensors")
        with pytest.raises(InputError, match=message):
            Codec.load(tmp_path / "broken.safetensors", device="cpu", backend="float")
    data = bytearray((DATA / "tiny.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "flipped.safetensors").write_bytes(data)
    with pytest.raises(InputError, match="is damaged: SHA-256"):
        Codec.load(tmp_path / "flipped.safetensors")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "configuration is \\[\\], not some of N, M, analysis_widths"),
        ({"depth": 3}, "configuration is .*'depth': 3.*, not some of N, M"),
        ({"body": 6000}, r"g_s.blocks.0.enter.bias is \(32,\), not \(6000,\)"),
        ({"analysis_depths": [1, 2]}, r"g_a.coarse.1.enter.bias is None, not \(32,\)"),
        ({"analysis_depths": [0, 1]}, r"g_a.fine.0.enter.bias is \(16,\), not None"),
        ({"analysis_depths": [1, 10**9]}, "analysis_depths is .1, 1000000000., not of whole numbers 0..64"),
        ({"analysis_widths": [16]}, "analysis_widths is .16,., not of two numbers"),
        ({"analysis_widths": 16}, "analysis_widths is 16, not of"),
        ({"M": 0}, "M is 0, not of whole numbers 1..65536"),
        ({"N": 18}, "N is 18, not a multiple of 4"),
        ({"context": 33}, "context is 33, not a multiple of 4"),
        ({"N": 16.0}, "N is 16.0, not of whole"),
        ({"render": "8"}, "render is 8, not of whole"),
        ({"context": None}, "context is None, not of whole"),
    ],
)
def test_configuration_is_checked_before_networks_are_built(
    tiny: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Any, message: str
) -> None:
    def fill(tensor: torch.Tensor, *_: float, **__: object) -> torch.Tensor:
        assert tensor.is_meta, "memory was taken"
        return tensor

    changed = tiny.weights.config | config if isinstance(config, dict) else config
    dataclasses.replace(tiny.weights, config=changed).save(tmp_path / "broken.safetensors")
    monkeypatch.setattr(torch.Tensor, "uniform_", fill)
    with pytest.raises(InputError, match=message):
        Codec.load(tmp_path / "broken.safetensors", device="cpu", backend="float")


def test_tensors_of_wrong_shapes_are_refused(tiny: Codec, tmp_path: Path) -> None:
    good = dataclasses.replace(tiny.weights)
    prior, tables = good.prior, good.tables
    narrow = Prior(prior.weight[16:], prior.multiplier[16:], prior.bias[:, 16:], prior.shift)
    with pytest.raises(InputError, match=r"prior of \(496, 16\) does not fit the configuration, \(512, 16\)"):
        Codec(dataclasses.replace(good, prior=narrow), "cpu")
    for name, array in (
        ("prior.multiplier", np.array(1, np.int32)),
        ("prior.multiplier", prior.multiplier[:, None]),
        ("prior.bias", prior.bias[:, :, None]),
        ("prior.weight", prior.weight[0]),
        ("tables.lengths", tables.lengths * 3),
        ("tables.lengths", np.array(1, np.int32)),
        ("tables.cumulative", tables.cumulative[:5]),
        ("tables.offsets", tables.offsets[None]),
    ):
        changed = {**good.tensors(), name: np.ascontiguousarray(array)}
        metadata = {"format": "aecodec weights 1", "config": json.dumps(good.config), "sha256": "", "training": "{}"}
        save_file(changed, tmp_path / "broken.safetensors", metadata)
        with pytest.raises(InputError, match="is not an aecodec weights file"):
            Codec.load(tmp_path / "broken.safetensors", device="cpu")


@pytest.mark.parametrize("device", ["tpu", "cuda:7"])
def test_unknown_device(device: str) -> None:
    with pytest.raises(InputError, match="device must be"):
        Codec.load(device=device)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_gpu_and_cpu_read_each_other(codec: Codec, coffee: Image.Image) -> None:
    gpu = Codec.load(device="cuda")
    for writer, reader in ((gpu, codec), (codec, gpu)):
        data = writer.encode(coffee)
        for mine, other in zip(writer.decode_symbols(data), reader.decode_symbols(data), strict=True):
            assert np.array_equal(mine, other)
        assert np.abs(np.asarray(writer.decode(data)).astype(int) - np.asarray(reader.decode(data))).max() <= 1
