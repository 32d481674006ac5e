"""Training: data, objective, loop and export. The only part of aecodec that needs CompressAI."""

from aecodec.train.export import export_run
from aecodec.train.loop import Budget, TrainConfig, train_model

__all__ = ["Budget", "TrainConfig", "export_run", "train_model"]
