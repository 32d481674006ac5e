// SPDX-License-Identifier: Apache-2.0

import * as core from "./core.js";
import { decodeToPng } from "./png.js";

// Pages that only decode need not have what encodes.
const encode = async (...values) => (await import("./encode.js")).encode(...values);
const functions = { ...core, decodeToPng, encode, ready: () => {} };

function serve(port) {
  port.onmessage = async ({ data: { number, name, values } }) => {
    try {
      const value = await functions[name](...values);
      const buffer = (value?.data ?? value)?.buffer;
      port.postMessage({ number, value }, buffer ? [buffer] : []);
    } catch (error) {
      port.postMessage({ number, error: { name: error.name, message: error.message } });
    }
  };
}

if (typeof self === "object") serve(self);
else import("node:worker_threads").then(({ parentPort }) => serve(parentPort));
