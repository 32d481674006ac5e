"""Damaged and hostile files end in an error or in a picture, never in a crash (tests/mutations.py)."""

from __future__ import annotations

import mutations
import pytest
from PIL import Image

from aecodec import Codec


def test_mutated_files_behave(tiny: Codec) -> None:
    findings = mutations.fuzz(tiny, 4000, seed=1)
    assert findings.bad == []
    assert findings.counts.keys() >= {"FormatError", "TruncatedError", "mended, FormatError", "mended, decoded"}


def test_mutated_files_with_a_context_behave(tiny_context: Codec) -> None:
    findings = mutations.fuzz(tiny_context, 1000, seed=4, folder="golden_context")
    assert findings.bad == []
    assert findings.counts.keys() >= {"FormatError", "TruncatedError", "mended, FormatError"}


def test_what_behaves_badly_is_found(tiny: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Codec.decode

    def decode(codec: Codec, data: bytes, **options: int) -> Image.Image:
        if not options:  # the valid files
            return real(codec, data)
        if len(data) % 3 == 0:
            raise IndexError("list index out of range")
        return Image.new("RGB", (17, 33))

    monkeypatch.setattr(Codec, "decode", decode)
    complaints = {complaint for complaint, _ in mutations.fuzz(tiny, 3000, seed=2).bad}
    wrong = {"the size is not that of the header", "another picture, silently"}
    assert complaints == {"IndexError: list index out of range", *wrong}


@pytest.mark.slow
def test_many_mutated_files_behave(tiny: Codec) -> None:
    assert mutations.fuzz(tiny, 30_000, seed=3).bad == []  # make fuzz takes more
