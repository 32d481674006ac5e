"""anomaly fit and score: defects are found, good pictures are not, files are checked."""

from __future__ import annotations

import csv
import json
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageDraw
from safetensors.numpy import load, save

import aecodec
from aecodec import tasks
from aecodec.cli.app import main

SIDE = 96


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["anomaly", *(os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments)])


def good(seed: int) -> Image.Image:
    """Stripes with noise, somewhere else each time."""
    rng = np.random.default_rng(seed)
    x = np.arange(SIDE) + rng.uniform(0, 12)
    light = 120 + 50 * np.sin(2 * np.pi * x / 12) + rng.normal(0, 6, (SIDE, SIDE))
    return Image.fromarray(np.clip(light, 0, 255).astype(np.uint8)).convert("RGB")


def scratched(seed: int) -> Image.Image:
    """With a line from 40 to 60 across."""
    image = good(seed)
    ImageDraw.Draw(image).line([(20, 40), (80, 60)], fill=(240, 240, 240), width=3)
    return image


@pytest.fixture(scope="module", params=tasks.ANOMALY_METHODS)
def detector(request: pytest.FixtureRequest) -> tasks.AnomalyDetector:
    return tasks.AnomalyDetector(request.param, model="s", threads=1).fit(map(good, range(24)))


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of the command, from files of several formats."""
    folder = tmp_path_factory.mktemp("anomaly")
    (folder / "good").mkdir()
    for seed in range(12):
        good(seed).save(folder / "good" / f"{seed}.{('png', 'aec')[seed % 2]}")
    result = run("fit", folder / "good", "--out", folder / "parts.aem", "--model", "s", "--threads", 1)
    assert result.exit_code == 0, result.output
    assert "12 good pictures; 7.7 % false alarms on 12 held out" in result.output
    return folder / "parts.aem"


def test_what_is_scratched_is_an_anomaly_and_good_pictures_are_not(detector: tasks.AnomalyDetector) -> None:
    unseen, wrong = [good(seed) for seed in range(100, 120)], [scratched(seed) for seed in range(200, 205)]
    assert (detector.predict(wrong) == -1).all()
    assert (detector.predict(unseen) == 1).sum() >= 17
    scores = detector.score_samples([*unseen, *wrong])
    np.testing.assert_allclose(detector.decision_function([*unseen, *wrong]), scores - detector.offset_)
    assert scores[:20].min() > scores[20:].max()


def test_the_scratch_is_where_the_distances_are(detector: tasks.AnomalyDetector) -> None:
    (found,) = detector.look([scratched(300)])
    assert isinstance(found, tasks.Finding)
    assert found.distances.shape == (SIDE // 16, SIDE // 16)
    row, column = np.unravel_index(found.distances.argmax(), found.distances.shape)
    assert row in (2, 3)
    assert 1 <= column <= 4
    heat = np.asarray(detector.heatmap(found)).astype(int)
    red = heat[:, :, 0] - heat[:, :, 2]
    assert heat.shape == (SIDE, SIDE, 3)
    assert red[40:60, 20:80].max() > 150
    assert red[80:].max() < 50


def test_the_threshold_is_the_score_of_pictures_that_were_not_learned(detector: tasks.AnomalyDetector) -> None:
    """One of 24, as 5 % allow; what was learned itself seems more normal."""
    assert detector.held_out_ == 24
    assert detector.false_alarm_rate_ == pytest.approx(1 / 25)
    assert (detector.decision_function(map(good, range(24))) > 0).mean() > 0.9
    with pytest.raises(aecodec.InputError, match="false_alarms must be above 0 and at most"):
        tasks.AnomalyDetector(false_alarms=0.6)


def test_a_file_of_what_was_learned_says_the_same(detector: tasks.AnomalyDetector) -> None:
    again = tasks.AnomalyDetector.from_bytes(detector.to_bytes(), threads=1)
    assert (again.method, again.offset_, again.false_alarm_rate_) == (
        detector.method,
        detector.offset_,
        detector.false_alarm_rate_,
    )
    pictures = [good(400), scratched(401)]
    np.testing.assert_array_equal(again.score_samples(pictures), detector.score_samples(pictures))


def test_small_odd_and_gray_pictures_are_scored(detector: tasks.AnomalyDetector) -> None:
    pictures = [good(1).crop((0, 0, 1, 1)), good(1).crop((0, 0, 65, 15)), good(1).convert("L"), np.asarray(good(1))]
    found = list(detector.look(pictures))
    shapes = [one.distances.shape for one in found if isinstance(one, tasks.Finding)]
    assert shapes == [(1, 1), (1, 5), (6, 6), (6, 6)]
    for one in found:
        assert isinstance(one, tasks.Finding)
        assert detector.heatmap(one).size == one.image.size


def test_strips_of_a_tall_picture_are_seen_as_one(detector: tasks.AnomalyDetector) -> None:
    tall = Image.new("RGB", (SIDE, 600))
    for top in range(0, 600, SIDE):
        tall.paste(good(5), (0, top))
    ImageDraw.Draw(tall).line([(20, 560), (80, 575)], fill=(240, 240, 240), width=3)
    (found,) = detector.look([tall])
    assert isinstance(found, tasks.Finding)
    assert found.distances.shape == (38, 6)
    assert found.distances.max(1).argmax() in (34, 35)


def test_too_little_to_learn_from_is_refused() -> None:
    detector = tasks.AnomalyDetector(model="s", threads=1)
    with pytest.raises(aecodec.InputError, match="at least 2 good pictures, got 1"):
        detector.fit([good(1)])
    with pytest.raises(aecodec.InputError, match="fit it first"):
        detector.predict([good(1)])
    with pytest.raises(aecodec.InputError, match="fit it first"):
        detector.to_bytes()
    with pytest.raises(aecodec.InputError, match="method must be gaussian or neighbors, got svm"):
        tasks.AnomalyDetector("svm")
    assert detector.fit([Image.new("RGB", (64, 64))] * 2).predict([Image.new("RGB", (64, 64), "red")]) == -1


def test_pictures_that_never_vary_are_learned_without_a_warning() -> None:
    plain = [Image.new("RGB", (64, 64), "teal")] * 3
    assert (tasks.AnomalyDetector(model="s", threads=1).fit(plain).predict(plain) == 1).all()


def test_the_commands_find_the_scratch(learned: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    (new / "deep").mkdir(parents=True)
    good(50).save(new / "sound.png")
    scratched(51).save(new / "deep" / "broken.aec")
    report, out = tmp_path / "report.csv", tmp_path / "out"
    result = run("score", learned, new, "-r", "--heatmap", out, "--report", report)
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in sorted(result.stdout.splitlines())] == ["anomaly", "normal"]
    assert "anomalies: 1 of 2 pictures; 7.7 % false alarms are expected on good pictures" in result.stderr
    rows = {Path(row["source"]).name: row for row in csv.DictReader(report.read_text().splitlines())}
    assert rows["broken.aec"]["state"] == "anomaly"
    assert float(rows["broken.aec"]["distance"]) > 1 > float(rows["sound.png"]["distance"])
    for row in rows.values():
        with Image.open(row["heatmap"]) as heatmap:
            assert heatmap.size == (SIDE, SIDE)
    assert (out / "deep" / "broken.aec.png").exists()
    result = run("score", learned, new / "sound.png", "--json")
    assert json.loads(result.stdout)["state"] == "normal"


def test_heatmaps_replace_no_picture_that_is_scored(learned: Path, tmp_path: Path) -> None:
    """Not one that is called like a heatmap, and at the second run none of the first."""
    for name in ("a.png", "a.png.png", "b.png"):
        good(80).save(tmp_path / name)
    before = (tmp_path / "a.png.png").read_bytes()
    result = run("score", learned, tmp_path, "--heatmap", tmp_path)
    assert (result.exit_code, "1 of 3 files failed" in result.stderr) == (1, True)
    assert f"{tmp_path / 'a.png'}: its result would replace the source {tmp_path / 'a.png.png'}" in result.stderr
    assert (tmp_path / "a.png.png").read_bytes() == before
    assert (tmp_path / "b.png.png").read_bytes() != before


def test_good_pictures_of_several_kinds_or_sizes_are_told(tmp_path: Path) -> None:
    folder, target = tmp_path / "good", tmp_path / "parts.aem"
    folder.mkdir()
    for seed in range(8):
        good(seed).save(folder / f"{seed}.png")
    fit = ("fit", folder, "--out", target, "--model", "s", "--threads", 1)
    assert "Note" not in run(*fit).output
    scratched(9).save(folder / "4.png")  # neither the first nor the last
    assert f"Note: {folder / '4.png'}: very different from the other good pictures" in run(*fit).stderr
    Image.new("RGB", (SIDE, SIDE), "red").save(folder / "0.png")
    assert f"Note: {folder / '0.png'} (and 1 more picture): very different" in run(*fit).stderr
    good(1).crop((0, 0, 40, 48)).save(folder / "0.png")
    assert "Note: good pictures range from about 48x48 to 96x96 pixels" in run(*fit).stderr


def test_numbers_that_overflow_make_no_picture_normal(learned: Path) -> None:
    data = learned.read_bytes()
    for name in ("center", "whitening", "core"):
        huge = np.full_like(load(data)[name], 3e38)
        (found,) = tasks.AnomalyDetector.from_bytes(changed(data, {}, **{name: huge})).look([good(1)])
        assert isinstance(found, aecodec.InputError), name
        assert "too large" in str(found)


def test_a_damaged_picture_is_named_and_the_others_are_scored(learned: Path, tmp_path: Path) -> None:
    good(60).save(tmp_path / "sound.png")
    (tmp_path / "bad\nname.png").write_bytes(b"no picture")
    (tmp_path / "cut.aec").write_bytes(aecodec.encode(good(61), effort=0)[:-9])
    result = run("score", learned, tmp_path, "--report", "-")
    assert result.exit_code == 1
    assert "2 of 3 files failed" in result.stderr
    assert r"bad\nname.png" in result.stderr
    rows = list(csv.DictReader(result.stdout.splitlines(keepends=True)))
    assert sorted(row["state"] for row in rows) == ["failed", "failed", "normal"]
    target = tmp_path / "parts.aem"
    result = run("fit", tmp_path, "--out", target, "--model", "s")
    assert result.exit_code == 1
    assert "2 of 3 files failed" in result.stderr
    assert not target.exists()


def test_a_folder_without_pictures_is_refused(learned: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for command in (["fit", tmp_path / "empty", "--out", tmp_path / "x.aem"], ["score", learned, tmp_path / "empty"]):
        result = run(*command)
        assert result.exit_code == 1
        assert "contains no files to process" in result.stderr
    result = run("fit", tmp_path, "--out", tmp_path / "x.npz")
    assert result.exit_code == 2


def changed(data: bytes, facts: dict[str, str], **arrays: Any) -> bytes:
    before = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    return save(load(data) | arrays, before | facts)


def test_foreign_and_damaged_files_are_refused_in_a_line(learned: Path, tmp_path: Path) -> None:
    """What names other weights says which."""
    data = learned.read_bytes()
    M = len(load(data)["center"])
    npz = BytesIO()
    np.savez(npz, center=np.zeros(3))
    files = {
        b"": "was not made by",
        b"no tensors": "was not made by",
        npz.getvalue(): "was not made by",
        data[:-1]: "was not made by",
        save({"center": np.zeros(3, np.float32)}): "its format is None",
        changed(data, {"format": "aecodec anomalies 2"}): "its format is aecodec anomalies 2",
        changed(data, {"model_id": "deadbeef"}): "needs weights deadbeef",
        changed(data, {"model_id": "x"}): "was not made by",
        changed(data, {"model_id": f"{aecodec.Codec.load('m').weights.model_id:08x}"}): "center is float32",
        changed(data, {"method": "gaussian"}): "it holds center, core, whitening, not",
        changed(data, {"method": "svm"}): "method must be",
        changed(data, {"offset": "nan"}): "its threshold is nan",
        changed(data, {"offset": "1"}): "its threshold is -1",
        changed(data, {"offset": "-0"}): "its threshold is 0",
        (23).to_bytes(8, "little") + b'{"__metadata__":null}  ': "its format is None",
        changed(data, {"held_out": "0"}): "its threshold is",
        changed(data, {}, center=np.full(M, np.nan, np.float32)): "center is float32",
        changed(data, {}, whitening=np.zeros((M, 1), np.float32)): "whitening is float32",
        changed(data, {}, center=np.zeros(M)): "center is float64",
        changed(data, {}, more=np.zeros(1)): "it holds center, core, more, whitening",
        changed(data, {"method": "neighbors"}, core=np.zeros((0, M), np.float32)): "core is float32",
        changed(data, {"method": "neighbors"}, core=np.array(1, np.float32)): "core is float32",
    }
    good(1).save(tmp_path / "one.png")
    for content, message in files.items():
        path = tmp_path / "foreign.aem"
        path.write_bytes(content)
        result = run("score", path, tmp_path / "one.png")
        assert result.exit_code == 1, message
        assert message in result.stderr
        assert str(path) in result.stderr
        assert result.stderr.count("\n") == 1


def test_the_estimator_of_vectors_is_one_of_scikit_learn() -> None:
    pytest.importorskip("sklearn", minversion="1.6")
    from sklearn.utils.estimator_checks import check_estimator

    from aecodec.tasks.outliers import GaussianOutliers

    check_estimator(GaussianOutliers(), on_skip=None)  # those of arrays of other libraries
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1000, 3)) @ rng.normal(size=(3, 3))
    fitted = GaussianOutliers(false_alarms=0.1).fit(rows)
    assert (fitted.predict(rows) == -1).mean() == pytest.approx(0.1, abs=0.002)
    assert fitted.predict([[100, 0, 0]]) == -1
    far = 2e9 + rows  # seconds since 1970, say
    assert GaussianOutliers().fit(far).predict([far[0] + 1000, far.mean(0)]).tolist() == [-1, 1]
    for name, value in (("false_alarms", 0), ("shrinkage", 2)):
        with pytest.raises(aecodec.InputError, match=name):
            GaussianOutliers(**{name: value}).fit(rows)
