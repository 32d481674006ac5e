"""The codecs that are compared: each encodes to a whole file and decodes it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image

import aecodec


@dataclass(frozen=True)
class Peer:
    """A codec with the qualities at which it is measured."""

    name: str
    settings: str  # what a reader must know to repeat it
    qualities: tuple[float, ...]
    encode: Callable[[Image.Image, float], bytes]
    decode: Callable[[bytes], Image.Image]


def _pillow(name: str, form: str, settings: str, qualities: tuple[float, ...], **options: Any) -> Peer:
    def encode(image: Image.Image, quality: float) -> bytes:
        file = BytesIO()
        image.save(file, form, quality=int(quality), **options)
        return file.getvalue()

    def decode(data: bytes) -> Image.Image:
        with Image.open(BytesIO(data)) as image:
            return image.convert("RGB")

    return Peer(name, settings, qualities, encode, decode)


def peers(names: tuple[str, ...], device: str) -> list[Peer]:
    """The codecs of the given names, in that order."""

    def ours() -> Peer:
        codec = aecodec.Codec.load(device=device)
        qualities = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
        return Peer(
            "aecodec",
            f"model {codec.weights.model_id:08x}, default effort",
            qualities,
            lambda image, quality: codec.encode(image, quality=quality),
            codec.decode,
        )

    usual = (5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
    makers: dict[str, Callable[[], Peer]] = {
        "aecodec": ours,
        "jpeg": lambda: _pillow("jpeg", "JPEG", "Pillow, 4:2:0, default tables", usual),
        "webp": lambda: _pillow("webp", "WEBP", "Pillow, method 6", (1, *usual[1:]), method=6),
        "avif": lambda: _pillow("avif", "AVIF", "Pillow, 4:2:0, speed 6", usual, speed=6),
    }
    return [makers[name]() for name in names]


NAMES = ("aecodec", "jpeg", "webp", "avif")
