"""What is left of a damaged file: every section whose checksum holds, and where it belongs.

Tiles carry no number, so their place follows from their order. A section whose length can still be believed counts as
one lost section. Otherwise the next sound section is searched for, and how many tiles lie in the gap is not known: the
tiles before the first gap are counted from the first tile, those behind the last from the last one, and tiles between
two gaps are kept only if one lost tile in each gap explains the number of all.

Where the file ends inside a tile, its beginning is kept too, though no checksum tells that it is right: a stream holds
first z, a coarse picture of the tile, then the details channel by channel.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aecodec.errors import FormatError, UnsupportedError
from aecodec.format.alpha import Alpha, decode_alpha
from aecodec.format.container import (
    ANCILLARY,
    MAX_PIXELS,
    NO_MODEL,
    SECTION_OVERHEAD,
    TILES,
    Box,
    Buffer,
    Data,
    Header,
    SectionKind,
    Tile,
    as_data,
    check_density,
    checked_payload,
    constant_alpha,
    header_size,
    read_header,
    section_at,
    section_front,
    unpack,
)

_KINDS = re.compile(b"[" + re.escape(bytes(SectionKind)) + b"]")
_GRAY = 128
_MIN_STREAM = 8  # bytes; always a multiple of 4
_EFFORT = 64  # bytes that are looked at for each byte of the file: hostile files cannot make the search long
_LOOK = 256  # bytes that a look at a section costs besides: what a checksum does in the time that the rest takes


class Loss(NamedTuple):
    """Something of a file that is gone."""

    reason: str
    box: Box | None  # in pixels of the picture; None for what is no tile
    in_part: bool = False  # the beginning of a tile is there and shown


class Cut(NamedTuple):
    """The tile in which a file ends."""

    number: int
    stream: bytes  # its beginning, in whole words
    reason: str


class Remains(NamedTuple):
    """What is left of a file."""

    header: Header
    sections: dict[SectionKind, bytes]
    tiles: list[Tile | None]  # one per tile, in the order of header.tiles(); None where it is lost
    losses: list[Loss]
    cut: Cut | None  # a tile that is lost but for its beginning


class _Found(NamedTuple):
    """One section, or a gap of an unknown number of sections."""

    kind: int | None  # None for a gap
    payload: bytes | None  # None where it is damaged
    reason: str = ""
    beginning: tuple[bytes, int] | None = None  # of a gap: that of a tile and the length of the whole
    tile: Tile | None = None  # of a sound one


def salvage(data: Buffer, *, max_pixels: int = MAX_PIXELS) -> Remains:
    """Everything sound of a file whose header is. Raises as read_header, and UnsupportedError for what is newer."""
    data = as_data(data)
    header = read_header(data, max_pixels=max_pixels)
    boxes = header.seen_tiles()
    found = _named(_Search(data).run(header_size(data)), len(boxes))
    sections, losses = _sections(found)
    if constant := constant_alpha(data):
        sections[SectionKind.ALPHA] = constant
    elif header.alpha and SectionKind.ALPHA not in sections:
        losses.append(Loss("alpha: the picture is opaque now", None))
    placed = _place(found, len(boxes))
    placed = [one if one is None else _parsed(one, header) for one in placed]
    tiles = [None if one is None else one.tile for one in placed]
    lost = [(box, one) for box, one in zip(boxes, placed, strict=True) if one is None or one.tile is None]
    losses += [Loss("not found" if one is None else one.reason, box) for box, one in lost]
    cut = None if header.model_id == NO_MODEL else _cut(found, len(boxes))
    return Remains(header, sections, tiles, losses or _violations(data, max_pixels), cut)


def _parsed(found: _Found, header: Header) -> _Found:
    """What was found at the place of a tile, with that tile."""
    if found.kind is None or found.payload is None:
        return found
    try:
        return found._replace(tile=Tile.parse(found.kind, found.payload, header))
    except FormatError as error:
        return found._replace(payload=None, reason=str(error))


def _cut(found: list[_Found], count: int) -> Cut | None:
    """The tile in which the file ends, of count in all, if no other gap makes its number unknown."""
    *before, last = found or [_Found(None, None)]
    number = sum(one.kind in TILES for one in before)
    if last.beginning is None or number >= count or any(one.kind is None for one in before):
        return None
    stream, length = last.beginning
    return Cut(number, stream[: len(stream) // 4 * 4], f"cut off after {len(stream)} of {length} bytes")


def _violations(data: Data, max_pixels: int) -> list[Loss]:
    """What else makes decode refuse a file of which nothing is missing, such as a tile too many."""
    try:
        unpack(data, max_pixels=max_pixels)
    except FormatError as error:
        return [Loss(str(error), None)]
    return []


def fill_lost(pixels: NDArray[np.uint8], losses: list[Loss], area: Box, factor: int) -> None:
    """Make tiles of which nothing is left gray in the pixels of an area, each the mean of factor x factor."""
    for loss in losses:
        shared = loss.box and not loss.in_part and loss.box.intersection(area)
        if shared:
            pixels[shared.reduced(factor).relative_to(area.reduced(factor)).cells(1)] = _GRAY


def partial_alpha(remains: Remains, area: Box, factor: int) -> tuple[Alpha | None, list[Loss]]:
    """Alpha of an area; opaque where it is lost, which a loss tells unless salvage did."""
    if not remains.header.alpha:
        return None, []
    opaque = np.full(area.reduced(factor).shape, 255, np.uint8)
    if SectionKind.ALPHA not in remains.sections:
        return opaque, []
    try:
        return decode_alpha(remains.sections[SectionKind.ALPHA], remains.header, area, factor), []
    except FormatError as error:
        return opaque, [Loss(f"{error}: the picture is opaque now", None)]


class _Search:
    """Goes through the sections of a file, over damage as well."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.effort = _EFFORT * len(data)

    def run(self, place: int) -> list[_Found]:
        """All sections and gaps, to the end of the data."""
        found: list[_Found] = []
        while place < len(self.data):
            damaged, after = self.chain(place)
            if after is None:
                after = self.next_sound(place + 1)
                beginning = self.beginning(place) if after == len(self.data) and not damaged else None
                damaged = [_Found(None, None, f"bytes {place}..{after - 1} are no sound section", beginning)]
            found += damaged
            place = after
            if place < len(self.data):
                kind, length = section_at(self.data, place)
                start = place + SECTION_OVERHEAD
                found.append(_Found(kind, bytes(self.data[start : start + length])))
                place = start + length
        return found

    def chain(self, place: int) -> tuple[list[_Found], int | None]:
        """Damaged sections in a row up to a sound one or the end; None for the place if lengths lead to neither."""
        damaged: list[_Found] = []
        while place < len(self.data):
            try:
                kind, length = section_at(self.data, place)
            except FormatError:
                return damaged, None
            reason = self.defect(place, length)
            if reason is None:
                return damaged, place
            if self.effort < 0:
                return damaged, None
            damaged.append(_Found(kind, None, reason))
            place += SECTION_OVERHEAD + length
        return damaged, place

    def beginning(self, place: int) -> tuple[bytes, int] | None:
        """That of the tile which begins at a place and does not end within the data, and its whole length."""
        try:
            kind, length = section_front(self.data, place)
        except FormatError:
            return None
        return (bytes(self.data[place + SECTION_OVERHEAD :]), length) if kind == SectionKind.TILE else None

    def next_sound(self, place: int) -> int:
        """Where the next sound section of a known kind begins; the end if there is none."""
        for match in _KINDS.finditer(self.data, place):
            if self.effort < 0:
                break
            try:
                kind, length = section_at(self.data, match.start())
            except FormatError:
                continue
            if kind in TILES and (length < _MIN_STREAM or (kind == SectionKind.TILE and length % 4)):
                continue
            if self.defect(match.start(), length) is None:
                return match.start()
        return len(self.data)

    def defect(self, place: int, length: int) -> str | None:
        """What is wrong with a section that lies within the data."""
        self.effort -= _LOOK + length
        try:
            checked_payload(self.data, place + SECTION_OVERHEAD, length)
        except FormatError as error:
            return str(error)
        return None


def _named(found: list[_Found], count: int) -> list[_Found]:
    """The kind of a damaged section may be damaged too; where it stands tells which are tiles, of count in all."""
    first = next((i for i, one in enumerate(found) if one.kind in TILES and one.payload is not None), 0)
    damaged = [one.kind is not None and one.payload is None for one in found]
    kinds = [SectionKind.TILE if bad and i > first else found[i].kind for i, bad in enumerate(damaged)]
    if None not in kinds:
        before = [i for i in range(first) if damaged[i]]
        missing = count - sum(kind in TILES for kind in kinds[first:])
        for rank, i in enumerate(reversed(before)):
            kinds[i] = SectionKind.TILE if rank < missing else SectionKind.ICC
    return [one._replace(kind=kind) for one, kind in zip(found, kinds, strict=True)]


def _sections(found: list[_Found]) -> tuple[dict[SectionKind, bytes], list[Loss]]:
    """What is sound besides the tiles, and what is lost besides them."""
    sections: dict[SectionKind, bytes] = {}
    losses = []
    for kind, payload, reason, *_ in found:
        if kind in TILES:
            continue
        if kind is None or payload is None:
            losses.append(Loss(reason, None))
        elif kind in SectionKind.__members__.values():
            sections.setdefault(SectionKind(kind), payload)
        elif not kind & ANCILLARY:
            raise UnsupportedError(f"unknown critical section {kind:#04x}")
    try:
        check_density(sections.get(SectionKind.DENSITY, bytes([1] * 8)))
    except FormatError as error:
        del sections[SectionKind.DENSITY]
        losses.append(Loss(str(error), None))
    return sections, losses


def _place(found: list[_Found], count: int) -> list[_Found | None]:
    """The tile at each of count places, None where none was found."""
    runs: list[list[_Found]] = [[]]
    for one in found:
        if one.kind is None:
            runs.append([])
        elif one.kind in TILES:
            runs[-1].append(one)
    gaps, missing = len(runs) - 1, count - sum(map(len, runs))
    if gaps == 0 or missing <= 0:
        tiles: list[_Found | None] = [tile for run in runs for tile in run]
        return (tiles + [None] * max(missing, 0))[:count]
    if gaps > 1 and missing == gaps and runs[0] and runs[-1]:
        return [tile for run in runs for tile in (*run, None)][:count]
    first, last = runs[0], runs[-1]
    return [*first, *[None] * (count - len(first) - len(last)), *last]
