"""native/ on numpy arrays: rans.hpp, index.hpp, receiver.hpp, analysis.hpp."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Sides: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom in pixels

class StreamError(ValueError): ...
class EndError(StreamError): ...

class Tables:
    def __init__(
        self, cumulative: NDArray[np.int32], lengths: NDArray[np.int32], offsets: NDArray[np.int32]
    ) -> None: ...
    def __len__(self) -> int: ...

def encode(symbols: NDArray[np.int16], indexes: NDArray[np.uint16], tables: Tables) -> bytes: ...
def product(weight: NDArray[np.int8], x: NDArray[np.int8], sums: NDArray[np.int32]) -> None: ...
def table_index(
    sums: NDArray[np.int32],
    multiplier: NDArray[np.int32],
    bias: NDArray[np.int64],
    shift: int,
    index: NDArray[np.uint8],
) -> None: ...

class Decoder:
    def __init__(self, data: bytes) -> None: ...
    def decode(self, indexes: NDArray[np.uint16], tables: Tables, symbols: NDArray[np.int16]) -> None: ...
    def finish(self) -> None: ...

class Receiver:
    """Symbols z [N, h / 64, w / 64] and y [M, h / 16, w / 16] of a window of the padded picture (width, height)."""

    def __init__(self, arrays: dict[str, NDArray[np.generic]], N: int, M: int, kernel: str = "") -> None: ...
    def render(
        self,
        z: NDArray[np.int8],
        y: NDArray[np.int16],
        window: Sides,
        padded: tuple[int, int],
        level: int,
        area: Sides,
        factor: int,
        threads: int,
        out: NDArray[np.uint8],
    ) -> None: ...
    def y_hat(
        self,
        z: NDArray[np.int8],
        y: NDArray[np.int16],
        window: Sides,
        padded: tuple[int, int],
        level: int,
        area: Sides,
        threads: int,
        out: NDArray[np.int32],
    ) -> None: ...
    def predict_first(
        self,
        z: NDArray[np.int8],
        window: Sides,
        padded: tuple[int, int],
        level: int,
        area: Sides,
        threads: int,
        step: NDArray[np.int32],
        mean: NDArray[np.int32],
    ) -> None: ...
    def quantize(
        self,
        z: NDArray[np.int8],
        window: Sides,
        y: NDArray[np.float32],
        y_window: Sides,
        index: NDArray[np.uint8],
        dead_zone: NDArray[np.float32],
        padded: tuple[int, int],
        level: int,
        area: Sides,
        threads: int,
        out: NDArray[np.int16],
        step: NDArray[np.int32] | None = None,
        mean: NDArray[np.int32] | None = None,
    ) -> None: ...
    @staticmethod
    def strips(padded: tuple[int, int], area: Sides, threads: int) -> list[int]:
        """Into how many columns and rows an area is cut, for that many threads."""

    @staticmethod
    def kernels() -> list[str]: ...

class Analysis:
    """The encoder's networks g_a and h_a (native/analysis.hpp), arrays named as in them. Kernels are the receiver's."""

    def __init__(self, arrays: dict[str, NDArray[np.float32]], kernel: str = "") -> None: ...
    def analyze(
        self, pixels: NDArray[np.uint8], level: int, area: Sides, threads: int, out: NDArray[np.float32]
    ) -> None:
        """y [h / 16, w / 16, M] of an area of pixels [H, W, 3], padded to multiples of 64 by repeating their edges."""

    def hyper_analyze(
        self,
        y: NDArray[np.float32],
        window: Sides,
        padded: tuple[int, int],
        level: int,
        area: Sides,
        threads: int,
        out: NDArray[np.int8],
    ) -> None:
        """z [N, h / 64, w / 64] of an area, rounded, from y [rows, columns, M] of a window of the padded picture."""

class Gradient:
    """Moves y to where bits and error cost less (native/gradient.hpp). Arrays are g_s of the networks."""

    def __init__(self, arrays: dict[str, NDArray[np.float32]], kernel: str = "") -> None: ...
    def move(
        self,
        pixels: NDArray[np.uint8],
        y: NDArray[np.float32],
        symbols: NDArray[np.int16],
        step: NDArray[np.int32],
        mean: NDArray[np.int32],
        window: Sides,
        index: NDArray[np.uint8],
        bits: NDArray[np.float32],
        error: float,
        rate: float,
        curvature: float,
        level: int,
        area: Sides,
        threads: int,
        out: NDArray[np.float32],
    ) -> None:
        """y [h / 16, w / 16, M] of an area, from y of a window and what Receiver.quantize gives for it."""
