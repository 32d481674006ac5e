"""The README does what it says: its blocks run, and its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image
from support import DATA

from aecodec.cli.app import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted(page.relative_to(ROOT) for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


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


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_files(page: Path) -> None:
    text = re.sub(r"^```.*?^```$|`[^`]*`", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)#]+)[)#]", text) + re.findall(r"(?:src|srcset|href)=\"([^\"#]+)\"", text)
    for link in links:
        if not re.match(r"https?:", link):
            assert (ROOT / page).parent.joinpath(link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_training_commands_are_understood(page: Path) -> None:
    """The longer commands parse; running them takes hours."""
    text = (ROOT / page).read_text()
    for line in re.findall(r"^(?:aecodec|torchrun).* ((?:train|export|encode) .*)$", text, re.MULTILINE):
        name, *arguments = shlex.split(line, comments=True)
        command = main.commands[name]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {argument for argument in arguments if argument.startswith("-")} <= options, line
