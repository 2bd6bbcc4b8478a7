/* Stop Press on a publisher's page: whether this browser is subscribed, whether to ask its reader,
   and the calls to the service.

     <script type="module" src="https://push.example/optin.js" data-worker="/sw.js"
             data-scope="/" data-ask="auto|click|manual" data-ask-on="CSS selector"
             data-topic="world" data-bell data-texts="/alerts.json"
             data-retire="/another-providers-worker.js"></script>

   All that a reader sees is in other scripts, which a page fetches only when it shows them. An
   ordinary page view compares what is stored here with the browser and calls the service for
   nothing. */

const DAY_MS = 86_400_000;
const CALL_TIMEOUT_MS = 15_000;
// After the first and the second “Not now” we do not ask for this many days, after the third never.
const REST_DAYS = [7, 30];
const NEVER = 3;
const WORDING = 1; // the version of the question, stored with a reader's consent
const ASKED_BY_ALERT = "#stop-press="; // begins the fragment of a page that an alert's link opens
// The service does not know this id, or not with this token, or its reader has left.
const UNKNOWN = [401, 403, 404, 410];

// {id, token, endpoint, topics, receipts, checked}, or {leaving: {id, token}}
const SUBSCRIBED = "stop-press";
const ASKED = "stop-press-asked"; // {views, refusals, until}

const DIALOGS = "dialog[open], [role$=dialog], [aria-modal=true]";
// Names of consent managers' containers, and of other elements in view that ask for consent.
const CONSENT =
  /didomi|usercentrics|tarteaucitron|axeptio|cmp(box|wrapper|2)|onetrust|sp_message|iubenda-cs|osano-cm/;
const CALLED_SO = /consent|cookie/i;

const tag = [...document.scripts].find((script) => script.src === import.meta.url);
const settings = { worker: "/sw.js", ask: "auto", ...tag?.dataset };
const workerUrl = new URL(settings.worker, document.baseURI);
const scopeUrl = new URL(settings.scope ?? new URL(".", workerUrl), document.baseURI);
// An iPad says that it is a Mac.
const apple =
  /iP(hone|ad|od)/.test(navigator.userAgent) ||
  (navigator.platform === "MacIntel" && navigator.maxTouchPoints > 1);
// A reader who asks not to be tracked is sent no receipt tokens.
const receipts = !navigator.globalPrivacyControl && navigator.doNotTrack !== "1";
const corner = document.createElement("div");
corner.dataset.stopPress = "corner";
const supported =
  "serviceWorker" in navigator && "PushManager" in window && "Notification" in window;

/** An error for which the panel has a text, named by `kind`. `cause` is for the console; `status`
    is the service's, if it refused a call. */
function failure(kind, cause, status) {
  return Object.assign(new Error(kind, { cause }), { kind, status });
}

function recall(name) {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? {};
  } catch {
    return {}; // storage is blocked, or holds something else
  }
}

function remember(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // Storage is blocked, so that the next visit knows nothing of this one.
  }
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

function settle(value) {
  remember(SUBSCRIBED, value);
  announce();
}

/** Call `run` in one tab of this site at a time, so that no tab repeats the work of another.

    Browsers without locks have no `AbortSignal.timeout` either: they cannot call the service. */
function alone(run) {
  return navigator.locks?.request(SUBSCRIBED, run);
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
  return about(recall(SUBSCRIBED), method, path, body);
}

async function change(preferences) {
  await own("PATCH", "", preferences);
  settle({ ...recall(SUBSCRIBED), topics: preferences.topics });
}

/** Return the registration at exactly our scope, not the site's own at a wider one. */
async function ownRegistration() {
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
    receipts,
  };
}

function whySubscribeFailed(error) {
  if (error.name !== "NotAllowedError") return "push-service";
  return Notification.permission === "denied" ? "blocked" : "unanswered";
}

/** Store here what the service now knows of this browser. Until the reader confirms, each page view
    checks in with the service, because the welcome may have been lost. */
function note({ id, token, confirmed }, { endpoint }, topics) {
  settle({ id, token, endpoint, topics, receipts, checked: confirmed && Date.now() });
}

/** Subscribe this browser with these preferences and store it at the service, both or neither.

    Call it in the handler of a click, before anything is awaited, because Firefox and Safari show
    their question only then. */
async function join(registration, key, preferences) {
  const subscription = await subscribeBrowser(registration, key).catch((error) => {
    throw failure(whySubscribeFailed(error), error);
  });
  try {
    await alone(async () => {
      const body = { ...describe(subscription), ...preferences, wording: WORDING };
      const stored = await call("POST", "subscriptions", { body });
      remember(ASKED, {});
      note(stored, subscription, preferences.topics);
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
  const kept = recall(SUBSCRIBED);
  const { id, token, leaving = id && { id, token } } = kept;
  remember(SUBSCRIBED, { ...kept, leaving }); // the page may be closed meanwhile
  remember(ASKED, { refusals: NEVER });
  const subscription = await (await ownRegistration())?.pushManager.getSubscription();
  const [here, there] = await Promise.allSettled([
    subscription?.unsubscribe(),
    leaving && erase(leaving),
  ]);
  const erased = there.status === "fulfilled";
  settle(erased ? {} : { leaving });
  if (!erased && !(subscription && here.value)) throw there.reason;
}

function leave() {
  return alone(quit);
}

/** Tell the service about changes, and (if `seldom`, weekly) that this browser is still here. */
async function reconcile(subscription, kept, seldom) {
  const changed = subscription.endpoint !== kept.endpoint;
  const same = !changed && kept.receipts === receipts;
  if (same && seldom && Date.now() - kept.checked < 7 * DAY_MS) return;
  try {
    const body = describe(subscription);
    const { token } = kept; // proves that other keys are this reader's
    const stored =
      changed && kept.id
        ? await about(kept, "PATCH", "", body)
        : await call("POST", "subscriptions", { body: { ...body, refresh: true }, token });
    const { topics } = kept.topics ? kept : await about(stored, "GET");
    note(stored, subscription, topics);
  } catch (error) {
    if (error.status === 410) return quit(); // this reader has left, perhaps elsewhere
    if (!UNKNOWN.includes(error.status)) throw error;
    // The panel may ask again, unless another tab has mended it meanwhile.
    if (recall(SUBSCRIBED).id === kept.id) note({ confirmed: true }, subscription);
  }
}

/** Compare what is stored here with the browser, and mend what differs. */
async function mend(seldom) {
  const kept = recall(SUBSCRIBED);
  // The reader left while offline, or took the permission back in the browser's settings.
  if (kept.leaving || (kept.id && Notification.permission !== "granted")) return quit();
  const registration = await ownRegistration();
  const subscription = await registration?.pushManager.getSubscription();
  if (!kept.id && !subscription) return;
  const key = (await site()).vapid_public_key;
  if (subscription && applicationServerKey(subscription) === key) {
    return reconcile(subscription, kept, seldom);
  }
  if (!kept.id) return; // with another key it is another service's subscription
  const renewed = await subscribeBrowser(await activeRegistration(), key);
  await reconcile(renewed, kept, seldom);
}

function refresh(seldom) {
  return alone(() => mend(seldom));
}

function later() {
  const { refusals = 0, ...rest } = recall(ASKED);
  const days = REST_DAYS[refusals] ?? 0;
  remember(ASKED, { ...rest, refusals: refusals + 1, until: Date.now() + days * DAY_MS });
}

function whyNot() {
  if (!supported) return apple && !navigator.standalone ? "home" : "unsupported";
  return Notification.permission === "denied" ? "blocked" : null;
}

/** Prepare all that a click on “Yes” needs, so that the click itself can subscribe. */
async function prepare() {
  const [facts, registration] = await Promise.all([
    site(),
    activeRegistration().catch((error) => {
      throw failure("worker", error);
    }),
  ]);
  return {
    ...facts,
    preselected: facts.topics.filter((topic) => topic.default || topic.slug === tag?.dataset.topic),
    join: (preferences) => join(registration, facts.vapid_public_key, preferences),
  };
}

const reader = { tag, whyNot, prepare, site, own, change, state, leave, later, refresh, ask };

async function openPanel(unasked) {
  const { open } = await import("./panel.js");
  await open(reader, unasked);
}

/** Open the panel: the question, or a subscriber's preferences. */
function ask() {
  return openPanel();
}

/** Whether something else waits for the reader's answer: a dialog, an element over the middle of
    the page, or a consent manager at its edges. */
function somethingIsOpen() {
  const dialogs = document.querySelectorAll(DIALOGS);
  const seen = { visibilityProperty: true, opacityProperty: true };
  if ([...dialogs].some((dialog) => dialog.checkVisibility?.(seen) ?? true)) return true;
  // The first spot is the middle.
  const spots = [0.5, 0.03, 0.97].flatMap((y) => [0.5, 0.1, 0.9].map((x) => [x, y]));
  return spots.some(([x, y], index) => {
    let node = document.elementFromPoint(x * innerWidth, y * innerHeight);
    for (let stays = false; node && node !== document.body; node = node.parentElement) {
      const { position } = getComputedStyle(node);
      const called = `${node.id} ${node.className}`;
      stays ||= /fixed|sticky/.test(position);
      if (CONSENT.test(called) || (stays && CALLED_SO.test(called))) return true;
      if (index === 0 && position === "fixed") return true;
    }
    return false;
  });
}

function mayAsk() {
  const { refusals = 0, until = 0 } = recall(ASKED);
  const rested = refusals < NEVER && Date.now() >= until;
  return rested && !whyNot() && !state().subscribed;
}

/** Open the panel by itself, if the newsroom's conditions for that are met on this page view. */
async function askInTime() {
  const views = (recall(ASKED).views ?? 0) + 1;
  remember(ASKED, { ...recall(ASKED), views });
  if (!mayAsk()) return;
  const { prompt } = await site();
  if (views < prompt.page_views) return;
  const { pathname } = location;
  await new Promise((resolve) => setTimeout(resolve, prompt.delay_seconds * 1000));
  if (pathname === location.pathname && mayAsk() && !somethingIsOpen()) await openPanel(true);
}

/** Open the panel after a click on an element that the publisher named. */
function askOnClick({ target }) {
  if (!target.closest(settings.askOn) || !mayAsk() || somethingIsOpen()) return;
  openPanel(true).catch(trouble);
}

/** Fill the places for bells and preferences that are still empty. */
function furnish() {
  if ("bell" in settings && !corner.isConnected) document.body?.append(corner);
  const empty = [...document.querySelectorAll("[data-stop-press]")].filter((one) => !one.shadowRoot);
  if (empty.length) import("./bell.js").then((bell) => bell.furnish(reader, empty)).catch(trouble);
}

// If the service is down, a page must be neither slow nor broken. The next visit tries again.
function trouble(error) {
  console.debug("Stop Press:", error);
}

async function visit() {
  if (supported) {
    if (settings.retire) {
      const { retire } = await import("./retire.js");
      await retire(settings.retire, { runs, site, prepare, mayAsk });
    }
    await refresh(true);
  }
  if (location.hash.startsWith(ASKED_BY_ALERT)) return (await import("./links.js")).follow(reader);
  if (settings.ask === "auto" && !state().subscribed) await askInTime();
}

window.StopPress = { ask, preferences: ask, leave, state, refresh: () => refresh() };
addEventListener("storage", ({ key }) => {
  if (key === SUBSCRIBED || key === null) announce(); // null: all storage was cleared
});
if (settings.ask === "click") document.addEventListener("click", askOnClick);
visit().catch(trouble);
furnish();
// In a single-page application, places appear later, and another path is another page view.
new MutationObserver(furnish).observe(document, { childList: true, subtree: true });
window.navigation?.addEventListener("currententrychange", ({ from }) => {
  if (new URL(from.url).pathname !== location.pathname) visit().catch(trouble);
});
