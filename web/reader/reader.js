/* What is done with this browser's subscription: subscribe, mend, change, leave. optin.js loads this
   when it needs it, which an ordinary page view does not. */

import {
  ACTIVE_MS,
  activeRegistration,
  aside,
  complete,
  describe,
  inTime,
  isUsable,
  keyOf,
  page,
  runs,
  serve,
  subscribeBrowser,
  subscriptions,
  whySubscribeFailed,
} from "./browser.js";
import { about, call, failure, site, tell, written } from "./calls.js";

const DAY_MS = 86_400_000;
const NEVER = 3; // refusals
// After the first and the second “Not now” we do not ask for this many days, after the third never.
const REST_DAYS = [7, 30];
// After a browser took the permission back by itself, we do not ask for this many days.
const LOST_REST_DAYS = 7;
const MOST_REST_MS = 31 * DAY_MS; // as in optin.js
const LEFT_KEPT_MS = 30 * DAY_MS; // for which the service remembers who left
const QUIET_MS = 8000; // after which a question must wait somewhere out of sight
const SETTLES_MS = 32_000; // for `subscribe()` while the browser asks no question
const WORDING = 2; // the version of the question, stored with a reader's consent
// The service does not know this id, or not with this token, or its reader has left.
const UNKNOWN = [401, 403, 404, 410];
const NOT_THERE = 422; // a topic or story that the service does not have
const RENEW_AFTER_MS = 600_000; // after a renewal that failed
const SUBSCRIBED = "stop-press"; // see optin.js; what the worker needs is in a cache of that name
const ASKED = "stop-press-asked"; // see optin.js

let asked = 0; // how many questions of the browser wait for an answer
const recall = () => page.recall(SUBSCRIBED);

// The service ------------------------------------------------------------------------------------

/** Call about this browser's subscription, which the page may have deleted from what is stored. */
async function own(method, path, body) {
  if (!recall().id) await refresh();
  return about(recall(), method, path, body);
}

/** Change preferences; return all of them, as the service now has them. */
async function change(preferences) {
  const changed = await own("PATCH", "", preferences);
  const kept = recall();
  const { id, token, key, endpoint } = kept;
  const { topics } = changed;
  await tellWorker({ id, token, key, endpoint, ...preferencesFor(topics) });
  settle({ ...kept, topics });
  return changed;
}

// What this browser remembers --------------------------------------------------------------------

function settle(value) {
  page.remember(SUBSCRIBED, value);
  page.announce();
}

/** Let the worker know what it needs to renew the subscription without a page; or forget it. */
function tellWorker(value) {
  const write = async () => {
    if (!value) return caches.delete(SUBSCRIBED);
    const api = new webkitURL("/", import.meta.url).href;
    const cache = await caches.open(SUBSCRIBED);
    await cache.put("/reader", new Response(written([{ api, ...value }, Date.now()])));
  };
  // If storage is blocked, the next page view renews the subscription.
  return aside(write());
}

/** What a worker subscribes this reader with again. */
function preferencesFor(topics) {
  const { locale, timezone, receipts } = describe({});
  return { topics, locale, timezone, receipts };
}

/** Remember what the service now knows of this browser. Until the reader confirms, each page view
    checks in with the service, because the welcome may have been lost. */
async function note({ id, token, confirmed }, subscription, topics, more) {
  const { endpoint } = subscription;
  const key = keyOf(subscription);
  await tellWorker(id && { id, token, key, endpoint, ...preferencesFor(topics) });
  const noticed = confirmed && (await noticedNow());
  settle({ id, token, endpoint, key, topics, ...more, ...noticed });
  if (id && confirmed && page.recall(ASKED).page) aside(page.load("./counting.js").then((of) => of.confirmed(page)));
}

/** Return what keeps page views from looking closer until something changes, or for a day. */
async function noticedNow() {
  const line = await aside(page.sight());
  return { checked: Date.now(), seen: { ...recall().seen, [page.scopeUrl]: line } };
}

/** End the subscriptions with this key, or this endpoint, at other scopes; also at the service. */
async function dropOthers(key, kept = {}) {
  for (const { here, subscription } of await subscriptions()) {
    const { endpoint } = subscription;
    if (here || (keyOf(subscription) !== key && endpoint !== kept.endpoint)) continue;
    const body = { ...describe(subscription), refresh: true };
    await subscription.unsubscribe();
    if (endpoint === kept.endpoint) continue;
    await tell(body).then(erase).catch(console.debug);
  }
}

// Subscribing, leaving, mending --------------------------------------------------------------------

/** Subscribe this browser with these preferences and store it at the service, both or neither.

    Call it in the handler of a click, before anything is awaited, because Firefox and Safari show
    their question only then. `waiting` is called with the name of a text while the browser asks,
    and when all this takes long. */
async function join(registration, key, preferences, waiting = () => {}) {
  asked += 1;
  page.joining?.();
  const subscribing = subscribeBrowser(registration, key);
  const isAsking = () => window.Notification.permission === "default";
  let spent = 0; // since the browser does not ask any more
  let said, timer;
  const say = (kind) => kind === said || waiting((said = kind));
  const stalled = new Promise((_, reject) => {
    const look = () => {
      say(isAsking() ? "asks-quietly" : "slow");
      spent = isAsking() ? 0 : spent + QUIET_MS;
      if (spent >= SETTLES_MS) reject(new Error("subscribe() does not settle"));
      timer = setTimeout(look, QUIET_MS);
    };
    timer = setTimeout(look, QUIET_MS);
  });
  if (isAsking()) say("allow");
  try {
    const subscription = await Promise.race([subscribing, stalled]).catch(async (error) => {
      throw failure(await whySubscribeFailed(error), error);
    });
    await store(subscription, key, preferences);
  } finally {
    clearTimeout(timer);
    asked -= 1;
  }
}

async function store(subscription, key, preferences) {
  try {
    await page.alone(async () => {
      const [stored, topics] = await create(subscription, { ...preferences, wording: WORDING });
      page.remember(ASKED, {});
      await aside(dropOthers(key));
      await note(stored, subscription, topics);
    });
  } catch (error) {
    await aside(subscription.unsubscribe());
    throw error;
  }
}

/** Make a subscription at the service; return what it gives, and those of the topics that exist. */
async function create(subscription, { topics, ...preferences }) {
  const given = { ...describe(subscription), ...preferences };
  const post = async () => [await tell({ ...given, topics }), topics];
  return post().catch(async (error) => {
    const left = error.status === NOT_THERE && (await remaining(topics).catch(() => topics));
    if (!left || left.length === topics.length) throw error;
    topics = left;
    return post();
  });
}

/** Return those of these topics that still exist: the page, or a cache, may hold an older list. */
async function remaining(topics) {
  const there = (await call("GET", `site?${Date.now()}`)).topics.map(({ slug }) => slug);
  return topics.filter((slug) => there.includes(slug));
}

/** Subscribe again as before leaving. Return whether all topics and stories still exist; those that
    do are kept. `join` is what `prepare` returned. */
async function rejoin(join, chosen) {
  const { topics, quiet_hours, daily_limit, allow_breaking, paused_until } = chosen;
  const { followed_stories, muted_stories } = chosen;
  const others = { quiet_hours, daily_limit, allow_breaking, paused_until };
  const lists = { topics, followed_stories, muted_stories };
  if (await isTaken(join({ ...others, ...lists }))) return recall().topics.length === topics.length;
  await join({ ...others, topics: [] });
  for (const [name, slugs] of Object.entries(lists)) {
    let kept = [];
    const keep = (all) => isTaken(change({ [name]: all }));
    if (await keep(slugs)) continue;
    for (const slug of slugs) if (await keep([...kept, slug])) kept = [...kept, slug];
  }
  return false;
}

/** Whether a call does not name a topic or story that the service no longer has. */
async function isTaken(calling) {
  try {
    await calling;
    return true;
  } catch (error) {
    if (error.status !== NOT_THERE) throw error;
    return false;
  }
}

async function erase(leaving, why = "") {
  await about(leaving, "DELETE", why).catch((error) => {
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
  await tellWorker();
  const key = kept.key ?? "";
  const ours = (await subscriptions().catch(() => [])).filter(
    ({ here, subscription }) =>
      here || keyOf(subscription) === key || subscription.endpoint === kept.endpoint,
  );
  let trouble; // why the service did not hear it
  const erasing = leaving && erase(leaving).catch((error) => (trouble = error));
  const [all] = await Promise.all([
    aside(Promise.all(ours.map(({ subscription }) => subscription.unsubscribe()))),
    erasing,
  ]);
  settle(trouble ? { leaving } : {});
  const ended = ours.length && all?.every(Boolean);
  if (trouble && !ended) throw trouble;
}

/** End what the browser took back by itself. That is no refusal: after a rest we may ask again, and
    if the reader undoes it in the browser's settings, the worker subscribes again. */
async function lose({ id, token, topics, key }) {
  await erase({ id, token }, "?why=lost");
  await tellWorker({ key, ...preferencesFor(topics), wording: WORDING });
  const until = Date.now() + LOST_REST_DAYS * DAY_MS;
  page.remember(ASKED, { ...page.recall(ASKED), until });
  settle({});
}

/** Tell the service about changes, and that this browser is still here. */
async function reconcile(subscription, kept) {
  const body = describe(subscription);
  const { id, token, endpoint, topics, moved } = kept; // the token proves that other keys are ours
  try {
    const other = id && subscription.endpoint !== endpoint;
    const stored =
      // The worker may have told the service meanwhile, so that the id is another.
      (other && (await about(kept, "PATCH", "", body).catch(orUnknown))) ||
      (await tell({ ...body, refresh: true }, token));
    await note(stored, subscription, topics ?? (await about(stored, "GET")).topics, { moved });
  } catch (error) {
    if (error.status === 410) return quit(); // this reader has left, perhaps elsewhere
    if (UNKNOWN.includes(error.status)) {
      if (recall().id !== id) return; // another tab has mended it meanwhile
      if (await comeBack(subscription, kept)) return;
      return note({ confirmed: true }, subscription); // the panel may ask again
    }
    // What is refused today is refused on the next page view too.
    const refusedForGood = /refused|unknown-service/.test(error.kind);
    if (refusedForGood) page.remember(SUBSCRIBED, { ...kept, ...(await noticedNow()) });
    throw error;
  }
}

/** Subscribe a reader again whose record the service has deleted, because the push service had ended
    the old endpoint before the browser told us of another. Return false if the reader may have left:
    the service remembers that for some time. */
async function comeBack(subscription, { id, topics, endpoint, checked, key }) {
  if (!id || !topics || !(Math.abs(Date.now() - checked) < LEFT_KEPT_MS)) return false;
  if (subscription.endpoint === endpoint) {
    // The browser has not noticed that it is dead, and would give it out again.
    await subscription.unsubscribe();
    subscription = await subscribeBrowser(await activeRegistration(), keyOf(subscription) || key);
  } else {
    const old = describe(subscription);
    old.subscription.endpoint = endpoint;
    const { status } = await tell({ ...old, refresh: true }).catch(orTryAgain);
    if (status === 410) await quit();
    if (status !== 404) return status === 410;
  }
  const made = await create(subscription, { topics }).catch(orTryAgain);
  if (made.status) return false; // refused: the reader may be asked
  const [stored, there] = made;
  await note(stored, subscription, there);
  return true;
}

/** Return a refusal; throw what the next visit may not meet again, as when we are offline. */
function orTryAgain(error) {
  if (error.status < 429) return error;
  throw error;
}

function orUnknown(error) {
  if (!UNKNOWN.includes(error.status)) throw error;
}

/** Subscribe again at our scope. What fails is not tried again on every page view. */
async function renew(kept, key, more) {
  page.remember(SUBSCRIBED, { ...kept, ...more, failed: Date.now() });
  const late = failure("unanswered", "subscribe() does not settle");
  const subscribing = subscribeBrowser(await activeRegistration(), key);
  const renewed = await inTime(subscribing, SETTLES_MS, late);
  await reconcile(renewed, { ...kept, ...more });
  await dropOthers(key, kept);
}

/** Compare what is remembered with the browser, and mend what differs. */
async function mend(called) {
  const kept = recall();
  const { permission } = window.Notification;
  if (kept.leaving || (kept.id && permission === "denied")) return quit();
  const key = (await site()).vapid_public_key;
  const all = (await subscriptions()).filter(({ subscription }) => isUsable(subscription));
  // A browser that does not tell the key has ours if it has the endpoint that we know.
  const [first] = all.filter(({ subscription: one }) =>
    keyOf(one) ? keyOf(one) === key : one.endpoint === kept.endpoint,
  );
  // A browser that takes a permission back ends the subscription; one that only says so, does not.
  if (kept.id && permission !== "granted" && !first) return lose(kept);
  if (first?.here) {
    await aside(complete(first.registration), ACTIVE_MS);
    await reconcile(first.subscription, kept);
    return dropOthers(key, kept);
  }
  if (first) {
    // The publisher has moved our worker to another scope, and we follow; or uses it at both, so
    // that we follow once a day at most.
    if (!kept.id || Math.abs(Date.now() - kept.moved) < DAY_MS) await reconcile(first.subscription, kept);
    else await renew(kept, key, { moved: Date.now() });
    return;
  }
  if (kept.id) {
    if (called || !(Math.abs(Date.now() - kept.failed) < RENEW_AFTER_MS)) await renew(kept, key);
  } else if (all.length) {
    page.remember(SUBSCRIBED, await noticedNow()); // they are another service's
  }
}

function leave() {
  return page.alone(quit);
}

function refresh() {
  return page.alone(() => mend(true));
}

// The panel ------------------------------------------------------------------------------------------

/** Note a “Not now”, one for each time that we rest. */
function later() {
  if (asked) return; // the reader said yes, and the browser's own question is still open
  tellWorker(); // not to subscribe again, should the browser allow it
  const { refusals = 0, until = 0, ...others } = page.recall(ASKED);
  // Another tab has noted it, or the reader pressed the bell; or the clock ran ahead then.
  if (Date.now() < until && until < Date.now() + MOST_REST_MS) return;
  const days = REST_DAYS[refusals] ?? 0;
  const next = { refusals: refusals + 1, until: Date.now() + days * DAY_MS };
  page.remember(ASKED, { ...others, ...next });
}

/** Prepare all that a click on “Yes” needs, so that the click itself can subscribe. */
async function prepare() {
  const [facts, registration] = await Promise.all([site(), activeRegistration()]);
  complete(registration).catch(console.debug);
  const topic = page.tag?.dataset.topic;
  return {
    ...facts,
    preselected: facts.topics.filter((one) => one.default || one.slug === topic),
    join: (...given) => join(registration, facts.vapid_public_key, ...given),
  };
}

/** Listen for an alert that this browser shows: `shown` resolves to true then. */
async function listen() {
  const { serviceWorker } = navigator;
  const shown = new Promise((resolve) => {
    const hear = ({ data }) => {
      if (data?.type !== "stoppress:shown") return;
      serviceWorker.removeEventListener("message", hear);
      resolve(true);
    };
    serviceWorker.addEventListener("message", hear);
    serviceWorker.startMessages();
  });
  return { shown };
}

/** Open the panel: the question, or a subscriber's preferences. */
async function ask() {
  const { open } = await reader.load("./panel.js");
  await open(reader);
}

/** Move another provider's readers to us, and end its worker. */
async function retire() {
  const { retire } = await reader.load("./retire.js");
  const { settings, base, workerUrl } = page;
  // Readers who have ignored our question, or put it off, still had their alerts.
  const { refusals = 0 } = page.recall(ASKED);
  const mayMove = refusals < NEVER && !page.whyNot() && !page.state().subscribed;
  await retire(settings.retire, { runs, site, prepare, mayMove, base, workerUrl });
}

const does = { prepare, own, change, leave, rejoin, later, mend, refresh, listen, ask, retire };
const reader = { ...does, siteOrWhy: site };

/** Return what can be done for the reader of a page, with what optin.js knows of it. */
export function readerOf(given) {
  serve(given);
  return Object.assign(reader, page);
}
