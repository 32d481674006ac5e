"""The pages of docs/tasks and docs/api.md do what they say: their blocks run, from top to bottom."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

import aecodec
from aecodec.cli.app import main

DOCS = Path(__file__).parent.parent / "docs"
PAGES = [DOCS / "api.md", *sorted((DOCS / "tasks").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coffee: Image.Image) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "archive"):
        Path(name).mkdir()
    coffee.crop((0, 0, 200, 120)).save("photos/one.png")
    coffee.crop((100, 50, 260, 190)).save("photos/two.jpg")
    if page.stem == "region":
        coffee.resize((1200, 800)).save("huge.png")
    if page.stem == "train-on-aec":
        for path in Path("photos").iterdir():
            Path("archive", f"{path.stem}.aec").write_bytes(aecodec.encode(Image.open(path)))
    found = re.findall(r"^```(sh|python)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    names = {"__name__": page.stem}
    for language, code in found:
        if language == "python":
            exec(compile(code, page.name, "exec"), names)
        else:
            for line in code.splitlines():
                result = CliRunner().invoke(main, shlex.split(line)[1:])
                assert result.exit_code == 0, (line, result.output)


def test_the_api_page_is_complete() -> None:
    """Every public name of the package, and every public method of Codec and function of metrics."""
    text = (DOCS / "api.md").read_text()
    names = [
        *aecodec.__all__,
        *(name for name, value in vars(aecodec.Codec).items() if callable(value) or name == "load"),
    ]
    names += [
        name for name, value in vars(aecodec.metrics).items() if getattr(value, "__module__", "") == "aecodec.metrics"
    ]
    missing = [name for name in names if not name.startswith("_") and name not in text]
    assert missing == []
