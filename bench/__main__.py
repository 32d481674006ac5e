"""python -m bench COMMAND"""

from __future__ import annotations

import sys
from pathlib import Path

# Run from the project folder, `import aecodec` would find the sources there; what is measured is what is installed.
sys.path = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent.parent]

from bench.commands import main  # noqa: E402 - after the line above

main(prog_name="python -m bench")
