"""Pillow plugin: Image.open and Image.save know .aec files once aecodec is imported.

>>> import aecodec
>>> from PIL import Image
>>> Image.open("photo.aec").resize((200, 150)).save("small.aec", quality=80)
"""

from __future__ import annotations

import io
import warnings
from typing import IO, Any

from PIL import Image, ImageFile

from aecodec.errors import CodecError, FormatError, InputError, PictureWarning, TruncatedError
from aecodec.format.container import MAGIC, front_bytes, read_front, read_header, unpack
from aecodec.format.metadata import Metadata

FORMAT = "AECODEC"
_METADATA = ("icc_profile", "exif", "xmp", "dpi")
_GOALS = ("quality", "bpp", "max_bytes", "psnr", "ms_ssim", "lossless", "near_lossless")
_OPTIONS = (*_GOALS, "effort", "tile", "strip", "verify", "max_pixels")


class AecImageFile(ImageFile.ImageFile):
    """An .aec file. Opening reads header and metadata; the first use of pixels decodes.

    What is wrong with a file is an OSError. With ImageFile.LOAD_TRUNCATED_IMAGES a damaged file gives what is left of
    it, and a PictureWarning tells what is not.
    """

    format = FORMAT
    format_description = "aecodec learned image compression"
    _factor: int | None = None  # of draft: the picture is reduced by it

    def _open(self) -> None:
        assert self.fp is not None
        try:
            header, sections = read_front(front_bytes(self.fp))
        except TruncatedError as error:
            raise SyntaxError(str(error)) from error  # Pillow's sign for a file that cannot be identified
        except CodecError as error:
            raise OSError(str(error)) from error  # what Pillow's users catch
        self._size, self._mode = (header.width, header.height), header.mode
        self.info.update(Metadata.from_sections(sections).info)
        self._set_tile()

    def _set_tile(self) -> None:
        self.tile = [ImageFile._Tile("raw", (0, 0, *self._size), 0, self._mode)]

    def draft(
        self,
        mode: str | None,  # noqa: ARG002 - as Pillow calls it
        size: tuple[int, int] | None,
    ) -> tuple[str, tuple[int, int, float, float]] | None:
        """Decode at 1/8, 1/4 or 1/2 where that is not smaller than size; thumbnail calls it."""
        if not self.tile or self._factor is not None or size is None:
            return None
        width, height = self.size
        reach = min(width // max(size[0], 1), height // max(size[1], 1))
        self._factor = next(factor for factor in (8, 4, 2, 1) if factor <= max(reach, 1))
        self._size = -(-width // self._factor), -(-height // self._factor)
        self._set_tile()
        return self._mode, (0, 0, width / self._factor, height / self._factor)

    def load(self) -> Any:
        if self.tile and self.fp is not None:
            self.fp.seek(0)
            pixels = _decode(self.fp.read(), self._factor or 1).tobytes()
            if self._exclusive_fp:
                self.fp.close()
            self.fp = io.BytesIO(pixels)
        return super().load()

    def load_seek(self, pos: int) -> None:
        """The pixels are not in the file that was opened: its being here keeps Pillow from mapping that one."""

    def verify(self) -> None:
        """Check structure and checksums of the whole file, without decoding it; as with PNG, open it again after."""
        if self.fp is None or not self.tile:
            raise RuntimeError("verify must be called directly after open")
        try:
            self.fp.seek(0)
            unpack(self.fp.read())
        except CodecError as error:
            raise OSError(str(error)) from error
        finally:
            if self._exclusive_fp:
                self.fp.close()
            self.fp = None


def _decode(data: bytes, factor: int) -> Image.Image:
    from aecodec.codec import codec_for

    try:
        header = read_header(data)
        codec = codec_for(header.model_id)
        try:
            return codec.decode(data, scale=1 / factor, header=header)
        except FormatError as error:
            if not ImageFile.LOAD_TRUNCATED_IMAGES:
                raise
            damage = error
        image, losses = codec.decode_partial(data, scale=1 / factor)
    except CodecError as error:
        raise OSError(str(error)) from error
    tiles = sum(loss.box is not None for loss in losses)
    lost = "" if not tiles else ", 1 tile is lost or cut off" if tiles == 1 else f", {tiles} tiles are lost or cut off"
    reason = losses[0].reason if losses else str(damage)
    warnings.warn(f"the file is damaged{lost}: {reason}", PictureWarning, stacklevel=3)
    return image


def _save(image: Image.Image, file: IO[bytes], _filename: str | bytes) -> None:
    """The options of Codec.encode; icc_profile, exif, xmp and dpi replace the image's own, None drops it."""
    from aecodec.codec import default_codec
    from aecodec.image import to_picture

    options: dict[str, Any] = image.encoderinfo
    unknown = options.keys() - {*_METADATA, *_OPTIONS}
    if unknown:
        raise InputError(
            f"unknown options of save: {', '.join(sorted(unknown))}; known are {', '.join(_OPTIONS + _METADATA)}"
        )
    chosen = {name: options[name] for name in _OPTIONS if name in options}
    limits = {name: chosen[name] for name in ("strip", "max_pixels") if name in chosen}
    named = {name: options[name] for name in _METADATA if name in options and not chosen.get("strip")}
    picture = to_picture(image, named=named, **limits)
    file.write(default_codec().encode(picture, **chosen))


def _save_all(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """save(save_all=True): of one picture that is the same."""
    others = list(image.encoderinfo.pop("append_images", None) or ())
    pictures = sum(getattr(one, "n_frames", 1) for one in (image, *others))
    if pictures != 1:
        raise InputError(f"an .aec file holds one picture, got {pictures}")
    _save(image, file, filename)


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def register() -> None:
    """Tell Pillow; importing aecodec does."""
    Image.register_open(FORMAT, AecImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_save_all(FORMAT, _save_all)
    Image.register_extension(FORMAT, ".aec")
    Image.register_mime(FORMAT, "image/x-aecodec")
