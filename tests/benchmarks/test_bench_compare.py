"""bench compare: BD-rates as the package of the field computes them, published curves where they belong."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import bjontegaard
import numpy as np
import pytest
from bench_support import ROOT, bench
from PIL import Image

from bench import compare, effort, results
from bench.results import Point, Run

KODAK = ROOT / "bench" / "results" / "kodak.jsonl"
# Whose tables are made from committed results:
PAGES = ("docs/benchmarks.md", "docs/training-history.md", "docs/tasks/fine-tune.md")
PUBLISHED = compare.published_curves()
pytestmark = pytest.mark.xdist_group("project")  # whose pages and plots are made once


def cells(output: str, first: int = 2, last: int = 4) -> dict[str, list[str]]:
    """Of each row of the tables the last cells, by the first: "vtm published" or, in the docs, "vtm"."""
    lines = (line.strip("| ").split(" | ") for line in output.splitlines() if line.startswith("| "))
    return {" ".join(line[:first]): line[-last:] for line in lines if line[0] != "codec"}


def percents(row: list[str]) -> list[float]:
    return [float(cell.removesuffix(" %")) for cell in row]


def copy(path: Path, scale: float, codec: str | None = None) -> None:
    """The committed Kodak results with files that are larger by scale, of one codec or all."""
    for record in results.read(KODAK):
        if isinstance(record, Run):
            results.append(path, record)
    kept = [record for record in results.read(KODAK) if isinstance(record, Point) and codec in (None, record.codec)]
    for point in kept:
        results.append(path, dataclasses.replace(point, bpp=point.bpp * scale))


@pytest.mark.parametrize("metric", ["psnr", "ms_ssim"])
def test_bd_rate_equals_the_bjontegaard_package(metric: str) -> None:
    """On all published curves against JPEG and VTM, by the same interpolation."""
    compared = 0
    for anchor in (PUBLISHED["jpeg"], PUBLISHED["vtm"]):
        for name, curve in PUBLISHED.items():
            ours = compare.bd_rate(anchor, curve, metric)
            if ours is None:
                assert metric == "ms_ssim", name
                continue
            reference = bjontegaard.bd_rate(
                anchor.bpp,
                getattr(anchor, metric),
                curve.bpp,
                getattr(curve, metric),
                method="pchip",
                require_matching_points=False,
                min_overlap=0,
            )
            assert ours == pytest.approx(reference, abs=0.01), name
            compared += 1
    assert compared >= (80 if metric == "psnr" else 30)


def test_known_rates_of_the_published_curves() -> None:
    """Figures that the design rests on, computed elsewhere."""
    expected = {"webp": -36, "compressai-bmshj2018-hyperprior": -55, "bpg": -59, "vtm": -68, "hpcm-large": -73}
    for name, rate in expected.items():
        assert compare.bd_rate(PUBLISHED["jpeg"], PUBLISHED[name], "psnr") == pytest.approx(rate, abs=1.0), name


def test_kodak_results_stand_beside_published_ones() -> None:
    """Both curves that cover the range and, apart from them and without a rank, those that do not."""
    parts = bench("compare", KODAK).output.split(compare.APART)
    ranked, apart = (cells(part, last=6) for part in parts)
    assert ranked["jpeg measured"][:2] == ["28.00 to 38.00 dB", "+0.0 %"]
    assert {row[0] for row in ranked.values()} == {"28.00 to 38.00 dB"}
    assert "PSNR 28 to 38 dB" in parts[0]
    measured, _ = results.curves(results.points_of(results.read(KODAK)))
    for source, curves in (("measured", measured), ("published", PUBLISHED)):
        covering = {name for name, curve in curves.items() if curve.psnr.min() <= 28 and curve.psnr.max() >= 38}
        assert covering == {name.split()[0] for name in ranked if name.endswith(source)}
        assert curves.keys() - covering == {name.split()[0] for name in apart if name.endswith(source)}
    assert {"av1 published", "avif measured"} <= ranked.keys()
    assert apart["tcm-large published"][::4] == ["30.07 to 38.00 dB", "-"]  # nobody published its MS-SSIM
    shown = cells(
        (ROOT / "docs" / "benchmarks.md").read_text().partition("<!-- table: python -m bench speed-table")[0],
        first=1,
        last=5,
    )
    assert {"aecodec", "jpeg", "webp", "avif"} <= set(measured)
    for name in measured:
        in_rank = ranked.get(f"{name} measured")
        assert shown[name] == (in_rank[1:] if in_rank else ["-", "-", *apart[f"{name} measured"][3:]])
    for column in (1, 2):  # the same order against both
        rates = percents([row[column] for row in ranked.values()])
        assert rates == sorted(rates)


def test_any_curve_can_be_the_anchor() -> None:
    table = cells(bench("compare", KODAK, "--anchor", "vtm").output, last=2)
    assert table["vtm published"] == ["+0.0 %", "+0.0 %"]
    measured, _ = results.curves(results.points_of(results.read(KODAK)))
    for name in ("aecodec", "avif"):
        expected = compare.bd_rate(PUBLISHED["vtm"], measured[name], "psnr", (28, 38))
        assert table[f"{name} measured"][0] == compare.percent(expected)
    result = bench("compare", KODAK, "--anchor", "none")
    assert result.exit_code == 1
    assert "there is no curve none; there are " in result.output
    result = bench("compare", KODAK, "--anchor", "vtm", "--anchor", "nobody")
    assert (result.exit_code, "there is no curve nobody; there are " in result.output) == (1, True)


def test_an_anchor_that_covers_less_narrows_the_range_of_all() -> None:
    ranked = cells(bench("compare", KODAK, "--anchor", "tcm-large").output.split(compare.APART)[0], last=3)
    assert {row[0] for row in ranked.values()} == {"30.07 to 38.00 dB"}
    assert ranked["tcm-large published"][1] == "+0.0 %"
    assert "avif measured" in ranked


def short_of_quality(path: Path) -> float:
    """Kodak results of three codecs, of which one ends early, at the PSNR returned."""
    for record in results.read(KODAK):
        kept = isinstance(record, Point) and record.codec in {"jpeg", "avif", "webp"}
        if isinstance(record, Run) or (kept and (record.codec != "webp" or record.quality < 70)):
            results.append(path, record)
    measured, _ = results.curves(results.points_of(results.read(path)))
    return float(measured["webp"].psnr.max())


def test_a_curve_that_ends_early_is_not_ranked(tmp_path: Path) -> None:
    """Over less than the others its figure would flatter it: up to 35 dB WebP saves more of JPEG's bits."""
    end = short_of_quality(tmp_path / "r.jsonl")
    assert end < 36
    output = bench("table", tmp_path / "r.jsonl").output
    table = cells(output, first=1, last=5)
    assert table["webp"][:2] == ["-", "-"]
    assert percents(table["webp"][2:3])[0] < 0  # MS-SSIM is over what all cover
    assert percents(table["avif"][:2])[1] == 0
    assert f"No figure by PSNR: webp ends at {end:.2f} dB." in output
    ranked, apart = bench("compare", tmp_path / "r.jsonl", "--anchor", "jpeg").output.split(compare.APART)
    assert "webp" not in ranked
    assert cells(apart, last=4)["webp measured"][0] == f"28.00 to {end:.2f} dB"
    shown = cells(
        (ROOT / "docs" / "benchmarks.md").read_text().partition("<!-- table: python -m bench speed-table")[0],
        first=1,
        last=5,
    )
    for name in ("jpeg", "avif"):
        assert table[name][:2] == shown[name][:2]  # what stands beside changes no figure by PSNR


def test_butteraugli_has_a_column_over_one_range(tmp_path: Path) -> None:
    """Half of AVIF's bits and twice of them at the same Butteraugli; less is better; a codec without it has a dash."""
    half = {"jpeg": 0.5, "webp": 2.0, "avif": 1.0}
    for name, share in half.items():
        for quality, butteraugli in ((10.0, 6.0), (50.0, 3.0), (90.0, 1.0 if name == "webp" else 1.5)):
            bpp, level = share * quality / 100, 26 + quality / 6
            point = Point(name, quality, "a", 8, 8, 1, bpp, level, None, None, 1, 1, butteraugli=butteraugli)
            results.append(tmp_path / "r.jsonl", point)
            if name == "avif":
                results.append(tmp_path / "r.jsonl", dataclasses.replace(point, codec="heic", butteraugli=None))
    output = bench("table", tmp_path / "r.jsonl").output
    assert output.splitlines()[0].endswith("| BD-rate to avif (PSNR) | BD-rate to avif (Butteraugli) |")
    assert "Butteraugli 6.00 to 1.50 (its logarithm)" in output
    rows = {name: row[0] for name, row in cells(output, first=1, last=1).items()}
    assert (rows["jpeg"], rows["avif"], rows["heic"]) == ("-50.0 %", "+0.0 %", "-")
    assert percents([rows["webp"]])[0] > 50


def test_two_files_are_told_apart(tmp_path: Path) -> None:
    """One codec in two files: rates differ by what its files differ."""
    copy(tmp_path / "old.jsonl", 1.0)
    copy(tmp_path / "new.jsonl", 0.9, "aecodec")
    table = cells(
        bench("compare", tmp_path / "old.jsonl", tmp_path / "new.jsonl", "--anchor", "aecodec").output, last=2
    )
    assert table["aecodec (old) measured"] == ["+0.0 %", "+0.0 %"]
    assert table["aecodec (new) measured"] == ["-10.0 %", "-10.0 %"]
    assert "webp measured" in table


def test_published_curves_stay_away_from_other_pictures(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    for record in results.read(KODAK):
        if isinstance(record, Run):
            results.append(path, dataclasses.replace(record, images=dict.fromkeys(record.images, "0" * 64)))
        elif isinstance(record, Point) and record.codec in {"jpeg", "avif"}:
            results.append(path, record)
    output = bench("compare", path).output
    assert set(cells(output, first=1)) == {"jpeg", "avif"}
    assert "Mean over 24 pictures" in output
    assert "Published curves are left out" in output


def test_curves_that_share_no_range_get_a_dash() -> None:
    curve = PUBLISHED["jpeg"]
    far = dataclasses.replace(curve, psnr=curve.psnr + 100, ms_ssim=np.full_like(curve.bpp, np.nan))
    assert compare.bd_rate(curve, far, "psnr") is None
    assert compare.bd_rate(curve, curve, "psnr", (curve.psnr.min() - 1, 38)) is None
    assert compare.bd_rate(curve, far, "ms_ssim") is None
    assert compare.percent(None) == "-"


def test_plots_come_light_and_dark(tmp_path: Path) -> None:
    for name in ("rd.png", "rd.svg"):
        result = bench("plot", KODAK, tmp_path / name)
        assert result.exit_code == 0, result.output
    papers = []
    for name in ("rd.png", "rd-dark.png"):
        with Image.open(tmp_path / name) as image:
            papers.append(image.convert("L").getpixel((2, 2)))
    assert papers[0] > 250
    assert papers[1] < 30
    assert (tmp_path / "rd-dark.svg").exists()
    assert "rd.pdf" in bench("plot", KODAK, tmp_path / "rd.pdf").output


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose pages have old tables and no plots, after bench readme."""
    project = tmp_path_factory.mktemp("project")
    shutil.copytree(KODAK.parent, project / "bench" / "results")
    (project / "docs" / "tasks").mkdir(parents=True)
    for page in PAGES:
        text = (ROOT / page).read_text()
        (project / page).write_text(re.sub(r"^\| (aecodec|webp|9) \|.*\n", "", text, flags=re.MULTILINE))
    assert bench("readme", "--project", project).exit_code == 0
    return project


@pytest.mark.parametrize("page", PAGES)
def test_one_command_makes_the_tables(project: Path, page: str) -> None:
    assert "<!-- table: python -m bench " in (ROOT / page).read_text()
    assert (project / page).read_text() == (ROOT / page).read_text()


@pytest.mark.parametrize("page", ["README.md", "docs/benchmarks.md"])
def test_words_on_the_tables_have_their_figures(page: str) -> None:
    """New results bring new tables; who wins must then be told anew."""
    text = (ROOT / page).read_text()
    words = "".join(re.findall(r"<!-- words on the tables -->\n(.*?)<!-- end of words -->", text, re.DOTALL))
    figures = re.findall(r"(\d+\.\d) % (more|fewer)", words)
    assert len(figures) >= 4
    tables = (ROOT / "docs" / "benchmarks.md").read_text()
    for figure, way in figures:
        assert f"| {'+' if way == 'more' else '-'}{figure} % |" in tables, figure


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rd-kodak", {"aecodec", "vtm, published", "bits per pixel", "PSNR, dB"}),
        ("speed", {"aecodec", "encode, MP/s at 1920x1080, 2 threads"}),
        (
            "frontier",
            {"aecodec", "jpeg", "mbt2018-mean", "to avif, %", "seconds to decode a megapixel (1920x1080, 2 threads)"},
        ),
    ],
)
@pytest.mark.parametrize("form", ["", "-dark"])
def test_plots_of_the_docs_are_of_the_committed_results(
    project: Path, name: str, expected: set[str], form: str
) -> None:
    assert f"{name}{form}.svg" in (ROOT / "docs" / "benchmarks.md").read_text()
    drawn, shown = ((folder / "docs" / f"{name}{form}.svg").read_text() for folder in (project, ROOT))
    words = [re.findall(r"<text[^>]*>([^<]+)</text>", text) for text in (drawn, shown)]
    assert words[0] == words[1]
    assert expected <= set(words[0])
    numbers = [re.findall(r"-?\d+\.\d+", " ".join(re.findall(r' d="([^"]+)"', text))) for text in (drawn, shown)]
    assert np.allclose(*(np.array(row, float) for row in numbers), atol=0.01)


def test_picture_of_the_readme_is_of_the_shipped_weights(project: Path) -> None:
    assert "docs/side-by-side.png" in (ROOT / "README.md").read_text()
    drawn, shown = (np.asarray(Image.open(folder / "docs" / "side-by-side.png"), int) for folder in (project, ROOT))
    assert np.abs(drawn - shown).mean() < 0.5  # captions and pixels; a search may end at a neighboring quality


def test_table_of_effort(coffee: Image.Image) -> None:
    """A level that saves a tenth of one picture and a fifth of another, and one that gives a tenth of one back."""
    saved = {0: (1.0, 1.0), 3: (0.9, 0.8), 9: (0.9, 0.88)}
    points = [
        Point(
            f"aecodec@{level}",
            quality,
            f"{image}.png",
            *coffee.size,
            size_bytes=1,
            bpp=share * quality / 100,
            psnr=30 + quality / 10,
            psnr_y=0,
            ms_ssim=None,
            encode_seconds=coffee.width * coffee.height * level / 1e6,
            decode_seconds=0,
        )
        for level, shares in saved.items()
        for image, share in enumerate(shares)
        for quality in (10.0, 40.0, 70.0, 100.0)
    ]
    rows = effort.effort_table(points).splitlines()[2:]
    assert rows == [
        "| 0 | +0.0 % |  |  | 0.00 |",
        "| 3 | -15.0 % | -15.0 % | -10.0 % | 3.00 |",
        "| 9 | -11.0 % | +5.0 % | +10.0 % | 9.00 |",
    ]
