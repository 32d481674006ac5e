"""What make web builds, as pages and Node get it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, sync_playwright
from support import DATA

WEB = Path(__file__).parent.parent.parent / "web"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def needed(*programs: str) -> str:
    """The first of some programs. Skips where there is none; CI has them."""
    found = next(filter(None, map(shutil.which, programs)), None)
    if found is None:
        message = f"needs {programs[0]} (Debian: emscripten, nodejs, chromium-headless-shell)"
        pytest.fail(message) if "CI" in os.environ else pytest.skip(message)
    return found


@pytest.fixture(scope="session")
def dist() -> Path:
    needed("em++")
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run([WEB / "build.sh"], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stderr
    return WEB / "dist"


@pytest.fixture(scope="session")
def node() -> str:
    return needed("node", "nodejs")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = needed(*BROWSERS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


class Site(NamedTuple):
    """A folder of files on localhost, what was asked for, and what pages have told."""

    folder: Path
    url: str
    requests: list[str]
    server: ThreadingHTTPServer
    told: SimpleQueue[bytes]


class Handler(SimpleHTTPRequestHandler):
    """Files that may be kept for an hour, and read from anywhere."""

    requests: list[str]
    told: SimpleQueue[bytes]

    def do_POST(self) -> None:
        self.told.put(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "max-age=3600")
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()

    def log_request(self, *_: object) -> None:
        self.requests.append(self.path)

    def log_message(self, *_: object) -> None:
        """Nothing: a browser may hang up."""


@pytest.fixture
def site(dist: Path, tmp_path: Path) -> Iterator[Site]:
    """The built package, tests/data as data/, and room for pages."""
    (tmp_path / "data").symlink_to(DATA)
    for file in dist.iterdir():
        (tmp_path / file.name).symlink_to(file)
    requests: list[str] = []
    told: SimpleQueue[bytes] = SimpleQueue()
    handler = type("SiteHandler", (Handler,), {"requests": requests, "told": told})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield Site(tmp_path, f"http://localhost:{server.server_port}", requests, server, told)
        server.shutdown()
        thread.join()
