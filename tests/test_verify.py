"""verify, and encode --verify: sound files pass, and each thing that can be wrong is named."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image
from support import DATA, psnr

from aecodec import Codec, DigestError, FormatError
from aecodec.cli.app import main
from aecodec.decoder.exact import ExactReceiver
from aecodec.format.container import SectionKind, Tile, pack, unpack
from aecodec.format.digest import DIGEST_SIZE, check_digest, make_digest

TINY = ["--weights", DATA / "tiny.safetensors"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (70, 600)])
def test_digest_is_of_every_bit(mode: str, width: int, height: int) -> None:
    channels = len(Image.new(mode, (1, 1)).getbands())
    data = np.random.default_rng(width).integers(0, 256, height * width * channels, np.uint8)
    digest = make_digest(Image.frombytes(mode, (width, height), data.tobytes()))
    front = struct.pack("<HHB", width, height, channels)
    assert digest == hashlib.sha256(front + data.tobytes()).digest()[:16]
    for place in {0, len(data) // 2, len(data) - 1}:
        data[place] ^= 1
        other = Image.frombytes(mode, (width, height), data.tobytes())
        with pytest.raises(DigestError, match=f"its digest is {make_digest(other).hex()}, the file has {digest.hex()}"):
            check_digest(digest, other)
        data[place] ^= 1
    check_digest(digest, Image.frombytes(mode, (width, height), data.tobytes()))


def test_digest_is_of_the_shape_too() -> None:
    shapes = ("L", (1, 12)), ("L", (12, 1)), ("L", (3, 4)), ("LA", (1, 6)), ("RGB", (2, 2)), ("RGBA", (1, 3))
    assert len({make_digest(Image.new(mode, size)) for mode, size in shapes}) == len(shapes)


def test_only_verified_files_have_a_digest(tiny: Codec, random_pixels: NDArray[np.uint8]) -> None:
    plain, verified = tiny.encode(random_pixels), tiny.encode(random_pixels, verify=True)
    header, sections, tiles = unpack(verified)
    digest = sections.pop(SectionKind.DIGEST)
    assert len(digest) == DIGEST_SIZE
    assert pack(header, sections, tiles) == plain
    assert tiny.verify(plain).digest is None
    assert tiny.verify(verified).digest == digest
    assert np.array_equal(np.asarray(tiny.decode(verified)), np.asarray(tiny.decode(plain)))


def test_digest_counts_in_a_size(tiny: Codec, random_pixels: NDArray[np.uint8]) -> None:
    limit = len(tiny.encode(random_pixels, quality=50, verify=True))
    assert 0.98 * limit <= len(tiny.encode(random_pixels, max_bytes=limit, verify=True)) <= limit


def test_digest_of_another_length_is_named(tiny: Codec) -> None:
    header, sections, tiles = unpack((DATA / "golden" / "digest.aec").read_bytes())
    sections[SectionKind.DIGEST] += b"x"
    data = pack(header, sections, tiles)
    tiny.decode(data)  # which needs nothing of it
    with pytest.raises(FormatError, match="digest needs 16 bytes, got 17"):
        tiny.verify(data)


def test_verify_tells_each_check(tmp_path: Path) -> None:
    result = run("verify", DATA / "golden" / "digest.aec", "--original", DATA / "golden" / "digest.png", *TINY)
    assert result.exit_code == 0, result.output
    names = [line.split()[0] for line in result.output.splitlines()]
    assert names == ["structure", "checksums", "weights", "decode", "digest", "PSNR"]
    with Image.open(DATA / "golden" / "digest.png") as decoded:
        assert f"digest    {make_digest(decoded).hex()}, equal" in result.output
    assert "structure 150x130 RGB, 1 tile\n" in result.output
    assert "weights   no weights\n" in run("verify", DATA / "golden" / "lossless.aec").output
    assert "digest    none in the file" in run("verify", DATA / "golden" / "alpha.aec", *TINY).output
    assert run("--quiet", "verify", DATA / "golden" / "digest.aec", *TINY).output == ""


def test_psnr_is_that_of_the_original(tmp_path: Path, coffee: Image.Image) -> None:
    coffee.crop((0, 0, 90, 70)).save(tmp_path / "photo.png")
    assert run("encode", "--verify", tmp_path / "photo.png", tmp_path / "a.aec", *TINY).exit_code == 0
    assert run("decode", tmp_path / "a.aec", tmp_path / "a.png", *TINY).exit_code == 0
    with Image.open(tmp_path / "photo.png") as a, Image.open(tmp_path / "a.png") as b:
        expected = f"PSNR      {psnr(a, b):.2f} dB"
    assert expected in run("verify", tmp_path / "a.aec", "--original", tmp_path / "photo.png", *TINY).output


def test_verify_names_what_is_wrong(tmp_path: Path) -> None:
    good = (DATA / "golden" / "digest.aec").read_bytes()
    header, sections, tiles = unpack(good)
    wrong = bytes([sections[SectionKind.DIGEST][0] ^ 64]) + sections[SectionKind.DIGEST][1:]
    bad = tmp_path / "bad.aec"
    for data, weights, passed, message in (
        (good[:-1], TINY, 0, "section 0x01 needs"),
        (good[:-1] + bytes([good[-1] ^ 1]), TINY, 0, "section 0x01 is damaged"),
        (good, [], 2, "file needs weights"),
        (good, ["--weights", DATA / "tiny_context.safetensors"], 2, "file needs weights"),
        (good, [*TINY, "--max-pixels", 19_499], 0, "150x130 is outside 1..19499 pixels"),
        (pack(header, sections, [Tile(bytes(8))]), TINY, 3, "impossible state"),
        (
            pack(header, {SectionKind.DIGEST: wrong}, tiles),
            TINY,
            3,
            "picture is not what the encoder saw: its digest is",
        ),
    ):
        bad.write_bytes(data)
        result = run("verify", bad, *weights)
        assert result.exit_code == 1, result.output
        assert len(result.stdout.splitlines()) == passed, result.output
        assert message in result.stderr


def test_encode_verify_keeps_the_old_file_where_the_new_one_is_wrong(
    tmp_path: Path, coffee: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that computes another picture when it decodes what it has just written."""
    source, target = tmp_path / "photo.png", tmp_path / "photo.aec"
    coffee.crop((0, 0, 90, 70)).save(source)
    target.write_bytes(b"precious")
    synthesize = ExactReceiver.synthesize
    calls = []

    def drifting(*arguments: object) -> NDArray[np.uint8]:
        calls.append(arguments)
        pixels = synthesize(*arguments)  # type: ignore[arg-type]
        pixels[30, 40, 1] ^= len(calls) > 1
        return pixels

    monkeypatch.setattr(ExactReceiver, "synthesize", drifting)
    result = run("encode", "--verify", source, target, *TINY)
    assert (result.exit_code, "picture is not what the encoder saw" in result.stderr) == (1, True), result.output
    assert target.read_bytes() == b"precious"
    assert len(calls) == 2


def test_networks_of_floats_verify_by_the_integers(tiny: Codec, random_pixels: NDArray[np.uint8]) -> None:
    floats = Codec.load(str(TINY[1]), backend="float")
    data = floats.encode(random_pixels, verify=True)
    assert floats.verify(data).digest == tiny.verify(data).digest
    with pytest.raises(DigestError):
        check_digest(tiny.verify(data).digest or b"", floats.decode(data))


def test_digest_is_of_alpha_too(tiny: Codec) -> None:
    """An encoder that writes another alpha than it was given."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 50, 4), np.uint8)
    header, sections, tiles = unpack(tiny.encode(pixels, verify=True))
    _, other, _ = unpack(tiny.encode(np.dstack((pixels[:, :, :3], pixels[:, :, 3] ^ 1))))
    sections[SectionKind.ALPHA] = other[SectionKind.ALPHA]
    with pytest.raises(DigestError):
        tiny.verify(pack(header, sections, tiles))


def test_folders_are_verified_too(tmp_path: Path, coffee: Image.Image) -> None:
    (tmp_path / "photos").mkdir()
    coffee.crop((0, 0, 60, 50)).save(tmp_path / "photos" / "a.png")
    assert run("encode", "--verify", tmp_path / "photos", tmp_path / "out", "-j", 1, *TINY).exit_code == 0
    assert SectionKind.DIGEST in unpack((tmp_path / "out" / "a.png.aec").read_bytes()).sections
