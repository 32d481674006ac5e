"""bench fetch: from a server that is good, slow to finish, wrong, or not there."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from bench_support import ROOT, bench

from bench import compare, fetch

NAMES = [f"kodim{number:02}.png" for number in range(1, 25)]
FILES = {name: hashlib.sha256(name.encode()).digest() * 3000 for name in NAMES}  # about 100 kB each


class Server(ThreadingHTTPServer):
    """Serves FILES with ranges; what it does wrong is set per test."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.truncate: dict[str, int] = {}  # name: bytes after which the connection ends, once
        self.wrong: dict[str, int] = {}  # name: how many times other bytes come
        self.missing: set[str] = set()
        self.asked: list[tuple[str, str | None]] = []  # name, range
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.strip("/")
        wanted = self.headers["Range"]
        self.server.asked.append((name, wanted))
        if name in self.server.missing:
            self.send_error(404)
            return
        body = FILES[name]
        if self.server.wrong.get(name, 0) > 0:
            self.server.wrong[name] -= 1
            body = body[::-1]
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : self.server.truncate.pop(name, len(body))])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    sums = {name: hashlib.sha256(body).hexdigest() for name, body in FILES.items()}
    monkeypatch.setattr(fetch, "kodak_sums", lambda: sums)
    monkeypatch.setattr(fetch.time, "sleep", lambda _: None)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_all_pictures_arrive_once(server: Server, tmp_path: Path) -> None:
    result = bench("fetch", "kodak", "--to", tmp_path, "--url", server.url)
    assert result.exit_code == 0, result.output
    assert f"rd --images {tmp_path}" in result.output
    assert content(tmp_path) == FILES
    assert [name for name, _ in server.asked] == NAMES
    (tmp_path / "kodim05.png").write_bytes(b"damaged")
    assert bench("fetch", "kodak", "--to", tmp_path, "--url", server.url).exit_code == 0
    assert content(tmp_path) == FILES
    assert [name for name, _ in server.asked[24:]] == ["kodim05.png"]


def test_the_cache_is_the_users(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert bench("fetch", "kodak", "--url", server.url).exit_code == 0
    assert content(tmp_path / "aecodec" / "kodak") == FILES


def test_a_truncated_file_is_continued(server: Server, tmp_path: Path) -> None:
    server.truncate["kodim03.png"] = 70_000
    assert bench("fetch", "kodak", "--to", tmp_path, "--url", server.url).exit_code == 0
    assert content(tmp_path) == FILES
    assert ("kodim03.png", "bytes=70000-") in server.asked


def test_an_interrupted_fetch_is_continued(server: Server, tmp_path: Path) -> None:
    (tmp_path / "kodim01.png.part").write_bytes(FILES["kodim01.png"][:1234])
    assert bench("fetch", "kodak", "--to", tmp_path, "--url", server.url).exit_code == 0
    assert content(tmp_path) == FILES
    assert server.asked[0] == ("kodim01.png", "bytes=1234-")


def test_a_partial_file_that_is_too_long_starts_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "kodim01.png.part").write_bytes(b"x" * 200_000)
    assert bench("fetch", "kodak", "--to", tmp_path, "--url", server.url).exit_code == 0
    assert content(tmp_path) == FILES


def test_a_wrong_file_is_asked_for_again(server: Server, tmp_path: Path) -> None:
    server.wrong["kodim02.png"] = 2
    assert bench("fetch", "kodak", "--to", tmp_path, "--url", server.url).exit_code == 0
    assert content(tmp_path) == FILES


def test_a_file_that_stays_wrong_is_never_kept(server: Server, tmp_path: Path) -> None:
    server.wrong["kodim02.png"] = 99
    result = bench("fetch", "kodak", "--to", tmp_path, "--url", server.url)
    assert result.exit_code == 1
    assert "kodim02.png: the file is not the picture (its SHA-256 differs)" in result.output
    assert content(tmp_path) == {"kodim01.png": FILES["kodim01.png"]}
    assert len(server.asked) == 1 + 3


def test_a_missing_file_is_named(server: Server, tmp_path: Path) -> None:
    server.missing.add("kodim24.png")
    result = bench("fetch", "kodak", "--to", tmp_path, "--url", server.url)
    assert result.exit_code == 1
    assert "kodim24.png: the server says 404" in result.output
    assert len(content(tmp_path)) == 23


def test_without_a_network_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch.time, "sleep", lambda _: None)
    result = bench("fetch", "kodak", "--to", tmp_path, "--url", "http://127.0.0.1:9")  # nobody listens there
    assert result.exit_code == 1
    assert "no connection" in result.output
    assert "copy kodim01.png .. kodim24.png" in result.output
    assert "python -m bench rd --images FOLDER" in result.output


def test_the_sums_are_of_the_24_pictures() -> None:
    sums = compare.kodak_sums()
    assert list(sums) == NAMES
    assert len(set(sums.values())) == 24
    folder = ROOT.parent / "shared" / "data" / "kodak"
    if folder.exists():  # where the project keeps its pictures
        assert {name: fetch.sha256(folder / name) for name in NAMES} == sums
