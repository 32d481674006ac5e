"""Pillow plugin: Image.open and Image.save know .aec files once aecodec is imported.

>>> import aecodec
>>> from PIL import Image
>>> Image.open("photo.aec").resize((200, 150)).save("small.aec", quality=80)
"""

from __future__ import annotations

import io
from typing import IO, Any

from PIL import Image, ImageFile

from aecodec.container import MAGIC, read_front, read_header
from aecodec.errors import FormatError, TruncatedError

FORMAT = "AECODEC"


class AecImageFile(ImageFile.ImageFile):
    """An .aec file. Opening reads header and metadata; the first use of pixels loads torch and decodes."""

    format = FORMAT
    format_description = "aecodec learned image compression"

    def _open(self) -> None:
        from aecodec.image import Metadata

        assert self.fp is not None
        try:
            header, sections = read_front(self.fp.read())
        except TruncatedError as error:
            raise SyntaxError(str(error)) from error  # Pillow's sign for a file that cannot be identified
        except FormatError as error:
            raise OSError(str(error)) from error  # what Pillow's users catch
        self._size, self._mode = (header.width, header.height), header.mode
        self.info.update(Metadata.from_sections(sections).info)
        self.tile = [ImageFile._Tile("raw", (0, 0, *self._size), 0, self._mode)]

    def load(self) -> Any:
        if self.tile and self.fp is not None:
            self.fp.seek(0)
            pixels = _decode(self.fp.read()).tobytes()
            if self._exclusive_fp:
                self.fp.close()
            self.fp = io.BytesIO(pixels)
        return super().load()

    def load_seek(self, pos: int) -> None:
        """The pixels are not in the file that was opened: its being here keeps Pillow from mapping that one."""


def _decode(data: bytes) -> Image.Image:
    from aecodec.codec import codec_for

    try:
        return codec_for(read_header(data).model_id).decode(data)
    except FormatError as error:
        raise OSError(str(error)) from error


def _save(image: Image.Image, file: IO[bytes], _filename: str | bytes) -> None:
    """quality=60 is 1..100, effort=3 is 0..9; icc_profile, exif, xmp and dpi replace the image's own, None drops it."""
    from aecodec.codec import default_codec
    from aecodec.image import Metadata, to_picture

    options: dict[str, Any] = image.encoderinfo
    picture = to_picture(image)
    named = {name: options[name] for name in ("icc_profile", "exif", "xmp", "dpi") if name in options}
    metadata = Metadata.from_info(picture.metadata.info | named)
    chosen = {name: options[name] for name in ("quality", "effort") if name in options}
    file.write(default_codec().encode(picture._replace(metadata=metadata), **chosen))


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def register() -> None:
    """Tell Pillow; importing aecodec does."""
    Image.register_open(FORMAT, AecImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, ".aec")
    Image.register_mime(FORMAT, "image/x-aecodec")
