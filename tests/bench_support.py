"""The benchmark commands, run in this process."""

from __future__ import annotations

import sys
from pathlib import Path

from click.testing import CliRunner, Result

import aecodec  # noqa: F401 - the installed one, before the project folder can be searched

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT))  # bench is never installed


def bench(*arguments: object) -> Result:
    from bench.commands import main

    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
