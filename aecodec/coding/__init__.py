"""Integers to bytes and back: tables, prior, entropy coder. What encoder and decoder must agree on, bit for bit."""
