"""The oldest supported torch, another build altogether (Debian's python3-torch), makes the same of every file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from make_golden import GOLDEN
from PIL import Image

import aecodec
from aecodec import Codec, _native

PYTHON = Path("/usr/bin/python3")
NEEDED = ("numpy", "PIL", "safetensors")  # besides torch, from here: of the versions in constraints.txt
PROGRAM = """
import sys
from pathlib import Path
import numpy as np
import torch
from PIL import Image
from aecodec import Codec
codec = Codec.load(sys.argv[1], "cpu")
for name in sys.argv[2:]:
    data = Path(name).read_bytes()
    z_symbols, y_symbols = codec.decode_symbols(data)
    np.savez(name + ".npz", z=z_symbols, y=y_symbols, pixels=np.asarray(codec.decode(data)))
picture = Image.open(sys.argv[2] + ".png")
Path(sys.argv[2] + ".again").write_bytes(codec.encode(picture, quality=70, effort=4))
print(torch.__version__)
"""


def old_torch() -> str | None:
    """Why it cannot be tried here."""
    if not PYTHON.exists():
        return f"there is no {PYTHON}"
    check = f"import sys, torch; assert sys.version_info[:2] == {tuple(sys.version_info[:2])}"
    done = subprocess.run([PYTHON, "-I", "-c", check], capture_output=True, text=True, check=False)
    return done.stderr.strip().splitlines()[-1] if done.returncode else None


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """aecodec as it is installed here, with what it needs besides torch."""
    reason = old_torch()
    if reason:
        pytest.skip(f"needs Debian's python3-torch: {reason}")
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(Path(aecodec.__file__).parent, folder / "aecodec")
    shutil.copy(_native.__file__, folder / "aecodec")
    for name in NEEDED:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        package = Path(spec.origin).parent
        for part in (package, *package.parent.glob(f"{'pillow' if name == 'PIL' else name}.libs")):
            (folder / part.name).symlink_to(part)
    metadata = next(Path(path) for path in sys.path for path in Path(path).glob("aecodec-*.dist-info"))
    (folder / metadata.name).symlink_to(metadata)
    return os.environ | {"PYTHONPATH": str(folder)}


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tiny", "m"])
def test_old_torch_agrees(
    environment: dict[str, str], tiny: Codec, codec: Codec, coffee: Image.Image, tmp_path: Path, model: str
) -> None:
    here = {"tiny": tiny, "m": codec}[model]
    weights = tmp_path / "weights.safetensors"
    here.weights.save(weights)
    picture = coffee.crop((100, 50, 400, 250))
    picture.save(tmp_path / "0.aec.png")
    (tmp_path / "0.aec").write_bytes(here.encode(picture, quality=80))
    if model == "tiny":
        for path in GOLDEN.glob("*.aec"):
            shutil.copy(path, tmp_path)
    names = [str(path) for path in sorted(tmp_path.glob("*.aec"))]
    done = subprocess.run(
        [PYTHON, "-P", "-c", PROGRAM, str(weights), *names],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1.")
    for name in names:
        data, there = Path(name).read_bytes(), np.load(name + ".npz")
        z_symbols, y_symbols = here.decode_symbols(data)
        assert np.array_equal(z_symbols, there["z"])
        assert np.array_equal(y_symbols, there["y"])
        difference = np.abs(np.asarray(here.decode(data)).astype(int) - there["pixels"])
        assert difference.max() <= 1
    again = Path(names[0] + ".again").read_bytes()
    assert len(again) == pytest.approx(len(here.encode(picture, quality=70, effort=4)), rel=0.02)
    assert here.decode(again).size == picture.size
