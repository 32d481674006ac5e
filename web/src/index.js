// SPDX-License-Identifier: Apache-2.0
// The API. On a page a worker does it, in Node and in workers this thread does.

import { Thread, own } from "./thread.js";

export { CodecError, FormatError, InputError, TruncatedError, UnsupportedError } from "./errors.js";

const PARTS = { decodeToPng: "./png.js", encode: "./encode.js" }; // where what is not in core.js is
const onPage = typeof document === "object" && typeof Worker === "function";
let thread;

async function call(name, ...values) {
  if (!onPage) {
    return (await import(PARTS[name] ?? "./core.js"))[name](...values);
  }
  if (!thread || thread.error) thread = new Thread();
  return thread.call(name, ...values.map(own));
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
  call("encode", { width: image?.width, height: image?.height, data: own(image?.data) }, options);

/** The bytes of a PNG file that shows the picture: turned as its EXIF block says, with its ICC profile. */
export const decodeToPng = (data, options) => call("decodeToPng", data, options);
