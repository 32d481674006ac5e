"""The C library reads .aec files and weights as the Python package does: fields, symbols, errors."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_golden import CONTEXT_GOLDEN, GOLDEN, SHIPPED_GOLDEN, symbols_sha256
from make_invalid import INVALID, cases
from mutations import mend, mutate
from native.building import Arrays, Driver, smallest_weights, stored, weights_file
from support import DATA

from aecodec import Codec, CodecError, FormatError, TruncatedError, UnsupportedError, read_header
from aecodec.weights import SHIPPED, shipped_path

pytestmark = pytest.mark.xdist_group("native")
OK, BAD_FILE, TRUNCATED, UNSUPPORTED, TOO_LARGE, BAD_WEIGHTS = 0, 2, 3, 4, 6, 7
STATUS = {FormatError: BAD_FILE, TruncatedError: TRUNCATED, UnsupportedError: UNSUPPORTED}
TINY = DATA / "tiny.safetensors"
CASES = cases()


@pytest.mark.parametrize(
    ("weights", "folder"),
    [(TINY, GOLDEN), (DATA / "tiny_context.safetensors", CONTEXT_GOLDEN)]
    + [(shipped_path(name), SHIPPED_GOLDEN) for name in SHIPPED],
    ids=["tiny", "context", *SHIPPED],
)
def test_golden_files_have_their_header_and_symbols(driver: Driver, weights: Path, folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    names = [weights.stem] if weights.stem in SHIPPED else list(manifest)
    results = driver("symbols", weights, *(folder / f"{name}.aec" for name in names))
    for name, (status, text) in zip(names, results, strict=True):
        data = (folder / f"{name}.aec").read_bytes()
        header = read_header(data)
        *fields, constant_alpha, symbols = text.split()
        expected = header.width, header.height, header.level, header.model_id, header.gray, header.tile, header.alpha
        assert (status, fields) == (OK, [str(int(field)) for field in expected]), name
        assert int(constant_alpha) == (data[17] if data[5] & 4 else -1)
        assert symbols == manifest[name], name


SEEN_BY_DECODING = (
    "other-weights",
    "alpha-broken-webp",
    "drawn-broken-webp",
    "drawn-by-half",
    "drawn-in-part-without-stream",
)


def test_each_defect_has_the_same_error_as_in_python(driver: Driver) -> None:
    names = [name for name in CASES if name not in SEEN_BY_DECODING]
    results = driver("symbols", TINY, *(INVALID / f"{name}.aec" for name in names))
    for name, (status, text) in zip(names, results, strict=True):
        error = TOO_LARGE if name == "too-many-pixels" else STATUS[CASES[name].error]
        assert status == error, f"{name}: {text}"
        if name != "alpha-not-lossless":
            assert CASES[name].message in text


def test_mutated_files_are_taken_or_refused_as_in_python(driver: Driver, tiny: Codec, tmp_path: Path) -> None:
    """Checksums mended, as an attacker would; a file that both take has the same symbols."""
    rng = random.Random(0)
    golden = [path.read_bytes() for path in sorted(GOLDEN.glob("*.aec"))]
    files = []
    for i in range(400):
        files.append(tmp_path / f"{i}.aec")
        files[-1].write_bytes(mend(mutate(rng, golden[i % len(golden)], golden)))
    ends = []
    for path, (status, text) in zip(files, driver("symbols", TINY, *files), strict=True):
        if text.startswith(("alpha is", "alpha of", "drawn part is")):  # which decode_symbols does not look at
            continue
        try:
            symbols = symbols_sha256(tiny, path.read_bytes())
        except CodecError as error:
            if "file needs weights" in str(error):  # which the driver does not look at
                continue
            symbols = ""
        assert (text.split()[-1] if status == OK else "") == symbols, path.read_bytes().hex()
        ends.append(status)
    assert {OK, BAD_FILE, TRUNCATED} <= set(ends)


# -- Weights


def edited(edit: Callable[[dict[str, Any]], None]) -> bytes:
    """A sound file with another index."""
    raw = weights_file()
    (length,) = struct.unpack("<Q", raw[:8])
    index = json.loads(raw[8 : 8 + length])
    edit(index)
    return stored(index, raw[8 + length :])


def setting(name: str, *place: int, value: int) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name][place] = value

    return change


def replacing(name: str, replace: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.update({name: replace(arrays[name])})


def with_context(arrays: Arrays) -> None:
    arrays["context.weight"] = np.zeros((15, 16, 34), np.int8)
    arrays["context.thresholds"] = np.zeros((15, 16, 1 << 12), np.int32)


def huge_shape(index: dict[str, Any]) -> None:
    index["prior.weight"]["shape"] = [1 << 31, 1 << 31, 4]


SOUND = TINY.read_bytes()
DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it has 0 bytes"),
    "seven bytes": (bytes(7), "it has 7 bytes"),
    "index beyond the file": (struct.pack("<Q", 1 << 62) + SOUND[8:], "its index claims"),
    "truncated": (SOUND[:-1], "its arrays need"),
    "longer": (SOUND + b"x", "its arrays need"),
    "flipped": (SOUND[:-1] + bytes([SOUND[-1] ^ 1]), "weights are damaged: SHA-256"),
    "an empty index": (stored({}, b""), "its format is"),
    "no object": (stored(b"[]", b""), "no {"),
    "an open object": (stored(b'{"a":', b""), "no {"),
    "an open string": (stored(b'{"a', b""), "truncated"),
    "a name twice": (stored(b'{"__metadata__":{},"__metadata__":{}}', b""), "appears twice"),
    "something behind the object": (stored(b"{}x", b""), "does not end"),
    "a trailing comma": (stored(b'{"__metadata__":{},}', b""), "where one must be"),
    "half a character": (stored(b'{"\\ud800":{}}', b""), "half a character"),
    "an unknown escape": (stored(b'{"\\x":{}}', b""), "unknown escape"),
    "a control character": (stored(b'{"\n":{}}', b""), "control character"),
    "a negative number": (stored(b'{"a":{"shape":[-1]}}', b""), "no number"),
    "a fraction": (stored(b'{"a":{"shape":[1.5]}}', b""), "no ]"),
    "a leading zero": (stored(b'{"a":{"shape":[01]}}', b""), "no number"),
    "a huge number": (stored(b'{"a":{"shape":[99999999999999999999999]}}', b""), "too large"),
    "many dimensions": (stored(b'{"a":{"shape":[1,1,1,1,1,1,1,1,1,1]}}', b""), "too long"),
    "a deep index": (stored(b'{"a":' * 100_000, b""), "unknown field a"),
    "an unknown type": (stored(b'{"a":{"dtype":"BF16"}}', b""), "of type BF16"),
    "an unknown field": (stored(b'{"a":{"size":1}}', b""), "unknown field size"),
    "no place": (stored(b'{"a":{"dtype":"I8","shape":[0]}}', b""), "no type, shape or place"),
    "another format": (edited(lambda i: i["__metadata__"].update(format="aecodec weights 9")), "aecodec weights 9"),
    "another configuration": (edited(lambda i: i["__metadata__"].update(config="{ }")), "damaged: SHA-256"),
    "overlap": (edited(lambda i: i["prior.shift"].update(data_offsets=[0, 4])), "gaps or overlap"),
    "backwards": (edited(lambda i: i["prior.shift"].update(data_offsets=[4, 0])), "its place is 4..0"),
    "wrong size": (edited(lambda i: i["prior.shift"].update(shape=[2])), "prior.shift needs 8 bytes"),
    "huge shape": (edited(huge_shape), "too large"),
    "no prior": (weights_file(lambda a: a.pop("prior.weight")), "it has no prior.weight"),
    "no tables": (weights_file(lambda a: a.pop("tables.offsets")), "it has no tables.offsets"),
    "half a context": (weights_file(lambda a: with_context(a) or a.pop("context.weight")), "no context.weight"),
    "a large context": (weights_file(with_context), "context.weight does not fit"),
    "prior of another type": (
        weights_file(replacing("prior.bias", lambda a: a.astype(np.int16))),
        "prior.bias is I16 [8, 512], not I32 of 2 dimensions",
    ),
    "prior of another shape": (weights_file(replacing("prior.multiplier", lambda a: a[1:])), "does not fit"),
    "no channels": (weights_file(replacing("prior.weight", lambda a: a[:, :0].copy())), "prior.weight is [512, 0]"),
    "not whole channels": (weights_file(replacing("prior.weight", lambda a: a[:-1])), "prior.weight is [511, 16]"),
    "sums of 25 bits": (
        weights_file(replacing("prior.weight", lambda a: np.full((16, 1100), 127, np.int8))),
        "does not fit",
    ),
    "shift of 0": (weights_file(setting("prior.shift", 0, value=0)), "prior.shift 0 is outside"),
    "shift of 32": (weights_file(setting("prior.shift", 0, value=32)), "prior.shift 32 is outside"),
    "a table that falls": (weights_file(setting("tables.cumulative", 1, value=-5)), "not increasing"),
    "a table of one value": (weights_file(setting("tables.lengths", 0, value=1)), "bad length"),
    "a table beyond the end": (weights_file(setting("tables.lengths", 0, value=1 << 30)), "bad length"),
    "a table fewer": (
        weights_file(lambda a: [replacing(f"tables.{n}", lambda x: x[:-1])(a) for n in ("lengths", "offsets")]),
        "do not add up",
    ),
    "symbols beyond 16 bits": (weights_file(setting("tables.offsets", 0, value=40_000)), "bad offset"),
}


def test_weights_that_are_none_are_refused(driver: Driver, tmp_path: Path) -> None:
    paths = []
    for name, (data, _) in DAMAGED.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(data)
    for path, (status, text) in zip(paths, driver("weights", *paths), strict=True):
        assert status == BAD_WEIGHTS, path.name
        assert DAMAGED[path.name][1] in text, path.name


def test_weights_are_named_as_in_python(driver: Driver, tiny: Codec, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.write_bytes(smallest_weights())
    assert driver("weights", small)[0].status == OK
    odd = tmp_path / "odd"  # arrays that are not aligned
    raw = SOUND[8:]
    odd.write_bytes(struct.pack("<Q", struct.unpack("<Q", SOUND[:8])[0] + 1) + b" " + raw)
    paths = [TINY, odd, *map(shipped_path, SHIPPED)]
    ids = [tiny.weights.model_id, tiny.weights.model_id, *SHIPPED.values()]
    assert driver("weights", *paths) == [(OK, str(model_id)) for model_id in ids]


def test_every_bit_of_an_index_counts(driver: Driver, tmp_path: Path) -> None:
    """Flips in the index: refused, or without meaning (in what tells of the training)."""
    (length,) = struct.unpack("<Q", SOUND[:8])
    rng = random.Random(1)
    paths = []
    for i in range(150):
        changed = bytearray(SOUND)
        changed[rng.randrange(8 + length)] ^= 1 << rng.randrange(8)
        paths.append(tmp_path / str(i))
        paths[-1].write_bytes(changed)
    sound, *results = driver("weights", TINY, *paths)
    assert all(result == sound or result.status == BAD_WEIGHTS for result in results)
