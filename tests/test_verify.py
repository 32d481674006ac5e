"""verify, and encode --verify: sound files pass, and each thing that can be wrong is named."""

from __future__ import annotations

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
from aecodec.format.container import Header, SectionKind, pack, unpack
from aecodec.format.digest import check_digest, digest_size, make_digest

TINY = ["--weights", DATA / "tiny.safetensors"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (64, 65), (700, 129)])
def test_digest_stands_one_level_of_noise_and_no_more(mode: str, width: int, height: int) -> None:
    rng = np.random.default_rng(width)
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = rng.integers(3, 253, (height, width, channels), dtype=np.uint8)
    noise = rng.integers(-1, 2, pixels.shape)
    for offset in (-1, 0, 1):
        for change in (np.full_like(noise, offset), noise * abs(offset)):
            image, other = (
                Image.fromarray(p.astype(np.uint8).squeeze(2 if channels == 1 else ()))
                for p in (pixels, pixels + change)
            )
            digest = make_digest(image)
            assert len(digest) == digest_size(Header(width, height, 100, 0, gray="L" in mode))
            assert check_digest(digest, other) <= 1
    pixels[:, :, 0] -= 3
    with pytest.raises(DigestError, match="by up to 3 of 255, 1 is allowed"):
        check_digest(digest, Image.fromarray(pixels.squeeze(2 if channels == 1 else ())))


def test_only_verified_files_have_a_digest(tiny: Codec, random_pixels: NDArray[np.uint8]) -> None:
    plain, verified = tiny.encode(random_pixels), tiny.encode(random_pixels, verify=True)
    header, sections, tiles = unpack(verified)
    assert len(sections.pop(SectionKind.DIGEST)) == 2 * 2 * 3
    assert pack(header, sections, tiles) == plain
    assert tiny.verify(plain).difference is None
    assert tiny.verify(verified).difference == 0
    assert np.array_equal(np.asarray(tiny.decode(verified)), np.asarray(tiny.decode(plain)))


def test_digest_counts_in_a_size(tiny: Codec, random_pixels: NDArray[np.uint8]) -> None:
    limit = len(tiny.encode(random_pixels, quality=50, verify=True))
    assert 0.98 * limit <= len(tiny.encode(random_pixels, max_bytes=limit, verify=True)) <= limit


def test_digest_of_another_length_is_named(tiny: Codec) -> None:
    header, sections, tiles = unpack((DATA / "golden" / "digest.aec").read_bytes())
    sections[SectionKind.DIGEST] += b"x"
    data = pack(header, sections, tiles)
    tiny.decode(data)  # which needs nothing of it
    with pytest.raises(FormatError, match="digest of 150x130 RGB is 27 bytes, got 28"):
        tiny.verify(data)


def test_verify_tells_each_check(tmp_path: Path) -> None:
    result = run("verify", DATA / "golden" / "digest.aec", "--original", DATA / "golden" / "digest.png", *TINY)
    assert result.exit_code == 0, result.output
    names = [line.split()[0] for line in result.output.splitlines()]
    assert names == ["structure", "checksums", "weights", "decode", "digest", "PSNR"]
    assert "digest    within 0 of 255, 1 is allowed" in result.output
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
        (pack(header, sections, [bytes(8)]), TINY, 3, "impossible state"),
        (pack(header, {SectionKind.DIGEST: wrong}, tiles), TINY, 3, "1 of 27 means differ, by up to 64 of 255"),
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
        return pixels // 2 if len(calls) > 1 else pixels

    monkeypatch.setattr(ExactReceiver, "synthesize", drifting)
    result = run("encode", "--verify", source, target, *TINY)
    assert (result.exit_code, "picture is not what the encoder saw" in result.stderr) == (1, True), result.output
    assert target.read_bytes() == b"precious"
    assert len(calls) == 2


def test_folders_are_verified_too(tmp_path: Path, coffee: Image.Image) -> None:
    (tmp_path / "photos").mkdir()
    coffee.crop((0, 0, 60, 50)).save(tmp_path / "photos" / "a.png")
    assert run("encode", "--verify", tmp_path / "photos", tmp_path / "out", "-j", 1, *TINY).exit_code == 0
    assert SectionKind.DIGEST in unpack((tmp_path / "out" / "a.png.aec").read_bytes()).sections
