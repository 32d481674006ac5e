"""sample and interpolate: pictures from the entropy model, and between two codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from support import DATA

import aecodec
from aecodec import tasks
from aecodec.cli.app import main
from aecodec.coding.tables import TableSet
from aecodec.tasks.generation import draw
from aecodec.weights import SHIPPED

TINY = DATA / "tiny_context.safetensors"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments])


@pytest.fixture(scope="module")
def pair(coffee: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two parts of a photograph, the first as .aec and the second as PNG."""
    folder = tmp_path_factory.mktemp("pair")
    a, b = folder / "a.aec", folder / "b.png"
    a.write_bytes(aecodec.encode(coffee.crop((200, 100, 330, 190)), quality=70, effort=0))
    coffee.crop((300, 200, 430, 290)).save(b)
    return a, b


def test_symbols_are_drawn_as_often_as_tables_say_and_none_by_escape() -> None:
    tables = TableSet(
        np.array([0, 1 << 15, 3 << 14, 65535, 65536, 0, 100, 65536], np.int32),
        np.array([5, 3], np.int32),
        np.array([-1, 7], np.int32),
    )
    indexes = np.repeat(np.array([0, 1], np.uint16), 20000)
    symbols = draw(tables, indexes, np.random.default_rng(0))
    found, counts = np.unique(symbols[:20000], return_counts=True)
    assert found.tolist() == [-1, 0, 1]
    assert np.abs(counts / 20000 - [0.5, 0.25, 0.25]).max() < 0.02
    assert np.unique(symbols[20000:]).tolist() == [7]


@pytest.mark.parametrize("size", [(130, 70), (64, 1100)], ids=["one tile", "two tiles"])
def test_the_same_seed_gives_the_same_picture_and_its_file_decodes_to_it(size: tuple[int, int]) -> None:
    data = tasks.sample_file(*size, seed=5, quality=40, model=TINY)
    codec = aecodec.Codec.load(TINY, "cpu")
    image = tasks.sample(*size, seed=5, quality=40, model=TINY)
    assert image.size == size
    assert image.tobytes() == codec.decode(data).tobytes()
    assert data == tasks.sample_file(*size, seed=5, quality=40, model=TINY)
    assert data != tasks.sample_file(*size, seed=6, quality=40, model=TINY)
    z_symbols, y_symbols = codec.decode_symbols(data)
    assert z_symbols.any()
    assert y_symbols.any()


def test_sample_writes_the_picture_or_its_file(tmp_path: Path) -> None:
    for name in ("texture.png", "texture.aec"):
        result = run("sample", tmp_path / name, "--size", "80x70", "--seed", 2, "--model", "s")
        assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "texture.png") as image:
        assert image.size == (80, 70)
        assert image.tobytes() == aecodec.decode((tmp_path / "texture.aec").read_bytes()).tobytes()
        assert np.asarray(image).std() > 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["t.png", "--size", "80"], "'80' is not WIDTHxHEIGHT"),
        (["t.png", "--size", "0x7"], "picture of 0x7 is outside"),
        (["t.png", "--size", "70000x1"], "65535 per side"),
        (["t.png", "--size", "999x999", "--max-pixels", "1000"], "outside 1..1000 pixels"),
        (["t.nothing"], "no image format"),
    ],
)
def test_sample_refuses_what_it_cannot_draw(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("sample", *arguments)
    assert result.exit_code in (1, 2)
    assert words in result.output
    assert not list(tmp_path.iterdir())


def test_a_path_of_codes_begins_and_ends_at_the_decoded_pictures(pair: tuple[Path, Path], coffee: Image.Image) -> None:
    a, b = pair[0].read_bytes(), aecodec.encode(Image.open(pair[1]), quality=30, effort=0)
    frames = list(tasks.interpolate(a, b, frames=5))
    assert len(frames) == 5
    for frame, data in ((frames[0], a), (frames[-1], b)):
        for image in frame:
            assert image.tobytes() == aecodec.decode(data).tobytes()
    ends = [np.asarray(aecodec.decode(data), np.float32) for data in (a, b)]
    for at, frame in enumerate(frames):
        wanted = ends[0] + (ends[1] - ends[0]) * at / 4
        assert np.abs(np.asarray(frame.faded) - wanted).max() <= 0.51
        # A blend of codes is nearly one of pixels, and much nearer to it than the ends are to each other:
        assert np.abs(np.asarray(frame.blended) - wanted).mean() < np.abs(ends[0] - ends[1]).mean() / 3
    assert frames[1].blended.tobytes() != frames[1].faded.tobytes()


@pytest.mark.parametrize(("name", "count"), [("path.gif", 6), ("path.webp", 6), ("path.png", 1)])
def test_a_path_becomes_an_animation_or_a_strip(name: str, count: int, pair: tuple[Path, Path], tmp_path: Path) -> None:
    result = run("interpolate", *pair, "--frames", 4, "--out", tmp_path / name)
    assert result.exit_code == 0, result.output
    assert "4 frames" in result.output
    with Image.open(tmp_path / name) as image:
        assert getattr(image, "n_frames", 1) == count  # there and back
        wanted = (264, 108) if count > 1 else (264, 4 * 90 + 3 * 4 + 18)
        assert image.size == wanted
        first = np.asarray(image.convert("RGB"), np.float32)[18:108, :130]
    decoded = np.asarray(aecodec.decode(pair[0].read_bytes()), np.float32)
    assert np.abs(first - decoded).mean() < (12 if count > 1 else 0.01)  # GIF has 256 colors


def test_transparency_is_put_on_white_and_turned_pictures_are_upright(coffee: Image.Image) -> None:
    shown = coffee.crop((200, 100, 280, 170))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = aecodec.encode(np.asarray(shown.rotate(90, expand=True)), effort=0)
    image = aecodec.decode(turned)
    image.info["exif"] = exif.tobytes()
    transparent = shown.convert("RGBA")
    transparent.putalpha(0)
    first, last = (frame.blended for frame in tasks.interpolate(aecodec.encode(image), transparent, frames=2))
    assert first.size == last.size == (80, 70)
    assert np.abs(np.asarray(first, np.float32) - np.asarray(shown)).mean() < 6
    assert np.asarray(last).mean() > 250


def test_other_sizes_are_one_error_unless_resized(pair: tuple[Path, Path], tmp_path: Path) -> None:
    small = tmp_path / "small.png"
    Image.open(pair[1]).resize((60, 50)).save(small)
    target = tmp_path / "path.png"
    result = run("interpolate", pair[0], small, "--out", target)
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "got 130x90 and 60x50" in result.output
    assert not target.exists()
    result = run("interpolate", pair[0], small, "--resize", "--frames", 2, "--side", 65, "--out", target)
    assert result.exit_code == 0, result.output
    with Image.open(target) as image:
        assert image.size == (2 * 65 + 4, 2 * 45 + 4 + 18)


def test_codes_of_different_models_are_refused(coffee: Image.Image, pair: tuple[Path, Path]) -> None:
    a = pair[0].read_bytes()
    ids = sorted(f"{one:08x}" for one in SHIPPED.values())
    other = aecodec.Codec.load("s", "cpu").encode(coffee.crop((0, 0, 130, 90)), effort=0)
    with pytest.raises(aecodec.InputError, match="codes of different models do not mix: " + " and ".join(ids)):
        tasks.interpolate(a, other)
    with pytest.raises(aecodec.UnsupportedError, match=f"file needs weights {SHIPPED['m']:08x}"):
        tasks.interpolate(a, coffee, model="s")
    with pytest.raises(aecodec.InputError, match=r"frames must be 2\.\.1000, got 1"):
        tasks.interpolate(a, a, frames=1)


def test_neither_needs_torch(pair: tuple[Path, Path], tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from aecodec import tasks; from PIL import Image; "
        "tasks.sample(64, 64, model='s'); a = Image.new('RGB', (64, 64), 'red'); "
        "list(tasks.interpolate(a, a, frames=3))"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
