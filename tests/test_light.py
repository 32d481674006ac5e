"""What the light install does: numpy, Pillow, click and safetensors, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from support import DATA

# Whatever else is installed here cannot be imported.
PREFIX = """
import sys
for name in ("torch", "compressai", "scipy", "matplotlib", "tqdm"):
    sys.modules[name] = None
"""


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", PREFIX + program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run("from aecodec.cli.app import main\nmain(prog_name='aecodec')", *arguments)


def test_few_packages_are_required() -> None:
    needed = {line.split(">")[0] for line in requires("aecodec") or [] if "extra ==" not in line}
    assert needed == {"click", "numpy", "pillow", "safetensors"}


def test_pictures_are_coded_and_targets_met() -> None:
    program = """
import io
import numpy as np
from PIL import Image
import aecodec
from aecodec import Codec, metrics

with Image.open(sys.argv[1]) as file:
    image = file.convert("RGB").crop((100, 100, 300, 280))
pixels = np.asarray(image)
data = aecodec.encode(image, quality=60)
assert metrics.psnr(pixels, np.asarray(aecodec.decode(data))) > 28
assert len(aecodec.encode(image, max_bytes=4000)) <= 4000
found = metrics.psnr(pixels, np.asarray(aecodec.decode(aecodec.encode(image, psnr=34))))
assert 34 <= found <= 34.1, found
assert aecodec.decode(data, region=(4, 6, 60, 70), scale=1 / 2).size == (30, 35)
stream = io.BytesIO()
image.save(stream, "aecodec", quality=60)
assert stream.getvalue() == data
assert Image.open(stream).tobytes() == aecodec.decode(data).tobytes()
codec = Codec.load()
codec.verify(codec.encode(image, verify=True))
assert [loss.in_part for loss in codec.decode_partial(data[:-40]).losses] == [False, True]
assert codec.complexity()["receiver"] < 6
smallest, gray = codec.encode(image, quality=60, effort=5), codec.encode(image.convert("L"))
assert len(smallest) < len(data) and codec.decode(gray).mode == "L"
"""
    done = run(program, DATA / "coffee.png")
    assert done.returncode == 0, done.stderr


def test_every_command_but_training_works(tmp_path: Path) -> None:
    photos, archive = tmp_path / "photos", tmp_path / "archive"
    photos.mkdir()
    for name in ("gray", "tiles"):
        (photos / f"{name}.png").write_bytes((DATA / "golden" / f"{name}.png").read_bytes())
    for arguments in (
        ("encode", photos, archive, "-j", 1),
        ("encode", photos, archive, "-j", 2, "--force"),
        ("verify", archive, "-j", 1),
        ("info", "--model"),
        ("info", archive / "gray.png.aec"),
        ("compare", photos / "gray.png", archive / "gray.png.aec"),
        ("decode", archive, tmp_path / "back", "--format", "png", "-j", 1),
        ("thumbnail", archive / "tiles.png.aec", tmp_path / "small.png"),
    ):
        done = command(*arguments)
        assert done.returncode == 0, (arguments, done.stderr)
    assert {path.name for path in (tmp_path / "back").iterdir()} == {"gray.png.png", "tiles.png.png"}


@pytest.mark.parametrize(
    "program",
    [
        "Codec.load(backend='float')",
        "Codec.load(device='cuda')",
        "Codec.load().encode_tensor(None)",
        "Codec.load().decode_tensor([Codec.load().encode(np.zeros((8, 8, 3), np.uint8))])",
    ],
)
def test_what_needs_torch_says_so(program: str) -> None:
    done = run(f"""
import numpy as np
from aecodec import Codec, InputError
try:
    {program}
except InputError as error:
    print(error)
""")
    assert done.stdout == "this needs torch, which is not installed: pip install 'aecodec[torch]'\n", done.stderr


def test_what_needs_other_packages_says_so(tmp_path: Path) -> None:
    done = command("train", tmp_path, "--out", tmp_path / "run")
    message = "this needs torch, which is not installed: pip install 'aecodec[train]'"
    assert (done.returncode, done.stderr) == (1, f"Error: {message}\n")
    done = command("decode", "--denoise", "auto", DATA / "golden_shipped" / "m.aec", tmp_path / "clean.png")
    tasks = "this needs torch, which is not installed: pip install 'aecodec[tasks]'"
    assert (done.returncode, done.stderr) == (1, f"Error: {tasks}\n")
    done = run("""
import numpy as np
from aecodec import Codec, InputError, metrics
for work in (
    lambda: Codec.load(entropy_coder="compressai").encode(np.zeros((8, 8, 3), np.uint8)),
    lambda: metrics.bd_rate([1, 2], [30, 40], [1, 2], [31, 41]),
):
    try:
        work()
    except InputError as error:
        print(error)
""")
    scipy = "this needs scipy, which is not installed: pip install 'aecodec[bench]'"
    assert done.stdout == f"{message}\n{scipy}\n", done.stderr
