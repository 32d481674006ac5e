// SPDX-License-Identifier: Apache-2.0
// A worker of a page, of a worker or of Node, whose functions are called. Whatever becomes of it, a call ends.

import { errorOf } from "./errors.js";

const inNode = typeof process === "object" && Boolean(process.versions?.node);

/** Bytes as they can be sent: with a part of a buffer all of it would be. */
export const own = (data) =>
  ArrayBuffer.isView(data) && !(data instanceof DataView) && data.byteLength < data.buffer.byteLength ? data.slice() : data;

/** Whether there can be any: not in service workers. */
export const available = inNode || typeof Worker === "function";

/** How many run at once. */
export async function cores() {
  return inNode ? (await import("node:os")).availableParallelism?.() ?? 1 : navigator.hardwareConcurrency ?? 1;
}

async function start(url) {
  if (inNode) return new (await import("node:worker_threads")).Worker(url, { execArgv: [] }); // node -e has what no worker takes
  if (url.origin === self.origin) return new Worker(url, { type: "module" });
  // Workers are of the page's own origin, which is none where it is sandboxed; modules may be of another. Messages may be first.
  const code = `const early = [];
    onmessage = (event) => early.push(event);
    import(${JSON.stringify(url.href)}).then(() => early.forEach((event) => onmessage(event)), (error) => setTimeout(() => { throw error; }));`;
  return new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
}

export class Thread {
  calls = new Map(); // number: what settles it
  count = 0;
  worker; // when it has started
  error; // why it ended
  started = this.start();
  ready = this.call("ready").then(() => true, () => false);

  /** What the function of worker.js returns. Throws what it throws, and CodecError where the worker ends. */
  async call(name, ...values) {
    if (!this.worker) await this.started;
    if (this.error) throw this.error;
    return new Promise((resolve, reject) => {
      const number = this.count++;
      this.worker.postMessage({ number, name, values });
      this.calls.set(number, { resolve, reject }); // only where what was given could be sent
      this.worker.ref?.(); // Node waits for it
    });
  }

  async start() {
    try {
      this.worker = await start(new URL("./worker.js", import.meta.url));
    } catch (error) {
      return this.end(error.message);
    }
    if (inNode) {
      this.worker.on("message", (data) => this.answered(data));
      this.worker.on("error", ({ message }) => this.end(message)).on("exit", (code) => this.end(`exit code ${code}`));
    } else {
      this.worker.onmessage = ({ data }) => this.answered(data);
      this.worker.onerror = (event) => {
        event.preventDefault();
        this.end(event.message ?? "it could not start");
      };
    }
  }

  answered({ number, value, error }) {
    const call = this.calls.get(number);
    this.calls.delete(number);
    if (!this.calls.size) this.worker.unref?.();
    if (error) call?.reject(errorOf(error.name, error.message));
    else call?.resolve(value);
  }

  end(reason = "it is not needed") {
    this.error ??= errorOf("CodecError", `the worker stopped: ${reason}`);
    for (const { reject } of this.calls.values()) reject(this.error);
    this.calls.clear();
    this.worker?.terminate();
  }
}
