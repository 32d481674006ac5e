// SPDX-License-Identifier: Apache-2.0
// libaecodec as WebAssembly: where weights come from, and a call. Runs wherever it is imported: in a worker, a service worker, Node.

import { CodecError, InputError, UnsupportedError, errorOf } from "./errors.js";
import models from "./models.js";
import { inParts } from "./parts.js";

// Positions in the structures of native/aecodec.h.
const INFO_FIELDS = ["width", "height", "channels", "level", "modelId", "tile", "tileColumns", "tileRows"];
const INFO_SIZE = 32, ERROR_SIZE = 260, OPTIONS_SIZE = 56;
const ICC = 0x81, EXIF = 0x82;
const RGBA = 4;
const NO_MODEL = 0; // model id of files that need no weights
// Of aecodec_status, by number.
const NAMES = ["", "InputError", "FormatError", "TruncatedError", "UnsupportedError", "UnsupportedError", "FormatError",
  "InputError", "InputError", "CodecError", "CodecError", "CodecError"];
export const MAX_PIXELS = 2 ** 26; // 256 MB of pixels
const MAX_THREADS = 16;
const MEMORY = 2 ** 31; // bytes, the most that web/build.sh lets it have
const KEPT = 2 ** 28; // bytes of memory that an instance may hold while it waits
const CACHE = "aecodec-1";
const SIMD_PROBE = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];

const inNode = typeof process === "object" && Boolean(process.versions?.node);
let simd = WebAssembly.validate(new Uint8Array(SIMD_PROBE));
const compiled = new Map(); // name: promise of a module
const instances = new Map(); // name: instance of it, with the weights that it has loaded
const pending = new Map(); // model id, and of what only encoders need its file: promise of bytes

const hex = (id) => id.toString(16).padStart(8, "0");

/** Whether SIMD is used; for measurements and tests. Throws where it is wanted and there is none. */
export function useSimd(wanted) {
  if (wanted && !WebAssembly.validate(new Uint8Array(SIMD_PROBE))) throw new UnsupportedError("no SIMD here");
  if (wanted === simd) return;
  simd = wanted;
  compiled.clear();
}

async function read(url) {
  if (inNode && url.protocol === "file:") return (await import("node:fs/promises")).readFile(url);
  const response = await fetch(url);
  if (!response.ok) throw new CodecError(`${url}: status ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

async function unpacked(data) {
  if (data[0] !== 0x1f || data[1] !== 0x8b) return data; // some servers say Content-Encoding: gzip
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip"));
  try {
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch (error) {
    throw new InputError(`weights are damaged: ${error.message}`);
  }
}

function index(data) {
  try {
    const length = new DataView(data.buffer, data.byteOffset).getUint32(0, true);
    return { ...JSON.parse(new TextDecoder().decode(data.subarray(8, 8 + length))) };
  } catch {
    throw new InputError("not an aecodec weights file");
  }
}

/** Weights as the decoder reads them: on their way the bytes of each array stand place by place, which makes them smaller. */
function restored(data) {
  const { __metadata__: metadata, ...arrays } = index(data);
  if (!metadata?.planes) return data;
  const start = 8 + new DataView(data.buffer, data.byteOffset).getUint32(0, true), out = data.slice();
  let end = 0; // of the array before: what overlaps could take any time
  for (const array of Object.values(arrays)) {
    const { 0: from, 1: to } = array?.data_offsets ?? {}, size = Number(String(array?.dtype).slice(1)) / 8, count = (to - from) / size;
    if (from !== end || !isCount(count) || to > data.length - start) throw new InputError("not an aecodec weights file: its arrays do not fit");
    end = to;
    for (let k = 0; k < size; k++)
      for (let i = 0; i < count; i++) out[start + from + i * size + k] = data[start + from + k * count + i];
  }
  return out;
}

function modelId(data) {
  const metadata = index(data).__metadata__;
  const digest = metadata?.weights ?? metadata?.sha256 ?? "";
  if (!/^[0-9a-f]{64}$/.test(digest)) throw new InputError("not an aecodec weights file: its digest is not a SHA-256");
  return parseInt(digest.slice(0, 8).replace(/(..)(..)(..)(..)/, "$4$3$2$1"), 16);
}

/** Weights besides the shipped ones: a URL or bytes of a weights file or its receiver. The model id that they have. */
export async function addWeights(source) {
  const data = restored(await unpacked(source instanceof Uint8Array ? source : await read(new URL(source))));
  const id = modelId(data);
  pending.set(id, Promise.resolve(data));
  return id;
}

// A cache, undefined where there is none, and where even asking throws: in a frame that is sandboxed.
async function opened() {
  try {
    return await globalThis.caches?.open(CACHE);
  } catch {
    return undefined;
  }
}

// Fetched once: the Cache API keeps what was whole. It exists on https and localhost alone.
async function shipped(id, part) {
  const model = models[hex(id)]?.[part];
  if (!model) throw new UnsupportedError(`file needs weights ${hex(id)}, present: ${Object.keys(models).join(", ")}`);
  const url = new URL(model.file, import.meta.url);
  const key = `${url.href}?${model.sha256}`;
  const cache = inNode ? undefined : await opened();
  const kept = await cache?.match(key).then((response) => response?.arrayBuffer()).catch(() => undefined);
  for (const raw of kept ? [new Uint8Array(kept), undefined] : [undefined]) {
    const data = raw ?? (await read(url));
    try {
      const found = restored(await unpacked(data));
      // The decoder checks that it is the digest of what is there.
      if (index(found).__metadata__?.sha256 !== model.sha256) throw new InputError(`${model.file} is not that of this version`);
      if (!raw) await cache?.put(key, new Response(data)).catch(() => undefined); // a quota
      return found;
    } catch (error) {
      if (!raw) throw error;
      await cache.delete(key).catch(() => {});
    }
  }
}

async function once(key, get) {
  if (!pending.has(key)) pending.set(key, get());
  try {
    return await pending.get(key);
  } catch (error) {
    pending.delete(key);
    throw error;
  }
}

/** What another thread has already: a module, or weights as the decoder reads them. */
export function adopt(module, weights) {
  if (module) compiled.set("aecodec", Promise.resolve(module));
  if (weights) pending.set(modelId(weights), Promise.resolve(weights));
}

export const weightsOf = (id) => once(id, () => shipped(id, "receiver"));

/** What encoders need besides: weights that were added hold both. */
export const networksOf = (id) =>
  models[hex(id)] ? once(`${id} networks`, () => shipped(id, "networks")) : weightsOf(id);

/** The model id of a shipped model by its name, undefined where there is none. */
export function idOf(name) {
  const found = Object.entries(models).find(([, model]) => model.name === name);
  return found && parseInt(found[0], 16);
}

async function module(name = "aecodec") {
  const url = new URL(`./${name}${simd ? "-simd" : ""}.wasm`, import.meta.url);
  const found = compiled.get(name) ?? read(url).then((data) => WebAssembly.compile(data));
  compiled.set(name, found);
  try {
    return await found;
  } catch (error) {
    if (compiled.get(name) === found) compiled.delete(name);
    throw error instanceof WebAssembly.CompileError ? new UnsupportedError(`this browser is too old: ${error.message}`) : error;
  }
}

/** An instance: calls in C, whose memory is given back. */
class Library {
  weights = new Map(); // model id: pointer
  encoders = new Map(); // likewise

  constructor(module) {
    this.module = module;
    const exit = () => { throw new WebAssembly.RuntimeError("exit"); };
    const nothing = () => 0;
    const imports = {};
    for (const { module: from, name } of WebAssembly.Module.imports(module)) (imports[from] ??= {})[name] = name === "proc_exit" ? exit : nothing;
    this.c = new WebAssembly.Instance(module, imports).exports;
    this.c._initialize?.();
  }

  view() { return new DataView(this.c.memory.buffer); } // memory may have grown

  allocate(size) {
    const pointer = size < MEMORY ? this.c.malloc(Math.max(size, 1)) : 0;
    if (!pointer) throw new CodecError("not enough memory");
    return pointer;
  }

  /** work(pointer...) with blocks of such sizes, which are free again afterwards. */
  within(sizes, work) {
    const pointers = [];
    try {
      for (const size of sizes) pointers.push(this.allocate(size));
      return work(...pointers);
    } finally {
      for (const pointer of pointers) this.c.free(pointer);
    }
  }

  with(data, work) {
    return this.within([data.length], (pointer) => {
      new Uint8Array(this.c.memory.buffer).set(data, pointer);
      return work(pointer, data.length);
    });
  }

  call(name, ...values) {
    return this.within([ERROR_SIZE], (error) => {
      const status = this.c[name](...values, error);
      if (!status) return;
      const text = new Uint8Array(this.c.memory.buffer, error + 4, ERROR_SIZE - 4);
      throw errorOf(NAMES[status], new TextDecoder().decode(text.slice(0, text.indexOf(0))));
    });
  }

  info(pointer, size, maxPixels) {
    return this.within([INFO_SIZE], (info) => {
      this.call("aecodec_read_info", pointer, size, BigInt(maxPixels), info);
      return Object.fromEntries(INFO_FIELDS.map((name, i) => [name, this.view().getUint32(info + 4 * i, true)]));
    });
  }

  section(pointer, size, kind) {
    return this.within([8], (found) => {
      this.call("aecodec_read_section", pointer, size, kind, found, found + 4);
      const place = this.view().getUint32(found, true), length = this.view().getUint32(found + 4, true);
      return place ? new Uint8Array(this.c.memory.buffer, place, length).slice() : undefined;
    });
  }

  load(id, data) {
    if (this.weights.has(id)) return;
    this.with(data, (pointer, size) => this.within([4], (out) => {
      this.call("aecodec_weights_load", pointer, size, out);
      this.weights.set(id, this.view().getUint32(out, true));
    }));
  }

  decode(pointer, size, info, { region, reduction, maxPixels }) {
    return this.within([OPTIONS_SIZE, INFO_SIZE, 12], (options, copy, out) => {
      const view = this.view();
      new Uint8Array(view.buffer).fill(0, options, options + OPTIONS_SIZE);
      view.setUint32(options, OPTIONS_SIZE, true);
      view.setBigUint64(options + 8, BigInt(maxPixels), true);
      [RGBA, reduction, ...(region ?? [0, 0, 0, 0]), 1].forEach((value, i) => view.setUint32(options + 16 + 4 * i, value, true));
      INFO_FIELDS.forEach((name, i) => view.setUint32(copy + 4 * i, info[name], true));
      this.call("aecodec_output_size", copy, options, out, out + 4, out + 8);
      const width = this.view().getUint32(out, true), height = this.view().getUint32(out + 4, true);
      const bytes = RGBA * width * height;
      return this.within([bytes], (pixels) => {
        this.call("aecodec_decode", this.weights.get(info.modelId) ?? 0, pointer, size, options, pixels, RGBA * width, bytes);
        return { width, height, data: new Uint8ClampedArray(this.c.memory.buffer, pixels, bytes).slice() };
      });
    });
  }
}

/** work(library) of a module, whatever may become of it. */
export async function using(work, name = "aecodec") {
  const compiledModule = await module(name);
  let library = instances.get(name);
  try {
    if (library?.module !== compiledModule) instances.set(name, library = new Library(compiledModule)); // with SIMD or without
    return work(library);
  } catch (error) {
    if (error instanceof CodecError) throw error;
    instances.delete(name); // whatever state it is in
    throw error instanceof WebAssembly.RuntimeError || error instanceof RangeError
      ? new CodecError(`${name} stopped: ${error.message}`) : error;
  } finally {
    if (library?.c.memory.buffer.byteLength > KEPT && instances.get(name) === library) instances.delete(name); // memory never shrinks
  }
}

function asBytes(data) {
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  throw new InputError(`data must be the bytes of a file, got ${data === null ? "null" : typeof data}`);
}

export function isCount(value, most = 2 ** 32 - 1) { return Number.isInteger(value) && value >= 0 && value <= most; }

function settings({ region, scale = 1, maxPixels = MAX_PIXELS, threads }) {
  const reduction = 1 / scale;
  if (![1, 2, 4, 8].includes(reduction)) throw new InputError(`scale must be 1, 1/2, 1/4 or 1/8, got ${scale}`);
  if (region !== undefined && !(Array.isArray(region) && region.length === 4 && region.every((value) => isCount(value)) && region[2] && region[3]))
    throw new InputError(`region must be [x, y, width, height] in whole pixels, got ${JSON.stringify(region)}`);
  if (!isCount(maxPixels, Number.MAX_SAFE_INTEGER) || !maxPixels) throw new InputError(`maxPixels must be a whole number above 0, got ${maxPixels}`);
  if (threads !== undefined && !(isCount(threads, MAX_THREADS) && threads)) throw new InputError(`threads must be 1..${MAX_THREADS}, got ${threads}`);
  return { region, reduction, maxPixels, threads };
}

const described = ({ channels, level, ...rest }) =>
  ({ ...rest, quality: level / 100, gray: channels < 3, alpha: channels % 2 === 0 });

export async function readHeader(data, options = {}) {
  const bytes = asBytes(data).subarray(0, 22), { maxPixels } = settings(options);
  return using((library) => library.with(bytes, (pointer, size) => described(library.info(pointer, size, maxPixels))));
}

/** { width, height, data, header }, and icc and exif where there are any and they are asked for. */
export async function decode(data, options = {}) {
  const bytes = asBytes(data), all = settings(options);
  const header = await readHeader(bytes, options), { modelId: id } = header;
  const weights = id === NO_MODEL ? undefined : await weightsOf(id);
  return inParts(bytes, header, all, await module(), weights, (region) => using((library) => library.with(bytes, (pointer, size) => {
    const info = library.info(pointer, size, all.maxPixels);
    if (weights) library.load(id, weights);
    const picture = library.decode(pointer, size, info, { ...all, region });
    picture.header = header;
    if (options.metadata)
      for (const [name, kind] of [["icc", ICC], ["exif", EXIF]]) picture[name] = library.section(pointer, size, kind);
    return picture;
  })));
}
