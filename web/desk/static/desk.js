/* What the desk's pages do by themselves. Each works without this: htmx follows the reach and the
   progress, this follows what is typed. */

/** Show what is being typed in the previews, and count it as the service will. */
function follow(field) {
  const shown = document.querySelectorAll(`[data-shows="${field.name}"]`);
  const counter = document.querySelector(`[data-counts="${field.name}"]`);
  const show = () => {
    const text = field.value.trim();
    const length = [...text].length; // code points: a flag or an accent is not two of them
    for (const place of shown) place.textContent = text;
    if (!counter) return;
    const most = Number(counter.dataset.most);
    counter.textContent = `${length} of ${most} characters.`;
    counter.classList.toggle("error", length > most);
  };
  field.addEventListener("input", show);
  show();
}

for (const field of document.querySelectorAll(".compose [name=title], .compose [name=body]")) {
  follow(field);
}

// Ticking a topic means that topics are meant.
document.querySelector(".topics")?.addEventListener("input", () => {
  document.querySelector("[name=audience][value=topics]").checked = true;
});

// What was chosen before htmx listened, or is chosen still after a reload, is counted too. htmx has
// its own listener by then: its script comes first.
document.addEventListener("DOMContentLoaded", () => {
  const audience = document.querySelector("#audience");
  const boxes = [...(audience?.querySelectorAll("input") ?? [])];
  if (boxes.some((box) => box.checked !== box.defaultChecked)) {
    audience.dispatchEvent(new Event("change"));
  }
});

// Choosing a time, or whose clocks are to show it, means that it is meant.
const at = document.querySelector("#at");
for (const field of document.querySelectorAll("#at, [name=local]")) {
  field.addEventListener("input", () => {
    document.querySelector("[name=when][value=at]").checked = true;
  });
}

// An alert is of one story: choosing a running one takes back a new one, and the other way round.
const stories = [document.querySelector("#story"), document.querySelector("#new_story")];
for (const [one, other] of [stories, [...stories].reverse()]) {
  one?.addEventListener("input", () => {
    other.value = "";
  });
}

/** Let the time be read, and written, in the editor's own zone. */
function readInOwnZone() {
  const zone = at.form.elements.zone;
  const own = new Intl.DateTimeFormat().resolvedOptions().timeZone;
  // What was typed elsewhere stays in the zone in which it was.
  if (!own || (at.value && !at.dataset.at)) return;
  zone.value = own;
  document.querySelector("[data-zone]").textContent = own;
  if (at.dataset.at) at.value = wall(new Date(at.dataset.at));
}

/** What the editor's clock shows then, as `<input type="datetime-local">` has it. */
function wall(time) {
  const two = (number) => String(number).padStart(2, "0");
  const day = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join("-");
  return `${day}T${two(time.getHours())}:${two(time.getMinutes())}`;
}

if (at) readInOwnZone();

/** Write times in the editor's own zone. */
function tellTimes() {
  const time = { hour: "numeric", minute: "2-digit" };
  const readable = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  const day = { weekday: "short", day: "numeric", month: "short" };
  for (const element of document.querySelectorAll("time[datetime]:not([title])")) {
    const moment = new Date(element.dateTime);
    const year = moment.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" };
    element.title = element.textContent;
    element.textContent =
      "day" in element.dataset
        ? new Intl.DateTimeFormat(undefined, { ...day, ...year, ...time }).format(moment)
        : readable.format(moment);
  }
}

tellTimes();
document.addEventListener("htmx:afterSwap", tellTimes);

// Numbers that stand still must not look like progress.
const away = document.querySelector("#away");
for (const failure of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(failure, () => away?.removeAttribute("hidden"));
}
document.addEventListener("htmx:afterSwap", () => away?.setAttribute("hidden", ""));
