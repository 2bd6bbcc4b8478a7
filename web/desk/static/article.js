/* Fills the form of an alert in from the article whose link is pasted, and says what is wrong with
   the link. It touches only fields that are empty, or that it filled itself and nobody changed. */

const form = document.querySelector("form.compose");
const link = form?.elements.url;
const status = document.querySelector("#article");

const WAIT_MS = 400; // between two looks at a page that is still being read
const GIVE_UP_MS = 10_000;
const NAMES = { title: "title", body: "text", image: "picture", lang: "language" };
// A host of two names or more, and then a path, or nothing more (service/model/language/links.py).
const WITHOUT_SCHEME = /^[^\s/:@?#]+\.[^\s/:@?#.]+(:\d+)?(?=[/?#]|$)/;

const filled = new Map(); // name of a field: what we wrote into it
let asked = link?.value.trim() ?? "";
let current = 0; // which link is being read: what comes of an earlier one is ignored

// What is said may move the fields below: not between the press and the release of a button, which
// would then not be clicked.
let released = Promise.resolve();
document.addEventListener("pointerdown", () => {
  released = new Promise((resolve) => {
    for (const end of ["pointerup", "pointercancel"]) {
      document.addEventListener(end, () => setTimeout(resolve), { once: true });
    }
  });
});

function say(text, faults = []) {
  const lines = [text, ...faults].map((line) => {
    const element = document.createElement("span");
    element.textContent = line;
    return element;
  });
  for (const fault of lines.slice(1)) fault.className = "error";
  status.replaceChildren(...lines.filter((line) => line.textContent));
}

/** Write into a field as if it was typed: the preview follows it, and it is saved. */
function write(field, value) {
  const before = field.value;
  field.value = value;
  const taken = field.value === value; // a list may not have this choice
  if (taken) field.dispatchEvent(new Event("input", { bubbles: true }));
  else field.value = before;
  return taken;
}

/** Write what the page says into fields that are free, and return the names of these. */
function fill(values) {
  const names = [];
  if (!Object.values(values).some(Boolean)) return names;
  for (const name of Object.keys(NAMES)) {
    const field = form.elements[name];
    const value = values[name];
    if (!(field instanceof HTMLElement)) continue;
    const ours = filled.has(name) && field.value === filled.get(name);
    if (field.value.trim() && !ours) continue;
    if (!value && !ours) continue;
    if (!write(field, value)) continue; // empty: what we wrote was of another article
    filled.set(name, value);
    if (value) names.push(NAMES[name]);
  }
  return names;
}

/** The title as the editor wrote it; empty if it is ours. */
function ownTitle() {
  const title = form.elements.title.value.trim();
  return title === filled.get("title") ? "" : title;
}

/** Ask the service, after signing in again if the session has ended. */
async function call(address, options = () => ({})) {
  const ask = () => fetch(address, { ...options(), redirect: "manual" });
  const response = await ask();
  // 400: the token of a session before.
  if (response.type !== "opaqueredirect" && response.status !== 400) return response;
  await signedIn();
  return ask();
}

async function result(address) {
  const until = Date.now() + GIVE_UP_MS;
  while (Date.now() < until) {
    const response = await call(`${address}?${new URLSearchParams({ title: ownTitle() })}`);
    if (response.status === 200) return response.json();
    if (response.status !== 202) break;
    await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
  }
  return { problems: ["The page behind the link could not be read in time."] };
}

function describe({ fields = {}, section = "", for_subscribers: paid, only_http_picture: http, problems = [] }) {
  const names = fill(fields);
  const lines = [];
  if (names.length) {
    lines.push(`Filled in from ${new URL(asked).host}: ${names.join(", ")}.`);
  } else if (Object.values(fields).some(Boolean)) {
    lines.push(`Read ${new URL(asked).host}; your own words stay.`);
  }
  if (http) lines.push("No picture: its address is not https.");
  if (section) lines.push(`Section: ${section}.`);
  if (paid) lines.push("The page is for subscribers.");
  say(lines.join(" "), problems);
}

async function read() {
  if (WITHOUT_SCHEME.test(link.value.trim())) write(link, `https://${link.value.trim()}`);
  const typed = link.value.trim();
  if (typed === asked) return;
  asked = typed;
  const number = ++current;
  say(typed && "Reading the page…");
  if (!typed) return;
  const fields = () => ({ csrf_token: form.elements.csrf_token.value, url: typed, title: ownTitle() });
  const options = () => ({ method: "POST", body: new URLSearchParams(fields()) });
  let found;
  try {
    const response = await call(status.dataset.articles, options);
    found = await response.json();
    if (found.result) found = await result(found.result);
  } catch {
    found = { problems: ["The page behind the link could not be read."] };
  }
  await released;
  if (number === current) describe(found);
}

if (link && status) {
  link.addEventListener("change", read);
  link.addEventListener("paste", () => setTimeout(read)); // when the field has it
}
