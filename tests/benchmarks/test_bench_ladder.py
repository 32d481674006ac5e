"""python -m bench ladder: from PCA to aecodec, on made pictures."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from bench_support import bench
from PIL import Image
from scipy.linalg import subspace_angles

NAMES = [
    "PCA 32", "linear 32", "shallow 32", "over-complete 384", "PCA 192", "AutoEncoder224", "AutoEncoder224 stacked",
    "AutoEncoder224 rate", "aecodec:s", "aecodec:m", "jpeg",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train.tar and val/, smooth noise."""
    folder = tmp_path_factory.mktemp("ladder")
    (folder / "val").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        coarse = Image.fromarray(rng.integers(0, 256, (80, 80, 3), dtype=np.uint8))
        coarse.resize((128, 128), Image.Resampling.BICUBIC).save(folder / "val" / f"{name}.png")
    with tarfile.open(folder / "train.tar", "w") as tar:
        for name in ("b", "c"):
            tar.add(folder / "val" / f"{name}.png", f"{name}.png")
            (folder / "val" / f"{name}.png").unlink()
    return folder


def test_a_tiny_ladder_ends_with_rows_a_table_and_plots(made: Path) -> None:
    from bench.results import Point, read

    command = ("ladder", made / "val", "--train", made / "train.tar", "--out", made / "out")
    result = bench(*command, "--steps", 1, "--middle", 64)
    assert result.exit_code == 0, result.output
    rows = re.findall(r"^\| ([^|]+?) \| .* dB at [\d.]+ \|$", result.output, re.MULTILINE)
    assert rows == NAMES
    assert "principal angles between its subspace and that of PCA: at most" in result.output
    points = [record for record in read(made / "out" / "ladder.jsonl") if isinstance(record, Point)]
    assert {point.codec for point in points} == set(NAMES)
    assert all(point.size_bytes == round(point.bpp * 64 * 64 / 8) > 8 for point in points)
    best = {name: max(point.psnr for point in points if point.codec == name) for name in NAMES}
    assert best["PCA 192"] > best["PCA 32"]
    for name in ("ladder", "ladder-dark", "ladder-identity", "ladder-identity-dark"):
        assert (made / "out" / f"{name}.svg").read_text().count("<svg") == 1
    again = bench(*command, "--steps", 1, "--middle", 64)
    assert "trained" not in again.output  # what is measured is not made anew
    assert bench("ladder-table", made / "out" / "ladder.jsonl").output in again.output


def test_a_step_that_there_is_not_is_one_error(made: Path) -> None:
    result = bench("ladder", made / "val", "--train", made / "train.tar", "--out", made / "none", "--only", "PCA 7")
    assert result.exit_code == 1
    assert "there is no step PCA 7; known are PCA 32" in result.output


def test_a_linear_autoencoder_finds_the_subspace_of_pca() -> None:
    from bench.ladder_models import fit_linear

    distance = np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    covariance = np.kron(0.95**distance, np.diag([3.0, 2.0, 1.0]))
    encoder, decoder = fit_linear(covariance, 5, 1000)
    components = np.linalg.eigh(covariance)[1][:, ::-1][:, :5]
    assert np.degrees(subspace_angles(decoder.astype(float), components).max()) < 1
    assert np.abs(encoder @ decoder - np.eye(5)).max() < 0.01


def test_files_of_a_step_hold_all_that_its_decoder_needs(made: Path) -> None:
    from bench.ladder import Ladder

    with Image.open(made / "val" / "a.png") as image:
        pixels = np.asarray(image)
    peer = next(peer for peer in Ladder([pixels], made, 1).peers() if peer.name == "PCA 192")
    shown = Image.fromarray(np.ascontiguousarray(pixels[:77, :101]))  # no whole patches
    sizes = []
    for quality in peer.qualities:
        data = peer.encode(shown, quality)
        decoded = np.asarray(peer.decode(data), np.float64)
        assert decoded.shape == (77, 101, 3)
        sizes.append((len(data), np.mean((decoded - np.asarray(shown)) ** 2)))
    bytes_, errors = zip(*sizes, strict=True)
    assert list(bytes_) == sorted(bytes_)
    assert list(errors) == sorted(errors, reverse=True)
    assert errors[-1] < 2


def test_autoencoder224_has_the_latent_shape_that_it_says() -> None:
    import torch

    from bench.ladder_models import AutoEncoder224

    network = AutoEncoder224().eval()
    with torch.inference_mode():
        code = network.encode(torch.zeros(1, 3, 224, 224))
        assert tuple(code.shape[1:]) == network.latent_shape == (512, 7, 7)
        assert network.decode(code).shape == (1, 3, 224, 224)
