"""Symbols to pixels: whole pictures, regions, reduced sizes."""
