"""Pictures without noise, or twice as large, from .aec files; and pictures cleaned before they are coded."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aecodec import weights
from aecodec.arguments import as_number
from aecodec.codec import Codec, pick_area
from aecodec.coding.prior import anchor_position
from aecodec.device import needing
from aecodec.errors import InputError
from aecodec.format.alpha import decode_alpha
from aecodec.format.container import (
    MAX_LEVEL,
    MAX_PIXELS,
    STRIDE,
    Y_STRIDE,
    Box,
    Buffer,
    Header,
    SectionKind,
    read_header,
    unpack,
)
from aecodec.image import Metadata, Picture, Pixels, check_size, crop_padded, from_picture, to_picture
from aecodec.networks.config import MEAN_HALO, SYNTHESIS_HALO

if TYPE_CHECKING:
    from torch import Tensor

    from aecodec.tasks.correction import Correction

HIGHEST_SIGMA = 60.0  # levels of 255
LEAST_SIGMA = 6.0  # estimates below it count as none: so fine textures look
_STRIP_PIXELS = 1 << 20  # of a picture that are corrected at once
_LOOKED = 8, 1 << 18  # strips that tell the noise, and pixels of each
_PART = 256  # side of parts that tell it one by one, as far as strips are as high
_CALM = 0.3  # share of parts that are below what is taken for it


class Cleaned(NamedTuple):
    """What Denoiser.decode gives."""

    image: Image.Image
    sigma: float  # of the noise that was taken away, in levels of 255; 0 where none was found


class _Corrector:
    """A head at work. Nothing changes after construction."""

    task = ""

    def __init__(self, codec: Codec, head: Path | None = None) -> None:
        """head: a file, by default the shipped one.

        Raises InputError for a head of another model, one that is none, and without torch.
        """
        with needing("torch", "tasks"):
            from aecodec.tasks.correction import Correction
        self.codec = codec
        self.runtime = codec.floats.runtime
        path = head or head_path(self.task)
        self.correction: Correction = Correction.load(path, self.task)
        if self.correction.model_id != codec.weights.model_id:
            ours, theirs = self.correction.model_id, codec.weights.model_id
            raise InputError(f"{self.task} needs weights {ours:08x} ({path.stem}), got {theirs:08x}")
        self.network = self.correction.network.to(self.runtime.workers.device).eval()

    def _decode(
        self,
        data: Buffer,
        region: tuple[int, int, int, int] | None,
        max_pixels: int,
        header: Header | None,
        sigma_of: Callable[[Callable[[Box], Tensor], Box], float],
    ) -> tuple[Picture, float]:
        """The corrected picture of an area, and the noise that it is thought to have."""
        header = header or read_header(data, max_pixels=max_pixels)
        self.codec.check_weights(header)
        area = pick_area(region, header)
        factor = self.network.shape.factor
        check_size(factor * (area.right - area.left), factor * (area.bottom - area.top), max_pixels)
        seen = area.aligned(STRIDE).grown(-(-self.network.shape.halo // STRIDE) * STRIDE, header.padded)
        container = unpack(data, header=header, area=seen.grown(SYNTHESIS_HALO, header.padded))
        if any(tile.drawn for tile in container.tiles):
            return self._decode_drawn(data, header, area, sigma_of)
        symbols = self.codec._parse(container, seen.grown(SYNTHESIS_HALO, header.padded))
        gains = self.runtime.anchor_weights(header.level)

        def latent_of(box: Box) -> Tensor:
            cells = box.aligned(STRIDE)
            region, around = cells.grown(SYNTHESIS_HALO, header.padded), cells.grown(MEAN_HALO, header.padded)
            y_symbols = self.runtime.tensor(symbols.y[:, *around.relative_to(symbols.window).cells(Y_STRIDE)])
            z_hat = self.runtime.tensor(symbols.z[:, *region.relative_to(symbols.window).cells(STRIDE)])
            window = around.relative_to(region).cells(Y_STRIDE)
            y_hat = self.runtime.network.dequantize(y_symbols, z_hat, gains, window)
            latent: Tensor = self.runtime.network.g_s.y_gain(y_hat, gains)
            return latent[:, :, *box.relative_to(around).cells(Y_STRIDE)]

        sigma = sigma_of(latent_of, area.aligned(Y_STRIDE))
        shown = seen.grown(0, header.bounds)
        pixels = self.codec.receiver.synthesize(symbols, header, shown)
        if header.gray:
            pixels = _gray(pixels)
        made = pixels[area.relative_to(shown).cells(1)]
        if sigma or factor > 1:
            made = self._corrected(pixels, shown, latent_of, area, header, sigma)
        alpha = decode_alpha(container.sections[SectionKind.ALPHA], header, area) if header.alpha else None
        metadata = Metadata.from_sections(container.sections)
        return Picture(made, header.gray, metadata, self._enlarged(alpha)), sigma

    def _decode_drawn(
        self, data: Buffer, header: Header, area: Box, sigma_of: Callable[[Callable[[Box], Tensor], Box], float]
    ) -> tuple[Picture, float]:
        """The same of a file with drawn pixels, of which no latent tells: that of the whole picture is made again."""
        picture = to_picture(self.codec.decode(data, header=header))
        header, latent_of = self._analyzed(picture)
        sigma = sigma_of(latent_of, area.aligned(Y_STRIDE))
        pixels = np.ascontiguousarray(picture.pixels)
        made = pixels[area.cells(1)]
        if sigma or self.network.shape.factor > 1:
            made = self._corrected(pixels, header.bounds, latent_of, area, header, sigma)
        alpha = None if picture.alpha is None else picture.alpha[area.cells(1)]
        return picture._replace(pixels=made, alpha=self._enlarged(alpha)), sigma

    def _analyzed(self, picture: Picture) -> tuple[Header, Callable[[Box], Tensor]]:
        """The latent of a picture that is not coded, and what its file would say."""
        pixels = np.ascontiguousarray(picture.pixels)
        H, W, _ = pixels.shape
        header = Header(W, H, MAX_LEVEL, self.codec.weights.model_id, picture.gray)
        gains = self.runtime.anchor_weights(header.level)

        def latent_of(box: Box) -> Tensor:
            y = self.runtime.tensor(self.codec.transform.analyze(pixels, box, header).transpose(2, 0, 1))
            latent: Tensor = self.runtime.network.g_s.y_gain(y, gains)
            return latent

        return header, latent_of

    def _enlarged(self, alpha: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
        factor = self.network.shape.factor
        if alpha is None or factor == 1:
            return alpha
        height, width = alpha.shape
        return np.asarray(Image.fromarray(alpha).resize((factor * width, factor * height), Image.Resampling.BICUBIC))

    def _corrected(
        self,
        pixels: Pixels,
        window: Box,
        latent_of: Callable[[Box], Tensor],
        area: Box,
        header: Header,
        sigma: float,
    ) -> Pixels:
        """Pixels [factor h, factor w, 3] of an area, from those of a window around it, strip by strip."""
        import torch

        from aecodec.tasks.correction import conditions

        factor, halo = self.network.shape.factor, self.network.shape.halo
        made = np.empty((*(factor * side for side in area.shape), 3), np.uint8)
        told = torch.tensor([[sigma], [float(header.gray)], [anchor_position(header.level)]])
        told = conditions(*told).to(self.runtime.workers.device)

        def correct(strip: Box) -> None:
            core = strip.aligned(Y_STRIDE)
            seen = core.grown(halo, header.padded)
            x_hat = self.runtime.tensor(crop_padded(pixels, seen.relative_to(window)).transpose(2, 0, 1)).div_(255)
            with self.runtime.plain():
                x = self.network(x_hat, latent_of(seen), told)
                inner = Box(*(factor * side for side in strip.relative_to(seen))).cells(1)
                levels = (x[0][:, *inner] * 255).round_().clamp_(0, 255).byte().permute(1, 2, 0).cpu().numpy()
            made[Box(*(factor * side for side in strip.relative_to(area))).cells(1)] = levels

        width = area.right - area.left
        for strip in area.aligned(Y_STRIDE).split(1 << 16, _rows(width)):  # one by one, so that Ctrl-C is heard
            self.runtime.workers.map(correct, [strip.grown(0, area)])
        return made


class Denoiser(_Corrector):
    """Takes noise away: of files as they are decoded, and of pictures before they are coded."""

    task = "denoise"

    def decode(
        self,
        data: Buffer,
        sigma: float | None = None,
        *,
        region: tuple[int, int, int, int] | None = None,
        max_pixels: int = MAX_PIXELS,
        header: Header | None = None,
    ) -> Cleaned:
        """The picture of a file without its noise, and how strong that was.

        sigma is the deviation of the noise in levels of 255, above 0 to 60, None to estimate it from the latent; where
        that finds none, the picture is that of Codec.decode. region, max_pixels and header are those of Codec.decode,
        which also tells what is raised; InputError for another sigma.
        """
        known = None if sigma is None else check_sigma(sigma)
        picture, found = self._decode(
            data, region, max_pixels, header, lambda of, area: self._estimate(of, area) if known is None else known
        )
        return Cleaned(from_picture(picture), found)

    def clean(
        self,
        image: Image.Image | NDArray[np.uint8] | Picture,
        sigma: float | None = None,
        *,
        max_pixels: int = MAX_PIXELS,
    ) -> tuple[Picture, float]:
        """A picture without its noise, for Codec.encode, and how strong that was; sigma as in decode."""
        known = None if sigma is None else check_sigma(sigma)
        picture = to_picture(image, max_pixels=max_pixels)
        pixels = np.ascontiguousarray(picture.pixels)
        header, latent_of = self._analyzed(picture)
        found = self._estimate(latent_of, header.bounds.aligned(Y_STRIDE)) if known is None else known
        if found:
            made = self._corrected(pixels, header.bounds, latent_of, header.bounds, header, found)
            picture = picture._replace(pixels=_gray(made) if picture.gray else made)
        return picture, found

    def _estimate(self, latent_of: Callable[[Box], Tensor], area: Box) -> float:
        """The deviation of the noise in an area, 0 where there is none to speak of.

        Noise is everywhere and texture is not: of several parts, those with little of both tell.
        """
        rows = max(min(_PART, _LOOKED[1] // (area.right - area.left)) // Y_STRIDE, 1) * Y_STRIDE
        strips = area.split(1 << 16, rows)
        found: list[float] = []

        def look(strip: Box) -> None:
            with self.runtime.plain():
                latent = latent_of(strip)[0]
                columns = max((_PART // Y_STRIDE) ** 2 // latent.shape[1], 1)
                parts = latent.chunk(max(latent.shape[2] // columns, 1), dim=2)
                found.extend(self.network.estimate(part.flatten(1).T) for part in parts)

        for strip in strips[:: -(-len(strips) // _LOOKED[0])]:
            self.runtime.workers.map(look, [strip])
        sigma = float(np.quantile(found, _CALM))
        return min(sigma, HIGHEST_SIGMA) if sigma >= LEAST_SIGMA else 0.0


class Enlarger(_Corrector):
    """Enlarges by two."""

    task = "upscale"

    def decode(
        self,
        data: Buffer,
        *,
        region: tuple[int, int, int, int] | None = None,
        max_pixels: int = MAX_PIXELS,
        header: Header | None = None,
    ) -> Image.Image:
        """The picture of a file with twice as many pixels in each direction.

        region, of the stored picture, max_pixels and header are those of Codec.decode, which also tells what is
        raised. The enlarged picture has at most max_pixels, too, or it is an InputError.
        """
        return from_picture(self._decode(data, region, max_pixels, header, lambda _of, _area: 0.0)[0])


def head_path(task: str) -> Path:
    """Where the shipped head of a task is."""
    return Path(str(resources.files("aecodec") / "data" / f"{task}-{weights.DEFAULT_MODEL}.safetensors"))


def check_sigma(sigma: float) -> float:
    """Raises InputError for what is no deviation of noise that can be taken away."""
    sigma = as_number("sigma", sigma)
    if not 0 < sigma <= HIGHEST_SIGMA:
        raise InputError(f"sigma must be above 0 and up to {HIGHEST_SIGMA:g} levels, got {sigma:g}")
    return sigma


def _rows(width: int) -> int:
    return max(_STRIP_PIXELS // width // STRIDE, 1) * STRIDE


def _gray(pixels: Pixels) -> Pixels:
    """The channels' mean in all three, rounded as from_picture rounds it."""
    mean = ((pixels.sum(2, dtype=np.uint16) + 1) // 3).astype(np.uint8)
    return np.repeat(mean[:, :, None], 3, axis=2)
