"""The page of aecodec show, in a real browser."""

from __future__ import annotations

import os
import subprocess
import sys
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser
from support import DATA

import aecodec

pytestmark = [pytest.mark.xdist_group("web"), pytest.mark.slow]


def show(folder: Path, *files: Path, code: int = 0, browser: str = "") -> tuple[str, str]:
    """The URL that a browser is given, or "", and what the command says; its pages are in a folder of their own."""
    named = folder / "browser"
    named.write_text(f'#!/bin/sh\nprintf %s "$1" > {folder}/opened\n')
    named.chmod(0o755)
    (folder / "pages").mkdir(exist_ok=True)
    variables = os.environ | {
        "BROWSER": browser or f"{named} %s",
        "TMPDIR": str(folder / "pages"),
        "DISPLAY": "",
        "WAYLAND_DISPLAY": "",
    }
    command = [sys.executable, "-P", "-m", "aecodec.cli", "show", *files]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
    assert done.returncode == code, done.stderr
    opened = folder / "opened"
    return opened.read_text() if opened.exists() else "", done.stderr


def test_page_shows_what_is_decoded(tmp_path: Path, browser: Browser, coffee: Image.Image) -> None:
    picture = coffee.crop((200, 100, 300, 160))
    names = ["<img src=x onerror=alert(1)>&.aec", "b.png", "damaged.aec"]
    (tmp_path / names[0]).write_bytes(aecodec.encode(picture, near_lossless=0))
    picture.save(tmp_path / names[1])
    (tmp_path / names[2]).write_bytes((DATA / "golden" / "gray.aec").read_bytes()[:-1])
    old = tmp_path / "pages" / "aecodec-show-old.html"
    old.parent.mkdir()
    old.touch()
    os.utime(old, (0, 0))
    url, told = show(tmp_path, *(tmp_path / name for name in names), code=1)
    assert "1 of 3" in told
    assert not old.exists()
    (page_file,) = (tmp_path / "pages").iterdir()
    assert url == page_file.as_uri()
    assert page_file.stat().st_mode & 0o77 == 0
    with browser.new_context(viewport={"width": 360, "height": 640}) as context:
        page = context.new_page()
        lines: list[str] = []
        page.on("console", lambda message: lines.append(message.text))
        page.on("dialog", lambda dialog: lines.append(dialog.message))
        page.goto(url)
        assert page.locator("h2").all_inner_texts() == [str(tmp_path / name) for name in names[:2]]
        for source in page.locator("img").evaluate_all("(all) => all.map((image) => image.src)"):
            with Image.open(BytesIO(b64decode(source.removeprefix("data:image/png;base64,")))) as image:
                assert np.array_equal(np.asarray(image), np.asarray(picture))
        assert page.locator("img").evaluate_all("(all) => all.map((image) => image.naturalWidth)") == [100, 100]
        assert "100 x 60 pixels" in page.locator("table").first.inner_text()
        assert "lossless" in page.locator("table").first.inner_text()
        page.locator("input").first.focus()
        for width in (100, 200, 400):
            page.keyboard.press("ArrowRight")
            assert page.locator("img").first.bounding_box()["width"] == width
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert lines == []


def test_large_picture_is_reduced_on_the_page(tmp_path: Path, browser: Browser) -> None:
    Image.new("L", (9000, 3), 77).save(tmp_path / "wide.png")
    url, _ = show(tmp_path, tmp_path / "wide.png")
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(url)
        assert page.locator("img").evaluate("(image) => image.naturalWidth") == 4096
        assert "9000 x 3 pixels" in page.locator("table").inner_text()


def test_browser_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    Image.new("L", (9, 3), 77).save(tmp_path / "a.png")
    _, told = show(tmp_path, tmp_path / "a.png", code=1, browser="/none/such/program")
    assert "no browser opens" in told
