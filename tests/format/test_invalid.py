"""Files of tests/data/invalid: each gives the error that its name promises, and never a picture."""

from __future__ import annotations

import contextlib
import re
import struct

import pytest
from make_invalid import INVALID, cases

from aecodec import Codec, CodecError

CASES = cases()


@pytest.mark.parametrize("name", CASES)
def test_each_defect_has_its_error(tiny: Codec, name: str) -> None:
    data = (INVALID / f"{name}.aec").read_bytes()
    with pytest.raises(CodecError, match=re.escape(CASES[name].message)) as caught:
        tiny.decode(data)
    assert caught.type is CASES[name].error
    with pytest.raises(CodecError, match=re.escape(CASES[name].message)):
        tiny.verify(data)


def test_files_are_what_the_script_makes() -> None:
    assert {path.stem: path.read_bytes() for path in INVALID.iterdir()} == {n: c.data for n, c in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_rescue_gives_a_picture_or_an_error(tiny: Codec, name: str) -> None:
    data = (INVALID / f"{name}.aec").read_bytes()
    with contextlib.suppress(CodecError):
        width, height = struct.unpack_from("<HH", data, 8) if len(data) > 12 else (0, 0)
        image, losses = tiny.decode_partial(data, max_pixels=1 << 20)
        assert image.size == (width, height)
        assert losses
