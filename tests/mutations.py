"""Golden files flipped, cut, spliced, with edited lengths and mended checksums: what decode() makes of them.

python tests/mutations.py [COUNT] [SEED]     100,000 take half a minute; exit code 1 if one behaves badly
"""

from __future__ import annotations

import random
import resource
import struct
import sys
import time
import warnings
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
from PIL import Image
from tqdm import tqdm

from aecodec import Codec, CodecError, read_header

DATA = Path(__file__).parent / "data"
MAX_PIXELS = 1 << 16  # every golden file is smaller; larger claims are refused as any cap is
HANG = 2.0  # seconds of processor time
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


@dataclass
class Findings:
    """How many files had which end, and the files that should not have had theirs."""

    counts: Counter[str] = field(default_factory=Counter)
    bad: list[tuple[str, bytes]] = field(default_factory=list)


def fuzz(codec: Codec, count: int, seed: int, *, folder: str = "golden", quiet: bool = True) -> Findings:
    """Decode `count` mutations. Half of them have their checksums mended, as an attacker would."""
    rng = random.Random(seed)
    files = [path.read_bytes() for path in sorted((DATA / folder).glob("*.aec"))]
    pictures = [codec.decode(data) for data in files]
    findings = Findings()
    for _ in tqdm(range(count), desc="mutations", unit="file", disable=quiet):
        which = rng.randrange(len(files))
        data = mutate(rng, files[which], files)
        mended = rng.random() < 0.5
        if mended:
            data = mend(data)
        started = time.process_time()
        end, complaint = outcome(codec, data, None if mended else pictures[which])
        findings.counts[("mended, " if mended else "") + end] += 1
        if time.process_time() - started > HANG:
            complaint = f"took {time.process_time() - started:.1f} s"
        if complaint:
            findings.bad.append((complaint, data))
    return findings


def outcome(codec: Codec, data: bytes, original: Image.Image | None) -> tuple[str, str]:
    """How decoding ends, and what is wrong with that; unmended files must be refused or give the original."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            image = codec.decode(data, max_pixels=MAX_PIXELS)
            header = read_header(data)
    except CodecError as error:
        return type(error).__name__, ""
    except Exception as error:  # what this program looks for
        return "crash", f"{type(error).__name__}: {error}"
    if image.size != (header.width, header.height):
        return "decoded", "the size is not that of the header"
    if original is not None and not np.array_equal(np.asarray(image), np.asarray(original)):
        return "decoded", "another picture, silently"
    return "decoded", ""


def mutate(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """One to four changes."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        place = rng.randrange(len(changed)) if changed else 0
        match rng.randrange(7):
            case 0 if changed:
                changed[place] ^= 1 << rng.randrange(8)
            case 1 if changed:
                changed[place] = rng.randrange(256)
            case 2:
                del changed[place:]
            case 3:
                del changed[place : place + rng.randrange(1, 40)]
            case 4:
                other = rng.choice(others)
                start = rng.randrange(len(other))
                changed[place : place + rng.choice((0, 8, 40))] = other[start : start + rng.randrange(1, 60)]
            case 5:
                changed[place : place + 4] = struct.pack("<I", rng.choice(INTERESTING))
            case 6:
                changed += rng.randbytes(rng.randrange(1, 30))
    return bytes(changed)


def mend(data: bytes) -> bytes:
    """The same file with checksums that are right, as far as its lengths lead (docs/format.md, section 1)."""
    mended = bytearray(data)
    end = 17 + (1 if len(data) > 5 and data[5] & 4 else 0)  # of the fixed part; one byte more with constant alpha
    if len(mended) < end + 4:
        return data
    struct.pack_into("<I", mended, end, zlib.crc32(mended[:end]))
    place = end + 4
    while place + 9 <= len(mended):
        kind_and_length = mended[place : place + 5]
        payload = mended[place + 9 : place + 9 + struct.unpack_from("<I", mended, place + 1)[0]]
        struct.pack_into("<I", mended, place + 5, zlib.crc32(payload, zlib.crc32(kind_and_length)))
        place += 9 + len(payload)
    return bytes(mended)


def main() -> None:
    count, seed = (*map(int, sys.argv[1:]), 100_000, 0)[:2] if len(sys.argv) != 2 else (int(sys.argv[1]), 0)
    codec = Codec.load(DATA / "tiny.safetensors", device="cpu", threads=1)
    fuzz(codec, 0, seed)
    before = peak_memory_mb()
    findings = fuzz(codec, count, seed, quiet=False)
    for end, number in sorted(findings.counts.items()):
        click.echo(f"{number:7} {end}")
    for complaint, data in findings.bad[:10]:
        click.echo(f"BAD: {complaint}: {data.hex()}")
    click.echo(f"{len(findings.bad)} of {count} files behaved badly")
    click.echo(f"peak memory {before:.0f} MB after the valid files, {peak_memory_mb():.0f} MB after all")
    raise SystemExit(bool(findings.bad) or peak_memory_mb() > 2 * before)


def peak_memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
