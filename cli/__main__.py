"""python -m aecodec.cli, which torchrun needs."""

from aecodec.cli.app import run

run()
