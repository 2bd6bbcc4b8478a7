/* The start page: follows this browser's subscription, sends it the alert, waits until it is seen,
   and says why it may not be. */

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

/** What certainly keeps alerts from this browser, as far as a page can tell. */
function obstacle() {
  if (!window.isSecureContext) return "insecure";
  const apple = /iPhone|iPad/.test(navigator.userAgent);
  if (apple && !navigator.standalone) return "iphone";
  if (!("PushManager" in window && "Notification" in window)) return "unsupported";
  return Notification.permission === "denied" ? "blocked" : null;
}

/** Show the one certain reason by the step it stops, or else every possible one where it ends. */
function explain(certain, possible = []) {
  const reasons = certain ? [certain] : possible;
  for (const row of why.querySelectorAll("[data-why]")) {
    row.hidden = !reasons.includes(row.dataset.why);
  }
  why.querySelector("h3").textContent = certain
    ? "This keeps alerts away"
    : "Nothing to see? One of these is why";
  page.querySelector(certain ? "#subscribe" : "#arrive").append(why);
  why.hidden = false;
}

/** Leave of the advice only what is for this browser and this system, where they are known. */
function tailor(attribute, ours) {
  const rows = [...why.querySelectorAll(`[data-${attribute}]`)];
  if (!rows.some((row) => row.dataset[attribute] === ours)) return;
  for (const row of rows) row.hidden = row.dataset[attribute] !== ours;
}

function showSubscription({ subscribed, id }) {
  page.querySelector("[data-when=unsubscribed]").hidden = subscribed;
  page.querySelector("[data-when=subscribed]").hidden = !subscribed;
  if (!form) return;
  form.elements.subscription.value = id ?? "";
  form.querySelector("button").disabled = !subscribed;
}

async function answerOf(response) {
  const said = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(said.detail ?? "The service does not answer. Try again.");
  return said;
}

/** Ask until the alert is over and seen; say what is known meanwhile. */
async function watch(id, seen) {
  const begun = Date.now();
  let patient = true;
  for (;;) {
    const said = await answerOf(await fetch(`${form.action}/${id}`));
    const shown = said.shown || seen();
    if (said.seconds !== null && !said.accepted) {
      arrival.textContent = `It did not go out: ${said.outcome ?? "nobody was to get it"}.`;
      explain(obstacle(), ["service"]);
      return;
    }
    const handed = said.accepted && said.seconds !== null;
    if (handed) {
      const reported = shown ? "shown by your browser" : "not yet shown";
      arrival.textContent = `Handed over in ${said.seconds.toFixed(1)} s; ${reported}.`;
    }
    if (handed && shown) {
      page.classList.add("arrived");
      why.hidden = true;
      return;
    }
    const waited = Date.now() - begun;
    if (patient && waited > PATIENCE_MS) {
      patient = false;
      explain(obstacle(), handed ? ["private", "system"] : ["worker", "service"]);
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
  arrival.textContent = "On its way…";
  try {
    const request = { method: "POST", body: new FormData(form) };
    const { id } = await answerOf(await fetch(form.action, request));
    await watch(id, () => seen);
  } catch (error) {
    arrival.textContent = error.message;
  } finally {
    navigator.serviceWorker.removeEventListener("message", note);
    button.disabled = !window.StopPress.state().subscribed;
  }
}

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

// The sign-in link opens in a tab of its own: coming back, this page should know of it.
if (!("signedIn" in page.dataset)) {
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") location.reload();
  });
}
