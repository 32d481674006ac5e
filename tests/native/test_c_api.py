"""The C API of the installed library, called as a C program would: by ctypes, and from examples/decode.c."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from make_golden import GOLDEN
from make_invalid import INVALID, cases
from native.building import ROOT, smallest_weights, weights_file
from native.random_networks import TINY, random_arrays
from native.reference import Reference
from numpy.typing import NDArray
from PIL import Image
from support import DATA, undrawn

from aecodec import Codec, FormatError, TruncatedError, UnsupportedError, read_header
from aecodec.weights import SHIPPED, shipped_path

pytestmark = pytest.mark.xdist_group("native")
OK, BAD_ARGUMENT, BAD_FILE, TRUNCATED, UNSUPPORTED, OTHER_WEIGHTS = range(6)
TOO_LARGE, BAD_WEIGHTS, CANNOT_READ, NO_MEMORY, CANCELLED, INTERNAL = range(6, 12)
STATUS = {FormatError: BAD_FILE, TruncatedError: TRUNCATED, UnsupportedError: UNSUPPORTED}
PROGRESS = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_double)
u32 = ctypes.c_uint32


class Info(ctypes.Structure):
    _fields_ = [
        (name, u32)
        for name in ("width", "height", "channels", "level", "model_id", "tile", "tile_columns", "tile_rows")
    ]


class Error(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("text", ctypes.c_char * 256)]


class Options(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("max_pixels", ctypes.c_uint64),
        *((name, u32) for name in ("channels", "reduction", "x", "y", "width", "height", "threads")),
        ("progress", PROGRESS),
        ("context", ctypes.c_void_p),
    ]


class EncodeOptions(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("quality", ctypes.c_double),
        ("max_bytes", ctypes.c_uint64),
        ("max_pixels", ctypes.c_uint64),
        *((name, u32) for name in ("effort", "tile", "threads")),
    ]


NO_EFFORT = 0xFFFFFFFF


class Library:
    """aecodec.h, with exceptions in place of a status: CError(status, text)."""

    def __init__(self, path: Path) -> None:
        self.c = ctypes.CDLL(str(path))
        self.c.aecodec_status_text.restype = ctypes.c_char_p
        self.c.aecodec_version.restype = ctypes.c_char_p
        self.c.aecodec_weights_model_id.restype = u32

    def call(self, name: str, *arguments: object) -> None:
        error = Error(99, b"not set")
        status = getattr(self.c, f"aecodec_{name}")(*arguments, ctypes.byref(error))
        assert error.status == status
        assert bool(error.text) == (status != OK)
        if status:
            raise CError(status, error.text.decode())

    def load(self, data: bytes) -> ctypes.c_void_p:
        weights = ctypes.c_void_p()
        self.call("weights_load", data, ctypes.c_size_t(len(data)), ctypes.byref(weights))
        return weights

    def info(self, data: bytes, max_pixels: int = 0) -> Info:
        info = Info()
        self.call("read_info", data, ctypes.c_size_t(len(data)), ctypes.c_uint64(max_pixels), ctypes.byref(info))
        return info

    def section(self, data: bytes, kind: int) -> bytes | None:
        payload, size = ctypes.c_void_p(), ctypes.c_size_t()
        arguments = ctypes.byref(payload), ctypes.byref(size)
        self.call("read_section", data, ctypes.c_size_t(len(data)), kind, *arguments)
        return ctypes.string_at(payload.value, size.value) if payload.value else None

    def size(self, data: bytes, options: Options) -> tuple[int, int, int]:
        sides = [u32(), u32(), u32()]
        self.call("output_size", ctypes.byref(self.info(data)), ctypes.byref(options), *map(ctypes.byref, sides))
        width, height, channels = (side.value for side in sides)
        return height, width, channels

    def decode(
        self, weights: ctypes.c_void_p, data: bytes, *, padding: int = 0, short: int = 0, **options: object
    ) -> NDArray[np.uint8]:
        """[h, w, C]. padding: bytes behind each row, which must stay; short: bytes that the buffer lacks."""
        asked = Options(size=ctypes.sizeof(Options), **options)
        height, width, channels = self.size(data, asked)
        stride = width * channels + padding
        buffer = np.full(height * stride, 77, np.uint8)
        needed = ctypes.c_size_t(stride * (height - 1) + width * channels - short)
        file = data, ctypes.c_size_t(len(data))
        pixels = buffer.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(stride), needed
        self.call("decode", weights, *file, ctypes.byref(asked), *pixels)
        rows = buffer.reshape(height, stride)
        assert (rows[:, width * channels :] == 77).all()
        return rows[:, : width * channels].reshape(height, width, channels)

    def encoder(self, weights: ctypes.c_void_p, data: bytes) -> ctypes.c_void_p:
        encoder = ctypes.c_void_p()
        self.call("encoder_load", weights, data, ctypes.c_size_t(len(data)), ctypes.byref(encoder))
        return encoder

    def encode(
        self,
        encoder: ctypes.c_void_p,
        pixels: NDArray[np.uint8],
        *,
        width: int | None = None,
        height: int | None = None,
        channels: int | None = None,
        stride: int | None = None,
        **options: object,
    ) -> bytes:
        """The file of [h, w] or [h, w, C], whose rows may be apart; sides may be told to be others."""
        asked = EncodeOptions(**{"size": ctypes.sizeof(EncodeOptions), **options})
        count = channels or (pixels.shape[2] if pixels.ndim == 3 else 1)
        sides = u32(pixels.shape[1] if width is None else width), u32(pixels.shape[0] if height is None else height)
        apart = ctypes.c_size_t(pixels.strides[0] if stride is None else stride)
        file, size = ctypes.c_void_p(), ctypes.c_size_t()
        picture = pixels.ctypes.data_as(ctypes.c_void_p), *sides, u32(count), apart
        self.call("encode", encoder, *picture, ctypes.byref(asked), ctypes.byref(file), ctypes.byref(size))
        data = ctypes.string_at(file.value or 0, size.value)
        self.c.aecodec_file_free(file)
        return data


class CError(Exception):
    @property
    def status(self) -> int:
        return int(self.args[0])


@pytest.fixture(scope="module")
def library(installed: Path) -> Library:
    return Library(next(installed.rglob("libaecodec.so")))


@pytest.fixture(scope="module")
def weights(library: Library) -> ctypes.c_void_p:
    return library.load(weights_file())


@pytest.fixture(scope="module")
def model_id(library: Library, weights: ctypes.c_void_p) -> int:
    return int(library.c.aecodec_weights_model_id(weights))


def renamed(data: bytes, model_id: int) -> bytes:
    """A file that asks for other weights; damage stays."""
    end = 18 if data[5:6] and data[5] & 4 else 17
    if len(data) < end + 4 or zlib.crc32(data[:end]) != struct.unpack_from("<I", data, end)[0]:
        return data
    fixed = data[:12] + struct.pack("<I", model_id) + data[16:end]
    return fixed + struct.pack("<I", zlib.crc32(fixed)) + data[end + 4 :]


def golden(name: str, model_id: int) -> bytes:
    return renamed((GOLDEN / f"{name}.aec").read_bytes(), model_id)


def test_info_is_that_of_python(library: Library) -> None:
    for path in GOLDEN.glob("*.aec"):
        data = path.read_bytes()
        header = read_header(data)
        info = library.info(data[:22])
        assert (info.width, info.height, info.level) == (header.width, header.height, header.level)
        assert (info.model_id, info.channels, info.tile) == (header.model_id, len(header.mode), 64 * header.tile)
        assert info.tile_columns * info.tile_rows == len(header.tiles())
    assert library.c.aecodec_version().decode() in (ROOT / "pyproject.toml").read_text()


def test_metadata_is_that_of_python(library: Library, tiny: Codec) -> None:
    data = (GOLDEN / "metadata.aec").read_bytes()
    info = tiny.decode(data).info
    assert [library.section(data, kind) for kind in (0x81, 0x82, 0x83, 0x85)] == [
        info["icc_profile"],
        info["exif"].removeprefix(b"Exif\0\0"),
        info["xmp"],
        None,
    ]
    density = library.section((GOLDEN / "density.aec").read_bytes(), 0x84)
    assert density == struct.pack("<II", 3_000_000, 720_090)
    with pytest.raises(CError, match="section 2 is no metadata"):
        library.section(data, 2)
    with pytest.raises(CError, match="is damaged: CRC-32"):
        library.section((INVALID / "crc-of-metadata.aec").read_bytes(), 0x81)


def test_each_invalid_file_is_refused(library: Library, weights: ctypes.c_void_p, model_id: int) -> None:
    for name, case in cases().items():
        data = case.data if name == "other-weights" else renamed(case.data, model_id)
        buffer = np.zeros(1 << 20, np.uint8)
        file = data, ctypes.c_size_t(len(data))
        pixels = buffer.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(2048), ctypes.c_size_t(len(buffer))
        if name == "huge-claim":
            pixels = pixels[0], ctypes.c_size_t(1 << 16), ctypes.c_size_t(1 << 40)  # refused before it is written to
        with pytest.raises(CError) as caught:
            library.call("decode", weights, *file, None, *pixels)
        special = {"too-many-pixels": TOO_LARGE, "other-weights": OTHER_WEIGHTS}
        assert caught.value.status == special.get(name, STATUS[case.error]), f"{name}: {caught.value}"


def test_the_same_pixels_by_region_threads_stride_and_channels(
    library: Library, weights: ctypes.c_void_p, model_id: int
) -> None:
    data = golden("alpha", model_id)
    whole = library.decode(weights, data)
    assert whole.shape == (100, 150, 4)
    assert whole.std() > 10
    for threads in (1, 2, 300):
        assert np.array_equal(library.decode(weights, data, threads=threads, padding=5), whole)
    assert np.array_equal(library.decode(weights, data, channels=3), whole[:, :, :3])
    region = library.decode(weights, data, x=20, y=33, width=101, height=5, channels=4, padding=3)
    assert np.array_equal(region, whole[33:38, 20:121])
    gray = golden("gray", model_id)
    assert np.array_equal(library.decode(weights, gray, channels=3), library.decode(weights, gray).repeat(3, 2))


@pytest.mark.parametrize(
    ("model", "name"),
    [(DATA / "tiny.safetensors", f"golden/{name}") for name in ("alpha", "1x4096_tall", "drawn", "lossless")]
    + [(shipped_path(name), f"golden_shipped/{name}") for name in SHIPPED],
)
def test_golden_files_decode_to_their_pictures(library: Library, model: Path, name: str) -> None:
    weights = library.load(model.read_bytes())
    with Image.open(DATA / f"{name}.png") as image:
        assert np.array_equal(library.decode(weights, (DATA / f"{name}.aec").read_bytes()), np.asarray(image))
    library.c.aecodec_weights_free(weights)


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
@pytest.mark.parametrize("name", ["tiles", "gray", "1x300_tall"])
def test_pixels_are_those_of_the_document(
    library: Library, weights: ctypes.c_void_p, model_id: int, tiny: Codec, name: str, reduction: int
) -> None:
    data = (GOLDEN / f"{name}.aec").read_bytes()
    header = read_header(data)
    reference = Reference(random_arrays(TINY, 0), header.level)
    frame = header.bounds.reduced(reduction)
    pixels = reference.render(reference.y_hat(*tiny.decode_symbols(data)), reduction)[: frame.bottom, : frame.right]
    if header.gray:
        pixels = ((pixels.astype(int).sum(2, keepdims=True) + 1) // 3).astype(np.uint8)
    assert np.array_equal(library.decode(weights, golden(name, model_id), reduction=reduction), pixels)


@pytest.mark.parametrize("padding", [0, 5])
def test_digest_is_that_of_the_file(library: Library, padding: int) -> None:
    data = (GOLDEN / "digest.aec").read_bytes()
    weights = library.load((DATA / "tiny.safetensors").read_bytes())
    pixels = library.decode(weights, data)
    stride = pixels.shape[1] * 3 + padding
    rows = np.full((len(pixels), stride), 9, np.uint8)
    rows[:, : stride - padding] = pixels.reshape(len(pixels), -1)

    def digest(stride: int = stride) -> bytes:
        result = ctypes.create_string_buffer(16)
        pointer = rows.ctypes.data_as(ctypes.c_void_p)
        library.call("digest", ctypes.byref(library.info(data)), pointer, ctypes.c_size_t(stride), result)
        return result.raw

    assert digest() == library.section(data, 0x85)
    rows[-1, stride - padding - 1] ^= 1
    assert digest() != library.section(data, 0x85)
    with pytest.raises(CError, match="stride needs 450 bytes, got 449"):
        digest(449)
    library.c.aecodec_weights_free(weights)


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
def test_reduced_sizes_round_outwards(
    library: Library, weights: ctypes.c_void_p, model_id: int, reduction: int
) -> None:
    data = golden("tiles", model_id)  # 200x130
    whole = library.decode(weights, data, reduction=reduction)
    assert whole.shape == (-(-130 // reduction), -(-200 // reduction), 3)
    part = library.decode(weights, data, reduction=reduction, x=51, y=13, width=100, height=101)
    top, bottom, left, right = 13 // reduction, -(-114 // reduction), 51 // reduction, -(-151 // reduction)
    assert np.array_equal(part, whole[top:bottom, left:right])


@pytest.mark.parametrize(
    ("options", "status", "text"),
    [
        ({"reduction": 3}, BAD_ARGUMENT, "reduction must be 1, 2, 4 or 8, got 3"),
        ({"reduction": 16}, BAD_ARGUMENT, "got 16"),
        ({"channels": 5}, BAD_ARGUMENT, "channels must be 0..4, got 5"),
        ({"channels": 1}, BAD_ARGUMENT, "1 channels are for gray pictures"),
        ({"x": 1, "width": 200, "height": 1}, BAD_ARGUMENT, "region 1,0,200,1 is not inside the picture of 200x130"),
        ({"x": 1, "width": 2**32 - 1, "height": 1}, BAD_ARGUMENT, "is not inside"),
        ({"width": 1}, BAD_ARGUMENT, "region 0,0,1,0 is not inside"),
        ({"x": 7}, BAD_ARGUMENT, "region 7,0,0,0 is not inside"),
        ({"short": 1}, BAD_ARGUMENT, "pixels need 78000 bytes, got 77999"),
        ({"padding": -1}, BAD_ARGUMENT, "stride needs 600 bytes, got 599"),
        ({"max_pixels": 25_999}, TOO_LARGE, "picture of 200x130 is outside 1..25999 pixels"),
    ],
)
def test_wrong_options_are_refused(
    library: Library, weights: ctypes.c_void_p, model_id: int, options: dict[str, int], status: int, text: str
) -> None:
    with pytest.raises(CError, match=text) as caught:
        library.decode(weights, golden("tiles", model_id), **options)
    assert caught.value.status == status


def test_nothing_in_place_of_arguments_is_refused(library: Library, weights: ctypes.c_void_p) -> None:
    size = ctypes.c_size_t
    coded = (GOLDEN / "gray.aec").read_bytes()
    for name, arguments in (
        ("weights_load", (None, size(9), ctypes.byref(ctypes.c_void_p()))),
        ("weights_load", (b"", size(0), None)),
        ("weights_load_file", (None, ctypes.byref(ctypes.c_void_p()))),
        ("read_info", (None, size(9), ctypes.c_uint64(0), ctypes.byref(Info()))),
        ("read_info", (b"", size(0), ctypes.c_uint64(0), None)),
        ("read_section", (b"", size(0), 0x81, None, None)),
        ("decode", (None, coded, size(len(coded)), None, b"", size(0), size(0))),
        ("decode", (weights, b"", size(0), None, None, size(0), size(0))),
        ("decode", (weights, b"", size(0), ctypes.byref(Options()), b"", size(0), size(0))),
    ):
        with pytest.raises(CError) as caught:
            library.call(name, *arguments)
        assert caught.value.status == BAD_ARGUMENT
    with pytest.raises(CError, match="header needs 21 bytes, got 0"):
        library.call("read_info", None, size(0), ctypes.c_uint64(0), ctypes.byref(Info()))
    library.c.aecodec_weights_free(None)


def test_options_of_an_older_and_a_newer_program(library: Library, weights: ctypes.c_void_p, model_id: int) -> None:
    """The structure ends earlier, or later, than the library knows it."""
    data = golden("gray", model_id)
    whole = library.decode(weights, data)
    buffer = np.zeros_like(whole)
    file = data, ctypes.c_size_t(len(data))
    pixels = buffer.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(90), ctypes.c_size_t(buffer.size)
    older = Options(size=16, reduction=99)
    library.call("decode", weights, *file, ctypes.byref(older), *pixels)
    newer = bytes(Options(size=ctypes.sizeof(Options) + 8)) + bytes(8)
    library.call("decode", weights, *file, newer, *pixels)
    assert np.array_equal(buffer, whole)


def test_progress_is_told_and_can_cancel(library: Library, weights: ctypes.c_void_p, model_id: int) -> None:
    data = golden("1x4096_tall", model_id)
    told: list[tuple[float, int]] = []
    whole = library.decode(
        weights,
        data,
        progress=PROGRESS(lambda context, done: told.append((done, threading.get_ident())) or context == 9),
        context=8,
    )
    assert np.array_equal(whole, library.decode(weights, data))
    shares = [done for done, _ in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)
    assert {thread for _, thread in told} == {threading.get_ident()}
    for stop in (0.0, 1.0):
        with pytest.raises(CError) as caught:
            library.decode(weights, data, progress=PROGRESS(lambda _, done, stop=stop: done >= stop))
        assert caught.value.status == CANCELLED


def test_weights_of_a_file(library: Library, model_id: int, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(weights_file())
    loaded = ctypes.c_void_p()
    library.call("weights_load_file", str(path).encode(), ctypes.byref(loaded))
    assert library.c.aecodec_weights_model_id(loaded) == model_id
    library.c.aecodec_weights_free(loaded)
    library.c.aecodec_weights_free(library.load(smallest_weights()))
    for missing in (tmp_path / "missing", tmp_path):
        with pytest.raises(CError, match="cannot be") as caught:
            library.call("weights_load_file", str(missing).encode(), ctypes.byref(loaded))
        assert (caught.value.status, loaded.value) == (CANNOT_READ, None)
    with pytest.raises(CError) as caught:
        library.load(path.read_bytes()[:-1])
    assert caught.value.status == BAD_WEIGHTS


def test_every_status_has_a_text(library: Library) -> None:
    texts = [library.c.aecodec_status_text(status).decode() for status in range(INTERNAL + 1)]
    assert len(set(texts)) == len(texts)
    assert library.c.aecodec_status_text(99) == b"unknown status"


@pytest.mark.skipif(not (shutil.which("cc") and shutil.which("pkg-config")), reason="needs cc and pkg-config")
@pytest.mark.parametrize("static", [False, True], ids=["shared", "static"])
def test_the_example_is_built_with_pkg_config_and_decodes(
    library: Library,
    weights: ctypes.c_void_p,
    model_id: int,
    installed: Path,
    tmp_path: Path,
    static: bool,
) -> None:
    found = next(installed.rglob("aecodec.pc")).parent
    environment = {**os.environ, "PKG_CONFIG_PATH": str(found), "LD_LIBRARY_PATH": str(found.parent)}
    query = ["pkg-config", "--cflags", "--libs", *(["--static"] if static else []), "aecodec"]
    flags = subprocess.run(query, env=environment, check=True, capture_output=True, text=True).stdout.split()
    if static:
        flags[flags.index("-laecodec")] = str(found.parent / "libaecodec.a")
        environment.pop("LD_LIBRARY_PATH")
    strict = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"]
    program = tmp_path / "decode"
    source = ROOT / "examples" / "decode.c"
    subprocess.run(["cc", *strict, str(source), *flags, "-o", str(program)], check=True, env=environment)
    data = golden("tiles", model_id)
    (tmp_path / "a.aec").write_bytes(data)
    (tmp_path / "w").write_bytes(weights_file())
    command = [str(program), *(str(tmp_path / name) for name in ("a.aec", "w", "a.ppm"))]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout == "200x130, quality 60.00\n"
    pixels = library.decode(weights, data, channels=3)
    assert (tmp_path / "a.ppm").read_bytes() == b"P6\n200 130\n255\n" + pixels.tobytes()
    (tmp_path / "a.aec").write_bytes(data[:-1])
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert (done.returncode, "section 0x01 needs" in done.stderr) == (1, True)


# -- Encoding ----------------------------------------------------------------------------------------------------------

MODELS = {name: DATA / f"{name}.safetensors" for name in ("tiny", "tiny_context")} | {
    name: shipped_path(name) for name in ("m", "s")
}


@pytest.fixture(scope="module")
def encoders(library: Library) -> dict[str, ctypes.c_void_p]:
    found = {}
    for name, path in MODELS.items():
        data = path.read_bytes()
        found[name] = library.encoder(library.load(data), data)
    return found


def coffee(width: int, height: int, mode: str = "RGB") -> NDArray[np.uint8]:
    with Image.open(DATA / "coffee.png") as image:
        return np.asarray(image.convert(mode).resize((width, height)))


@pytest.mark.parametrize(
    ("model", "width", "height", "mode", "quality", "effort", "tile"),
    [
        ("tiny", 250, 170, "RGB", 60, 3, 2),
        ("tiny", 1, 1, "RGB", 1, 0, 16),
        ("tiny", 17, 33, "L", 100, 1, 1),
        ("tiny", 4200, 70, "RGB", 30.004, 2, 16),  # parts side by side
        ("tiny", 70, 1300, "RGB", 30.006, 3, 16),  # strips below each other
        ("tiny", 130, 70, "RGB", 40, 6, 16),
        ("tiny_context", 200, 130, "RGB", 80, 3, 2),
        ("m", 130, 100, "RGB", 55, 3, 16),
        ("s", 130, 100, "RGB", 85, 3, 16),  # of a curvature of its own
    ],
)
def test_files_are_those_of_python_without_drawn_pixels(
    library: Library,
    encoders: dict[str, ctypes.c_void_p],
    model: str,
    width: int,
    height: int,
    mode: str,
    quality: float,
    effort: int,
    tile: int,
) -> None:
    pixels = coffee(width, height, mode)
    options = {"quality": quality, "effort": effort or NO_EFFORT, "tile": tile}
    expected = undrawn(Codec.load(str(MODELS[model]), "cpu"), pixels, quality, effort, tile)
    assert library.encode(encoders[model], pixels, threads=2, **options) == expected


def test_defaults_of_encoding_and_pixels_that_lie_apart(library: Library, encoders: dict[str, ctypes.c_void_p]) -> None:
    pixels = coffee(150, 90)
    opaque = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    wide = np.full((90, 200, 4), 9, np.uint8)
    wide[:, :150] = opaque
    expected = library.encode(encoders["tiny"], pixels, quality=55, effort=3, tile=16)
    assert [library.encode(encoders["tiny"], one) for one in (pixels, opaque, wide[:, :150])] == [expected] * 3


@pytest.mark.parametrize("effort", [NO_EFFORT, 3])
def test_bytes_are_met_and_never_exceeded(library: Library, encoders: dict[str, ctypes.c_void_p], effort: int) -> None:
    pixels = coffee(200, 130)
    sizes = {
        quality: len(library.encode(encoders["tiny"], pixels, quality=quality, effort=effort)) for quality in (1, 100)
    }
    for share in (0.02, 0.3, 0.7, 0.98):
        limit = int(sizes[1] + share * (sizes[100] - sizes[1]))
        data = library.encode(encoders["tiny"], pixels, max_bytes=limit, effort=effort)
        assert 0.975 * limit <= len(data) <= limit
    assert read_header(library.encode(encoders["tiny"], pixels, max_bytes=10**6, effort=effort)).quality == 100
    with pytest.raises(CError, match=r"no file of this picture has 99 bytes: quality 1 needs \d+") as caught:
        library.encode(encoders["tiny"], pixels, max_bytes=99, effort=effort)
    assert caught.value.status == BAD_ARGUMENT


def test_bytes_of_the_lowest_quality_are_enough(library: Library, encoders: dict[str, ctypes.c_void_p]) -> None:
    """y of a neighboring quality would make a larger file of this one, and the search would find none."""
    pixels = coffee(600, 1)
    smallest = library.encode(encoders["tiny"], pixels, quality=1, effort=NO_EFFORT)
    limit = len(smallest)
    assert library.encode(encoders["tiny"], pixels, max_bytes=limit, effort=NO_EFFORT) == smallest
    with pytest.raises(CError, match=f"no file of this picture has {limit - 1} bytes: quality 1 needs {limit}"):
        library.encode(encoders["tiny"], pixels, max_bytes=limit - 1, effort=NO_EFFORT)


@pytest.mark.parametrize(
    ("status", "options"),
    [
        *((BAD_ARGUMENT, {"quality": quality}) for quality in (float("nan"), float("inf"), -1.0, 0.999, 100.001)),
        (BAD_ARGUMENT, {"quality": 50.0, "max_bytes": 1000}),
        (BAD_ARGUMENT, {"effort": 10}),
        (BAD_ARGUMENT, {"tile": 65}),
        (BAD_ARGUMENT, {"size": 1}),
        *((BAD_ARGUMENT, {side: value}) for side in ("width", "height") for value in (0, 65536)),
        (TOO_LARGE, {"width": 2**32 - 1, "height": 2**32 - 1, "stride": 2**40}),
        (TOO_LARGE, {"max_pixels": 99}),
        *((BAD_ARGUMENT, {"channels": channels}) for channels in (2, 5)),
        (BAD_ARGUMENT, {"stride": 29}),
    ],
)
def test_what_cannot_be_encoded_is_refused(
    library: Library, encoders: dict[str, ctypes.c_void_p], status: int, options: dict[str, object]
) -> None:
    with pytest.raises(CError) as caught:
        library.encode(encoders["tiny"], np.zeros((10, 10, 3), np.uint8), **options)  # type: ignore[arg-type]
    assert caught.value.status == status


def test_transparency_is_refused(library: Library, encoders: dict[str, ctypes.c_void_p]) -> None:
    pixels = np.full((10, 10, 4), 255, np.uint8)
    pixels[3, 7, 3] = 254
    with pytest.raises(CError, match="alpha is 254 at 7,3") as caught:
        library.encode(encoders["tiny"], pixels)
    assert caught.value.status == UNSUPPORTED


def test_networks_that_do_not_belong_to_the_weights_are_refused(
    library: Library, weights: ctypes.c_void_p, tmp_path: Path
) -> None:
    data = MODELS["tiny"].read_bytes()
    tiny = library.load(data)
    for other, networks, status in (
        (weights, data, OTHER_WEIGHTS),  # those of a random receiver
        (weights, weights_file(), BAD_WEIGHTS),  # without networks
        (tiny, data[:-1], BAD_WEIGHTS),
    ):
        with pytest.raises(CError) as caught:
            library.encoder(other, networks)
        assert caught.value.status == status
    found = ctypes.c_void_p()
    with pytest.raises(CError) as caught:
        library.call("encoder_load_file", tiny, str(tmp_path / "missing").encode(), ctypes.byref(found))
    assert (caught.value.status, found.value) == (CANNOT_READ, None)
    library.call("encoder_load_file", tiny, str(MODELS["tiny"]).encode(), ctypes.byref(found))
    pixels = coffee(70, 50)
    assert library.encode(found, pixels) == undrawn(Codec.load(str(MODELS["tiny"]), "cpu"), pixels, 55, 3)
    library.c.aecodec_encoder_free(found)
    library.c.aecodec_weights_free(tiny)
    for name, arguments in (
        ("encoder_load", (None, data, ctypes.c_size_t(9), ctypes.byref(found))),
        ("encoder_load", (weights, data, ctypes.c_size_t(9), None)),
        ("encode", (None, data, u32(1), u32(1), u32(3), ctypes.c_size_t(3), None, ctypes.byref(found), None)),
    ):
        with pytest.raises(CError, match="is NULL"):
            library.call(name, *arguments)
