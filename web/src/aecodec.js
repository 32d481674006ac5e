// SPDX-License-Identifier: Apache-2.0
// <script src="aecodec.js"></script>: pictures x.aec of a page are shown. By a service worker (aecodec-sw.js) from the second page
// on; until then, and where there can be none, by the page itself, which puts a decoded picture in place of what failed to load.
// Attributes: data-weights="URL URL" besides the shipped ones; data-sw="URL", or "off"; data-scope.
(() => {
  const script = document.currentScript;
  const { weights = "", sw, scope } = script.dataset;
  const home = new URL(".", script.src);
  const weightUrls = weights.split(/\s+/).filter(Boolean).map((url) => new URL(url, document.baseURI).href);
  const PROPERTIES = ["background-image", "border-image-source", "content", "list-style-image", "mask-image"];

  const RETRY = 1000; // ms until what failed is asked for again, however often it is wanted: a style may move with each frame
  const shown = new Map(); // URL of an .aec file: promise of one of a PNG
  const made = new WeakSet(); // error events that are for the page
  let api;

  const isPicture = (url) => /\.aec$/i.test(url.split(/[?#]/)[0]);

  async function decoded(url) {
    api ??= import(new URL("index.js", home).href).then(async (found) => {
      for (const one of weightUrls) await found.addWeights(one).catch((error) => console.error(`aecodec: ${one}: ${error.message}`));
      return found;
    });
    const { CodecError, decodeToPng } = await api;
    const response = await fetch(url);
    if (!response.ok) throw new CodecError(`status ${response.status}`);
    const png = await decodeToPng(new Uint8Array(await response.arrayBuffer()));
    return URL.createObjectURL(new Blob([png], { type: "image/png" }));
  }

  function show(url) {
    if (!shown.has(url)) {
      shown.set(url, decoded(url));
      shown.get(url).catch((error) => {
        console.error(`aecodec: ${url}: ${error.name}: ${error.message}`);
        setTimeout(() => shown.delete(url), RETRY);
      });
    }
    return shown.get(url);
  }

  const absolute = (url, base = document.baseURI) => {
    try { return new URL(url, base).href; } catch { return ""; }
  };

  // "a.aec 1x, b.aec 2x"
  const replaced = (srcset, url, by) =>
    srcset.replace(/([^\s,]\S*[^\s,])(\s+[^,]+)?/g, (all, one, width = "") => (absolute(one) === url ? by + width : all));

  async function showElement(image) {
    const url = image.currentSrc || image.src;
    try {
      const by = await show(url);
      const sources = image.parentElement?.matches("picture") ? image.parentElement.querySelectorAll("source") : [];
      for (const element of [...sources, image])
        if (element.srcset) {
          const srcset = replaced(element.srcset, url, by);
          if (srcset !== element.srcset) element.srcset = srcset;
        }
      if (image.src === url) image.src = by;
    } catch {
      const event = new Event("error");
      made.add(event);
      image.dispatchEvent(event);
    }
  }

  const isFailed = (image) => image.complete && !image.naturalWidth && isPicture(image.currentSrc || image.src);

  function showStyle(style, base) {
    for (const property of PROPERTIES) {
      const value = style.getPropertyValue(property);
      for (const [text, , one] of value.matchAll(/url\((["']?)(.*?)\1\)/g)) {
        const url = absolute(one, base);
        if (!isPicture(url)) continue;
        show(url).then((by) => {
          const now = style.getPropertyValue(property);
          style.setProperty(property, now.replace(text, `url("${by}")`), style.getPropertyPriority(property));
        }, () => {});
      }
    }
  }

  function showRules(owner, base) {
    let rules;
    try { rules = owner.cssRules; } catch { return; } // of another origin
    for (const rule of rules ?? []) {
      if (rule.style) showStyle(rule.style, base);
      if (rule.styleSheet) showRules(rule.styleSheet, rule.styleSheet.href ?? base);
      if (rule.cssRules) showRules(rule, base);
    }
  }

  const showSheet = (sheet) => sheet && showRules(sheet, sheet.href ?? document.baseURI);

  function showTree(root) {
    for (const element of [root, ...root.querySelectorAll("[style], style, img, source")]) {
      if (element.matches("source[type='image/x-aecodec']")) element.removeAttribute("type"); // that browsers skip
      if (element.matches("img") && isFailed(element)) showElement(element);
      if (served) continue;
      if (element.matches("style")) showSheet(element.sheet);
      if (element.hasAttribute("style")) showStyle(element.style);
    }
  }

  // Loading ends with an error where nobody decodes: for all elements, whenever they come.
  document.addEventListener("error", (event) => {
    const image = event.target;
    if (made.has(event) || !(image instanceof HTMLImageElement) || !isPicture(image.currentSrc || image.src)) return;
    event.stopImmediatePropagation();
    showElement(image);
  }, true);

  const worker = new URL(sw && sw !== "off" ? sw : "aecodec-sw.js", sw ? document.baseURI : home);
  for (const url of weightUrls) worker.searchParams.append("weights", url);
  const workers = sw !== "off" && navigator.serviceWorker; // https and localhost alone
  const served = workers?.controller?.scriptURL === worker.href;
  showTree(document.documentElement);
  if (!served) {
    for (const sheet of document.styleSheets) showSheet(sheet);
    document.addEventListener("load", (event) => {
      if (event.target instanceof HTMLLinkElement) showSheet(event.target.sheet);
    }, true);
  }
  new MutationObserver((records) => {
    for (const { type, target, addedNodes } of records) {
      if (type === "attributes") showStyle(target.style);
      for (const node of addedNodes) {
        if (node instanceof Element) showTree(node);
        else if (target instanceof HTMLStyleElement && !served) showSheet(target.sheet); // its text
      }
    }
  }).observe(document, { subtree: true, childList: true, ...(!served && { attributeFilter: ["style"] }) });

  async function register() {
    const place = new URL(scope ?? ".", worker);
    const other = await workers.getRegistration(place);
    const theirs = other?.scope === place.href && (other.active ?? other.waiting ?? other.installing)?.scriptURL;
    if (theirs && new URL(theirs).pathname !== worker.pathname) return; // a site's own: it may import ours
    await workers.register(worker, { type: "module", ...(scope && { scope }) });
  }
  if (workers && worker.origin === location.origin) register().catch(() => {}); // a browser without modules there: the page does it
})();
