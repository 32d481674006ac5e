// SPDX-License-Identifier: Apache-2.0
// Parts of one picture on several cores: each worker has an instance of the decoder, and decodes a region. Memory is not shared.

import { Thread, available, cores, own } from "./thread.js";

const CELL = 16; // pixels of a position of y: what networks decode is cut between those
const LEAST = 500_000; // pixels of a part: fewer are decoded before a worker has started
const MOST = 4; // threads by default: each has memory of its own
const IDLE = 5000; // ms until workers are given back

let helpers = []; // { thread, module, weights }: with what they have
let alone = !available;
let working = 0; // pictures
let timer;

async function threadsFor(wanted) { return alone ? 1 : wanted ?? Math.min(await cores(), MOST); }

// Regions that together are what is asked for, cut across its longer side.
function cut(region, { width, height, modelId, tile }, threads) {
  const box = region ?? [0, 0, width, height], [x, y, across, down] = box;
  if (x + across > width || y + down > height) return [region]; // the decoder tells what is wrong
  const side = across < down ? 1 : 0, end = box[side] + box[side + 2];
  const step = modelId ? CELL : tile; // drawn tiles are decoded whole
  const count = Math.min(threads, Math.floor(across * down / LEAST));
  const edges = [box[side]];
  for (let i = 1; i < count; i++) {
    const edge = Math.round((box[side] + box[side + 2] * i / count) / step) * step;
    if (edge > edges.at(-1) && edge < end) edges.push(edge);
  }
  if (edges.length === 1) return [region];
  return edges.map((edge, i) => {
    const size = (edges[i + 1] ?? end) - edge;
    return side ? [x, edge, across, size] : [edge, y, size, down];
  });
}

// The picture, from those of its regions.
function joined(pictures, regions, reduction) {
  const [left, top] = regions[0].map((value) => Math.floor(value / reduction));
  const places = regions.map(([x, y]) => [Math.floor(x / reduction) - left, Math.floor(y / reduction) - top]);
  const last = pictures.length - 1;
  const width = places[last][0] + pictures[last].width, height = places[last][1] + pictures[last].height;
  const data = new Uint8ClampedArray(4 * width * height);
  pictures.forEach((picture, i) => {
    const [x, y] = places[i], size = 4 * picture.width;
    for (let row = 0; row < picture.height; row++)
      data.set(picture.data.subarray(row * size, (row + 1) * size), 4 * ((y + row) * width + x));
  });
  return { ...pictures[0], width, height, data };
}

// Up to `count` workers, which have the decoder and the weights.
async function prepared(count, module, weights) {
  helpers = helpers.filter(({ thread }) => !thread.error);
  while (helpers.length < count) helpers.push({ thread: new Thread(), weights: new Set() });
  const wanted = helpers.slice(0, count), ready = await Promise.all(wanted.map(({ thread }) => thread.ready));
  alone ||= ready.includes(false); // a policy, or a browser that has none in workers: do not try again
  const found = wanted.filter((_, i) => ready[i]);
  for (const helper of found) {
    const adopt = (...values) => helper.thread.call("adopt", ...values).catch(() => {}); // what comes next fails as well
    if (helper.module !== module) adopt(helper.module = module);
    if (weights && !helper.weights.has(weights)) adopt(undefined, weights);
    helper.weights.add(weights);
  }
  return found.map(({ thread }) => thread);
}

function rest() {
  for (const { thread } of helpers) thread.end();
  helpers = [];
}

/** The picture by here(region) and by workers that decode other parts. They get what here() decodes with; all is prepared. */
export async function inParts(bytes, header, { region, reduction, threads, maxPixels }, module, weights, here) {
  let regions = cut(region, header, await threadsFor(threads));
  if (regions.length === 1) return here(region);
  clearTimeout(timer);
  working++;
  try {
    const found = await prepared(regions.length - 1, module, weights);
    regions = cut(region, header, found.length + 1);
    if (regions.length === 1) return here(region);
    const file = own(bytes);
    const others = regions.slice(1).map((part, i) => found[i].call("decode", file, { region: part, scale: 1 / reduction, maxPixels, threads: 1 }));
    // Of several errors that of the first part, once nobody is at work.
    const results = await Promise.allSettled([here(regions[0]), ...others]);
    for (const { reason } of results) if (reason) throw reason;
    return joined(results.map(({ value }) => value), regions, reduction);
  } finally {
    if (!--working) timer = setTimeout(rest, IDLE);
    timer?.unref?.();
  }
}
