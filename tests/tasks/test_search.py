"""embed, similar, duplicates: copies are found again, and indexes keep to what they were made of."""

from __future__ import annotations

import json
import os
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from support import DATA

import aecodec
from aecodec import tasks
from aecodec.cli.app import main
from aecodec.image import upright
from aecodec.tasks.embedding import Cells, Head
from aecodec.tasks.fit import fit_head
from aecodec.tasks.sketch import SketchCodec, fit_sketch


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments])


def pictures(coffee: Image.Image) -> dict[str, Image.Image]:
    """Some that have little in common."""
    return {
        "cup": coffee.crop((150, 50, 470, 290)),
        "corner": coffee.crop((0, 250, 200, 400)),
        "gradient": Image.merge(
            "RGB", [Image.linear_gradient("L"), Image.radial_gradient("L"), Image.new("L", (256, 256))]
        ),
        "noise": Image.effect_noise((200, 150), 60).convert("RGB"),
    }


def copies(image: Image.Image) -> dict[str, Image.Image]:
    file = BytesIO()
    image.save(file, "JPEG", quality=30)
    w, h = image.size
    return {
        "jpeg": Image.open(file),
        "small": image.resize((w // 2, h // 2)),
        "large": image.resize((2 * w, 2 * h)),
        "cut": image.crop((w // 10, h // 10, w - w // 10, h - h // 10)),
    }


@pytest.fixture
def photos(tmp_path: Path, coffee: Image.Image) -> Path:
    """The pictures, the cup as an .aec file."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, image in pictures(coffee).items():
        image.save(folder / f"{name}.{'aec' if name == 'cup' else 'png'}")
    return folder


@pytest.fixture
def index(photos: Path) -> Path:
    target = photos.parent / "index.npz"
    result = run("embed", photos, "--out", target)
    assert result.exit_code == 0, result.output
    return target


def closeness(*images: Image.Image) -> float:
    """PSNR of two pictures, whatever their transparency."""
    return aecodec.metrics.psnr(*(np.asarray(image.convert("RGB")) for image in images))


def read(path: Path) -> tasks.Index:
    return tasks.Index.from_bytes(path.read_bytes(), path.suffix)


def test_every_copy_is_found(index: Path, coffee: Image.Image, tmp_path: Path) -> None:
    for owner, image in pictures(coffee).items():
        if owner == "noise":  # half its size is another noise
            continue
        for kind, copy in copies(image).items():
            query = tmp_path / f"{kind}.{'aec' if kind == 'cut' else 'png'}"
            copy.save(query)
            result = run("similar", index, query, "-k", 2, "--json")
            best, other = json.loads(result.output)
            assert Path(best["file"]).stem == owner, kind
            assert best["similarity"] > max(0.7, other["similarity"] + 0.2), kind


def test_vectors_are_those_of_any_source(photos: Path) -> None:
    """Of a path, bytes and a picture, in this order; of unit length."""
    path = photos / "corner.png"
    vectors = tasks.embed([path, str(path), path.read_bytes(), Image.open(path), np.asarray(Image.open(path))])
    assert vectors.dtype == np.float32
    assert vectors.shape[0] == 5
    np.testing.assert_array_equal(vectors, np.broadcast_to(vectors[:1], vectors.shape))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert tasks.embed([]).shape == (0, vectors.shape[1])


def test_a_turned_and_a_transparent_picture_are_seen_as_a_viewer_shows_them(coffee: Image.Image) -> None:
    upright = coffee.crop((150, 50, 450, 290))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    file = BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(file, "PNG", exif=exif)
    hidden = upright.convert("RGBA")
    hidden.putalpha(0)
    shown, turned, clear, white = tasks.embed(
        [upright, file.getvalue(), hidden, Image.new("RGB", upright.size, "white")]
    )
    np.testing.assert_allclose(turned, shown, atol=1e-4)
    np.testing.assert_allclose(clear, white, atol=1e-4)
    assert shown @ white < 0.5


@pytest.mark.parametrize("model", aecodec.weights.SHIPPED)
def test_reduced_pictures_by_a_matrix_are_nearly_those_of_the_decoder(model: str, coffee: Image.Image) -> None:
    """Of several tiles and bands, odd sizes, transparent and turned; each quality has gains of its own."""
    embedder, codec = tasks.Embedder.load(model, threads=1), aecodec.Codec.load(model)
    quick = SketchCodec(codec, embedder.head.sketch)
    photo = coffee.resize((565, 1101)).convert("RGBA")
    photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.info["exif"] = exif.tobytes()
    for quality, scale in ((90, 1 / 2), (75, 1 / 4), (40, 1 / 8)):
        data = codec.encode(photo, quality=quality, effort=0, tile=4)
        shown, exact = quick.decode(data, scale=scale), codec.decode(data, scale=scale)
        assert (shown.size, shown.mode, shown.info.keys()) == (exact.size, "RGBA", exact.info.keys())
        assert closeness(shown, exact) > 34
    ours, theirs = embedder.embed([data, upright(codec.decode(data))])
    assert ours @ theirs > 0.98
    region = (37, 530, 400, 333)
    part = quick.decode(data, region=region, scale=1 / 2)
    assert closeness(part, codec.decode(data, region=region, scale=1 / 2)) > 34
    np.testing.assert_array_equal(*map(np.asarray, (quick.decode(data), codec.decode(data))))


@pytest.mark.parametrize("size", [(1, 1), (300, 1), (1, 300), (16, 700)])
def test_pictures_of_any_shape_have_vectors(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, "teal")
    (vector,) = tasks.embed([aecodec.encode(image)])
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_an_index_looks_only_at_what_is_new_or_changed(index: Path, photos: Path, coffee: Image.Image) -> None:
    before = dict(zip(read(index).entries, read(index).vectors, strict=True))
    unread = photos / "noise.png"
    status = unread.stat()
    unread.write_bytes(bytes(status.st_size))  # no picture anymore, which only who looks at it sees
    os.utime(unread, ns=(status.st_atime_ns, status.st_mtime_ns))
    (photos / "gradient.png").unlink()
    coffee.crop((400, 0, 600, 200)).save(photos / "new.png")
    coffee.crop((300, 0, 500, 190)).save(photos / "corner.png")
    result = run("embed", photos, "--out", index)
    assert result.exit_code == 0, result.output
    assert "4 pictures, 2 of them new or changed" in result.output
    after = dict(zip(read(index).entries, read(index).vectors, strict=True))
    assert {Path(entry.name).name for entry in after} == {"cup.aec", "corner.png", "new.png", "noise.png"}
    kept = before.keys() & after.keys()
    assert {Path(entry.name).name for entry in kept} == {"cup.aec", "noise.png"}
    for entry in kept:
        np.testing.assert_array_equal(before[entry], after[entry])


def test_a_bad_picture_is_named_and_the_others_are_in_the_index(photos: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"no picture")
    (photos / "cut.aec").write_bytes((photos / "cup.aec").read_bytes()[:-9])
    (photos / "empty.aec").touch()
    target = photos.parent / "index.npz"
    result = run("embed", photos, "--out", target)
    assert result.exit_code == 1
    assert "3 of 7 files failed" in result.output
    for name in ("bad.jpg", "empty.aec"):
        assert f"{photos / name}: no image that Pillow can read\n" in result.output
    assert "cut.aec" in result.output
    assert len(read(target).entries) == 4


def test_what_is_no_file_is_told_by_its_name(index: Path, photos: Path) -> None:
    for wrong, message in ((photos, "Is a directory"), (photos / "none.png", "No such file or directory")):
        with pytest.raises(aecodec.InputError) as caught:
            tasks.embed([wrong])
        assert str(caught.value) == f"{wrong} cannot be read: {message}"
        result = run("similar", index, wrong)
        assert (result.exit_code, result.output) == (1, f"Error: {wrong} cannot be read: {message}\n")


def test_names_stay_right_where_folder_and_index_move_together(
    index: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(photos, moved / "photos")
    shutil.move(index, moved / "index.npz")
    monkeypatch.chdir(moved)
    result = run("similar", "index.npz", "photos/cup.aec", "-k", 1)
    assert result.output == "1.0000  photos/cup.aec\n"
    result = run("embed", "photos", "--out", "index.npz")
    assert "0 of them new" in result.output


@pytest.mark.parametrize("form", tasks.FORMS)
def test_index_of_each_form_is_the_same(form: str) -> None:
    if form == ".parquet":
        pytest.importorskip("pyarrow")
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    entries = [tasks.Entry(f'a "{at}",\n.jpg', at, 10**18 + at) for at in range(3)]
    index = tasks.Index(0xDEADBEEF, entries, vectors)
    again = tasks.Index.from_bytes(index.to_bytes(form), form)
    assert (again.head_id, again.entries) == (index.head_id, index.entries)
    np.testing.assert_array_equal(again.vectors, index.vectors)


def test_parquet_without_pyarrow_says_what_is_missing(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    result = run("embed", photos / "corner.png", "--out", photos / "index.parquet")
    assert result.exit_code == 1
    assert "pyarrow" in result.output


def npz(**arrays: Any) -> bytes:
    file = BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no zip",
        npz(x=np.zeros(3)),
        npz(kind=np.array("aecodec index 2")),
        npz(kind=np.array([{}], dtype=object)),  # a pickle
        npz(kind=np.array("aecodec index 1"), head=np.array(1), names=np.array(["a"]), sizes=np.array([1]),
            times=np.array([1]), vectors=np.zeros((1, 4), np.float32)),
        npz(kind=np.array("aecodec index 1"), head=np.array(1), names=np.array(["a"]), sizes=np.array([1, 2]),
            times=np.array([1]), vectors=np.ones((1, 1), np.float32)),
        npz(kind=np.array("aecodec index 1"), head=np.array(1), names=np.array(["a"]), sizes=np.array([1.5]),
            times=np.array([1]), vectors=np.ones((1, 1), np.float32)),
    ],
)  # fmt: skip
def test_a_foreign_or_damaged_index_is_refused_and_kept(data: bytes, tmp_path: Path, photos: Path) -> None:
    path = tmp_path / "index.npz"
    path.write_bytes(data)
    for command in (["similar", path, photos / "corner.png"], ["duplicates", path], ["embed", photos, "--out", path]):
        result = run(*command)
        assert result.exit_code == 1
        assert "is no index of aecodec" in result.output
        assert str(path) in result.output
        assert path.read_bytes() == data
    result = run("embed", photos / "corner.png", "--out", path, "--force")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "name,size_bytes,mtime_ns,head,e0\na,1,2,00000001,x\n",
                                  "name,size_bytes,mtime_ns,head,e0\na,1,2,1,1.0\nb,1,2,2,1.0\n"])  # fmt: skip
def test_a_foreign_csv_is_refused(text: str) -> None:
    with pytest.raises(aecodec.InputError, match="is no index of aecodec"):
        tasks.Index.from_bytes(text.encode(), ".csv")


def test_embeddings_of_other_models_do_not_mix(index: Path, photos: Path) -> None:
    content = index.read_bytes()
    result = run("embed", photos, "--out", index, "--model", "s")
    assert result.exit_code == 1
    assert "do not mix" in result.output
    assert "--force" in result.output
    assert index.read_bytes() == content
    assert run("embed", photos, "--out", index, "--model", "s", "--force").exit_code == 0
    result = run("similar", index, photos / "cup.aec", "-k", 1)  # whose head is told by the index
    assert "cup.aec" in result.output
    foreign = tasks.Index(1, read(index).entries, read(index).vectors)
    index.write_bytes(foreign.to_bytes(".npz"))
    result = run("similar", index, photos / "cup.aec")
    assert result.exit_code == 1
    assert "needs head 00000001" in result.output


def test_a_file_of_unknown_weights_is_named(photos: Path, tiny: aecodec.Codec) -> None:
    foreign = photos / "tiny.aec"
    foreign.write_bytes(tiny.encode(Image.new("RGB", (100, 70))))
    with pytest.raises(aecodec.UnsupportedError, match=r"tiny\.aec: file needs weights"):
        tasks.embed([foreign])


def test_duplicates_are_the_copies(photos: Path, coffee: Image.Image) -> None:
    for kind, copy in copies(pictures(coffee)["cup"]).items():
        copy.convert("RGB").save(photos / f"{kind}.{'png' if kind == 'large' else 'jpg'}")
    result = run("duplicates", photos, "--json")
    assert result.exit_code == 0, result.output
    (group,) = map(json.loads, result.stdout.splitlines())
    assert {Path(row["file"]).name for row in group} == {"cup.aec", "jpeg.jpg", "small.jpg", "large.png", "cut.jpg"}
    assert Path(group[0]["file"]).name == "large.png"
    run("embed", photos, "--out", photos.parent / "index.csv")
    assert run("duplicates", photos.parent / "index.csv", "--json").stdout == result.stdout
    assert run("duplicates", photos, "--threshold", 1).stdout == ""


def test_links_of_many_rows_make_one_group() -> None:
    """Also over the rows that are compared at once."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(2100, 16)).astype(np.float32)
    vectors[2050] = vectors[7] + 0.01
    vectors[1500] = vectors[2050] + 0.01
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = tasks.Index(1, [tasks.Entry(str(at), 0, 0) for at in range(2100)], vectors)
    assert index.duplicates(0.995) == [[7, 1500, 2050]]


def test_nearest_is_what_sorting_says() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = tasks.Index(1, [tasks.Entry(str(at), 0, 0) for at in range(50)], vectors)
    places, similarities = index.nearest(vectors[:3], 5)
    products = vectors[:3] @ vectors.T
    np.testing.assert_array_equal(places, np.argsort(-products, 1)[:, :5])
    np.testing.assert_allclose(similarities, -np.sort(-products, 1)[:, :5], atol=1e-6)
    assert index.nearest(vectors[:1], 99)[0].shape == (1, 50)
    for count, query in ((0, vectors[:1]), (1, vectors[:1, :4])):
        with pytest.raises(aecodec.InputError):
            index.nearest(query, count)


def test_a_head_is_for_its_model_alone(tmp_path: Path, tiny: aecodec.Codec) -> None:
    with pytest.raises(aecodec.InputError, match="head is for model"):
        tasks.Embedder(tiny, tasks.Embedder.load().head)
    with pytest.raises(aecodec.InputError, match="is no head"):
        Head.load(DATA / "tiny.safetensors")
    with pytest.raises(aecodec.InputError, match="model must be m or s"):
        tasks.embed([], model="x")


def test_a_fitted_head_tells_copies_from_others(tmp_path: Path, tiny: aecodec.Codec, coffee: Image.Image) -> None:
    """Made, written, read: with the tiny model, on cuts of one photograph."""
    rng = np.random.default_rng(0)
    corners = rng.integers((0, 0), (500, 300), (60, 2))
    cuts = [coffee.crop((int(x), int(y), int(x) + 100, int(y) + 100)) for x, y in corners]
    groups = [[Cells.of(tiny, one), Cells.of(tiny, one.resize((60, 60)))] for one in cuts]
    made = fit_head(tiny.weights.model_id, groups, fit_sketch(tiny, cuts[:4]))
    made.save(tmp_path / "head.safetensors")
    head = Head.load(tmp_path / "head.safetensors")
    assert (head.head_id, head.threshold) == (made.head_id, pytest.approx(made.threshold))
    np.testing.assert_array_equal(head.sketch, made.sketch)
    a, b = (np.stack([head.project(head.describe(group[at])) for group in groups]) for at in (0, 1))
    assert ((a @ b.T).argmax(1) == np.arange(60)).mean() > 0.95
    with pytest.raises(aecodec.InputError, match="at least 50"):
        fit_head(1, groups[:49], made.sketch)
