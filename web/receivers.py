"""Write what browsers need of weights, and the list of it that src/core.js imports.

python receivers.py FOLDER NAME=WEIGHTS.safetensors...
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save


def receiver(path: Path) -> tuple[str, str, bytes]:
    """The digest of a weights file, that of its receiver, and the receiver (docs/format.md, section 5.1)."""
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in sorted(file.keys()) if not name.startswith("network.")}
    digest = hashlib.sha256((metadata["config"] + metadata["sha256"]).encode())
    for name, array in tensors.items():
        digest.update(f"{name} {array.dtype.str} {list(array.shape)}\n".encode() + array.tobytes())
    front = {"format": "aecodec receiver 1", "config": metadata["config"], "weights": metadata["sha256"], "planes": "1"}
    planes = {
        name: np.ascontiguousarray(array.reshape(-1).view(np.uint8).reshape(-1, array.itemsize).T)
        for name, array in tensors.items()
    }
    moved = {name: planes[name].reshape(-1).view(array.dtype).reshape(array.shape) for name, array in tensors.items()}
    return metadata["sha256"], digest.hexdigest(), save(moved, front | {"sha256": digest.hexdigest()})


def main(folder: Path, *models: str) -> None:
    listed = {}
    for name, path in (model.split("=", 1) for model in models):
        weights, digest, data = receiver(Path(path))
        (folder / f"{name}.receiver.gz").write_bytes(gzip.compress(data, 9, mtime=0))
        model_id = int.from_bytes(bytes.fromhex(weights[:8]), "little")
        listed[f"{model_id:08x}"] = {"file": f"{name}.receiver.gz", "sha256": digest}
    (folder / "models.js").write_text(f"export default {json.dumps(listed, indent=2)};\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
