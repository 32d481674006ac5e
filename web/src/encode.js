// SPDX-License-Identifier: Apache-2.0
// Pixels to files, by a module of its own and networks that only encoders need: all of it is fetched when something is encoded.

import { MAX_PIXELS, idOf, isCount, networksOf, using, weightsOf } from "./core.js";
import { InputError } from "./errors.js";

const MODULE = "aecodec-encode";
const OPTIONS_SIZE = 48; // of aecodec_encode_options in native/aecodec.h
const MAX_SIDE = 65535, MAX_EFFORT = 9, NO_EFFORT = 2 ** 32 - 1, RGBA = 4;

function checked(image) {
  const { width, height, data } = image ?? {};
  if (![width, height].every((side) => isCount(side, MAX_SIDE) && side))
    throw new InputError(`sides of a picture must be 1..${MAX_SIDE}, got ${width}x${height}`);
  if (!(data instanceof Uint8Array || data instanceof Uint8ClampedArray))
    throw new InputError(`data of a picture must be bytes, got ${data === null ? "null" : typeof data}`);
  if (data.length !== RGBA * width * height)
    throw new InputError(`data of ${width}x${height} pixels must have ${RGBA * width * height} bytes, got ${data.length}`);
  return { width, height, data };
}

function settings({ quality, bytes, model = "m", effort = 3, maxPixels = MAX_PIXELS }, { width, height }) {
  if (quality !== undefined && bytes !== undefined) throw new InputError("give one of quality and bytes, not both");
  if (quality !== undefined && !(typeof quality === "number" && quality >= 1 && quality <= 100))
    throw new InputError(`quality must be 1..100, got ${quality}`);
  if (bytes !== undefined && !(isCount(bytes, Number.MAX_SAFE_INTEGER) && bytes))
    throw new InputError(`bytes must be a whole number above 0, got ${bytes}`);
  if (!isCount(effort, MAX_EFFORT)) throw new InputError(`effort must be 0..${MAX_EFFORT}, got ${effort}`);
  if (!isCount(maxPixels, Number.MAX_SAFE_INTEGER) || width * height > maxPixels)
    throw new InputError(`picture of ${width}x${height} is outside 1..${maxPixels} pixels`);
  const id = typeof model === "number" && isCount(model) ? model : idOf(model);
  if (id === undefined) throw new InputError(`model must be "m", "s" or what addWeights gave, got ${model}`);
  return { quality: quality ?? 0, bytes: bytes ?? 0, effort, maxPixels, id };
}

function load(library, id, weights, networks) {
  if (library.encoders.has(id)) return;
  library.load(id, weights);
  library.with(networks, (pointer, size) => library.within([4], (out) => {
    library.call("aecodec_encoder_load", library.weights.get(id), pointer, size, out);
    library.encoders.set(id, library.view().getUint32(out, true));
  }));
}

// A picture without colors is coded as Python codes a gray one, so that it gets none.
function channelsOf(data) {
  for (let i = 0; i < data.length; i += RGBA)
    if (data[i] !== data[i + 1] || data[i] !== data[i + 2] || data[i + 3] !== 255) return [data, RGBA];
  const gray = new Uint8Array(data.length / RGBA);
  for (let i = 0; i < gray.length; i++) gray[i] = data[RGBA * i];
  return [gray, 1];
}

function run(library, { width, height, data }, { quality, bytes, effort, maxPixels, id }) {
  const [source, channels] = channelsOf(data);
  return library.with(source, (pixels) => library.within([OPTIONS_SIZE, 8], (options, out) => {
    const view = library.view();
    new Uint8Array(view.buffer).fill(0, options, options + OPTIONS_SIZE);
    view.setUint32(options, OPTIONS_SIZE, true);
    view.setFloat64(options + 8, quality, true);
    view.setBigUint64(options + 16, BigInt(bytes), true);
    view.setBigUint64(options + 24, BigInt(maxPixels), true);
    view.setUint32(options + 32, effort || NO_EFFORT, true);
    view.setUint32(options + 40, 1, true); // thread
    library.call("aecodec_encode", library.encoders.get(id), pixels, width, height, channels, channels * width, options, out, out + 4);
    const file = library.view().getUint32(out, true), size = library.view().getUint32(out + 4, true);
    const found = new Uint8Array(library.c.memory.buffer, file, size).slice();
    library.c.aecodec_file_free(file);
    return found;
  }));
}

/** The bytes of a file. */
export async function encode(image, options = {}) {
  const picture = checked(image), all = settings(options, picture);
  const [weights, networks] = await Promise.all([weightsOf(all.id), networksOf(all.id)]);
  return using((library) => {
    load(library, all.id, weights, networks);
    return run(library, picture, all);
  }, MODULE);
}
