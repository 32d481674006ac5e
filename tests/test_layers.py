"""The layer table of docs/architecture.md: imports go down only, and importing aecodec stays light."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import aecodec
import aecodec.cli

ROWS = [
    {"errors", "_native"},
    {"arguments"},
    {"container", "isolation", "metrics", "tables"},
    {"alpha", "digest", "image"},
    {"entropy", "prior", "reference", "rescue"},
    {"layers", "symbols", "weights", "workers"},
    {"model"},
    {"preview", "refine"},
    {"transform"},
    {"target"},
    {"codec"},
    {"imageio", "numcodecs", "pillow", "train"},
]
# What users may import, and so the commands: the package and these modules.
PUBLIC = {
    "aecodec",
    "aecodec.container",
    "aecodec.digest",
    "aecodec.image",
    "aecodec.metadata",
    "aecodec.metrics",
    "aecodec.rescue",
    "aecodec.train",
    "aecodec.weights",
}
# Which bench times one by one.
PARTS = {
    "aecodec.codec",
    "aecodec.entropy",
    "aecodec.model",
    "aecodec.prior",
    "aecodec.symbols",
    "aecodec.train.data",
    "aecodec.train.loop",
    "aecodec.transform",
}
PACKAGE = Path(aecodec.__file__).parent
BENCH = Path(__file__).parent.parent / "bench"
ROW = {name: row for row, names in enumerate(ROWS) for name in names}


def imported_modules(path: Path) -> set[str]:
    """aecodec modules that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "aecodec":
            found |= {f"aecodec.{alias.name}" if alias.name in ROW else "aecodec" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name for name in found if name.split(".")[0] == "aecodec"}


def test_imports_go_down_the_table() -> None:
    modules = {path: path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    modules |= dict.fromkeys((PACKAGE / "train").glob("*.py"), "train")
    assert set(modules.values()) <= ROW.keys()
    assert "train" in modules.values()
    for path, module in modules.items():
        for name in imported_modules(path) - {"aecodec"}:
            inside = name.split(".")[1]
            assert ROW[inside] < ROW[module] or inside == module == "train", f"{path.name} imports {name}"


def test_commands_and_benchmarks_see_the_public_api_alone() -> None:
    for folder, allowed in ((Path(aecodec.cli.__file__).parent, PUBLIC), (BENCH, PUBLIC | PARTS)):
        files = list(folder.glob("*.py"))
        assert files
        for path in files:
            own = {name for name in imported_modules(path) if not name.startswith("aecodec.cli")}
            assert own <= allowed, path.name


def test_the_tests_see_the_installed_package() -> None:
    """CI tests the built wheel, not the source tree (an editable install is for work in progress)."""
    top_level = {str(file).split("/")[0] for file in distribution("aecodec").files or []}
    installed = {name for name in top_level if not name.endswith((".dist-info", "..", ".pth"))}
    assert installed == {"aecodec"} or "CI" not in os.environ


def test_importing_aecodec_loads_neither_torch_nor_compressai() -> None:
    heavy = {"torch", "compressai", "scipy", "numpy"}
    code = f"import sys, aecodec, aecodec.cli.app; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
