"""What callers pass: any buffer, any number, a limit of pixels, a device; and codecs that travel between processes."""

from __future__ import annotations

import copy
import io
import json
import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from decimal import Decimal
from fractions import Fraction
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from support import DATA

import aecodec
from aecodec import Codec, FormatError, InputError
from aecodec import codec as codec_module
from aecodec.cli.app import main
from aecodec.coding.prior import Prior
from aecodec.format import container
from aecodec.format.container import MAX_PIXELS, Header, pack, read_front, read_header, unpack
from aecodec.format.rescue import salvage

GOLDEN = DATA / "golden" / "digest.aec"
SHIPPED = sorted((DATA / "golden_shipped").glob("*.aec"))[0]


@pytest.fixture
def mapped() -> Iterator[mmap]:
    with GOLDEN.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        yield data


BUFFERS: dict[str, Callable[[bytes], Any]] = {
    "bytearray": bytearray,
    "memoryview": memoryview,
    "part of a memoryview": lambda data: memoryview(b"x" + data + b"x")[1:-1],
    "every second byte": lambda data: memoryview(np.frombuffer(data, np.uint8).repeat(2))[::2],
    "array": lambda data: np.frombuffer(data, np.uint8),
    "array in two dimensions": lambda data: np.frombuffer(data, np.uint8).reshape(1, -1),
    "signed array": lambda data: np.frombuffer(data, np.int8),
}
READERS: dict[str, Callable[[Codec, Any], object]] = {
    "decode": lambda codec, data: codec.decode(data).tobytes(),
    "decode_partial": lambda codec, data: codec.decode_partial(data).image.tobytes(),
    "verify": lambda codec, data: codec.verify(data).digest,
    "decode_tensor": lambda codec, data: codec.decode_tensor([data]).tolist(),
    "decode_symbols": lambda codec, data: [one.tolist() for one in codec.decode_symbols(data)],
    "read_header": lambda _, data: read_header(data),
    "read_front": lambda _, data: read_front(data),
    "unpack": lambda _, data: unpack(data),
    "salvage": lambda _, data: salvage(data),
}


@pytest.mark.parametrize("reader", READERS)
def test_any_buffer_is_read_as_its_bytes_are(tiny: Codec, mapped: mmap, reader: str) -> None:
    read, data = READERS[reader], GOLDEN.read_bytes()
    expected = read(tiny, data)
    for name, buffer in BUFFERS.items():
        assert read(tiny, buffer(data)) == expected, name
    assert read(tiny, mapped) == expected


def test_a_mapped_file_that_was_closed_is_named(tiny: Codec) -> None:
    with GOLDEN.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        pass
    for name in READERS:
        with pytest.raises(InputError, match="data must be the bytes of a file, got mmap"):
            READERS[name](tiny, data)


def test_module_functions_read_any_buffer() -> None:
    data = SHIPPED.read_bytes()
    assert aecodec.decode(bytearray(data)).tobytes() == aecodec.decode(data).tobytes()
    assert aecodec.read_header(memoryview(data)) == aecodec.read_header(data)
    assert Codec.load_for(np.frombuffer(data, np.uint8), "cpu").weights.model_id == aecodec.read_header(data).model_id


@pytest.mark.parametrize("nothing", [GOLDEN, str(GOLDEN), None, 5, io.BytesIO(), [1, 2]], ids=type)
def test_what_is_no_buffer_is_named(tiny: Codec, nothing: Any) -> None:
    message = f"data must be the bytes of a file, got {type(nothing).__name__}"
    for name in READERS:
        with pytest.raises(InputError, match=message):
            READERS[name](tiny, nothing)
    for call in (aecodec.decode, aecodec.read_header, Codec.load_for):
        with pytest.raises(InputError, match=message):
            call(nothing)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": "80"}, "quality must be a number, got str '80'"),
        ({"quality": b"80"}, "quality must be a number, got bytes"),
        ({"quality": [80]}, "quality must be a number, got list"),
        ({"quality": 80j}, "quality must be a number, got complex"),
        ({"quality": np.array([1, 2])}, "quality must be a number, got ndarray"),
        ({"quality": torch.ones(2)}, "quality must be a number, got Tensor"),
        ({"quality": np.array([80])}, "quality must be a number, got ndarray"),
        ({"quality": 10**400}, "quality must be 1..100, got inf"),
        ({"bpp": 10**400}, "bpp must be above 0, got inf"),
        ({"max_bytes": -(10**400)}, "max_bytes must be above 0, got -inf"),
        ({"bpp": "1"}, "bpp must be a number, got str '1'"),
        ({"max_bytes": "5000"}, "max_bytes must be a number, got str '5000'"),
        ({"psnr": "35"}, "psnr must be a number"),
        ({"ms_ssim": ()}, "ms_ssim must be a number"),
        ({"effort": "3"}, "effort must be an integer, got str '3'"),
        ({"effort": 2.5}, "effort must be an integer, got float 2.5"),
        ({"effort": None}, "effort must be an integer, got NoneType"),
        ({"tile": "16"}, "tile must be an integer"),
        ({"tile": 1.0}, "tile must be an integer"),
        ({"max_pixels": "many"}, "max_pixels must be a number"),
        ({"max_pixels": None}, "max_pixels must be a number"),
    ],
)
def test_options_of_encode_that_are_no_numbers_are_named(
    tiny: Codec, random_pixels: NDArray[np.uint8], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        tiny.encode(random_pixels, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": "1/2"}, "scale must be a number, got str '1/2'"),
        ({"scale": None}, "scale must be a number"),
        ({"scale": [1]}, "scale must be a number"),
        ({"scale": 10**400}, "scale must be 1, 1/2, 1/4 or 1/8, got inf"),
        ({"scale": 0.3}, "scale must be 1, 1/2, 1/4 or 1/8, got 0.3"),
        ({"region": (0, 0, 8)}, r"region must be four integers x, y, width, height, got \(0, 0, 8\)"),
        ({"region": (0, 0, 8, 8, 8)}, "region must be four integers"),
        ({"region": 8}, "region must be four integers x, y, width, height, got 8"),
        ({"region": "0,0,8,8"}, "region must be four integers"),
        ({"region": "0088"}, "region must be four integers"),
        ({"region": (0, 0, 8.0, 8.5)}, "region must be four integers"),
        ({"region": (0, 0, None, 8)}, "region must be four integers"),
        ({"max_pixels": "1e9"}, "max_pixels must be a number"),
    ],
)
def test_options_of_decode_that_are_none_are_named(tiny: Codec, options: dict[str, Any], message: str) -> None:
    for decode in (tiny.decode, tiny.decode_partial):
        with pytest.raises(InputError, match=message):
            decode(GOLDEN.read_bytes(), **options)


def test_numbers_may_be_of_any_type(tiny: Codec, random_pixels: NDArray[np.uint8]) -> None:
    expected = tiny.encode(random_pixels, quality=80, tile=2, effort=2)
    for number in (np.float32(80), np.int64(80), np.array(80.0), torch.tensor(80), Fraction(80), Decimal(80)):
        options: dict[str, Any] = {"quality": number, "tile": np.uint8(2), "effort": np.int64(2)}
        assert tiny.encode(random_pixels, **options) == expected
    part = tiny.decode(expected, region=(8, 4, 32, 16), scale=0.5).tobytes()
    options = {"region": np.array([8, 4, 32, 16]), "scale": np.float32(0.5), "max_pixels": 10**400}
    assert tiny.decode(expected, **options).tobytes() == part
    assert tiny.decode(expected, region=[8, 4, 32, 16], scale=Fraction(1, 2)).tobytes() == part  # type: ignore[arg-type]


def test_arguments_of_loading_and_of_batches_that_are_none_are_named(tiny: Codec) -> None:
    with pytest.raises(InputError, match="threads must be an integer, got str '2'"):
        Codec.load(DATA / "tiny.safetensors", threads="2")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="batch must be a tensor"):
        tiny.encode_tensor(np.zeros((1, 3, 8, 8), np.uint8))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="files must be a sequence of them, got NoneType"):
        tiny.decode_tensor(None)  # type: ignore[arg-type]
    for model in (5, b"m", ["m"]):
        with pytest.raises(InputError, match="model must be a name or a path, got"):
            Codec.load(model, "cpu")  # type: ignore[arg-type]
    for device in (5, ["cpu"], np.array(["cpu"])):
        with pytest.raises(InputError, match="device must be auto, cpu or cuda, got"):
            Codec.load(DATA / "tiny.safetensors", device)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="device must be auto, cpu or cuda, got"):
            aecodec.decode(SHIPPED.read_bytes(), device=device)  # type: ignore[arg-type]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_arrays_of_any_mode_are_encoded_as_pictures_of_it_are(tiny: Codec, channels: int, mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, channels), np.uint8)
    image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    assert image.mode == mode
    data = tiny.encode(pixels)
    assert data == tiny.encode(image) == tiny.encode(np.asfortranarray(pixels))
    decoded = tiny.decode(data)
    assert decoded.mode == mode
    again = tiny.decode(tiny.encode(np.asarray(decoded)))
    assert (again.mode, again.size) == (mode, (50, 40))


@pytest.mark.parametrize(
    "shape", [(), (5,), (5, 4, 0), (5, 4, 5), (5, 4, 2, 1), (0, 4, 2), (4, 0, 4), (0, 3), (0, 4, 1)]
)
def test_arrays_that_are_no_pictures_are_refused(tiny: Codec, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"array must be \[H, W\] or \[H, W, 1\.\.4\], got|is outside"):
        tiny.encode(np.zeros(shape, np.uint8))


def big_file(codec: Codec) -> bytes:
    """A gray file just above the default limit; all of its 4,160 tiles are the same few bytes."""
    header, sections, (tile,) = unpack(codec.encode(np.full((256, 256), 99, np.uint8), quality=1, tile=4))
    big = Header(16_640, 16_384, header.level, header.model_id, gray=True, tile=4)
    assert big.pixels > MAX_PIXELS
    return pack(big, sections, [tile] * len(big.tiles()))


def test_one_option_raises_the_limit_of_pixels_everywhere(codec: Codec, tmp_path: Path) -> None:
    data, limit, corner = big_file(codec), 1 << 29, (16_576, 16_320, 64, 64)
    readers: dict[str, Callable[..., object]] = {
        "aecodec.read_header": lambda **options: aecodec.read_header(data, **options),
        "aecodec.decode": lambda **options: aecodec.decode(data, region=corner, **options),
        "Codec.load_for": lambda **options: Codec.load_for(data, "cpu", **options),
        "decode": lambda **options: codec.decode(data, region=corner, **options),
    }
    for name, read in readers.items():
        with pytest.raises(FormatError, match=r"picture of 16640x16384 is outside 1\.\.268435456 pixels"):
            read()
        assert read(max_pixels=limit), name
    file, part = tmp_path / "big.aec", tmp_path / "part.png"
    file.write_bytes(data)
    for command in (["info", file, "--json"], ["decode", file, part, "--region", ",".join(map(str, corner))]):
        refused = CliRunner().invoke(main, [str(argument) for argument in command])
        assert "is outside" in refused.output
        done = CliRunner().invoke(main, [*map(str, command), "--max-pixels", str(limit)])
        assert done.exit_code == 0, done.output
        if command[0] == "info":
            assert json.loads(done.output)["width"] == 16_640


def test_every_method_has_the_limit(tiny: Codec, random_pixels: NDArray[np.uint8]) -> None:
    data, batch = tiny.encode(random_pixels), torch.zeros(1, 3, 70, 100, dtype=torch.uint8)
    calls: list[Callable[[int], object]] = [
        lambda limit: tiny.encode(random_pixels, max_pixels=limit),
        lambda limit: tiny.encode_tensor(batch, max_pixels=limit),
        lambda limit: aecodec.encode(random_pixels, max_pixels=limit),
        lambda limit: tiny.decode(data, max_pixels=limit),
        lambda limit: tiny.decode_partial(data, max_pixels=limit),
        lambda limit: tiny.decode_tensor([data], max_pixels=limit),
        lambda limit: tiny.decode_symbols(data, max_pixels=limit),
        lambda limit: tiny.verify(data, max_pixels=limit),
    ]
    for call in calls:
        with pytest.raises((FormatError, InputError), match=r"picture of 100x70 is outside 1\.\.6999 pixels"):
            call(6999)
        assert call(7000) is not None


@pytest.mark.slow
def test_a_picture_above_the_default_limit_comes_back(tiny: Codec) -> None:
    """270 megapixels, flat but for a corner."""
    pixels = np.full((16_384, 16_448), 99, np.uint8)
    pixels[-64:, -64:] = 30
    with pytest.raises(InputError, match=r"outside 1\.\.268435456 pixels"):
        tiny.encode(pixels)
    data = tiny.encode(pixels, effort=0, max_pixels=1 << 29)
    small = np.asarray(tiny.decode(data, scale=1 / 8, max_pixels=1 << 29))
    assert small.shape == (2048, 2056)
    assert np.abs(small.astype(int) - pixels[::8, ::8]).mean() < 20  # the tiny model is no better
    corner = tiny.decode(data, region=(16_384, 16_320, 64, 64), max_pixels=1 << 29)
    assert np.asarray(corner).mean() < np.asarray(small).mean()


def test_the_gpu_is_used_only_where_a_caller_says_so(
    tiny: Codec, random_pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a forked worker of a machine with CUDA, whoever touches the GPU fails."""
    monkeypatch.setattr(codec_module.weights, "load_for", lambda _: tiny.weights)
    asked = []
    pick = codec_module.pick_device
    monkeypatch.setattr(codec_module, "pick_device", lambda name: asked.append(name) or pick(name))
    codec_module._shared_codec.cache_clear()
    try:
        data = aecodec.encode(random_pixels)
        assert aecodec.decode(data).size == (100, 70)
        assert aecodec.decode(data, device="cpu").size == (100, 70)
        assert set(asked) == {"cpu"}
        assert codec_module.codec_for(tiny.weights.model_id) is codec_module.codec_for(tiny.weights.model_id, "cpu")
        if not torch.cuda.is_available():
            with pytest.raises(InputError, match="no CUDA device is available"):
                aecodec.decode(data, device="cuda")
            with pytest.raises(InputError, match="no CUDA device is available"):
                aecodec.encode(random_pixels, device="cuda")
        with pytest.raises(InputError, match="device must be auto, cpu or cuda, got tpu"):
            aecodec.decode(data, device="tpu")
    finally:
        codec_module._shared_codec.cache_clear()


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each checksum was looked at."""
    counter: Counter[str] = Counter()
    check = container._check_crc

    def counting(name: str, *arguments: Any) -> None:
        counter[name] += 1
        check(name, *arguments)

    monkeypatch.setattr(container, "_check_crc", counting)
    return counter


def test_what_a_file_holds_is_checked_once(tiny: Codec, checked: Counter[str]) -> None:
    calls: list[tuple[Path, Callable[[bytes], object]]] = [
        (GOLDEN, tiny.decode),
        (GOLDEN, tiny.verify),
        (GOLDEN, lambda data: tiny.decode_tensor([data])),
        (SHIPPED, aecodec.decode),
    ]
    for path, call in calls:
        data = path.read_bytes()
        checked.clear()
        unpack(data)
        once = checked.copy()
        assert once["header"] == 1
        checked.clear()
        call(data)
        assert checked == once


def test_commands_check_what_a_file_holds_once(tmp_path: Path, checked: Counter[str]) -> None:
    unpack(GOLDEN.read_bytes())
    once = checked.copy()
    for words in (
        ["decode", GOLDEN, tmp_path / "a.png"],
        ["verify", GOLDEN],
        ["compare", GOLDEN.with_suffix(".png"), GOLDEN],
    ):
        checked.clear()
        result = CliRunner().invoke(main, [str(word) for word in [*words, "--weights", DATA / "tiny.safetensors"]])
        assert result.exit_code == 0, result.output
        assert checked == once, words


@pytest.mark.parametrize("effort", [0, 3, 4])
def test_the_table_index_of_a_picture_is_computed_once(
    tiny: Codec, monkeypatch: pytest.MonkeyPatch, effort: int
) -> None:
    """Area by area, each position of z once."""
    pixels = np.random.default_rng(0).integers(0, 256, (150, 140, 3), np.uint8)
    small = Codec(tiny.weights, "cpu", work_tile=1)
    expected, positions = small.encode(pixels, tile=2, effort=effort), []
    table_index = Prior.table_index

    def counting(prior: Prior, z_symbols: NDArray[np.int8], level: int) -> NDArray[np.uint8]:
        positions.append(z_symbols[0].size)
        return table_index(prior, z_symbols, level)

    monkeypatch.setattr(Prior, "table_index", counting)
    assert small.encode(pixels, tile=2, effort=effort) == expected
    assert sum(positions) == 3 * 3
    positions.clear()
    small.encode_tensor(torch.from_numpy(pixels).permute(2, 0, 1)[None], effort=effort)
    assert sum(positions) == 3 * 3


@pytest.mark.parametrize("around", [torch.inference_mode, lambda: torch.device("meta")])
def test_a_codec_that_was_copied_in_another_mode_of_torch_can_do_all(
    tiny: Codec, random_pixels: NDArray[np.uint8], around: Callable[[], AbstractContextManager[object]]
) -> None:
    """Effort 4 needs gradients, which tensors of inference mode refuse."""
    expected = tiny.encode(random_pixels, effort=4)
    with around():
        copies = [pickle.loads(pickle.dumps(tiny)), copy.deepcopy(tiny)]
    for again in copies:
        assert again.encode(random_pixels, effort=4) == expected


@pytest.mark.parametrize("threads", [1, 2])
def test_a_used_codec_can_be_pickled_and_copied(threads: int) -> None:
    used = Codec.load(DATA / "tiny_context.safetensors", device="cpu", threads=threads)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 1100, 3), np.uint8)
    data = used.encode(pixels)
    decoded = used.decode(data).tobytes()
    for again in (pickle.loads(pickle.dumps(used)), copy.deepcopy(used), copy.copy(used)):
        assert again.encode(pixels) == data
        assert again.decode(data).tobytes() == decoded
        assert (again.workers.threads, again.weights.sha256) == (threads, used.weights.sha256)
        assert used.encode(pixels) == data


def test_options_of_other_kinds_are_input_errors(tiny: Codec) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    for progress in (7, "bar", [print]):
        with pytest.raises(InputError, match=r"progress must be callable, got (int|str|list)"):
            tiny.encode(picture, effort=4, progress=progress)
    batch = torch.zeros((1, 3, 8, 8), dtype=torch.uint8)
    for tensor in (batch.to("meta"), batch.to_sparse()):
        with pytest.raises(InputError, match="batch must hold all its values"):
            tiny.encode_tensor(tensor)
    for work_tile in (0, -1, 65):
        with pytest.raises(InputError, match=rf"work_tile must be 1\.\.64, got {work_tile}"):
            Codec(tiny.weights, "cpu", work_tile=work_tile)
    with pytest.raises(InputError, match="work_tile must be an integer"):
        Codec(tiny.weights, "cpu", work_tile=1.5)
    for threads in (1025, 1 << 40):
        with pytest.raises(InputError, match=rf"threads must be 1\.\.1024, got {threads}"):
            Codec(tiny.weights, "cpu", threads=threads)
