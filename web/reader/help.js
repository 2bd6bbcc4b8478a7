/* Whether alerts arrive on this device, and what to do where they do not.

   panel.js fetches this after a reader has subscribed, and for “Why do I get no alerts?” in the
   preferences, with texts of its own. */

import { choices, often, promise, written } from "./dialog.js";
import { element, withSection } from "./dom.js";

const PATIENCE_MS = 20_000; // for an alert to come
// Safari shows our alerts without a worker, so that no page hears of them.
const SILENT = "pushManager" in window;

const AGENT = navigator.userAgent;
const SYSTEMS = [
  ["ios", /iPhone|iPad|iPod/],
  ["android", /Android/],
  ["windows", /Windows/],
  ["macos", /Mac/],
];
const BROWSERS = [
  ["Edge", /Edg/],
  ["Opera", /OPR/],
  ["Samsung Internet", /SamsungBrowser/],
  ["Firefox", /Firefox/],
  ["Chrome", /Chrome/],
  ["Safari", /Safari/],
];

function named(rows) {
  return rows.find(([, pattern]) => pattern.test(AGENT))?.[0];
}

function system() {
  const touch = navigator.maxTouchPoints > 1;
  const found = named(SYSTEMS) ?? "linux";
  return found === "macos" && touch ? "ios" : found; // an iPad says that it is a Mac
}

let loading;

/** Return the texts of the panel and of this script. */
function texts(t) {
  loading ??= withSection(t, "help").catch((error) => {
    loading = undefined; // the next press tries again
    throw Object.assign(error, { kind: "offline" });
  });
  return loading.then((ours) => ({ ...ours, ...t }));
}

/** Resolve to true once an alert is shown, to false after a while. */
function inTime(listening) {
  const shown = listening.then((heard) => heard.shown);
  return Promise.race([shown, new Promise((resolve) => setTimeout(resolve, PATIENCE_MS, false))]);
}

/** What to do here: `shown` says that the browser has shown the alert, so that only the device can
    hide it. */
function steps(t, shown) {
  const here = system();
  const browser = navigator.brave ? "Brave" : named(BROWSERS) ?? "";
  const mobile = here === "ios" || here === "android";
  const rows = [here];
  if (!shown) {
    if (!mobile) rows.unshift("running");
    if (browser === "Firefox" || browser === "Brave") rows.push(browser.toLowerCase());
    rows.push("network", "anew");
  }
  const words = rows.map((name) => t[name].replaceAll("{browser}", browser || t.thisBrowser));
  return element("ol", {}, ...words.map((text) => element("li", {}, text)));
}

/** Send a test unless another alert is `coming`, and show in `place` whether one is shown and what
    to do if not. `listening` waits for it; `hint` makes what is shown below it. */
async function watch(panel, t, place, listening, coming, hint) {
  // A live region, which announces only changes after it exists.
  const output = element("output");
  place.replaceChildren(element("p", {}, output));
  if (!coming) await panel.reader.own("POST", "/test");
  output.textContent = t.sent;
  const arrived = await inTime(listening);
  if (!place.isConnected) return;
  output.textContent = arrived ? t.arrived : SILENT ? t.silent : t.missing;
  place.append(arrived ? hint() : steps(t, false));
}

/** Thank a new subscriber: repeat the topics that were chosen, and show whether alerts arrive. This
    script may come so late that the panel, which has given short thanks, shows something else. */
export function showThanks(panel, facts, chosen, listening) {
  const { t } = panel;
  if (panel.title.textContent !== t.thanks) return;
  const names = facts.topics.filter(({ slug }) => chosen.includes(slug)).map(({ name }) => name);
  const list = new Intl.ListFormat(t.locale).format(names);
  panel.show(
    { paper: facts.name, heading: t.thanks },
    element("p", {}, names.length ? t.chosen.replace("{topics}", list) : ""),
    element("p", { class: "small" }, often(t, facts)),
    choices(...panel.closing(), panel.button("more", panel.refill)),
    promise(t),
  );
  showArrival(panel, facts.welcome, listening).catch(console.warn);
}

/** Show to a new subscriber that a first alert arrives, or what to do on this system. `coming` says
    that a welcome comes by itself; `listening` has waited for it since before the reader subscribed,
    because it may be shown before that call has returned. */
export async function showArrival(panel, coming, listening) {
  const place = element("div", { class: "arrival" });
  panel.title.parentNode.querySelector(".choices").before(place); // above the buttons
  const t = (panel.t = await texts(panel.t));
  const unseen = () =>
    panel.button("unseen", () => {
      place.replaceChildren(element("p", {}, t.hidden), steps(t, true));
    });
  await watch(panel, t, place, listening, coming, unseen).catch((error) => {
    place.remove(); // the thanks are enough
    throw error;
  });
}

/** Whether it is quiet time now, by this browser's clock. */
function isQuiet({ from, to }) {
  const now = new Date().toTimeString().slice(0, 5);
  return from < to ? from <= now && now < to : from <= now || now < to;
}

/** What the service knows of why no alerts come. */
function reasons(t, { confirmed, topics, followed_stories: followed, paused_until: until, quiet_hours: quiet }) {
  const found = [];
  if (!confirmed) found.push(t.unconfirmed);
  if (!topics.length && !followed.length) found.push(t.tick);
  if (until) found.push(t.paused.replace("{when}", written(t, until)));
  if (quiet && isQuiet(quiet)) found.push(t.quietNow.replace("{when}", quiet.to));
  return found.map((text) => element("p", {}, text));
}

/** Answer “Why do I get no alerts?”: what is known here, then a test, then what to do. */
export async function showWhy(panel) {
  const { reader } = panel;
  const [t, chosen] = await Promise.all([texts(panel.t), reader.own("GET")]);
  panel.t = t;
  const place = element("div", { class: "arrival" });
  const run = async () => {
    another.ariaDisabled = "true";
    const hint = () => element("div", {}, element("p", {}, t.hidden), steps(t, true));
    await watch(panel, t, place, reader.listen(), false, hint).finally(() => (another.ariaDisabled = "false"));
    await reader.refresh(); // the push service may have ended the subscription
    if (!reader.state().subscribed) await panel.refill();
  };
  const another = panel.button("another", run);
  const back = panel.button("back", panel.refill);
  panel.show({ paper: "", heading: t.why }, ...reasons(t, chosen), place, choices(another, back));
  another.click();
}
