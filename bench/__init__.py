"""Benchmarks: measured on real files, never installed."""
