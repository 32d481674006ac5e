"""What verify looks at, one thing after the other, and what a damaged file has lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import aecodec
from aecodec.cli.files import open_data, read_shown, shown
from aecodec.cli.urls import Place
from aecodec.format.container import unpack

if TYPE_CHECKING:
    from aecodec.format.rescue import Loss


def verify_file(
    source: Place, original: Place | None, device: str, weights_file: Path | None, threads: int | None, max_pixels: int
) -> Iterator[tuple[str, str]]:
    """Each check and what it found. Raises CodecError at the first that fails."""
    from aecodec.format.digest import TOLERANCE  # brings numpy

    with open_data(source) as data:
        header, sections, tiles = unpack(data, max_pixels=max_pixels)
        yield "structure", f"{header.width}x{header.height} {header.mode}, {len(tiles)} tiles"
        yield "checksums", f"header and {len(sections) + len(tiles)} sections"
        codec = aecodec.Codec.load(weights_file, device, threads=threads) if weights_file else None
        codec = codec or aecodec.Codec.load_for(data, device, threads=threads, max_pixels=max_pixels)
        codec.check_weights(header)
        yield "weights", f"{header.model_id:08x}"
        image, difference = codec.verify(data, max_pixels=max_pixels)
    yield "decode", f"{image.width}x{image.height} {image.mode}"
    yield "digest", "none in the file" if difference is None else f"within {difference} of 255, {TOLERANCE} is allowed"
    if original is not None:
        from aecodec import metrics

        seen, _ = read_shown(original, device, weights_file, max_pixels)
        psnr = metrics.psnr(seen, shown(image))
        yield "PSNR", "equal" if psnr == float("inf") else f"{psnr:.2f} dB"


def tell_losses(losses: Sequence[Loss], count: int) -> None:
    """Raises FormatError with a list of what was lost of a file of count tiles, if anything was."""
    if losses:
        lines = [f"lost: {_place(loss)}{loss.reason}" for loss in losses]
        tiles = sum(loss.box is not None for loss in losses)
        raise aecodec.FormatError(
            "\n".join([f"the file is damaged, {tiles} of {count} tiles {'is' if tiles == 1 else 'are'} lost", *lines])
        )


def _place(loss: Loss) -> str:
    if loss.box is None:
        return ""
    height, width = loss.box.shape
    return f"tile {loss.box.left},{loss.box.top},{width},{height}: "
