"""What a command does to one file of many, and to one alone."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from PIL import Image

import aecodec
from aecodec import CodecError, Header, InputError, PictureWarning
from aecodec.cli.codecs import Enhance, codec_for, load, measure, read_shown, shown
from aecodec.cli.files import (
    check_target,
    image_file,
    is_stream,
    noting,
    open_data,
    open_picture,
    read_picture,
    replace_file,
)
from aecodec.cli.folders import Job, Outcome, current, failure
from aecodec.cli.reporter import counted, reason
from aecodec.cli.urls import Place, Url
from aecodec.format.container import (
    DEFAULT_QUALITY,
    LOSSLESS_LEVEL,
    MAGIC,
    MAX_LEVEL,
    MIN_LEVEL,
    NO_MODEL,
    Data,
    SectionKind,
    quality_level,
    unpack,
)
from aecodec.formats import AEC

if TYPE_CHECKING:
    from aecodec.format.rescue import Loss
    from aecodec.image import Picture


_METADATA = (SectionKind.ICC, SectionKind.EXIF, SectionKind.XMP, SectionKind.DENSITY)
_FILLED = 0.97  # share of a size target that the search uses at least, and some tolerance
_SAME_TIME = 1e-5  # seconds by which times differ that are the same, written as a float
_SLACK = 0.1  # dB by which the search may exceed a target


class Task(Protocol):
    """What a command does to each file; travels to the processes."""

    @property
    def form(self) -> str:
        """Pillow's name of the format that is written."""

    @property
    def weights(self) -> Path | str | None:
        """A file, or the name of a shipped model."""

    @property
    def unseen(self) -> str:
        """What was asked for and is_current does not compare, as a sentence."""

    def is_current(self, job: Job) -> bool:
        """Whether there is nothing to do."""

    def look(self, job: Job) -> None:
        """Raise what is wrong with a source as far as its header tells, for --dry-run."""

    def work(self, job: Job) -> Outcome:
        """Do it. Raises what is wrong with the file; its notes are warnings."""


def do(task: Task, job: Job) -> Outcome:
    """Do one file; what is wrong with it is told by the outcome."""
    try:
        if job.target is not None:
            job.target.parent.mkdir(parents=True, exist_ok=True)
            check_target(job.target, task.form, job.source, task.weights)
        with noting(PictureWarning) as notes:
            outcome = task.work(job)
        name = str(job.source)
        return outcome._replace(notes="; ".join(note if name in note else f"{name}: {note}" for note in notes))
    except Exception as error:  # memory that is short, a defect of ours: the others do not suffer
        return failure(job, reason(error))


def look(task: Task, job: Job) -> Outcome:
    """What --dry-run does to a file: open it, as far as its header."""
    try:
        task.look(job)
        return Outcome(str(job.source), str(job.target), "planned", job.source.stat().st_size)
    except (CodecError, OSError) as error:
        return failure(job, reason(error))


class Decoded(NamedTuple):
    """What decoded gives."""

    image: Image.Image
    losses: Sequence[Loss] = ()
    noise: str = ""  # what was done about it, as cleaned has it


class Encoding(NamedTuple):
    """How each file is encoded; travels to the processes."""

    options: dict[str, Any]  # of Codec.encode
    max_pixels: int
    strip: bool
    device: str
    weights: Path | str | None  # a file, or the name of a shipped model
    model_id: int  # of those weights
    threads: int | None
    measure: bool  # PSNR too
    force: bool  # whatever is there
    denoise: Enhance | None = None

    @property
    def form(self) -> str:
        return AEC

    @property
    def unseen(self) -> str:
        asked = {"its effort": "effort" in self.options, "whether it was cleaned": self.denoise is not None}
        untold = " or ".join(what for what, is_asked in asked.items() if is_asked)
        return f"no file tells {untold}: --force encodes again what is up to date" if untold else ""

    def is_current(self, job: Job) -> bool:
        """Whether a target is there and as it would be written now. That of a goal only the work on it finds out."""
        return self.goal is None and self.matches(job)

    def matches(self, job: Job) -> bool:
        """Whether a target is not older than its source, and its header has the options.

        What no file tells is not compared: the effort, noise taken away, and what --strip has dropped.
        """
        try:
            if self.force or not _is_newer(job):
                return False
            with open_data(_target(job)) as data:
                header, sections, tiles = unpack(data, max_pixels=self.max_pixels)  # what is damaged is not current
                size = len(data)
        except (OSError, CodecError):  # the work on it will tell
            return False
        options = self.options
        limit = options["max_bytes"] or (options["bpp"] or 0) * header.pixels / 8
        fits = size <= limit and (size >= _FILLED * limit or header.level == MAX_LEVEL) if limit else True
        exact = options["near_lossless"]
        by_level = not limit and self.goal is None
        level = LOSSLESS_LEVEL if exact is not None else quality_level(options["quality"] or DEFAULT_QUALITY)
        return (
            header.model_id in (NO_MODEL, self.model_id)
            and header.tile == options["tile"]
            and (not options["verify"] or SectionKind.DIGEST in sections)
            and not (self.strip and any(kind in sections for kind in _METADATA))
            and fits
            and (not by_level or header.level == level)
            and (exact is None or all(tile.step == 2 * exact + 1 for tile in tiles))
        )

    def look(self, job: Job) -> None:
        if isinstance(job.source, Path):
            with noting(), open_picture(job.source):
                pass
        self.refuse_other(job)

    def work(self, job: Job) -> Outcome:
        target = _target(job)
        before = _stat(job.source)
        picture = read_picture(job.source, max_pixels=self.max_pixels, strip=self.strip)
        codec = load(self.weights, self.device, self.threads)
        self.refuse_other(job)
        if self.denoise is not None:
            picture, _ = self.denoise.clean(codec, picture, self.max_pixels)
        if self.goal and self.matches(job):
            with open_data(target) as old:
                if self.meets_goal(codec, picture, bytes(old)):
                    return current(job)
        data = codec.encode(picture, max_pixels=self.max_pixels, **self.options)
        psnr = round(measure(codec, picture, data, "psnr", self.max_pixels), 3) if self.measure else None
        after = _stat(job.source)  # a younger source than what is in a file would count as up to date
        if after.st_size != before.st_size or after.st_mtime > before.st_mtime:  # no time is no change
            raise InputError(f"{job.source} has changed while it was encoded")
        replace_file(target, data)
        tell_growth(data, job.source)
        return Outcome(str(job.source), str(target), "done", after.st_size, len(data), psnr)

    def refuse_other(self, job: Job) -> None:
        """Raise InputError where something is there that encode has not written: an original perhaps."""
        target = _target(job)
        if not self.force and target.exists():
            with open_data(target) as old:
                if old and old[: len(MAGIC)] != MAGIC:
                    raise InputError(f"{target} already exists and is not an .aec file: use --force to replace it")

    @property
    def goal(self) -> tuple[str, float] | None:
        """A figure that only decoding tells, and what it has to be in dB."""
        return next(((name, self.options[name]) for name in ("psnr", "ms_ssim") if self.options[name]), None)

    def meets_goal(self, codec: aecodec.Codec, picture: Picture, data: bytes) -> bool:
        """Whether a file that matches reaches the goal, and no more than is promised."""
        assert self.goal is not None
        name, least = self.goal
        reached = measure(codec, picture, data, name, self.max_pixels)
        return least <= reached and (reached <= least + _SLACK or aecodec.read_header(data).level == MIN_LEVEL)


class Decoding(NamedTuple):
    """How each file is decoded."""

    options: dict[str, Any]  # of Codec.decode
    form: str
    device: str
    weights: Path | None
    threads: int | None
    rescue: bool  # what is left of damaged files
    force: bool  # whatever is there
    enhance: Enhance | None = None
    unseen: str = ""

    def is_current(self, job: Job) -> bool:
        """Whether a picture is there with the time of its file, and as large as it would be, turned or not.

        What has another time (an original perhaps), that of a region, what is cleaned or enlarged, and what is left of
        a damaged file do not tell what they are: the work finds it out.
        """
        try:
            if self.force or self.options["region"] or self.enhance or not _is_dated(job):
                return False
            with open_data(job.source) as data:
                header = unpack(data, max_pixels=self.options["max_pixels"]).header
            with noting(), open_picture(_target(job)) as image:
                sides = (header.width, header.height)
                return sorted(image.size) == sorted(-int(-side * self.options["scale"] // 1) for side in sides)
        except (OSError, CodecError):  # the work on it will tell
            return False

    def look(self, job: Job) -> None:
        with open_data(job.source) as data:
            aecodec.read_header(data, max_pixels=self.options["max_pixels"])
        if not (self.options["region"] or self.rescue or self.enhance):
            self.refuse_other(job)

    def work(self, job: Job) -> Outcome:
        target = _target(job)
        times = _stat(job.source)
        with open_data(job.source) as data:
            header = aecodec.read_header(data, max_pixels=self.options["max_pixels"])
            codec = codec_for(header, self.weights, self.device, self.threads)
            image, losses, _ = decoded(codec, header, data, self.options, self.enhance, rescue=self.rescue)
            size = len(data)
        file = image_file(image, self.form)
        is_current = not self.force and target.exists() and target.read_bytes() == file
        if not is_current:
            self.refuse_other(job)
            replace_file(target, file)
        if not (losses or self.options["region"] or self.enhance):
            _date(target, times)
        tell_losses(losses, header)
        if is_current:
            return current(job)
        return Outcome(str(job.source), str(target), "done", size, len(file))

    def refuse_other(self, job: Job) -> None:
        """Raise InputError where a target is there that is not current: an original perhaps."""
        if not self.force and _target(job).exists():
            raise InputError(f"{job.target} already exists with other contents: use --force to replace it")


class Verifying(NamedTuple):
    """How each file is verified."""

    device: str
    weights: Path | None
    threads: int | None
    max_pixels: int
    form: str = ""
    unseen: str = ""

    def is_current(self, _: Job) -> bool:
        return False

    def look(self, job: Job) -> None:
        """Nothing is planned."""

    def work(self, job: Job) -> Outcome:
        for _ in verify_file(job.source, None, *self[:4]):
            pass
        return Outcome(str(job.source), "", "sound", job.source.stat().st_size)


def _target(job: Job) -> Place:
    assert job.target is not None
    return job.target


def _is_newer(job: Job) -> bool:
    """Whether a target is there that is not older than its source."""
    target = _target(job)
    return target.exists() and target.stat().st_mtime >= job.source.stat().st_mtime


def _is_dated(job: Job) -> bool:
    """Whether a picture is there that has the time of its file, or is not older where it is none of this machine."""
    target = _target(job)
    if isinstance(target, Url):
        return _is_newer(job)
    return target.exists() and abs(target.stat().st_mtime - job.source.stat().st_mtime) < _SAME_TIME


def _date(target: Place, status: Any) -> None:
    """Give a picture the time of its file, as unpackers of archives do."""
    if isinstance(target, Path) and math.isfinite(status.st_mtime):
        with suppress(OSError):  # the work will find out what is current, a second time
            os.utime(target, (status.st_mtime, status.st_mtime))


def decoded(
    codec: aecodec.Codec,
    header: Header,
    data: Data,
    options: dict[str, Any],
    enhance: Enhance | None = None,
    *,
    rescue: bool,
) -> Decoded:
    """The picture of a file, or what is left of it and what is lost."""
    if enhance is not None:
        region, max_pixels = options["region"], options["max_pixels"]
        image, noise = enhance.decode(codec, data, header=header, region=region, max_pixels=max_pixels)
        return Decoded(image, noise=noise)
    if rescue:
        return Decoded(*codec.decode_partial(data, **options))
    return Decoded(codec.decode(data, region=options["region"], scale=options["scale"], header=header))


def tell_losses(losses: Sequence[Loss], header: Header) -> None:
    """Raises FormatError with a note for each part of a file that was lost, if anything was."""
    if losses:
        tiles = sum(loss.box is not None and not loss.in_part for loss in losses)
        count = len(header.tiles())
        in_part = ", one in part" if any(loss.in_part for loss in losses) else ""
        damage = (
            f"the file is damaged, {tiles} of {counted(count, 'tile')} {'is' if tiles == 1 else 'are'} lost{in_part}"
        )
        error = aecodec.FormatError(damage)
        for loss in losses:
            error.add_note(f"lost: {_place(loss)}{loss.reason}")
        raise error


def _stat(place: Place) -> Any:
    try:
        return place.stat()
    except OSError as error:
        raise InputError(f"{place} cannot be read: {error.strerror or error}") from error


def tell_growth(data: bytes, source: Place) -> None:
    """A PictureWarning where a picture had less bytes before; nothing of pipes, whose size nobody knows."""
    if is_stream(source) or (isinstance(source, Path) and not source.is_file()):
        return
    before = source.stat().st_size
    if len(data) > before:
        warnings.warn("the .aec file is larger than its source", PictureWarning, stacklevel=2)


def _place(loss: Loss) -> str:
    if loss.box is None:
        return ""
    height, width = loss.box.shape
    return f"tile {loss.box.left},{loss.box.top},{width},{height}: "


def verify_file(
    source: Place, original: Place | None, device: str, weights_file: Path | None, threads: int | None, max_pixels: int
) -> Iterator[tuple[str, str]]:
    """Each check and what it found. Raises CodecError at the first that fails."""
    with open_data(source) as data:
        container = unpack(data, max_pixels=max_pixels)
        header, sections, tiles = container
        yield "structure", f"{header.width}x{header.height} {header.mode}, {counted(len(tiles), 'tile')}"
        yield "checksums", f"header and {counted(len(sections) + len(tiles), 'section')}"
        codec = codec_for(header, weights_file, device, threads)
        codec.check_weights(header)
        yield "weights", "no weights" if header.model_id == NO_MODEL else f"{header.model_id:08x}"
        image, digest = codec.verify(container)
    yield "decode", f"{image.width}x{image.height} {image.mode}"
    yield "digest", "none in the file" if digest is None else f"{digest.hex()}, equal"
    if original is not None:
        from aecodec import metrics

        seen, _ = read_shown(original, device, weights_file, max_pixels)
        psnr = metrics.psnr(seen, shown(image))
        yield "PSNR", "equal" if psnr == float("inf") else f"{psnr:.2f} dB"
