// SPDX-License-Identifier: Apache-2.0
// The page to try it: a picture as JPEG and as .aec in as many bytes, one over the other; .aec files as they are.

import * as api from "./index.js";

const $ = Object.fromEntries([...document.querySelectorAll("[id]")].map((one) => [one.id, one]));
const TALLEST = 0.75; // of the window, for the pictures
const NAMES = { original: "Original", jpeg: "JPEG", aec: ".aec" };
const canvases = {};

const make = (name, values = {}) => Object.assign(document.createElement(name), values);
const tell = (text) => { $.state.textContent = text; };
const whole = (number) => number.toLocaleString("en");
const bitsPerPixel = (bytes, { width, height }) => ((8 * bytes) / (width * height)).toFixed(3);
const seconds = (start) => ((performance.now() - start) / 1000).toFixed(2);
const picked = (name) => document.querySelector(`input[name=${name}]:checked`).value;
const stem = (name, suffix) => name.replace(/(?!^)\.[^.]*$/, "") + suffix;

// -- .aec files --------------------------------------------------------------------------------------------------------

async function showFile(file) {
  const bytes = await file.arrayBuffer();
  const { width, height, quality, alpha, modelId } = await api.readHeader(bytes);
  const start = performance.now();
  const url = URL.createObjectURL(new Blob([await api.decodeToPng(bytes)], { type: "image/png" }));
  const kind = quality ? `quality ${quality}` : "lossless or nearly so";
  const needs = modelId ? `weights ${modelId.toString(16).padStart(8, "0")}` : "no weights";
  const figure = make("figure"), frame = make("div"), caption = make("figcaption");
  const image = make("img", { src: url, alt: file.name });
  const zoom = make("button", { type: "button", textContent: "Every pixel" });
  zoom.setAttribute("aria-pressed", "false");
  zoom.onclick = () => zoom.setAttribute("aria-pressed", String(image.classList.toggle("whole")));
  const save = make("a", { href: url, download: file.name.replace(/(\.aec)?$/i, ".png"), textContent: "Save as PNG" });
  caption.append(`${file.name}: ${width} x ${height}${alpha ? ", with transparency" : ""}, ${kind}, ` +
    `${whole(file.size)} bytes, ${bitsPerPixel(file.size, { width, height })} bits per pixel, ${needs}, decoded in ${seconds(start)} s. `,
    zoom, " ", save);
  frame.append(image);
  figure.append(frame, caption);
  $.pictures.prepend(figure);
}

// -- Pictures that are compared ------------------------------------------------------------------------------------------

let source; // the file
let picture; // what read() made of it; coded: that the others are there too
let asked = 0; // how often something was; what an older question finds out is not shown
let running = Promise.resolve();

function contextOf(width, height) {
  return make("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
}

async function pixelsOf(blob) {
  const bitmap = await createImageBitmap(blob);
  const context = contextOf(bitmap.width, bitmap.height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, context.canvas.width, context.canvas.height);
}

/** A picture as this page compares it: of at most so many pixels, on white. */
async function read(file, most) {
  const bitmap = await createImageBitmap(file).catch(() => { throw new Error("no picture that this browser can read"); });
  const { width, height } = bitmap, notes = [];
  const scale = Math.min(1, Math.sqrt(most / (width * height)));
  const context = contextOf(Math.max(1, Math.floor(width * scale)), Math.max(1, Math.floor(height * scale))), { canvas } = context;
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  if (scale < 1) notes.push(`Scaled from ${width} x ${height} to ${canvas.width} x ${canvas.height} pixels.`);
  if (context.getImageData(0, 0, canvas.width, canvas.height).data.some((value, i) => i % 4 === 3 && value < 255)) {
    notes.push("Transparency is on white here.");
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  return { canvas, width, height, notes, original: context.getImageData(0, 0, canvas.width, canvas.height) };
}

/** In dB, of red, green and blue. */
function psnr(a, b) {
  let sum = 0;
  for (let i = 0; i < a.data.length; i++) if (i % 4 < 3) sum += (a.data[i] - b.data[i]) ** 2;
  return 10 * Math.log10((255 ** 2 * 3 * a.width * a.height) / sum);
}

/** The smallest JPEG of at least so many bytes, or else the best one. */
async function jpegOf(canvas, bytes) {
  const files = new Map();
  const at = async (quality) => {
    if (!files.has(quality)) files.set(quality, await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", quality / 100)));
    return files.get(quality);
  };
  let low = 0, high = 100;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((await at(middle)).size >= bytes) high = middle;
    else low = middle + 1;
  }
  return { quality: low, blob: await at(low) };
}

function row(name, bytes, size, decibels) {
  const dB = decibels === undefined ? "" : Number.isFinite(decibels) ? `${decibels.toFixed(2)} dB` : "equal";
  const cells = [whole(bytes), bitsPerPixel(bytes, size), dB];
  const line = make("tr");
  line.append(Object.assign(make("th", { textContent: name }), { scope: "row" }), ...cells.map((textContent) => make("td", { textContent })));
  return line;
}

function draw(name, image) {
  const canvas = canvases[name];
  Object.assign(canvas, { width: image.width, height: image.height });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Read the picture where that is needed, encode it as is wanted, and show it. */
async function compare(number) {
  const stale = () => number !== asked;
  if (stale()) return;
  const file = source;
  $.compare.setAttribute("aria-busy", "true");
  try {
    if (!picture) {
      tell(`Reading ${file.name}`);
      const found = await read(file, Number($.most.value));
      if (stale()) return;
      picture = found;
      $.notice.textContent = picture.notes.join(" ");
      $.notice.hidden = !picture.notes.length;
      for (const name in canvases) draw(name, picture.original);
      $.facts.replaceChildren(row(`Original`, file.size, picture));
      $.save.hidden = true;
      $.compare.hidden = false;
      layOut();
    }
    if (!api.encode) throw new Error("this copy of aecodec can only decode");
    const byBytes = picked("aim") === "bytes";
    const wanted = byBytes ? { bytes: Number($.bytes.value) } : { quality: Number($.quality.value) };
    tell(`Encoding ${file.name} ${byBytes ? `in ${whole(wanted.bytes)} bytes` : `at quality ${wanted.quality}`}`);
    const start = performance.now(), { original, canvas } = picture;
    const data = await api.encode(original, { ...wanted, model: $.model.value });
    const time = seconds(start);
    if (stale()) return;
    tell(`Looking for a JPEG of ${whole(data.length)} bytes`);
    const decoded = await api.decode(data), jpeg = await jpegOf(canvas, data.length), shown = await pixelsOf(jpeg.blob);
    if (stale()) return;
    draw("aec", decoded);
    draw("jpeg", shown);
    picture.coded = true;
    wipe();
    $.facts.replaceChildren(
      row("Original", file.size, picture),
      row(`JPEG, quality ${jpeg.quality}`, jpeg.blob.size, original, psnr(original, shown)),
      row(`.aec, quality ${(await api.readHeader(data)).quality}`, data.length, original, psnr(original, decoded)));
    URL.revokeObjectURL($.save.href);
    Object.assign($.save, { href: URL.createObjectURL(new Blob([data], { type: "image/x-aecodec" })), download: stem(file.name, ".aec"), hidden: false });
    if (!byBytes) $.bytes.value = data.length;
    const larger = jpeg.quality === 0 && jpeg.blob.size > data.length ? "; no JPEG is that small" : "";
    tell(`${file.name} is encoded: ${whole(data.length)} bytes in ${time} s${larger}`);
  } catch (error) {
    if (stale()) return;
    tell(picture ? `${file.name} could not be encoded: ${error.message}` : `${file.name}: ${error.message}`);
  } finally {
    if (!stale()) $.compare.setAttribute("aria-busy", "false");
  }
}

/** One after the other, and of those that wait the last alone. */
function ask() {
  const number = ++asked;
  running = running.then(() => compare(number));
}

async function showAll(list) {
  const files = list.filter((file) => /\.aec$/i.test(file.name)), [first] = list.filter((file) => !files.includes(file));
  for (const file of files) {
    tell(`Decoding ${file.name}`);
    try {
      await showFile(file);
      tell(`${file.name} is shown`);
    } catch (error) {
      tell(`${file.name}: ${error.message}`);
    }
  }
  if (!first) return;
  [source, picture] = [first, undefined];
  ask();
}

// -- How they are looked at ----------------------------------------------------------------------------------------------

/** Sizes of what is seen; 100 % is one pixel of the picture for each of the screen. */
function layOut() {
  if (!picture) return;
  const { width, height } = picture.canvas, zoom = Number(picked("zoom"));
  const room = $.stage.parentElement.clientWidth, tall = Math.round(TALLEST * innerHeight);
  const scale = zoom ? zoom / devicePixelRatio : Math.min(room / width, tall / height);
  const middle = ["Left", "Top"].map((side, i) => {
    const inside = $.view[i ? "scrollHeight" : "scrollWidth"];
    return ($.view[`scroll${side}`] + $.view[i ? "clientHeight" : "clientWidth"] / 2) / inside;
  });
  for (const { style } of Object.values(canvases)) [style.width, style.height] = [`${width * scale}px`, `${height * scale}px`];
  $.stage.style.width = `${Math.min(room, width * scale)}px`;
  $.view.style.height = `${Math.min(tall, height * scale)}px`;
  $.view.classList.toggle("movable", zoom > 0);
  $.view.classList.toggle("sharp", scale * devicePixelRatio >= 2);
  $.view.scrollTo(middle[0] * $.view.scrollWidth - $.view.clientWidth / 2, middle[1] * $.view.scrollHeight - $.view.clientHeight / 2);
  wipe();
}

function wipe() {
  const [left, right] = [$.left.value, $.right.value], share = $.wipe.value / 100;
  const cut = $.view.scrollLeft + share * $.stage.clientWidth;
  for (const [name, canvas] of Object.entries(canvases)) {
    canvas.hidden = name !== left && name !== right;
    canvas.style.clipPath = left === right ? "" : name === left ? `inset(0 calc(100% - ${cut}px) 0 0)` : `inset(0 0 0 ${cut}px)`;
  }
  const [one, other] = [left, right].map((name) => NAMES[picture?.coded ? name : "original"]);
  [$.leftName.textContent, $.rightName.textContent] = [one, other];
  $.wipe.setAttribute("aria-valuetext", `${one} ${$.wipe.value} %, ${other} ${100 - $.wipe.value} %`);
}

for (const [name, text] of Object.entries(NAMES)) {
  canvases[name] = make("canvas");
  canvases[name].setAttribute("role", "img");
  canvases[name].setAttribute("aria-label", text);
  for (const side of [$.left, $.right]) side.append(make("option", { value: name, textContent: text }));
}
[$.left.value, $.right.value] = ["jpeg", "aec"];
$.view.append(...Object.values(canvases));

for (const one of [$.left, $.right, $.wipe]) one.oninput = wipe;
for (const one of document.querySelectorAll("input[name=zoom]")) one.onchange = layOut;
$.view.onscroll = wipe;
$.view.onpointerdown = (event) => {
  if (event.pointerType !== "mouse" || event.button || event.offsetX < 0) return; // fingers scroll it already
  $.view.setPointerCapture(event.pointerId);
  $.view.onpointermove = ({ movementX, movementY }) => $.view.scrollBy(-movementX, -movementY);
};
$.view.onpointerup = $.view.onpointercancel = () => { $.view.onpointermove = null; };
addEventListener("resize", layOut);

$.quality.oninput = () => { $.chosen.textContent = $.quality.value; };
$.options.onsubmit = (event) => event.preventDefault();
$.options.onchange = ({ target }) => {
  const byBytes = picked("aim") === "bytes";
  [$.byQuality.hidden, $.byBytes.hidden] = [byBytes, !byBytes];
  if (byBytes && !$.bytes.reportValidity()) return;
  if (target === $.most) picture = undefined;
  ask();
};

$.files.onchange = () => showAll([...$.files.files]);
// Wherever it is dropped: the browser would leave this page for it.
addEventListener("dragover", (event) => { event.preventDefault(); $.place.classList.add("over"); });
addEventListener("dragleave", () => $.place.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  $.place.classList.remove("over");
  showAll([...event.dataTransfer.files]);
});
