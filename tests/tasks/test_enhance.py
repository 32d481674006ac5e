"""decode --denoise and --upscale, encode --denoise: nearer to the picture, and only where there is a head."""

from __future__ import annotations

import json
import os
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save
from support import DATA, psnr

import aecodec
from aecodec import Codec, InputError, tasks
from aecodec.cli.app import main

pytest.importorskip("torch")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments])


def with_noise(image: Image.Image, sigma: float) -> Image.Image:
    pixels = np.asarray(image)
    noise = sigma * np.random.default_rng(1).standard_normal(pixels.shape)
    return Image.fromarray(np.clip(np.round(pixels + noise), 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def denoiser(codec: Codec) -> tasks.Denoiser:
    return tasks.Denoiser(codec)


@pytest.fixture(scope="module")
def enlarger(codec: Codec) -> tasks.Enlarger:
    return tasks.Enlarger(codec)


@pytest.fixture
def clean(coffee: Image.Image) -> Image.Image:
    return coffee.crop((150, 100, 350, 250))  # sides that are no multiples of 16


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("sigma", [15, 40])
def test_denoised_file_is_nearer_to_the_picture(
    mode: str, sigma: int, clean: Image.Image, tmp_path: Path, codec: Codec
) -> None:
    clean = clean.convert(mode)
    file = tmp_path / "noisy.aec"
    file.write_bytes(codec.encode(with_noise(clean, sigma), quality=95))
    for how in (sigma, "auto"):
        done = run("decode", "--denoise", how, file, tmp_path / "out.png")
        assert done.exit_code == 0, done.output
        told = re.search(r"200x150 (RGB|L), noise of ([0-9.]+) levels removed", done.output)
        assert told is not None, done.output
        assert float(told[2]) == pytest.approx(sigma, rel=0 if how == sigma else 0.4)
        with Image.open(tmp_path / "out.png") as image:
            assert (image.mode, image.size) == (mode, clean.size)
            assert psnr(image, clean) > psnr(codec.decode(file.read_bytes()), clean) + 3


def test_noise_is_estimated_before_coding_and_from_files(
    clean: Image.Image, codec: Codec, denoiser: tasks.Denoiser
) -> None:
    for sigma in (10, 25, 50):
        noisy = with_noise(clean, sigma)
        for found in (denoiser.clean(noisy)[1], denoiser.decode(codec.encode(noisy, quality=100)).sigma):
            assert abs(found - sigma) < 0.4 * sigma, (found, sigma)


def test_clean_picture_is_left_as_it_is(coffee: Image.Image, codec: Codec, denoiser: tasks.Denoiser) -> None:
    data = codec.encode(coffee, quality=90)
    image, sigma = denoiser.decode(data)
    assert (image, sigma) == (codec.decode(data), 0)
    picture, sigma = denoiser.clean(coffee)
    assert (picture.pixels == np.asarray(coffee)).all()
    assert sigma == 0


def test_cleaning_before_coding_makes_a_smaller_and_better_file(clean: Image.Image, tmp_path: Path) -> None:
    with_noise(clean, 25).save(tmp_path / "noisy.png")
    for name, options in (("plain", ()), ("clean", ("--denoise", "auto")), ("known", ("--denoise", 25))):
        done = run("encode", "-q", 80, *options, tmp_path / "noisy.png", tmp_path / f"{name}.aec")
        assert done.exit_code == 0, done.output
        assert ("levels removed" in done.output) == bool(options)
    plain, *others = ((tmp_path / f"{name}.aec").read_bytes() for name in ("plain", "clean", "known"))
    for data in others:
        assert len(data) < 0.7 * len(plain)
        assert psnr(aecodec.decode(data), clean) > psnr(aecodec.decode(plain), clean) + 3


def test_enlarged_picture_is_nearer_than_bicubic(coffee: Image.Image, tmp_path: Path, codec: Codec) -> None:
    small = coffee.resize((300, 200), Image.Resampling.BICUBIC)
    data = codec.encode(small, quality=95)
    (tmp_path / "small.aec").write_bytes(data)
    done = run("decode", "--upscale", 2, tmp_path / "small.aec", tmp_path / "large.png")
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "large.png") as image:
        assert image.size == coffee.size
        cubic, decoded = (one.resize(coffee.size, Image.Resampling.BICUBIC) for one in (small, codec.decode(data)))
        assert psnr(image, coffee) > psnr(cubic, coffee)
        assert psnr(image, coffee) > psnr(decoded, coffee) + 0.3


@pytest.mark.parametrize("task", ["denoise", "upscale"])
def test_strips_and_regions_are_of_the_whole_picture(
    task: str, coffee: Image.Image, codec: Codec, denoiser: tasks.Denoiser, enlarger: tasks.Enlarger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    data = codec.encode(with_noise(coffee.crop((0, 0, 200, 330)), 20), quality=90, tile=1)

    def decode(**options: tuple[int, int, int, int]) -> NDArray[np.int16]:
        made = enlarger.decode(data, **options) if task == "upscale" else denoiser.decode(data, 20, **options).image
        return np.asarray(made).astype(np.int16)

    whole = decode()
    factor = 2 if task == "upscale" else 1
    x, y, w, h = 37, 150, 90, 101
    part = whole[factor * y : factor * (y + h), factor * x : factor * (x + w)]
    seen = decode(region=(x, y, w, h))
    # Bicubic enlargement repeats what lies at the edge of an area: two pixels there may differ.
    inner = slice(4, -4) if task == "upscale" else slice(None)
    assert np.abs(seen - part)[inner, inner].max() <= 1
    monkeypatch.setattr("aecodec.tasks.enhance._STRIP_PIXELS", 64 * 200)
    assert np.abs(decode() - whole).max() <= 1


def test_alpha_orientation_and_gray_are_kept(clean: Image.Image, codec: Codec, enlarger: tasks.Enlarger) -> None:
    shown = clean.convert("LA")
    shown.putalpha(Image.linear_gradient("L").resize(clean.size))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = BytesIO()
    shown.save(file, "PNG", exif=exif)
    data = codec.encode(Image.open(file), quality=60)
    large = enlarger.decode(data)
    assert (large.mode, large.size) == ("LA", (400, 300))
    assert large.getexif()[0x0112] == 6 if large.info.get("exif") is None else b"Exif" in large.info["exif"]
    alpha = np.asarray(large.getchannel("A").resize(clean.size, Image.Resampling.BOX), np.int16)
    assert np.abs(alpha - np.asarray(shown.getchannel("A"))).max() <= 3


@pytest.mark.parametrize("options", [("--denoise", "auto"), ("--denoise", "20"), ("--upscale", "2")])
def test_weights_without_a_head_are_refused(options: tuple[str, str], clean: Image.Image, tmp_path: Path) -> None:
    s = Codec.load("s", "cpu")
    (tmp_path / "s.aec").write_bytes(s.encode(clean))
    done = run("decode", *options, tmp_path / "s.aec", tmp_path / "out.png")
    assert done.exit_code == 1
    assert "needs weights" in done.output
    assert f"got {s.weights.model_id:08x}" in done.output
    assert done.output.count("\n") == 1
    assert not (tmp_path / "out.png").exists()
    if "--denoise" in options:
        clean.save(tmp_path / "clean.png")
        done = run("encode", *options, "--model", "s", tmp_path / "clean.png", tmp_path / "new.aec")
        assert (done.exit_code, "needs weights" in done.output) == (1, True)


@pytest.mark.parametrize(
    "options",
    [
        ("--denoise", "0"),
        ("--denoise", "61"),
        ("--denoise", "much"),
        ("--upscale", "3"),
        ("--upscale", "2", "--denoise", "auto"),
        ("--upscale", "2", "--scale", "1/2"),
        ("--denoise", "auto", "--partial"),
    ],
)
def test_options_that_are_not_for_each_other_are_usage_errors(options: tuple[str, ...], tmp_path: Path) -> None:
    assert run("decode", *options, DATA / "golden_shipped" / "m.aec", tmp_path / "out.png").exit_code == 2


def test_what_is_no_sigma_or_too_large_is_an_input_error(
    clean: Image.Image, codec: Codec, denoiser: tasks.Denoiser, enlarger: tasks.Enlarger
) -> None:
    data = codec.encode(clean)
    for sigma in (0, -1, 61, float("nan"), "auto"):
        with pytest.raises(InputError, match="sigma must be"):
            denoiser.decode(data, sigma)  # type: ignore[arg-type] # that is what is tried
    with pytest.raises(InputError, match="400x300"):
        enlarger.decode(data, max_pixels=100_000)


def test_a_file_that_is_no_head_is_refused(tmp_path: Path, codec: Codec) -> None:
    (tmp_path / "none.safetensors").write_bytes(b"nothing")
    for path in (tmp_path / "none.safetensors", tasks.head_path("upscale"), tmp_path / "missing"):
        with pytest.raises(InputError, match="is not a head to denoise"):
            tasks.Denoiser(codec, path)


def head_with(facts: dict[str, object], **tensors: NDArray[np.float16]) -> bytes:
    """The shipped head with another shape or other tensors."""
    path = tasks.head_path("denoise")
    with safe_open(path, framework="numpy") as file:
        before = file.metadata()
    shape = json.loads(before["shape"]) | facts
    return save(load_file(path) | tensors, before | {"shape": json.dumps(shape)})


def test_a_head_that_claims_more_than_it_has_takes_neither_time_nor_memory(tmp_path: Path, codec: Codec) -> None:
    path = tmp_path / "claims.safetensors"
    pixels = np.zeros((16, 16, 3), np.uint8)
    before = tasks.Denoiser(codec).clean(pixels, 20)[0].pixels
    for facts in ({"depth": 10**6}, {"coarse_depth": 10**6}, {"width": 10**8}):
        path.write_bytes(head_with(facts))
        with pytest.raises(InputError, match=r"is not a head to denoise: (Shape.* more blocks|.* is .64., not .1000)"):
            tasks.Denoiser(codec, path)
    path.write_bytes(head_with({}))
    np.testing.assert_array_equal(tasks.Denoiser(codec, path).clean(pixels, 20)[0].pixels, before)


@pytest.mark.parametrize(("name", "value"), [("noise", np.nan), ("leave.weight", np.inf), ("spread", 0)])
def test_a_head_of_broken_numbers_makes_no_black_picture(name: str, value: float, tmp_path: Path, codec: Codec) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(head_with({}, **{name: np.full_like(load_file(tasks.head_path("denoise"))[name], value)}))
    with pytest.raises(InputError, match=f"is not a head to denoise: {name} holds numbers"):
        tasks.Denoiser(codec, path)


def test_folders_are_cleaned_and_say_what_no_file_tells(clean: Image.Image, tmp_path: Path, codec: Codec) -> None:
    photos, archive = tmp_path / "photos", tmp_path / "archive"
    photos.mkdir()
    with_noise(clean, 25).save(photos / "a.png")
    assert run("encode", photos, archive, "-j", 1).exit_code == 0
    before = (archive / "a.png.aec").read_bytes()
    done = run("encode", photos, archive, "-j", 1, "--denoise", "auto")
    assert "no file tells whether it was cleaned" in done.output
    assert run("encode", photos, archive, "-j", 1, "--denoise", "auto", "--force").exit_code == 0
    assert (archive / "a.png.aec").stat().st_size < len(before)
    (archive / "a.png.aec").write_bytes(before)
    assert run("decode", archive, tmp_path / "plain", "-j", 1).exit_code == 0
    done = run("decode", archive, tmp_path / "plain", "-j", 1, "--denoise", "auto")  # another picture is there
    assert (done.exit_code, "--force" in done.output) == (1, True)
    assert run("decode", archive, tmp_path / "large", "-j", 1, "--upscale", 2).exit_code == 0
    with Image.open(tmp_path / "large" / "a.png.png") as image:
        assert image.size == (400, 300)
    assert run("decode", archive, tmp_path / "large", "-j", 1, "--upscale", 2).exit_code == 0  # the same: up to date


def test_without_the_options_files_and_pictures_are_the_same(clean: Image.Image, tmp_path: Path, codec: Codec) -> None:
    clean.save(tmp_path / "a.png")
    assert run("encode", tmp_path / "a.png", tmp_path / "a.aec").exit_code == 0
    data = (tmp_path / "a.aec").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert data == codec.encode(image)
    assert run("decode", tmp_path / "a.aec", tmp_path / "b.png").exit_code == 0
    with Image.open(tmp_path / "b.png") as image:
        assert image.tobytes() == codec.decode(data).tobytes()


def test_heads_are_small() -> None:
    assert all(tasks.head_path(task).stat().st_size < 2.5e6 for task in ("denoise", "upscale"))
