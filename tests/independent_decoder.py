"""A decoder written from docs/format.md alone: no project code, plain Python for bytes and integers, numpy for floats.

It is slow and checks little. What it is for: if it reproduces every golden file, the document says enough.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

Array = np.ndarray


class Header(NamedTuple):
    gray: bool
    alpha: bool
    level: int
    width: int
    height: int
    model_id: int
    tile: int


def read_weights(path: Path) -> dict[str, Array]:
    """Section 5. A safetensors file is a length, a JSON index and the data."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    index: dict[str, Any] = json.loads(raw[8 : 8 + length])
    types = {"F16": "<f2", "I32": "<i4", "I16": "<i2", "I8": "|i1"}
    weights = {}
    for name, entry in index.items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            weights[name] = np.frombuffer(raw[begin:end], types[entry["dtype"]]).reshape(entry["shape"])
    return weights


class Tile(NamedTuple):
    stream: bytes
    step: int = 1
    drawn: bytes = b""


def read_container(data: bytes) -> tuple[Header, list[Tile], bytes | None]:
    """Section 1: the header, the tiles and the payload of the alpha section."""
    magic, version, flags, level, width, height, model_id, tile = struct.unpack("<4sBBHHHIB", data[:17])
    assert magic == b"\xae\x61\x65\x63"
    assert version == 2
    end = 18 if flags & 4 else 17
    (crc,) = struct.unpack("<I", data[end : end + 4])
    assert crc == zlib.crc32(data[:end])
    tiles, place = [], end + 4
    alpha = data[17:18] if flags & 4 else None
    while place < len(data):
        kind, length, crc = struct.unpack("<BII", data[place : place + 9])
        payload = data[place + 9 : place + 9 + length]
        assert crc == zlib.crc32(data[place : place + 5] + payload)
        if kind == 1:
            tiles.append(Tile(payload))
        if kind == 3:
            step, drawn = struct.unpack("<BI", payload[:5])
            tiles.append(Tile(payload[5 + drawn :], step, payload[5 : 5 + drawn]))
        if kind == 2:
            alpha = payload
        place += 9 + length
    header = Header(bool(flags & 1), bool(flags & 6), level, width, height, model_id, tile)
    assert header.alpha == (alpha is not None)
    return header, tiles, alpha


def read_alpha(header: Header, payload: bytes) -> Array:
    """Section 1.4: [H, W]."""
    if len(payload) == 1:
        return np.full((header.height, header.width), payload[0], int)
    alpha, place, side = np.zeros((header.height, header.width), int), 0, 64 * header.tile
    for i in range(0, header.height, side):
        for j in range(0, header.width, side):
            (length,) = struct.unpack("<I", payload[place : place + 4])
            data = payload[place + 4 : place + 4 + length]
            tile = alpha[i : i + side, j : j + side]
            tile[:] = data[0] if length == 1 else np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[:, :, 1]
            place += 4 + length
    assert place == len(payload)
    return alpha


def paint(header: Header, tiles: list[Tile], pixels: Array) -> None:
    """Section 1.6: put drawn pixels into [H, W, 3]."""
    side = 64 * header.tile
    boxes = [(i, j) for i in range(0, header.height, side) for j in range(0, header.width, side)]
    for (i, j), tile in zip(boxes, tiles, strict=True):
        if tile.drawn:
            webp = np.asarray(Image.open(io.BytesIO(tile.drawn)).convert("RGBA")).astype(int)
            colors = webp[:, :, [1, 1, 1]] if header.gray else webp[:, :, :3]
            shown = pixels[i : i + side, j : j + side]
            mask = webp[:, :, 3] == 255
            shown[mask] = np.minimum(255, tile.step * colors)[mask]


def digest(header: Header, pixels: Array) -> bytes:
    """Section 1.5, for pixels [H, W] or [H, W, C]."""
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    front = struct.pack("<HHB", header.width, header.height, channels)
    return hashlib.sha256(front + pixels.astype(np.uint8).tobytes()).digest()[:16]


class Stream:
    """Section 4."""

    def __init__(self, data: bytes, weights: dict[str, Array]) -> None:
        self.words = list(struct.unpack(f"<{len(data) // 4}I", data))
        self.x = self.words.pop(0) | self.words.pop(0) << 32
        ends = np.cumsum(weights["tables.lengths"])
        self.tables = [c.tolist() for c in np.split(weights["tables.cumulative"], ends[:-1])]
        self.offsets = weights["tables.offsets"].tolist()

    def refill(self) -> None:
        if self.x < 1 << 31:
            self.x = self.x << 32 | self.words.pop(0)

    def digit(self) -> int:
        d = self.x % 16
        self.x >>= 4
        self.refill()
        return d

    def symbol(self, table: int) -> int:
        c, offset = self.tables[table], self.offsets[table]
        n = len(c) - 1
        v = self.x % 65536
        k = next(k for k in range(n) if c[k] <= v < c[k + 1])
        self.x = (c[k + 1] - c[k]) * (self.x >> 16) + v - c[k]
        self.refill()
        if k < n - 1:
            return offset + k
        value = sum(digit << 4 * i for i, digit in enumerate([self.digit() for _ in range(self.digit())]))
        return offset + n - 1 + value // 2 if value % 2 == 0 else offset - (value + 1) // 2


def table_index(z: Array, level: int, weights: dict[str, Array]) -> Array:
    """Section 3, in 64-bit integers."""
    weight, bias = weights["prior.weight"].astype(np.int64), weights["prior.bias"].astype(np.int64)
    shift = int(weights["prior.shift"][0])
    place = 7 * (level - 100)
    low = min(place // 9900, 6)
    part = place - 9900 * low
    level_bias = (bias[low] * (9900 - part) + bias[low + 1] * part) // 9900
    total = np.einsum("oc,cij->oij", weight, z.astype(np.int64))
    numerator = total * weights["prior.multiplier"].astype(np.int64)[:, None, None] + level_bias[:, None, None]
    return shuffle(np.clip((numerator + (1 << (shift - 1))) >> shift, 0, 63), 4)


def read_z(stream: Stream, z: Array, level: int, weights: dict[str, Array]) -> None:
    """Section 2, step 1, into z [N, rows, columns]."""
    N, rows, columns = z.shape
    S = len(weights["context.weight"]) if "context.weight" in weights else 8
    s = (2 * (S - 1) * (level - 100) + 9900) // 19800
    if "context.weight" not in weights:
        for place in np.ndindex(z.shape):
            z[place] = stream.symbol(s * N + place[0])
        return
    w, thresholds = weights["context.weight"][s].astype(int), weights["context.thresholds"][s]
    K = thresholds.shape[1] + 1
    for diagonal in range(rows + columns - 1):
        places = [(i, diagonal - i) for i in range(rows) if 0 <= diagonal - i < columns]
        for c in range(N):
            for i, j in places:
                total = 0
                if j > 0:
                    total += int(w[c, :N] @ z[:, i, j - 1] + w[c, N])
                if i > 0:
                    total += int(w[c, N + 1 : 2 * N + 1] @ z[:, i - 1, j] + w[c, 2 * N + 1])
                k = sum(total >= threshold for threshold in thresholds[c])
                z[c, i, j] = stream.symbol((s * N + c) * K + k)


def read_symbols(data: bytes, weights: dict[str, Array]) -> tuple[Header, Array, Array]:
    """Sections 1 to 4: z_symbols and y_symbols of the whole picture."""
    header, tiles, _ = read_container(data)
    N, M = weights["prior.weight"].shape[1], weights["prior.weight"].shape[0] // 16
    rows, columns = -(-header.height // 64), -(-header.width // 64)  # of z
    z_all, y_all = np.zeros((N, rows, columns), int), np.zeros((M, 4 * rows, 4 * columns), int)
    boxes = [(i, j) for i in range(0, rows, header.tile) for j in range(0, columns, header.tile)]
    for (i, j), (payload, _, drawn) in zip(boxes, tiles, strict=True):
        if drawn and not payload:
            continue
        z = z_all[:, i : i + header.tile, j : j + header.tile]
        y = y_all[:, 4 * i : 4 * (i + header.tile), 4 * j : 4 * (j + header.tile)]
        stream = Stream(payload, weights)
        read_z(stream, z, header.level, weights)
        index = table_index(z, header.level, weights)
        for place in np.ndindex(y.shape):
            if index[place] >= 3:
                y[place] = stream.symbol(len(stream.tables) - 64 + int(index[place]))
        assert stream.x == 1 << 31
        assert not stream.words
    return header, z_all, y_all


def shuffle(x: Array, k: int) -> Array:
    C, H, W = x.shape
    return x.reshape(C // k**2, k, k, H, W).transpose(0, 3, 1, 4, 2).reshape(C // k**2, k * H, k * W)


class Receiver:
    """Section 6. Integers up to 2^53 in float64 where matrices are multiplied, in int64 elsewhere."""

    def __init__(self, weights: dict[str, Array], level: int) -> None:
        prefix = "receiver."
        self.w = {name[len(prefix) :]: a.astype(np.int64) for name, a in weights.items() if name.startswith(prefix)}
        place = 7 * (level - 100)
        self.low = min(place // 9900, 6)
        self.part = place - 9900 * self.low

    def gain(self, name: str) -> Array:
        low, high = self.w[name][self.low], self.w[name][self.low + 1]
        v = (low * (9900 - self.part) + high * self.part) // 9900
        i = (v & 65535) >> 10
        t = POWERS[i] + (((POWERS[i + 1] - POWERS[i]) * (v & 1023)) >> 10)
        return t >> (30 - (v >> 16))

    def sums(self, name: str, x: Array, groups: int = 1) -> Array:
        parts = zip(np.split(self.w[f"{name}.weight"], groups), np.split(x, groups), strict=True)
        products = [np.tensordot(w.astype(float), part.astype(float), 1) for w, part in parts]
        return np.concatenate(products).astype(np.int64) + self.w[f"{name}.bias"][:, None, None]

    def scaled(self, name: str, sums: Array, multiplier: Array | None = None) -> Array:
        multiplier = self.w[f"{name}.multiplier"] if multiplier is None else multiplier
        return scale(sums, multiplier[:, None, None], int(self.w[f"{name}.format"][0]))

    def P(self, name: str, x: Array, groups: int = 1, multiplier: Array | None = None) -> Array:
        return clamp16(self.scaled(name, self.sums(name, x, groups), multiplier))

    def D(self, name: str, x: Array) -> Array:
        weight = self.w[f"{name}.weight"].reshape(-1, 3, 3, 1, 1)
        _, H, W = x.shape
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        taps = (weight[:, i, j] * padded[:, i : i + H, j : j + W] for i in range(3) for j in range(3))
        return clamp16(self.scaled(name, sum(taps) + self.w[f"{name}.bias"][:, None, None]))

    def act(self, name: str, x: Array) -> Array:
        fraction = int(self.w[f"{name}.format"][1])
        return (x * np.clip(((x * 9830) >> fraction) + 16384, 0, 32768) + 16384) >> 15

    def block(self, name: str, x: Array, groups: int = 1) -> Array:
        h = self.act(f"{name}.spatial", self.D(f"{name}.spatial", self.P(f"{name}.enter", x, groups)))
        x = clamp16(x + self.P(f"{name}.leave", h, groups))
        h = self.act(f"{name}.expand", self.P(f"{name}.expand", x, groups))
        return clamp16(x + self.P(f"{name}.reduce", h, groups))

    def y_hat(self, z: Array, y: Array) -> Array:
        f = z.astype(np.int64)
        f = self.block("h_s.blocks.0", shuffle(self.P("h_s.ups.0", f, 4), 2), 4)
        f = self.block("h_s.blocks.1", shuffle(self.P("h_s.ups.1", f, 4), 2), 4)
        f = self.P("h_s.leave", f, multiplier=self.gain("h_s.gain"))
        M, H, W = y.shape
        c, i, j = np.ogrid[:M, :H, :W]
        first = (i + j) % 2 == (c >= M // 2)
        h = self.block("mean0.block", self.P("mean0.enter", f), 4)
        step = np.clip(4096 + self.wide("mean0.step", h), 2048, 262144)

        def Y(mean: Array) -> Array:
            limit = 2**31 - 1
            return np.clip(((y.astype(np.int64) * 256 + mean) * step + 128) >> 8, -limit, limit)

        y_hat0 = Y(self.wide("mean0.leave", h))
        y0 = np.where(first, clamp16((y_hat0 + 32) >> 6), 0)
        h = self.block("mean1.block", self.P("mean1.enter", np.concatenate((y0, f))), 4)
        return np.where(first, y_hat0, Y(self.wide("mean1.leave", h)))

    def wide(self, name: str, x: Array) -> Array:
        return np.clip(self.scaled(name, self.sums(name, x)), -8388607, 8388607)

    def rgb(self, y_hat: Array) -> Array:
        u = clamp16(scale(y_hat, self.gain("g_s.y_gain")[:, None, None], 24))
        b = self.P("g_s.enter", u)
        for i in range(2):
            b = self.block(f"g_s.blocks.{i}", b)
            b = clamp16(scale(b, self.gain(f"g_s.gains.{i}")[:, None, None], 24))
        x = shuffle(self.P("g_s.latent", u), 4)
        k = self.act("g_s.condition", shuffle(self.P("g_s.condition", b), 4))
        v = clamp16(x + self.P("g_s.shift", k) + ((x * self.P("g_s.scale", k) + 2048) >> 12))
        w = self.P("g_s.reduce", self.act("g_s.expand", self.P("g_s.expand", v)))
        x = clamp16(x + ((self.P("g_s.gate", k) * w + 16384) >> 15))
        multiplier = self.w["g_s.leave.multiplier"].repeat(48)
        return np.clip(shuffle(self.scaled("g_s.leave", self.sums("g_s.leave", x), multiplier), 4), 0, 255)


def scale(v: Array, multiplier: Array, shift: int) -> Array:
    return (v * multiplier + (1 << (shift - 1))) >> shift


def clamp16(x: Array) -> Array:
    return np.clip(x, -32767, 32767)


POWERS = np.array([round(2 ** (30 + Decimal(i) / 64)) for i in range(65)], np.int64)


def decode(data: bytes, weights: dict[str, Array]) -> Array:
    """The picture, [H, W] or [H, W, C]: gray, gray and alpha, RGB, RGBA."""
    header, z, y = read_symbols(data, weights)
    _, tiles, alpha = read_container(data)
    pixels = np.zeros((header.height, header.width, 3), int)
    if header.model_id:
        receiver = Receiver(weights, header.level)
        pixels = receiver.rgb(receiver.y_hat(z, y))[:, : header.height, : header.width].transpose(1, 2, 0)
    paint(header, tiles, pixels)
    pixels = (pixels.sum(2) + 1) // 3 if header.gray else pixels
    return pixels if alpha is None else np.dstack((pixels, read_alpha(header, alpha)))
