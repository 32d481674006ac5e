"""Where fuzzing begins: python tests/fuzz/seeds.py FOLDER writes weights for fuzz_decode, a seed for fuzz_weights."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from native.building import smallest_weights, weights_file

folder = Path(sys.argv[1])
(folder / "weights").mkdir(parents=True, exist_ok=True)
(folder / "tiny.safetensors").write_bytes(weights_file())
(folder / "weights" / "smallest").write_bytes(smallest_weights())
