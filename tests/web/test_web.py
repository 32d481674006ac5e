"""The decoder in Node and in a real browser: the very same pixels, whatever the file."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_golden import CONTEXT_GOLDEN, GOLDEN, SHIPPED_GOLDEN
from make_invalid import INVALID, cases, golden
from native.drawing import blended, drawn_over, lossless, random_part, shown_boxes, whole
from PIL import ExifTags, Image, ImageOps
from playwright.sync_api import Browser, Page
from support import DATA, psnr, undrawn
from web.conftest import WEB, Site

import aecodec
from aecodec import Codec, read_header
from aecodec.format.container import Header, SectionKind, pack, unpack

pytestmark = [pytest.mark.xdist_group("web"), pytest.mark.slow]  # it is built once, in half a minute
TINY = DATA / "tiny.safetensors"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.aec"))
CASES = cases()
SIMD = pytest.mark.parametrize("simd", [True, False], ids=["simd", "plain"])


def digest(image: Image.Image) -> dict[str, Any]:
    """Of RGBA pixels, as the JavaScript says it."""
    rgba = image.convert("RGBA")
    return {"width": image.width, "height": image.height, "sha256": hashlib.sha256(rgba.tobytes()).hexdigest()}


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def run(
    node: str, dist: Path, files: list[Path], *, simd: bool = True, weights: Path | str = TINY, **options: Any
) -> Any:
    command = [
        node,
        Path(__file__).with_name("decode.mjs"),
        dist,
        json.dumps(simd),
        json.dumps(options),
        weights,
        *files,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_sizes_are_small(dist: Path) -> None:
    for name in ("aecodec.wasm", "aecodec-simd.wasm"):
        assert len(gzip.compress((dist / name).read_bytes())) <= 200_000
    for name in ("aecodec-encode.wasm", "aecodec-encode-simd.wasm"):
        assert len(gzip.compress((dist / name).read_bytes())) <= 200_000
    for name in ("m", "s"):
        assert (dist / f"{name}.receiver.gz").stat().st_size <= 3_000_000
        assert (dist / f"{name}.networks.gz").stat().st_size <= 5 << 20


def test_version_is_that_of_the_python_package() -> None:
    version = re.search(r'^version = "(.*)"', (WEB.parent / "pyproject.toml").read_text(), re.M)
    assert version
    assert json.loads((WEB / "package.json").read_text())["version"] == version[1]


@SIMD
def test_golden_files_in_node(node: str, dist: Path, simd: bool) -> None:
    results = run(node, dist, [GOLDEN / f"{name}.aec" for name in NAMES], simd=simd)
    assert results == [digest(opened(GOLDEN / f"{name}.png")) for name in NAMES]


def test_golden_file_with_a_context_of_z_in_node(node: str, dist: Path) -> None:
    results = run(node, dist, [CONTEXT_GOLDEN / "context.aec"], weights=DATA / "tiny_context.safetensors")
    assert results == [digest(opened(CONTEXT_GOLDEN / "context.png"))]


def test_golden_files_of_shipped_models_in_node(node: str, dist: Path) -> None:
    """By their receivers, which have another digest but the same model id."""
    results = run(node, dist, [SHIPPED_GOLDEN / f"{name}.aec" for name in "ms"], weights="")
    assert results == [digest(opened(SHIPPED_GOLDEN / f"{name}.png")) for name in "ms"]


@SIMD
def test_invalid_files_give_errors_by_name_in_node(node: str, dist: Path, simd: bool) -> None:
    results = run(node, dist, [INVALID / f"{name}.aec" for name in CASES], simd=simd, maxPixels=2**28)
    assert {name: result.get("error") for name, result in zip(CASES, results, strict=True)} == {
        name: case.error.__name__ for name, case in CASES.items()
    }
    assert all(result["codec"] for result in results)


@pytest.mark.parametrize(
    ("region", "scale"), [((70, 10, 100, 100), 1), (None, 0.5), ((3, 5, 150, 99), 0.25), (None, 0.125)]
)
def test_region_and_scale_in_node(node: str, dist: Path, tiny: Codec, region: Any, scale: float) -> None:
    options = {"scale": scale} | ({"region": region} if region else {})
    expected = tiny.decode(golden("tiles"), region=region, scale=scale)
    assert run(node, dist, [GOLDEN / "tiles.aec"], **options) == [digest(expected)]


@pytest.mark.parametrize(
    "options",
    [{"scale": 3}, {"region": [0, 0, 0, 5]}, {"region": [0, 0, 999, 5]}, {"region": [1, 2]}, {"maxPixels": -1}],
)
def test_wrong_options_in_node(node: str, dist: Path, options: Any) -> None:
    (result,) = run(node, dist, [GOLDEN / "tiles.aec"], **options)
    assert result["error"] == "InputError"


def test_damaged_weights_in_node(node: str, dist: Path, tmp_path: Path) -> None:
    data = bytearray(TINY.read_bytes())
    data[-9] ^= 1
    (tmp_path / "weights").write_bytes(data)
    (result,) = run(node, dist, [GOLDEN / "gray.aec"], weights=tmp_path / "weights")
    assert result["error"] == "InputError"
    assert "damaged" in result["message"]


def masks() -> dict[str, Image.Image]:
    """Pictures whose lossless WebP files use all transforms, caches and codes."""
    rng = np.random.default_rng(1)
    photograph = opened(DATA / "coffee.png").convert("RGB")
    noise = rng.integers(0, 256, (70, 100, 3), dtype=np.uint8)
    gradient = np.add.outer(2 * np.arange(70), 2 * np.arange(100)).astype(np.uint8)
    found = {
        "photograph": photograph.crop((150, 150, 250, 220)),
        "noise": Image.fromarray(noise),
        "gradient": Image.fromarray(gradient).convert("RGB"),
        "soft": photograph.convert("L").crop((150, 150, 250, 220)).convert("RGB"),
        "transparent": Image.fromarray(np.dstack([noise, gradient])),
    }
    for colors in (2, 3, 13, 60, 200):
        found[f"{colors} colors"] = found["photograph"].quantize(colors).convert("RGB")
    repeated = np.tile(noise[:14, :25], (5, 4, 1))
    repeated[rng.random(repeated.shape) < 0.01] ^= 7
    return found | {"repeated": Image.fromarray(repeated), "whole": photograph.resize((100, 70))}


def test_alpha_of_any_lossless_webp_in_node(node: str, dist: Path, tiny: Codec, tmp_path: Path) -> None:
    """Browsers and Node have no libwebp."""
    header, _, tiles = unpack(tiny.encode(Image.new("RGB", (100, 70)), tile=2))
    files, expected = [], []
    for name, image in masks().items():
        for method, quality in ((0, 0), (3, 60), (5, 90)):
            webp = BytesIO()
            image.save(webp, "WEBP", lossless=True, method=method, quality=quality, exact=True)
            payload = struct.pack("<I", len(webp.getvalue())) + webp.getvalue()
            if image.mode == "RGBA":  # whose file has other chunks in front
                start = payload.index(b"VP8L")
                body = payload[start:]
                riff = b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
                payload = struct.pack("<I", len(riff)) + riff
            data = pack(replace(header, alpha=True), {SectionKind.ALPHA: payload}, tiles)
            files.append(tmp_path / f"{name}-{method}.aec")
            files[-1].write_bytes(data)
            picture = tiny.decode(data)
            assert np.array_equal(np.asarray(picture)[..., 3], np.asarray(image)[..., 1])
            expected.append(digest(picture))
    assert run(node, dist, files) == expected


def test_damaged_alpha_never_stops_the_decoder(node: str, dist: Path, tiny: Codec, tmp_path: Path) -> None:
    """A picture or a FormatError, never another end."""
    header, _, tiles = unpack(tiny.encode(Image.new("RGB", (100, 70)), tile=2))
    webp = BytesIO()
    masks()["photograph"].save(webp, "WEBP", lossless=True, method=4)
    rng = np.random.default_rng(2)
    files = []
    for i in range(60):
        mask = bytearray(webp.getvalue())
        for place in rng.integers(25, 25 + 2 ** rng.integers(2, 12), rng.integers(1, 4)):
            mask[place] ^= 1 << rng.integers(8)
        payload = struct.pack("<I", len(mask)) + mask
        files.append(tmp_path / f"{i}.aec")
        files[-1].write_bytes(pack(replace(header, alpha=True), {SectionKind.ALPHA: payload}, tiles))
    results = run(node, dist, files)
    assert {result.get("error") for result in results} == {None, "FormatError"}


def test_command_of_node(node: str, dist: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.png"
    subprocess.run([node, dist / "cli.js", "decode", SHIPPED_GOLDEN / "m.aec", target], check=True)
    assert digest(opened(target)) == digest(opened(SHIPPED_GOLDEN / "m.png"))
    done = subprocess.run(
        [node, dist / "cli.js", "decode", INVALID / "wrong-magic.aec", target],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: not an .aec file")
    said = subprocess.run([node, dist / "cli.js", "info", GOLDEN / "gray.aec"], capture_output=True, check=True)
    assert json.loads(said.stdout)["gray"]


def test_png_is_turned_as_its_exif_block_says(node: str, dist: Path, tiny: Codec, tmp_path: Path) -> None:
    header, sections, tiles = unpack(golden("alpha"))
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[ExifTags.Base.Orientation] = orientation
        data = pack(header, {**sections, SectionKind.EXIF: exif.tobytes()[6:]}, tiles)
        (tmp_path / f"{orientation}.aec").write_bytes(data)
    run(node, dist, sorted(tmp_path.glob("*.aec")), png=True)
    plain = tiny.decode(golden("alpha"))
    for orientation in range(1, 9):
        plain.getexif()[ExifTags.Base.Orientation] = orientation
        assert digest(opened(tmp_path / f"{orientation}.aec.png")) == digest(ImageOps.exif_transpose(plain)), (
            orientation
        )


def without_weights(folder: Path) -> dict[str, tuple[Path, Image.Image]]:
    """Files without networks, by name, and their pictures."""
    rng = np.random.default_rng(3)
    found = {}
    for name, gray in (("color", False), ("gray", True)):
        header = Header(150, 100, 0, 0, gray=gray, tile=1)
        parts = [random_part(rng, box, everything=True) for box in shown_boxes(header)]
        path = folder / f"{name}-without-weights.aec"
        path.write_bytes(lossless(header, parts, flags=int(gray)))
        found[name] = path, Image.fromarray(whole(header, dict(enumerate(parts)))[0])
    return found


@SIMD
def test_files_without_networks_need_no_weights_in_node(node: str, dist: Path, tmp_path: Path, simd: bool) -> None:
    files = without_weights(tmp_path).values()
    bare = tmp_path / "dist"  # where none could be found
    shutil.copytree(dist, bare, ignore=shutil.ignore_patterns("*.gz"))
    results = run(node, bare, [path for path, _ in files], simd=simd, weights="")
    assert results == [digest(picture) for _, picture in files]
    path, picture = without_weights(tmp_path)["color"]
    results = run(node, bare, [path], weights="", region=[70, 64, 80, 20])
    assert results == [digest(picture.crop((70, 64, 150, 84)))]
    said = subprocess.run([node, bare / "cli.js", "info", path], capture_output=True, check=True)
    assert (json.loads(said.stdout)["quality"], json.loads(said.stdout)["modelId"]) == (0, 0)


def test_drawn_pixels_over_those_of_networks_in_node(node: str, dist: Path, tiny: Codec, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    files, expected = [], []
    for name in ("tiles", "gray"):
        header = read_header(golden(name))
        parts = {i: random_part(rng, box, everything=False) for i, box in enumerate(shown_boxes(header)) if i % 2 == 0}
        files.append(tmp_path / f"{name}.aec")
        files[-1].write_bytes(drawn_over(golden(name), parts))
        rendered = np.asarray(opened(GOLDEN / f"{name}.png").convert("RGB"))
        expected.append(digest(Image.fromarray(blended(rendered, header, parts, header.bounds, 1))))
    assert run(node, dist, files) == expected


# -- Encoding in Node --------------------------------------------------------------------------------------------------


def coffee(width: int, height: int) -> Image.Image:
    return opened(DATA / "coffee.png").convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def encoded(
    node: str,
    dist: Path,
    folder: Path,
    jobs: list[tuple[Image.Image, dict[str, Any]]],
    *,
    simd: bool = True,
    weights: Path | str = TINY,
) -> list[tuple[dict[str, Any], bytes]]:
    """What the API says of each picture, and its file."""
    listed = []
    for i, (image, options) in enumerate(jobs):
        rgba = image.convert("RGBA")
        (folder / f"{i}.rgba").write_bytes(rgba.tobytes())
        listed.append((*rgba.size, str(folder / f"{i}.rgba"), options, str(folder / f"{i}.aec")))
    (folder / "jobs.json").write_text(json.dumps(listed))
    command = [node, Path(__file__).with_name("encode.mjs"), dist, json.dumps(simd), weights, folder / "jobs.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        (result, b"" if "error" in result else (folder / f"{i}.aec").read_bytes()) for i, result in enumerate(results)
    ]


def check_encoded(codec: Codec, image: Image.Image, data: bytes, shown: dict[str, Any], expected: bytes) -> None:
    """A file shows the same here as there, and is as good and as large as that of Python without drawn pixels."""
    picture = codec.verify(data).image
    assert {name: shown[name] for name in ("width", "height", "sha256")} == digest(picture)
    assert read_header(data) == read_header(expected)
    assert len(data) == pytest.approx(len(expected), rel=0.02)
    assert psnr(image, picture) == pytest.approx(psnr(image, codec.decode(expected)), rel=0.02)


@SIMD
def test_files_encoded_in_node_are_those_of_python(
    node: str, dist: Path, tiny: Codec, tmp_path: Path, simd: bool
) -> None:
    jobs: list[tuple[Image.Image, dict[str, Any]]] = [
        (coffee(250, 170), {"quality": 60}),
        (coffee(1, 1), {"quality": 1, "effort": 0}),
        (coffee(70, 1100), {"quality": 33.3, "effort": 1}),
        (coffee(130, 70), {}),
    ]
    for (image, options), (result, data) in zip(jobs, encoded(node, dist, tmp_path, jobs, simd=simd), strict=True):
        pixels = np.asarray(image)
        expected = undrawn(tiny, pixels, options.get("quality", 55), options.get("effort", 3))
        check_encoded(tiny, image, data, result, expected)


@pytest.mark.parametrize("name", ["m", "s"])
def test_shipped_models_encode_in_node(node: str, dist: Path, tmp_path: Path, name: str) -> None:
    image, codec = coffee(160, 120), Codec.load(name, "cpu")
    jobs = [(image, {"model": name, "quality": 50}), (image, {"model": name, "bytes": 2000})]
    (one, data), (_, small) = encoded(node, dist, tmp_path, jobs, weights="")
    check_encoded(codec, image, data, one, undrawn(codec, np.asarray(image), 50, 3))
    assert 0.97 * 2000 <= len(small) <= 2000
    assert codec.decode(small).size == image.size


def test_what_cannot_be_encoded_gives_errors_by_name_in_node(node: str, dist: Path, tmp_path: Path) -> None:
    image = coffee(20, 10)
    wrong: list[dict[str, Any]] = [
        *({"quality": quality} for quality in (None, "50", 0.99, 100.01, -1)),
        *({"bytes": count} for count in (0, -1, 1.5, "9", 60)),
        {"quality": 50, "bytes": 1000},
        *({"effort": effort} for effort in (-1, 10, 0.5)),
        *({"model": model} for model in ("x", "", 3.5, -1)),
        {"maxPixels": 199},
    ]
    results = encoded(node, dist, tmp_path, [(image, options) for options in wrong])
    assert [result.get("error") for result, _ in results] == ["InputError"] * len(wrong)
    transparent = image.copy()
    transparent.putalpha(254)
    results = encoded(node, dist, tmp_path, [(transparent, {}), (image, {"model": 77})])
    assert [result.get("error") for result, _ in results] == ["UnsupportedError"] * 2
    assert "alpha is 254 at 0,0" in results[0][0]["message"]


def test_pixels_without_color_become_a_gray_file_in_node(node: str, dist: Path, tiny: Codec, tmp_path: Path) -> None:
    gray = coffee(130, 70).convert("L")
    nearly = np.asarray(gray.convert("RGB")).copy()
    nearly[-1, -1, 2] ^= 1
    (one, data), (_, colored) = encoded(node, dist, tmp_path, [(gray, {}), (Image.fromarray(nearly), {})])
    check_encoded(tiny, gray, data, one, undrawn(tiny, np.asarray(gray), 55, 3))
    assert (read_header(data).gray, read_header(colored).gray) == (True, False)


def script(node: str, dist: Path, code: str, *arguments: Path | str, timeout: float = 60) -> Any:
    """What a module returns that has the package as `api` and core.js as `core`, and arguments."""
    front = f"""
      import {{ readFile }} from "node:fs/promises";
      import * as api from "{dist}/index.js";
      import * as core from "{dist}/core.js";
      const work = async (...arguments_) => {{ {code} }};
      console.log(JSON.stringify(await work(...process.argv.slice(1))));
    """
    command = [node, "--input-type=module", "-e", front, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_sizes_beyond_32_bits_are_refused_by_the_encoder(node: str, dist: Path) -> None:
    """Colors of 40000 x 40000 pixels have more bytes than a size counts there."""
    code = """
      const [weights] = arguments_, model = await api.addWeights(await readFile(weights));
      await api.encode({ width: 1, height: 1, data: new Uint8Array([1, 2, 3, 255]) }, { model });
      return core.using((library) => library.within([48, 8], (options, out) => {
        new Uint8Array(library.view().buffer).fill(0, options, options + 48);
        library.view().setUint32(options, 48, true);
        library.view().setUint32(options + 40, 1, true);
        library.view().setBigUint64(options + 24, 2n ** 40n, true);
        try {
          const encoder = library.encoders.get(model);
          library.call("aecodec_encode", encoder, out, 40000, 40000, 1, 40000, options, out, out + 4);
        } catch (error) {
          return error.message;
        }
      }), "aecodec-encode");
    """
    assert script(node, dist, code, TINY) == "not enough memory"


def test_calls_while_simd_is_switched_use_what_was_asked_for_last(node: str, dist: Path) -> None:
    code = """
      const [weights, file] = arguments_, data = await readFile(file), seen = [];
      const { Instance } = WebAssembly, names = new Map(), { compile } = WebAssembly;
      WebAssembly.compile = async (bytes) => {
        const module = await compile(bytes);
        names.set(module, WebAssembly.validate(bytes) && bytes.length);
        return module;
      };
      WebAssembly.Instance = class extends Instance {
        constructor(module, ...rest) { super(module, ...rest); seen.push(names.get(module)); }
      };
      await api.addWeights(await readFile(weights));
      const before = api.decode(data);
      await api.useSimd(false);
      await before;
      await api.decode(data);
      return seen.at(-1);
    """
    assert script(node, dist, code, TINY, GOLDEN / "gray.aec") == (dist / "aecodec.wasm").stat().st_size


@pytest.mark.parametrize(
    "arrays",
    [
        {"a": {"dtype": "I8", "data_offsets": [0, 1 << 53]}},
        {"a": {"dtype": "I16", "data_offsets": [0, 3]}},
        {"a": {"dtype": "I8", "data_offsets": [-5, 3]}},
        {f"a{i}": {"dtype": "I8", "data_offsets": [0, 1 << 20]} for i in range(20_000)},  # an hour's work
        {"a": {"dtype": 7}},
        {"a": None},
    ],
)
def test_hostile_places_of_weights_end_in_node(node: str, dist: Path, tmp_path: Path, arrays: Any) -> None:
    index = json.dumps({"__metadata__": {"planes": "1", "sha256": "0" * 64}, **arrays}).encode()
    (tmp_path / "weights").write_bytes(struct.pack("<Q", len(index)) + index + bytes(1 << 20))
    code = "return api.addWeights(await readFile(arguments_[0])).then(() => '', (error) => error.name);"
    assert script(node, dist, code, tmp_path / "weights") == "InputError"


# -- Several threads -------------------------------------------------------------------------------------------------


def changed(dist: Path, folder: Path, name: str, old: str, new: str) -> Path:
    """The package with something else in one of its files."""
    shutil.copytree(dist, folder, ignore=shutil.ignore_patterns(name, "*.gz"))
    text = (dist / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))
    return folder


@pytest.fixture(scope="module")
def large(tiny: Codec) -> bytes:
    """A file of which three threads decode parts."""
    return tiny.encode(opened(DATA / "coffee.png").convert("RGB").resize((1601, 999)))


@pytest.fixture
def eager(dist: Path, tmp_path: Path) -> Path:
    """The package that decodes small pictures as others: in parts of some rows or columns."""
    return changed(dist, tmp_path / "dist", "parts.js", "LEAST = 500_000", "LEAST = 999")


@pytest.mark.parametrize("threads", [2, 5])
def test_golden_and_invalid_files_by_several_threads_in_node(node: str, eager: Path, threads: int) -> None:
    files = [GOLDEN / f"{name}.aec" for name in NAMES] + [INVALID / f"{name}.aec" for name in CASES]
    expected = [digest(opened(GOLDEN / f"{name}.png")) for name in NAMES]
    results = run(node, eager, files, threads=threads, maxPixels=2**28)
    assert results[: len(NAMES)] == expected
    assert {name: result.get("error") for name, result in zip(CASES, results[len(NAMES) :], strict=True)} == {
        name: case.error.__name__ for name, case in CASES.items()
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"region": [37, 21, 150, 93]},
        {"scale": 0.5},
        {"region": [3, 5, 151, 99], "scale": 0.125},
        {"region": [9] * 4},
    ],
)
def test_parts_of_several_threads_are_those_of_one_in_node(
    node: str, eager: Path, tiny: Codec, tmp_path: Path, options: Any
) -> None:
    """Whatever a file holds: networks, pixels drawn over theirs, or drawn ones alone."""
    rng = np.random.default_rng(5)
    photograph = opened(DATA / "coffee.png").convert("RGB").crop((90, 90, 290, 230))
    data = tiny.encode(photograph, tile=1)
    some = {i: random_part(rng, box, everything=False) for i, box in enumerate(shown_boxes(read_header(data))) if i % 3}
    header = Header(200, 140, 0, 0, tile=1)
    parts = [random_part(rng, box, everything=True) for box in shown_boxes(header)]
    files = [tmp_path / name for name in ("a.aec", "b.aec", "c.aec")]
    for file, content in zip(files, (data, drawn_over(data, some), lossless(header, parts)), strict=True):
        file.write_bytes(content)
    alone = run(node, eager, files, threads=1, **options)
    assert not any("error" in result for result in alone)
    assert run(node, eager, files, threads=4, **options) == alone


def test_damage_in_one_part_gives_the_error_of_one_thread(node: str, eager: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.aec"
    for place in (-9, -200):
        data = bytearray(golden("tiles"))
        data[place] ^= 1
        file.write_bytes(data)
        (expected,) = run(node, eager, [file], threads=1)
        assert expected["codec"]
        assert run(node, eager, [file], threads=3) == [expected]
    (result,) = run(node, eager, [file], threads=0)
    assert (result["error"], result["message"]) == ("InputError", "threads must be 1..16, got 0")


def test_worker_that_dies_is_an_error(node: str, dist: Path, large: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.aec").write_bytes(large)
    dying = changed(
        dist, tmp_path / "dist", "worker.js", "    try {", "    if (name === 'decode') process.exit(3);\n    try {"
    )
    (result,) = run(node, dying, [tmp_path / "a.aec"], threads=2)
    assert (result["error"], result["message"]) == ("CodecError", "the worker stopped: exit code 3")


def test_one_thread_decodes_where_no_worker_starts(
    node: str, dist: Path, tiny: Codec, large: bytes, tmp_path: Path
) -> None:
    (tmp_path / "a.aec").write_bytes(large)
    broken = changed(
        dist, tmp_path / "dist", "worker.js", "import * as core", "import * as no from './no.js';\nimport * as core"
    )
    assert run(node, broken, [tmp_path / "a.aec"], threads=3) == [digest(tiny.decode(large))]


def test_workers_are_given_back_when_idle(node: str, dist: Path, large: bytes, tmp_path: Path) -> None:
    """Node ends by itself while they wait, and they wait no longer than they are said to."""
    (tmp_path / "a.aec").write_bytes(large)
    folder = changed(dist, tmp_path / "dist", "parts.js", "IDLE = 5000", "IDLE = 1")
    code = f"""
      import {{ readFile }} from "node:fs/promises";
      import {{ Thread }} from "{folder}/thread.js";
      import {{ addWeights, decode }} from "{folder}/index.js";
      const {{ end }} = Thread.prototype;
      const ended = new Promise((resolve) => {{
        Thread.prototype.end = function (...why) {{ resolve(why); end.apply(this, why); }};
      }});
      await addWeights(await readFile("{TINY}"));
      await decode(await readFile("{tmp_path}/a.aec"), {{ threads: 2 }});
      const waiting = setInterval(() => {{}}, 1000);
      console.log(JSON.stringify(await ended));
      clearInterval(waiting);
    """
    done = subprocess.run(
        [node, "--input-type=module", "-e", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


# -- In a browser ----------------------------------------------------------------------------------------------------

IN_PAGE = """async ([simd, files]) => {
  const api = await import("/index.js");
  await api.useSimd(simd);
  await api.addWeights(new URL("/data/tiny.safetensors", location.href));
  const results = [];
  for (const file of files) {
    try {
      const data = await (await fetch(file)).arrayBuffer();
      const picture = await api.decode(data);
      if (!(picture instanceof ImageData)) throw new Error("no ImageData");
      const sha256 = new Uint8Array(await crypto.subtle.digest("SHA-256", picture.data));
      const hex = [...sha256].map((byte) => byte.toString(16).padStart(2, "0")).join("");
      results.push({ width: picture.width, height: picture.height, sha256: hex });
    } catch (error) {
      results.push({ error: error.name });
    }
  }
  return results;
}"""


@pytest.fixture
def page(browser: Browser) -> Any:
    with browser.new_context(viewport={"width": 1000, "height": 1200}) as context:
        yield context.new_page()


ENCODE_IN_PAGE = """async ([name, width, height, options]) => {
  const api = await import("/index.js");
  const canvas = new OffscreenCanvas(width, height), context = canvas.getContext("2d");
  context.drawImage(await createImageBitmap(await (await fetch(name)).blob()), 0, 0, width, height);
  const picture = context.getImageData(0, 0, width, height);
  const start = performance.now();
  let frames = 0, done = false;
  const count = () => { frames++; if (!done) setTimeout(count, 10); };
  count();
  const file = await api.encode(picture, options);
  done = true;
  const seconds = (performance.now() - start) / 1000;
  const shown = await api.decode(file);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", shown.data));
  const sha256 = [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const { width: w, height: h } = shown;
  return { width: w, height: h, sha256, seconds, frames, file: [...file], pixels: [...picture.data] };
}"""


def test_a_page_encodes_and_goes_on_meanwhile(page: Page, site: Site) -> None:
    (site.folder / "empty.html").write_text("<!doctype html><title>empty</title>")
    for _ in range(2):
        page.goto(f"{site.url}/empty.html")
        result = page.evaluate(ENCODE_IN_PAGE, ["/data/coffee.png", 200, 130, {"model": "s"}])
        assert result["frames"] >= 3
    rgba = np.array(result["pixels"], np.uint8).reshape(130, 200, 4)
    image, codec = Image.fromarray(rgba[:, :, :3]), Codec.load("s", "cpu")
    check_encoded(codec, image, bytes(result["file"]), result, undrawn(codec, np.asarray(image), 55, 3))
    fetched = [request for request in site.requests if request.endswith(".gz") or "encode" in request]
    assert sorted(fetched) == ["/aecodec-encode-simd.wasm", "/encode.js", "/s.networks.gz", "/s.receiver.gz"]


def test_a_page_that_only_decodes_fetches_nothing_of_the_encoder(page: Page, site: Site) -> None:
    (site.folder / "empty.html").write_text("<!doctype html><title>empty</title>")
    for file in (*site.folder.glob("*encode*"), *site.folder.glob("*networks*")):
        file.unlink()  # as docs/tasks/web.md says that one may
    page.goto(f"{site.url}/empty.html")
    assert page.evaluate(IN_PAGE, [True, ["/data/golden/gray.aec"]]) == [digest(opened(GOLDEN / "gray.png"))]
    assert not [request for request in site.requests if "networks" in request or "encode" in request]


def test_part_of_a_buffer_is_sent_without_the_rest(page: Page, site: Site) -> None:
    (site.folder / "empty.html").write_text("<!doctype html><title>empty</title>")
    page.goto(f"{site.url}/empty.html")
    code = """async () => {
      const api = await import("/index.js"), sent = [], { postMessage } = Worker.prototype;
      Worker.prototype.postMessage = function (message, ...rest) {
        for (const value of message.values) sent.push((value?.data ?? value)?.buffer?.byteLength);
        return postMessage.call(this, message, ...rest);
      };
      const file = new Uint8Array(await (await fetch("/data/golden/gray.aec")).arrayBuffer());
      const many = new Uint8Array(1e6);
      many.set(file, 1000);
      const { width } = await api.readHeader(many.subarray(1000, 1000 + file.length));
      const data = new Uint8ClampedArray(1e6).subarray(0, 400);
      await api.encode({ width: 10, height: 10, data }, { model: "x" }).catch(() => {});
      return [width, sent.filter((size) => size !== undefined), file.length];
    }"""
    width, sent, length = page.evaluate(code)
    assert (width, sent) == (read_header(golden("gray")).width, [length, 400])


def test_a_sandboxed_frame_decodes(page: Page, site: Site) -> None:
    """It has an origin of its own, so neither a cache nor workers of a server."""
    (site.folder / "page.html").write_text('<!doctype html><iframe sandbox="allow-scripts" src="frame.html"></iframe>')
    (site.folder / "frame.html").write_text("""<!doctype html><script type="module">
      import { decode } from "./index.js";
      const data = await (await fetch("data/golden_shipped/s.aec")).arrayBuffer();
      const said = await decode(data).then(({ width }) => String(width), (error) => error.message);
      await fetch("/told", { method: "POST", mode: "no-cors", body: said });
    </script>""")
    page.goto(f"{site.url}/page.html")
    width = aecodec.read_header((SHIPPED_GOLDEN / "s.aec").read_bytes()).width
    assert site.told.get(timeout=60) == str(width).encode()


HOSTILE = """async () => {
  const { encode } = await import("/index.js");
  const data = new Uint8ClampedArray(400);
  const wrong = [
    [undefined], [null], [7], [{}], [{ width: 0, height: 10, data }], [{ width: 10, height: 0, data }],
    [{ width: 10, height: -10, data }], [{ width: 10.5, height: 10, data }], [{ width: 65536, height: 1, data }],
    [{ width: NaN, height: 10, data }], [{ width: 10, height: 10 }], [{ width: 10, height: 10, data: [...data] }],
    [{ width: 10, height: 10, data: data.subarray(1) }], [{ width: 9, height: 10, data }],
    [{ width: 10, height: 10, data }, { quality: NaN }], [{ width: 10, height: 10, data }, { bytes: Infinity }],
    [{ width: 10, height: 10, data }, { effort: NaN }], [{ width: 10, height: 10, data }, { maxPixels: NaN }],
  ];
  return Promise.all(wrong.map((values) => encode(...values).then(() => "", (error) => error.name)));
}"""


def test_hostile_input_of_the_encoder_in_a_browser(page: Page, site: Site) -> None:
    (site.folder / "empty.html").write_text("<!doctype html><title>empty</title>")
    page.goto(f"{site.url}/empty.html")
    names = page.evaluate(HOSTILE)
    assert names == ["InputError"] * len(names)
    assert not [request for request in site.requests if request.endswith(".gz")]


@SIMD
def test_golden_and_invalid_files_in_a_browser(page: Page, site: Site, simd: bool) -> None:
    (site.folder / "empty.html").write_text("<!doctype html><title>empty</title>")
    page.goto(f"{site.url}/empty.html")
    files = [f"/data/golden/{name}.aec" for name in NAMES] + [f"/data/invalid/{name}.aec" for name in CASES]
    expected = [digest(opened(GOLDEN / f"{name}.png")) for name in NAMES]
    errors = {name: case.error.__name__ for name, case in CASES.items()} | {
        "huge-claim": "FormatError"
    }  # by its size alone
    assert page.evaluate(IN_PAGE, [simd, files]) == expected + [{"error": error} for error in errors.values()]


def test_threads_in_a_browser(page: Page, site: Site, large: bytes, tiny: Codec) -> None:
    (site.folder / "empty.html").write_text("<!doctype html><title>empty</title>")
    (site.folder / "wide.aec").write_bytes(large)
    page.goto(f"{site.url}/empty.html")
    threaded = IN_PAGE.replace("api.decode(data)", "api.decode(data, { threads: 3 })")
    assert page.evaluate(threaded, [True, ["/wide.aec"] * 2]) == [digest(tiny.decode(large))] * 2
    assert site.requests.count("/aecodec-simd.wasm") == 1  # the others have it from the first
    worker = site.folder / "worker.js"
    dies = "if (values[1]?.threads === 1) return void setTimeout(() => { throw new Error('gone'); });\n    try {"
    text = worker.read_text().replace("try {", dies)
    worker.unlink()
    worker.write_text(text)
    page.goto(f"{site.url.replace('localhost', '127.0.0.1')}/empty.html")  # of which nothing is kept yet
    assert page.evaluate(threaded, [True, ["/wide.aec"]]) == [{"error": "CodecError"}]


PAGE = """<!doctype html><title>pictures</title>
<link rel="stylesheet" href="sheet.css">
<style>body { margin: 0; background: #123; } img { display: block; }
#rule { background: url("data/golden/gray.aec") }</style>
<script src="aecodec.js" data-weights="data/tiny.safetensors" SW></script>
IMAGES
<img id="lazy" loading="lazy" width="150" height="130" src="data/golden/digest.aec">
<picture><source srcset="data/golden/tiles.aec" media="not all">
<source srcset="data/golden/density.aec 1x, absent.aec 2x"><img id="picture" src="data/golden/1x1.aec">
</picture>
<picture><source srcset="data/golden/gray.aec" type="image/x-aecodec"><img id="typed" src="data/coffee.png"></picture>
<img id="srcset" srcset="data/golden/gray.aec 1x, absent.aec 2x" src="data/golden/1x1.aec">
<img id="broken" alt="broken" src="data/invalid/crc-of-tile.aec">
<div id="rule" style="width: 90px; height: 50px"></div>
<div id="sheet" style="width: 64px; height: 64px"></div>
<div id="inline" style="width: 200px; height: 130px; background: url(data/golden/tiles.aec)"></div>
"""
READY = """() => {
  const images = [...document.images].filter((image) => image.id !== "broken");
  const isShown = (image) => image.complete && image.naturalWidth > 0 && !image.currentSrc.endsWith("png");
  return images.length === COUNT && images.every(isShown);
}"""


def add_page(site: Site, sw: str = "") -> int:
    """A page with pictures of all kinds; how many of its elements show one."""
    images = "".join(f'<img id="n{name}" src="data/golden/{name}.aec">\n' for name in NAMES if "tall" not in name)
    (site.folder / "sheet.css").write_text("#sheet { background-image: url(data/golden/metadata.aec) }")
    (site.folder / "page.html").write_text(PAGE.replace("IMAGES", images).replace("SW", sw))
    return images.count("<img") + 4


def shown(page: Page, selector: str, expected: Image.Image, limit: int = 0) -> bool:
    """Whether an element is seen as a picture, some frames later at most: no event tells when a background is drawn."""
    for _ in range(100):
        image = Image.open(BytesIO(page.locator(selector).screenshot())).convert("RGB")
        if image.size == expected.size and np.abs(np.asarray(image).astype(int) - expected).max() <= limit:
            return True
        page.evaluate("new Promise(requestAnimationFrame)")
    return False


def check_page(page: Page, count: int) -> None:
    page.locator("#lazy").scroll_into_view_if_needed()
    page.wait_for_function(READY.replace("COUNT", str(count)))
    for selector, name in {
        **{f"[id='n{name}']": name for name in NAMES if "tall" not in name},
        "#lazy": "digest",
        "#picture": "density",
        "#typed": "gray",
        "#srcset": "gray",
        "#rule": "gray",
        "#sheet": "metadata",
        "#inline": "tiles",
    }.items():
        reference = opened(GOLDEN / f"{name}.png")
        if reference.mode == "RGB" or reference.mode == "L":
            expected = reference.convert("RGB")
            assert shown(page, selector, expected), selector
    alpha = opened(GOLDEN / "alpha.png").convert("RGBA")
    behind = Image.new("RGBA", alpha.size, "#112233")
    assert shown(page, "#nalpha", Image.alpha_composite(behind, alpha).convert("RGB"), limit=2)  # browsers premultiply


@pytest.mark.parametrize("sw", ['data-sw="off"', ""], ids=["page", "service worker"])
def test_script_tag_shows_every_picture(page: Page, site: Site, sw: str) -> None:
    lines: list[str] = []
    page.on("console", lambda message: lines.append(message.text))
    page.on("pageerror", lambda error: lines.append(f"uncaught {error}"))
    count = add_page(site, sw)
    page.goto(f"{site.url}/page.html")
    page.wait_for_function("() => document.querySelector('#inline').style.background.includes('blob:')")
    check_page(page, count)
    assert page.evaluate("document.querySelector('#broken').naturalWidth") == 0
    assert any("crc-of-tile.aec: FormatError: section 0x01 is damaged" in line for line in lines), lines
    assert not [line for line in lines if line.startswith("uncaught")]
    page.evaluate("""() => {
      const image = document.createElement("img");
      image.id = "later";
      image.src = "data/golden/tiles.aec";
      document.body.prepend(image);
    }""")
    page.wait_for_function("() => document.querySelector('#later').naturalWidth === 200")
    assert shown(page, "#later", opened(GOLDEN / "tiles.png"))
    if sw:
        assert page.evaluate("navigator.serviceWorker.getRegistrations().then((all) => all.length)") == 0


def test_script_tag_of_another_origin(page: Page, site: Site) -> None:
    other = site.url.replace("localhost", "127.0.0.1")
    script = f'<script src="{other}/aecodec.js" data-weights="{other}/data/tiny.safetensors"></script>'
    (site.folder / "page.html").write_text(f'<!doctype html>{script}<img src="{other}/data/golden/tiles.aec">')
    page.goto(f"{site.url}/page.html")
    page.wait_for_function("() => document.images[0].naturalWidth")
    assert shown(page, "img", opened(GOLDEN / "tiles.png"))


def test_service_worker_decodes_on_the_second_load_without_a_network(page: Page, site: Site) -> None:
    count = add_page(site)
    page.goto(f"{site.url}/page.html")
    check_page(page, count)
    page.wait_for_function("() => navigator.serviceWorker.controller")
    page.goto(f"{site.url}/page.html")
    check_page(page, count)
    site.server.shutdown()
    site.server.server_close()
    page.goto(f"{site.url}/page.html")  # all is kept
    check_page(page, count)
    assert page.evaluate("document.querySelector('#ntiles').src").endswith("/tiles.aec")
    assert "blob:" not in page.evaluate("document.querySelector('#inline').style.background")
    assert page.evaluate("fetch('data/golden/gray.aec').then((r) => r.arrayBuffer()).then((b) => b.byteLength)") == len(
        golden("gray")
    )


def test_service_worker_shows_pictures_of_a_host_that_anybody_may_read(page: Page, site: Site) -> None:
    """Access-Control-Allow-Origin: * allows no cookies; a background has no other way than the service worker."""
    other = site.url.replace("localhost", "127.0.0.1")
    (site.folder / "page.html").write_text(
        '<!doctype html><script src="aecodec.js" data-weights="data/tiny.safetensors"></script>'
        f'<div id="one" style="width: 200px; height: 130px; background: url({other}/data/golden/tiles.aec)"></div>'
    )
    page.goto(f"{site.url}/page.html")
    page.wait_for_function("() => navigator.serviceWorker.controller")
    page.goto(f"{site.url}/page.html")
    assert shown(page, "#one", opened(GOLDEN / "tiles.png").convert("RGB"))
    assert "blob:" not in page.evaluate("document.querySelector('#one').style.background")


def test_what_fails_is_not_asked_for_with_each_frame(page: Page, site: Site) -> None:
    (site.folder / "page.html").write_text(
        '<!doctype html><script src="aecodec.js" data-sw="off"></script>'
        '<div id="one" style="background: url(absent.aec)"></div>'
    )
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))  # also of what the browser keeps
    page.goto(f"{site.url}/page.html")
    page.evaluate("""async () => {
      for (let i = 0; i < 60; i++) {
        document.querySelector("#one").style.left = `${i}px`;
        await fetch("data/golden/1x1.aec", { cache: "no-store" });
      }
    }""")
    count = asked.count(f"{site.url}/absent.aec")
    assert 2 <= count <= 2 + page.evaluate("performance.now()") / 1000  # of the browser itself, and of the page


def test_files_without_networks_fetch_no_weights(page: Page, site: Site) -> None:
    (site.folder / "empty.html").write_text("<!doctype html><title>empty</title>")
    path, picture = without_weights(site.folder)["color"]
    page.goto(f"{site.url}/empty.html")
    code = IN_PAGE.replace('await api.addWeights(new URL("/data/tiny.safetensors", location.href));', "")
    assert page.evaluate(code, [True, [f"/{path.name}"]]) == [digest(picture)]
    assert not [request for request in site.requests if "receiver" in request or "safetensors" in request]


def test_shipped_weights_are_fetched_once(page: Page, site: Site) -> None:
    (site.folder / "empty.html").write_text("<!doctype html><title>empty</title>")
    code = """async () => {
      const { decode } = await import("/index.js");
      const data = await (await fetch("/data/golden_shipped/s.aec")).arrayBuffer();
      const { width } = await decode(data);
      return width;
    }"""
    page.route("**/*", lambda route: route.continue_())  # which turns off what browsers keep by themselves
    for _ in range(2):
        page.goto(f"{site.url}/empty.html")
        assert page.evaluate(code) == aecodec.read_header((SHIPPED_GOLDEN / "s.aec").read_bytes()).width
    assert site.requests.count("/s.receiver.gz") == 1


def test_weights_that_were_damaged_on_their_way_are_refused(page: Page, site: Site) -> None:
    data = bytearray((site.folder / "s.receiver.gz").read_bytes())
    data[len(data) // 2] ^= 1
    (site.folder / "s.receiver.gz").unlink()
    (site.folder / "s.receiver.gz").write_bytes(data)
    (site.folder / "empty.html").write_text("<!doctype html><title>empty</title>")
    page.goto(f"{site.url}/empty.html")
    code = """async () => {
      const { decode } = await import("/index.js");
      const data = await (await fetch("/data/golden_shipped/s.aec")).arrayBuffer();
      return decode(data).then(() => "", (error) => error.name);
    }"""
    assert page.evaluate(code) == "InputError"


# -- In Firefox -------------------------------------------------------------------------------------------------------

REPORT = """<!doctype html><script src="aecodec.js" data-weights="data/tiny.safetensors" data-sw="off"></script>
<img src="data/golden/tiles.aec"><script>
  const image = document.images[0];
  const told = (body) => fetch("/told", { method: "POST", body });
  image.onload = async () => {
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight), context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    await told(context.getImageData(0, 0, canvas.width, canvas.height).data);
  };
  addEventListener("unhandledrejection", ({ reason }) => told(String(reason)));
</script>"""


def test_script_tag_shows_a_picture_in_firefox(site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Another engine. The page tells which pixels its <img> has."""
    firefox = shutil.which("firefox-esr") or shutil.which("firefox")
    if firefox is None:
        pytest.skip("needs Firefox (Debian: firefox-esr)")
    (site.folder / "page.html").write_text(REPORT)
    profile = tmp_path_factory.mktemp("firefox")
    command = [firefox, "--headless", "--no-remote", "--profile", profile, f"{site.url}/page.html"]
    environment = {**os.environ, "HOME": str(profile)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            told = site.told.get(timeout=120)
        finally:
            process.terminate()
    assert told == opened(GOLDEN / "tiles.png").convert("RGBA").tobytes()
