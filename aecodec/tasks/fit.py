"""The head of embeddings for the weights of a model: linear algebra on copies of pictures, a minute of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aecodec.errors import InputError
from aecodec.tasks.embedding import ENERGIES, MEANS, Head, cells

DIMENSIONS = 256
_CHANNELS = 48  # of each pyramid, of M
_SHRINKAGE = 0.1  # of the covariance of copies, towards a multiple of the identity
_HELD_BACK = 5  # each fifth picture tells the threshold
_FEWEST = 50  # pictures


class Pooled(NamedTuple):
    """What of y [h, w, M] is kept to fit: its finest cells."""

    means: NDArray[np.float32]  # [4, 4, M]
    squares: NDArray[np.float32]  # [2, 2, M]

    @classmethod
    def of(cls, y: NDArray[np.float32]) -> Pooled:
        return cls(cells(y, max(MEANS)), cells(np.square(y), max(ENERGIES)))


def fit_head(model_id: int, groups: Iterable[Sequence[Pooled]]) -> Head:
    """A head from pictures, each with at least one copy. The threshold is told by a fifth of them, which are not fitted.

    It is the highest similarity among those that are no copies. Raises InputError for less than 50 pictures.
    """
    pictures = list(groups)
    if len(pictures) < _FEWEST or any(len(copies) < 2 for copies in pictures):
        raise InputError(f"a head needs at least {_FEWEST} pictures with copies, got {len(pictures)}")
    trial = _fit(model_id, [one for at, one in enumerate(pictures) if at % _HELD_BACK], 1.0)
    return _fit(model_id, pictures, _highest_by_chance(trial, pictures[::_HELD_BACK]))


def _highest_by_chance(head: Head, pictures: Sequence[Sequence[Pooled]]) -> float:
    vectors = [np.stack([head.project(head.pyramids(*copy)) for copy in copies]) for copies in pictures]
    return max(float((a @ b.T).max()) for at, a in enumerate(vectors) for b in vectors[:at])


def _fit(model_id: int, pictures: Sequence[Sequence[Pooled]], threshold: float) -> Head:
    means = _principal(
        np.concatenate([copy.means.reshape(-1, copy.means.shape[-1]) for one in pictures for copy in one])
    )
    roots = [np.sqrt(copy.squares).reshape(-1, copy.squares.shape[-1]) for one in pictures for copy in one]
    energies = _principal(np.concatenate(roots))
    blank = Head(model_id, means, energies, np.zeros(0, np.float32), np.zeros((0, 0), np.float16), threshold)
    features = [np.stack([blank.pyramids(*copy) for copy in one]) for one in pictures]
    center = np.concatenate(features).mean(0)
    projection = _discriminants([one - center for one in features])
    return Head(model_id, means, energies, center, projection, threshold)


def _principal(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """[M, c]: the axes along which channels vary most, once each varies as much as the others."""
    deviation = rows.std(0) + 1e-6
    scaled = (rows - rows.mean(0)) / deviation
    _, axes = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    leading: NDArray[np.float32] = (axes[:, : -_CHANNELS - 1 : -1] / deviation[:, None]).astype(np.float32)
    return leading


def _discriminants(pictures: Sequence[NDArray[np.float32]]) -> NDArray[np.float16]:
    """[F, d]: where pictures differ most, in units of how copies differ."""
    centers = np.stack([copies.mean(0) for copies in pictures]).astype(np.float64)
    apart = np.concatenate([copies - copies.mean(0) for copies in pictures]).astype(np.float64)
    within, between = apart.T @ apart / len(apart), centers.T @ centers / len(centers)
    F = len(within)
    within += _SHRINKAGE * np.trace(within) / F * np.eye(F)
    variances, axes = np.linalg.eigh(within)
    whitening = axes / np.sqrt(variances)
    ratios, turned = np.linalg.eigh(whitening.T @ between @ whitening)
    best = slice(None, -min(DIMENSIONS, F) - 1, -1)
    worth = np.sqrt(np.maximum(ratios[best], 0) / (1 + np.maximum(ratios[best], 0)))
    projection = whitening @ turned[:, best] * worth
    return (projection / np.abs(projection).max()).astype(np.float16)
