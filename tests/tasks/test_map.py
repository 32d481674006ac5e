"""map: the page in a real browser, without a network, and the picture."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import aecodec
from aecodec import tasks
from aecodec.cli.app import main

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
COLORS = {"red & <b>bold": "#c01010", "green": "#10c010", "</script>": "#1010c0", "q?#%": "#c0c010"}
pytestmark = pytest.mark.xdist_group("map")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One plain picture of each color, the green one as .aec; a slash cannot be in a name."""
    folder = tmp_path_factory.mktemp("map") / "photos"
    folder.mkdir()
    for name, color in COLORS.items():
        image = Image.new("RGB", (200, 100), color)
        image.save(folder / f"{name.replace('/', '')}.{'aec' if name == 'green' else 'png'}")
    return folder


@pytest.fixture(scope="module")
def html(photos: Path) -> Path:
    target = photos.parent / "map.html"
    result = run("map", photos, "--html", target, "--png", photos.parent / "map.png", "--method", "pca")
    assert result.exit_code == 0, result.output
    return target


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        message = "no Chromium here: apt-get install chromium-headless-shell"
        pytest.fail(message) if "CI" in os.environ else pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, html: Path) -> Iterator[Page]:
    """The page; whatever it complains about or asks the network for fails the test."""
    with browser.new_context(viewport={"width": 900, "height": 700}, color_scheme="light") as context:
        page = context.new_page()
        page.on("console", lambda message: pytest.fail(message.text))
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or pytest.fail(request.url))
        page.goto(html.as_uri())
        page.wait_for_function("sheets.every(sheet => sheet.complete) && !planned")
        yield page


def middle(page: Page, name: str) -> tuple[float, float]:
    """Where the picture of that name is."""
    number = page.evaluate("name => points.findIndex(point => point[0].includes(name))", name)
    x, y, width, height = page.evaluate("number => box(number)", number)
    return x + width / 2, y + height / 2


def color_at(page: Page, x: float, y: float) -> tuple[int, ...]:
    page.wait_for_function("!planned")
    return Image.open(BytesIO(page.screenshot())).convert("RGB").getpixel((x, y))


def test_every_thumbnail_is_where_its_place_says(page: Page) -> None:
    for name, color in COLORS.items():
        wanted = [int(color[at : at + 2], 16) for at in (1, 3, 5)]
        shown = color_at(page, *middle(page, name.replace("/", "")))
        assert np.abs(np.subtract(shown, wanted)).max() < 12, name
    assert page.locator("#count").inner_text() == "4 pictures"
    assert page.locator("b").count() == 0  # names are text


def test_hovering_shows_name_and_thumbnail(page: Page) -> None:
    assert page.locator("#card").is_hidden()
    page.mouse.move(*middle(page, "red"))
    assert page.locator("#name").inner_text().endswith("red & <b>bold.png")
    assert page.locator("#large").evaluate("canvas => [canvas.width, canvas.height]") == [96, 48]
    page.mouse.move(450, 695)
    assert page.locator("#card").is_hidden()


@pytest.mark.parametrize("name", [name.replace("/", "") for name in COLORS])
def test_a_click_opens_the_picture_itself(page: Page, html: Path, name: str) -> None:
    page.evaluate("() => { window.open = (...words) => { window.opened = words } }")
    page.mouse.click(*middle(page, name))
    link, target, features = page.evaluate("window.opened")
    assert (target, features) == ("_blank", "noopener")
    file = page.evaluate("link => decodeURIComponent(new URL(link, location).pathname)", link)
    assert Path(file).stem == name
    assert Path(file).is_file()


def test_the_wheel_zooms_at_the_pointer_and_dragging_moves(page: Page) -> None:
    x, y = middle(page, "green")
    page.mouse.move(x, y)
    page.mouse.wheel(0, -400)
    page.wait_for_function("zoom > 2")
    assert middle(page, "green") == pytest.approx((x, y), abs=1)
    page.evaluate("() => { window.open = () => { window.opened = true } }")
    page.mouse.down()
    page.mouse.move(x + 50, y + 30, steps=3)
    page.mouse.up()
    assert middle(page, "green") == pytest.approx((x + 50, y + 30), abs=1)
    assert page.evaluate("window.opened === undefined")  # a drag is no click
    page.locator("#fit").click()
    assert middle(page, "green") == pytest.approx((x, y), abs=1)


def test_the_keyboard_reaches_every_picture(page: Page) -> None:
    page.locator("#map").focus()
    page.evaluate("() => { window.open = link => { window.opened = link } }")
    seen = set()
    for key in ["ArrowRight", *["ArrowUp", "ArrowLeft", "ArrowDown", "ArrowRight"] * 4]:
        page.keyboard.press(key)
        seen.add(page.locator("#name").inner_text())
    assert len(seen) >= 3  # from picture to picture
    page.keyboard.press("Enter")
    assert (
        Path(page.evaluate("decodeURIComponent(window.opened)")).name == Path(page.locator("#name").inner_text()).name
    )
    page.keyboard.press("+")
    assert page.evaluate("zoom") > 1
    page.keyboard.press("0")
    assert page.evaluate("zoom") == 1
    page.keyboard.press("Escape")
    assert page.locator("#card").is_hidden()


def test_the_picture_shows_every_thumbnail(html: Path) -> None:
    with Image.open(html.with_suffix(".png")) as image:
        assert image.size == (2048, 2048)
        seen = {tuple(np.round(np.array(color) / 64).astype(int)) for _, color in image.getcolors(1 << 22) or []}
    assert {tuple(round(int(color[at : at + 2], 16) / 64) for at in (1, 3, 5)) for color in COLORS.values()} <= seen


def test_the_page_of_five_thousand_is_one_small_file() -> None:
    rng = np.random.default_rng(0)
    thumbnail = Image.effect_mandelbrot((96, 64), (-2, -1, 1, 1), 20).convert("RGB")
    points = [tasks.Point(f"{at}.jpg", f"./{at}.jpg", thumbnail) for at in range(tasks.MOST)]
    places = rng.random((len(points), 2), np.float32)
    text = tasks.map_page(points, places, "many")
    assert len(text) < 30e6
    assert not re.search(r"(src|href)=\"?http", text)
    with pytest.raises(aecodec.InputError, match="at most 5000 pictures, got 5001"):
        tasks.map_page([*points, points[0]], rng.random((5001, 2), np.float32), "many")


@pytest.mark.parametrize("method", tasks.METHODS)
@pytest.mark.parametrize("count", [0, 1, 2, 5, 40])
def test_places_are_within_the_map_and_neighbors_near(method: str, count: int) -> None:
    for package in {"tsne": ["sklearn"], "umap": ["umap"]}.get(method, []):
        pytest.importorskip(package)
    rng = np.random.default_rng(0)
    ends = rng.normal(size=(2, 16)) * 5
    vectors = np.array([ends[at % 2] + 0.3 * rng.normal(size=16) for at in range(count)]).reshape(count, 16)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    places = tasks.lay_out(vectors, method)
    assert places.shape == (count, 2)
    assert places.dtype == np.float32
    assert np.all((places >= 0) & (places <= 1))
    if count == 40:  # two bunches, far apart
        a, b = places[::2], places[1::2]
        assert np.linalg.norm(a.mean(0) - b.mean(0)) > 2 * max(a.std(), b.std())


def test_a_method_that_is_not_installed_is_named(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sklearn", "sklearn.manifold", "umap"):
        monkeypatch.setitem(sys.modules, name, None)
    vectors = np.eye(6, dtype=np.float32)
    for method, package in (("tsne", "scikit-learn"), ("umap", "umap-learn")):
        with pytest.raises(aecodec.InputError, match=f"{package}, which is not installed"):
            tasks.lay_out(vectors, method)
    with pytest.raises(aecodec.InputError, match="method must be"):
        tasks.lay_out(vectors, "mds")


def test_what_cannot_be_drawn_is_told(photos: Path, tmp_path: Path) -> None:
    for words, message in (
        (["map", photos], "give --html, --png or both"),
        (["map", photos, "--png", tmp_path / "map.aec"], "named like an encoded one"),
        (["map", photos, "--html", tmp_path / "no" / "map.html"], "no folder"),
        (["map", tmp_path, "--html", tmp_path / "map.html"], "no files to process"),
    ):
        result = run(*words)
        assert result.exit_code in (1, 2)
        assert message in result.output
