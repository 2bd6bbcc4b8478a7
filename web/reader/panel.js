/* The panel a reader meets: the question, the thanks, the way out, and plain words for trouble.

   It does nothing by itself: optin.js hands it what is known and what each click does. It lives in
   a shadow root with a constructed style sheet, so that neither the page's styles nor a strict
   Content-Security-Policy (style-src 'self') reach it. A site gives it its own look with the
   custom properties --stop-press-*. */

const QUESTION = "Get the latest updates as we post them — right on your browser";

const TROUBLE = {
  blocked:
    "Alerts are blocked for this site. Choose the sign beside the page’s address, allow " +
    "notifications, and try again. In a private window the browser blocks them always.",
  busy: "Our alert service is too busy just now. Nothing was stored; please try again in a minute.",
  offline: "We could not be reached. Nothing was stored; check your connection and try again.",
  "push-service":
    "Your browser could not reach its own push service. That is so in private windows, and where " +
    "the network or a setting keeps it away. Try an ordinary window or another network.",
  refused: "Our alert service did not accept this browser. Nothing was stored; please try later.",
  unanswered: "Your browser’s own question is still open. Press “Yes, alert me” and choose Allow.",
  unsupported:
    "This browser cannot show alerts on this page. Try an up-to-date Chrome, Edge, Firefox or " +
    "Safari; on an iPhone or iPad, add this site to the Home Screen first.",
  worker: "This site’s alerts are not set up rightly, and that is our fault. Please try later.",
};
const LEAVE_TROUBLE = "We could not be reached, so you are still subscribed. Please try again.";

const STYLE = `
:host {
  all: initial;
  color-scheme: light;
  --paper: var(--stop-press-paper, #fcfaf5);
  --ink: var(--stop-press-ink, #1c1a17);
  --muted: var(--stop-press-muted, #625c52);
  --rule: var(--stop-press-rule, #d3ccbe);
  --accent: var(--stop-press-accent, #ad1519);
  --serif: var(--stop-press-serif, "Iowan Old Style", "Palatino Linotype", Palatino,
    "URW Palladio L", P052, Charter, Georgia, serif);
  --sans: var(--stop-press-sans, system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif);
}
@media (prefers-color-scheme: dark) {
  :host {
    color-scheme: dark;
    --paper: var(--stop-press-paper, #211f1c);
    --ink: var(--stop-press-ink, #e8e1d4);
    --muted: var(--stop-press-muted, #a79f91);
    --rule: var(--stop-press-rule, #4a453e);
    --accent: var(--stop-press-accent, #f2837a);
  }
}
* { box-sizing: border-box; }
dialog {
  position: fixed;
  inset: auto;
  inset-block-end: 1.25em;
  inset-inline-end: 1.25em;
  z-index: 2147483000;
  inline-size: min(25em, 100vw - 2.5em);
  max-block-size: calc(100vh - 2.5em);
  max-block-size: calc(100dvh - 2.5em);
  margin: 0;
  padding: 1.25em 1.5em 1.1em;
  overflow: auto;
  border: 1px solid var(--rule);
  border-block-start: 3px solid var(--ink);
  background: var(--paper);
  color: var(--ink);
  font: 1em/1.45 var(--sans);
  box-shadow: 0 0.5em 2em rgb(0 0 0 / 18%);
  animation: arrive 0.25s ease-out;
}
@keyframes arrive {
  from { opacity: 0; transform: translateY(0.75em); }
}
.paper {
  margin: 0 0 0.5em;
  color: var(--muted);
  font-size: 0.8125em;
}
h2 {
  margin: 0 0 0.6em;
  font: 600 1.375em/1.2 var(--serif);
  text-wrap: balance;
}
h2:focus { outline: none; }
p, ul { margin: 0 0 0.9em; }
ul { padding: 0; list-style: none; }
li { padding-block: 0.4em; border-block-end: 1px solid var(--rule); font-weight: 600; }
fieldset { margin: 0 0 1em; padding: 0; border: 0; }
legend { padding: 0 0 0.4em; color: var(--muted); font-size: 0.875em; }
label {
  display: flex;
  gap: 0.75em;
  align-items: center;
  min-block-size: 2.75em;
  padding-block: 0.35em;
  border-block-start: 1px solid var(--rule);
  cursor: pointer;
}
fieldset label:last-child { border-block-end: 1px solid var(--rule); }
input { flex: none; inline-size: 1.15em; block-size: 1.15em; margin: 0; accent-color: var(--ink); }
label b { display: block; font-weight: 600; line-height: 1.3; }
label small { display: block; color: var(--muted); font-size: 0.8125em; line-height: 1.3; }
.trouble { padding-inline-start: 0.75em; border-inline-start: 3px solid var(--accent); }
.choices { display: flex; flex-wrap: wrap; gap: 0.25em 1em; align-items: center; margin: 0; }
button {
  min-block-size: 2.75em;
  padding: 0.4em 0;
  border: 1px solid transparent;
  border-radius: 2px;
  background: none;
  color: var(--ink);
  font: inherit;
  text-decoration: underline;
  text-decoration-thickness: 1px;
  text-underline-offset: 0.2em;
  cursor: pointer;
}
button.main {
  padding-inline: 1.2em;
  border-color: var(--ink);
  background: var(--ink);
  color: var(--paper);
  font-weight: 600;
  text-decoration: none;
}
button[aria-disabled="true"] { cursor: default; opacity: 0.6; }
.promise { margin: 0.6em 0 0; color: var(--muted); font-size: 0.8125em; }
:focus-visible { outline: 2px solid var(--ink); outline-offset: 2px; }
@media (max-width: 32em) {
  dialog {
    inset-inline: 0;
    inset-block-end: 0;
    inline-size: 100%;
    max-inline-size: none;
    max-block-size: 90vh;
    max-block-size: 90dvh;
    padding-block-end: calc(1.1em + env(safe-area-inset-bottom));
    border-inline: 0;
    border-block-end: 0;
  }
}
@media (prefers-reduced-motion: reduce) {
  dialog { animation: none; }
}
`;

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** A button; while its handler's promise is pending, further clicks do nothing. */
function button(text, className, handler) {
  const node = element("button", { type: "button", class: className }, text);
  node.addEventListener("click", async () => {
    if (node.ariaDisabled === "true") return;
    node.ariaDisabled = "true";
    try {
      await handler();
    } finally {
      node.ariaDisabled = "false";
    }
  });
  return node;
}

function choices(...buttons) {
  return element("p", { class: "choices" }, ...buttons);
}

/** A dialog beside the page, not over it: the page stays usable, Escape closes. */
class Panel {
  #host = element("div");
  #dialog = element("dialog", { "aria-labelledby": "heading", lang: "en" });
  #opener = document.activeElement;
  #dismissed = () => {};

  constructor() {
    const root = this.#host.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    root.append(this.#dialog);
    document.body.append(this.#host);
    // The attribute, not show(): that would take the focus from somebody who is reading.
    this.#dialog.open = true;
    document.addEventListener("keydown", this.#onKey);
  }

  #onKey = (event) => {
    if (event.key === "Escape" && !event.defaultPrevented) this.dismiss();
  };

  get #hasFocus() {
    return document.activeElement === this.#host;
  }

  /** Replace what the panel says; `dismissed` is called when it is then closed unanswered. */
  show({ paper, heading, dismissed = () => {} }, ...body) {
    const follow = this.#hasFocus;
    this.#dismissed = dismissed;
    this.#dialog.replaceChildren(
      element("p", { class: "paper" }, paper),
      element("h2", { id: "heading", tabindex: "-1" }, heading),
      ...body,
    );
    if (follow) this.focus();
  }

  focus() {
    this.#dialog.querySelector("h2").focus();
  }

  /** Have screen readers say what has appeared unasked, when they next pause. */
  announce(text) {
    const status = element("p", { role: "status", class: "promise" });
    this.#dialog.append(status);
    // A live region speaks only of what changes after it is there.
    setTimeout(() => status.append(text), 100);
  }

  dismiss() {
    this.#dismissed();
    this.close();
  }

  close() {
    const giveBack = this.#hasFocus;
    document.removeEventListener("keydown", this.#onKey);
    this.#host.remove();
    if (giveBack) this.#opener?.focus?.();
    if (panel === this) panel = null;
  }
}

let panel = null; // the one that is open

/** Show `text` above the buttons, where it replaces the trouble before it. */
function complain(form, text) {
  form.querySelector(".trouble")?.remove();
  form.querySelector(".choices").before(element("p", { class: "trouble", role: "alert" }, text));
}

function topicRow({ slug, name, description }, ticked) {
  const box = element("input", { type: "checkbox", value: slug });
  box.checked = ticked;
  const words = element("span", {}, element("b", {}, name));
  if (description) words.append(element("small", {}, description));
  return element("label", {}, box, words);
}

function showQuestion(reader, facts) {
  const rows = facts.topics.map((topic) => topicRow(topic, facts.preselected.includes(topic)));
  const legend = element("legend", {}, "Alert me about");
  const form = element("div", {}, element("fieldset", {}, legend, ...rows));
  const ticked = () =>
    rows.map((row) => row.firstChild).filter((box) => box.checked).map((box) => box.value);
  const yes = button("Yes, alert me", "main", async () => {
    if (rows.length && !ticked().length) {
      complain(form, "Tick at least one subject.");
      return;
    }
    try {
      await facts.join(ticked());
      await showFollowed(reader, "Thank you. You will hear from us.");
    } catch (error) {
      console.warn("Stop Press:", error.cause ?? error);
      complain(form, TROUBLE[error.kind] ?? TROUBLE.refused);
    }
  });
  form.append(
    choices(yes, button("Not now", "later", () => panel.dismiss())),
    element("p", { class: "promise" }, "Leave again with one click, whenever you like."),
  );
  panel.show({ paper: facts.name, heading: QUESTION, dismissed: reader.later }, form);
}

async function showFollowed(reader, heading) {
  const followed = reader.state().topics;
  const { name, topics } = await reader.site().catch(() => ({ name: "", topics: [] }));
  const names = topics.filter(({ slug }) => followed.includes(slug)).map((topic) => topic.name);
  const list = element("ul", {}, ...names.map((text) => element("li", {}, text)));
  const leave = button("Leave", "leave", async () => {
    try {
      await reader.leave();
      showMessage(name, "You have left", "There will be no more alerts from us in this browser.");
    } catch (error) {
      console.warn("Stop Press:", error.cause ?? error);
      complain(form, LEAVE_TROUBLE);
    }
  });
  const form = element("div", {}, choices(button("Close", "main", () => panel.close()), leave));
  if (names.length) form.prepend(element("p", { class: "paper" }, "You follow"), list);
  panel.show({ paper: name, heading }, form);
}

function showMessage(paper, heading, text) {
  const close = button("Close", "main", () => panel.close());
  panel.show({ paper, heading }, element("p", {}, text), choices(close));
}

/** Open the panel, or come back to the one that is open.

    Unasked, it appears only when everything it offers will work, and leaves the focus alone. */
export async function open(reader) {
  if (panel) {
    panel.focus();
    return;
  }
  const { subscribed } = reader.state();
  const able = !subscribed && !reader.whyNot;
  const facts = able ? await reader.prepare().catch((error) => error) : null;
  if (facts instanceof Error && reader.unasked) throw facts;
  if (panel) return;
  panel = new Panel();
  const trouble = reader.whyNot ?? facts?.kind;
  if (subscribed) await showFollowed(reader, "Your alerts");
  else if (trouble) showMessage("", "No alerts here yet", TROUBLE[trouble]);
  else showQuestion(reader, facts);
  if (reader.unasked) panel.announce(QUESTION);
  else panel.focus();
}
