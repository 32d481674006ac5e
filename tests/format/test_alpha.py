"""Transparency is kept exactly, costs little, and its section can be trusted with any bytes."""

from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support import DATA

from aecodec import Codec, FormatError
from aecodec.format.alpha import decode_alpha, encode_alpha
from aecodec.format.container import Box, Header, SectionKind, pack, unpack

HEADER = Header(100, 70, 6000, 0, tile=1, alpha=True)  # 2x2 tiles


def webp(width: int, height: int, **options: object) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((width, height), 50).convert("RGB").save(file, "WEBP", **options)
    return file.getvalue()


def listed(*parts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 150), st.integers(1, 150), st.integers(1, 2), st.integers(0, 3), st.randoms())
def test_alpha_is_exact(width: int, height: int, tile: int, blur: int, random: object) -> None:
    rng = np.random.default_rng(random.randrange(1 << 32))
    header = Header(width, height, 6000, 0, tile=tile, alpha=True)
    alpha = rng.integers(0, 256, (height, width), dtype=np.uint8) >> blur << blur
    left, top = int(rng.integers(width)), int(rng.integers(height))
    region = Box(left, top, int(rng.integers(left, width)) + 1, int(rng.integers(top, height)) + 1)
    payload = encode_alpha(alpha, header)
    assert np.array_equal(decode_alpha(payload, header, header.bounds), alpha)
    assert np.array_equal(decode_alpha(payload, header, region), alpha[region.cells(1)])
    factor = int(rng.choice((2, 4, 8)))
    padded = np.pad(alpha, ((0, -height % 8), (0, -width % 8)), "edge")
    means = np.floor(padded.reshape(len(padded) // factor, factor, -1, factor).mean((1, 3)) + 0.5)
    assert np.array_equal(decode_alpha(payload, header, region, factor), means[region.cells(factor)])


def test_decoding_takes_the_memory_of_the_result_and_a_tile() -> None:
    header = Header(1200, 1000, 6000, 0, tile=2, alpha=True)
    payload = encode_alpha(np.add.outer(np.arange(1000) // 9, np.arange(1200) // 9).astype(np.uint8), header)
    for data in (payload, b"\x80"):
        for factor in (1, 2):
            tracemalloc.start()
            decode_alpha(data, header, header.bounds, factor)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < 1.5 * header.pixels / factor**2 + 10 * 128**2


def test_constant_alpha_is_one_byte() -> None:
    for value in (0, 128, 254):
        payload = encode_alpha(np.full((70, 100), value, np.uint8), HEADER)
        assert payload == bytes([value])
        assert np.all(decode_alpha(payload, HEADER, HEADER.bounds) == value)


def test_constant_alpha_costs_one_byte_of_the_file(tiny: Codec, coffee: Image.Image) -> None:
    image = coffee.crop((0, 0, 100, 70))
    opaque = tiny.encode(image)
    image.putalpha(128)
    data = tiny.encode(image)
    assert len(data) == len(opaque) + 1
    assert tiny.decode(data).getchannel("A").getextrema() == (128, 128)
    header, sections, tiles = unpack(data)
    assert sections[SectionKind.ALPHA] == b"\x80"
    assert pack(header, sections, tiles) == data
    with pytest.raises(FormatError, match="header needs 22 bytes"):
        unpack(data[:21])


def test_alpha_stands_in_one_place(tiny: Codec) -> None:
    data = (DATA / "golden" / "constant_alpha.aec").read_bytes()
    extra = b"\x02\x01\0\0\0" + b"\x80"
    section = extra[:5] + struct.pack("<I", zlib.crc32(extra)) + extra[5:]
    with pytest.raises(FormatError, match="alpha sections are 1"):
        unpack(data[:22] + section + data[22:])
    fixed = data[:5] + bytes([data[5] | 2]) + data[6:18]
    with pytest.raises(FormatError, match="two kinds of alpha"):
        unpack(fixed + struct.pack("<I", zlib.crc32(fixed)) + data[22:])
    fixed = data[:5] + bytes([data[5] & 1 | 2]) + data[6:17]
    with pytest.raises(FormatError, match="not in the header"):
        unpack(fixed + struct.pack("<I", zlib.crc32(fixed)) + section + data[22:])


def test_tiles_of_one_value_are_one_byte() -> None:
    alpha = np.zeros((70, 100), np.uint8)
    alpha[10, 10] = 9
    payload = encode_alpha(alpha, HEADER)
    assert payload.endswith(listed(b"\0", b"\0", b"\0"))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_codec_keeps_mode_and_alpha(tiny: Codec, coffee: Image.Image, mode: str) -> None:
    image = coffee.crop((0, 0, 130, 90)).convert(mode)
    image.putalpha(Image.radial_gradient("L").resize(image.size))
    decoded = tiny.decode(tiny.encode(image, tile=1))
    assert decoded.mode == mode
    assert np.array_equal(np.asarray(decoded)[:, :, -1], np.asarray(image)[:, :, -1])


def test_hidden_colors_are_not_paid_for(codec: Codec, coffee: Image.Image) -> None:
    rng = np.random.default_rng(0)
    rgba = np.dstack((np.asarray(coffee)[:128, :256], np.full((128, 256), 255, np.uint8)))
    rgba[:, 128:, 3] = 0
    rgba[:, 128:, :3] = rng.integers(0, 256, (128, 128, 3))
    opaque, visible = codec.encode(rgba[:, :, :3]), codec.encode(rgba[:, :128, :3])
    assert len(codec.encode(rgba)) < len(visible) + 0.2 * (len(opaque) - len(visible))


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "alpha of a tile is 1 bytes of 0"),
        (listed(b"a", b"b", b"c"), "alpha of a tile is 1 bytes of 0"),
        (listed(b"a", b"b", b"c", b""), "alpha of a tile is 0 bytes of 0"),
        (listed(b"a", b"b", b"c", b"d", b"e"), "fills 20 bytes of 25"),
        (struct.pack("<I", 1 << 31) + b"a", "is 2147483648 bytes of 1"),
        (listed(b"ab", b"b", b"c", b"d"), "not a lossless WebP file"),
        (listed(webp(64, 64), b"b", b"c", b"d"), "not a lossless WebP file"),
        (listed(webp(64, 65, lossless=True), b"b", b"c", b"d"), "alpha is 64x65, its tile 64x64"),
        (listed(b"b", webp(64, 64, lossless=True), b"c", b"d"), "alpha is 64x64, its tile 36x64"),
        (listed(webp(64, 64, lossless=True)[:-300], b"b", b"c", b"d"), "not a valid WebP file"),
        (listed(b"RIFF0000WEBPVP8L0000\x2f" + struct.pack("<I", 63 | 63 << 14), b"b", b"c", b"d"), "not a valid WebP"),
    ],
)
def test_each_defect_has_its_error(payload: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        decode_alpha(payload, HEADER, HEADER.bounds)


def test_bomb_is_refused_before_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = bytearray(webp(64, 64, lossless=True))
    bomb[21:25] = struct.pack("<I", 16_382 | 16_382 << 14)

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("Pillow saw it")

    monkeypatch.setattr(Image, "open", opened)
    with pytest.raises(FormatError, match="alpha is 16383x16383, its tile 64x64"):
        decode_alpha(listed(bytes(bomb), b"b", b"c", b"d"), HEADER, HEADER.bounds)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_damaged_webp_gives_an_error_or_a_picture(draw: st.DataObject) -> None:
    container = unpack((DATA / "golden" / "alpha.aec").read_bytes())
    payload = bytearray(container.sections[SectionKind.ALPHA])
    for _ in range(draw.draw(st.integers(1, 4))):
        payload[draw.draw(st.integers(0, len(payload) - 1))] = draw.draw(st.integers(0, 255))
    with contextlib.suppress(FormatError):
        decode_alpha(bytes(payload), container.header, container.header.bounds)


def test_flag_and_section_must_agree(tiny: Codec) -> None:
    header, sections, tiles = unpack((DATA / "golden" / "constant_alpha.aec").read_bytes())
    with pytest.raises(FormatError, match="alpha flag is 1, alpha sections are 0"):
        unpack(pack(header, {}, tiles))
    plain, _, tiles = unpack((DATA / "golden" / "gray.aec").read_bytes())
    with pytest.raises(FormatError, match="alpha flag is 0, alpha sections are 1"):
        unpack(pack(plain, sections, tiles))
