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
    {"errors", "forked", "_native"},
    {"arguments", "device", "formats", "isolation"},
    {"format", "metrics", "workers"},
    {"coding", "image"},
    {"weights"},
    {"networks"},
    {"decoder"},
    {"encoder"},
    {"codec"},
    {"plugins", "tasks", "train"},
    {"imageio", "numcodecs", "zarr"},  # names that users import, for what is in plugins
]
# What users may import, and so the commands: the package and these modules.
PUBLIC = {
    "aecodec",
    "aecodec.device",
    "aecodec.format.container",
    "aecodec.format.digest",
    "aecodec.format.drawn",
    "aecodec.formats",
    "aecodec.image",
    "aecodec.format.metadata",
    "aecodec.metrics",
    "aecodec.format.rescue",
    "aecodec.tasks",
    "aecodec.train",
    "aecodec.weights",
}
# Which bench times one by one.
PARTS = {
    "aecodec.codec",
    "aecodec.coding.entropy",
    "aecodec.networks.config",
    "aecodec.networks.layers",
    "aecodec.networks.model",
    "aecodec.coding.prior",
    "aecodec.coding.symbols",
    "aecodec.coding.tables",
    "aecodec.tasks.correction",
    "aecodec.tasks.embedding",
    "aecodec.tasks.enhance",
    "aecodec.tasks.fit",
    "aecodec.tasks.sketch",
    "aecodec.train.data",
    "aecodec.train.loop",
    "aecodec.train.soap",
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
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {_module(node.module, alias.name) for alias in node.names}
    return {name for name in found if name.split(".")[0] == "aecodec"}


def _module(package: str, name: str) -> str:
    """What `from package import name` imports: name may be a module of the package."""
    place = PACKAGE.joinpath(*package.split(".")[1:]) if package.split(".")[0] == "aecodec" else PACKAGE / package
    is_module = (place / f"{name}.py").exists() or (place / name).is_dir() or name == "_native"
    return f"{package}.{name}" if is_module else package


def test_imports_go_down_the_table() -> None:
    rooms = {path: path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    rooms = {path: room for path, room in rooms.items() if room not in ("__init__", "cli")}
    assert set(rooms.values()) | {"_native"} == ROW.keys()
    for path, room in rooms.items():
        for name in imported_modules(path) - {"aecodec"}:
            other = name.split(".")[1]
            inside = other == room and path.parent != PACKAGE
            assert ROW[other] < ROW[room] or inside, f"{path.relative_to(PACKAGE)} imports {name}"


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
