"""The Pillow plugin does what Pillow's users expect of a format."""

from __future__ import annotations

import dataclasses
import io
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageFile, UnidentifiedImageError

import aecodec
from aecodec import weights
from aecodec.format.container import FORMAT_VERSION, MAGIC, SectionKind, front_bytes, pack, read_front, unpack


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, coffee: Image.Image) -> Path:
    path = tmp_path_factory.mktemp("pillow") / "coffee.aec"
    coffee.save(path, quality=30)
    return path


def test_save_and_open_are_encode_and_decode(saved: Path, coffee: Image.Image) -> None:
    assert saved.read_bytes() == aecodec.encode(coffee, quality=30)
    with Image.open(saved) as image:
        assert (image.format, image.get_format_mimetype()) == ("AECODEC", "image/x-aecodec")
        assert (image.size, image.mode) == (coffee.size, "RGB")
        assert np.array_equal(np.asarray(image), np.asarray(aecodec.decode(saved.read_bytes())))


def test_opening_loads_no_torch(saved: Path) -> None:
    code = (
        "import sys, aecodec\n"
        "from PIL import Image\n"
        "assert Image.open(sys.argv[1]).size == (600, 400)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", code, str(saved)], check=True)


def test_metadata_is_there_at_open_and_options_replace_it(coffee: Image.Image) -> None:
    image = coffee.crop((0, 0, 64, 64))
    image.info.update(xmp=b"<x/>", icc_profile=b"profile", dpi=(72, 72))
    exif = Image.Exif()
    exif[0x010E] = "a cup"
    file = io.BytesIO()
    image.save(file, "AECODEC", exif=exif, xmp=None, icc_profile=b"other")
    again = Image.open(file)
    assert again.info["icc_profile"] == b"other"
    assert "xmp" not in again.info
    assert again.info["dpi"] == (72, 72)
    assert again.getexif()[0x010E] == "a cup"


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_modes_survive(coffee: Image.Image, mode: str) -> None:
    image = coffee.crop((0, 0, 70, 50)).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    file = io.BytesIO()
    image.convert(mode).save(file, "AECODEC", quality=90)
    again = Image.open(file)
    assert again.mode == mode
    again.load()
    assert again.mode == mode
    if mode.endswith("A"):
        assert np.array_equal(np.asarray(again.getchannel("A")), np.asarray(image.getchannel("A")))


def test_what_pillow_does_to_any_image(saved: Path, tmp_path: Path) -> None:
    with Image.open(saved) as image:
        assert image.tell() == 0
        image.seek(0)
        with pytest.raises(EOFError):
            image.seek(1)
        again = pickle.loads(pickle.dumps(image))
        assert np.array_equal(np.asarray(again), np.asarray(image))
        image.thumbnail((128, 128))
        assert max(image.size) == 128
    image = Image.open(saved)
    image.close()
    with pytest.raises(ValueError, match="closed"):
        image.load()
    with saved.open("rb") as file:  # an open file stays open, and stays the caller's
        image = Image.open(file)
        image.load()
        assert not file.closed
    with Image.open(saved) as image:
        image.save(tmp_path / "copy.png")
    with Image.open(saved) as image:
        image.verify()


def test_damaged_files_are_errors_of_pillow(saved: Path) -> None:
    data = saved.read_bytes()
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(data[:10]))
    truncated = Image.open(io.BytesIO(data[: len(data) // 2]))
    assert truncated.size == (600, 400)
    with pytest.raises(OSError, match="needs"):
        truncated.load()
    damaged = bytearray(data)
    damaged[-1] ^= 1
    with pytest.raises(OSError, match="damaged"):
        Image.open(io.BytesIO(damaged)).load()


def save_to(image: Image.Image, **options: object) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, "AECODEC", **options)
    return file


class Counting(io.BytesIO):
    """A file that counts the bytes that are read."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def test_opening_reads_what_stands_before_the_tiles(saved: Path) -> None:
    header, _, tiles = unpack(saved.read_bytes())
    sections = {SectionKind.XMP: b"<x/>", SectionKind.EXIF: b"MM\0*" + bytes(3000)}
    for kinds in ((), (SectionKind.XMP,), (SectionKind.XMP, SectionKind.EXIF)):
        data = pack(header, {kind: sections[kind] for kind in kinds}, tiles)
        file = Counting(data)
        image = Image.open(file)
        assert ("xmp" in image.info, "exif" in image.info) == ("XMP" in str(kinds), "EXIF" in str(kinds))
        assert file.count < 16 + 64 + len(data) - len(tiles[0].stream)  # Pillow itself looks at the first 16
        assert file.count < 200 or SectionKind.EXIF in kinds
        whole = io.BytesIO(data)
        assert read_front(front_bytes(whole)) == read_front(data)
        for end in range(0, len(data) - len(tiles[0].stream), 7):
            front = front_bytes(io.BytesIO(data[:end]))
            assert data.startswith(front)
            assert len(front) + 9 >= min(end, 21)


def test_a_length_that_lies_allocates_nothing(saved: Path) -> None:
    data = saved.read_bytes()
    lying = data[:21] + bytes([SectionKind.XMP]) + b"\xff" * 8 + data[21:]
    image = Image.open(io.BytesIO(lying))
    assert image.size == (600, 400)
    assert "xmp" not in image.info


def other_weights(data: bytes) -> bytes:
    header, sections, tiles = unpack(data)
    return pack(dataclasses.replace(header, model_id=1), sections, tiles)


def test_files_that_this_aecodec_cannot_read_are_errors_of_pillow(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved.read_bytes()
    with pytest.raises(OSError, match="format version 3"):
        Image.open(io.BytesIO(MAGIC + bytes([FORMAT_VERSION + 1]) + data[5:]))
    foreign = Image.open(io.BytesIO(other_weights(data)))
    assert foreign.size == (600, 400)
    with pytest.raises(OSError, match="file needs weights 00000001"):
        foreign.load()
    header, sections, tiles = unpack(data)
    small = pack(dataclasses.replace(header, model_id=weights.SHIPPED["s"]), sections, tiles)
    monkeypatch.setattr(weights, "shipped_path", lambda name: Path(f"nowhere/{name}.safetensors"))
    aecodec.codec._shared_codec.cache_clear()
    with pytest.raises(OSError, match=r"nowhere/s\.safetensors"):
        Image.open(io.BytesIO(small)).load()


def test_density_of_another_length_is_no_crash(saved: Path) -> None:
    header, _, tiles = unpack(saved.read_bytes())
    image = Image.open(io.BytesIO(pack(header, {SectionKind.XMP: b"<x/>", SectionKind.DENSITY: b"123"}, tiles)))
    assert image.info == {"xmp": b"<x/>"}
    with pytest.raises(OSError, match="density"):
        image.load()


def test_verify_tells_what_is_damaged(saved: Path) -> None:
    data = saved.read_bytes()
    with saved.open("rb") as file:
        image = Image.open(file)
        image.verify()
        assert not file.closed
    for place in (len(data) // 2, len(data) - 1):
        damaged = bytearray(data)
        damaged[place] ^= 1
        with pytest.raises(OSError, match="damaged"):
            Image.open(io.BytesIO(damaged)).verify()
    with pytest.raises(OSError, match="needs"):
        Image.open(io.BytesIO(data[:-4])).verify()
    with Image.open(saved) as image:
        image.load()
        with pytest.raises(RuntimeError, match="directly after open"):
            image.verify()


@pytest.mark.parametrize(
    ("wanted", "scale"), [((20, 20), 8), ((75, 50), 8), ((76, 50), 4), ((200, 200), 2), ((301, 10), 1), ((900, 900), 1)]
)
def test_draft_decodes_a_smaller_picture(saved: Path, wanted: tuple[int, int], scale: int) -> None:
    with Image.open(saved) as image:
        assert image.draft(None, wanted) == ("RGB", (0, 0, 600 / scale, 400 / scale))
        assert image.draft(None, (1, 1)) is None  # a second call changes nothing
        assert image.size == (600 // scale, 400 // scale)
        expected = aecodec.decode(saved.read_bytes(), scale=1 / scale)
        assert np.array_equal(np.asarray(image), np.asarray(expected))
        assert image.draft(None, (1, 1)) is None


def test_thumbnail_decodes_no_more_than_it_needs(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aecodec.codec import Codec

    scales = []
    decode = Codec.decode

    def watched(codec: Codec, data: bytes, **options: Any) -> Image.Image:
        scales.append(options["scale"])
        return decode(codec, data, **options)

    monkeypatch.setattr(Codec, "decode", watched)
    with Image.open(saved) as whole, Image.open(saved) as image:
        whole.load()
        image.thumbnail((24, 24))
        assert scales == [1, 1 / 8]
        assert image.size == (24, 16)
        whole.thumbnail((24, 24))
        assert np.abs(np.asarray(whole).astype(int) - np.asarray(image)).mean() < 4


def test_damaged_files_load_as_far_as_they_go_where_pillow_is_told_so(
    coffee: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = save_to(coffee.crop((0, 0, 128, 64)), tile=1, quality=20).getvalue()
    cut = data[:-4]
    with pytest.raises(OSError, match="needs"):
        Image.open(io.BytesIO(cut)).load()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    image = Image.open(io.BytesIO(cut))
    with pytest.warns(aecodec.PictureWarning, match="the file is damaged, 1 tile is lost or cut off: "):
        image.load()
    sound = Image.open(io.BytesIO(data))
    sound.load()  # says nothing
    assert np.abs(np.asarray(image).astype(int) - np.asarray(sound)).mean() < 5
    with pytest.raises(OSError, match="none of 2 tiles can be decoded"):
        Image.open(io.BytesIO(data[:40])).load()


def test_metadata_in_every_form_that_pillow_takes(coffee: Image.Image) -> None:
    image = coffee.crop((0, 0, 64, 64))
    tags = {int(ExifTags.Base.ImageDescription): "a cup"}
    exif = Image.Exif()
    exif.update(tags)
    block, profile = exif.tobytes(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    for form in (exif, tags, block, bytearray(block), memoryview(block), block.removeprefix(b"Exif\0\0")):
        assert Image.open(save_to(image, exif=form, quality=10)).getexif()[0x010E] == "a cup"
    for form in ("<é/>", "<é/>".encode(), bytearray("<é/>".encode())):
        assert Image.open(save_to(image, xmp=form, quality=10)).info["xmp"] == "<é/>".encode()
    for form in (300, 300.0, (300, 300), [300, 300], np.float32(300)):
        assert Image.open(save_to(image, dpi=form, quality=10)).info["dpi"] == (300, 300)
    for form in (profile, profile.tobytes(), bytearray(profile.tobytes())):
        assert Image.open(save_to(image, icc_profile=form, quality=10)).info["icc_profile"] == profile.tobytes()
    image.info.update(dpi=(72, 72), xmp=b"<x/>", exif=block, icc_profile=profile.tobytes())
    for nothing in (None, b""):
        options = dict.fromkeys(("xmp", "exif", "icc_profile"), nothing) | {"dpi": None}
        assert Image.open(save_to(image, **options, quality=10)).info == {}
    with pytest.warns(aecodec.PictureWarning, match="it is for 'RGB', the picture is gray"):
        file = save_to(coffee.crop((0, 0, 64, 64)).convert("L"), icc_profile=profile, quality=10)
    assert "icc_profile" not in Image.open(file).info


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exif": 7}, "exif must be bytes, got int"),
        ({"exif": b"nonsense"}, "exif starts with 6e 6f 6e 73"),
        ({"exif": {0x010E: object()}}, "exif cannot be written"),
        ({"xmp": 7}, "xmp must be bytes, got int"),
        ({"icc_profile": "sRGB"}, "icc_profile must be bytes, got str"),
        ({"dpi": "300"}, "dpi must be one or two numbers, got '300'"),
        ({"dpi": (1, 2, 3)}, "dpi must be one or two numbers"),
        (
            {"subsampling": 0, "optimize": True},
            "unknown options of save: optimize, subsampling; known are quality, bpp",
        ),
        ({"append_images": []}, "unknown options of save: append_images"),
        ({"quality": 0}, "quality"),
    ],
)
def test_options_that_cannot_be_used_are_refused(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(aecodec.InputError, match=message):
        Image.new("RGB", (8, 8)).save(tmp_path / "a.aec", **options)
    assert not (tmp_path / "a.aec").exists()


def test_every_option_of_encode_works_in_save(coffee: Image.Image) -> None:
    image = coffee.crop((0, 0, 128, 64))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    image.info.update(exif=exif.tobytes())
    options = {"max_bytes": 730, "tile": 1, "effort": 0, "strip": True, "verify": True, "max_pixels": 8192}
    data = save_to(image, **options, xmp="<x/>").getvalue()
    assert data == aecodec.Codec.load(device="cpu").encode(image, **options)
    header, sections, tiles = unpack(data)
    assert (header.width, header.height, len(tiles), len(data) <= 730) == (64, 128, 2, True)
    assert list(sections) == [SectionKind.DIGEST]
    with pytest.raises(aecodec.InputError, match=r"outside 1\.\.8191 pixels"):
        save_to(image, max_pixels=8191)


def test_save_all_is_for_one_picture(coffee: Image.Image, tmp_path: Path) -> None:
    image = coffee.crop((0, 0, 64, 64))
    for options in ({"append_images": [image, image]}, {"append_images": (image,) * 2}):
        with pytest.raises(aecodec.InputError, match=r"an \.aec file holds one picture, got 3"):
            image.save(tmp_path / "a.aec", save_all=True, **options)
    animation = io.BytesIO()
    image.save(animation, "WEBP", save_all=True, append_images=[Image.new("RGB", (64, 64))])
    with pytest.raises(aecodec.InputError, match=r"an \.aec file holds one picture, got 2"):
        Image.open(animation).save(tmp_path / "a.aec", save_all=True)
    assert not (tmp_path / "a.aec").exists()
    for options in ({}, {"append_images": []}, {"append_images": None}):
        assert save_to(image, save_all=True, quality=10, **options).getvalue() == aecodec.encode(image, quality=10)


def test_what_an_option_replaces_is_not_told_of(coffee: Image.Image) -> None:
    """Warnings are errors in tests."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    gray = coffee.crop((0, 0, 64, 64)).convert("L")
    gray.info.update(icc_profile=profile, exif=b"broken", xmp=7, dpi="300")
    for replaced in (
        dict.fromkeys(("icc_profile", "exif", "xmp", "dpi")),
        {"icc_profile": b"", "exif": b"", "xmp": b""},
    ):
        gray.info["dpi"] = "300" if "dpi" in replaced else (72, 72)
        assert Image.open(save_to(gray, **replaced, quality=10)).info.keys() <= {"dpi"}
    gray.info = {"Raw profile type exif": "broken", "Raw profile type icc": "broken"}
    assert Image.open(save_to(gray, exif={0x010E: "a cup"}, icc_profile=None, quality=10)).getexif()[0x010E] == "a cup"
    tiff = io.BytesIO()
    gray.save(tiff, "TIFF", tiffinfo={0x010E: "a scan"})
    assert Image.open(save_to(Image.open(tiff), exif=None, quality=10)).getexif().get(0x010E) is None


def test_damage_beside_the_tiles_counts_no_tiles(coffee: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    image = coffee.crop((0, 0, 64, 64)).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    data = bytearray(save_to(image, quality=20).getvalue())
    data[data.index(b"WEBP") + 8] ^= 1
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    opened = Image.open(io.BytesIO(data))
    with pytest.warns(aecodec.PictureWarning, match="^the file is damaged: section 0x02 is damaged"):
        opened.load()
    assert opened.getchannel("A").getextrema() == (255, 255)
