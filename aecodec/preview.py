"""Reduced pictures straight from the features: the renderer of model.Synthesis with its last layer averaged."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from aecodec.model import Synthesis

_SIDE = 4  # pixels per position of the renderer, in each direction


def render_reduced(g_s: Synthesis, latent: Tensor, body: Tensor, factor: int) -> Tensor:
    """g_s.render averaged over factor x factor pixels, factor 1, 2, 4 or 8, at less cost.

    The last layer is linear, so averaging its weights averages its pixels.
    """
    if factor == 1:
        return g_s.render(latent, body)
    pooled = min(factor, _SIDE)
    side = _SIDE // pooled
    weight = g_s.leave.weight.view(3, side, pooled, side, pooled, -1).mean((2, 4)).flatten(0, 2)
    bias = g_s.leave.bias.view(3, side, pooled, side, pooled).mean((2, 4)).flatten()
    pixels = F.pixel_shuffle(F.conv2d(g_s.hidden(latent, body), weight[:, :, None, None], bias), side) + 0.5
    return F.avg_pool2d(pixels, factor // pooled) if factor > pooled else pixels
