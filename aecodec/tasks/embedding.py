"""Pictures to vectors that copies share: recompressed, resized or cut ones.

A small copy of the picture, always of the same size, goes through the encoder's first network. What that makes, y, is
what a .aec file codes, so nothing here has to be trained but a projection: means of y and of its energy over a spatial
pyramid (Lazebnik et al. 2006), whitened by how copies of training pictures differ from each other (linear
discriminants, Fisher 1936). The symbols of a file are on a grid that is fixed to its pixels, and those of a resized
copy on another one: hence the small copy. Of a .aec file it is made by a matrix (sketch.py), not by its decoder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from aecodec import weights
from aecodec.codec import Codec
from aecodec.errors import InputError
from aecodec.forked import computed_once
from aecodec.format.container import DEFAULT_QUALITY, MAX_PIXELS, Header, quality_level
from aecodec.tasks.index import Entry, Index
from aecodec.tasks.pictures import Reader, Source, checked, each
from aecodec.tasks.sketch import SketchCodec
from aecodec.workers import Workers

SIDE = 256  # pixels of what the network sees
CELLS = 4  # per side, of which the pyramids are made
MEANS, ENERGIES = (
    ((4, 4), (2, 2)),
    ((4, 4), (2, 1)),
)  # of each level: the side of a part in cells, and the way to the next
THUMBNAIL = 96  # pixels of the longer side
_FORMAT = "aecodec embedding 1"
_COMPARED = ("means", "energies", "center", "projection")  # by which vectors of two heads are comparable or not
_ARRAYS = (*_COMPARED, "threshold", "sketch")


class Seen(NamedTuple):
    """What an embedder finds of a picture."""

    vector: NDArray[np.float32]  # [d], of unit length
    thumbnail: Image.Image  # RGB, at most THUMBNAIL pixels per side


class Cells(NamedTuple):
    """Means over cells of a picture, all that is asked of y."""

    means: NDArray[np.float32]  # [CELLS, CELLS, M]: of y
    squares: NDArray[np.float32]  # [CELLS, CELLS, M]: of its squares

    @classmethod
    def of(cls, codec: Codec, image: Image.Image) -> Cells:
        """Those of a picture of any size, RGB."""
        square = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        header = Header(SIDE, SIDE, quality_level(DEFAULT_QUALITY), codec.weights.model_id)
        y = codec.transform.analyze(np.asarray(square), header.padded, header)
        split = y.reshape(CELLS, len(y) // CELLS, CELLS, len(y) // CELLS, -1)
        return cls(split.mean((1, 3)), np.square(split).mean((1, 3)))


def parts(cells: NDArray[np.float32], levels: Iterable[tuple[int, int]]) -> Iterator[NDArray[np.float32]]:
    """Means [M] of the parts of each level, row by row, of cells [CELLS, CELLS, M]."""
    for side, way in levels:
        corners = range(0, CELLS - side + 1, way)
        for top in corners:
            for left in corners:
                yield cells[top : top + side, left : left + side].mean((0, 1))


def energy(squares: NDArray[np.float32]) -> NDArray[np.float32]:
    """The square root of a root mean square: strong channels would drown the others."""
    root: NDArray[np.float32] = np.sqrt(np.sqrt(squares))
    return root


@dataclass(frozen=True)
class Head:
    """What y of a small picture becomes; fitted by `python -m bench fit-search` for the weights of one model."""

    model_id: int
    means: NDArray[np.float32]  # [M, c]: from channels of y to those of the pyramid of means
    energies: NDArray[np.float32]  # [M, e]: likewise of energies
    center: NDArray[np.float32]  # [F]
    projection: NDArray[np.float16]  # [F, d]
    threshold: float  # similarity from which pictures count as copies
    sketch: NDArray[np.float16]  # [M + 1, 8 * 8 * 3]: from y_hat to small pictures

    def describe(self, cells: Cells) -> NDArray[np.float32]:
        """[F]: the pyramids."""
        means = [mean @ self.means for mean in parts(cells.means, MEANS)]
        energies = [energy(square) @ self.energies for square in parts(cells.squares, ENERGIES)]
        return np.concatenate([part.ravel() for part in (*means, *energies)])

    def project(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vectors [..., d] of features [..., F]."""
        vectors: NDArray[np.float32] = (features - self.center) @ self.projection.astype(np.float32)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
        return vectors

    @computed_once
    def head_id(self) -> int:
        """What an index carries: vectors of one head are comparable, and with nothing else."""
        digest = hashlib.sha256(f"{_FORMAT} {self.model_id:08x}".encode())
        for name in _COMPARED:
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return int.from_bytes(digest.digest()[:4], "little")

    def save(self, path: Path) -> None:
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in (*_COMPARED, "sketch")}
        arrays["threshold"] = np.array([self.threshold], np.float32)
        path.write_bytes(save(arrays, {"format": _FORMAT, "model_id": f"{self.model_id:08x}"}))

    @classmethod
    def load(cls, path: Path) -> Head:
        """Raises InputError for what save has not written."""
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in _ARRAYS}
            if metadata.get("format") != _FORMAT:
                raise InputError(f"{path} is not a head: its format is {metadata.get('format')}, not {_FORMAT}")
            return cls(int(metadata["model_id"], 16), **arrays | {"threshold": float(arrays["threshold"][0])})
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise InputError(f"{path} is not a head of embeddings: {error}") from error


class Embedder:
    """Makes vectors of pictures. Reusable and safe to share between threads."""

    def __init__(self, codec: Codec, head: Head, *, threads: int | None = None, max_pixels: int = MAX_PIXELS) -> None:
        """codec runs one thread; threads is how many pictures are worked on at once, 1..1024.

        Raises InputError for a head of another model.
        """
        if head.model_id != codec.weights.model_id:
            raise InputError(f"head is for model {head.model_id:08x}, not {codec.weights.model_id:08x}")
        self.codec = codec
        self.head = head
        self.workers = Workers(threads)
        self.reader = Reader(SketchCodec(codec, head.sketch), max_pixels)

    @classmethod
    def load(
        cls, model: str = weights.DEFAULT_MODEL, *, threads: int | None = None, max_pixels: int = MAX_PIXELS
    ) -> Embedder:
        """The embedder of a shipped model, by name. Raises InputError for another name or number of threads."""
        if model not in weights.SHIPPED:
            raise InputError(f"model must be {' or '.join(weights.SHIPPED)}, got {model}")
        codec = Codec.load(model, "cpu", threads=1)
        return cls(codec, Head.load(head_path(model)), threads=threads, max_pixels=max_pixels)

    @classmethod
    def load_for(cls, head_id: int, *, threads: int | None = None, max_pixels: int = MAX_PIXELS) -> Embedder:
        """The embedder that an index needs. Raises InputError, naming both sides, where there is none."""
        heads = {Head.load(head_path(name)).head_id: name for name in weights.SHIPPED}
        if head_id not in heads:
            present = ", ".join(f"{one:08x}" for one in heads)
            raise InputError(f"index needs head {head_id:08x}, present: {present}: embed the pictures again")
        return cls.load(heads[head_id], threads=threads, max_pixels=max_pixels)

    @property
    def head_id(self) -> int:
        return self.head.head_id

    @property
    def threshold(self) -> float:
        """Similarity from which pictures count as copies of each other."""
        return self.head.threshold

    def index(self, vectors: Mapping[Entry, NDArray[np.float32]]) -> Index:
        """An index of vectors of this embedder."""
        d = self.head.projection.shape[1]
        return Index(self.head_id, list(vectors), np.array(list(vectors.values()), np.float32).reshape(-1, d))

    def embed(self, sources: Iterable[Source]) -> NDArray[np.float32]:
        """Unit vectors [n, d] of pictures: paths, bytes of files, PIL images or arrays.

        Raises the first error, with the path: InputError for what cannot be read, FormatError and UnsupportedError for
        .aec files as decode.
        """
        rows = []
        for seen in self.look(checked(sources)):
            if isinstance(seen, Exception):
                raise seen
            rows.append(seen.vector)
        return np.array(rows, np.float32).reshape(-1, self.head.projection.shape[1])

    def look(self, sources: Iterable[Source]) -> Iterator[Seen | Exception]:
        """What is seen of each picture, in their order, or the error that embed would raise."""
        return each(self.see, sources, self.workers.count)

    def see(self, source: Source) -> Seen:
        """What is seen of one picture. Raises as embed."""
        small = self.read_small(source)
        vector = self.head.project(self.head.describe(Cells.of(self.codec, small)))
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        return Seen(vector, small)

    def read_small(self, source: Source) -> Image.Image:
        """A picture as a viewer shows it, RGB, with sides from SIDE pixels on where it has them: large ones reduced."""
        image = self.reader.read(source, SIDE)
        factor = min(image.size) // SIDE
        return image.reduce(factor) if factor > 1 else image


def head_path(model: str) -> Path:
    """Where the head of a shipped model is."""
    return Path(str(resources.files("aecodec") / "data" / f"search-{model}.safetensors"))


def embed(
    files: Iterable[Source],
    *,
    model: str = weights.DEFAULT_MODEL,
    threads: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[np.float32]:
    """Unit vectors [n, d] of pictures, whose products are similarities: copies of a picture have nearly the same.

    files are paths, bytes of files (.aec or any image format), PIL images or uint8 arrays. model is m or s: vectors of
    different models do not mix. threads is how many pictures are worked on at once, by default one per CPU core.
    Pictures of more than max_pixels are refused. Raises InputError for what cannot be read or used, FormatError and
    UnsupportedError for .aec files as aecodec.decode.
    """
    return Embedder.load(model, threads=threads, max_pixels=max_pixels).embed(files)
