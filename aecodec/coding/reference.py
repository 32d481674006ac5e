"""The one place that imports CompressAI: its entropy models, which training uses, and its coder, the reference of ours.

CompressAI imports torchvision. Beside a torch build for another device torchvision's compiled operators are missing,
and its Python part stops at the schemas of nms and qnms; declaring these two is enough, nothing here calls them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aecodec.coding.tables import TableSet
from aecodec.device import needing
from aecodec.errors import InputError

with needing("torch", "train"):
    import torch


def _declare_torchvision_schemas() -> torch.library.Library | None:
    try:
        import torchvision  # noqa: F401 - only whether it can be imported
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    except ImportError:
        return None
    return None


_schemas = _declare_torchvision_schemas()  # they live as long as this object

try:
    from compressai import ans
    from compressai.entropy_models import EntropyBottleneck, GaussianConditional
    from compressai.entropy_models.entropy_models import pmf_to_quantized_cdf
except ImportError as error:
    raise InputError(f"this needs CompressAI (pip install 'aecodec[train]'): {error}") from error

__all__ = ["EntropyBottleneck", "GaussianConditional", "ans", "encode_symbols", "pmf_to_quantized_cdf"]


def encode_symbols(symbols: NDArray[np.int16], indexes: NDArray[np.uint16], tables: TableSet) -> bytes:
    """entropy.encode_symbols by CompressAI's own coder, which needs Python lists and at least 2 symbols."""
    rows = np.split(tables.cumulative, np.cumsum(tables.lengths)[:-1])
    stream: bytes = ans.RansEncoder().encode_with_indexes(
        symbols.tolist(),
        indexes.tolist(),
        [row.tolist() for row in rows],
        tables.lengths.tolist(),
        tables.offsets.tolist(),
    )
    return stream
