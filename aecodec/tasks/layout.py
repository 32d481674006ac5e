"""Vectors to places on a map."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from aecodec.errors import InputError

METHODS = ("auto", "pca", "tsne", "umap")
_FEWEST = 5  # pictures that t-SNE and UMAP can tell neighbors of
_NEIGHBORS = 15


def lay_out(vectors: NDArray[np.float32], method: str = "auto", *, seed: int = 0) -> NDArray[np.float32]:
    """Places [n, 2], 0..1, of vectors [n, d]: what is alike is near.

    method is pca (numpy alone), tsne (scikit-learn), umap (umap-learn) or auto: tsne where it is installed, else pca.
    Fewer than 5 vectors are laid out by pca. The same seed gives the same map on the same machine.
    Raises InputError for another method, and where its package is missing.
    """
    if method not in METHODS:
        raise InputError(f"method must be {', '.join(METHODS)}, got {method}")
    if method == "auto":
        method = "tsne" if find_spec("sklearn") else "pca"
    if not len(vectors):
        return np.empty((0, 2), np.float32)
    if len(vectors) < _FEWEST:
        method = "pca"
    places = _LAYOUTS[method](vectors, seed)
    low, high = places.min(0), places.max(0)
    shown: NDArray[np.float32] = np.where(high > low, (places - low) / np.maximum(high - low, 1e-12), 0.5)
    return shown.astype(np.float32)


def _pca(vectors: NDArray[np.float32], __: int) -> NDArray[np.float32]:
    centered = vectors - vectors.mean(0)
    _, axes = np.linalg.eigh(centered.T @ centered)  # by growing variance
    places: NDArray[np.float32] = centered @ axes[:, :-3:-1]
    return places


def _tsne(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    with _needing("sklearn", "t-SNE", "scikit-learn"):
        from sklearn.manifold import TSNE
    perplexity = min(2 * _NEIGHBORS, (len(vectors) - 1) / 3)
    places: NDArray[np.float32] = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors)
    return places


def _umap(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    with _needing("umap", "UMAP", "umap-learn"):
        from umap import UMAP
    neighbors = min(_NEIGHBORS, len(vectors) - 1)
    init = "spectral" if len(vectors) > 2 * _NEIGHBORS else "random"
    made = UMAP(n_neighbors=neighbors, metric="cosine", init=init, random_state=seed, n_jobs=1)
    places: NDArray[np.float32] = made.fit_transform(vectors)
    return places


@contextmanager
def _needing(module: str, what: str, package: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != module:
            raise
        message = f"{what} needs {package}, which is not installed: pip install {package}, or take pca"
        raise InputError(message) from error


_LAYOUTS = {"pca": _pca, "tsne": _tsne, "umap": _umap}
