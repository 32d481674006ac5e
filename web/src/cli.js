#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0

import { readFile, writeFile } from "node:fs/promises";
import { deflateSync } from "node:zlib";
import { addWeights, readHeader } from "./core.js";
import { CodecError } from "./errors.js";
import { decodeToPng } from "./png.js";

const USAGE = "usage: aecodec decode FILE.aec PICTURE.png [WEIGHTS] | aecodec info FILE.aec";

try {
  const [command, source, target, weights] = process.argv.slice(2);
  if (command === "info" && source) {
    console.log(JSON.stringify(await readHeader(await readFile(source)), null, 2));
  } else if (command === "decode" && target) {
    if (weights) await addWeights(await readFile(weights));
    await writeFile(target, await decodeToPng(await readFile(source), {}, deflateSync));
  } else {
    console.error(USAGE);
    process.exitCode = 2;
  }
} catch (error) {
  if (!(error instanceof CodecError) && !error.code) throw error;
  console.error(`Error: ${error.message}`);
  process.exitCode = 1;
}
