"""Write what browsers need of weights, by receivers and encoders apart, and the list of it that src/core.js imports.

python receivers.py FOLDER NAME=WEIGHTS.safetensors...
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

ENCODER = ("network.g_a.", "network.h_a.", "network.g_s.")  # gradients go through the last one
KINDS: dict[str, Callable[[str], bool]] = {
    "receiver": lambda name: not name.startswith("network."),
    "networks": lambda name: name.startswith(ENCODER),
}


def part(path: Path, kind: str, wanted: Callable[[str], bool]) -> tuple[str, str, bytes]:
    """The digest of a weights file, that of a part of it, and the part (docs/format.md, section 5.1)."""
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in sorted(file.keys()) if wanted(name)}
    digest = hashlib.sha256((metadata["config"] + metadata["sha256"]).encode())
    for name, array in tensors.items():
        digest.update(f"{name} {array.dtype.str} {list(array.shape)}\n".encode() + array.tobytes())
    front = {"format": f"aecodec {kind} 1", "config": metadata["config"], "weights": metadata["sha256"], "planes": "1"}
    planes = {
        name: np.ascontiguousarray(array.reshape(-1).view(np.uint8).reshape(-1, array.itemsize).T)
        for name, array in tensors.items()
    }
    moved = {name: planes[name].reshape(-1).view(array.dtype).reshape(array.shape) for name, array in tensors.items()}
    return metadata["sha256"], digest.hexdigest(), save(moved, front | {"sha256": digest.hexdigest()})


def main(folder: Path, *models: str) -> None:
    listed = {}
    for name, path in (model.split("=", 1) for model in models):
        listing = {}
        for kind, wanted in KINDS.items():
            weights, digest, data = part(Path(path), kind, wanted)
            file = f"{name}.{kind}.gz"
            (folder / file).write_bytes(gzip.compress(data, 9, mtime=0))
            listing[kind] = {"file": file, "sha256": digest}
        model_id = int.from_bytes(bytes.fromhex(weights[:8]), "little")
        listed[f"{model_id:08x}"] = {"name": name, **listing}
    (folder / "models.js").write_text(f"export default {json.dumps(listed, indent=2)};\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
