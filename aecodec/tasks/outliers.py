"""The Gaussian part of AnomalyDetector for vectors of any kind, as scikit-learn has outlier detectors; needs it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from aecodec.errors import InputError
from aecodec.tasks.anomaly import Gaussian


class GaussianOutliers(OutlierMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """Rows [n, d] that are far from the mean of others, in units of their covariance (Mahalanobis 1936).

    false_alarms, 0..0.5, is the share of the fitted rows that predict calls outliers; shrinkage, 0..1, that of
    correlations, towards none.
    """

    def __init__(self, false_alarms: float = 0.05, shrinkage: float = 1e-3) -> None:
        self.false_alarms = false_alarms
        self.shrinkage = shrinkage

    def fit(self, X: ArrayLike, y: object = None) -> GaussianOutliers:  # noqa: ARG002 - scikit-learn's
        """Learn rows, at least 2. Raises ValueError (InputError for a parameter) for what cannot be learned from."""
        if not 0 < self.false_alarms <= 0.5:
            raise InputError(f"false_alarms must be above 0 and at most 0.5, got {self.false_alarms}")
        if not 0 <= self.shrinkage <= 1:
            raise InputError(f"shrinkage must be 0..1, got {self.shrinkage}")
        rows = self._rows(X, reset=True, ensure_min_samples=2)
        self.gaussian_ = Gaussian.fit(rows, self.shrinkage)
        self.offset_ = float(np.quantile(self.score_samples(X), self.false_alarms))
        return self

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """How normal each row is, [n], the higher the more: less its distance. Raises as fit, NotFittedError before."""
        check_is_fitted(self)
        return -self.gaussian_.distance(self._rows(X, reset=False)).astype(np.float64)

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """score_samples less offset_: negative for outliers. Raises likewise."""
        scores = self.score_samples(X)
        return scores - self.offset_

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """1 for each normal row, -1 for an outlier, [n]. Raises likewise."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def _rows(self, X: ArrayLike, **options: Any) -> NDArray[np.float64]:
        rows: NDArray[np.float64] = validate_data(self, X, dtype=np.float64, **options)
        return rows
