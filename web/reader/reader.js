/* What is done with this browser's subscription: subscribe, mend, change, leave; and the calls to
   the service. optin.js loads this when it needs it, which an ordinary page view does not. */

const CALL_TIMEOUT_MS = 15_000;
const NEVER = 3; // refusals
// After the first and the second “Not now” we do not ask for this many days, after the third never.
const REST_DAYS = [7, 30];
const DAY_MS = 86_400_000;
const WORDING = 2; // the version of the question, stored with a reader's consent
// The service does not know this id, or not with this token, or its reader has left.
const UNKNOWN = [401, 403, 404, 410];
const SUBSCRIBED = "stop-press"; // see optin.js
const ASKED = "stop-press-asked"; // likewise

let page; // what optin.js knows and can do
const recall = () => page.recall(SUBSCRIBED);

/** An error for which the panel has a text, named by `kind`. `cause` is for the console; `status`
    is the service's, if it refused a call. */
function failure(kind, cause, status) {
  return Object.assign(new Error(kind, { cause }), { kind, status });
}

function settle(value) {
  page.remember(SUBSCRIBED, value);
  page.announce();
}

/** Call the service. Fails as "offline", or according to the status as "busy" or "refused". */
async function call(method, path, { body, token } = {}) {
  const response = await fetch(new URL(`/api/v1/${path}`, import.meta.url), {
    method,
    headers: {
      ...(body && { "Content-Type": "application/json" }),
      ...(token && { Authorization: `Bearer ${token}` }),
    },
    body: body && JSON.stringify(body),
    credentials: "omit",
    signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
  }).catch((error) => {
    throw failure("offline", error);
  });
  const { ok, status } = response;
  const busy = status === 429 || status >= 500;
  if (!ok) throw failure(busy ? "busy" : "refused", `HTTP ${status}`, status);
  return status === 204 ? {} : response.json();
}

function site() {
  return call("GET", "site");
}

/** Call about the subscription whose `id` and `token` these are. */
function about({ id, token }, method, path = "", body) {
  return call(method, `subscriptions/${id}${path}`, { body, token });
}

function own(method, path, body) {
  return about(recall(), method, path, body);
}

async function change(preferences) {
  await own("PATCH", "", preferences);
  settle({ ...recall(), topics: preferences.topics });
}

/** Return the registration at exactly our scope, not the site's own at a wider one. */
async function ownRegistration() {
  const { scopeUrl } = page;
  const registration = await navigator.serviceWorker?.getRegistration(scopeUrl);
  return registration?.scope === scopeUrl.href ? registration : undefined;
}

function workerOf({ active, waiting, installing }) {
  return active ?? waiting ?? installing;
}

/** Whether a registration's worker is the file at `url`; its query, a version often, may differ. */
function runs(registration, url) {
  const { origin, pathname } = new URL(workerOf(registration)?.scriptURL ?? import.meta.url);
  return origin === url.origin && pathname === url.pathname;
}

/** Register the worker and wait until it is active, which `subscribe()` requires.

    A registration of the site's own stays as it is. */
async function activeRegistration() {
  const { scopeUrl, workerUrl } = page;
  const there = await ownRegistration();
  if (there && !runs(there, workerUrl)) throw new Error("another worker is at our scope");
  const options = { scope: scopeUrl.href, updateViaCache: "none" };
  const registration = there ?? (await navigator.serviceWorker.register(workerUrl, options));
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

function applicationServerKey(subscription) {
  const bytes = new Uint8Array(subscription.options.applicationServerKey ?? []);
  const text = btoa(String.fromCharCode(...bytes));
  return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Subscribe at the push service. A subscription with another key gives way to ours. */
async function subscribeBrowser({ pushManager }, key) {
  const options = { userVisibleOnly: true, applicationServerKey: key };
  try {
    return await pushManager.subscribe(options);
  } catch (error) {
    if (error.name !== "InvalidStateError") throw error;
    await (await pushManager.getSubscription())?.unsubscribe();
    return pushManager.subscribe(options);
  }
}

function describe(subscription) {
  return {
    subscription: subscription.toJSON(),
    // A page may still hold an earlier key of the site.
    vapid_public_key: applicationServerKey(subscription) || null,
    locale: navigator.language,
    timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    receipts: page.receipts,
  };
}

function whySubscribeFailed(error) {
  if (error.name !== "NotAllowedError") return "push-service";
  return Notification.permission === "denied" ? "blocked" : "unanswered";
}

/** Store here what the service now knows of this browser. Until the reader confirms, each page view
    checks in with the service, because the welcome may have been lost. */
async function note({ id, token, confirmed }, { endpoint }, topics) {
  const seen = await page.sight();
  settle({ id, token, endpoint, topics, seen, checked: confirmed && Date.now() });
}

/** Subscribe this browser with these preferences and store it at the service, both or neither.

    Call it in the handler of a click, before anything is awaited, because Firefox and Safari show
    their question only then. */
async function join(registration, key, preferences) {
  const subscription = await subscribeBrowser(registration, key).catch((error) => {
    throw failure(whySubscribeFailed(error), error);
  });
  try {
    await page.alone(async () => {
      const body = { ...describe(subscription), ...preferences, wording: WORDING };
      const stored = await call("POST", "subscriptions", { body });
      page.remember(ASKED, {});
      await note(stored, subscription, preferences.topics);
    });
  } catch (error) {
    await subscription.unsubscribe().catch(() => {});
    throw error;
  }
}

async function erase(leaving) {
  await about(leaving, "DELETE").catch((error) => {
    if (!UNKNOWN.includes(error.status)) throw error;
  });
}

/** Unsubscribe here and at the service. Either ends the alerts; if both fail, so does this, with the
    service's error. What the service did not hear now, it hears on the next visit. */
async function quit() {
  const kept = recall();
  const { id, token, leaving = id && { id, token } } = kept;
  page.remember(SUBSCRIBED, { ...kept, leaving }); // the page may be closed meanwhile
  page.remember(ASKED, { refusals: NEVER });
  const subscription = await (await ownRegistration())?.pushManager.getSubscription();
  const [here, there] = await Promise.allSettled([
    subscription?.unsubscribe(),
    leaving && erase(leaving),
  ]);
  const erased = there.status === "fulfilled";
  settle(erased ? {} : { leaving });
  if (!erased && !(subscription && here.value)) throw there.reason;
}

/** Tell the service about changes, and that this browser is still here. */
async function reconcile(subscription, kept) {
  const changed = subscription.endpoint !== kept.endpoint;
  try {
    const body = describe(subscription);
    const { token } = kept; // proves that other keys are this reader's
    const stored =
      changed && kept.id
        ? await about(kept, "PATCH", "", body)
        : await call("POST", "subscriptions", { body: { ...body, refresh: true }, token });
    const { topics } = kept.topics ? kept : await about(stored, "GET");
    await note(stored, subscription, topics);
  } catch (error) {
    if (error.status === 410) return quit(); // this reader has left, perhaps elsewhere
    if (!UNKNOWN.includes(error.status)) throw error;
    // The panel may ask again, unless another tab has mended it meanwhile.
    if (recall().id === kept.id) await note({ confirmed: true }, subscription);
  }
}

/** Compare what is stored here with the browser, and mend what differs. */
async function mend() {
  const kept = recall();
  // The reader left while offline, or took the permission back in the browser's settings.
  if (kept.leaving || (kept.id && Notification.permission !== "granted")) return quit();
  const registration = await ownRegistration();
  const subscription = await registration?.pushManager.getSubscription();
  if (!kept.id && !subscription) return;
  const key = (await site()).vapid_public_key;
  if (subscription && applicationServerKey(subscription) === key) {
    return reconcile(subscription, kept);
  }
  // With another key it is another service's subscription.
  if (!kept.id) return note({ confirmed: true }, subscription);
  const renewed = await subscribeBrowser(await activeRegistration(), key);
  await reconcile(renewed, kept);
}

function leave() {
  return page.alone(quit);
}

function refresh() {
  return page.alone(mend);
}

/** Note a “Not now”, one for each time that we rest. */
function later() {
  const { refusals = 0, until = 0, ...others } = page.recall(ASKED);
  if (Date.now() < until) return; // another tab has noted it, or the reader pressed the bell
  const days = REST_DAYS[refusals] ?? 0;
  const next = { refusals: refusals + 1, until: Date.now() + days * DAY_MS };
  page.remember(ASKED, { ...others, ...next });
}

/** Prepare all that a click on “Yes” needs, so that the click itself can subscribe. */
async function prepare() {
  const [facts, registration] = await Promise.all([
    site(),
    activeRegistration().catch((error) => {
      throw failure("worker", error);
    }),
  ]);
  const topic = page.tag?.dataset.topic;
  return {
    ...facts,
    preselected: facts.topics.filter((one) => one.default || one.slug === topic),
    join: (preferences) => join(registration, facts.vapid_public_key, preferences),
  };
}

/** Open the panel: the question, or a subscriber's preferences. */
async function ask() {
  const { open } = await import("./panel.js");
  await open(reader);
}

/** Move another provider's readers to us, and end its worker. */
async function retire() {
  const { retire } = await import("./retire.js");
  await retire(page.settings.retire, { runs, site, prepare, mayAsk: page.mayAsk });
}

const reader = {
  ...{ prepare, site, own, change, leave, later, mend, refresh, ask, retire },
};

/** Return what can be done for the reader of a page, with what optin.js knows of it. */
export function readerOf(given) {
  page = given;
  return Object.assign(reader, page);
}
