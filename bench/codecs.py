"""The codecs that are compared: each encodes to a whole file and decodes it again."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import click
import numpy as np
from PIL import Image

import aecodec


@dataclass(frozen=True)
class Peer:
    """A codec with the qualities at which it is measured. name and settings are what the table PEERS says."""

    settings: str  # what a reader must know to repeat it
    qualities: tuple[float, ...]
    encode: Callable[[Image.Image, float], bytes]
    decode: Callable[[bytes], Image.Image]
    name: str = ""


USUAL = (5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0)
FROM_ONE = (1.0, *USUAL[1:])  # where 5 is above 28 dB on easy pictures
FROM_ZERO = (0.0, *USUAL[1:])
DECIBELS = (24.0, 26.0, 28.0, 30.0, 32.0, 34.0, 36.0, 38.0, 40.0, 42.0)


def save(image: Image.Image, form: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def open_rgb(data: bytes) -> Image.Image:
    with Image.open(BytesIO(data)) as image:
        return image.convert("RGB")


def pillow(form: str, settings: str, qualities: tuple[float, ...] = USUAL, **options: Any) -> Peer:
    def encode(image: Image.Image, quality: float) -> bytes:
        return save(image, form, quality=int(quality), **options)

    return Peer(settings, qualities, encode, open_rgb)


def ours(model: str | None, device: str, effort: int) -> Peer:
    codec = aecodec.Codec.load(model, device=device)

    def encode(image: Image.Image, quality: float) -> bytes:
        return codec.encode(image, quality=quality, effort=effort)

    qualities = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0)
    if effort > DEFAULT_EFFORT:
        qualities = qualities[::2]  # they take long
    return Peer(f"model {codec.weights.model_id:08x}, effort {effort}", qualities, encode, codec.decode)


def jpegli() -> Peer:
    coder = importlib.import_module("pyjpegli")

    def encode(image: Image.Image, quality: float) -> bytes:
        data: bytes = coder.encode(np.ascontiguousarray(image), *image.size, quality=int(quality))
        return data

    return Peer("pyjpegli, 4:2:0, decoded by Pillow", USUAL, encode, open_rgb)


def mozjpeg() -> Peer:
    optimizer = importlib.import_module("mozjpeg_lossless_optimization")

    def encode(image: Image.Image, quality: float) -> bytes:
        data: bytes = optimizer.optimize(save(image, "JPEG", quality=int(quality)))
        return data

    return Peer("jpeg, its coefficients coded again by MozJPEG, progressive", USUAL, encode, open_rgb)


def jpeg2000() -> Peer:
    def encode(image: Image.Image, decibels: float) -> bytes:
        # Without mct the channels are coded apart from each other, which costs a third more.
        return save(image, "JPEG2000", irreversible=True, mct=1, quality_mode="dB", quality_layers=[decibels])

    return Peer(
        "Pillow (OpenJPEG), 9/7 wavelet, color transform, quality is its PSNR target", DECIBELS, encode, open_rgb
    )


def heic() -> Peer:
    importlib.import_module("pillow_heif").register_heif_opener()
    return pillow("HEIF", "pillow-heif (x265), 4:2:0, default preset")


def jxl() -> Peer:
    importlib.import_module("pillow_jxl")  # registers itself
    return pillow("JXL", "pillow-jxl-plugin, effort 7", FROM_ONE, effort=7)


def pca() -> Peer:
    from bench.pca import BlockPca

    codec = BlockPca()
    return Peer("linear autoencoder: 16x16 block KLT, entropy coder of aecodec", USUAL, codec.encode, codec.decode)


# Of each codec: how to make it, and the package that it needs besides those of aecodec.
PEERS: dict[str, tuple[Callable[[], Peer], str | None]] = {
    "jpeg": (lambda: pillow("JPEG", "Pillow, 4:2:0, default tables"), None),
    "jpeg-progressive": (
        lambda: pillow("JPEG", "Pillow, 4:2:0, progressive, optimized tables", progressive=True, optimize=True),
        None,
    ),
    "jpeg444": (lambda: pillow("JPEG", "Pillow, 4:4:4, default tables", subsampling=0), None),
    "jpegli": (jpegli, "pyjpegli"),
    "mozjpeg": (mozjpeg, "mozjpeg-lossless-optimization"),
    "webp": (lambda: pillow("WEBP", "Pillow, method 6", FROM_ZERO, method=6), None),
    "avif": (lambda: pillow("AVIF", "Pillow, 4:2:0, speed 6", speed=6), None),
    "avif444": (lambda: pillow("AVIF", "Pillow, 4:4:4, speed 6", speed=6, subsampling="4:4:4"), None),
    "jxl": (jxl, "pillow-jxl-plugin"),
    "jpeg2000": (jpeg2000, None),
    "heic": (heic, "pillow-heif"),
    "pca": (pca, None),
}
DEFAULT_EFFORT = 3
NAMES = ("aecodec", *PEERS)


def peers(names: list[str], device: str = "cpu") -> list[Peer]:
    """The codecs of the given names, in that order; "aecodec:FILE@9" is aecodec with the weights of a file, effort 9.

    "all" stands for NAMES. A codec whose package is missing is named in one line and left out.
    """
    found = []
    for name in itertools.chain.from_iterable(NAMES if name == "all" else [name] for name in names):
        base, _, effort = name.partition("@")
        kind, _, model = base.partition(":")
        if kind == "aecodec":
            found.append(replace(ours(model or None, device, int(effort or DEFAULT_EFFORT)), name=name))
            continue
        if name not in PEERS:
            raise click.ClickException(
                f"there is no codec {name}; known are {', '.join(NAMES)} and aecodec:WEIGHTS@EFFORT"
            )
        make, package = PEERS[name]
        try:
            found.append(replace(make(), name=name))
        except ImportError as error:
            click.echo(f"{name} is left out: pip install {package} ({error})", err=True)
    if not found:
        raise click.ClickException("none of these codecs can be measured here")
    return found
