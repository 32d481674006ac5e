"""One photograph through the codec and through JPEG at the same size, side by side."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import aecodec
from aecodec import metrics
from bench.codecs import save


def jpeg_of_size(image: Image.Image, size_bytes: int) -> bytes:
    """The best JPEG of at most size_bytes, or the smallest one."""
    best = b""
    for quality in range(1, 96):
        file = BytesIO()
        image.save(file, "JPEG", quality=quality)
        if best and len(file.getvalue()) > size_bytes:
            break
        best = file.getvalue()
    return best


class Panel(NamedTuple):
    name: str
    data: bytes
    picture: Image.Image

    def caption(self, original: Image.Image) -> str:
        rate = metrics.bpp(len(self.data), *original.size)
        psnr = metrics.psnr(np.asarray(original), np.asarray(self.picture))
        return f"{self.name}: {len(self.data)} bytes, {rate:.3f} bpp, {psnr:.2f} dB"


def jpeg_panel(data: bytes) -> Panel:
    return Panel("JPEG", data, Image.open(BytesIO(data)).convert("RGB"))


def run(source: Path, folder: Path, quality: float) -> None:
    """Encode, decode, print the figures and write photo.aec, photo.png and side-by-side.png."""
    folder.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as file:
        image = file.convert("RGB")
    data = aecodec.encode(image, quality=quality)
    panels = [Panel("aecodec", data, aecodec.decode(data)), jpeg_panel(jpeg_of_size(image, len(data)))]
    (folder / "photo.aec").write_bytes(data)
    panels[0].picture.save(folder / "photo.png")
    lines = [panel.caption(image) for panel in panels]
    print(f"{source.name}: {image.width}x{image.height}", *lines, sep="\n")
    pictures = [image, *(panel.picture for panel in panels)]
    side_by_side(pictures, ["original", *lines]).save(folder / "side-by-side.png")
    print(f"pictures: {folder}/side-by-side.png")


def poster(source: Path, target: Path, jpeg_quality: int) -> None:
    """JPEG, and aecodec in no more bytes, in one picture."""
    with Image.open(source) as file:
        image = file.convert("RGB")
    jpeg = jpeg_panel(save(image, "JPEG", quality=jpeg_quality))
    data = aecodec.encode(image, max_bytes=len(jpeg.data))
    panels = [jpeg, Panel("aecodec", data, aecodec.decode(data))]
    captions = [panel.caption(image) for panel in panels]
    side_by_side([panel.picture for panel in panels], captions).save(target, optimize=True)


def side_by_side(pictures: list[Image.Image], captions: list[str]) -> Image.Image:
    width, height = pictures[0].size
    margin = 26
    sheet = Image.new("RGB", (width * len(pictures), height + margin), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        sheet.paste(picture, (column * width, margin))
        draw.text((column * width + 6, 5), caption, fill="black", font=ImageFont.load_default(14))
    return sheet
