/* The desk's own script. All pages work without it. htmx refreshes the reach and the progress; this
   script follows what the editor types. */

const LEAVING = 10_000; // ms

/** Show a field in the previews while it is typed, and count it as the service does. */
function follow(field) {
  const shown = document.querySelectorAll(`[data-shows="${field.name}"]`);
  const counter = document.querySelector(`[data-counts="${field.name}"]`);
  const show = () => {
    const text = field.value.trim();
    const length = [...text].length; // code points, as Python counts
    for (const place of shown) showIn(place, text);
    if (!counter) return;
    const most = Number(counter.dataset.most);
    counter.textContent = `${length} of ${most} characters.`;
    counter.classList.toggle("error", length > most);
  };
  field.addEventListener("input", show);
  field.addEventListener("restored", show);
  show();
}

/** Show a text, or the picture at a link; buttons and pictures are hidden where there is none. */
function showIn(place, text) {
  if (place.tagName !== "IMG") {
    const most = Number(place.dataset.most ?? Infinity); // what the system shows of it
    const letters = [...text];
    place.textContent = letters.length > most ? `${letters.slice(0, most - 1).join("").trim()}…` : text;
    if (place.tagName === "SPAN") place.hidden = !text;
    return;
  }
  const link = /^https:\/\/./.test(text) ? text : (place.dataset.otherwise ?? "");
  place.hidden = !link;
  if (link && place.getAttribute("src") !== link) place.src = link;
}

// Ctrl+Enter, or ⌘+Enter, goes on. Keys that are still held when the next page comes do not count:
// nobody sends what they have not seen.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  const button = document.querySelector("[aria-keyshortcuts='Control+Enter']");
  if (!button) return;
  event.preventDefault(); // a field would submit its form as well
  if (!event.repeat) button.click();
});

// Single keys lead to pages, except where something is typed or an editor has switched them off: they
// would get in the way of who speaks to the computer (WCAG 2.1.4).
const PAGES = { n: "new", a: "", "?": "shortcuts" };
const SINGLE_KEYS_OFF = "stoppress-single-keys-off";

/** Storage may be blocked: then single keys work. */
function switched(off) {
  try {
    if (off === true) localStorage.setItem(SINGLE_KEYS_OFF, "yes");
    if (off === false) localStorage.removeItem(SINGLE_KEYS_OFF);
    return localStorage.getItem(SINGLE_KEYS_OFF) !== null;
  } catch {
    return false;
  }
}

document.addEventListener("keydown", (event) => {
  const { key, target, ctrlKey, metaKey, altKey, repeat } = event;
  const writes = target.closest?.("input, select, textarea, summary, [contenteditable]");
  if (writes || ctrlKey || metaKey || altKey || repeat || switched()) return;
  if (document.querySelector("dialog[open]")) return;
  if (key === "u") {
    document.querySelector("[aria-keyshortcuts=u]")?.click();
    document.querySelector("#too-late")?.removeAttribute("hidden");
  }
  if (!(key in PAGES)) return;
  location.assign(location.pathname.replace(/\/desk(\/.*)?$/, `/desk/${PAGES[key]}`));
});

const singleKeys = document.querySelector("#single-keys");
if (singleKeys) {
  singleKeys.checked = !switched();
  singleKeys.addEventListener("change", () => switched(!singleKeys.checked));
}

// No cache keeps a page of the desk, so a browser that goes back shows a form as it was opened. This
// entry of the tab's history keeps what the editor wrote, unless the service does (`autosave.js`).
const written = document.querySelector("form.compose:not([data-save])");
const by = written?.dataset.by;
const fields = [...(written?.elements ?? [])].filter((field) => field.name && field.type !== "hidden");
addEventListener("pagehide", () => {
  if (!written) return;
  const kept = fields.map(({ name, value, checked }) => [name, value, Boolean(checked)]);
  history.replaceState({ ...history.state, written: kept, by }, "");
});
if (performance.getEntriesByType("navigation")[0]?.type === "back_forward") {
  const kept = (history.state?.by === by && history.state?.written) || [];
  for (const field of fields) {
    const choice = field.type === "checkbox" || field.type === "radio";
    const same = ([name, value]) => name === field.name && (!choice || value === field.value);
    const found = kept.find(same);
    if (found && choice) field.checked = found[2];
    else if (found && field.type !== "submit") field.value = found[1];
  }
}

for (const name of ["title", "body", "title_b", "body_b", "icon", "image", "button1", "button2"]) {
  const field = document.querySelector(`.compose [name=${name}]`);
  if (field) follow(field);
}

// The first field that is wrong, or the first one in a group that is.
const wrong = document.querySelector("[aria-invalid=true]");
if (wrong) {
  const field = wrong.querySelector("[aria-invalid=true]") ?? wrong.querySelector("input");
  (wrong.matches("fieldset") ? field : wrong).focus();
}

// Choosing a topic also chooses “Followers of these topics”.
document.querySelector(".topics")?.addEventListener("input", () => {
  document.querySelector("[name=audience][value=topics]").checked = true;
});

// A choice that the editor made before htmx listened, or that the browser kept over a reload, counts
// too, and so do words that are searched for. By now htmx listens, because its script comes first.
document.addEventListener("DOMContentLoaded", () => {
  const audience = document.querySelector("#audience");
  const boxes = [...(audience?.querySelectorAll("input") ?? [])];
  if (boxes.some((box) => box.checked !== box.defaultChecked)) {
    audience.dispatchEvent(new Event("change"));
  }
  const words = document.querySelector(".search[hx-get] [type=search]");
  if (words && words.value !== words.defaultValue) words.dispatchEvent(new Event("input", { bubbles: true }));
});

// Enter in a field with a button of its own presses that one, and not the first of the form.
for (const field of document.querySelectorAll("[data-presses]")) {
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    document.querySelector(field.dataset.presses).click();
  });
}

// A title has one line, which may be too long for the field. Enter presses the first button of the form,
// as in any field of one line (HTML, implicit submission).
for (const field of document.querySelectorAll("[data-one-line]")) {
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    field.form.querySelector("button").click();
  });
  field.addEventListener("input", () => {
    if (/[\r\n]/.test(field.value)) field.value = field.value.replace(/\s*[\r\n]+\s*/g, " ");
  });
}

// Choosing a time, whose time zone it is in, or the days on which it repeats also chooses “At”.
const at = document.querySelector("#at");
for (const field of document.querySelectorAll("#at, [name=local], [name=weekday]")) {
  field.addEventListener("input", () => {
    document.querySelector("[name=when][value=at]").checked = true;
  });
}

// Text B begins as a copy of text A, since mostly only the title differs. It follows text A until it is
// changed itself: else a look at this part alone would make two texts, which breaking news cannot have.
const bodyB = document.querySelector("#body_b");
if (bodyB) {
  const { title_b: titleB, body } = bodyB.form.elements;
  let follows;
  const compare = () => (follows = Boolean(bodyB.value) && bodyB.value === body.value);
  const copy = () => {
    bodyB.value = body.value;
    bodyB.dispatchEvent(new Event("restored"));
  };
  compare();
  bodyB.addEventListener("input", compare);
  body.addEventListener("restored", compare);
  body.addEventListener("input", () => follows && copy());
  bodyB.closest("details").addEventListener("toggle", ({ target }) => {
    if (!target.open || titleB.value || bodyB.value) return;
    follows = true;
    copy();
  });
}

// An alert belongs to one story at most: choosing a running one clears a new one, and vice versa.
const stories = [document.querySelector("#story"), document.querySelector("#new_story")];
for (const [one, other] of [stories, [...stories].reverse()]) {
  one?.addEventListener("input", () => {
    other.value = "";
  });
}

/** Show and read the time in the editor's own time zone. */
function readInOwnZone() {
  const zone = at.form.elements.zone;
  const own = new Intl.DateTimeFormat().resolvedOptions().timeZone;
  // A time that comes back from the server stays in the zone in which it was typed.
  if (!own || (at.value && !at.dataset.at)) return;
  zone.value = own;
  document.querySelector("[data-zone]").textContent = own;
  // It is no change by the editor.
  if (at.dataset.at) at.value = at.defaultValue = wall(new Date(at.dataset.at));
}

/** The editor's local time, as `<input type="datetime-local">` has it. */
function wall(time) {
  const two = (number) => String(number).padStart(2, "0");
  const day = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join("-");
  return `${day}T${two(time.getHours())}:${two(time.getMinutes())}`;
}

if (at) readInOwnZone();

// The days of a search are those of the editor's own time zone, as all times on the page are. Days that
// are chosen stay in the zone in which they were.
const sought = document.querySelector("form.search")?.elements;
if (sought && !sought.since.value && !sought.until.value) {
  const own = new Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (own) document.querySelector("[data-zone]").textContent = sought.zone.value = own;
}

// A page that counts by the hour is asked for in the editor's own time zone.
for (const link of document.querySelectorAll("[data-own-zone]")) {
  const own = new Intl.DateTimeFormat().resolvedOptions().timeZone;
  link.hidden = !own || new URLSearchParams(location.search).get("zone") === own;
  link.search += `&zone=${encodeURIComponent(own)}`;
}

/** A time in the editor's own time zone, written as `time_words` of the server does. */
function timeWords(moment) {
  const two = (number) => String(number).padStart(2, "0");
  const clock = `${two(moment.getHours())}:${two(moment.getMinutes())}`;
  const now = new Date();
  if (moment.toDateString() === now.toDateString()) return clock;
  const name = (part) => moment.toLocaleDateString("en-US", { [part]: "short" });
  const year = moment.getFullYear() === now.getFullYear() ? "" : ` ${moment.getFullYear()}`;
  return `${name("weekday")} ${moment.getDate()} ${name("month")}${year}, ${clock}`;
}

/** Rewrite all times in the editor's own time zone; the first one stays to be read in the title. */
function localiseTimes(page = document) {
  for (const element of page.querySelectorAll("time[datetime]:not([title])")) {
    element.title = element.textContent;
    const words = timeWords(new Date(element.dateTime));
    const word = /^\d/.test(words) ? "at" : "on";
    element.textContent = "word" in element.dataset ? `${word} ${words}` : words;
  }
  for (const option of page.querySelectorAll("option[data-at]")) {
    const title = option.textContent.slice(0, option.textContent.lastIndexOf(" – "));
    option.textContent = `${title} – ${timeWords(new Date(option.dataset.at))}`;
    delete option.dataset.at;
  }
}

localiseTimes();
// A page that is being left must not load itself again, which would end the way to the next one. A
// link to a file leaves nothing, so this ends by itself.
let left = -Infinity;
addEventListener("beforeunload", () => (left = performance.now()));
document.addEventListener("htmx:beforeOnLoad", (event) => {
  if (performance.now() - left < LEAVING) event.preventDefault();
});

document.addEventListener("htmx:afterSwap", () => localiseTimes());

// Numbers that are no longer refreshed must not look like progress.
const FAILURES = ["htmx:responseError", "htmx:sendError", "htmx:timeout"];
const away = document.querySelector("#away");
for (const failure of FAILURES) {
  document.addEventListener(failure, () => away?.removeAttribute("hidden"));
}
document.addEventListener("htmx:afterSwap", () => away?.setAttribute("hidden", ""));

// Neither must the number of another audience stand beside “Review…”.
for (const failure of FAILURES) {
  document.querySelector("#audience")?.addEventListener(failure, ({ detail: { xhr } }) => {
    const why = xhr.status === 401 ? "your session has ended" : "the service does not respond";
    const words = { className: "error", textContent: `Not counted: ${why}.` };
    document.querySelector("#reach").replaceChildren(Object.assign(document.createElement("span"), words));
  });
}

// A form that stays on the page says whether it was sent.
for (const type of ["htmx:beforeRequest", ...FAILURES]) {
  document.addEventListener(type, ({ target }) => {
    const failed = target.querySelector?.("[data-failed]");
    if (failed) failed.hidden = type === "htmx:beforeRequest";
  });
}
