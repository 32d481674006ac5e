"""python -m bench COMMAND"""

from __future__ import annotations

import sys
from pathlib import Path

# Run from the project folder, `import aecodec` would find the sources there; what is measured is what is installed.
sys.path = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent.parent]

try:
    from bench.commands import main

    main(prog_name="python -m bench")
except ModuleNotFoundError as error:
    sys.exit(f"Error: python -m bench needs the package {error.name}: pip install '.[bench]'")
