// SPDX-License-Identifier: Apache-2.0
// What browsers show: PNG without compression, since it lives in memory alone.

import { decode } from "./core.js";

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const BLOCK = 65535; // bytes, the most of a stored block
const ADLER = 65521, ADLER_RUN = 3800; // bytes whose sums stay below 2^31

const crcs = Uint32Array.from({ length: 256 }, (_, i) => {
  for (let bit = 0; bit < 8; bit++) i = i & 1 ? (i >>> 1) ^ 0xedb88320 : i >>> 1;
  return i;
});

function crc32(bytes) {
  let crc = -1;
  for (let i = 0; i < bytes.length; i++) crc = crcs[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return ~crc;
}

function adler32(bytes) {
  let a = 1, b = 0;
  for (let i = 0; i < bytes.length;) {
    for (const end = Math.min(i + ADLER_RUN, bytes.length); i < end; i++) b += a += bytes[i];
    a %= ADLER;
    b %= ADLER;
  }
  return (b << 16) | a;
}

/** A zlib stream of stored blocks. */
function stored(bytes) {
  const blocks = Math.max(1, Math.ceil(bytes.length / BLOCK));
  const out = new Uint8Array(6 + 5 * blocks + bytes.length), view = new DataView(out.buffer);
  view.setUint16(0, 0x7801);
  let place = 2;
  for (let i = 0; i < blocks; i++) {
    const part = bytes.subarray(i * BLOCK, (i + 1) * BLOCK);
    out[place] = i === blocks - 1 ? 1 : 0;
    view.setUint16(place + 1, part.length, true);
    view.setUint16(place + 3, ~part.length, true);
    out.set(part, place + 5);
    place += 5 + part.length;
  }
  view.setInt32(place, adler32(bytes));
  return out;
}

function chunk(name, data) {
  const out = new Uint8Array(12 + data.length), view = new DataView(out.buffer);
  view.setUint32(0, data.length);
  for (let i = 0; i < 4; i++) out[4 + i] = name.charCodeAt(i);
  out.set(data, 8);
  view.setInt32(8 + data.length, crc32(out.subarray(4, 8 + data.length)));
  return out;
}

/** 1..8 of an EXIF block. */
export function orientation(exif) {
  try {
    const view = new DataView(exif.buffer, exif.byteOffset, exif.length), little = exif[0] === 0x49;
    const start = view.getUint32(4, little);
    for (let i = 0; i < view.getUint16(start, little); i++) {
      const entry = start + 2 + 12 * i;
      const value = view.getUint16(entry + 8, little);
      if (view.getUint16(entry, little) === 0x0112) return value >= 1 && value <= 8 ? value : 1;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // a block that ends too early says nothing
  }
  return 1;
}

/** RGBA pixels as an orientation shows them. */
export function turned({ width, height, data }, as) {
  const pixels = new Uint32Array(data.buffer, data.byteOffset, width * height);
  const [columns, rows] = as > 4 ? [height, width] : [width, height];
  const out = new Uint32Array(width * height);
  const mirrored = as === 2 || as === 3 || as === 7 || as === 8, upside = as === 3 || as === 4 || as === 6 || as === 7;
  for (let y = 0, i = 0; y < rows; y++)
    for (let x = 0; x < columns; x++) {
      const [u, v] = as > 4 ? [y, x] : [x, y];
      out[i++] = pixels[(upside ? height - 1 - v : v) * width + (mirrored ? width - 1 - u : u)];
    }
  return { width: columns, height: rows, data: new Uint8ClampedArray(out.buffer) };
}

/** The file. `pack` makes a zlib stream. */
export function png({ width, height, data }, { gray, alpha }, icc, pack = stored) {
  const channels = (gray ? 1 : 3) + (alpha ? 1 : 0);
  const rows = new Uint8Array((1 + width * channels) * height);
  for (let y = 0, i = 0, place = 0; y < height; y++) {
    place++; // no filter
    for (let x = 0; x < width; x++, i += 4) {
      rows[place++] = data[i];
      if (!gray) {
        rows[place++] = data[i + 1];
        rows[place++] = data[i + 2];
      }
      if (alpha) rows[place++] = data[i + 3];
    }
  }
  const header = new Uint8Array(13), view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, (gray ? 0 : 2) + (alpha ? 4 : 0)], 8);
  const parts = [Uint8Array.from(SIGNATURE), chunk("IHDR", header)];
  if (icc?.length) parts.push(chunk("iCCP", Uint8Array.from([73, 67, 67, 0, 0, ...pack(icc)])));
  parts.push(chunk("IDAT", pack(rows)), chunk("IEND", new Uint8Array(0)));
  const out = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let place = 0;
  for (const part of parts) {
    out.set(part, place);
    place += part.length;
  }
  return out;
}

export async function decodeToPng(bytes, options = {}, pack = stored) {
  const picture = await decode(bytes, { ...options, metadata: true });
  const as = picture.exif ? orientation(picture.exif) : 1;
  return png(as > 1 ? turned(picture, as) : picture, picture.header, picture.icc, pack);
}
