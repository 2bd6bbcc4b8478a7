/* The panel as a thing on the page: a dialog or a part of the page, with its style, its buttons and
   its focus. What it says is in panel.js and preferences.js. */

import { element, follow, root, withSection } from "./dom.js";

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
  z-index: 2147483000;
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
.small, small, legend { color: var(--muted); font-size: 0.8125em; }
.small { margin: 0 0 0.5em; }
small { display: block; font-weight: 400; line-height: 1.3; }
h2 {
  margin: 0 0 0.6em;
  font: 600 1.375em/1.2 var(--serif);
  text-wrap: balance;
}
h2:focus { outline: none; }
a { color: inherit; }
h3 {
  margin: 1em 0 0.3em;
  font: 600 1.05em/1.2 var(--serif);
}
p, ul, ol { margin: 0 0 0.9em; }
ul { padding: 0; list-style: none; }
li { padding-block: 0.4em; border-block-end: 1px solid var(--rule); font-weight: 600; }
ol { padding-inline-start: 1.4em; }
svg { margin-inline-start: 0.4em; vertical-align: -0.3em; }
fieldset { min-inline-size: 0; margin: 0 0 1em; padding: 0; border: 0; }
legend { padding: 0 0 0.4em; }
label {
  display: flex;
  gap: 0.75em;
  align-items: center;
  min-block-size: 2.75em;
  padding-block: 0.35em;
  border-block-start: 1px solid var(--rule);
  cursor: pointer;
}
fieldset label:last-of-type { border-block-end: 1px solid var(--rule); }
input { flex: none; inline-size: 1.15em; block-size: 1.15em; margin: 0; accent-color: var(--ink); }
label > span { flex: 1; }
select {
  max-inline-size: 60%;
  min-block-size: 2.2em;
  border: 1px solid var(--muted);
  border-radius: 2px;
  background: var(--paper);
  color: var(--ink);
  font: inherit;
}
b { font-weight: 600; }
[role=alert] { padding-inline-start: 0.75em; border-inline-start: 3px solid var(--accent); }
.choices { display: flex; flex-wrap: wrap; gap: 0.25em 1em; align-items: center; margin: 0; }
button.main {
  padding-inline: 1.2em;
  border-color: var(--ink);
  background: var(--ink);
  color: var(--paper);
  font-weight: 600;
  text-decoration: none;
}
[aria-disabled=true] { opacity: 0.6; }
label + .small, .choices + .small { margin: 0.6em 0 0; }
@media (max-width: 32em) {
  dialog { inset-block: auto 0; inset-inline: 0; min-inline-size: 100%; border-inline: 0; }
}
@media (prefers-reduced-motion: no-preference) {
  dialog { animation: arrive 0.25s; }
}
`;

/** A row of buttons; the first stands out. */
export function choices(...buttons) {
  buttons[0]?.classList.add("main");
  return element("p", { class: "choices" }, ...buttons);
}

/** Return the words for a failure, by its kind; the rarer ones are in a file of their own. */
export async function wordsFor({ kind }, t) {
  if (t[kind]) return t[kind];
  return (await withSection(t, "faults").catch(() => t))[kind] ?? t.refused;
}

function focused() {
  let node = document.activeElement;
  while (node?.shadowRoot?.activeElement) node = node.shadowRoot.activeElement;
  return node;
}

/** A dialog beside the page: the page stays usable, and Escape closes the dialog. If `place` is
    given, it is a part of the page instead, and stays. `fill` shows in it what fits the reader. */
export class Panel {
  static open; // the dialog that is open
  #host;
  #box;
  #opener = focused();
  #dismissed = () => {};
  #subscribed;

  constructor(reader, t, fill, place) {
    this.reader = reader;
    this.t = t;
    this.refill = () => fill(this);
    this.stays = Boolean(place);
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
    document.querySelector("body").append(this.#host); // `body` may be an image's name
    // The attribute, not show(), which would take the focus from a reader in mid-sentence.
    this.#box.open = true;
    document.addEventListener("keydown", this.#onKey);
  }

  #onKey = (event) => {
    if (event.key === "Escape" && this.shown && !event.defaultPrevented) this.dismiss();
  };

  /** Show that the reader subscribed or left in another tab, or in another part of this page. */
  #onChange = () => {
    const { subscribed } = this.reader.state();
    const ours = this.#box.querySelector("[aria-disabled=true]"); // a click here is under way
    if (ours || subscribed === this.#subscribed) return;
    if (subscribed) this.refill();
    else this.say("", this.t.left, this.t.leftText);
  };

  get shown() {
    return this.#host.isConnected;
  }

  get #hasFocus() {
    return document.activeElement === this.#host;
  }

  /** Replace what the panel shows. `dismissed` is called if the reader closes it unanswered. */
  show({ paper, heading, dismissed = () => {} }, ...body) {
    const follow = this.#hasFocus;
    this.#dismissed = dismissed;
    this.#subscribed = this.reader.state().subscribed;
    this.#box.replaceChildren(
      element("p", { class: "small" }, element("bdi", {}, paper)),
      element("h2", { id: "heading", tabindex: "-1" }, heading),
      ...body,
    );
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
        this.tell(words, "alert", " ", this.again(() => node.click()));
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

  /** Show `text` above the buttons, in place of an earlier message. */
  tell(text, role = "alert", ...more) {
    this.#box.querySelector("[role]")?.remove();
    const message = element("p", { role }, text, ...more);
    this.#box.querySelector(".choices").before(message);
    message.scrollIntoView({ block: "nearest" });
  }

  /** Say what the reader can do while the browser asks. */
  async hint(kind) {
    this.tell(await wordsFor({ kind }, this.t), "status");
  }

  focus() {
    this.#box.querySelector("h2").focus();
  }

  /** Have screen readers read out `text` when they next pause. Its element has no size, because a
      button that moves while it is pressed is not clicked. */
  announce(text) {
    const status = element("p", { role: "status" });
    status.style.font = "0/0 a";
    this.#box.append(status);
    // A live region announces only changes after it exists.
    setTimeout(() => status.append(text), 100);
  }

  dismiss() {
    this.#dismissed();
    this.close();
  }

  close() {
    const giveBack = this.#hasFocus;
    document.removeEventListener("keydown", this.#onKey);
    this.#host.stopPress = () => {};
    this.#host.remove();
    if (giveBack) this.#opener?.focus?.();
    if (Panel.open === this) Panel.open = null;
  }
}

/** Topics as checkboxes: `value()` are the ticked slugs; `missing()` is true if none is ticked. */
export function topicRows(title, topics, isTicked = () => true) {
  const rows = topics.map((topic) => {
    const box = element("input", { type: "checkbox", value: topic.slug });
    box.checked = isTicked(topic);
    const words = element("span", {}, element("b", {}, element("bdi", {}, topic.name)));
    if (topic.description) words.append(element("small", {}, element("bdi", {}, topic.description)));
    return element("label", {}, box, words);
  });
  const ticked = () => rows.map((row) => row.firstChild).filter((box) => box.checked);
  return {
    fieldset: element("fieldset", {}, element("legend", {}, title), ...rows),
    value: () => ticked().map((box) => box.value),
    missing: () => rows.length > 0 && !ticked().length,
  };
}

/** What leaving means, and a link to the page that lists what is stored. */
export function promise(t) {
  const href = new URL(`/privacy?lang=${t.lang}`, import.meta.url);
  const link = element("a", { href, target: "_blank" }, t.stored);
  return element("p", { class: "small" }, t.promise, " ", link);
}
