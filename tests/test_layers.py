"""The layer table of docs/architecture.md: imports go down only, and importing aecodec stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import aecodec

ROWS = [
    {"errors", "_native"},
    {"container", "image", "metrics", "tables"},
    {"entropy", "prior", "reference"},
    {"model", "weights"},
    {"codec"},
    {"train"},
]
PUBLIC = {"aecodec", "aecodec.container", "aecodec.metrics", "aecodec.train", "aecodec.weights"}
PACKAGE = Path(aecodec.__file__).parent
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
    modules = [path for path in PACKAGE.glob("*.py") if path.stem != "__init__"]
    assert {path.stem for path in modules} <= ROW.keys()
    for path in modules:
        for name in imported_modules(path):
            assert name != "aecodec", f"{path.name} imports the package itself"
            assert ROW[name.split(".")[1]] < ROW[path.stem], f"{path.name} imports {name}"


def test_commands_see_the_public_api_alone() -> None:
    for path in (PACKAGE / "cli").glob("*.py"):
        own = {name for name in imported_modules(path) if not name.startswith("aecodec.cli")}
        assert own <= PUBLIC, path.name


def test_importing_aecodec_loads_neither_torch_nor_compressai() -> None:
    code = "import sys, aecodec, aecodec.cli.app; sys.exit(bool({'torch', 'compressai', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
