"""Drawn pixels and files without networks in the C library, by the formula of docs/format.md, section 1.6."""

from __future__ import annotations

import ctypes
import struct
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from make_golden import GOLDEN
from make_invalid import reheader, section
from native.building import Driver, weights_file
from native.drawing import (
    Part,
    Pixels,
    blended,
    drawn_over,
    lossless,
    payload,
    random_part,
    sections,
    shown_boxes,
    webp,
)
from native.random_networks import TINY as WIDTHS
from native.random_networks import random_arrays
from native.reference import Reference
from native.test_c_api import CANCELLED, PROGRESS, CError, Library, renamed
from native.test_native_decoding import painted
from PIL import Image
from support import DATA

from aecodec import Codec, read_header
from aecodec.format.alpha import decode_alpha
from aecodec.format.container import Box, Header

pytestmark = pytest.mark.xdist_group("native")
TINY = DATA / "tiny.safetensors"
OK, BAD_ARGUMENT, BAD_FILE, TRUNCATED, UNSUPPORTED = range(5)
FACTORS = (1, 2, 4, 8)


class Drawing(NamedTuple):
    """A file with drawn pixels, and what it was made of."""

    path: Path
    base: bytes  # the same without them
    header: Header
    parts: dict[int, Part]
    alpha: bytes  # payload of the alpha section

    def symbols(self, codec: Codec) -> tuple[np.ndarray, np.ndarray]:
        z, y = (symbols.copy() for symbols in codec.decode_symbols(self.base))
        for i, box in enumerate(self.header.tiles()):
            if i in self.parts and not self.parts[i].keeps_stream:
                for symbols, stride in ((z, 64), (y, 16)):
                    symbols[:, *box.cells(stride)] = 0
        return z, y

    def expected(self, codec: Codec, area: Box, factor: int, channels: int) -> Pixels:
        rendered = painted(*self.symbols(codec), area, factor)
        if self.header.gray:
            rendered = np.repeat((rendered.sum(-1, keepdims=True) + 1) // 3, 3, -1).astype(np.uint8)
        pixels = blended(rendered, self.header, self.parts, area, factor)
        pixels = pixels[..., :1] if channels < 3 else pixels
        if channels % 2:
            return pixels
        return np.dstack((pixels, decode_alpha(self.alpha or b"\xff", self.header, area, factor)))


def drawing(path: Path, base: bytes, parts: dict[int, Part]) -> Drawing:
    path.write_bytes(drawn_over(base, parts))
    return Drawing(path, base, read_header(base), parts, dict(sections(base)).get(2, b""))


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory, tiny: Codec) -> dict[str, Drawing]:
    """Tiles with a stream, with drawn pixels, with both; in golden files and in such as need several windows."""
    folder = tmp_path_factory.mktemp("drawings")
    bases = {name: (GOLDEN / f"{name}.aec").read_bytes() for name in ("1x1", "alpha", "gray", "tiles")}
    noise = np.random.default_rng(0).integers(0, 256, (54, 6, 3), np.uint8)
    tall = Image.fromarray(noise).resize((180, 1700))
    bases |= {f"tall{tile}": tiny.encode(tall, tile=tile, quality=90, effort=0) for tile in (1, 5, 9)}
    rng = np.random.default_rng(3)
    found = {}
    for name, base in bases.items():
        boxes = shown_boxes(read_header(base))
        kinds = rng.integers(3, size=len(boxes)) if len(boxes) > 2 else [1] * len(boxes)  # stream, both, drawn
        parts = {
            i: random_part(rng, box, everything=kind == 2, keeps_stream=bool(kind == 1))
            for i, (box, kind) in enumerate(zip(boxes, kinds, strict=True))
            if kind
        }
        found[name] = drawing(folder / f"{name}.aec", base, parts)
    boxes = shown_boxes(read_header(bases["gray"]))
    parts = {i: random_part(rng, box, everything=True, keeps_stream=False) for i, box in enumerate(boxes)}
    found["no stream"] = drawing(folder / "no stream.aec", bases["gray"], parts)
    return found


class Job(NamedTuple):
    name: str
    area: Box
    factor: int = 1
    channels: int = 3
    threads: int = 1


def run(driver: Driver, codec: Codec, drawings: dict[str, Drawing], folder: Path, jobs: list[Job]) -> None:
    arguments: list[object] = []
    for i, job in enumerate(jobs):
        left, top, right, bottom = job.area
        arguments += [drawings[job.name].path, left, top, right - left, bottom - top, *job[2:], folder / str(i)]
    for i, (job, (status, text)) in enumerate(zip(jobs, driver("paint", TINY, *arguments), strict=True)):
        assert status == OK, f"{job}: {text}"
        width, height = map(int, text.split())
        pixels = np.fromfile(folder / str(i), np.uint8).reshape(height, width, job.channels)
        assert np.array_equal(pixels, drawings[job.name].expected(codec, *job[1:4])), job


def test_drawn_pixels_of_whole_pictures(
    driver: Driver, tiny: Codec, drawings: dict[str, Drawing], tmp_path: Path
) -> None:
    jobs = [
        Job(name, found.header.bounds, factor, channels, threads)
        for name, found in drawings.items()
        for factor, threads in zip(FACTORS, (1, 2, 1, 3), strict=True)
        for channels in ((1, 2, 3, 4) if found.header.gray else (3, 4))
        if factor > 1 or not name.startswith("tall") or channels == 3
    ]
    run(driver, tiny, drawings, tmp_path, jobs)


def test_drawn_pixels_of_regions(driver: Driver, tiny: Codec, drawings: dict[str, Drawing], tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    jobs = []
    for i in range(70):
        name = ("tall1", "tall5", "tall9", "alpha", "tiles", "gray", "no stream")[i % 7]
        header = drawings[name].header
        left, top = int(rng.integers(header.width)), int(rng.integers(header.height))
        area = Box(left, top, int(rng.integers(left, header.width)) + 1, int(rng.integers(top, header.height)) + 1)
        jobs.append(Job(name, area, FACTORS[i // 7 % 4], 3 + i % 2, threads=1 + i % 2))
    run(driver, tiny, drawings, tmp_path, jobs)


def test_what_a_region_does_not_need_is_not_decoded(driver: Driver, tmp_path: Path, tiny: Codec) -> None:
    """Neither a WebP file of another tile, nor a stream next to tiles that have none."""
    base = (GOLDEN / "tiles.aec").read_bytes()
    boxes = shown_boxes(read_header(base))
    rng = np.random.default_rng(5)
    parts = {i: random_part(rng, boxes[i], everything=True, keeps_stream=False) for i in (0, 1)}
    sound = drawing(tmp_path / "sound.aec", base, parts)
    data = parts[1].payload
    damaged = sound.path.read_bytes()
    damaged = damaged.replace(section(3, data), section(3, data[:40] + bytes(len(data) - 40)))
    stream = [content for kind, content in sections(base) if kind == 1][2]
    damaged = damaged.replace(section(1, stream), section(1, bytes(len(stream))))
    path = tmp_path / "damaged.aec"
    path.write_bytes(damaged)
    assert damaged != sound.path.read_bytes()
    results = driver(
        "paint",
        TINY,
        *(x for box in (boxes[0], boxes[1], boxes[2]) for x in (path, *region(box), 1, 3, 1, tmp_path / "out")),
    )
    assert [status for status, _ in results] == [OK, BAD_FILE, BAD_FILE]
    assert "drawn part is not a valid WebP file" in results[1].text


def region(box: Box) -> tuple[int, int, int, int]:
    return box.left, box.top, box.right - box.left, box.bottom - box.top


def hostile() -> dict[str, tuple[bytes, int, str]]:
    """File, status, what the error says."""
    rng = np.random.default_rng(6)
    header = Header(50, 40, 5000, 0, tile=1)
    base = (GOLDEN / "1x1.aec").read_bytes()
    coded = read_header(base)
    stream = dict(sections(base))[1]
    solid = random_part(rng, header.bounds, everything=True)._replace(step=1)
    file = webp(solid.rgba)
    holes = random_part(rng, header.bounds, everything=False)

    skipped = section(0x90, bytes(9))  # so that no file is too short for its tile

    def alone(content: bytes, kind: int = 3) -> bytes:
        return lossless(header, [], others=skipped) + section(kind, content)

    def with_weights(content: bytes, kind: int = 3) -> bytes:
        return reheader(lossless(header, [], others=skipped), level=coded.level, model_id=coded.model_id) + section(
            kind, content
        )

    half = solid.rgba.copy()
    half[7, 9, 3] = 128
    lossy = BytesIO()
    Image.fromarray(solid.rgba[..., :3]).save(lossy, "WEBP", quality=80)
    extended = BytesIO()
    Image.fromarray(solid.rgba).save(extended, "WEBP", lossless=True, xmp=b"x")
    steps = {
        f"step {step}": (alone(payload(step, file)), BAD_FILE, f"step of drawn pixels is {step}, not odd in 1..17")
        for step in (0, 2, 18, 19, 255)
    }
    rest = len(file)
    return steps | {
        "nothing": (with_weights(b""), BAD_FILE, "drawn pixels of a tile are 0 bytes of 0"),
        "no front": (alone(b"\1\1\0"), BAD_FILE, "drawn pixels of a tile are 0 bytes of 0"),
        "too short for a tile": (lossless(header, []) + section(3, b"\1\1\0"), TRUNCATED, "1 tiles need at least"),
        "no data": (with_weights(payload(1, b"", stream)), BAD_FILE, "drawn pixels of a tile are 0 bytes of"),
        "front alone": (
            alone(payload(1, b"")),
            BAD_FILE,
            "drawn pixels of a tile are 0 bytes of 0",
        ),
        "length beyond": (
            alone(struct.pack("<BI", 1, rest + 1) + file),
            BAD_FILE,
            f"drawn pixels of a tile are {rest + 1} bytes of {rest}",
        ),
        "huge length": (alone(struct.pack("<BI", 1, 2**32 - 1) + file), BAD_FILE, "are 4294967295 bytes of"),
        "another width": (alone(payload(1, webp(solid.rgba[:, 1:]))), BAD_FILE, "drawn part is 49x40, its tile 50x40"),
        "padded": (
            alone(payload(1, webp(np.zeros((64, 64, 4), np.uint8)))),
            BAD_FILE,
            "drawn part is 64x64, its tile 50x40",
        ),
        "lossy": (alone(payload(1, lossy.getvalue())), BAD_FILE, "drawn part is not a lossless WebP file"),
        "extended": (alone(payload(1, extended.getvalue())), BAD_FILE, "drawn part is not a lossless WebP file"),
        "no WebP": (alone(payload(1, bytes(20))), BAD_FILE, "drawn part is not a lossless WebP file"),
        "front of WebP": (alone(payload(1, file[:24])), BAD_FILE, "drawn part is not a valid WebP file"),
        "truncated WebP": (alone(payload(1, file[:-90])), BAD_FILE, "drawn part is not a valid WebP file"),
        "zeros in WebP": (
            alone(payload(1, file[:30] + bytes(rest - 30))),
            BAD_FILE,
            "drawn part is not a valid WebP file",
        ),
        "alpha of 128": (alone(payload(1, webp(half))), BAD_FILE, "drawn part has alpha other than 0 and 255"),
        "alpha of 128 over a stream": (
            with_weights(payload(1, webp(half), stream)),
            BAD_FILE,
            "drawn part has alpha other than 0 and 255",
        ),
        "holes": (alone(holes.payload), BAD_FILE, "a tile without a stream has pixels that are not drawn"),
        "holes, with weights": (
            with_weights(holes.payload),
            BAD_FILE,
            "a tile without a stream has pixels that are not",
        ),
        "stream without weights": (
            alone(payload(1, file, stream)),
            BAD_FILE,
            "a tile has a stream, and the header names no weights",
        ),
        "tile of kind 01 without weights": (alone(stream, 1), BAD_FILE, "a tile has a stream, and the header names"),
        "empty tile without weights": (
            alone(b"", 1),
            BAD_FILE,
            "a tile has a stream, and the header names no weights",
        ),
        "empty tile": (with_weights(b"", 1), TRUNCATED, "truncated"),
        "damaged stream": (with_weights(payload(1, file, stream[:-4])), TRUNCATED, "truncated"),
        "half a word of a stream": (with_weights(payload(1, file, b"x")), BAD_FILE, "no whole number of words"),
        "level 0 with weights": (
            reheader(with_weights(payload(1, file, stream)), level=0),
            BAD_FILE,
            "quality level 0 is outside 100..10000",
        ),
        "level 99": (reheader(alone(payload(1, file)), level=99), BAD_FILE, "quality level 99 is outside 100..10000"),
        "metadata behind": (
            alone(payload(1, file)) + section(0x82, b"II*"),
            BAD_FILE,
            "section 0x82 after the first tile",
        ),
        "a tile too many": (alone(payload(1, file)) + section(3, b""), BAD_FILE, "picture has 1 tiles, got 2"),
        "none": (lossless(header, [], others=section(0x82, bytes(40))), TRUNCATED, "picture needs 1 tiles, got 0"),
        "damaged": (alone(payload(1, file))[:-1] + b"x", BAD_FILE, "section 0x03 is damaged: CRC-32"),
    }


def test_hostile_drawn_pixels_are_refused(driver: Driver, tmp_path: Path) -> None:
    cases = hostile()
    arguments: list[object] = []
    for name, (data, _, _) in cases.items():
        (tmp_path / name).write_bytes(data)
        width, height = struct.unpack_from("<HH", data, 8)
        arguments += [tmp_path / name, 0, 0, width, height, 1, 4, 1, tmp_path / "out"]
    for name, (status, text) in zip(cases, driver("paint", TINY, *arguments), strict=True):
        assert status == cases[name][1], f"{name}: {text}"
        assert cases[name][2] in text, f"{name}: {text}"


def test_truncated_files_with_drawn_pixels_are_refused(driver: Driver, tmp_path: Path) -> None:
    header = Header(9, 9, 0, 0, tile=1)
    data = lossless(header, [random_part(np.random.default_rng(7), header.bounds, everything=True)])
    arguments: list[object] = []
    for size in range(len(data)):
        (tmp_path / str(size)).write_bytes(data[:size])
        arguments += [tmp_path / str(size), 0, 0, 9, 9, 1, 3, 1, tmp_path / "out"]
    assert {status for status, _ in driver("paint", TINY, *arguments)} == {TRUNCATED}


def masks() -> dict[str, Pixels]:
    """Pictures RGBA whose lossless WebP files use all transforms, caches and codes."""
    rng = np.random.default_rng(8)
    with Image.open(DATA / "coffee.png") as image:
        photograph = image.convert("RGB").crop((150, 150, 250, 220))
    noise = rng.integers(0, 256, (70, 100, 4), np.uint8)
    found = {"noise": noise, "photograph": np.asarray(photograph.convert("RGBA"))}
    found["holes"] = found["photograph"].copy()
    found["holes"][..., 3] = np.where(rng.random((14, 20)) < 0.5, 255, 0).repeat(5, 0).repeat(5, 1)
    for colors in (2, 3, 13, 60, 200):
        found[f"{colors} colors"] = np.asarray(photograph.quantize(colors).convert("RGBA"))
        found[f"{colors} colors, holes"] = np.dstack((found[f"{colors} colors"][..., :3], found["holes"][..., 3]))
    found["repeated"] = np.tile(noise[:14, :25], (5, 4, 1))
    return found


def test_lossless_webp_without_libwebp(driver: Driver, tmp_path: Path) -> None:
    """vp8l.cpp gives the pixels that were written, and alpha."""
    arguments: list[object] = []
    expected = []
    for name, rgba in masks().items():
        for method, quality in ((0, 0), (3, 60), (5, 90)):
            path = tmp_path / f"{name}-{method}"
            path.write_bytes(webp(rgba, method=method, quality=quality))
            arguments += [path, 100, 70, f"{path}.rgba"]
            expected.append((Path(f"{path}.rgba"), rgba))
    for (path, rgba), (status, text) in zip(expected, driver("vp8l", *arguments), strict=True):
        assert (status, text) == (OK, str(rgba.size))
        assert np.array_equal(np.fromfile(path, np.uint8).reshape(rgba.shape), rgba), path.name


def test_damaged_webp_never_stops_the_decoder_without_libwebp(driver: Driver, tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    arguments: list[object] = []
    files = [webp(rgba, method=4) for rgba in masks().values()]
    for i in range(300):
        data = bytearray(files[i % len(files)])
        for place in rng.integers(25, min(len(data), 25 + 2 ** rng.integers(2, 12)), rng.integers(1, 4)):
            data[place] ^= 1 << rng.integers(8)
        (tmp_path / str(i)).write_bytes(data[: rng.integers(len(data)) if i % 5 == 0 else len(data)])
        arguments += [tmp_path / str(i), 100, 70, tmp_path / "out"]
    assert {text for _, text in driver("vp8l", *arguments)} == {"0", str(4 * 100 * 70)}


# -- By the C API


@pytest.fixture(scope="module")
def library(installed: Path) -> Library:
    return Library(next(installed.rglob("libaecodec.so")))


def no_weights() -> ctypes.c_void_p:
    return ctypes.c_void_p(None)


@pytest.mark.parametrize("reduction", FACTORS)
@pytest.mark.parametrize("gray", [False, True])
def test_files_without_networks_need_no_weights(library: Library, gray: bool, reduction: int) -> None:
    rng = np.random.default_rng(10)
    header = Header(150, 133, 0, 0, gray=gray, tile=1)
    parts = [random_part(rng, box, everything=True) for box in shown_boxes(header)]
    exif = section(0x82, b"II*\0")
    data = lossless(header, parts, flags=int(gray), others=exif)
    info = library.info(data)
    assert (info.width, info.height, info.level, info.model_id, info.channels) == (150, 133, 0, 0, 1 if gray else 3)
    assert (library.section(data, 0x82), library.section(data, 0x81)) == (b"II*\0", None)
    nothing = np.zeros((-(-133 // reduction), -(-150 // reduction), 3), np.uint8)
    expected = blended(nothing, header, dict(enumerate(parts)), header.bounds, reduction)
    for threads in (1, 3):
        pixels = library.decode(no_weights(), data, reduction=reduction, channels=3, threads=threads, padding=5)
        assert np.array_equal(pixels, expected)
    region = library.decode(no_weights(), data, reduction=reduction, channels=4, x=64, y=32, width=80, height=64)
    top, left, bottom, right = 32 // reduction, 64 // reduction, 96 // reduction, 144 // reduction
    assert np.array_equal(region[..., :3], expected[top:bottom, left:right])
    assert (region[..., 3] == 255).all()
    told: list[float] = []
    progress = PROGRESS(lambda _, done: told.append(done) or 0)
    library.decode(no_weights(), data, progress=progress)
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, 1)
    with pytest.raises(CError) as caught:
        library.decode(no_weights(), data, progress=PROGRESS(lambda _, done: done > 0))
    assert caught.value.status == CANCELLED


def test_files_with_networks_need_weights(library: Library) -> None:
    with pytest.raises(CError, match="weights is NULL") as caught:
        library.decode(no_weights(), (GOLDEN / "tiles.aec").read_bytes())
    assert caught.value.status == BAD_ARGUMENT


@pytest.mark.parametrize("reduction", FACTORS)
@pytest.mark.parametrize("name", ["tiles", "gray"])
def test_drawn_pixels_over_a_picture_of_networks(library: Library, tiny: Codec, name: str, reduction: int) -> None:
    """By real networks, whose pixels next to a tile without a stream depend on its symbols: zeros."""
    weights = library.load(weights_file())
    base = (GOLDEN / f"{name}.aec").read_bytes()
    boxes = shown_boxes(read_header(base))
    rng = np.random.default_rng(11)
    parts = {
        i: random_part(rng, box, everything=i % 3 == 2, keeps_stream=i % 3 != 2)
        for i, box in enumerate(boxes)
        if i % 3 or len(boxes) == 1
    }
    data = renamed(drawn_over(base, parts), int(library.c.aecodec_weights_model_id(weights)))
    header = read_header(base)
    symbols = Drawing(Path(), base, header, parts, b"").symbols(tiny)
    reference = Reference(random_arrays(WIDTHS, 0), header.level)
    frame = header.bounds.reduced(reduction)
    rendered = reference.render(reference.y_hat(*symbols), reduction)[: frame.bottom, : frame.right]
    if header.gray:
        rendered = ((rendered.astype(int).sum(2, keepdims=True) + 1) // 3).astype(np.uint8).repeat(3, 2)
    expected = blended(rendered, header, parts, header.bounds, reduction)
    assert np.array_equal(library.decode(weights, data, reduction=reduction, channels=3), expected)
    library.c.aecodec_weights_free(weights)


def test_alpha_without_its_flag_is_opaque(library: Library) -> None:
    """Where a WebP file does not say that it has alpha, libwebp gives what is in the stream, and Pillow 255."""
    header = Header(30, 20, 0, 0, tile=1)
    rng = np.random.default_rng(12)
    part = random_part(rng, header.bounds, everything=False)._replace(step=1)
    file = bytearray(webp(part.rgba))
    file[24] &= ~0x10
    with Image.open(BytesIO(bytes(file))) as image:
        pixels = np.asarray(image.convert("RGBA"))
    assert (pixels[..., 3] == 255).all()
    data = lossless(header, []) + section(3, payload(1, bytes(file)))
    assert np.array_equal(library.decode(no_weights(), data), pixels[..., :3])
