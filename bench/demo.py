"""One photograph through the codec and through JPEG at the same size, side by side."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import aecodec
from aecodec import metrics


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


def run(source: Path, folder: Path, quality: float) -> None:
    """Encode, decode, print the figures and write photo.aec, photo.png and side-by-side.png."""
    folder.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as file:
        image = file.convert("RGB")
    data = aecodec.encode(image, quality=quality)
    (folder / "photo.aec").write_bytes(data)
    decoded = aecodec.decode(data)
    decoded.save(folder / "photo.png")
    jpeg = jpeg_of_size(image, len(data))
    panels = {"aecodec": (data, decoded), "JPEG": (jpeg, Image.open(BytesIO(jpeg)).convert("RGB"))}
    lines = []
    for name, (file_bytes, picture) in panels.items():
        rate = metrics.bpp(len(file_bytes), *image.size)
        psnr = metrics.psnr(np.asarray(image), np.asarray(picture))
        lines.append(f"{name}: {len(file_bytes)} bytes, {rate:.3f} bpp, {psnr:.2f} dB")
    print(f"{source.name}: {image.width}x{image.height}", *lines, sep="\n")
    side_by_side([image, decoded, panels["JPEG"][1]], ["original", *lines]).save(folder / "side-by-side.png")
    print(f"pictures: {folder}/side-by-side.png")


def side_by_side(pictures: list[Image.Image], captions: list[str]) -> Image.Image:
    width, height = pictures[0].size
    margin = 26
    sheet = Image.new("RGB", (width * len(pictures), height + margin), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        sheet.paste(picture, (column * width, margin))
        draw.text((column * width + 6, 5), caption, fill="black", font=ImageFont.load_default(14))
    return sheet
