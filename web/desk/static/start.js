/* The start page: follows this browser's subscription, sends it an alert, waits until the alert is
   shown, and explains why it may not be. */

const PATIENCE_MS = 10_000;
const LOOK_EVERY_MS = 250;
const GIVE_UP_MS = 120_000;

const page = document.querySelector(".start");
const form = page.querySelector("form");
const arrival = page.querySelector("#arrival");
const why = page.querySelector("#why");
const system =
  ["Android", "Windows", "Mac", "Linux"].find((name) => navigator.userAgent.includes(name)) ?? "";
const browser =
  [["Edg/", "Edge"], ["Firefox/", "Firefox"], ["Chrome/", "Chrome"], ["Safari/", "Safari"]].find(
    ([mark]) => navigator.userAgent.includes(mark),
  )?.[1] ?? "";

/** What certainly keeps alerts away from this browser, if the page can find out. */
function obstacle() {
  if (!window.isSecureContext) return "insecure";
  const apple = /iPhone|iPad/.test(navigator.userAgent);
  if (apple && !navigator.standalone) return "iphone";
  if (!("PushManager" in window && "Notification" in window)) return "unsupported";
  return Notification.permission === "denied" ? "blocked" : null;
}

/** Show the certain reason below the first step, or else the possible reasons below the last. */
function explain(certain, possible = []) {
  const reasons = certain ? [certain] : possible;
  for (const row of why.querySelectorAll("[data-why]")) {
    row.hidden = !reasons.includes(row.dataset.why);
  }
  why.querySelector("h3").textContent = certain
    ? "This browser cannot get alerts"
    : "Nothing appeared? This may be why";
  page.querySelector(certain ? "#subscribe" : "#arrive").append(why);
  why.hidden = false;
}

/** Keep only the advice for this browser or system, if it is known. */
function tailor(attribute, own) {
  const rows = [...why.querySelectorAll(`[data-${attribute}]`)];
  if (!rows.some((row) => row.dataset[attribute] === own)) return;
  for (const row of rows) row.hidden = row.dataset[attribute] !== own;
}

/** The reader's token, which proves that it is this browser that asks; `optin.js` keeps it here. */
function ownToken() {
  try {
    return JSON.parse(localStorage.getItem("stop-press"))?.token;
  } catch {
    return undefined; // no storage, and then no subscription either
  }
}

const ARRIVED = "stop-press-first-alert"; // kept in this browser: an alert has arrived here

/** Say which steps are done; what has arrived once stays done when the page is opened again. */
function showArrived(subscribed) {
  let arrived = false;
  try {
    arrived = subscribed && localStorage.getItem(ARRIVED) !== null;
  } catch {
    // No storage: then it is said until the page is left.
  }
  page.querySelector("#arrived").hidden = !arrived;
  if (!arrived) return;
  page.querySelector("[data-when=waiting]").hidden = true;
  if (form) page.querySelector("#sent").hidden = false;
}

function showSubscription({ subscribed, id }) {
  showArrived(subscribed);
  page.querySelector("[data-when=unsubscribed]").hidden = subscribed;
  page.querySelector("[data-when=subscribed]").hidden = !subscribed;
  if (!form) return;
  form.elements.subscription.value = id ?? "";
  form.elements.token.value = ownToken() ?? "";
  form.querySelector("button").disabled = !subscribed;
}

async function read(response) {
  const json = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(json.detail ?? "The service does not respond. Try again.");
  return json;
}

/** Ask until the alert is finished and shown; say what is known meanwhile. */
async function watch(id, seen) {
  const begun = Date.now();
  let patient = true;
  for (;;) {
    const alert = await read(await fetch(`${form.action}/${id}`));
    const shown = alert.shown || seen();
    if (alert.took !== null && !alert.accepted) {
      arrival.textContent = `Not sent: ${alert.outcome ?? "no browser was in the audience"}.`;
      explain(obstacle(), ["service"]);
      return;
    }
    const finished = alert.accepted && alert.took !== null;
    if (finished) {
      const reported = shown ? "shown by your browser" : "not shown yet";
      arrival.textContent = `Handed over in ${alert.took}, ${reported}.`;
      page.querySelector("#sent").hidden = false;
    }
    if (finished && shown) {
      page.classList.add("arrived");
      why.hidden = true;
      page.querySelector("#arrived").hidden = false;
      try {
        localStorage.setItem(ARRIVED, "yes");
      } catch {
        // no storage
      }
      return;
    }
    const waited = Date.now() - begun;
    if (patient && waited > PATIENCE_MS) {
      patient = false;
      if (!finished) arrival.textContent = `Not handed over after ${PATIENCE_MS / 1000} seconds.`;
      explain(obstacle(), finished ? ["private", "system"] : ["worker"]);
    }
    if (waited > GIVE_UP_MS) return;
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

async function send(event) {
  event.preventDefault();
  const button = form.querySelector("button");
  let seen = false;
  const note = ({ data }) => {
    seen ||= data?.type === "stoppress:shown" && data.title === form.elements.title.value.trim();
  };
  navigator.serviceWorker.addEventListener("message", note);
  button.disabled = true;
  why.hidden = true;
  page.classList.remove("arrived");
  page.querySelector("[data-when=waiting]").hidden = true;
  for (const done of ["#sent", "#arrived"]) page.querySelector(done).hidden = true;
  arrival.textContent = "On its way…";
  arrival.scrollIntoView({ block: "nearest" });
  try {
    const request = { method: "POST", body: new FormData(form) };
    const { id } = await read(await fetch(form.action, request));
    await watch(id, () => seen);
  } catch (error) {
    arrival.textContent = error.message;
  } finally {
    navigator.serviceWorker.removeEventListener("message", note);
    button.disabled = !window.StopPress.state().subscribed;
  }
}

// Readers are told only that alerts do not work here. An editor who sets the service up
// sees its reason, too.
const refused = page.querySelector("#refused");
const { fetch: call } = window;
window.fetch = async (...request) => {
  const response = await call(...request);
  if (!response.url.endsWith("/api/v1/subscriptions")) return response;
  const { detail, errors = [] } = response.ok ? {} : await response.clone().json().catch(() => ({}));
  const reasons = errors.map((one) => `${one.field}: ${one.detail}`).join(" ") || detail;
  refused.textContent = reasons ? `The service refused the subscription. ${reasons}` : "";
  return response;
};

page.querySelector("[data-host]").textContent = location.hostname;
tailor("browser", browser);
tailor("system", system);
const certain = obstacle();
if (certain) explain(certain);
const ask = page.querySelector("#ask");
ask.addEventListener("click", () => window.StopPress.ask());
ask.disabled = certain !== null && certain !== "blocked";
page.querySelector("#preferences").addEventListener("click", () => window.StopPress.ask());
window.addEventListener("stoppress:change", ({ detail }) => showSubscription(detail));
showSubscription(window.StopPress.state());
form?.addEventListener("submit", send);

const SETUP_EVERY_MS = 3000;
const setup = page.querySelector("[data-setup]")?.dataset.setup;

/** Show how far the newsroom's own steps are done, which happens in other tabs. */
async function followSetup() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, SETUP_EVERY_MS));
    if (document.hidden) continue;
    const response = await fetch(setup).catch(() => ({}));
    if (response.status === 401 || response.redirected) return; // signed out
    if (!response.ok) continue;
    for (const [part, html] of Object.entries(await response.json())) {
      const place = page.querySelector(`[data-part=${part}]`);
      const made = document.createElement("template");
      made.innerHTML = html;
      // A button that an editor is about to press stays.
      if (place.textContent.trim() !== made.content.textContent.trim()) place.replaceChildren(made.content);
    }
  }
}

if (setup) followSetup();

// The sign-in link opens in another tab. When the editor comes back, this page must notice.
if (!("signedIn" in page.dataset)) {
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") location.reload();
  });
}
