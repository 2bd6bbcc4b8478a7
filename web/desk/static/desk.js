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

/** Write times in the editor's own zone. */
const readable = new Intl.DateTimeFormat(undefined, {
  dateStyle: "medium",
  timeStyle: "short",
});
for (const time of document.querySelectorAll("time[datetime]")) {
  time.title = time.textContent;
  time.textContent = readable.format(new Date(time.dateTime));
}

// Numbers that stand still must not look like progress.
const away = document.querySelector("#away");
for (const failure of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(failure, () => away?.removeAttribute("hidden"));
}
document.addEventListener("htmx:afterSwap", () => away?.setAttribute("hidden", ""));
