"""Where fuzz_weights begins: python tests/fuzz/seeds.py FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from native.building import smallest_weights

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
(folder / "smallest").write_bytes(smallest_weights())
