"""What pip installs can be imported everywhere, in the checkout as well; or one sentence says what to do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from support import DATA

import aecodec

ROOT = Path(__file__).parent.parent
BUILT_FROM = ("aecodec", "cli", "native", "CMakeLists.txt", "LICENSE", "README.md", "pyproject.toml")


def test_python_started_in_the_checkout_says_what_to_do() -> None:
    if Path(aecodec.__file__).parent == ROOT / "aecodec":
        pytest.skip("aecodec is installed as editable")
    done = subprocess.run(
        [sys.executable, "-c", "import aecodec"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: {ROOT}/aecodec is source code without its compiled module: "
        "start Python in another folder or with -P, or install with `pip install -e .`"
    )


@pytest.mark.slow
def test_editable_install_runs_the_checkout(tmp_path: Path) -> None:
    """In a virtual environment of its own, which sees the packages of this one."""
    tree, python = tmp_path / "tree", tmp_path / "venv" / "bin" / "python"
    tree.mkdir()
    for name in BUILT_FROM:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tree / name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    command = [python, "-P", "-m", "pip", "install", "--quiet", "--no-deps", "--editable", tree]
    if shutil.which("cmake") and find_spec("nanobind") and find_spec("scikit_build_core"):
        command.append("--no-build-isolation")  # else pip fetches what is missing
    subprocess.run(command, check=True)
    with (tree / "aecodec" / "errors.py").open("a") as file:
        file.write("\nclass EditedError(CodecError):\n    pass\n")
    code = "import aecodec.errors; print(aecodec.errors.EditedError.__module__, aecodec.__file__)"
    done = subprocess.run([python, "-c", code], cwd=tree, capture_output=True, text=True, check=True)
    assert done.stdout == f"aecodec.errors {tree}/aecodec/__init__.py\n"
    arguments = ["decode", DATA / "golden" / "gray.aec", tmp_path / "a.png", "--weights", DATA / "tiny.safetensors"]
    done = subprocess.run(
        [python.with_name("aecodec"), *arguments], cwd=tree, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{tmp_path}/a.png: 90x50 L\n"
