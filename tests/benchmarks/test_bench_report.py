"""bench report: the page in a real browser, on a laptop and on a phone, without a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from bench_support import ROOT, bench
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from support import psnr

from bench import compare, results
from bench.codecs import open_rgb
from bench.demo import jpeg_of_size
from bench.results import Run, Speed, Throughput

KODAK = ROOT / "bench" / "results" / "kodak.jsonl"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
NAME = "cup & <b>saucer.png"
QUALITY = 60
pytestmark = pytest.mark.xdist_group("report")  # whose page is made once


class Report(NamedTuple):
    path: Path
    original: Image.Image
    ours: Image.Image
    jpeg: Image.Image


@pytest.fixture(scope="module")
def report(coffee: Image.Image, codec: object, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Kodak's curves, speeds, and two pictures of the demonstration photograph."""
    folder = tmp_path_factory.mktemp("report")
    pictures = folder / "pictures"
    pictures.mkdir()
    original = coffee.crop((150, 50, 450, 250))
    original.save(pictures / NAME)
    coffee.rotate(90, expand=True).resize((200, 300)).save(pictures / "upright.png")
    speeds = folder / "speed.jsonl"
    for name, seconds in (("aecodec", 0.2), ("jpeg", 0.01)):
        stages = {"synthesis": seconds / 2} if name == "aecodec" else {}
        speed = Speed(name, "decode", 2000, 1000, 2, 5, 90_000, 3.0, seconds, seconds, seconds, stages, 300.0)
        results.append(speeds, speed)
    results.append(speeds, Throughput("aecodec", "some GPU", "decode", 1920, 1080, 16, 5, 321.0, 330.0, 300.0))
    target = folder / "report.html"
    result = bench("report", KODAK, speeds, "--html", target, "--images", pictures, "-q", QUALITY)
    assert result.exit_code == 0, result.output
    data = codec.encode(original, quality=QUALITY)
    return Report(target, original, codec.decode(data), open_rgb(jpeg_of_size(original, len(data))))


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
def page(browser: Browser, report: Report) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light") as context:
        yield opened(context.new_page(), report)


def opened(page: Page, report: Report) -> Page:
    """The page; whatever it complains about or asks the network for fails the test."""
    page.on("console", lambda message: pytest.fail(message.text))
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or pytest.fail(request.url))
    page.goto(report.path.as_uri())
    return page


def seen(page: Page) -> Image.Image:
    """The pictures as shown, pixel by pixel, without labels and divider."""
    page.add_style_tag(content=".tag, #divider { visibility: hidden } #stage { position: fixed; top: 0; left: 0 }")
    return Image.open(BytesIO(page.locator("#sheet").screenshot())).convert("RGB")


def slide(page: Page, percent: float) -> None:
    page.locator("#split").fill(str(percent))


def test_every_picture_loads(page: Page, report: Report) -> None:
    assert page.locator("#picture option").all_inner_texts() == [NAME, "upright.png"]
    for picture, size in (("0", report.original.size), ("1", (200, 300))):
        page.locator("#picture").select_option(picture)
        for form in ("0", "1", "2"):
            page.locator("#left").select_option(form)
            page.wait_for_function("document.getElementById('over').complete")
            loaded = page.evaluate("(i => [i.naturalWidth, i.naturalHeight])(document.getElementById('over'))")
            assert tuple(loaded) == size


def test_the_slider_shows_jpeg_on_its_left_and_aecodec_on_its_right(page: Page, report: Report) -> None:
    slide(page, 100)
    left = seen(page)
    assert left.size == report.original.size
    slide(page, 0)
    right = seen(page)
    assert psnr(left, report.jpeg) > psnr(left, report.ours) + 3
    assert psnr(right, report.ours) > 50
    slide(page, 50)
    half = seen(page)
    boxes = ((0, 0, 145, 200), (155, 0, 300, 200))
    for box, whole in zip(boxes, (left, right), strict=True):
        assert np.array_equal(np.asarray(half.crop(box)), np.asarray(whole.crop(box)))
    page.locator("#right").select_option("2")
    slide(page, 0)
    assert psnr(seen(page), report.original) > 50


def test_labels_tell_bytes_and_quality(page: Page, report: Report) -> None:
    ours, jpeg = page.locator("#right-tag").inner_text(), page.locator("#left-tag").inner_text()
    assert ours.endswith(f"{psnr(report.original, report.ours):.2f} dB")
    size = int(jpeg.removeprefix("JPEG, ").split(" bytes")[0].replace(",", ""))
    assert jpeg.endswith(f"{psnr(report.original, open_rgb(jpeg_of_size(report.original, size))):.2f} dB")
    size_bytes = [int(label.split(", ")[1].split()[0].replace(",", "")) for label in (jpeg, ours)]
    assert size_bytes[0] <= size_bytes[1]


def test_dragging_moves_the_divider(page: Page) -> None:
    box = page.locator("#sheet").bounding_box()
    assert box
    page.mouse.move(box["x"] + 30, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 210, box["y"] + 60)
    page.mouse.up()
    assert float(page.locator("#split").input_value()) == pytest.approx(70, abs=1)
    divider = page.locator("#divider").bounding_box()
    assert divider
    assert divider["x"] - box["x"] == pytest.approx(210, abs=3)


def test_zoom_keeps_both_sides_aligned(page: Page, report: Report) -> None:
    page.get_by_role("button", name="4x").click()
    sheet = page.locator("#sheet").bounding_box()
    assert sheet
    assert sheet["width"] == 4 * report.original.width
    page.evaluate("document.getElementById('view').scrollTo(400, 0)")
    page.wait_for_function("document.getElementById('over').style.clipPath.includes('550px')")  # 400 + half of 300
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="1x").click()
    slide(page, 0)
    assert psnr(seen(page), report.ours) > 50


def test_curves_answer(page: Page) -> None:
    measured = page.locator("polyline.measured")
    curves, _ = results.curves(results.points_of(results.read(KODAK)))
    assert measured.evaluate_all("lines => lines.map(line => line.dataset.name)") == list(curves)
    assert page.locator("polyline.published").count() == len(compare.LANDMARKS)
    assert all(
        page.locator("polyline.published").evaluate_all(
            "all => all.map(l => l.getAttribute('stroke-dasharray') != 'none')"
        )
    )
    page.locator("#plot circle").first.hover(force=True)
    name, curve = next(iter(curves.items()))
    expected = f"{name}, quality {curve.quality[0]:g}: {curve.bpp[0]:.3f} bpp, {curve.psnr[0]:.2f} PSNR, dB"
    assert page.locator("#hover").inner_text() == expected
    before = measured.first.get_attribute("points")
    page.get_by_label("logarithmic rate").check()
    assert measured.first.get_attribute("points") != before
    page.locator("#metric").select_option("ms_ssim")
    assert "MS-SSIM, dB" in page.locator("#plot text").all_text_contents()
    page.locator("#legend").get_by_role("button", name="webp", exact=True).click()
    assert page.locator("polyline[data-name=webp].measured").count() == 0
    page.get_by_label("every published curve").check()
    assert page.locator("polyline.published").count() == 19  # those with an MS-SSIM
    assert page.locator("tr.published:visible").count() == 45


def test_tables_and_bars_are_the_results(page: Page) -> None:
    rows = page.locator("tr.ours td, tr.measured td").all_inner_texts()
    table = [
        line.strip("| ").split(" | ") for line in bench("compare", KODAK).output.splitlines() if "measured" in line
    ]
    assert rows == [cell for row in table for cell in row]
    bars = page.locator(".bars").first
    assert bars.inner_text().split("\n") == [
        *("jpeg", "200 MP/s, 0.01 s", "0.01 to 0.01 s, cold 3 s, 300 MB"),
        *("aecodec", "10 MP/s, 0.2 s", "0.2 to 0.2 s, cold 3 s, 300 MB, synthesis 50%"),
    ]
    widths = bars.locator("i").evaluate_all("all => all.map(bar => bar.offsetWidth)")
    assert widths[1] == pytest.approx(widths[0] / 20, abs=1.5)
    assert "321 images/s" in page.locator("#speed").inner_text()
    provenance = page.locator("pre").all_inner_texts()
    assert "python -m bench rd --images kodak" in provenance[0]
    runs = [record for record in results.read(KODAK) if isinstance(record, Run)]
    for run, told in zip(runs, provenance[: len(runs)], strict=True):  # those of speeds follow
        facts = {f"{name}: {value}" for facts in (run.environment, run.codecs) for name, value in facts.items()}
        assert facts <= set(told.split("\n"))


@pytest.mark.parametrize(("scheme", "bright"), [("light", True), ("dark", False)])
def test_a_phone_sees_everything(browser: Browser, report: Report, scheme: str, bright: bool) -> None:
    with browser.new_context(
        viewport={"width": 360, "height": 740}, color_scheme=scheme, is_mobile=True, has_touch=True
    ) as context:
        page = opened(context.new_page(), report)
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        paper = Image.open(BytesIO(page.screenshot())).convert("L")
        assert (np.median(np.asarray(paper)) > 128) == bright
        page.locator("#split").tap(position={"x": 80, "y": 15})
        assert float(page.locator("#split").input_value()) < 45
        sizes = page.locator("#plot text").evaluate_all("all => all.map(text => text.getBoundingClientRect().height)")
        assert min(sizes) > 9  # pixels: letters can be read


def test_results_without_provenance_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("")
    result = bench("report", path, "--html", tmp_path / "r.html")
    assert result.exit_code == 1
    assert "do not say how they were measured" in result.output
    assert not (tmp_path / "r.html").exists()
