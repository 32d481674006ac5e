"""Codecs for the commands, each loaded once, and what a viewer sees of what they decode."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import aecodec
from aecodec import Header
from aecodec.cli.files import open_data, read_picture
from aecodec.cli.urls import Place
from aecodec.format.container import MAGIC, MAX_PIXELS, Data

if TYPE_CHECKING:  # info and --help are quick without numpy
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from aecodec.image import Picture
    from aecodec.tasks import Denoiser, Enlarger


class Enhance(NamedTuple):
    """What shall be better than what is coded; travels to the processes."""

    task: str  # denoise or upscale
    sigma: float | None = None  # of the noise; None to estimate it

    def decode(
        self,
        codec: aecodec.Codec,
        data: Data,
        *,
        header: Header,
        region: tuple[int, int, int, int] | None,
        max_pixels: int,
    ) -> tuple[Image.Image, str]:
        """The picture of a file, and what was done about its noise. Raises InputError for weights without a head."""
        if self.task == "upscale":
            return _enlarger(codec).decode(data, region=region, max_pixels=max_pixels, header=header), ""
        done = _denoiser(codec).decode(data, self.sigma, region=region, max_pixels=max_pixels, header=header)
        return done.image, _told(done.sigma)

    def clean(self, codec: aecodec.Codec, picture: Picture, max_pixels: int) -> tuple[Picture, str]:
        """A picture before it is coded, and what was done about its noise. Raises as decode."""
        picture, sigma = _denoiser(codec).clean(picture, self.sigma, max_pixels=max_pixels)
        return picture, _told(sigma)


def _told(sigma: float) -> str:
    return f", noise of {sigma:.1f} levels removed" if sigma else ", no noise found"


@cache
def _denoiser(codec: aecodec.Codec) -> Denoiser:
    from aecodec.tasks import Denoiser

    return Denoiser(codec)


@cache
def _enlarger(codec: aecodec.Codec) -> Enlarger:
    from aecodec.tasks import Enlarger

    return Enlarger(codec)


@cache
def load(weights: Path | str | None, device: str, threads: int | None = None) -> aecodec.Codec:
    """Codec.load, once for all files: weights are a file, or the name of shipped ones."""
    return aecodec.Codec.load(weights, device, threads=threads)


def codec_for(header: Header, weights_file: Path | None, device: str, threads: int | None = None) -> aecodec.Codec:
    """The codec of a weights file, or of the shipped weights that a file needs. Raises UnsupportedError."""
    from aecodec import weights

    return load(weights_file or weights.shipped_name(header.model_id), device, threads)


def read_shown(path: Place, device: str, weights: Path | None, max_pixels: int) -> tuple[NDArray[np.uint8], int]:
    """What a viewer shows of an image or .aec file, [H, W, 3], and the bytes of the file.

    The picture is turned as EXIF says, and transparency is on white.
    """
    from aecodec.image import shown_pixels

    with open_data(path) as data:
        if data[: len(MAGIC)] != MAGIC:
            picture = read_picture(path, data, max_pixels=max_pixels, strip=True)
            return shown_pixels(picture._replace(gray=False)), len(data)
        header = aecodec.read_header(data, max_pixels=max_pixels)
        codec = codec_for(header, weights, device)
        return shown(codec.decode(data, header=header)), len(data)


def shown(image: Image.Image) -> NDArray[np.uint8]:
    """What a viewer shows of a decoded picture, [H, W, 3]."""
    import numpy as np

    from aecodec.image import flatten, upright

    return np.asarray(flatten(upright(image)).convert("RGB"))


def small_picture(
    data: Data,
    box: tuple[int, int],
    *,
    weights: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """A decoded picture as a viewer turns it, within a box of width and height, with its color profile alone."""
    from aecodec.image import upright

    header = aecodec.read_header(data, max_pixels=max_pixels)
    fitting = max(min(width / header.width, height / header.height) for width, height in (box, box[::-1]))  # turned too
    scale = next(scale for scale in (1 / 8, 1 / 4, 1 / 2, 1) if scale == 1 or scale >= fitting)
    codec = codec_for(header, weights, device, threads)
    image = upright(codec.decode(data, scale=scale, max_pixels=max_pixels, header=header))
    image.thumbnail(box)
    profile = image.info.get("icc_profile")
    image.info.clear()
    image.info.update({} if profile is None else {"icc_profile": profile})
    return image


def measure(codec: aecodec.Codec, picture: Picture, data: bytes, name: str, max_pixels: int) -> float:
    """PSNR or MS-SSIM in dB between a picture and its file, as a viewer sees both."""
    from aecodec import metrics
    from aecodec.image import shown_pixels, to_picture

    pictures = (picture, to_picture(codec.decode(data, max_pixels=max_pixels), max_pixels=max_pixels))
    a, b = (shown_pixels(one) for one in pictures)
    return metrics.psnr(a, b) if name == "psnr" else metrics.ms_ssim_db(metrics.ms_ssim(a, b))
