/* Stop Press on a page: who is subscribed here, whether to ask, and the calls to the service.

     <script type="module" src="https://push.example/optin.js" data-worker="/sw.js"
             data-scope="/" data-ask="auto|click|manual" data-ask-on="CSS selector"
             data-topic="world" data-bell data-texts="/alerts.json"
             data-retire="/another-providers-worker.js"></script>

   What a reader sees is in panel.js and look.js, fetched only when it is shown. An ordinary page
   view compares what is stored here with the browser, and asks the service nothing. */

const DAY_MS = 86_400_000;
const CALL_TIMEOUT_MS = 15_000;
// “Not now” rests this many days the first and the second time; the third is for good.
const REST_DAYS = [7, 30];
const NEVER = 3;
const WORDING = 1; // of the question, recorded with a reader's consent
const ASKED_BY_ALERT = "#stop-press="; // how the fragment begins with which an alert opens a page
// The service does not know this id, or not with this token; or its reader left.
const UNKNOWN = [401, 403, 404, 410];

// {id, token, endpoint, topics, receipts, checked}, or {leaving: {id, token}}
const SUBSCRIBED = "stop-press";
const ASKED = "stop-press-asked"; // {views, refusals, until}

const DIALOGS = "dialog[open], [role$=dialog], [aria-modal=true]";
// What consent managers call their containers, and what others call theirs that stay in view.
const CONSENT =
  /didomi|usercentrics|tarteaucitron|axeptio|cmp(box|wrapper|2)|onetrust|sp_message|iubenda-cs|osano-cm/;
const CALLED_SO = /consent|cookie/i;

const tag = [...document.scripts].find((script) => script.src === import.meta.url);
const settings = { worker: "/sw.js", ask: "auto", ...tag?.dataset };
const workerUrl = new URL(settings.worker, document.baseURI);
const scopeUrl = new URL(settings.scope ?? new URL(".", workerUrl), document.baseURI);
// An iPad calls itself a Mac.
const apple =
  /iP(hone|ad|od)/.test(navigator.userAgent) ||
  (navigator.platform === "MacIntel" && navigator.maxTouchPoints > 1);
// Whoever asks not to be tracked is sent no receipt tokens.
const receipts = !navigator.globalPrivacyControl && navigator.doNotTrack !== "1";
const corner = document.createElement("div");
corner.dataset.stopPress = "corner";
const supported =
  "serviceWorker" in navigator && "PushManager" in window && "Notification" in window;

/** A failure the panel has words for: `kind` names them; `cause` is for the console, `status` the
    service's answer where it refused. */
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
    // Storage is blocked: the next visit begins anew.
  }
}

function state() {
  const { id = null, topics = [] } = recall(SUBSCRIBED);
  const permission = supported ? Notification.permission : "unsupported";
  return { subscribed: Boolean(id), id, topics, permission };
}

/** Tell the page what is true of this browser. */
function announce() {
  dispatchEvent(new CustomEvent("stoppress:change", { detail: state() }));
}

function settle(value) {
  remember(SUBSCRIBED, value);
  announce();
}

/** Run alone among the tabs of this site: what one has begun another does not do again. Browsers
    without locks have no `AbortSignal.timeout` either, so that nothing can be called. */
function alone(run) {
  return navigator.locks?.request(SUBSCRIBED, run);
}

/** Call the service; a `failure` "offline" when there is no answer, otherwise by its status. */
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

/** Our registration: the one at exactly our scope, not a wider one of the site's. */
async function ownRegistration() {
  const registration = await navigator.serviceWorker?.getRegistration(scopeUrl);
  return registration?.scope === scopeUrl.href ? registration : undefined;
}

function workerOf({ active, waiting, installing }) {
  return active ?? waiting ?? installing;
}

/** Whether a registration's worker is the file at `url`, with whatever query for its version. */
function runs(registration, url) {
  const { origin, pathname } = new URL(workerOf(registration)?.scriptURL ?? import.meta.url);
  return origin === url.origin && pathname === url.pathname;
}

/** Register the worker and wait until it is active: `subscribe()` requires it.

    What the site has registered itself stays as it is. */
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

/** Subscribe at the push service; one made with another key gives way to ours. */
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
    // A page may still hold a key that is the site's no more.
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

/** Note what the service now knows of this browser. While it waits for a confirmation, each page
    view looks in: the welcome may have been lost. */
function note({ id, token, confirmed }, { endpoint }, topics) {
  settle({ id, token, endpoint, topics, receipts, checked: confirmed && Date.now() });
}

/** Subscribe this browser and store it at the service, both or neither.

    To be called in the handler of a click, before anything is awaited: Firefox and Safari put
    their question only then. */
async function join(registration, key, wish) {
  const subscription = await subscribeBrowser(registration, key).catch((error) => {
    throw failure(whySubscribeFailed(error), error);
  });
  try {
    await alone(async () => {
      const body = { ...describe(subscription), ...wish, wording: WORDING };
      const stored = await call("POST", "subscriptions", { body });
      remember(ASKED, {});
      note(stored, subscription, wish.topics);
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

/** Leave here and at the service. Either ends the alerts; when both fail, the service's reason.
    What the service could not be told it is told on the next visit. */
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
  const told = there.status === "fulfilled";
  settle(told ? {} : { leaving });
  if (!told && !(subscription && here.value)) throw there.reason;
}

function leave() {
  return alone(quit);
}

/** Tell the service what differs, and that this browser is still here; only weekly if `seldom`. */
async function reconcile(subscription, kept, seldom) {
  const changed = subscription.endpoint !== kept.endpoint;
  const same = !changed && kept.receipts === receipts;
  if (same && seldom && Date.now() - kept.checked < 7 * DAY_MS) return;
  try {
    const body = describe(subscription);
    const { token } = kept; // with which other keys are believed
    const stored =
      changed && kept.id
        ? await about(kept, "PATCH", "", body)
        : await call("POST", "subscriptions", { body: { ...body, refresh: true }, token });
    const { topics } = kept.topics ? kept : await about(stored, "GET");
    note(stored, subscription, topics);
  } catch (error) {
    if (error.status === 410) return quit(); // this reader left, perhaps in another way
    if (!UNKNOWN.includes(error.status)) throw error;
    // The panel may ask again; unless another tab, whose writing this one saw too late, mended it.
    if (recall(SUBSCRIBED).id === kept.id) note({ confirmed: true }, subscription);
  }
}

/** Compare what is stored here with the browser, and mend what differs. */
async function mend(seldom) {
  const kept = recall(SUBSCRIBED);
  // Left while offline, or withdrawn in the browser's own settings.
  if (kept.leaving || (kept.id && Notification.permission !== "granted")) return quit();
  const registration = await ownRegistration();
  const subscription = await registration?.pushManager.getSubscription();
  if (!kept.id && !subscription) return;
  const key = (await site()).vapid_public_key;
  if (subscription && applicationServerKey(subscription) === key) {
    return reconcile(subscription, kept, seldom);
  }
  if (!kept.id) return; // a foreign key is another service's subscription
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

/** Everything a click on “Yes” needs, ready beforehand so that the click itself can subscribe. */
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
    join: (wish) => join(registration, facts.vapid_public_key, wish),
  };
}

const reader = { tag, whyNot, prepare, site, own, change, state, leave, later, refresh, ask };

async function openPanel(unasked) {
  const { open } = await import("./panel.js");
  await open(reader, unasked);
}

/** Open the panel: to subscribe, or for a subscriber to choose and to leave. */
function ask() {
  return openPanel();
}

/** Whether something else wants the reader's answer: a dialog, what covers the middle of the page,
    or a consent manager at its edges. */
function somethingIsOpen() {
  const dialogs = document.querySelectorAll(DIALOGS);
  const seen = { visibilityProperty: true, opacityProperty: true };
  if ([...dialogs].some((dialog) => dialog.checkVisibility?.(seen) ?? true)) return true;
  // Its middle comes first.
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

/** Ask unasked, when the newsroom's conditions for it are met on this page view. */
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

/** Ask when an element that the publisher named is clicked. */
function askOnClick({ target }) {
  if (!target.closest(settings.askOn) || !mayAsk() || somethingIsOpen()) return;
  openPanel(true).catch(trouble);
}

/** Fill the places for bell and preferences on the page that are still empty. */
function furnish() {
  if ("bell" in settings && !corner.isConnected) document.body?.append(corner);
  const empty = [...document.querySelectorAll("[data-stop-press]")].filter((one) => !one.shadowRoot);
  if (empty.length) import("./bell.js").then((bell) => bell.furnish(reader, empty)).catch(trouble);
}

// With the service down, a page must neither slow nor err: the next visit tries again.
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
  if (key === SUBSCRIBED || key === null) announce(); // null: all was cleared
});
if (settings.ask === "click") document.addEventListener("click", askOnClick);
visit().catch(trouble);
furnish();
// In an application of one page, places come later, and another path is another page view.
new MutationObserver(furnish).observe(document, { childList: true, subtree: true });
window.navigation?.addEventListener("currententrychange", ({ from }) => {
  if (new URL(from.url).pathname !== location.pathname) visit().catch(trouble);
});
