"""How well copies of pictures are found again, beside PCA of pixels; and the head that finds them."""

from __future__ import annotations

import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aecodec import Codec, InputError
from aecodec.tasks import Embedder
from aecodec.tasks.embedding import Cells
from aecodec.tasks.fit import DIMENSIONS, fit_head
from aecodec.tasks.sketch import fit_sketch

_PIXELS = (8, 16, 32)  # sides of the thumbnails of the peer
_SEED = 1
_SKETCHED = 4  # of so many pictures one is coded to fit the matrix to
Copy = Callable[[Image.Image, np.random.Generator], Image.Image]


class Member(NamedTuple):
    """A picture in a tar file."""

    shard: Path
    name: str

    @property
    def photo(self) -> str:
        """What several crops of one photograph share."""
        return self.name.split("_")[0]


def recompressed(image: Image.Image, _: np.random.Generator) -> Image.Image:
    file = BytesIO()
    image.save(file, "JPEG", quality=30)
    return Image.open(file).convert("RGB")


def resized(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    scale = 2 ** rng.uniform(-1, 1)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)


def cut(image: Image.Image, rng: np.random.Generator, share: float = 0.8) -> Image.Image:
    """A share of both sides, somewhere."""
    width, height = round(share * image.width), round(share * image.height)
    left, top = rng.integers(0, image.width - width + 1), rng.integers(0, image.height - height + 1)
    return image.crop((left, top, left + width, top + height))


KINDS: dict[str, Copy] = {"JPEG 30": recompressed, "resized 0.5-2x": resized, "cropped 80 %": cut}


def split(shards: Sequence[Path], count: int) -> tuple[list[Member], list[Member]]:
    """Pictures to search, and others to fit to; all crops of a photograph are among the same."""
    found = []
    for shard in shards:
        with tarfile.open(shard) as tar:
            found += [Member(shard, name) for name in sorted(tar.getnames()) if not name.endswith(".tsv")]
    photos = sorted({member.photo for member in found})
    np.random.default_rng(_SEED).shuffle(photos)
    order = {photo: place for place, photo in enumerate(photos)}
    found.sort(key=lambda member: (order[member.photo], member.name))
    if len(found) <= count:
        raise InputError(f"{len(found)} pictures are too few to search {count} and fit to others")
    searched = found[:count]
    return searched, [member for member in found[count:] if member.photo != searched[-1].photo]


def read(members: Sequence[Member]) -> Iterator[Image.Image]:
    tars = {shard: tarfile.open(shard) for shard in {member.shard for member in members}}  # noqa: SIM115 - all at once
    for member in members:
        file = tars[member.shard].extractfile(member.name)
        assert file is not None
        yield Image.open(BytesIO(file.read())).convert("RGB")


def fit(shards: Sequence[Path], model: str, out: Path, count: int) -> None:
    """Write the head of a model, from what is left of the pictures when count are kept to be searched."""
    codec = Codec.load(model, "cpu", threads=1)
    _, members = split(shards, count)
    rng = np.random.default_rng(_SEED)
    groups = []
    for image in read(members):
        copies = [copy(image, rng) for copy in KINDS.values()] + [cut(image, rng, rng.uniform(0.75, 0.95))]
        groups.append([Cells.of(codec, one) for one in (image, *copies)])
    head = fit_head(codec.weights.model_id, groups, fit_sketch(codec, read(members[::_SKETCHED])))
    head.save(out)
    print(
        f"{out}: head {head.head_id:08x} from {len(groups)} pictures, {out.stat().st_size / 1e3:.0f} kB, "
        f"threshold {head.threshold:.3f}"
    )


def measure(shards: Sequence[Path], model: str, count: int, queries: int, effort: int) -> None:
    """Print how often a copy's most similar picture is its own, for each kind of copy, and how quick embeddings are.

    Pictures and copies are .aec files of the default quality, and vectors are made of their bytes. The peer is PCA of
    small pictures, fitted to the same pictures as the head, with as many dimensions.
    """
    codec, embedder = Codec.load(model, "cpu"), Embedder.load(model, threads=1)
    searched, others = split(shards, count)
    rng = np.random.default_rng(_SEED)
    small = [[_pixels(image, side) for side in _PIXELS] for image in read(others)]
    peers = {f"PCA of {side}x{side} pixels": Pca([row[at] for row in small], side) for at, side in enumerate(_PIXELS)}
    names = ["aecodec", *peers]
    vectors: dict[str, dict[str, list[NDArray[np.float32]]]] = {
        kind: {name: [] for name in names} for kind in ("", *KINDS)
    }
    owners: dict[str, list[int]] = {kind: [] for kind in KINDS}
    watch = Watch()

    def add(kind: str, image: Image.Image) -> None:
        data = codec.encode(image, effort=effort)
        with watch.of(image.width * image.height):
            vectors[kind]["aecodec"].append(embedder.see(data).vector)
        shown = codec.decode(data)
        for name, peer in peers.items():
            vectors[kind][name].append(peer.project(_pixels(shown, peer.side)))

    for at, image in enumerate(read(searched)):
        add("", image)
        if at % max(1, count // queries) == 0:
            for kind, copy in KINDS.items():
                add(kind, copy(image, rng))
                owners[kind].append(at)
    print(f"Recall@1 among {count} pictures, {len(owners['JPEG 30'])} copies of each kind, model {model}:")
    print("| | dimensions | " + " | ".join(KINDS) + " |")
    print("|---|" + "---|" * (len(KINDS) + 1))
    for name in names:
        known = np.stack(vectors[""][name])
        found = [np.mean((np.stack(vectors[kind][name]) @ known.T).argmax(1) == owners[kind]) for kind in KINDS]
        print(f"| {name} | {known.shape[1]} | " + " | ".join(f"{share:.3f}" for share in found) + " |")
    print(f"embeddings of .aec files: {watch.pixels / watch.seconds / 1e6:.1f} MP/s with one thread")
    own = np.stack(vectors[""]["aecodec"])
    for kind in KINDS:
        rows = np.stack(vectors[kind]["aecodec"])
        same = (rows * own[owners[kind]]).sum(1)
        print(
            f"{kind}: {100 * np.mean(same >= embedder.threshold):.1f} % above the threshold of {embedder.threshold:.3f}"
        )
    _, by_photo = np.unique([member.photo for member in searched], return_inverse=True)
    apart = by_photo[:, None] != by_photo[None]
    wrong = np.triu((own @ own.T >= embedder.threshold) & apart, 1).sum()
    print(f"{wrong} of {np.triu(apart, 1).sum()} pairs of other photographs above it")


class Watch:
    """Seconds and pixels of what is timed."""

    def __init__(self) -> None:
        self.seconds, self.pixels = 0.0, 0

    @contextmanager
    def of(self, pixels: int) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started
        self.pixels += pixels


class Pca:
    """The peer: principal components of pixels."""

    def __init__(self, rows: Sequence[NDArray[np.float32]], side: int) -> None:
        self.side = side
        self.mean = np.mean(rows, axis=0)
        self.axes = np.linalg.svd(np.stack(rows) - self.mean, full_matrices=False)[2][:DIMENSIONS]

    def project(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """[d], of unit length."""
        vector: NDArray[np.float32] = self.axes @ (pixels - self.mean)
        return vector / max(float(np.linalg.norm(vector)), 1e-12)


def _pixels(image: Image.Image, side: int) -> NDArray[np.float32]:
    small = image.convert("RGB").resize((side, side), Image.Resampling.BOX)
    return np.asarray(small, np.float32).ravel() / 255
