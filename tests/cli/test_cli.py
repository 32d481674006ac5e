"""The commands as a user runs them."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import ExifTags, Image, ImageCms, ImageOps
from support import DATA, psnr

import aecodec
from aecodec import metrics, weights
from aecodec.cli.app import main
from aecodec.cli.files import image_file, image_format, replace_file
from aecodec.cli.options import MODELS
from aecodec.format.container import unpack
from aecodec.image import flatten

TINY = ["--weights", DATA / "tiny.safetensors"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def photo(tmp_path: Path, coffee: Image.Image) -> Path:
    path = tmp_path / "photo.png"
    coffee.crop((0, 0, 150, 100)).save(path)
    return path


def test_the_two_commands_in_a_fresh_process(tmp_path: Path, photo: Path, coffee: Image.Image) -> None:
    command = [sys.executable, "-P", "-m", "aecodec.cli"]
    packed, restored = tmp_path / "photo.aec", tmp_path / "restored.png"
    done = subprocess.run([*command, "encode", photo, packed], capture_output=True, text=True, check=True)
    assert (
        done.stdout
        == f"{packed}: {packed.stat().st_size} bytes, {packed.stat().st_size * 8 / 15000:.3f} bits per pixel\n"
    )
    done = subprocess.run([*command, "decode", packed, restored], capture_output=True, text=True, check=True)
    assert done.stdout == f"{restored}: 150x100 RGB\n"
    assert done.stderr == ""
    with Image.open(restored) as a, Image.open(photo) as b:
        assert psnr(a, b) > 28


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tiff", ".ppm"])
def test_decode_writes_the_format_of_the_suffix(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"out{suffix}"
    result = run("decode", DATA / "golden" / "metadata.aec", target, "--weights", DATA / "tiny.safetensors")
    assert result.exit_code == 0, result.output
    with Image.open(target) as image:
        assert image.size == (64, 64)
        assert image.format == {".jpg": "JPEG", ".ppm": "PPM"}.get(suffix, suffix[1:].upper())


def test_icc_profile_reaches_the_output(tmp_path: Path) -> None:
    run("decode", DATA / "golden" / "metadata.aec", tmp_path / "a.png", "--weights", DATA / "tiny.safetensors")
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["icc_profile"] == b"an ICC profile"


def save_marked(image: Image.Image, path: Path) -> dict[str, object]:
    """Write a picture with all its metadata; what a reader of the file then finds."""
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "aecodec"
    exif[ExifTags.Base.Orientation] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">aecodec</x:xmpmeta>'
    image.info = {"exif": exif.tobytes(), "icc_profile": profile, "xmp": xmp, "dpi": (300.0, 150.0)}
    if path.suffix in (".webp", ".avif"):
        del image.info["dpi"]  # for which they have no place
    path.write_bytes(image_file(image, image_format(path)))
    return marks(path)


def marks(path: Path) -> dict[str, object]:
    with Image.open(path) as image:
        image.load()
        dpi = tuple(round(float(value), 3) for value in image.info.get("dpi", ()))
        exif = image.info.get("exif", b"").removeprefix(b"Exif\0\0")
        return {"exif": exif, "dpi": dpi, **{name: image.info.get(name) for name in ("icc_profile", "xmp")}}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_metadata_survives_byte_for_byte(tmp_path: Path, coffee: Image.Image, suffix: str) -> None:
    source, packed, target = tmp_path / f"a{suffix}", tmp_path / "a.aec", tmp_path / f"b{suffix}"
    before = save_marked(coffee.crop((0, 0, 40, 20)), source)
    assert before["exif"]
    assert before["xmp"]
    assert before["icc_profile"]
    assert run("encode", source, packed, *TINY).exit_code == 0
    assert run("decode", packed, target, *TINY).exit_code == 0
    assert marks(target) == before
    assert before["dpi"] or suffix == ".webp"
    run("encode", source, packed, "--strip", *TINY)
    assert list(unpack(packed.read_bytes()).sections) == []
    run("decode", packed, target, *TINY)
    with Image.open(target) as image:
        assert image.size == (20, 40)  # turned, since nothing says anymore that it should be


def test_orientation_is_honored_where_the_format_has_no_exif(tmp_path: Path, coffee: Image.Image) -> None:
    save_marked(coffee.crop((0, 0, 40, 20)), tmp_path / "a.jpg")
    run("encode", tmp_path / "a.jpg", tmp_path / "a.aec", *TINY)
    for suffix in (".bmp", ".ppm", ".png", ".tiff", ".avif"):
        assert run("decode", tmp_path / "a.aec", tmp_path / f"b{suffix}", *TINY).exit_code == 0
        with Image.open(tmp_path / f"b{suffix}") as image:
            assert ImageOps.exif_transpose(image).size == (20, 40), suffix


def test_tiff_and_avif_keep_what_their_files_can_hold(tmp_path: Path, coffee: Image.Image) -> None:
    for suffix in (".tiff", ".avif"):
        source, target = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
        before = save_marked(coffee.crop((0, 0, 40, 20)), source)
        run("encode", source, tmp_path / "a.aec", *TINY)
        run("decode", tmp_path / "a.aec", target, *TINY)
        turned = {"dpi": before["dpi"][::-1]} if suffix == ".tiff" else {}  # Pillow turns the pixels when it reads them
        assert marks(target) == before | turned, suffix
        with Image.open(target) as image:
            assert image.getexif()[ExifTags.Base.Artist] == "aecodec"


@pytest.mark.parametrize("suffix", [".png", ".webp", ".avif", ".tiff", ".bmp", ".jpg", ".ppm"])
def test_transparency_reaches_every_format_or_white(tmp_path: Path, suffix: str) -> None:
    for name in ("alpha", "constant_alpha"):
        target = tmp_path / f"out{suffix}"
        result = run("decode", DATA / "golden" / f"{name}.aec", target, *TINY)
        assert result.exit_code == 0, result.output
        opaque = suffix in (".bmp", ".jpg", ".ppm")
        assert ("transparency" in result.stderr) == opaque
        with Image.open(target) as image, Image.open(DATA / "golden" / f"{name}.png") as expected:
            image.load()
            if opaque:
                assert psnr(image.convert("RGB"), flatten(expected).convert("RGB")) > 25
            else:
                a, b = (np.asarray(i.convert("RGBA").getchannel("A")).astype(int) for i in (image, expected))
                assert np.abs(a - b).max() <= 3 * (suffix == ".avif")


def test_notes_say_what_is_lost_and_quiet_does_not(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20), 999, np.uint16)).save(tmp_path / "deep.png")
    shades = [Image.new("L", (20, 20), shade) for shade in (0, 99)]
    shades[0].save(tmp_path / "moving.gif", save_all=True, append_images=shades[1:])
    for name, line in (("deep.png", "16 bits per channel are reduced to 8"), ("moving.gif", "only the first is kept")):
        result = run("encode", tmp_path / name, tmp_path / "out.aec", *TINY)
        notes = [note for note in result.stderr.splitlines() if "is larger than" not in note]
        assert (result.exit_code, len(notes), notes[0].startswith("Note: "), line in notes[0]) == (0, 1, True, True)
        assert run("--quiet", "encode", tmp_path / name, tmp_path / "out.aec", *TINY).output == ""


@pytest.mark.parametrize(("suffix", "plugin"), [(".heic", "pillow_heif"), (".jxl", "pillow_jxl")])
def test_formats_of_plugins(tmp_path: Path, coffee: Image.Image, suffix: str, plugin: str) -> None:
    pytest.importorskip(plugin)
    small = coffee.crop((0, 0, 64, 48))
    small.info.clear()  # dpi, for which they have no place
    first, packed, second = (tmp_path / name for name in (f"a{suffix}", "a.aec", f"b{suffix}"))
    first.write_bytes(image_file(small, image_format(first)))
    for arguments in (["encode", first, packed], ["decode", packed, second]):
        assert run(*arguments).exit_code == 0
    with Image.open(second) as image:
        assert psnr(image.convert("RGB"), small) > 25


def test_missing_plugin_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix, package in ((".heic", "pillow-heif"), (".jxl", "pillow-jxl-plugin")):
        (tmp_path / f"a{suffix}").write_bytes(b"what Pillow cannot read")
        result = run("encode", tmp_path / f"a{suffix}", tmp_path / "a.aec")
        assert f"not an image that Pillow can read (for {suffix} install {package})" in result.stderr


def test_pixel_limit_is_named_in_both_directions(tmp_path: Path, photo: Path) -> None:
    for arguments in (["encode", photo, tmp_path / "a.aec"], ["decode", DATA / "golden" / "tiles.aec", photo]):
        result = run(*arguments, *TINY, "--max-pixels", 14_999)
        assert result.exit_code == 1
        assert "is outside 1..14999 pixels" in result.stderr


def test_quality_option(tmp_path: Path, photo: Path) -> None:
    for quality in (5, 95):
        assert run("--quiet", "encode", photo, tmp_path / f"{quality}.aec", "-q", quality).output == ""
    assert (tmp_path / "5.aec").stat().st_size < (tmp_path / "95.aec").stat().st_size / 2


def test_targets_in_place_of_a_quality(tmp_path: Path, photo: Path) -> None:
    packed, restored = tmp_path / "a.aec", tmp_path / "a.png"
    run("encode", photo, packed)
    size = packed.stat().st_size
    assert run("encode", photo, packed, "--max-bytes", size + 20).exit_code == 0
    assert 0.98 * size <= packed.stat().st_size <= size + 20
    assert run("encode", photo, packed, "--bpp", 8 * size / 15_000).exit_code == 0
    assert 0.98 * size <= packed.stat().st_size <= size
    reached = json.loads(run("compare", photo, packed, "--json").output)["psnr"]
    assert run("encode", photo, packed, "--psnr", reached - 0.5).exit_code == 0
    run("decode", packed, restored)
    with Image.open(restored) as a, Image.open(photo) as b:
        assert reached - 0.5 <= psnr(a, b) <= reached - 0.4
    result = run("encode", photo, packed, "--ssim", 99)
    assert (result.exit_code, "above 160 pixels" in result.stderr) == (1, True)
    result = run("encode", photo, packed, "--psnr", 99)
    assert (result.exit_code, "quality 100 gives" in result.stderr) == (1, True)
    result = run("encode", photo, packed, "--psnr", 30, "-q", 50)
    assert (result.exit_code, "give one of" in result.stderr) == (2, True)


def test_info_tells_the_header(photo: Path) -> None:
    path = DATA / "golden" / "tiles.aec"
    facts = json.loads(run("info", path, "--json").output)
    assert facts == {
        "file": str(path),
        "format_version": 2,
        "width": 200,
        "height": 130,
        "mode": "RGB",
        "quality": 60.0,
        "model_id": f"{aecodec.read_header(path.read_bytes()).model_id:08x}",
        "tile": 64,
        "tiles": 12,
        "size_bytes": path.stat().st_size,
        "bpp": round(8 * path.stat().st_size / 26_000, 4),
    }
    table = run("info", path).output.splitlines()
    assert len(table) == len(facts) - 3  # sides, tiles and bytes share a line with their like
    assert "size             200 x 130 pixels" in table
    assert any(line.split() == ["quality", "60"] for line in table)


def test_info_tells_what_a_file_carries() -> None:
    facts = json.loads(run("info", DATA / "golden" / "metadata.aec", "--json").output)
    assert facts["icc_bytes"] == len(b"an ICC profile")
    assert facts["xmp_bytes"] == len(b"<x:xmpmeta/>")
    assert facts["exif_bytes"] > 20
    facts = json.loads(run("info", DATA / "golden" / "density.aec", "--json").output)
    assert facts["dpi"] == [300, 72.009]
    table = run("info", DATA / "golden" / "alpha.aec").output
    assert "RGBA: color and transparency" in table
    assert "alpha            905 bytes" in table


def test_info_tells_about_the_model() -> None:
    facts = json.loads(run("info", "--model", *TINY, "--json").output)
    model = aecodec.Codec.load(DATA / "tiny.safetensors", "cpu")
    parameters = sum(parameter.numel() for parameter in model.floats.network.parameters())
    assert facts["parameters"] == parameters + 16 * model.weights.prior.M * model.weights.prior.N
    assert facts["model_id"] == f"{model.weights.model_id:08x}"
    assert (facts["trained_steps"], facts["trained_minutes"]) == (600, 10.3)
    shipped = json.loads(run("info", "--model", "--json").output)
    stages = [shipped[f"kmac_per_px_{name}"] for name in ("prediction", "table_index", "synthesis")]
    assert sum(stages) == pytest.approx(shipped["kmac_per_px_receiver"], abs=0.02)
    assert shipped["kmac_per_px_receiver"] == pytest.approx(5.33, abs=0.01)  # docs/training.md
    assert run("info", "--model").output.splitlines()[0].split() == ["model_id", shipped["model_id"]]


def test_region_and_scale_of_a_file(tmp_path: Path) -> None:
    tiles, out = DATA / "golden" / "tiles.aec", tmp_path / "out.png"
    assert run("decode", tiles, out, *TINY, "--region", "20,30,100,50").output.endswith("100x50 RGB\n")
    with Image.open(out) as part, Image.open(DATA / "golden" / "tiles.png") as whole:
        assert np.abs(np.asarray(part).astype(int) - np.asarray(whole.crop((20, 30, 120, 80)))).max() <= 1
    assert run("decode", tiles, out, *TINY, "--scale", "1/8", "--threads", 2).output.endswith("25x17 RGB\n")
    for value, code, message in (
        ("1,2,3", 2, "'1,2,3' is not X,Y,WIDTH,HEIGHT"),
        ("150,0,60,10", 1, "region 150,0,60,10 is not inside the picture of 200x130"),
    ):
        result = run("decode", tiles, out, *TINY, "--region", value)
        assert (result.exit_code, message in result.stderr) == (code, True)


def test_compare_measures_what_a_viewer_sees(tmp_path: Path, coffee: Image.Image) -> None:
    source, packed, restored = tmp_path / "a.jpg", tmp_path / "a.aec", tmp_path / "a.png"
    save_marked(coffee.crop((0, 0, 200, 180)), source)
    run("encode", source, packed, "--strip")
    facts = json.loads(run("compare", source, packed, "--json").output)
    run("decode", packed, restored)
    with Image.open(source) as a, Image.open(restored) as b:
        pixels = np.asarray(ImageOps.exif_transpose(a)), np.asarray(b)
    assert facts["psnr"] == pytest.approx(metrics.psnr(*pixels), abs=1e-3)
    assert facts["ms_ssim"] == pytest.approx(metrics.ms_ssim(*pixels), abs=1e-5)
    assert facts["bpp"] == pytest.approx(8 * packed.stat().st_size / 36_000, abs=1e-4)
    assert run("compare", source, packed).output.splitlines()[0] == f"PSNR      {facts['psnr']:.2f} dB"


def test_compare_of_the_same_and_of_other_sizes(tmp_path: Path, photo: Path) -> None:
    facts = json.loads(run("compare", photo, photo, "--json").output)
    assert facts["psnr"] is None  # equal: JSON knows no infinity
    assert facts["ms_ssim"] is None  # too small
    assert run("compare", photo, photo).output.startswith(
        "PSNR      equal\nMS-SSIM   none: sides are not above 160 pixels\n"
    )
    result = run("compare", photo, DATA / "coffee.png")
    assert (result.exit_code, "pictures differ in shape" in result.stderr) == (1, True)


def test_compare_ignores_hidden_colors(tmp_path: Path) -> None:
    for name, color in (("a.png", (255, 0, 0, 0)), ("b.png", (0, 255, 0, 0))):
        Image.new("RGBA", (8, 8), color).save(tmp_path / name)
    assert run("compare", tmp_path / "a.png", tmp_path / "b.png").output.startswith("PSNR      equal")


def test_verbose_says_where_time_goes(tmp_path: Path, photo: Path) -> None:
    for arguments in (["-v", "encode"], ["encode", "--verbose"]):
        errors = run(*arguments, photo, tmp_path / "a.aec").stderr
        assert [line.split(":")[0] for line in errors.splitlines()] == ["read", "load model", "encode", "write"]


def test_version_and_help_of_every_command() -> None:
    assert run("--version").output == f"aecodec {aecodec.__version__}\n"
    for name in main.commands:
        result = run(name, "--help")
        assert result.exit_code == 0
        assert result.output.startswith(f"Usage: main {name}")


def bad_inputs(folder: Path) -> dict[str, tuple[list[object], int, str]]:
    """Command, exit code, and what the one line says."""
    good = DATA / "golden" / "gray.aec"
    files = {
        "empty.aec": b"",
        "shard.tar": b"no shard",
        "cut.aec": good.read_bytes()[:-1],
        "tail.aec": good.read_bytes() + b"garbage",
        "text.aec": b"hello, world, this is no picture",
        "empty.png": b"",
        "broken.png": (DATA / "coffee.png").read_bytes()[:20_000],
        "weights.safetensors": b"no weights",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "folder").mkdir()
    out, png = folder / "out.aec", folder / "out.png"
    tiny = ["--weights", DATA / "tiny.safetensors"]
    return {
        "missing source": (["encode", folder / "none.png", out], 1, "No such file or directory"),
        "missing file": (["decode", folder / "none.aec", png], 1, "none.aec: No such file or directory"),
        "source is a folder without images": (["encode", folder / "folder", out], 1, "contains no files to process"),
        "folder without .aec files": (["decode", folder / "folder", folder / "out"], 1, "contains no files to process"),
        "file is a folder": (["compare", folder / "folder", png], 1, "Is a directory"),
        "target is a folder": (["thumbnail", good, folder / "folder"], 1, "not a regular file"),
        "target is a device": (["encode", DATA / "coffee.png", "/dev/null"], 1, "not a regular file"),
        "quality": (["encode", DATA / "coffee.png", out, "-q", "0"], 2, "not in the range 1<=x<=100"),
        "no image": (["encode", folder / "text.aec", out], 1, "not an image that Pillow can read"),
        "empty image": (["encode", folder / "empty.png", out], 1, "not an image that Pillow can read"),
        "broken image": (["encode", folder / "broken.png", out], 1, "cannot be read"),
        "no such folder": (["encode", DATA / "coffee.png", folder / "a" / "b.aec"], 1, "no folder"),
        "weights": (
            ["encode", DATA / "coffee.png", out, "--weights", folder / "weights.safetensors"],
            1,
            "not a weights",
        ),
        "empty file": (["decode", folder / "empty.aec", png, *tiny], 1, "header needs 21 bytes, got 0"),
        "truncated file": (["decode", folder / "cut.aec", png, *tiny], 1, "section 0x01 needs"),
        "trailing garbage": (["decode", folder / "tail.aec", png, *tiny], 1, "section header needs 9 bytes, got 7"),
        "text": (["decode", folder / "text.aec", png], 1, "not an .aec file"),
        "other weights": (["decode", good, png], 1, "file needs weights"),
        "weights of others": (["decode", good, png], 1, "(--weights names a file of others)"),
        "suffix": (["decode", good, folder / "out.xyz", *tiny], 2, "no image format"),
        "encode to a picture": (["encode", DATA / "coffee.png", png, *tiny], 2, "out.png has the suffix of PNG"),
        "encode to a format of plugins": (["encode", DATA / "coffee.png", folder / "a.jxl", *tiny], 2, "suffix of JXL"),
        "decode to .aec": (["decode", good, out, *tiny], 2, "out.aec is named like an encoded one"),
        "no folder": (["encode", folder / "none", out, "-r"], 1, "no folder"),
        "no folder to tell of": (["info", folder / "none", "-r"], 1, "no folder"),
        "file to tell of": (["info", folder / "text.aec", "-r"], 2, "--recursive is for folders"),
        "two targets": (["encode", folder / "none", out, "--psnr", "35", "--bpp", "1"], 2, "give one of"),
        "tile": (["encode", DATA / "coffee.png", out, "--tile", "100"], 2, "100 is not a multiple of 64 in 64..4096"),
        "format": (["decode", folder / "folder", "--format", "xyz", *tiny], 2, "no image format"),
        "MS-SSIM of 1": (["encode", DATA / "coffee.png", out, "--ssim", "1"], 2, "neither an index below 1"),
        "MS-SSIM of nan": (["encode", DATA / "coffee.png", out, "--ssim", "nan"], 2, "nan is no finite number"),
        "quality of nan": (["encode", DATA / "coffee.png", out, "-q", "nan"], 2, "nan is no finite number"),
        "endless PSNR": (["encode", DATA / "coffee.png", out, "--psnr", "inf"], 2, "inf is no finite number"),
        "endless run": (
            ["train", folder / "folder", "--out", folder / "run", "--minutes", "inf"],
            2,
            "no finite number",
        ),
        "stdin twice": (["compare", "-", "-"], 2, "standard input can be one of the files"),
        "file elsewhere": (["info", "file://host/a.aec"], 1, "is on the machine host"),
        "info of text": (["info", folder / "text.aec"], 1, "text.aec: not an .aec file"),
        "no pictures": (["train", folder / "folder", "--out", folder / "run"], 1, "no pictures in"),
        "no data": (["train", folder / "none", "--out", folder / "run"], 1, "no file or folder"),
        "broken shard": (["train", folder / "shard.tar", "--out", folder / "run"], 1, "is not a tar shard"),
        "patch": (["train", folder / "folder", "--out", folder / "run", "--patch", "100"], 2, "multiple of 64"),
        "batch": (["train", folder / "folder", "--out", folder / "run", "--batch", "0"], 2, "multiple of 8"),
        "size": (["train", folder / "folder", "--out", folder / "run", "--model", "xl"], 2, "no model 'xl'"),
        "nothing to resume": (["train", folder / "folder", "--out", folder / "run", "--resume"], 1, "no checkpoint"),
        "no run": (["export", folder / "folder", folder / "w.safetensors"], 1, "holds no checkpoint"),
    }


@pytest.mark.xdist_group("compressai")
def test_bad_input_is_one_line_and_harms_nothing(tmp_path: Path) -> None:
    for name, (arguments, code, message) in bad_inputs(tmp_path).items():
        for kept in ("out.aec", "out.png"):
            (tmp_path / kept).write_bytes(b"precious")
        result = run(*arguments)
        assert result.exit_code == code, (name, result.output)
        last = result.stderr.splitlines()[-1]
        assert last.startswith("Error: "), name
        assert message in last, (name, last)
        assert code == 2 or len(result.stderr.splitlines()) == 1, name
        assert (tmp_path / "out.aec").read_bytes() == (tmp_path / "out.png").read_bytes() == b"precious", name
    assert not list(tmp_path.glob(".*"))


def test_source_is_never_the_target(tmp_path: Path, photo: Path) -> None:
    """By its own name, a link, another name of the file, a folder that is linked, or a URL."""
    packed = tmp_path / "packed"
    assert run("encode", photo, packed, *TINY).exit_code == 0
    for original, command in ((photo, "encode"), (packed, "decode")):
        before = original.read_bytes()
        for name in ("symbolic", "hard", "folder"):
            (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / "symbolic").symlink_to(original)
        (tmp_path / "hard").hardlink_to(original)
        (tmp_path / "folder").symlink_to(tmp_path)
        (tmp_path / "self.aec").unlink(missing_ok=True)
        (tmp_path / "self.aec").symlink_to(tmp_path / "self.aec")
        same = [original, tmp_path / "symbolic", tmp_path / "hard", tmp_path / "folder" / original.name]
        for target in [*same, f"local://{original}", f"file://{original}"]:
            result = run(command, original, target, *TINY)
            assert result.exit_code == (1 if command == "encode" else 2), (command, target)  # no suffix names a format
            assert result.stderr.startswith("Error: "), (command, target)
            assert original.read_bytes() == before, (command, target)
    (tmp_path / "other.aec").symlink_to(photo)
    result = run("encode", DATA / "coffee.png", tmp_path / "other.aec", *TINY)
    assert (result.exit_code, f"{photo}, where {tmp_path / 'other.aec'} leads to," in result.stderr) == (2, True)


def test_pipes_and_urls_in_every_command(tmp_path: Path, photo: Path) -> None:
    golden = DATA / "golden" / "gray.aec"
    strange = tmp_path / "my photo #1%.aec"
    strange.write_bytes(golden.read_bytes())
    quoted = str(strange).replace("%", "%25").replace(" ", "%20")
    memory = fsspec.filesystem("memory")
    memory.pipe("/a.aec", golden.read_bytes())
    memory.pipe("/a.png", (DATA / "golden" / "gray.png").read_bytes())
    original = DATA / "golden" / "gray.png"
    for name in ("-", "memory://a.aec", f"file://{quoted}", f"FILE://localhost{quoted}", f"file:{quoted}", "pipe"):
        for before, after in (
            (["info"], []),
            (["compare", original], TINY),
            (["verify"], ["--original", "memory://a.png", *TINY]),
            (["decode"], [tmp_path / "out.png", *TINY]),
        ):
            source, ends = name, []
            if name == "pipe":  # <(...) of a shell
                ends = list(os.pipe())
                os.write(ends[1], golden.read_bytes())
                os.close(ends.pop())
                source = f"/dev/fd/{ends[0]}"
            command = [str(word) for word in (*before, source, *after)]
            result = CliRunner().invoke(main, command, input=golden.read_bytes())
            for end in ends:
                os.close(end)
            assert result.exit_code == 0, (command, result.output)
    there, here = os.pipe()
    os.write(here, photo.read_bytes())
    os.close(here)
    assert run("encode", f"/dev/fd/{there}", "memory://b.aec", *TINY).exit_code == 0
    os.close(there)
    assert aecodec.read_header(memory.cat("/b.aec")).width == 150


@pytest.mark.parametrize("command", ["info", "show"])
def test_a_reader_that_has_enough_is_no_error(command: str) -> None:
    arguments = [sys.executable, "-m", "aecodec.cli", command, DATA / "golden" / "lossless.aec"]
    if command == "show":
        arguments.append("--terminal")
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=DATA) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.close()
        assert program.stderr.read() == b""
    assert program.returncode == 1


def test_file_that_is_named_like_a_pipe(tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("encode", photo, "./-", *TINY).exit_code == 0
    assert run("info", "./-").exit_code == 0


@pytest.mark.parametrize(
    ("command", "code"),
    [("info {aec} >&-", 0), ("info {aec} >&- 2>&-", 0), ("info - <&-", 1), ("info {aec} >/dev/full", 1)],
)
def test_closed_standard_streams(command: str, code: int) -> None:
    program = f"{sys.executable} -P -m aecodec.cli {command.format(aec=DATA / 'golden' / 'gray.aec')}"
    done = subprocess.run(program, shell=True, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr


def test_written_file_is_whole_where_standard_streams_are_closed(tmp_path: Path, photo: Path) -> None:
    """Which else would be the file: the lowest number that is free is the next to be opened."""
    words = [sys.executable, "-P", "-m", "aecodec.cli", "encode", photo, tmp_path / "a.aec", *TINY]
    done = subprocess.run(f"{shlex.join(map(str, words))} <&- >&- 2>&-", shell=True, check=False)
    assert done.returncode == 0
    assert run("decode", tmp_path / "a.aec", tmp_path / "a.png", *TINY).exit_code == 0


def test_smaller_tiles_on_request(tmp_path: Path, photo: Path) -> None:
    assert run("encode", photo, tmp_path / "a.aec", "--tile", 64, *TINY).exit_code == 0
    assert "6 of 64 x 64 pixels" in run("info", tmp_path / "a.aec").output


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "photo.aec"
    target.write_bytes(b"old")

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        replace_file(target, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["photo.aec"]
    assert target.read_bytes() == b"old"


def test_replaced_file_keeps_its_mode_and_a_new_one_follows_the_umask(tmp_path: Path) -> None:
    old, new = tmp_path / "old.aec", tmp_path / "new.aec"
    old.write_bytes(b"old")
    old.chmod(0o640)
    replace_file(old, b"new")
    replace_file(new, b"new")
    reference = tmp_path / "reference"
    reference.touch()
    assert (old.stat().st_mode & 0o777, new.stat().st_mode) == (0o640, reference.stat().st_mode)


def test_replacing_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    target, link = tmp_path / "real.aec", tmp_path / "link.aec"
    target.write_bytes(b"old")
    link.symlink_to(target)
    replace_file(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_interrupt_leaves_no_file(tmp_path: Path, photo: Path) -> None:
    target = tmp_path / "photo.aec"
    command = [sys.executable, "-P", "-m", "aecodec.cli", "-v", "encode", photo, target]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()  # the picture is read, the model is being loaded
        process.send_signal(signal.SIGINT)
    assert process.returncode != 0
    assert not target.exists()


def test_pictures_survive_pillow_pixel_cap(tmp_path: Path) -> None:
    """A picture that Pillow would warn about (above 89 MP) is read without a warning."""
    from aecodec.cli.files import read_picture

    path = tmp_path / "large.png"
    Image.new("1", (10_000, 9_000)).save(path)
    picture = read_picture(path)
    assert picture.pixels.shape == (9000, 10_000, 3)
    assert picture.gray


def test_shipped_models(photo: Path, tmp_path: Path) -> None:
    """Both sizes encode, and decoding finds out which it was."""
    assert list(weights.SHIPPED) == MODELS
    ids = []
    for model in MODELS:
        data = tmp_path / f"{model}.aec"
        assert run("encode", "--model", model, photo, data).exit_code == 0
        assert run("decode", data, tmp_path / f"{model}.png").exit_code == 0
        ids.append(aecodec.read_header(data.read_bytes()).model_id)
    assert ids == list(weights.SHIPPED.values())
    assert run("encode", "--model", "s", *TINY, photo, tmp_path / "both.aec").exit_code == 2


def test_result_that_is_larger_than_its_source_is_said(tmp_path: Path, coffee: Image.Image) -> None:
    scan, photo = tmp_path / "in" / "scan.png", tmp_path / "in" / "photo.png"
    scan.parent.mkdir()
    coffee.crop((0, 0, 150, 100)).save(photo)
    Image.new("1", (40, 40)).save(scan)
    packed, report = tmp_path / "a.aec", tmp_path / "report.csv"
    result = run("encode", scan, packed, *TINY)
    growth = "the .aec file is larger than its source"
    assert (result.exit_code, result.stderr) == (0, f"Note: {growth}\n")
    assert run("encode", scan, packed, *TINY, "--quiet").stderr == ""
    assert run("encode", photo, packed, *TINY).stderr == ""
    result = run("encode", scan.parent, tmp_path / "out", *TINY, "-j", "1", "--report", report)
    assert result.exit_code == 0
    with report.open() as file:
        notes = {Path(row["source"]).name: row["notes"] for row in csv.DictReader(file)}
    assert notes == {"scan.png": f"{scan}: {growth}", "photo.png": ""}
