"""The head of embeddings for the weights of a model: linear algebra on copies of pictures, a minute of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aecodec.errors import InputError
from aecodec.tasks.embedding import ENERGIES, MEANS, Cells, Head, energy, parts

DIMENSIONS = 128
_MEANS, _ENERGIES = 24, 96  # channels of the pyramids
_SHRINKAGE = 0.1  # of the covariance of copies, towards a multiple of the identity
_HELD_BACK = 5  # each fifth picture tells the threshold
_FALSE_ALARMS = 1e-4  # of pairs of different pictures
_FEWEST = 50  # pictures


def fit_head(model_id: int, groups: Iterable[Sequence[Cells]], sketch: NDArray[np.float16]) -> Head:
    """A head from pictures, each with at least one copy; sketch is from fit_sketch.

    The threshold is the similarity that one of 10,000 pairs of different pictures exceeds in any of their copies, among
    a fifth of the pictures by a head of the others. Raises InputError for less than 50 pictures.
    """
    pictures = list(groups)
    if len(pictures) < _FEWEST or any(len(copies) < 2 for copies in pictures):
        raise InputError(f"a head needs at least {_FEWEST} pictures with copies, got {len(pictures)}")
    trial = _fit(model_id, [one for at, one in enumerate(pictures) if at % _HELD_BACK], sketch)
    return replace(_fit(model_id, pictures, sketch), threshold=_rare(trial, pictures[::_HELD_BACK]))


def _rare(head: Head, pictures: Sequence[Sequence[Cells]]) -> float:
    vectors = [np.stack([head.project(head.describe(copy)) for copy in copies]) for copies in pictures]
    highest = [float((a @ b.T).max()) for at, a in enumerate(vectors) for b in vectors[:at]]
    return float(np.quantile(highest, 1 - _FALSE_ALARMS))


def _fit(model_id: int, pictures: Sequence[Sequence[Cells]], sketch: NDArray[np.float16]) -> Head:
    copies = [copy for one in pictures for copy in one]
    means = _principal(np.array([mean for copy in copies for mean in parts(copy.means, MEANS)]), _MEANS)
    energies = [energy(square) for copy in copies for square in parts(copy.squares, ENERGIES)]
    axes = _principal(np.array(energies), _ENERGIES)
    blank = Head(model_id, means, axes, np.zeros(0, np.float32), np.zeros((0, 0), np.float16), 1.0, sketch)
    features = [np.stack([blank.describe(copy) for copy in one]) for one in pictures]
    center = np.concatenate(features).mean(0)
    projection = _discriminants([one - center for one in features])
    return replace(blank, center=center, projection=projection)


def _principal(rows: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """[M, count]: the axes along which channels vary most, once each varies as much as the others."""
    deviation = rows.std(0) + 1e-6
    scaled = (rows - rows.mean(0)) / deviation
    _, axes = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    leading: NDArray[np.float32] = (axes[:, : -count - 1 : -1] / deviation[:, None]).astype(np.float32)
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
    scaled: NDArray[np.float16] = (projection / np.abs(projection).max()).astype(np.float16)
    return scaled
