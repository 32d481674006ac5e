"""Write new golden files: python tests/make_golden.py NAME... (released ones are never edited).

They are of the frozen test models. The name of a shipped model writes one of its own; until 1.0 it goes with the model.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from aecodec import Codec
from aecodec.format.container import Header, Tile, pack, quality_level
from aecodec.format.drawn import Drawn
from aecodec.weights import SHIPPED

DATA = Path(__file__).parent / "data"
GOLDEN = DATA / "golden"
CONTEXT_GOLDEN = DATA / "golden_context"
SHIPPED_GOLDEN = DATA / "golden_shipped"
# name: (width, height, mode, quality, tile)
CASES = {
    "1x1": (1, 1, "RGB", 50, 16),
    "17x33": (17, 33, "RGB", 1, 16),
    "1x4096_tall": (1, 4096, "RGB", 90, 16),
    "1x300_tall": (1, 300, "RGB", 33.33, 1),
    "gray": (90, 50, "L", 77, 16),
    "tiles": (200, 130, "RGB", 60, 1),
    "metadata": (64, 64, "RGB", 100, 16),
    "alpha": (150, 100, "RGBA", 60, 1),  # WebP, constant and hidden tiles
    "constant_alpha": (40, 30, "LA", 60, 16),
    "density": (20, 20, "RGB", 60, 16),
    "digest": (150, 130, "RGB", 60, 16),
    "drawn": (300, 200, "RGB", 60, 2),  # text beside a photograph; the tile that is all drawn has no stream
    "lossless": (150, 100, "RGBA", None, 1),  # with colors that alpha hides
    "near_lossless": (90, 50, "L", None, 16),
    "context": (270, 190, "RGB", 60, 3),  # of a model whose z has a context; tiles of 3x3 and 2x3 positions
}


def symbols_sha256(codec: Codec, data: bytes) -> str:
    """Digest of z_symbols as int8, then y_symbols as little-endian int16, each in the order of docs/format.md."""
    z_symbols, y_symbols = codec.decode_symbols(data)
    return hashlib.sha256(z_symbols.tobytes() + y_symbols.astype("<i2").tobytes()).hexdigest()


def drawn_beside(codec: Codec, photo: Image.Image, quality: float, tile: int) -> bytes:
    """The picture with bars and dots, which are drawn, in its left half. Tiles that are all drawn have no stream."""
    pixels = np.array(photo)
    H, W, _ = pixels.shape
    x, y = np.meshgrid(np.arange(160), np.arange(H))
    pixels[:, :160] = np.where(((x // 3) ** 2 + (y // 2) ** 2) % 7 < 3, 30, 240)[:, :, None] - (0, 0, 30)
    mask = np.broadcast_to(np.arange(W) < 160, (H, W))
    drawn = Drawn(pixels, mask)
    header = Header(W, H, quality_level(quality), codec.weights.model_id, tile=tile)
    symbols = codec.encoder.analyzer.analyze(pixels, header)
    tiles = []
    for box, seen in zip(header.tiles(), header.seen_tiles(), strict=True):
        whole = mask[seen.cells(1)].all()
        stream = b"" if whole else codec.tile_coder.encode(symbols, box, header.level)
        tiles.append(Tile(stream, drawn.encode(seen)))
    return pack(header, {}, tiles)


def main() -> None:
    coffee = Image.open(DATA / "coffee.png").convert("RGB")
    for name in sys.argv[1:]:
        folder, model = GOLDEN, str(DATA / "tiny.safetensors")
        if name == "context":
            folder, model = CONTEXT_GOLDEN, str(DATA / "tiny_context.safetensors")
        elif name in SHIPPED:
            folder, model = SHIPPED_GOLDEN, name
        codec = Codec.load(model, device="cpu")
        manifest_path = folder / "manifest.json"
        manifest = json.loads(manifest_path.read_text()) if manifest_path.exists() else {}
        width, height, mode, quality, tile = CASES.get(name, (250, 170, "RGB", 60, 2))
        image = coffee.resize((width, height), Image.Resampling.LANCZOS).convert(mode)
        image.info.clear()
        if name == "metadata":
            exif = Image.Exif()
            exif[ExifTags.Base.Artist] = "aecodec"
            image.info.update(icc_profile=b"an ICC profile", exif=exif.tobytes(), xmp=b"<x:xmpmeta/>")
        if name in ("alpha", "lossless"):
            image.putalpha(Image.radial_gradient("L").crop((0, 0, 150, 100)).point(lambda v: max(0, 255 - 2 * v)))
        if name == "constant_alpha":
            image.putalpha(128)
        if name == "density":
            image.info["dpi"] = (300, 72.009)
        goal = {"lossless": {"lossless": True}, "near_lossless": {"near_lossless": 2}}.get(name, {"quality": quality})
        if name == "drawn":
            data = drawn_beside(codec, image, quality, tile)
        else:
            data = codec.encode(image, **goal, tile=tile, verify=name == "digest")
        (folder / f"{name}.aec").write_bytes(data)
        Image.fromarray(np.asarray(codec.decode(data))).save(folder / f"{name}.png")
        manifest[name] = symbols_sha256(codec, data)
        manifest_path.write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
