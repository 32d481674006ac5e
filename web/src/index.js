// SPDX-License-Identifier: Apache-2.0
// The API. On a page a worker does it, in Node and in workers this thread does.

import { errorOf } from "./errors.js";

export { CodecError, FormatError, InputError, TruncatedError, UnsupportedError } from "./errors.js";

const onPage = typeof document === "object" && typeof Worker === "function";
const calls = new Map(); // number: what settles it
let worker;
let count = 0;

function start() {
  const url = new URL("./worker.js", import.meta.url);
  // Workers are of the page's own origin; modules may be of another.
  const own = url.origin === location.origin ? url : URL.createObjectURL(new Blob([`import ${JSON.stringify(url.href)};`], { type: "text/javascript" }));
  worker = new Worker(own, { type: "module" });
  worker.onmessage = ({ data: { number, value, error } }) => {
    const { resolve, reject } = calls.get(number);
    calls.delete(number);
    if (error) reject(errorOf(error.name, error.message));
    else resolve(value);
  };
  worker.onerror = (event) => { // it could not even start
    event.preventDefault();
    for (const { reject } of calls.values()) reject(errorOf("CodecError", `the worker stopped: ${event.message ?? url}`));
    calls.clear();
    worker = undefined;
  };
}

async function call(name, ...values) {
  if (!onPage) {
    const parts = ["./core.js", "./png.js", "./encode.js"].map((part) => import(part));
    return Object.assign({}, ...(await Promise.all(parts)))[name](...values);
  }
  if (!worker) start();
  return new Promise((resolve, reject) => {
    const number = count++;
    worker.postMessage({ number, name, values });
    calls.set(number, { resolve, reject }); // only where what was given could be sent
  });
}

export const readHeader = (data, options) => call("readHeader", data, options);
export const useSimd = (wanted) => call("useSimd", wanted);
export const addWeights = (source) => call("addWeights", source instanceof URL ? source.href : source);

export async function decode(data, options) {
  const { data: pixels, width, height } = await call("decode", data, options);
  return typeof ImageData === "function" ? new ImageData(pixels, width, height) : { data: pixels, width, height };
}

/** The bytes of an .aec file of pixels RGBA. */
export const encode = (image, options) =>
  call("encode", { width: image?.width, height: image?.height, data: image?.data }, options);

/** The bytes of a PNG file that shows the picture: turned as its EXIF block says, with its ICC profile. */
export const decodeToPng = (data, options) => call("decodeToPng", data, options);
