"""bench web: a real browser decodes real files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench_support import ROOT, bench
from PIL import Image
from support import DATA
from web.conftest import BROWSERS, dist, needed  # noqa: F401 - a fixture

from bench import results, web
from bench.results import Run, Speed


@pytest.mark.xdist_group("web")
@pytest.mark.slow
def test_web_measures_a_tiny_picture(dist: Path, tmp_path: Path) -> None:  # noqa: F811
    """In a process of its own: Playwright runs once in each."""
    needed(*BROWSERS)
    Image.open(DATA / "coffee.png").convert("RGB").crop((0, 0, 96, 64)).save(tmp_path / "a.png")
    arguments = ["web", str(tmp_path / "a.png"), "--sizes", "96x64", "--runs", "1", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "bench", *arguments]
    result = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    run, *speeds = results.read(tmp_path / "web.jsonl")
    assert isinstance(run, Run)
    assert list(run.images) == ["a.png"]
    assert {(s.codec, s.threads) for s in speeds if isinstance(s, Speed)} == {(r.name, r.threads) for r in web.rows()}
    for s in speeds:
        assert isinstance(s, Speed)
        assert (s.width, s.height, s.direction, s.runs) == (96, 64, "decode", 1)
        assert s.size_bytes > 0
        assert 0 < s.fastest <= s.seconds <= s.slowest
    table = bench("web-table", tmp_path / "web.jsonl").output.splitlines()
    assert len(table) == 2 + len(web.rows())
    assert table[0] == "| decoder | threads | 96x64 | of cores | MP/s of a core |"
    assert result.stdout.splitlines() == table


def test_error_while_the_site_is_served_ends_the_program(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from bench_support import ROOT
from bench import web
web.DIST = Path(sys.argv[1])
with web._site(Path(sys.argv[2])):
    raise ValueError("a browser that died")
"""
    (tmp_path / "dist").mkdir()
    command = [sys.executable, "-P", "-c", code, tmp_path / "dist", tmp_path]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr.splitlines()[-1] == "ValueError: a browser that died"


def test_web_tells_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "sizes must be WIDTHxHEIGHT, with commas, got 3" in bench("web", "--sizes", "3").output
    monkeypatch.setattr(web, "DIST", tmp_path)
    monkeypatch.setattr(web, "BROWSERS", ("cat",))
    assert f"{tmp_path} is not built: make web" in bench("web").output
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "needs a browser: cat (Debian: chromium-headless-shell)" in bench("web").output
