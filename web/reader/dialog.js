/* The panel as a thing on the page: a dialog or a part of the page, with its style, its buttons and
   its focus. What it says is in panel.js and preferences.js. */

import { element, follow, of, root, withSection } from "./dom.js";

// The text on the main button is black or white, whichever has the greater contrast with the brand's
// colour: `y` is that colour's relative luminance (WCAG 2.2, 1.4.3).
const STYLE = `
[hidden] { display: none; }
.panel {
  padding: 1.25em 1.5em calc(1.1em + env(safe-area-inset-bottom));
  background: var(--paper);
  color: var(--ink);
  font: 1em/1.45 var(--sans);
}
section.panel { max-inline-size: 40em; padding-inline: 0; }
dialog {
  position: fixed;
  inset-block: auto 1.25em;
  inset-inline: auto 1.25em;
  z-index: 2147483647;
  inline-size: min(25em, 100vw - 2.5em);
  max-block-size: calc(100dvh - 2.5em);
  margin: 0;
  overflow: auto;
  border: 1px solid var(--rule);
  border-block-start: 3px solid var(--ink);
  box-shadow: 0 0.5em 2em rgb(0 0 0 / 18%);
}
@keyframes arrive {
  from { opacity: 0; transform: translateY(0.75em); }
}
.brief { padding: 0.6em 1em calc(0.6em + env(safe-area-inset-bottom)); }
.line { display: flex; gap: 0.75em; align-items: center; }
.line > div { flex: 1; min-inline-size: 0; }
.line h2 { margin: 0; font-size: 1em; }
.line .small { margin: 0; }
.details { inline-size: 2.75em; margin-inline-end: -0.6em; }
.small svg { inline-size: 1.2em; block-size: 1.2em; }
.logo { inline-size: 2.5em; block-size: 2.5em; border-radius: 4px; object-fit: contain; }
.small, small { color: var(--muted); font-size: 0.8125em; }
.small { margin: 0 0 0.5em; }
small { display: block; font-weight: 400; line-height: 1.3; }
h2 {
  margin: 0 0 0.6em;
  font: 600 1.375em/1.2 var(--serif);
  text-wrap: balance;
}
h2:focus { outline: none; }
a { color: inherit; }
p, ul, ol { margin: 0 0 0.9em; }
ol { padding-inline-start: 1.4em; }
li { padding-block: 0.4em; border-block-end: 1px solid var(--rule); font-weight: 600; }
.arrival li { font-weight: 400; }
svg { vertical-align: -0.3em; }
li svg { margin-inline-start: 0.4em; }
b { font-weight: 600; }
[role=alert] { padding-inline-start: 0.75em; border-inline-start: 3px solid var(--accent); }
[role=alert] button { display: block; }
.choices { display: flex; flex-wrap: wrap; gap: 0.25em 1em; align-items: center; margin: 0; }
.choices [role] { flex: 0 0 100%; margin: 0 0 0.4em; }
.pinned { position: sticky; inset-block-end: 0; padding-block: 0.5em; background: var(--paper); }
dialog .pinned { inset-block-end: -1.1em; }
.brief .pinned { flex-direction: column; align-items: stretch; padding-block: 0.5em 0; }
.brief .later { border-color: var(--rule); text-decoration: none; }
button.main {
  --brand: var(--stop-press-accent, var(--ink));
  padding-inline: 1.2em;
  border-color: var(--brand);
  background: var(--brand);
  color: var(--paper);
  font-weight: 600;
  text-decoration: none;
}
@supports (color: color(from red xyz x y z)) {
  button.main {
    color: color(from var(--brand) xyz
      clamp(0, (0.18 - y) * 1000, 0.9505) clamp(0, (0.18 - y) * 1000, 1)
      clamp(0, (0.18 - y) * 1000, 1.089));
  }
}
.spoken {
  position: absolute;
  inline-size: 1px;
  block-size: 1px;
  margin: 0;
  overflow: hidden;
  clip-path: inset(50%);
}
[aria-disabled=true] { opacity: 0.6; }
.choices + .small { margin: 0.6em 0 0; }
@media (max-height: 25em) { .pinned { position: static; } }
@media print { dialog { display: none; } }
@media (max-width: 32em) {
  dialog { inset: auto 0 0; min-inline-size: 100%; border-inline: 0; }
}
@media (prefers-reduced-motion: no-preference) {
  dialog { animation: arrive 0.25s; }
}
`;

const ABOVE = ":is(dialog,:popover-open,:fullscreen)"; // what a page may show above all else
const ASKED = "stop-press-asked"; // optin.js says what is in it
const NIGHT = "03:00"; // quiet hours that contain it are “at night”

/** A row of buttons, in view however long the rest of the panel is; the first stands out. */
export function choices(...buttons) {
  buttons[0]?.classList.add("main");
  return element("div", { class: "choices pinned" }, ...buttons);
}

/** Times as readers write them. */
export function written(t, time, options = { dateStyle: "medium" }) {
  return new Date(time).toLocaleString(t.locale, { timeStyle: "short", ...options });
}

/** Return the words for a failure, by its kind; the rarer ones are in a file of their own. */
export async function wordsFor({ kind }, t) {
  return t[kind] || (await withSection(t, "faults").catch(() => t))[kind] || t.refused;
}

function focused() {
  let node = of("activeElement");
  while (node?.shadowRoot?.activeElement) node = node.shadowRoot.activeElement;
  return node;
}

/** What this browser's reader has answered so far; it differs after an answer in another tab. */
function answered() {
  try {
    const { refusals, until } = JSON.parse(localStorage.getItem(ASKED));
    return `${refusals} ${until}`;
  } catch {
    return "none"; // storage is blocked, or empty
  }
}

/** A dialog beside the page: the page stays usable, and Escape closes the dialog. If `place` is
    given, it is a part of the page instead, and stays. `fill` shows in it what fits the reader. */
export class Panel {
  static open; // the dialog that is open
  #host;
  #box;
  #opener = focused();
  #subscribed;
  #keep; // says whether a change is not saved yet
  #answers; // those before the question that is shown
  #end; // resolves `closed`

  constructor(reader, t, fill, place) {
    this.reader = reader;
    this.t = t;
    this.refill = () => fill(this);
    this.stays = place;
    // Resolves when the panel closes, to true if the reader closed it with Escape.
    this.closed = new Promise((resolve) => (this.#end = resolve));
    this.#host = place ?? element("div");
    this.#box = element(place ? "section" : "dialog", {
      class: "panel",
      "aria-labelledby": "heading",
      lang: t.lang,
      dir: t.dir,
    });
    root(this.#host, STYLE).append(this.#box);
    follow(this.#host, this.#onChange);
    if (place) return;
    Panel.open = this;
    // A `body` with a filter would put it out of sight; beside a modal dialog it would be inert, and
    // behind what else the page shows above all, such as a menu with the bell in it.
    (of("activeElement")?.closest(ABOVE) ?? of("documentElement")).append(this.#host);
    document.addEventListener("keydown", this.#onKey);
    // One answer closes the question in all tabs. A page in the back/forward cache hears nothing.
    addEventListener("storage", this.#onAnswer);
    addEventListener("pageshow", this.#onAnswer);
    // The page may remove the panel, or close the dialog that it is in.
    new ResizeObserver(() => this.shown || this.close()).observe(this.#box);
  }

  // Escape belongs to the element of the page that has the focus, such as a search box.
  #onKey = (event) => {
    const ours = [this.#host, of("body"), null].includes(of("activeElement"));
    if (event.key === "Escape" && ours && !event.defaultPrevented) this.close(true);
  };

  #onAnswer = () => {
    if (!this.#isBusy && this.#answers && this.#answers !== answered()) this.close();
  };

  /** Show that the reader subscribed or left in another tab, or in another part of this page. */
  #onChange = () => {
    const { subscribed } = this.reader.state();
    if (this.#isBusy || subscribed === this.#subscribed) return;
    if (subscribed) this.refill();
    else this.say("", this.t.left, this.t.leftText);
  };

  /** Whether the page has the panel, and not in a dialog of its own that is closed. */
  get shown() {
    return this.#host.getClientRects()[0];
  }

  /** Whether a click here is under way. */
  get #isBusy() {
    return this.#box.querySelector("[aria-disabled=true]");
  }

  get #hasFocus() {
    return of("activeElement") === this.#host;
  }

  /** Replace what the panel shows; `title` is its heading then. `brief`, if given, puts the heading
      into a line of its own. `asks` says that it is the question. `keep` is called before the panel
      closes, and returns true if it must not. */
  show({ paper, heading, brief, asks, keep }, ...body) {
    const follow = this.#hasFocus;
    this.#keep = keep;
    this.#answers = asks && answered();
    this.#subscribed = this.reader.state().subscribed;
    this.#box.classList.toggle("brief", Boolean(brief));
    this.title = element("h2", { id: "heading", tabindex: "-1" }, heading);
    const head = [element("p", { class: "small" }, element("bdi", {}, paper)), this.title];
    this.#box.replaceChildren(...(brief ? [brief(this.title)] : head), ...body);
    // The attribute, not show(), which would take the focus from a reader in mid-sentence.
    this.#box.open = true; // which means nothing to a part of the page
    this.#box.scrollTop = 0;
    if (follow) this.focus();
  }

  say(paper, heading, text, ...buttons) {
    this.show({ paper, heading }, element("p", {}, text), choices(...this.closing(), ...buttons));
  }

  /** Return the button of that name. Clicks do nothing while its handler is at work. If the handler
      fails, the panel says why, in the words for the failure's kind or in `failed`, until the next
      click. */
  button(name, handler, failed) {
    const node = element("button", { type: "button", class: name }, this.t[name]);
    node.onclick = async () => {
      if (node.ariaDisabled === "true") return;
      node.ariaDisabled = "true";
      this.#box.querySelector("[role=alert]")?.remove();
      try {
        await handler();
      } catch (error) {
        console.warn("Stop Press:", error.cause ?? error);
        const words = failed ?? (await wordsFor(error, this.t));
        this.tell(words, "alert", this.again(() => node.click()));
      } finally {
        node.ariaDisabled = "false";
      }
    };
    return node;
  }

  again(run = this.refill) {
    return this.button("again", run);
  }

  closing() {
    return this.stays ? [] : [this.button("close", () => this.close())];
  }

  /** Show `text`, and buttons, above the other buttons, in place of an earlier message. */
  tell(text, role = "alert", ...buttons) {
    this.#answers &&= answered(); // one of them may be from here
    this.#box.querySelector("[role]")?.remove();
    this.#box.querySelector(".choices").prepend(element("div", { role }, text, ...buttons));
  }

  /** Say what the reader can do while a click is under way; the words may come after its end. */
  async hint(kind) {
    const words = await wordsFor({ kind }, this.t);
    if (this.#isBusy) this.tell(words, "status");
  }

  focus() {
    this.title?.focus(); // there is none yet while a slow script loads
  }

  /** Have screen readers read out the heading when they next pause. It is not seen again and takes no
      room, because a button that moves while it is pressed is not clicked. */
  announce() {
    const status = element("p", { role: "status", class: "spoken" });
    this.#box.append(status);
    // A live region announces only changes after it exists.
    setTimeout(() => status.append(this.title.textContent), 100);
  }

  /** Hide the panel, while the reader types into a field of the page, or show it again. */
  hide(hidden) {
    this.#box.hidden = hidden;
  }

  /** Close the panel, unless changes that are not saved would be lost. */
  close(escaped = false) {
    if (this.shown && this.#keep?.()) return;
    const giveBack = this.#hasFocus;
    document.removeEventListener("keydown", this.#onKey);
    removeEventListener("storage", this.#onAnswer);
    removeEventListener("pageshow", this.#onAnswer);
    this.#host.stopPress = () => {};
    this.#host.remove();
    if (giveBack) this.#opener?.focus?.();
    if (Panel.open === this) Panel.open = null;
    this.#end(escaped);
  }
}

/** How often alerts come: “About 3 a day, none at night”. */
export function often(t, { alerts_a_day: number, defaults }) {
  const { daily_limit: most, quiet_hours: quiet } = defaults;
  const { from, to } = quiet ?? {};
  const night = from < to ? from <= NIGHT && NIGHT < to : from <= NIGHT || NIGHT < to;
  const rate = number ? t.often : most && `${t.most} ${t.perDay}`;
  const count = Math.min(number ?? most, most ?? number);
  const parts = [rate?.replace("{n}", count), night && t.night].filter(Boolean);
  return parts.join(t.dir === "rtl" ? "، " : ", ");
}

/** A link to the page that lists what is stored. */
export function stored(t, text = t.stored) {
  const href = new webkitURL(`/privacy?lang=${t.lang}`, import.meta.url);
  return element("a", { href, target: "_blank", "aria-label": t.stored, title: t.stored }, text);
}

/** What leaving means, and that link. */
export function promise(t) {
  return element("p", { class: "small" }, t.promise, " ", stored(t));
}

/** Wait for what the reader need not wait for, but not for long. */
function soon(promise) {
  return Promise.race([promise, new Promise((resolve) => setTimeout(resolve, 2000))]);
}

/** Leave, and offer to take it back: to subscribe again with the same preferences, which `kept()`
    are, or promises. */
export async function leave(panel, name, kept) {
  const { reader, t } = panel;
  const chosen = await soon(kept());
  const [facts] = await Promise.all([soon(reader.prepare().catch(() => {})), reader.leave()]);
  const undo = panel.button("undo", async () => {
    const all = await reader.rejoin(facts.join, chosen);
    await panel.refill();
    if (!all) panel.tell(await wordsFor({ kind: "partly" }, t), "status");
  });
  panel.say(name, t.left, t.leftText, ...(facts && chosen ? [undo] : []));
}
