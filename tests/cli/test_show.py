"""aecodec show in terminals, as they read what it writes. Its page is in web/test_show.py."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image
from support import DATA

import aecodec
from aecodec.cli import show
from aecodec.cli.app import main

TINY = ["--weights", DATA / "tiny.safetensors"]


def run(*arguments: object, columns: int = 80, lines: int = 24, **environment: str) -> Result:
    return CliRunner().invoke(
        main,
        ["show", *map(str, arguments)],
        env={"COLUMNS": str(columns), "LINES": str(lines), **environment},
    )


def cells(text: str) -> NDArray[np.uint8]:
    """The pixels that a terminal shows of half blocks, where it says black for its own background."""
    rows = []
    for line in text.splitlines():
        upper, lower = [], []
        colors = ((0, 0, 0), (0, 0, 0))
        for codes, characters in re.findall(r"(?:\x1b\[([\d;]*)m)?(▀*)", line):
            numbers = [int(number) for number in codes.split(";") if number]
            if numbers[:2] == [38, 2]:
                assert numbers[5:7] in ([48, 2], [49])
                colors = tuple(numbers[2:5]), tuple(numbers[7:]) or (0, 0, 0)
            upper += [colors[0]] * len(characters)
            lower += [colors[1]] * len(characters)
        assert line.endswith("\x1b[0m")
        rows += [upper, lower]
    return np.array(rows, np.uint8)


def sixels(text: str) -> NDArray[np.uint8]:
    """The pixels that a terminal shows of sixels; their colors are percents."""
    found = re.fullmatch(r'\x1bP[\d;]*q"1;1;(\d+);(\d+)(.*)\x1b\\', text, re.S)
    assert found
    width, height = int(found[1]), int(found[2])
    pixels, colors = np.zeros((height + 6, width, 3), np.uint8), {}
    x = y = color = 0
    for number, red, green, blue, count, sixel, end in re.findall(
        r"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|(?:!(\d+))?([?-~])|([$-])", found[3]
    ):
        if red:
            colors[int(number)] = [round(2.55 * int(value)) for value in (red, green, blue)]
        elif number:
            color = int(number)
        elif sixel:
            for bit in range(6):
                if (ord(sixel) - 63) >> bit & 1:
                    pixels[y + bit, x : x + int(count or 1)] = colors[color]
            x += int(count or 1)
        else:
            x, y = 0, y + 6 * (end == "-")
    return pixels[:height]


def test_blocks_have_the_colors_of_the_picture(tmp_path: Path, coffee: Image.Image) -> None:
    picture = coffee.crop((200, 100, 230, 115))  # an odd height: the last line has upper halves alone
    (tmp_path / "a.aec").write_bytes(aecodec.encode(picture, near_lossless=0))
    picture.save(tmp_path / "b.png")
    result = run("--terminal", tmp_path / "a.aec", tmp_path / "b.png")
    assert result.exit_code == 0, result.output
    parts = re.split(
        r"^.*/[ab]\.(?:aec|png): 30 x 15 pixels, \d+ bytes, [\d.]+ bits per pixel\n", result.output, flags=re.M
    )
    assert parts[0] == ""
    assert len(parts) == 3
    for part in parts[1:]:
        shown = cells(part)
        assert np.array_equal(shown[:15], np.asarray(picture))
        assert not shown[15].any()


def test_picture_fits_the_terminal_and_is_decoded_reduced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scales = []
    decode = aecodec.Codec.decode
    monkeypatch.setattr(
        aecodec.Codec, "decode", lambda *some, **named: scales.append(named["scale"]) or decode(*some, **named)
    )
    result = run("--terminal", DATA / "golden" / "tiles.aec", *TINY, columns=20, lines=30)
    assert result.exit_code == 0, result.output
    assert cells(result.output.partition("\n")[2]).shape == (14, 20, 3)  # 200 x 130
    assert scales == [1 / 4]
    with Image.open(DATA / "golden" / "tiles.png") as image:
        image.thumbnail((20, 56))
        difference = cells(result.output.partition("\n")[2])[:13].astype(int) - np.asarray(image.convert("RGB"))
    assert np.abs(difference).mean() < 4


def test_terminal_that_shows_no_browser_is_taken_without_a_display(photo: Path) -> None:
    result = run(photo, DISPLAY="", WAYLAND_DISPLAY="", BROWSER="")
    assert result.exit_code == 0, result.output
    assert "▀" in result.output


@pytest.fixture
def photo(tmp_path: Path, coffee: Image.Image) -> Path:
    path = tmp_path / "photo.png"
    coffee.crop((100, 100, 160, 140)).save(path)
    return path


def in_terminal(photo: Path, **environment: str) -> str:
    """What a terminal gets whose environment names it."""
    names = ("TMUX", "TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID")
    variables = {key: value for key, value in os.environ.items() if key not in names}
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "aecodec.cli", "show", "--terminal", photo],
        stdout=theirs,
        env=variables | environment,
    ) as process:
        os.close(theirs)
        found = b""
        try:
            while part := os.read(ours, 65536):
                found += part
        except OSError:  # Linux: the other end is closed
            pass
        os.close(ours)
    assert process.returncode == 0
    return found.decode().partition("\r\n")[2].removesuffix("\r\n")


def test_graphics_of_a_terminal_by_its_name(photo: Path) -> None:
    with Image.open(photo) as image:
        expected = np.asarray(image)
    commands = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", in_terminal(photo, TERM="xterm-kitty"))
    assert commands[0][0] == "f=100,a=T,q=2,c=6,m=1"
    assert [keys for keys, _ in commands[1:]] == ["m=1"] * (len(commands) - 2) + ["m=0"]
    assert all(len(data) <= 4096 for _, data in commands)
    with Image.open(BytesIO(b64decode("".join(data for _, data in commands)))) as image:
        assert np.array_equal(np.asarray(image), expected)
    found = re.fullmatch(
        r"\x1b\]1337;File=inline=1;size=(\d+);width=6;preserveAspectRatio=1:(.*)\x07",
        in_terminal(photo, TERM="xterm-256color", TERM_PROGRAM="iTerm.app"),
    )
    assert found
    data = b64decode(found[2])
    assert len(data) == int(found[1])
    with Image.open(BytesIO(data)) as image:
        assert np.array_equal(np.asarray(image), expected)
    difference = sixels(in_terminal(photo, TERM="foot")).astype(int) - expected
    assert difference.shape == expected.shape
    assert np.abs(difference).mean() < 6
    assert "▀" in in_terminal(photo, TERM="xterm-kitty", TMUX="/tmp/tmux")
    assert "▀" in in_terminal(photo, TERM="xterm-256color")


def test_transparency_is_on_white_and_gray_is_gray() -> None:
    clear = Image.new("LA", (2, 2), (0, 0))
    for pixels in (cells(show.blocks(clear)), sixels(show.sixel(clear))):
        assert (pixels == 255).all()
    assert (cells(show.blocks(Image.new("L", (2, 2), 99))) == 99).all()


def test_bad_files_stop_no_others(tmp_path: Path, photo: Path) -> None:
    hostile = tmp_path / "\x1b]0;title\x07.aec"
    hostile.write_bytes((DATA / "golden" / "gray.aec").read_bytes()[:-1])
    result = run("--terminal", hostile, tmp_path / "none.png", photo)
    assert result.exit_code == 1
    assert "▀" in result.output
    assert "\x1b]" not in result.output
    assert "2 of 3" in result.stderr
    assert "none.png" in result.stderr
    result = run("--terminal", hostile, *TINY)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "section 0x01 needs" in result.stderr


def test_closed_output_and_a_reader_that_leaves_end_without_a_traceback(photo: Path) -> None:
    command = f"{sys.executable} -P -m aecodec.cli show --terminal {photo}"
    for shell in (f"{command} >&-", f"{command} | head -c 9"):
        done = subprocess.run(shell, shell=True, capture_output=True, text=True, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_pixel_limit_holds(photo: Path) -> None:
    result = run("--terminal", photo, "--max-pixels", 100)
    assert result.exit_code == 1
    assert "100" in result.stderr
