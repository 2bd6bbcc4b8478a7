/* Stop Press on a publisher's page: whether this browser is subscribed, and whether to ask its
   reader.

     <script data-worker="/sw.js" data-scope="/" data-ask="auto|click|manual"
             data-ask-on="CSS selector" data-topic="world" data-bell data-texts="/alerts.json"
             data-retire="/another-providers-worker.js">
       … import("https://push.example/optin.js") …, see docs/site.md
     </script>

   An ordinary page view compares what is stored here with the browser, and calls the service for
   nothing. All that it does not need is in other scripts, which a page fetches when it does:
   reader.js subscribes, mends and leaves; look.js and panel.js have what a reader sees. */

const DAY_MS = 86_400_000;
const CALL_TIMEOUT_MS = 15_000;
const FIRST_REST_MS = 2000;
const MOST_REST_MS = 31 * DAY_MS; // after the second “Not now”, and a day to spare
const CLEARED_MS = 2000; // within which a browser that clears all of a site's data ends the subscription
const NEVER = 3; // refusals
const SETTINGS = ["ask", "askOn", "bell", "retire", "scope", "texts", "topic"];
const ASKED_BY_ALERT = "#stop-press="; // begins the fragment of a page that an alert's link opens

// {id, token, endpoint, topics, receipts, checked, seen}, or {leaving: {id, token}}
const SUBSCRIBED = "stop-press";
// {views, refusals, until}; of unanswered questions {ignored, rest}; while a page shows one {open};
// {page} that led to a subscription, until it is confirmed
const ASKED = "stop-press-asked";

// A page may have a variable `URL` or a class `Notification` of its own. `webkitURL` is the other name
// of the browser's (URL Standard section 6.1).
const { Notification } = window;
// An optimiser may serve a copy, or write the code into the page. The service's own address is the
// SITE_URL that service/reader/scripts.py puts in.
const { pathname } = new webkitURL(import.meta.url);
const service = pathname === "/optin.js" ? import.meta.url : SITE_URL;
// Not `document.scripts`, which an image of that name hides; nor `body`, nor `baseURI`.
const find = (selector) => [...document.querySelectorAll(selector)];
const scripts = find("script").filter(({ src }) => src === import.meta.url);
const tag =
  scripts.find(({ dataset }) => dataset.worker) ??
  find("script[data-worker]")[0] ??
  // A tag that an optimiser has stripped of its settings asks nobody in the publisher's name.
  scripts.find(({ dataset }) => SETTINGS.some((name) => name in dataset));
const settings = { worker: "/sw.js", ask: "auto", ...tag?.dataset };
const corner = document.createElement("div");
corner.dataset.stopPress = "corner";
// A worker is on the page's own origin: a `<base>` of another one, such as a CDN's, is not for it.
const base = new webkitURL(corner.baseURI).origin === location.origin ? corner.baseURI : location.href;
const workerUrl = new webkitURL(settings.worker, base);
const scopeUrl = scope();

function scope() {
  const usual = new webkitURL(".", workerUrl);
  try {
    return new webkitURL(settings.scope ?? usual, base);
  } catch {
    console.warn("Stop Press: data-scope is no address:", settings.scope);
    return usual;
  }
}

if (window !== top) settings.ask = "manual"; // a frame is a part of another page
// An iPad says that it is a Mac.
const apple =
  /iP(hone|ad|od)/.test(navigator.userAgent) ||
  (navigator.platform === "MacIntel" && navigator.maxTouchPoints > 1);
// A reader who asks not to be tracked is sent no receipt tokens.
const receipts = !navigator.globalPrivacyControl && navigator.doNotTrack !== "1";
// Browsers within other apps: without push, a bell there would lead nowhere. On an iPhone it leads
// to Safari.
const EMBEDDED = /; wv\)|FBA[NV]|Instagram|Line\/|MicroMessenger|Snapchat|Pinterest|GSA\//;
const replaced = Notification && !Notification.permission;
const supported = "serviceWorker" in navigator && "PushManager" in window && Notification?.permission;
// In a frame of another origin a browser says “denied” where nobody has refused.
const mine = supported && window === top;
const deadEnd = !supported && !apple && EMBEDDED.test(navigator.userAgent);

// What some scripts import, which are loaded where it may be missing: see `load`.
const IMPORTED = [
  [/links|story/, "./panel.js"],
  [/home|panel/, "./look.js"],
];
const loaded = new Set(); // by name

/** Load a script of ours, from the folder of this release (service/reader/scripts.py puts in its
    VERSION), so that it is never an older one of the browser's cache. Firefox remembers a failed
    import for as long as the page is open: this first looks whether the file can be had; the import
    then finds it in the cache. */
async function load(name) {
  // A string, because pages replace `fetch` by their own.
  const url = new webkitURL(name, new webkitURL("/parts/VERSION/", service)).href;
  if (!loaded.has(name)) {
    for (const [names, imported] of IMPORTED) if (names.test(name)) await load(imported);
    const options = { credentials: "omit", signal: AbortSignal.timeout?.(CALL_TIMEOUT_MS) };
    const response = await fetch(url, options).catch(() => ({}));
    // A worker of the site may answer with a page that says “offline”; and the file may not come
    // to its end.
    const isScript = response.ok && /javascript/.test(response.headers.get("Content-Type"));
    if (!isScript || !(await response.text().catch(() => "")))
      throw Object.assign(new Error(`cannot load ${url}`), { kind: "offline" });
  }
  const module = await import(url);
  loaded.add(name);
  return module;
}

function recall(name) {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? {};
  } catch {
    return {}; // storage is blocked, or holds something else
  }
}

/** Return an array as it is: Prototype.js, before 1.7, has `JSON.stringify` write it as a string. */
function plain(name, value) {
  return Array.isArray(this[name]) ? this[name] : value;
}

/** Store a value; whether the browser lets us. */
function remember(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value, plain));
    return true;
  } catch {
    return false;
  }
}

/** Whether the browser stores what we ask it to: else we would ask on every page view. If it is full,
    it may still take another value under a name that it has. */
function hasRoom() {
  const name = `${SUBSCRIBED}-room`;
  const fits = remember(name, " ".repeat(1000));
  if (fits) localStorage.removeItem(name);
  return fits;
}

function state() {
  const { id = null, topics = [] } = recall(SUBSCRIBED);
  const permission = supported ? Notification.permission : "unsupported";
  return { subscribed: Boolean(id), id, topics, permission };
}

/** Tell the page the state of this browser. */
function announce() {
  dispatchEvent(new CustomEvent("stoppress:change", { detail: state() }));
}

/** Return what the service says of this site. If it does not answer, reader.js finds out why. */
async function site() {
  const options = { credentials: "omit", signal: AbortSignal.timeout(CALL_TIMEOUT_MS) };
  const response = await fetch(new webkitURL("/api/v1/site", service).href, options).catch(() => ({}));
  return response.ok ? response.json() : reader.siteOrWhy();
}

function whyNot() {
  if (!supported) return apple && !navigator.standalone ? "home" : "unsupported";
  if (Notification.permission === "denied") return "blocked";
  return hasRoom() ? null : "storage";
}

function mayAsk() {
  const { refusals = 0, until = 0, rest = 0 } = recall(ASKED);
  // A rest that seems longer than any was noted while the clock ran ahead.
  const rests = [until, rest].some((end) => Date.now() < end && end < Date.now() + MOST_REST_MS);
  return refusals < NEVER && !rests && !whyNot() && !state().subscribed;
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Call `run` in one tab of this site at a time, so that no tab repeats the work of another. This
    does not wait for ever for a tab that hangs: to repeat its work is harmless.

    Browsers without locks have no `AbortSignal.timeout` either: they cannot call the service. */
function alone(run) {
  let running;
  const once = () => (running ??= run());
  const { locks } = navigator;
  if (!locks) return;
  const locked = locks.request(SUBSCRIBED, once).catch(once); // a browser may refuse locks
  return Promise.race([locked, pause(CALL_TIMEOUT_MS).then(once)]);
}

// Firefox takes the workers from a registration that no script of the page holds, when it looks for
// garbage, and may hand out the same object again, empty (seen in 153).
let held = [];

/** Return in one line all that this page view sees of subscriptions on this origin; 0 for none. */
async function sight() {
  held = await navigator.serviceWorker.getRegistrations();
  const found = await Promise.all(held.map((one) => one.pushManager.getSubscription()));
  const endpoints = found.filter(Boolean).map((one) => one.endpoint);
  const terms = [receipts, Notification.permission];
  return endpoints.length && [...terms, (await site()).vapid_public_key, ...endpoints].join();
}

/** Have the subscription mended if anything differs from what was seen last, and once a day. */
async function check() {
  const { id, leaving, seen, checked } = recall(SUBSCRIBED);
  const now = leaving ?? (await sight());
  const same = now && now === seen?.[scopeUrl] && Math.abs(Date.now() - checked) < DAY_MS;
  if (!same && (now || id)) await reader.mend();
}

const page = {
  ...{ settings, workerUrl, scopeUrl, apple, receipts, recall, remember, state, announce },
  ...{ base, whyNot, mayAsk, alone, sight, site, load },
  /** An application may have replaced the tag by that of another section. */
  get tag() {
    return tag?.isConnected ? tag : (find("script[data-worker]")[0] ?? tag);
  },
};

/** All that can be done for this reader: the page's own, or by reader.js, which loads then. */
const reader = new Proxy(page, {
  get(known, name) {
    if (name in known) return known[name];
    return async (...given) => (await load("./reader.js")).readerOf(page)[name](...given);
  },
});

/** Count the page view, and ask if the newsroom's conditions for that are met on it. */
async function askInTime() {
  const views = (recall(ASKED).views ?? 0) + 1;
  remember(ASKED, { ...recall(ASKED), views });
  if (mayAsk()) await (await load("./asking.js")).askInTime(reader, await site(), views);
}

/** Ask after a click on an element that the publisher named. */
function askOnClick({ target }) {
  if (!target.closest?.(settings.askOn) || !mayAsk()) return;
  load("./asking.js").then((asking) => asking.askNow(reader)).catch(trouble);
}

function listenForClicks() {
  try {
    find(settings.askOn);
    document.addEventListener("click", askOnClick);
  } catch {
    console.warn("Stop Press: data-ask-on is no selector:", settings.askOn);
  }
}

// The elements that can have a shadow root, beside those with a dash in their names.
const FIT = /-|^(article|aside|div|footer|h\d|header|main|nav|p|section|span)$/;
const furnished = new WeakSet();
let furnishing = false;
let placed = 0; // when the bell in the corner was
let placing = null; // a timer
let rest = FIRST_REST_MS;

/** Whether a place can hold what belongs there; one that cannot must not keep the others empty. */
function fits(place) {
  if (FIT.test(place.localName)) return true;
  furnished.add(place);
  console.warn("Stop Press: data-stop-press must be on a <div> or <span>, not on", place);
}

/** Put the bell into the page's corner, in place of copies that a page's own cache has kept of it. A
    page that removes it gets it back once a second, so that neither keeps the browser busy. */
function placeCorner() {
  const early = placed + 1000 - Date.now();
  if (early > 0) return void (placing ??= setTimeout(() => ((placing = null), furnish()), early));
  placed = Date.now();
  for (const copy of find("[data-stop-press=corner]")) copy.remove();
  // Not in `body`, whose filter would put the bell at the end of the page.
  if (find("body")[0]) find("html")[0].append(corner);
}

async function fillOne(bell, place) {
  try {
    await bell.furnish(reader, [place]);
  } catch (error) {
    if (error.name !== "NotSupportedError") throw error;
    console.warn("Stop Press: another script has given this place a shadow root", place);
  }
  furnished.add(place);
}

/** Fill the places for bells and preferences that are still empty. After a failure this rests,
    longer each time, however often the page changes. */
async function furnish() {
  if ("bell" in settings && !deadEnd && !corner.isConnected) placeCorner();
  const places = find(deadEnd ? "[data-stop-press=preferences]" : "[data-stop-press]");
  const empty = places.filter((one) => !furnished.has(one) && fits(one));
  if (furnishing || !empty.length) return;
  furnishing = true;
  try {
    const bell = await load("./bell.js");
    await Promise.all(empty.map((place) => fillOne(bell, place)));
    rest = FIRST_REST_MS;
  } catch (error) {
    trouble(error);
    await pause(rest);
    rest *= 2;
  }
  furnishing = false;
  furnish();
}

// If the service is down, a page must be neither slow nor broken. The next visit tries again.
function trouble(error) {
  console.debug("Stop Press:", error);
}

async function keepTrue() {
  try {
    if (settings.retire) await reader.retire();
  } finally {
    await alone(check);
  }
}

/** Wait until a reader opens the page: a browser may prepare one that nobody looks at in the end. */
async function opened() {
  if (Reflect.get(Document.prototype, "prerendering", document))
    await new Promise((look) =>
      document.addEventListener("prerenderingchange", look, { once: true }),
    );
}

/** Answer the worker, which brings a page to the front only if a reader has opened it. */
function answer({ data, ports }) {
  if (data?.type === "stoppress:here") ports[0].postMessage(true);
}

async function visit() {
  const goOn = async () => (await load("./home.js")).goOn();
  // A broken storage may never say where to go.
  const goes = () => Promise.race([goOn().catch(trouble), pause(CALL_TIMEOUT_MS)]);
  if (apple && navigator.standalone && (await goes())) return;
  const byAlert = window === top && location.hash.startsWith(ASKED_BY_ALERT);
  if (mine) {
    navigator.serviceWorker.addEventListener("message", answer);
    const kept = keepTrue();
    // A reader who pressed our link waits for its panel, which has a “Try again” of its own.
    await (byAlert ? Promise.race([kept.catch(trouble), pause(CALL_TIMEOUT_MS)]) : kept);
  }
  if (byAlert) return (await load("./links.js")).follow(reader);
  if (settings.ask === "auto" && !state().subscribed) await askInTime();
}

/** Keep a key that is pressed in a control of ours from the page's own shortcuts: to the page it is
    pressed on a <div>, so that a player takes the space bar for its own. */
function keepKey(event) {
  if (event.target.stopPress && !/^(Escape|Tab)$/.test(event.key)) event.stopImmediatePropagation();
}

/** Count what a reader did; whether it was counted. A page that waits for this goes on in any case. */
async function converted(name) {
  const counting = load("./converted.js").then((counted) => counted.converted(reader, name));
  return (await counting.catch(trouble)) ?? false;
}

/** Show what another page has stored; where it has cleared what is stored, as sites do when a reader
    signs out, first find out whether this browser is still subscribed. */
function onStorage({ key, newValue }) {
  if (key !== SUBSCRIBED && key !== null) return;
  const found = newValue === null && mine && pause(CLEARED_MS).then(() => alone(check));
  Promise.resolve(found).catch(trouble).then(announce);
}

/** Begin, unless another tag of the page has begun already. */
async function begin() {
  const { ask, leave } = reader;
  const refresh = () => reader.refresh();
  window.StopPress = { ask, preferences: ask, leave, state, converted, refresh };
  addEventListener("storage", onStorage);
  // A page from the back/forward cache has not heard what other pages did meanwhile.
  addEventListener("pageshow", ({ persisted }) => persisted && announce());
  for (const type of ["keydown", "keypress", "keyup"]) addEventListener(type, keepKey, true);
  if (settings.ask === "click") listenForClicks();
  if (replaced) console.warn("Stop Press: a script of this page has replaced window.Notification");
  await opened();
  visit().catch(trouble);
  furnish();
  // In a single-page application, places appear later, and another path is another page view.
  new MutationObserver(furnish).observe(document, { childList: true, subtree: true });
  window.navigation?.addEventListener?.("currententrychange", ({ from }) => {
    if (new webkitURL(from.url).pathname !== location.pathname) visit().catch(trouble);
  });
}

if (!tag) console.warn("Stop Press: no script tag with data-worker is on this page; see docs/site.md");
else if (!window.StopPress?.refresh) begin();
