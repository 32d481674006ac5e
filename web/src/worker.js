// SPDX-License-Identifier: Apache-2.0

import * as core from "./core.js";
import { encode } from "./encode.js";
import { decodeToPng } from "./png.js";

const functions = { ...core, decodeToPng, encode };

self.onmessage = async ({ data: { number, name, values } }) => {
  try {
    const value = await functions[name](...values);
    const buffer = (value?.data ?? value)?.buffer;
    self.postMessage({ number, value }, buffer ? [buffer] : []);
  } catch (error) {
    self.postMessage({ number, error: { name: error.name, message: error.message } });
  }
};
