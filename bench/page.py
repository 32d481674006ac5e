"""The page to try the codec as a picture."""

from __future__ import annotations

import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

from PIL import Image

from bench.demo import jpeg_of_size

_BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_WIDTH, _HEIGHT = 1000, 860  # of the window
_BYTES = 150_000  # of the picture, at most
_QUALITY = 35  # of the file, where a JPEG of its size has visible errors
_PATIENCE = 120_000  # milliseconds


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


def draw(folder: Path, source: Path, target: Path) -> None:
    """What a browser shows of the page in a folder that compares the picture of a file, as a JPEG file."""
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT}, color_scheme="light")
            page.goto(f"http://localhost:{server.server_port}/demo.html")
            page.locator("#files").set_input_files(source)
            page.locator("#quality").fill(str(_QUALITY), timeout=_PATIENCE)
            page.locator("#facts tr", has_text=f".aec, quality {_QUALITY}").wait_for(timeout=_PATIENCE)
            page.locator("#compare[aria-busy=false]").wait_for()
            page.get_by_label("200 %").check()
            page.locator("#wipe").fill("45")
            shot = Image.open(BytesIO(page.screenshot(full_page=True))).convert("RGB")
            browser.close()
        server.shutdown()
    target.write_bytes(jpeg_of_size(shot, _BYTES))
