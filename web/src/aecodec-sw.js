// SPDX-License-Identifier: Apache-2.0
// The service worker: a request for a picture x.aec gets a PNG. fetch("x.aec") of a script gets the file itself.

import { addWeights } from "./core.js";
import { decodeToPng } from "./png.js";

// Of the script tag: aecodec-sw.js?weights=URL&weights=URL
const urls = new URLSearchParams(self.location.search).getAll("weights");
let ready;

async function shown(request) {
  try {
    // What the page asked for without CORS could not be read; with it, "*" of a server allows no cookies.
    const credentials = request.mode === "no-cors" ? "same-origin" : request.credentials;
    const response = await fetch(request.url, { credentials, referrer: request.referrer });
    if (!response.ok) return response;
    ready ??= Promise.all(urls.map((url) => addWeights(url)));
    await ready.catch(() => { ready = undefined; }); // the shipped ones may do
    const png = await decodeToPng(new Uint8Array(await response.arrayBuffer()));
    return new Response(png, { headers: { "Content-Type": "image/png" } });
  } catch (error) {
    return new Response(`${error.name}: ${error.message}`, { status: 422, headers: { "Content-Type": "text/plain" } });
  }
}

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && request.destination === "image" && /\.aec$/i.test(new URL(request.url).pathname))
    event.respondWith(shown(request));
});
