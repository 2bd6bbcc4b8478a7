/* What this browser has and does: its workers, and its subscriptions at push services. `reader.js`
   keeps them and the service in step; `service/reader/scripts.py` serves both as one script. */

import { failure } from "./calls.js";

// When to try `subscribe()` again.
const TRY_AGAIN_MS = [500, 2000, 5000];
const LISTED_MS = 10_000; // for the browser to list its subscriptions
const ASIDE_MS = 3000; // for what need not be done before the reader is told
export const ACTIVE_MS = 20_000; // for a worker to install, which may store a whole application first
const LOOK_MS = 200; // until the next look at a worker that does not tell of its coming
const HERE_MS = 3000; // within which a worker says that our script is in it

export let page; // what optin.js knows and can do
let policy; // for addresses of scripts

export function serve(given) {
  page = given;
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function workerOf({ active, waiting, installing }) {
  return active ?? waiting ?? installing;
}

/** Whether a registration's worker is the file at `url`; its query, a version often, may differ. */
export function runs(registration, url) {
  const { origin, pathname } = new webkitURL(workerOf(registration)?.scriptURL ?? import.meta.url);
  return origin === url.origin && pathname === url.pathname;
}

/** Return every subscription of this origin with its registration; the one at our scope first. */
export function subscriptions() {
  const late = failure("starting", "the browser does not tell its subscriptions");
  return inTime(listed(), LISTED_MS, late);
}

async function listed() {
  const found = [];
  for (const registration of await navigator.serviceWorker.getRegistrations()) {
    const subscription = await registration.pushManager.getSubscription();
    const here = registration.scope === page.scopeUrl.href;
    if (subscription) found[here ? "unshift" : "push"]({ registration, subscription, here });
  }
  return found;
}

/** Return the registration at exactly our scope, not the site's own at a wider one. While another
    part of the page, or another tab, has begun to register and the browser still fetches the file,
    the registration has no worker: wait for that. */
async function ownRegistration() {
  const { scopeUrl } = page;
  for (let spent = 0; ; spent += LOOK_MS) {
    const registration = await navigator.serviceWorker.getRegistration(scopeUrl);
    if (registration?.scope !== scopeUrl.href) return;
    if (workerOf(registration) || spent >= ACTIVE_MS) return registration;
    await pause(LOOK_MS);
  }
}

function register(url, updateViaCache = "none") {
  // A page may require that addresses of scripts are trusted (`require-trusted-types-for`).
  const rules = { createScriptURL: (address) => address };
  try {
    policy ??= window.trustedTypes?.createPolicy("stop-press", rules) ?? rules;
  } catch {
    policy = rules; // the page allows other policies alone; its default one may let the address pass
  }
  const options = { scope: page.scopeUrl.href, updateViaCache };
  return navigator.serviceWorker.register(policy.createScriptURL(url.href), options);
}

/** Fail with `error` if a promise takes longer; then neither the reader nor another tab waits. */
export function inTime(promise, milliseconds, error) {
  const late = pause(milliseconds).then(() => {
    throw error;
  });
  return Promise.race([promise, late]);
}

/** Wait for work that the reader need not wait for, though not for long, and whatever becomes of it. */
export function aside(promise, milliseconds = ASIDE_MS) {
  return Promise.race([promise, pause(milliseconds)]).catch(console.debug);
}

/** Register the worker and wait until it is active, which `subscribe()` requires. A worker that was
    replaced meanwhile did not fail, and a busy browser may fail for a moment: look twice. The site's
    developers find in the console why it fails. */
export function activeRegistration() {
  const late = failure("starting", "the worker does not become active");
  return inTime(activated().catch(activated), ACTIVE_MS, late).catch((error) => {
    console.warn("Stop Press:", page.workerUrl.href, error.cause ?? error);
    throw error.kind ? error : failure("worker", error);
  });
}

/** A registration of the site's own stays as it is. */
async function activated() {
  const there = await ownRegistration();
  if (there && !runs(there, page.workerUrl)) throw new Error("another worker is at our scope");
  const registration = there ?? (await register(page.workerUrl));
  const worker = workerOf(registration);
  await new Promise((resolve, reject) => {
    const look = () => {
      if (worker.state === "activated") resolve();
      if (worker.state === "redundant") reject(new Error("the worker did not install"));
    };
    worker.addEventListener("statechange", look);
    look();
  });
  return registration;
}

function encoded(buffer) {
  const text = btoa(String.fromCharCode(...new Uint8Array(buffer ?? [])));
  return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

export function keyOf({ options }) {
  return encoded(options?.applicationServerKey);
}

/** Whether a push service can be at the address: Chromium gives out some that are not for use. */
export function isUsable({ endpoint }) {
  return !new webkitURL(endpoint).hostname.endsWith(".invalid");
}

/** Subscribe at the push service. A subscription with another key gives way to ours. What fails for
    a moment only, as it does after leaving, is tried again. */
export async function subscribeBrowser({ pushManager }, key) {
  const options = { userVisibleOnly: true, applicationServerKey: key };
  for (const wait of TRY_AGAIN_MS) {
    try {
      const subscription = await pushManager.subscribe(options);
      if (isUsable(subscription)) return subscription;
      await subscription.unsubscribe();
    } catch (error) {
      if (error.name === "InvalidStateError") {
        await (await pushManager.getSubscription())?.unsubscribe();
        continue;
      }
      if (error.name !== "AbortError" || (await navigator.brave?.isBrave?.())) throw error;
    }
    await pause(wait);
  }
  const subscription = await pushManager.subscribe(options);
  if (isUsable(subscription)) return subscription;
  throw new Error("the push service gives no address");
}

/** The browser's time zone. Browsers fail to tell it where the system's is none that they know. */
function zone() {
  try {
    return Intl.DateTimeFormat().resolvedOptions().timeZone;
  } catch {
    return null;
  }
}

export function describe(subscription) {
  // Old browsers and other programs have a plain object, with keys as bytes or without.
  const { endpoint, keys } = subscription.toJSON?.() ?? subscription;
  const secret = (name) => {
    const value = keys?.[name] || subscription.getKey?.(name);
    return typeof value === "string" ? value : encoded(value);
  };
  return {
    subscription: { endpoint, keys: { p256dh: secret("p256dh"), auth: secret("auth") } },
    // A page may still hold an earlier key of the site.
    vapid_public_key: keyOf(subscription) || null,
    locale: navigator.language,
    timezone: zone(),
    receipts: page.receipts,
  };
}

export async function whySubscribeFailed({ name }) {
  const { permission } = window.Notification;
  if (name === "NotAllowedError") {
    if (permission === "denied") return "blocked";
    return permission === "granted" ? "system" : "unanswered";
  }
  if (/^Invalid(Access|Character)/.test(name)) return "refused"; // the key is wrong
  return (await navigator.brave?.isBrave?.()) ? "brave" : "push-service";
}

/** Whether our script is in a worker. It is not if we could not be reached when the worker was
    installed. */
async function isComplete(worker) {
  const { port1, port2 } = new MessageChannel();
  const answer = new Promise((resolve) => {
    port1.onmessage = () => resolve(true);
  });
  worker.postMessage("stoppress:here", [port2]);
  return Promise.race([answer, pause(HERE_MS)]);
}

/** Have the browser install the worker anew if our script is not in it. If nothing has changed for
    the browser, it needs an address that it does not know. */
export async function complete(registration) {
  const { active, updateViaCache } = registration;
  const isUpdating = () => !registration.active || registration.waiting || registration.installing;
  if (isUpdating() || (await isComplete(active))) return;
  await registration.update(); // our script may be an older one, which does not answer
  if (isUpdating()) return;
  const url = new webkitURL(active.scriptURL);
  url.searchParams.set("stop-press", Date.now());
  await register(url, updateViaCache);
}
