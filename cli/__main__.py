"""python -m aecodec.cli, which torchrun needs."""

from aecodec.cli.app import main

main(prog_name="aecodec")
