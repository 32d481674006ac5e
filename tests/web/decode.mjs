// node decode.mjs DIST SIMD OPTIONS WEIGHTS FILE...: for each file a line of JSON, what the API makes of it.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";

const [dist, simd, options, weights, ...files] = process.argv.slice(2);
const api = await import(`${dist}/index.js`);
await api.useSimd(simd === "true");
if (weights) await api.addWeights(await readFile(weights));
for (const file of files) {
  try {
    const { width, height, data } = await api.decode(await readFile(file), JSON.parse(options));
    console.log(JSON.stringify({ width, height, sha256: createHash("sha256").update(data).digest("hex") }));
  } catch (error) {
    console.log(JSON.stringify({ error: error.name, codec: error instanceof api.CodecError, message: error.message }));
  }
}
