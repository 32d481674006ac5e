"""Encoding until a target is met: what is measured at each quality that the search asks for."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable

from aecodec.container import Header, SectionKind
from aecodec.effort import Effort
from aecodec.errors import PictureWarning
from aecodec.image import Picture, shown_pixels
from aecodec.prior import MAX_LEVEL, MIN_LEVEL
from aecodec.symbols import Symbols
from aecodec.target import Target, sample
from aecodec.transform import Latent, Progress, Transform

Sections = dict[SectionKind, bytes]


class Aim:
    """One picture on its way to one target."""

    def __init__(
        self,
        target: Target,
        transform: Transform,
        pack: Callable[[Symbols, Header, Sections], bytes],
        picture: Picture,
        header: Header,
        sections: Sections,
        effort: Effort,
        progress: Progress | None = None,
    ) -> None:
        """pack makes the file of symbols; sections are what it holds besides, known before."""
        self.target = target
        self.transform = transform
        self.pack = pack
        self.picture = picture
        self.header = header
        self.sections = sections
        self.effort = effort
        self.progress = progress
        self.search = target.search(header.pixels)
        self.latent: Latent | None = None
        self.best: tuple[Symbols, Header] | None = None

    def run(self) -> tuple[Symbols, Header]:
        """What meets the target; a PictureWarning tells where that is the lowest quality, or less than it allows.

        Raises InputError where no quality does.
        """
        pixels = sample(self.picture.pixels)
        part = None if pixels is None else self.picture._replace(pixels=pixels, alpha=None)
        self.search.run(self._measure, None if part is None else lambda level: self._rehearse(part, level))
        if self.best is None:
            raise self.target.impossible(self.search.value, self.header.pixels)
        if extreme := self.target.extreme(self.search.level, self.search.value, self.search):
            warnings.warn(extreme, PictureWarning, stacklevel=3)
        return self.best

    def _measure(self, level: int) -> float:
        """What the target is compared with; the best file is kept."""
        header = dataclasses.replace(self.header, level=level)
        symbols = self._symbols(header)
        value = self._value(self.picture, symbols, header, self.sections)
        if value <= self.search.high if self.search.keep_below else value >= self.search.low:
            self.best = symbols, header
        return value

    def _rehearse(self, part: Picture, level: int) -> float:
        """The same of a sample, as expected of the whole."""
        height, width, _ = part.pixels.shape
        header = dataclasses.replace(self.header, width=width, height=height, level=level, alpha=False)
        symbols = self.transform.analyze(part.pixels, header, self.effort)
        value = self.target.from_sample(self._value(part, symbols, header, {}), width, self.header.pixels)
        return math.log(math.exp(value) + sum(map(len, self.sections.values()))) if self.target.is_size else value

    def _symbols(self, header: Header) -> Symbols:
        """For neighboring levels from the same y, unless it is refined for each."""
        if self.effort.stages or header.level in (MIN_LEVEL, MAX_LEVEL):
            return self.transform.analyze(self.picture.pixels, header, self.effort, self.progress)
        if self.latent is None or not self.latent.serves(header.level):
            self.latent = self.transform.analyze_once(self.picture.pixels, header)
        return self.transform.requantize(self.latent, header, self.effort)

    def _value(self, picture: Picture, symbols: Symbols, header: Header, sections: Sections) -> float:
        if self.target.is_size:
            return math.log(len(self.pack(symbols, header, sections)))
        decoded = picture._replace(pixels=self.transform.synthesize(symbols, header, header.bounds))
        return self.target.quality(shown_pixels(picture), shown_pixels(decoded))
