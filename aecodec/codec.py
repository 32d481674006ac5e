"""Codec: pictures to .aec bytes and back. The pipeline, in the order of the format."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from aecodec import entropy, weights
from aecodec.alpha import decode_alpha, encode_alpha
from aecodec.container import (
    MAX_PIXELS,
    MAX_TILE,
    STRIDE,
    Box,
    Header,
    SectionKind,
    pack,
    read_header,
    unpack,
)
from aecodec.errors import FormatError, InputError
from aecodec.image import Metadata, Picture, Pixels, from_picture, pad, to_picture
from aecodec.model import ANALYSIS_HALO, SYNTHESIS_HALO, Y_STRIDE, Autoencoder, ModelConfig, anchor_weights, complexity
from aecodec.prior import ANCHORS, SCALES, SKIPPED_SCALES, Z_LIMIT, anchor_position, quality_level

DEFAULT_QUALITY = 60.0
_BAND = 8  # rows of features at 1/16 that are rendered at once: small enough for the cache, large enough for threads


class Codec:
    """One model on one device. Reusable and safe to share between threads: nothing changes after construction.

    Networks see a picture area by area, each with a halo as wide as they can look, so that memory stays bounded and the
    result equals that of the whole picture.
    """

    def __init__(
        self, model: weights.Weights, device: torch.device, *, entropy_coder: str = "native", work_tile: int = 16
    ) -> None:
        """work_tile: side of what the networks see at once, without halo, in units of 64 pixels."""
        if entropy_coder not in ("native", "compressai"):
            raise InputError(f"entropy_coder must be native or compressai, got {entropy_coder}")
        self.weights = model
        self.prior = model.prior
        self.tables = model.tables
        self.entropy_coder = entropy_coder
        self.work_tile = work_tile
        parameters = {name: torch.from_numpy(array).float() for name, array in model.network.items()}
        try:
            self.network = Autoencoder(ModelConfig.from_dict(model.config))
            self.network.load_state_dict(parameters)
        except (RuntimeError, TypeError) as error:
            raise InputError(f"weights do not fit their configuration: {str(error).splitlines()[0]}") from error
        if len(model.tables.lengths) != ANCHORS * self.prior.N + SCALES:
            raise InputError(f"weights hold {len(model.tables.lengths)} tables, not {ANCHORS * self.prior.N + SCALES}")
        self.network.to(device).eval().requires_grad_(requires_grad=False)

    @classmethod
    def load(cls, model: str | Path | None = None, device: str = "auto", *, entropy_coder: str = "native") -> Codec:
        """A codec with shipped weights (by name; default "m") or those of a .safetensors file.

        device is "auto" (CUDA where there is one), "cpu" or "cuda". entropy_coder="compressai" writes the same bytes
        through CompressAI's coder, for reference. Raises InputError for weights or a device that cannot be used.
        """
        return cls(weights.load(model), pick_device(device), entropy_coder=entropy_coder)

    @classmethod
    def load_for(cls, data: bytes, device: str = "auto") -> Codec:
        """A codec with the shipped weights that a file needs. Raises as read_header, or UnsupportedError."""
        return cls(weights.load_for(read_header(data).model_id), pick_device(device))

    def encode(
        self,
        image: Image.Image | NDArray[np.uint8] | Picture,
        *,
        quality: float = DEFAULT_QUALITY,
        tile: int = 16,
        strip: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> bytes:
        """The .aec file of a PIL image, a uint8 array [H, W, 3], [H, W, 4] (RGBA) or [H, W], or what to_picture made.

        quality is 1..100, continuous, higher is better. tile is the side of independently coded tiles in units of 64
        pixels, 1..64. strip drops ICC, EXIF, XMP and dpi, and turns the pixels as the EXIF orientation says. A
        PictureWarning tells what is not kept. Raises InputError for a picture or option that cannot be used, and for
        more than max_pixels or 65,535 pixels per side.
        """
        level = quality_level(quality)
        if not 1 <= tile <= MAX_TILE:
            raise InputError(f"tile must be 1..{MAX_TILE}, got {tile}")
        picture = to_picture(image, strip=strip, max_pixels=max_pixels)
        H, W, _ = picture.pixels.shape
        header = Header(W, H, level, self.weights.model_id, picture.gray, tile, picture.alpha is not None)
        y, z_symbols = self._analyze(pad(picture.pixels, STRIDE), header)
        y_symbols = self._quantize(y, z_symbols, header)
        tiles = [self._encode_tile(z_symbols, y_symbols, box, level) for box in header.tiles()]
        return pack(header, _sections(picture, header), tiles)

    def decode(self, data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
        """The picture of a .aec file: mode RGB, RGBA, L or LA; ICC, EXIF, XMP and dpi are in its info.

        Raises FormatError for damaged data, UnsupportedError if the file needs other weights or a newer aecodec.
        """
        container = unpack(data, max_pixels=max_pixels)
        header = container.header
        if header.model_id != self.weights.model_id:
            raise weights.missing(header.model_id, self.weights)
        z_symbols, y_symbols = self._parse(container.tiles, header)
        pixels = self._synthesize(y_symbols, z_symbols, header)
        metadata = Metadata.from_sections(container.sections)
        alpha = decode_alpha(container.sections[SectionKind.ALPHA], header, header.bounds) if header.alpha else None
        return from_picture(Picture(pixels[: header.height, : header.width], header.gray, metadata, alpha))

    def complexity(self) -> dict[str, float]:
        """kMAC per pixel of each stage, and of the receiver: all stages that decoding runs."""
        return complexity(self.network.config)

    def decode_symbols(self, data: bytes) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
        """The coded integers of a file: z_symbols [N, H/64, W/64] and y_symbols [M, H/16, W/16]. No network runs."""
        container = unpack(data)
        if container.header.model_id != self.weights.model_id:
            raise weights.missing(container.header.model_id, self.weights)
        return self._parse(container.tiles, container.header)

    def _analyze(self, pixels: Pixels, header: Header) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        """y [M, H/16, W/16] and z_symbols [N, H/64, W/64] of the padded picture."""
        y = np.empty(self._y_shape(header), np.float32)
        z_symbols = np.empty(self._z_shape(header), np.int8)
        gains = self._anchor_weights(header.level)
        for box in self._work_areas(header):
            region = box.grown(ANALYSIS_HALO, header.padded)
            core = box.relative_to(region)
            x = self._tensor(pixels[region.cells(1)].transpose(2, 0, 1)) / 255
            with _inference():
                y_tile = self.network.analyze(x, gains)
                z_tile = self.network.hyper_analyze(y_tile, gains).round().clamp(-Z_LIMIT, Z_LIMIT)
            y[:, *box.cells(Y_STRIDE)] = _array(y_tile)[:, *core.cells(Y_STRIDE)]
            z_symbols[:, *box.cells(STRIDE)] = _array(z_tile)[:, *core.cells(STRIDE)]
        return y, z_symbols

    def _quantize(self, y: NDArray[np.float32], z_symbols: NDArray[np.int8], header: Header) -> NDArray[np.int16]:
        """y_symbols [M, H/16, W/16]: y in units of its step, less the predicted mean."""
        y_symbols = np.empty(y.shape, np.int16)
        for box in self._work_areas(header):
            region = box.grown(SYNTHESIS_HALO, header.padded)
            tile = self._quantize_tile(y[:, *region.cells(Y_STRIDE)], z_symbols[:, *region.cells(STRIDE)], header.level)
            y_symbols[:, *box.cells(Y_STRIDE)] = tile[:, *box.relative_to(region).cells(Y_STRIDE)]
        return y_symbols

    def _quantize_tile(self, y: NDArray[np.float32], z_symbols: NDArray[np.int8], level: int) -> NDArray[np.int16]:
        y_tensor = self._tensor(y)
        coded = self._tensor(self.prior.table_index(z_symbols, level) >= SKIPPED_SCALES)

        def code(mean: Tensor, step: Tensor) -> Tensor:
            return (y_tensor / step - mean).round().clamp(-32768, 32767) * coded

        with _inference():
            latents = self.network.predict(self._tensor(z_symbols), self._anchor_weights(level), code)
        return _array(latents.symbols).astype(np.int16)

    def _encode_tile(self, z_symbols: NDArray[np.int8], y_symbols: NDArray[np.int16], box: Box, level: int) -> bytes:
        z_tile = z_symbols[:, *box.cells(STRIDE)]
        y_index = self.prior.table_index(z_tile, level)
        coded = y_index >= SKIPPED_SCALES
        symbols = np.concatenate((z_tile.ravel().astype(np.int16), y_symbols[:, *box.cells(Y_STRIDE)][coded]))
        indexes = np.concatenate((self.prior.channel_index(z_tile[0].size, level), self._y_tables(y_index[coded])))
        if self.entropy_coder == "compressai":
            from aecodec import reference

            return reference.encode_symbols(symbols, indexes, self.tables)
        return entropy.encode_symbols(symbols, indexes, self.tables)

    def _parse(self, tiles: list[bytes], header: Header) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
        """z_symbols and y_symbols of the picture, from integers alone."""
        y_symbols = np.empty(self._y_shape(header), np.int16)
        z_symbols = np.empty(self._z_shape(header), np.int8)
        for box, stream in zip(header.tiles(), tiles, strict=True):
            reader = entropy.SymbolReader(stream, self.tables)
            z_tile = z_symbols[:, *box.cells(STRIDE)]
            z_parsed = reader.read(self.prior.channel_index(z_tile[0].size, header.level))
            if z_parsed.min() < -Z_LIMIT or z_parsed.max() > Z_LIMIT:
                raise FormatError(f"z symbol is outside -{Z_LIMIT}..{Z_LIMIT}")
            z_tile[:] = z_parsed.reshape(z_tile.shape)
            y_index = self.prior.table_index(z_tile, header.level)
            coded = y_index >= SKIPPED_SCALES
            y_tile = np.zeros(y_index.shape, np.int16)
            y_tile[coded] = reader.read(self._y_tables(y_index[coded]))
            reader.finish()
            y_symbols[:, *box.cells(Y_STRIDE)] = y_tile
        return z_symbols, y_symbols

    def _synthesize(self, y_symbols: NDArray[np.int16], z_symbols: NDArray[np.int8], header: Header) -> Pixels:
        """Pixels uint8 [H, W, 3] of the padded picture."""
        pixels = np.empty((header.padded.bottom, header.padded.right, 3), np.uint8)
        gains = self._anchor_weights(header.level)
        for box in self._work_areas(header):
            region = box.grown(SYNTHESIS_HALO, header.padded)
            rows, columns = box.relative_to(region).cells(Y_STRIDE)
            symbols = self._tensor(y_symbols[:, *region.cells(Y_STRIDE)])
            top = box.top
            with _inference():
                z_hat = self._tensor(z_symbols[:, *region.cells(STRIDE)])
                y_hat = self.network.dequantize(symbols, z_hat, gains)
                features = [part[:, :, rows, columns] for part in self.network.g_s.features(y_hat, gains)]
                for band in zip(*(part.split(_BAND, dim=2) for part in features), strict=True):
                    levels = (self.network.g_s.render(*band) * 255).round_().clamp_(0, 255).byte()
                    pixels[top : top + levels.shape[2], box.left : box.right] = levels[0].permute(1, 2, 0).cpu().numpy()
                    top += levels.shape[2]
        return pixels

    def _work_areas(self, header: Header) -> list[Box]:
        """Areas that the networks process one by one: independent of the tiles that the file is coded in."""
        return dataclasses.replace(header, tile=self.work_tile).tiles()

    def _y_shape(self, header: Header) -> tuple[int, int, int]:
        return self.prior.M, header.padded.bottom // Y_STRIDE, header.padded.right // Y_STRIDE

    def _z_shape(self, header: Header) -> tuple[int, int, int]:
        return self.prior.N, header.padded.bottom // STRIDE, header.padded.right // STRIDE

    def _y_tables(self, y_index: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Tables of y stand behind the sets of z."""
        return y_index.astype(np.uint16) + np.uint16(ANCHORS * self.prior.N)

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        """[C, H, W] as [1, C, H, W] in the type, on the device and in the memory order that suits the network."""
        like = next(self.network.parameters())
        tensor = torch.from_numpy(np.ascontiguousarray(array))[None].to(like.device, like.dtype)
        return tensor.contiguous(memory_format=torch.channels_last)

    def _anchor_weights(self, level: int) -> Tensor:
        like = next(self.network.parameters())
        return anchor_weights(torch.tensor([anchor_position(level)], dtype=like.dtype, device=like.device))


def _sections(picture: Picture, header: Header) -> dict[SectionKind, bytes]:
    """What the file holds besides tiles."""
    sections = picture.metadata.sections
    if picture.alpha is not None:
        sections[SectionKind.ALPHA] = encode_alpha(picture.alpha, header)
    return sections


@contextmanager
def _inference() -> Iterator[None]:
    """No gradients, and full float32 on GPUs that would round operands of convolutions to TF32."""
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def _array(tensor: Tensor) -> NDArray[np.generic]:
    array: NDArray[np.generic] = tensor[0].cpu().numpy()
    return array


def pick_device(name: str) -> torch.device:
    """The device of a name: auto (CUDA where there is one), cpu or cuda. Raises InputError if it is not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device must be auto, cpu or cuda, got {name}")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device is available")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


@cache
def default_codec() -> Codec:
    """The codec behind aecodec.encode: the default model, loaded once per process."""
    return Codec.load()


@cache
def codec_for(model_id: int) -> Codec:
    """The codec behind aecodec.decode: the shipped model that a file needs, loaded once per process."""
    if model_id == default_codec().weights.model_id:
        return default_codec()
    return Codec(weights.load_for(model_id), pick_device("auto"))
