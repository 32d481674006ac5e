"""decode --partial: what is left of damaged files, in the right place."""

from __future__ import annotations

import random
import re
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image
from support import DATA

from aecodec import Codec, FormatError, TruncatedError, UnsupportedError, read_header
from aecodec.cli.app import main
from aecodec.coding.symbols import Symbols
from aecodec.format import rescue
from aecodec.format.container import HEADER_SIZE, SECTION_OVERHEAD, Box, Tile, checked_payload, pack, unpack
from aecodec.format.rescue import salvage

TINY = ["--weights", DATA / "tiny.safetensors"]
COLUMNS, ROWS = 10, 7


@pytest.fixture(scope="module")
def photo(tiny: Codec, coffee: Image.Image) -> tuple[bytes, NDArray[np.int_]]:
    """A file of 10x7 tiles of 64 pixels with a profile, and what it decodes to."""
    image = coffee.copy()
    image.info = {"icc_profile": bytes(16) + b"RGB and no more of a profile"}
    data = tiny.encode(image, tile=1)
    return data, np.asarray(tiny.decode(data)).astype(int)


def starts(data: bytes) -> list[int]:
    """Where the sections of a file begin."""
    places = [HEADER_SIZE]
    while places[-1] < len(data):
        places.append(places[-1] + SECTION_OVERHEAD + struct.unpack_from("<I", data, places[-1] + 1)[0])
    return places[:-1]


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]


def lost_numbers(data: bytes) -> list[int]:
    """Tiles that salvage does not find."""
    return [number for number, tile in enumerate(salvage(data).tiles) if tile is None]


def check_picture(picture: Image.Image, whole: NDArray[np.int_], lost: list[int]) -> None:
    """Lost tiles are gray, those that cannot see one are as in the sound file, and their neighbors are much alike."""
    pixels = np.asarray(picture).astype(int)
    assert pixels.shape == whole.shape
    boxes = [
        Box(64 * (n % COLUMNS), 64 * (n // COLUMNS), 64 * (n % COLUMNS) + 64, 64 * (n // COLUMNS) + 64)
        for n in range(70)
    ]
    for number, box in enumerate(boxes):
        difference = np.abs(pixels - whole)[box.cells(1)]
        if number in lost:
            assert np.all(pixels[box.cells(1)] == 128)
        elif all(boxes[other].grown(128, Box(-999, -999, 9999, 9999)).intersection(box) is None for other in lost):
            assert difference.max() <= 1, number
        else:
            assert difference.mean() < 20, number


def test_sound_file_loses_nothing(tiny: Codec, photo: tuple[bytes, NDArray[np.int_]]) -> None:
    picture, losses = tiny.decode_partial(photo[0])
    assert losses == []
    check_picture(picture, photo[1], [])
    assert picture.info == tiny.decode(photo[0]).info


@pytest.mark.parametrize("part", ["kind", "length", "crc", "payload"])
def test_one_damaged_byte_costs_one_tile(tiny: Codec, photo: tuple[bytes, NDArray[np.int_]], part: str) -> None:
    data, whole = photo
    offset = {"kind": 0, "length": 2, "crc": 6, "payload": 12}[part]
    for tile in (0, 69, 34):
        damaged = flipped(data, starts(data)[1 + tile] + offset)
        assert lost_numbers(damaged) == [tile]
    picture, losses = tiny.decode_partial(damaged)
    check_picture(picture, whole, [34])
    assert [loss.box for loss in losses if loss.box is not None] == [Box(256, 192, 320, 256)]


def test_several_damaged_tiles(tiny: Codec, photo: tuple[bytes, NDArray[np.int_]]) -> None:
    data, whole = photo
    places = starts(data)[1:]
    damaged = data
    for tile, offset in ((3, 12), (4, 12), (5, 0), (60, 2)):
        damaged = flipped(damaged, places[tile] + offset)
    picture, _ = tiny.decode_partial(damaged)
    assert lost_numbers(damaged) == [3, 4, 5, 60]
    check_picture(picture, whole, [3, 4, 5, 60])
    damaged = flipped(damaged, places[20] + 3)  # two gaps, one tile in each
    assert lost_numbers(damaged) == [3, 4, 5, 20, 60]


def test_block_of_bytes_that_is_gone_or_zero(photo: tuple[bytes, NDArray[np.int_]]) -> None:
    data, _ = photo
    places = starts(data)[1:]
    begin, end = places[30] + 20, places[34] + 5
    assert lost_numbers(data[:begin] + bytes(end - begin) + data[end:]) == [30, 31, 32, 33, 34]
    assert lost_numbers(data[:begin] + data[end:]) == [30, 31, 32, 33, 34]


def test_every_truncation_keeps_the_tiles_before_it(tiny: Codec, photo: tuple[bytes, NDArray[np.int_]]) -> None:
    data, whole = photo
    ends = [*starts(data)[2:], len(data)]
    lengths = random.Random(1).sample(range(ends[0], len(data)), 30)
    for length in [*lengths, *ends[:3]]:
        assert lost_numbers(data[:length]) == [n for n, end in enumerate(ends) if end > length], length
    picture, losses = tiny.decode_partial(data[: ends[44]])
    assert len(losses) == 70 - 45
    check_picture(picture, whole, list(range(45, 70)))


def test_what_cannot_be_placed_is_not_shown(photo: tuple[bytes, NDArray[np.int_]]) -> None:
    """Two gaps of unknown size: tiles between them could be anywhere."""
    data, _ = photo
    places = starts(data)[1:]
    damaged = flipped(data, places[50] + 2)
    damaged = damaged[: places[20] + 7] + damaged[places[22] + 7 :]
    assert lost_numbers(damaged) == list(range(20, 51))


def test_damage_before_the_tiles_costs_no_tile(tiny: Codec, photo: tuple[bytes, NDArray[np.int_]]) -> None:
    data, whole = photo
    for offset in (0, 2, 6, 12):
        damaged = flipped(data, HEADER_SIZE + offset)
        assert lost_numbers(damaged) == []
        picture, losses = tiny.decode_partial(damaged)
        assert [loss.box for loss in losses] == [None]
        assert picture.info == {}
    check_picture(picture, whole, [])
    assert [loss.box for loss in tiny.decode_partial(data + b"garbage").losses] == [None]


def test_lost_alpha_makes_opaque(tiny: Codec) -> None:
    data = (DATA / "golden" / "alpha.aec").read_bytes()
    expected = np.asarray(tiny.decode(data))
    picture, losses = tiny.decode_partial(flipped(data, HEADER_SIZE + 20))
    assert picture.mode == "RGBA"
    assert np.all(np.asarray(picture)[:, :, 3] == 255)
    assert np.array_equal(np.asarray(picture)[:, :, :3], expected[:, :, :3])
    assert any("alpha" in loss.reason for loss in losses)
    constant = (DATA / "golden" / "constant_alpha.aec").read_bytes()
    assert tiny.decode_partial(constant).losses == []
    assert np.asarray(tiny.decode_partial(constant).image)[0, 0, 1] == 128


def test_region_and_scale_of_what_is_left(tiny: Codec, photo: tuple[bytes, NDArray[np.int_]]) -> None:
    data, whole = photo
    damaged = flipped(data, starts(data)[1] + 12)
    part = tiny.decode_partial(damaged, region=(300, 200, 100, 90))
    assert part.losses == []
    assert np.abs(np.asarray(part.image) - whole[200:290, 300:400]).max() <= 1
    small = np.asarray(tiny.decode_partial(damaged, scale=1 / 8).image)
    assert np.all(small[:8, :8] == 128)
    assert np.any(small[8:, 8:] != 128)


def test_file_that_ends_in_its_only_tile_gives_what_its_beginning_tells(codec: Codec, coffee: Image.Image) -> None:
    """z, a coarse picture, is about 4 % of the tile; the details come channel by channel."""
    photo = coffee.crop((0, 0, 256, 192))
    data = codec.encode(photo, effort=0)
    whole = np.asarray(codec.decode(data)).astype(int)
    start, errors = starts(data)[-1] + SECTION_OVERHEAD, []
    for share in (0.1, 0.5, 0.9):
        length = start + int(share * (len(data) - start))
        picture, losses = codec.decode_partial(data[:length])
        (loss,) = (loss for loss in losses if loss.box is not None)
        assert (loss.box, loss.in_part) == (Box(0, 0, 256, 192), True)
        assert loss.reason == f"cut off after {length - start} of {len(data) - start} bytes, which are shown unchecked"
        errors.append(float(((np.asarray(picture).astype(int) - whole) ** 2).mean()))
    gray = float(((128 - whole) ** 2).mean())
    assert gray / 4 > errors[0] > 2 * errors[1] > 4 * errors[2] > 0, (gray, errors)
    for length in (start + 12, start, start - 4):
        with pytest.raises(FormatError, match="none of 1 tiles can be decoded"):
            codec.decode_partial(data[:length])


def test_tile_that_is_cut_off_and_damaged_is_shown_up_to_the_damage(codec: Codec, coffee: Image.Image) -> None:
    """Garbage behind the damage may look like symbols, or like no encoder's: both keep what is before."""
    kinds: set[type[FormatError]] = set()
    for left in range(0, 500, 100):
        data = codec.encode(coffee.crop((left, 0, left + 128, 128)), effort=0)
        start, header = starts(data)[-1] + SECTION_OVERHEAD, read_header(data)
        cut = start + (len(data) - start) * 9 // 10 // 4 * 4
        for place in range(start + (cut - start) // 2, cut - 4, 4):
            damaged = data[:place] + b"\xff" * 4 + data[place + 4 : cut]
            part = Symbols.zeros(codec.weights.prior, header.padded)
            try:
                codec.tile_coder.parse(damaged[start:], part, header.tiles()[0], header.level)
            except FormatError as error:
                kinds.add(type(error))
            (loss,) = (loss for loss in codec.decode_partial(damaged).losses if loss.box is not None)
            assert loss.in_part
            if kinds == {FormatError, TruncatedError}:
                return
    pytest.fail(f"only {kinds} were seen")


def test_tile_that_is_cut_off_is_shown_where_its_place_is_known(
    tiny: Codec, photo: tuple[bytes, NDArray[np.int_]]
) -> None:
    data, whole = photo
    places = starts(data)[1:]
    cut = data[: places[45] - 5]  # in tile 44
    box = Box(256, 256, 320, 320)
    picture, losses = tiny.decode_partial(cut)
    assert [loss.box for loss in losses if loss.in_part] == [box]
    pixels = np.asarray(picture).astype(int)
    assert np.abs(pixels - whole)[box.cells(1)].mean() < 20
    check_picture(picture, whole, list(range(45, 70)))
    for lost in (flipped(cut, places[20] + 2), flipped(cut, places[44])):  # another gap, another kind
        assert not any(loss.in_part for loss in tiny.decode_partial(lost).losses)
    assert any(loss.in_part for loss in tiny.decode_partial(flipped(cut, places[20] + 12)).losses)


def test_what_no_flag_mends(tiny: Codec, photo: tuple[bytes, NDArray[np.int_]]) -> None:
    data, _ = photo
    with pytest.raises(FormatError, match="header is damaged"):
        tiny.decode_partial(flipped(data, 9))
    with pytest.raises(FormatError, match="none of 70 tiles can be decoded"):
        tiny.decode_partial(data[: starts(data)[1] + SECTION_OVERHEAD + 8])
    front = struct.pack("<BI", 7, 0)
    newer = data[:HEADER_SIZE] + front + struct.pack("<I", zlib.crc32(front)) + data[HEADER_SIZE:]
    with pytest.raises(UnsupportedError, match="unknown critical section 0x07"):
        tiny.decode_partial(newer)


def test_stream_that_is_wrong_behind_a_right_checksum(tiny: Codec, photo: tuple[bytes, NDArray[np.int_]]) -> None:
    header, sections, tiles = unpack(photo[0])
    tiles[11] = Tile(bytes(8))
    picture, losses = tiny.decode_partial(pack(header, sections, tiles))
    assert [(loss.box, "impossible state" in loss.reason) for loss in losses] == [(Box(64, 64, 128, 128), True)]
    check_picture(picture, photo[1], [11])


def test_hostile_bytes_take_no_long_search(tiny: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte begins a section that ends within the file, and none is sound."""
    looked_at = 0

    def counted(data: bytes, start: int, length: int) -> bytes:
        nonlocal looked_at
        looked_at += length
        return checked_payload(data, start, length)

    monkeypatch.setattr(rescue, "checked_payload", counted)
    data = (DATA / "golden" / "tiles.aec").read_bytes()[:HEADER_SIZE] + b"\x01\x08\x00\x01\x00" * 40_000
    with pytest.raises(FormatError, match="none of 12 tiles can be decoded"):
        tiny.decode_partial(data)
    assert 10 * len(data) < looked_at < 70 * len(data)


EMPTY = bytes.fromhex("8100000000")
DAMAGED = EMPTY + bytes(4)
HIDDEN = b"\x82\x09\x00\x00\x00" + bytes(4) + EMPTY + struct.pack("<I", zlib.crc32(EMPTY))  # a sound one in a damaged


@pytest.mark.parametrize("section", [DAMAGED, HIDDEN])
def test_a_megabyte_of_short_sections_takes_no_long_search(section: bytes) -> None:
    """In time that grows with their number; with its square it would be minutes."""
    data = (DATA / "golden" / "tiles.aec").read_bytes()
    many = section * (1_000_000 // len(section))
    started = time.process_time()
    assert lost_numbers(data[:HEADER_SIZE] + many + data[HEADER_SIZE:]) == []
    assert lost_numbers(data + many + b"\x01") == []
    assert time.process_time() - started < 15


@pytest.mark.parametrize("seed", range(20))
def test_random_damage_gives_a_picture_or_an_error(
    tiny: Codec, photo: tuple[bytes, NDArray[np.int_]], seed: int
) -> None:
    """No tile is ever in a wrong place."""
    rng = random.Random(seed)
    _, _, tiles = unpack(photo[0])
    damaged = bytearray(photo[0])
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(HEADER_SIZE, len(damaged))
        damaged[place : place + rng.choice((1, 1, 40))] = rng.randbytes(rng.choice((1, 1, 40)))
    for tile, expected in zip(salvage(bytes(damaged)).tiles, tiles, strict=True):
        assert tile in (None, expected)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_command_lists_what_was_lost(tmp_path: Path) -> None:
    data = (DATA / "golden" / "tiles.aec").read_bytes()
    packed, out = tmp_path / "a.aec", tmp_path / "a.png"
    packed.write_bytes(flipped(data, starts(data)[5] + 12))
    out.write_bytes(b"precious")
    result = run("decode", packed, out, *TINY)
    assert (result.exit_code, out.read_bytes()) == (1, b"precious")
    result = run("decode", "--partial", packed, out, *TINY)
    assert result.exit_code == 1
    assert result.stdout == f"{out}: 200x130 RGB\n"
    first, second = result.stderr.splitlines()
    assert first == "Error: the file is damaged, 1 of 12 tiles is lost"
    assert second.startswith("lost: tile 64,64,64,64: section 0x01 is damaged: CRC-32")
    with Image.open(out) as image:
        assert image.crop((64, 64, 128, 128)).getextrema() == ((128, 128),) * 3
    packed.write_bytes(data)
    assert run("decode", "--partial", packed, out, *TINY).exit_code == 0
    packed.write_bytes(data[:-2])
    result = run("decode", "--partial", packed, out, *TINY)
    first, *_, last = result.stderr.splitlines()
    assert (result.exit_code, first) == (1, "Error: the file is damaged, 0 of 12 tiles are lost, one in part")
    assert re.fullmatch(r"lost: tile 192,128,8,2: cut off after \d+ of \d+ bytes, which are shown unchecked", last)
    packed.write_bytes(data[:38])
    out.write_bytes(b"precious")
    result = run("decode", "--partial", packed, out, *TINY)
    assert (result.exit_code, "none of 12 tiles can be decoded" in result.stderr) == (1, True)
    assert out.read_bytes() == b"precious"
