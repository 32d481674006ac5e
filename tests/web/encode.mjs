// node encode.mjs DIST SIMD WEIGHTS JOBS: JOBS is a file of JSON, of [width, height, file of RGBA, options, target]. For each a line of
// JSON: the size and SHA-256 of what the API decodes of the file that it made, and seconds.

import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";

const [dist, simd, weights, jobs] = process.argv.slice(2);
const api = await import(`${dist}/index.js`);
await api.useSimd(simd === "true");
const added = weights ? await api.addWeights(await readFile(weights)) : undefined;
for (const [width, height, source, options, target] of JSON.parse(await readFile(jobs))) {
  try {
    const start = performance.now();
    const file = await api.encode({ width, height, data: await readFile(source) }, { model: added, ...options });
    const seconds = (performance.now() - start) / 1000;
    await writeFile(target, file);
    const shown = await api.decode(file);
    const sha256 = createHash("sha256").update(shown.data).digest("hex");
    console.log(JSON.stringify({ width: shown.width, height: shown.height, sha256, seconds }));
  } catch (error) {
    console.log(JSON.stringify({ error: error.name, codec: error instanceof api.CodecError, message: error.message }));
  }
}
