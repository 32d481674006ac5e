from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from native.building import Driver, Result, build


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What has to build the library first is slow, as a whole."""
    for item in items:
        if {"driver", "installed"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    """Runs tests/native/driver.cpp under sanitizers: driver(command, argument...) is what it says, a line each."""
    folder = tmp_path_factory.mktemp("driver")
    build(
        folder,
        "driver",
        "-DAECODEC_TESTS=ON",
        "-DAECODEC_SANITIZE=ON",
        "-DCMAKE_BUILD_TYPE=None",
        "-DAECODEC_PLAIN=ON",
    )

    def run(*arguments: object) -> list[Result]:
        command = [str(folder / "tests" / "native" / "driver"), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        lines = done.stdout.decode(errors="replace").splitlines()
        return [Result(int(status), text) for status, text in (line.split("\t", 1) for line in lines)]

    return run


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The prefix under which the library is installed."""
    folder = tmp_path_factory.mktemp("library")
    prefix = folder / "prefix"
    found = (
        shutil.which("pkg-config")
        and not subprocess.run(["pkg-config", "--exists", "gdk-pixbuf-2.0"], check=False).returncode
    )
    loader = ["-DAECODEC_GDK_PIXBUF=ON", "-DCMAKE_C_FLAGS=-Werror"] if found else []
    build(folder / "build", "all", f"-DCMAKE_INSTALL_PREFIX={prefix}", *loader)
    subprocess.run(["cmake", "--install", str(folder / "build")], check=True, capture_output=True)
    yield prefix
    shutil.rmtree(folder / "build")
