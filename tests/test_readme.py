"""The README does what it says: its blocks run, its table is the committed measurement."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image
from support import DATA

from aecodec.cli.app import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(params=["photograph", "gray and odd", "small and transparent"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds photo.png: ours, or such as readers have."""
    with Image.open(DATA / "coffee.png") as coffee:
        if request.param == "photograph":
            shutil.copy(DATA / "coffee.png", tmp_path / "photo.png")
        elif request.param == "gray and odd":
            coffee.crop((200, 100, 277, 233)).convert("L").save(tmp_path / "photo.png")
        else:
            shown = coffee.convert("RGBA").crop((250, 150, 281, 163))
            shown.putalpha(Image.linear_gradient("L").resize(shown.size))
            shown.save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands_run(folder: Path) -> None:
    (lines,) = blocks("sh")
    for line in lines.splitlines():
        result = CliRunner().invoke(main, shlex.split(line)[1:])
        assert result.exit_code == 0, (line, result.output)
    with Image.open(folder / "photo.png") as photo:
        overhead = 100 if photo.width < 64 else 0  # bytes of header, tile and alpha, which an icon's PNG has not
    assert (folder / "restored.png").stat().st_size + overhead > (folder / "photo.aec").stat().st_size


def test_python_runs(folder: Path) -> None:
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})


def test_tables_are_the_committed_measurements() -> None:
    shown = re.findall(r"<!-- table: python -m bench (.*?) -->\n(.*?)<!-- end of table -->", README, re.DOTALL)
    assert len(shown) == 2
    for arguments, table in shown:
        command = [sys.executable, "-m", "bench", *arguments.split()]
        assert table == subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_training_commands_are_understood() -> None:
    """The longer commands parse; running them takes hours."""
    for line in re.findall(r"^(?:aecodec|torchrun).* ((?:train|export|encode) .*)$", README, re.MULTILINE):
        name, *arguments = shlex.split(line)
        command = main.commands[name]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {argument for argument in arguments if argument.startswith("-")} <= options, line
