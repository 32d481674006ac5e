"""The site that docs/tasks/web.md makes, as visitors see it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image
from playwright.sync_api import Browser
from web.conftest import WEB, Site

import aecodec
from aecodec.cli.app import main

pytestmark = [pytest.mark.xdist_group("web"), pytest.mark.slow]


def test_site_shows_its_pictures_with_scripts_and_without(
    site: Site, browser: Browser, coffee: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(site.folder)
    Path("photos/more, and more").mkdir(parents=True)
    coffee.crop((200, 100, 300, 160)).save("photos/one.png")
    coffee.crop((300, 100, 380, 160)).save("photos/more, and more/a #1 & b.jpg")
    Path("site").mkdir()
    for file in site.folder.glob("*.*"):
        if file.is_symlink():
            Path("site", file.name).symlink_to(file)  # cp web/dist/* site/
    text = (WEB.parent / "docs" / "tasks" / "web.md").read_text()
    for language, code in re.findall(r"^```(sh|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if language == "python":
            exec(compile(code, "web.md", "exec"), {})
            continue
        for line in code.splitlines():
            result = CliRunner().invoke(main, shlex.split(line)[1:])
            assert result.exit_code == 0, (line, result.output)
    assert aecodec.read_header(Path("site/one.png.aec").read_bytes()).width == 100
    for scripts in (True, False):
        with browser.new_context(java_script_enabled=scripts, service_workers="block") as context:
            page = context.new_page()
            page.goto(f"{site.url}/site/index.html")
            images = page.locator("img")
            assert images.count() == 2
            for i, width in enumerate((80, 100)):
                images.nth(i).scroll_into_view_if_needed()
                if scripts:
                    page.wait_for_function(
                        "([i, width]) => { const { complete, currentSrc, naturalWidth } = document.images[i];"
                        " return complete && currentSrc.startsWith('blob:') && naturalWidth === width; }",
                        arg=[i, width],
                    )
                else:
                    assert (
                        images.nth(i)
                        .evaluate("(image) => image.decode().then(() => image.currentSrc)")
                        .endswith(".jpg")
                    )
                assert images.nth(i).bounding_box()["width"] == width
    assert {"/site/one.png.aec", "/site/one.png.jpg"} <= set(site.requests)
