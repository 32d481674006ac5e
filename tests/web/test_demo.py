"""The page to try the codec, as somebody with a keyboard uses it in a real browser; Python checks what it says."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from bench_support import bench
from make_golden import SHIPPED_GOLDEN
from make_invalid import INVALID
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Download, JSHandle, Page
from support import psnr
from web.conftest import WEB, Site

import aecodec

pytestmark = [pytest.mark.xdist_group("web"), pytest.mark.slow]  # it is built once, in half a minute


class Told:
    """What a page said to the console, and which hosts it asked."""

    def __init__(self, page: Page) -> None:
        self.lines: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", lambda message: self.lines.append(message.text))
        page.on("pageerror", lambda error: self.lines.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname or ""))


@pytest.fixture
def phone(browser: Browser) -> Iterator[Page]:
    with browser.new_context(
        viewport={"width": 360, "height": 740}, color_scheme="dark", reduced_motion="reduce"
    ) as context:
        yield context.new_page()


@pytest.fixture
def laptop(browser: Browser) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1200, "height": 800}, color_scheme="light") as context:
        yield context.new_page()


def dropped(page: Page, name: str, data: bytes) -> JSHandle:
    return page.evaluate_handle(
        """([name, bytes]) => {
          const data = new DataTransfer();
          data.items.add(new File([Uint8Array.from(bytes)], name));
          return data;
        }""",
        [name, list(data)],
    )


def drop(page: Page, name: str, data: bytes) -> None:
    page.dispatch_event("#place", "drop", {"dataTransfer": dropped(page, name, data)})


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def wait_for_facts(page: Page, quality: str) -> dict[str, list[str]]:
    """The table when it has a row of an .aec file of this quality: bytes, bits per pixel and PSNR by name."""
    page.locator("#facts tr", has_text=re.compile(rf"\.aec, quality {quality}")).wait_for()
    rows = page.locator("#facts tr").evaluate_all(
        "(rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    return {name.partition(",")[0]: [cell.replace(",", "") for cell in cells] for name, *cells in rows}


def pixels_of(page: Page, name: str) -> NDArray[np.uint8]:
    """What a canvas holds, [H, W, 3]."""
    width, height, data = page.get_by_label(name, exact=True).evaluate(
        """(canvas) => {
          const { width, height } = canvas;
          return [width, height, [...canvas.getContext("2d").getImageData(0, 0, width, height).data]];
        }"""
    )
    return np.array(data, np.uint8).reshape(height, width, 4)[..., :3]


def saved(page: Page) -> Download:
    with page.expect_download() as download:
        page.get_by_text("Save the .aec file").press("Enter")
    return download.value


def seen(page: Page) -> NDArray[np.uint8]:
    """Both pictures as they are on the screen, without what lies over them."""
    page.add_style_tag(content="#wipe, .name { visibility: hidden } #stage { border-radius: 0 !important }")
    page.locator("#view").scroll_into_view_if_needed()
    box = page.locator("#view").bounding_box()
    shot = page.screenshot(clip={side: round(length) for side, length in box.items()})
    page.locator("style").last.evaluate("(style) => style.remove()")
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))


def test_numbers_are_those_of_the_file_that_is_saved(phone: Page, site: Site, coffee: Image.Image) -> None:
    told, picture = Told(phone), coffee.crop((200, 100, 300, 180))
    phone.goto(f"{site.url}/demo.html")
    phone.locator("#files").focus()
    drop(phone, "a cup.png", png(picture))
    wait_for_facts(phone, "55")
    phone.locator("#model").select_option("s")
    phone.locator("#quality").focus()
    for key in ("PageUp", "ArrowRight", "ArrowRight"):
        phone.keyboard.press(key)
    chosen = phone.locator("#quality").input_value()
    assert int(chosen) > 57
    facts = wait_for_facts(phone, chosen)
    phone.locator("#compare[aria-busy=false]").wait_for()
    download = saved(phone)
    data = Path(download.path()).read_bytes()
    assert download.suggested_filename == "a cup.aec"
    header = aecodec.read_header(data)
    assert (header.width, header.height, header.quality) == (100, 80, int(chosen))
    assert header.model_id == aecodec.Codec.load("s", "cpu").weights.model_id
    shown, jpeg = aecodec.decode(data), Image.fromarray(pixels_of(phone, "JPEG"))
    assert np.array_equal(pixels_of(phone, "Original"), np.asarray(picture))
    assert np.array_equal(pixels_of(phone, ".aec"), np.asarray(shown))
    for name, size, image in ((".aec", len(data), shown), ("JPEG", int(facts["JPEG"][0]), jpeg)):
        assert facts[name] == [str(size), f"{8 * size / 8000:.3f}", f"{psnr(picture, image):.2f} dB"]
    assert facts["Original"] == [str(len(png(picture))), f"{len(png(picture)) / 1000:.3f}", ""]
    assert len(data) <= int(facts["JPEG"][0]) < 1.15 * len(data)
    assert psnr(picture, jpeg) > 20
    assert phone.evaluate("document.documentElement.scrollWidth") == 360
    assert np.asarray(Image.open(io.BytesIO(phone.screenshot())).convert("L"))[2, :50].max() < 60  # dark paper
    assert "is encoded" in phone.get_by_role("status").inner_text()
    assert (told.lines, told.hosts) == ([], {"localhost"})


def test_size_in_bytes_is_kept(phone: Page, site: Site, coffee: Image.Image) -> None:
    told = Told(phone)
    phone.goto(f"{site.url}/demo.html")
    drop(phone, "cup.png", png(coffee.crop((200, 100, 300, 180))))
    wait_for_facts(phone, "55")
    phone.locator("input[name=aim]").first.focus()
    phone.keyboard.press("ArrowRight")
    phone.locator("#bytes").fill("1200")
    phone.keyboard.press("Enter")
    phone.get_by_role("status").get_by_text(re.compile(r"is encoded: 1,[12]\d\d bytes")).wait_for()
    data = Path(saved(phone).path()).read_bytes()
    assert 1150 <= len(data) <= 1200
    phone.locator("#bytes").fill("9")
    phone.keyboard.press("Enter")
    phone.get_by_role("status").get_by_text("could not be encoded: ").wait_for()
    phone.locator("#bytes").fill("0")
    phone.keyboard.press("Enter")
    assert phone.locator("#bytes:invalid").count() == 1
    assert told.lines == []


def test_range_wipes_between_two_pictures_that_can_be_zoomed_and_moved(
    laptop: Page, site: Site, coffee: Image.Image
) -> None:
    told = Told(laptop)
    laptop.goto(f"{site.url}/demo.html")
    drop(laptop, "cup.png", png(coffee.crop((200, 100, 300, 180))))
    wait_for_facts(laptop, "55")
    laptop.locator("#compare[aria-busy=false]").wait_for()
    jpeg, aec, original = (pixels_of(laptop, name) for name in ("JPEG", ".aec", "Original"))
    assert seen(laptop).shape[0] > 400  # fit
    laptop.get_by_label("100 %").focus()
    laptop.keyboard.press("Space")
    assert seen(laptop).shape == (80, 100, 3)
    wipe = laptop.get_by_role("slider", name="Where the left picture ends")
    for key, share in (("Home", 0), ("PageUp", 10), ("End", 100)):
        wipe.press(key)
        assert int(wipe.input_value()) == share
        expected = np.concatenate([jpeg[:, :share], aec[:, share:]], 1)
        assert np.array_equal(seen(laptop), expected)
    assert wipe.get_attribute("aria-valuetext") == "JPEG 100 %, .aec 0 %"
    laptop.locator("#left").select_option("original")
    assert np.array_equal(seen(laptop), original)
    laptop.get_by_label("400 %").focus()
    laptop.keyboard.press("Space")
    laptop.set_viewport_size({"width": 360, "height": 300})
    laptop.wait_for_function("() => parseFloat(document.querySelector('#stage').style.width) < 360")
    assert laptop.evaluate("document.documentElement.scrollWidth") == 360
    laptop.locator("#view").evaluate("(view) => view.scrollTo(0, 0)")
    corner = seen(laptop)
    height, width = (side // 4 * 4 for side in corner.shape[:2])
    assert np.array_equal(corner[:height:4, :width:4], original[: height // 4, : width // 4])
    laptop.locator("#view").focus()
    laptop.locator("#view").evaluate(
        "(view) => { window.ended = new Promise((done) => view.addEventListener('scrollend', done, { once: true })); }"
    )
    laptop.keyboard.press("ArrowRight")
    assert laptop.evaluate("() => window.ended.then(() => document.querySelector('#view').scrollLeft)") > 0
    laptop.locator("#view").evaluate("(view) => view.scrollTo(0, 0)")
    box = laptop.locator("#view").bounding_box()
    laptop.mouse.move(box["x"] + 150, box["y"] + 100)
    laptop.mouse.down()
    laptop.mouse.move(box["x"] + 100, box["y"] + 80)
    laptop.mouse.up()
    laptop.mouse.move(box["x"] + 10, box["y"] + 10)
    assert laptop.locator("#view").evaluate("(view) => [view.scrollLeft, view.scrollTop]") == [50, 20]
    assert told.lines == []


def test_page_says_what_it_cannot_do_and_what_it_changes(laptop: Page, site: Site, coffee: Image.Image) -> None:
    """No networks of the encoder are served; a picture that is too large and transparent; one that is none."""
    (site.folder / "m.networks.gz").unlink()
    laptop.goto(f"{site.url}/demo.html")
    large = coffee.resize((1600, 1000))
    large.putalpha(Image.new("L", large.size, 0))
    large.save(site.folder / "large.webp", method=0)
    laptop.locator("#files").set_input_files(site.folder / "large.webp")
    laptop.get_by_role("status").get_by_text("large.webp could not be encoded: ").wait_for()
    assert "m.networks.gz" in laptop.get_by_role("status").inner_text()
    assert laptop.locator("#notice").inner_text() == (
        "Scaled from 1600 x 1000 to 1264 x 790 pixels. Transparency is on white here."
    )
    assert laptop.get_by_label("Original", exact=True).evaluate("(c) => [c.width, c.height]") == [1264, 790]
    assert laptop.get_by_label("Original", exact=True).evaluate(
        "(c) => [...c.getContext('2d').getImageData(9, 9, 1, 1).data]"
    ) == [255, 255, 255, 255]
    assert laptop.get_by_text("Save the .aec file").is_hidden()
    drop(laptop, "notes.png", b"no picture")
    laptop.get_by_role("status").get_by_text("notes.png: no picture that this browser can read").wait_for()


def test_picture_of_the_readme_has_a_command_that_makes_it() -> None:
    (command,) = re.findall(r"python -m bench (\S+) docs/web-demo.jpg", (WEB.parent / "docs" / "web.md").read_text())
    assert bench(command, "--help").exit_code == 0
    assert "docs/web-demo.jpg" in (WEB.parent / "README.md").read_text()
    assert (WEB.parent / "docs" / "web-demo.jpg").stat().st_size <= 150_000


def test_page_to_try_it_shows_a_file_that_is_dropped(laptop: Page, site: Site) -> None:
    laptop.on("console", lambda message: pytest.fail(message.text))
    laptop.goto(f"{site.url}/demo.html")
    laptop.locator("#files").set_input_files(INVALID / "wrong-magic.aec")
    laptop.get_by_text("wrong-magic.aec: not an .aec file").wait_for()
    drop(laptop, "cup.aec", (SHIPPED_GOLDEN / "s.aec").read_bytes())
    laptop.get_by_text("cup.aec is shown").wait_for()
    with Image.open(SHIPPED_GOLDEN / "s.png") as image:
        picture = image.convert("RGB")
    assert laptop.get_by_text("cup.aec: 250 x 170, quality").count() == 1
    assert laptop.evaluate("document.querySelector('figure img').naturalWidth") == picture.width
    with laptop.expect_download() as download:
        laptop.get_by_text("Save as PNG").click()
    assert download.value.suggested_filename == "cup.png"
    with Image.open(download.value.path()) as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), np.asarray(picture))
