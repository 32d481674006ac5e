"""A process forked off one that has coded pictures: OpenMP's threads stay behind, and nothing may wait for them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support import DATA

# Every process ends by itself where something hangs. Two threads in the parent, whatever the machine has.
PROGRAM = """
import multiprocessing, os, signal, sys, threading, warnings
import numpy as np, torch
from aecodec import Codec

signal.alarm(100)
pixels = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
wide = np.zeros((64, 1100, 3), np.uint8)
batch = torch.from_numpy(pixels).permute(2, 0, 1)[None]
codecs = [Codec.load(sys.argv[1], "cpu", threads=threads) for threads in (None, 1, 2)]

def code(codec):
    files = [codec.encode(pixels), codec.encode(wide), *codec.encode_tensor(batch)]
    return files, [codec.decode(data).size for data in files], codec.decode_tensor(files[:1]).shape

def child(how):
    signal.alarm(60)
    return [results == code(codec) for codec in codecs] if how == "plain" else ways[how]()

def in_a_thread():
    found = []
    thread = threading.Thread(target=lambda: found.extend(child("plain")))
    thread.start()
    thread.join()
    return found

def after_more_threads_were_set():
    torch.set_num_threads(2)
    return child("plain")

ways = {way.__name__: way for way in (in_a_thread, after_more_threads_were_set)}

class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return 2
    def __getitem__(self, _):
        signal.alarm(60)
        return all(child("plain"))

assert torch.get_num_threads() == 2
torch.ones(500, 500) @ torch.ones(500, 500)  # whatever else a parent does
results = code(codecs[0])
with multiprocessing.get_context("fork").Pool(2) as pool:
    for how in ("plain", *ways):
        for found in pool.map(child, [how] * 2):
            assert found == [True] * 3, how
assert all(torch.utils.data.DataLoader(Pictures(), num_workers=2, multiprocessing_context="fork", batch_size=None))
assert code(codecs[0]) == results
"""


# The parent has this package and uses torch, and only the child has a picture.
FIRST_USE = """
import os, signal, sys
import aecodec, torch

signal.alarm(100)
assert torch.get_num_threads() == 2
torch.ones(500, 500) @ torch.ones(500, 500)
torch.ones(1_000_000).add_(1)
child = os.fork()
if not child:
    signal.alarm(60)
    import numpy as np
    codec = aecodec.Codec.load(sys.argv[1], "cpu")
    size = codec.decode(codec.encode(np.zeros((200, 300, 3), np.uint8))).size
    os._exit(size != (300, 200))
_, status = os.waitpid(child, 0)
sys.exit(bool(status))
"""

# Another thread of the parent has just begun to compute what is kept.
WHILE_LOADING = """
import os, signal, sys, threading
from pathlib import Path
from aecodec import weights
from aecodec.weights import Weights

signal.alarm(100)
inside, leave, tensors = threading.Event(), threading.Event(), Weights.tensors

def waiting(self):
    inside.set()
    leave.wait()
    return tensors(self)

Weights.tensors = waiting
thread = threading.Thread(target=weights.load, args=[Path(sys.argv[1])])
thread.start()
inside.wait()
Weights.tensors = tensors
child = os.fork()
if not child:
    signal.alarm(60)
    os._exit(weights.load(Path(sys.argv[1])).config["N"] != 16)
_, status = os.waitpid(child, 0)
leave.set()
thread.join()
sys.exit(bool(status))
"""


def run(program: str) -> None:
    command = [sys.executable, "-P", "-W", "error", "-c", program, str(DATA / "tiny.safetensors")]
    done = subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_processes_code_pictures() -> None:
    run(PROGRAM)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_codes_where_the_parent_has_coded_nothing() -> None:
    run(FIRST_USE)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_forked_while_another_thread_loads_weights_can_load_some() -> None:
    run(WHILE_LOADING)
