"""Coding is float32 whatever a caller has set in torch, and what a caller has set stays."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support import DATA

from aecodec import Codec, isolation
from aecodec.networks.model import Autoencoder

TINY = DATA / "tiny.safetensors"
HAS_PARTS = hasattr(torch.backends.cudnn, "conv")  # torch 2.9: a precision for each operation


def settings() -> dict[str, Any]:
    """What torch has for the whole process and for the thread that asks."""
    cudnn = torch.backends.cudnn
    found = {
        "deterministic": cudnn.deterministic,
        "benchmark": cudnn.benchmark,
        "cudnn": cudnn.enabled,
        "threads": torch.get_num_threads(),
        "threads of new ones": elsewhere(torch.get_num_threads),
        "gradients": torch.is_grad_enabled(),
        "type": torch.get_default_dtype(),
    }
    if not HAS_PARTS:
        return {**found, "matmul": torch.get_float32_matmul_precision(), "tf32": cudnn.allow_tf32}
    return {**found, **precisions()}


def elsewhere(work: Callable[[], int]) -> int:
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


@pytest.fixture(params=[1, 2, None])
def threaded(request: pytest.FixtureRequest) -> Codec:
    return Codec.load(TINY, device="cpu", threads=request.param, backend="float")


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_settings_of_torch_are_the_callers_afterwards(threaded: Codec) -> None:
    """Two areas, so that threads of a pool come and go; all that they might switch is set."""
    pixels = np.zeros((64, 1100, 3), np.uint8)
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=True, allow_tf32=True):
        before = settings()
        for _ in range(3):
            threaded.decode(threaded.encode(pixels))
        assert settings() == before


@pytest.mark.usefixtures("three_threads")
def test_new_threads_begin_with_what_the_caller_has_set_while_pictures_are_coded() -> None:
    seen = []
    single = Codec.load(TINY, device="cpu", threads=1, backend="float")
    single.encode(
        np.zeros((80, 96, 3), np.uint8),
        effort=4,
        progress=lambda _: seen.append((torch.get_num_threads(), elsewhere(torch.get_num_threads))),
    )
    assert set(seen) == {(1, 3)}
    assert torch.get_num_threads() == 3


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


@contextmanager
def all_in_bfloat16() -> Iterator[None]:
    backends: Any = torch.backends
    backends.fp32_precision = "bf16"
    try:
        yield
    finally:
        backends.fp32_precision = "none"


@contextmanager
def default_type(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


CONTEXTS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "matmul high": lambda: matmul_precision("high"),
    "matmul medium": lambda: matmul_precision("medium"),
    "float64": lambda: default_type(torch.float64),
    "float16": lambda: default_type(torch.float16),
    "device": lambda: torch.device("meta"),
    "inference": torch.inference_mode,
    **({"bf16": all_in_bfloat16} if HAS_PARTS else {}),
}


def everything(codec: Codec, pixels: NDArray[np.uint8]) -> list[bytes]:
    """What every way to code gives."""
    batch = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
    files = [codec.encode(pixels), codec.encode(pixels, effort=4), codec.encode(pixels, psnr=13.65)]
    files += codec.encode_tensor(batch)
    pictures = [codec.decode(data).tobytes() for data in files]
    index = codec.weights.prior.table_index(np.full((codec.weights.prior.N, 2, 3), 77, np.int8), 5000)
    return [*files, *pictures, codec.decode_tensor(files).numpy().tobytes(), index.tobytes()]


@pytest.mark.parametrize("backend", ["exact", "float"])
@pytest.mark.parametrize("name", CONTEXTS)
def test_nothing_around_a_call_changes_files_or_pixels(
    name: str, backend: str, random_pixels: NDArray[np.uint8]
) -> None:
    """Neither around the call nor around the loading of the weights."""
    here = Codec.load(TINY, device="cpu", backend=backend)
    expected = everything(here, random_pixels)
    with CONTEXTS[name]():
        inside = settings()
        there = Codec.load(TINY, device="cpu", backend=backend)
        assert everything(there, random_pixels) == expected
        assert settings() == inside
    assert everything(there, random_pixels) == expected


def test_a_context_of_z_is_chosen_from_exact_sums(tiny_context: Codec, random_pixels: NDArray[np.uint8]) -> None:
    expected = tiny_context.encode(random_pixels)
    with torch.autocast("cpu", torch.bfloat16):
        assert tiny_context.encode(random_pixels) == expected
        assert tiny_context.decode(expected).size == (100, 70)


@pytest.mark.skipif(not HAS_PARTS, reason="needs torch 2.9")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_float32_is_in_full_until_the_last_of_two_threads_leaves(device: str) -> None:
    """The last to leave brings back the values of the caller, not those that the other found."""
    backends: Any = torch.backends
    part = {"cpu": backends.mkldnn.matmul, "cuda": backends.cuda.matmul}[device]
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with isolation._full_float32(device):
            inside.set()
            leave.wait()

    with matmul_precision("high"):
        before = settings()
        with ThreadPoolExecutor(1) as pool:
            with isolation._full_float32(device):
                done = pool.submit(other)
                inside.wait()
                assert part.fp32_precision == "ieee"
            assert part.fp32_precision == "ieee"
            leave.set()
            done.result()
        assert part.fp32_precision == "tf32"
        assert settings() == before


@pytest.mark.skipif(not HAS_PARTS, reason="needs torch 2.9")
@pytest.mark.parametrize("precision", ["high", "medium", "highest"])
def test_a_precision_that_is_set_while_a_picture_is_coded_stays(tiny: Codec, precision: str) -> None:
    """By another thread, say; once the last one wrote the old one back, and torch refused to tell of the mixture."""
    with matmul_precision("medium"):
        torch.set_float32_matmul_precision(precision)
        expected = settings()
        torch.set_float32_matmul_precision("medium")
        tiny.encode(
            np.zeros((64, 64, 3), np.uint8),
            effort=4,
            progress=lambda _: torch.set_float32_matmul_precision(precision),
        )
        assert settings() == expected


@pytest.mark.skipif(not HAS_PARTS, reason="needs torch 2.9")
@pytest.mark.parametrize("context", [nullcontext, all_in_bfloat16])
def test_networks_run_in_full_float32(
    tiny: Codec,
    random_pixels: NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
    context: Callable[[], AbstractContextManager[object]],
) -> None:
    """On processors that cannot compute in less no pixel would tell."""
    mkldnn: Any = torch.backends.mkldnn
    seen = set()
    for name in ("analyze", "hyper_analyze", "predict"):
        whole = getattr(Autoencoder, name)

        def watched(*arguments: Any, whole: Callable[..., Any] = whole) -> Any:
            seen.update({mkldnn.matmul.fp32_precision, mkldnn.conv.fp32_precision})
            return whole(*arguments)

        monkeypatch.setattr(Autoencoder, name, watched)
    with context():
        floats = Codec(tiny.weights, "cpu", backend="float")
        floats.decode(floats.encode(random_pixels))
    assert seen
    assert seen <= {"ieee", "none"}


def precisions() -> dict[str, Any]:
    """What torch tells of float32, by part and by the older names; it refuses some where a caller has mixed them."""
    backends: Any = torch.backends
    parts = {
        "all": (backends, "fp32_precision"),
        "cudnn": (backends.cudnn, "fp32_precision"),
        "matmul": (backends.cuda.matmul, "fp32_precision"),
        "conv": (backends.cudnn.conv, "fp32_precision"),
        "rnn": (backends.cudnn.rnn, "fp32_precision"),
        "mkldnn matmul": (backends.mkldnn.matmul, "fp32_precision"),
        "mkldnn conv": (backends.mkldnn.conv, "fp32_precision"),
        "old matmul": (backends.cuda.matmul, "allow_tf32"),
        "old conv": (backends.cudnn, "allow_tf32"),
    }
    found: dict[str, Any] = {"name": isolation._precision_by_name()}
    for name, (owner, attribute) in parts.items():
        try:
            found[name] = getattr(owner, attribute)
        except RuntimeError:
            found[name] = "refused"
    return found


@pytest.fixture
def changes() -> Iterator[dict[str, Callable[[], None]]]:
    """How a caller may set the precision of float32; all is as before afterwards."""
    backends: Any = torch.backends
    owners = {
        "all": backends,
        "cudnn": backends.cudnn,
        "matmul": backends.cuda.matmul,
        "conv": backends.cudnn.conv,
        "mkldnn": backends.mkldnn.matmul,
    }
    before = precisions()
    found = {
        f"{name} {value}": partial(setattr, owner, "fp32_precision", value)
        for name, owner in owners.items()
        for value in ("ieee", "tf32", "none")
    }
    for value in (True, False):
        found[f"old matmul {value}"] = partial(setattr, backends.cuda.matmul, "allow_tf32", value)
        found[f"old conv {value}"] = partial(setattr, backends.cudnn, "allow_tf32", value)
    found |= {name: partial(torch.set_float32_matmul_precision, name) for name in ("highest", "high", "medium")}
    yield found
    torch.set_float32_matmul_precision(before["name"])
    backends.cudnn.allow_tf32 = before["old conv"]
    for name, owner in (owners | {"rnn": backends.cudnn.rnn}).items():
        owner.fp32_precision = "none"
        value = before["mkldnn matmul" if name == "mkldnn" else name]
        if owner.fp32_precision != value:
            owner.fp32_precision = value
    assert precisions() == before


@pytest.mark.skipif(not HAS_PARTS, reason="needs torch 2.9")
@pytest.mark.filterwarnings("ignore:Please use the new API")
def test_every_mixture_of_older_and_newer_settings_comes_back(changes: dict[str, Callable[[], None]]) -> None:
    """The settings of CUDA are there without a GPU too."""
    parts = {"cuda": ("matmul", "conv", "rnn"), "cpu": ("mkldnn matmul", "mkldnn conv")}
    for names in itertools.permutations(changes, 2):
        for name in names:
            changes[name]()
        before = precisions()
        for device, own in parts.items():
            with isolation._full_float32(device):
                inside = precisions()
            assert {inside[part] for part in own} <= {"ieee", "none"}, (names, device)
            assert precisions() == before, (names, device)
