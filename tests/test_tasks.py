"""The pages of docs/tasks, docs/api.md and docs/training.md do what they say, on any pictures: their blocks run."""

from __future__ import annotations

import http.client
import io
import queue
import re
import shlex
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import aecodec
from aecodec.cli.app import main

DOCS = Path(__file__).parent.parent / "docs"
PAGES = [DOCS / "api.md", DOCS / "training.md", *sorted((DOCS / "tasks").glob("*.md"))]
LONG = ("archive", "fine-tune")  # start processes, or train


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, code) of every block; no language: commands that take hours or several machines."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def write_photos(kind: str, coffee: Image.Image) -> None:
    """photos/one.png and others, such as readers have them; kind "one": this one alone."""
    for name in ("photos", "archive"):
        Path(name).mkdir()
    if kind == "one":
        coffee.crop((200, 100, 247, 133)).convert("L").save("photos/one.png")
        return
    shown = coffee.crop((100, 50, 271, 139))
    shown.putalpha(Image.linear_gradient("L").resize(shown.size))
    shown.save("photos/one.png")
    coffee.crop((100, 50, 260, 190)).save("photos/two.jpg")
    coffee.crop((200, 100, 247, 133)).quantize(16).save("photos/three.png")
    coffee.crop((0, 0, 300, 1)).save("photos/line.png")


PLACES = [
    pytest.param(page, kind, id=f"{page.stem}-{kind}", marks=[pytest.mark.slow] if page.stem in LONG else [])
    for page in PAGES
    for kind in ("several", "one")
]


@pytest.mark.parametrize(("page", "kind"), PLACES)
def test_page_runs_on_any_pictures(
    page: Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coffee: Image.Image
) -> None:
    monkeypatch.chdir(tmp_path)
    write_photos(kind, coffee)
    if page.stem == "region":
        coffee.resize((601, 401) if kind == "one" else (1201, 300)).save("huge.png")
    if page.stem == "train-on-aec":
        for path in Path("photos").iterdir():
            Path("archive", f"{path.stem}.aec").write_bytes(aecodec.encode(Image.open(path)))
    found = blocks(page)
    assert found
    names = {"__name__": page.stem}
    for language, code in found:
        if language == "python":
            exec(compile(code, page.name, "exec"), names)
            continue
        for line in code.splitlines():
            program, *arguments = shlex.split(line, comments=True)
            if language == "sh":
                result = CliRunner().invoke(main, arguments)
                assert result.exit_code == 0, (line, result.output)
            elif program == "aecodec":
                command: click.Command = main
                while isinstance(command, click.Group):
                    command = command.commands[arguments.pop(0)]
                known = {option for parameter in command.params for option in parameter.opts}
                assert {argument for argument in arguments if argument.startswith("-")} <= known, line


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


class Service:
    """The server of docs/tasks/service.md on a free port, with a small model and short waits."""

    def __init__(self, folder: Path, codec: Any) -> None:
        self.code: dict[str, Any] = {"__name__": "service"}
        exec(compile(blocks(DOCS / "tasks" / "service.md")[0][1], "service.md", "exec"), self.code)
        self.code["SECONDS"] = self.code["Handler"].timeout = 1.0
        self.folder = folder
        self.server = self.code["Server"](("127.0.0.1", 0), folder, codec)
        self.log: queue.Queue[BaseException | None] = queue.Queue()
        self.server.handle_error = lambda request, address: self.log.put(sys.exc_info()[1])
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=60)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return response.status, dict(response.headers), response.read()
        finally:
            connection.close()

    def begin_upload(self, length: int) -> socket.socket:
        """A connection on which the first 10 of so many bytes were sent."""
        client = socket.create_connection(("127.0.0.1", self.server.server_port), timeout=60)
        client.sendall(b"POST /pictures HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % length + bytes(10))
        return client

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def service(tmp_path: Path, tiny: aecodec.Codec) -> Iterator[Service]:
    service = Service(tmp_path / "store", tiny)
    yield service
    service.close()


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_service_gives_each_client_what_it_likes_best(
    service: Service, tiny: aecodec.Codec, coffee: Image.Image
) -> None:
    photo = coffee.crop((0, 0, 150, 90))
    status, headers, _ = service.ask("POST", "/pictures", png(photo))
    assert status == 201
    place = headers["Location"]
    stored = service.ask("GET", place, Accept="image/x-aecodec")[2]
    assert stored == tiny.encode(photo, quality=75, strip=True)
    assert np.array_equal(*(np.asarray(image) for image in (
        tiny.decode(stored), Image.open(io.BytesIO(service.ask("GET", place, Accept="image/png")[2]))
    )))  # fmt: skip
    browser = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
    assert service.ask("GET", place, Accept=browser)[1]["Content-Type"] == "image/webp"
    status, headers, body = service.ask("GET", place)
    assert (status, headers["Content-Type"], headers["Vary"]) == (200, "image/jpeg", "Accept")
    assert "immutable" in headers["Cache-Control"]
    assert Image.open(io.BytesIO(body)).size == (150, 90)
    body = service.ask("GET", f"{place}?scale=1/2", Accept="image/x-aecodec, image/png;q=0.5")[2]
    assert Image.open(io.BytesIO(body)).size == (75, 45)  # a reduced .aec there is not
    photo.putalpha(100)
    place = service.ask("POST", "/pictures", png(photo))[1]["Location"]
    assert service.ask("GET", place)[1]["Content-Type"] == "image/png"
    assert Image.open(io.BytesIO(service.ask("GET", place, Accept="image/jpeg")[2])).mode == "RGB"


def test_service_refuses_what_exceeds_its_limits(service: Service, coffee: Image.Image) -> None:
    picture = png(coffee.crop((0, 0, 40, 40)))
    place = service.ask("POST", "/pictures", picture)[1]["Location"]
    service.code["MAX_BODY"], service.code["MAX_PIXELS"] = len(picture), 40 * 40
    large = png(Image.new("L", (40, 41)))
    cases = [
        (415, service.ask("POST", "/pictures", b"no picture")),
        (422, service.ask("POST", "/pictures", large)),
        (422, service.ask("POST", "/pictures", picture[:-100])),
        (413, service.ask("POST", "/pictures", picture + b" ")),
        (413, service.ask("POST", "/pictures", b"", Content_Length="999999999999")),
        (411, service.ask("POST", "/pictures", Content_Length="many")),
        (411, service.ask("POST", "/pictures", Content_Length="-1")),
        (404, service.ask("POST", "/elsewhere", picture)),
        (404, service.ask("GET", "/pictures/../../etc/passwd")),
        (404, service.ask("GET", f"/pictures/{64 * '0'}")),
        (400, service.ask("GET", f"{place}?scale=1/3")),
        (400, service.ask("GET", f"{place}?quality=3")),
        (400, service.ask("GET", f"{place}?region=30,30,11,1")),
        (400, service.ask("GET", f"{place}?region=1,1,1")),
        (406, service.ask("GET", place, Accept="text/html")),
        (406, service.ask("GET", place, Accept="image/*;q=0, text/html;q=much")),
        (406, service.ask("GET", f"{place}?scale=1/2", Accept="image/x-aecodec")),
        (200, service.ask("GET", place)),
    ]
    assert [(status, body) for status, (got, _, body) in cases if got != status] == []
    service.code["MAX_PIXELS"] = 40 * 39
    assert service.ask("GET", place)[0] == 500
    assert isinstance(service.log.get(timeout=60), aecodec.FormatError)
    service.code["MAX_PIXELS"] = 40 * 40
    path = service.folder / place.rsplit("/", 1)[1]
    path.write_bytes(path.read_bytes()[:-1])
    assert service.ask("GET", place, Accept="image/png")[0] == 500
    assert isinstance(service.log.get(timeout=60), aecodec.TruncatedError)


def test_service_outlives_clients_that_stop_in_the_middle(service: Service, coffee: Image.Image) -> None:
    with service.begin_upload(100) as silent, service.begin_upload(100) as short:
        short.shutdown(socket.SHUT_WR)
        assert b" 400 " in short.makefile("rb").readline()
        assert silent.recv(1) == b""  # closed after its second
    service.begin_upload(10_000).close()
    assert service.ask("POST", "/pictures", png(coffee.crop((0, 0, 20, 20))))[0] == 201


def test_service_bounds_the_pictures_in_work(tmp_path: Path, coffee: Image.Image) -> None:
    """Of six requests at once two are in work, and never more; where there is no place for long, 503."""

    class Busy:
        working = most = 0
        lock, pairs = threading.Lock(), threading.Barrier(2)

        def encode(self, image: Image.Image, **_: object) -> bytes:
            with self.lock:
                self.working += 1
                self.most = max(self.most, self.working)
            self.pairs.wait(60)
            with self.lock:
                self.working -= 1
            return png(image)

    codec = Busy()
    service = Service(tmp_path, codec)
    try:
        service.code["SECONDS"] = 60
        service.server.turns = threading.BoundedSemaphore(2)
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: service.ask("POST", "/pictures", png(coffee.resize((9, 9)))), range(6)))
        assert [status for status, _, _ in answers] == 6 * [201]
        assert codec.most == 2
        service.code["SECONDS"] = 0.01
        with service.server.turn(), service.server.turn():
            assert service.ask("POST", "/pictures", png(coffee.resize((9, 9))))[0] == 503
    finally:
        service.close()


def test_service_answers_head_as_get_without_the_body(service: Service, coffee: Image.Image) -> None:
    place = service.ask("POST", "/pictures", png(coffee.crop((0, 0, 40, 40))))[1]["Location"]
    for path in (place, f"{place}?scale=1/2", f"{place}?scale=1/3", "/elsewhere"):
        with socket.create_connection(("127.0.0.1", service.server.server_port), timeout=60) as client:
            client.sendall(f"HEAD {path} HTTP/1.0\r\n\r\n".encode())
            head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
        status, headers, shown = service.ask("GET", path)
        assert body == b""
        assert head.startswith(f"HTTP/1.0 {status} ".encode())
        assert shown
        for name in ("Content-Length", "Content-Type"):
            assert f"{name}: {headers[name]}".encode() in head


@pytest.mark.parametrize(
    ("accept", "opaque", "clear"),
    [
        ("*/*", "jpeg", "png"),
        ("image/jpeg;q=0, */*", "png", "png"),
        ("image/jpeg;q=0, image/png;q=0, */*", "webp", "webp"),
        ("*/*, image/png;q=0", "jpeg", "webp"),
        ("image/*;q=0, */*", None, None),
        ("image/*;q=0, */*, image/webp;q=0.001", "webp", "webp"),
        ("image/png;q=0.2, */*;q=0.1", "png", "png"),
        ("image/png;q=0.1, */*;q=0.2", "jpeg", "webp"),
        ("image/webp;q=1.000, image/jpeg", "webp", "webp"),
        ("image/webp;q=1.5, text/html", None, None),
        ("image/avif", None, None),
        ("image/x-aecodec;q=0.5, image/*;q=0.4", "x-aecodec", "x-aecodec"),
        ("image/x-aecodec;q=0, */*", "jpeg", "png"),
    ],
)
def test_service_weighs_what_is_accepted(accept: str, opaque: str | None, clear: str | None) -> None:
    code: dict[str, Any] = {"__name__": "service"}
    exec(compile(blocks(DOCS / "tasks" / "service.md")[0][1], "service.md", "exec"), code)
    for mode, kind in (("RGB", opaque), ("LA", clear)):
        assert code["pick_type"](accept, mode, whole=True) == (kind and f"image/{kind}")
