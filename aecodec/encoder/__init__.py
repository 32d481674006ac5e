"""Pixels to symbols: analysis, quantization, effort, targets. Nothing here is normative."""
