/* The page of the settings works without this. It shows the question as readers will see it, by the
   scripts that they load, and copies lines. */

const form = document.querySelector("form.settings");
const button = document.querySelector("#show-question");
const SOON_MS = 300;
let panel;
let site;

/** What is typed in a field, or what holds while it is empty; a setting of the environment has none. */
function typed(name, otherwise) {
  const field = form.elements[name];
  return field ? field.value.trim() || field.placeholder : otherwise;
}

/** What the question needs to know: the site's own facts, with what is typed. */
async function facts() {
  site ??= await (await fetch(button.dataset.site, { cache: "no-store" })).json();
  const { texts } = site.prompt;
  const given = ["question", "yes", "later"].map((name) => [name, typed(`ask_${name}`, texts[name])]);
  given.push(["line", given[0][1]]);
  return {
    ...site,
    name: typed("site_name", site.name),
    prompt: { ...site.prompt, texts: Object.fromEntries(given.filter(([, text]) => text)) },
    preselected: site.topics.filter((topic) => topic.default),
    join: async () => {},
  };
}

/** A reader who is not subscribed, and for whom nothing is stored. */
const reader = {
  get tag() {
    const tag = document.createElement("i");
    tag.dataset.logo = form.elements.site_icon?.value.trim() ?? "";
    return tag;
  },
  state: () => ({ subscribed: false }),
  whyNot: () => null,
  prepare: facts,
  listen: () => {},
  later: async () => {},
  // Without the help that says whether a first alert has arrived: none is sent.
  load: async (name) => (name.includes("help") ? undefined : import(name.replace(/^\./, ""))),
};

async function show() {
  const { open } = await import("/panel.js");
  panel = await open(reader, true);
  document.querySelector("#follows").hidden = false;
  panel?.closed.then(() => (panel = undefined));
}

let soon;
form.addEventListener("input", () => {
  clearTimeout(soon);
  soon = setTimeout(() => panel?.refill(), SOON_MS);
});

if (button) {
  button.hidden = false;
  button.addEventListener("click", show);
}

for (const lines of document.querySelectorAll(".copied")) {
  lines.addEventListener("focus", () => lines.select());
  const copy = document.createElement("button");
  copy.type = "button";
  copy.className = "copy";
  copy.textContent = "Copy";
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(lines.value);
    copy.textContent = "Copied";
  });
  // Browsers have a clipboard for pages only on secure addresses.
  if (navigator.clipboard) lines.after(copy);
}
