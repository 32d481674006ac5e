// node decode.mjs DIST SIMD OPTIONS WEIGHTS FILE...: for each file a line of JSON, what the API makes of it. With the option png also
// FILE.png.

import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";

const [dist, simd, options, weights, ...files] = process.argv.slice(2);
const { png, ...decoding } = JSON.parse(options);
const api = await import(`${dist}/index.js`);
await api.useSimd(simd === "true");
if (weights) await api.addWeights(await readFile(weights));
for (const file of files) {
  try {
    if (png) await writeFile(`${file}.png`, await api.decodeToPng(await readFile(file), decoding));
    const { width, height, data } = await api.decode(await readFile(file), decoding);
    console.log(JSON.stringify({ width, height, sha256: createHash("sha256").update(data).digest("hex") }));
  } catch (error) {
    console.log(JSON.stringify({ error: error.name, codec: error instanceof api.CodecError, message: error.message }));
  }
}
