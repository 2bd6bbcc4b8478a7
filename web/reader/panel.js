/* The panel a reader meets: the question and the thanks; for a subscriber what is followed, when
   alerts may come, what was missed, and the way out; the way to a Home Screen, and plain words for
   trouble.

   It does nothing by itself: optin.js hands it, as `reader`, what is known and what can be done. */

import { element, follow, root, texts } from "./look.js";

const MOST_A_DAY = 14;
const HOUR_MS = 60 * 60 * 1000;
const MORNING = 7; // o'clock, when a pause “until tomorrow morning” ends

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

/** A row of buttons, the first of which is the one that most will want. */
function choices(...buttons) {
  buttons[0]?.classList.add("main");
  return element("p", { class: "choices" }, ...buttons);
}

function focused() {
  let node = document.activeElement;
  while (node?.shadowRoot?.activeElement) node = node.shadowRoot.activeElement;
  return node;
}

/** A dialog beside the page, not over it: the page stays usable, Escape closes. Given a `place`
    of the page's, it is a part of the page instead and stays. */
class Panel {
  #host;
  #box;
  #opener = focused();
  #dismissed = () => {};
  #subscribed;

  constructor(reader, t, place) {
    this.reader = reader;
    this.t = t;
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
    document.body.append(this.#host);
    // The attribute, not show(): that would take the focus from somebody who is reading.
    this.#box.open = true;
    document.addEventListener("keydown", this.#onKey);
  }

  #onKey = (event) => {
    if (event.key === "Escape" && this.shown && !event.defaultPrevented) this.dismiss();
  };

  /** Stay true when another tab, or another part of this page, subscribes or leaves. */
  #onChange = () => {
    const { subscribed } = this.reader.state();
    const ours = this.#box.querySelector("[aria-disabled=true]"); // what was clicked here goes on
    if (ours || subscribed === this.#subscribed) return;
    if (subscribed) fill(this);
    else this.say("", this.t.left, this.t.leftText);
  };

  get shown() {
    return this.#host.isConnected;
  }

  get #hasFocus() {
    return document.activeElement === this.#host;
  }

  /** Replace what the panel says; `dismissed` is called when it is then closed unanswered. */
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

  /** The button of that name. While its handler's promise is pending further clicks do nothing;
      what fails is told in the words for its kind, or in `failed`. */
  button(name, handler, failed) {
    const node = element("button", { type: "button", class: name }, this.t[name]);
    node.onclick = async () => {
      if (node.ariaDisabled === "true") return;
      node.ariaDisabled = "true";
      try {
        await handler();
      } catch (error) {
        console.warn("Stop Press:", error.cause ?? error);
        this.tell(failed ?? this.t[error.kind] ?? this.t.refused);
      } finally {
        node.ariaDisabled = "false";
      }
    };
    return node;
  }

  closing() {
    return this.stays ? [] : [this.button("close", () => this.close())];
  }

  /** Show `text` above the buttons, where it replaces what was said there before. */
  tell(text, role = "alert") {
    this.#box.querySelector("[role]")?.remove();
    const told = element("p", { role }, text);
    this.#box.querySelector(".choices").before(told);
    told.scrollIntoView({ block: "nearest" });
  }

  focus() {
    this.#box.querySelector("h2").focus();
  }

  /** Have screen readers say what has appeared unasked, when they next pause. Nobody sees it: a
      button that moves while it is pressed is not clicked. */
  announce(text) {
    const status = element("p", { role: "status" });
    status.style.font = "0/0 a";
    this.#box.append(status);
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
    this.#host.stopPress = () => {};
    this.#host.remove();
    if (giveBack) this.#opener?.focus?.();
    if (dialog === this) dialog = null;
  }
}

let dialog = null; // the one that is open

/** Topics as boxes to tick: `value()` is those ticked, `missing()` that none is. */
function topicRows(title, topics, isTicked = () => true) {
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

/** What leaving means, and the way to the page that lists what is stored. */
export function promise(t) {
  const href = new URL(`/privacy?lang=${t.lang}`, import.meta.url);
  const link = element("a", { href, target: "_blank" }, t.stored);
  return element("p", { class: "small" }, t.promise, " ", link);
}

function showQuestion(panel, facts) {
  const { reader, t } = panel;
  const topics = topicRows(t.about, facts.topics, (topic) => facts.preselected.includes(topic));
  const yes = panel.button("yes", async () => {
    if (topics.missing()) return panel.tell(t.tick);
    await facts.join({ topics: topics.value() });
    panel.say(facts.name, t.thanks, t.promise, panel.button("more", () => fill(panel)));
  });
  const buttons = [yes];
  if (!panel.stays) buttons.push(panel.button("later", () => panel.dismiss()));
  panel.show(
    { paper: facts.name, heading: t.question, dismissed: reader.later },
    topics.fieldset,
    choices(...buttons),
    promise(t),
  );
}

function select(rows, chosen) {
  const options = rows.map(([value, text]) => element("option", { value }, text));
  const node = element("select", {}, ...options);
  node.value = chosen;
  return node;
}

function labelled(text, control) {
  return element("label", {}, element("span", {}, text), control);
}

/** Every quarter of an hour of a day, as the service and as the reader writes it. */
function quarters(t) {
  return Array.from({ length: 24 * 4 }, (_, number) => {
    const time = new Date((number * HOUR_MS) / 4);
    return [time.toISOString().slice(11, 16), written(t, time, { timeZone: "UTC" })];
  });
}

export function written(t, moment, options = { dateStyle: "medium" }) {
  return new Date(moment).toLocaleString(t.locale, { timeStyle: "short", ...options });
}

function tomorrowMorning() {
  return new Date(new Date().setHours(24 + MORNING, 0, 0, 0));
}

/** Quiet hours: `value()` is {from, to} or null. */
function quietHours(t, chosen) {
  const times = quarters(t);
  const from = select([["", t.none], ...times], chosen?.from ?? "");
  const to = select(times, chosen?.to ?? "07:00");
  const until = labelled(t.to, to);
  const show = () => {
    until.hidden = !from.value;
    for (const option of to.options) option.disabled = option.value === from.value;
    if (to.value === from.value) to.selectedIndex = (to.selectedIndex + 4) % times.length;
  };
  from.onchange = show;
  show();
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  return {
    fieldset: element(
      "fieldset",
      {},
      element("legend", {}, t.quiet),
      labelled(t.from, from),
      until,
      element("p", { class: "small" }, t.zone.replace("{zone}", timeZone)),
    ),
    value: () => (from.value ? { from: from.value, to: to.value } : null),
  };
}

/** A pause: `value()` is when it ends, as RFC 3339, or null; undefined leaves it as it is. */
function pause(t, current) {
  const running = current && new Date(current) > new Date();
  const rows = [
    [t.noPause, () => null],
    [t.hour, () => new Date(Date.now() + HOUR_MS)],
    [t.tomorrow, tomorrowMorning],
    [t.week, () => new Date(Date.now() + 7 * 24 * HOUR_MS)],
  ];
  if (running) rows.unshift([t.until.replace("{when}", written(t, current)), () => {}]);
  const control = select(rows.map(([text], index) => [index, text]), 0);
  return { label: labelled(t.pause, control), value: () => rows[control.value][1]() };
}

function limit(t, chosen) {
  const rows = Array.from({ length: MOST_A_DAY }, (_, index) => [
    index + 1,
    t.perDay.replace("{n}", index + 1),
  ]);
  const control = select([...rows, ["", t.noLimit]], chosen ?? "");
  return { label: labelled(t.most, control), value: () => Number(control.value) || null };
}

function missed(t, alerts) {
  const rows = alerts
    .filter(({ url }) => /^https?:/.test(url))
    .map(({ title, url, sent_at: sent }) => {
      const when = element("small", {}, written(t, sent));
      return element("li", {}, element("a", { href: url }, element("bdi", {}, title)), when);
    });
  if (!rows.length) return [];
  return [element("h3", {}, t.missed), element("ul", {}, ...rows)];
}

function leaving(panel, name) {
  const { reader, t } = panel;
  const leave = async () => {
    await reader.leave();
    panel.say(name, t.left, t.leftText);
  };
  return panel.button("leave", leave, t.stillHere);
}

async function showPreferences(panel) {
  const { reader, t } = panel;
  let site, chosen, alerts;
  try {
    [site, chosen, { alerts }] = await Promise.all([
      reader.site(),
      reader.own("GET"),
      reader.own("GET", "/alerts").catch(() => ({ alerts: [] })),
    ]);
  } catch (error) {
    // It may not know this browser any more.
    if (error.kind === "refused") await reader.refresh().catch(console.warn);
    if (!reader.state().subscribed) return fill(panel);
    return panel.say("", t.yours, t[error.kind], leaving(panel, ""));
  }
  const topics = topicRows(t.about, site.topics, ({ slug }) => chosen.topics.includes(slug));
  const [followed, muted] = [
    [t.followedStories, chosen.followed_stories],
    [t.mutedStories, chosen.muted_stories],
  ].map(([title, slugs]) => topicRows(title, slugs.map((slug) => ({ slug, name: slug }))));
  const lists = [topics, followed, muted].map(({ fieldset }) => fieldset);
  const quiet = quietHours(t, chosen.quiet_hours);
  const most = limit(t, chosen.daily_limit);
  const breaking = element("input", { type: "checkbox" });
  breaking.checked = chosen.allow_breaking;
  const rest = pause(t, chosen.paused_until);
  const save = async () => {
    if (topics.missing() && !followed.value().length) return panel.tell(t.tick);
    await reader.change({
      topics: topics.value(),
      followed_stories: followed.value(),
      muted_stories: muted.value(),
      quiet_hours: quiet.value(),
      daily_limit: most.value(),
      allow_breaking: breaking.checked,
      paused_until: rest.value(),
    });
    panel.tell(t.saved, "status");
  };
  const test = async () => {
    await reader.own("POST", "/test");
    panel.tell(t.tested, "status");
  };
  const download = async () => {
    const all = JSON.stringify(await reader.own("GET", "/export"), null, 1);
    const href = `data:application/json,${encodeURIComponent(all)}`;
    element("a", { href, download: "alerts.json" }).click();
  };
  panel.show(
    { paper: site.name, heading: t.yours },
    ...lists.filter((list) => list.children[1]),
    quiet.fieldset,
    element("fieldset", {}, most.label, rest.label, element("label", {}, breaking, t.breaking)),
    choices(panel.button("save", save), ...panel.closing()),
    element(
      "p",
      { class: "choices" },
      panel.button("test", test),
      leaving(panel, site.name),
      panel.button("download", download),
    ),
    promise(t),
    ...missed(t, alerts),
  );
}

/** Show what fits this reader; `facts` are what a click on “Yes” needs, where it was prepared. */
export async function fill(panel, facts) {
  const { reader, t } = panel;
  if (reader.state().subscribed) return showPreferences(panel);
  const found = facts ?? (await prepared(reader));
  const trouble = reader.whyNot() ?? found.kind;
  if (trouble === "home") (await import("./home.js")).showHomeScreen(panel);
  else if (trouble) panel.say("", t.noAlerts, t[trouble] ?? t.refused);
  else showQuestion(panel, found);
}

function prepared(reader) {
  return reader.whyNot() ? {} : reader.prepare().catch((error) => error);
}

/** Open the panel, or come back to the one that is open.

    Unasked, it appears only when everything it offers will work, and leaves the focus alone.
    `show` fills it. */
export async function open(reader, unasked, show = fill) {
  if (dialog?.shown) return dialog.focus();
  dialog?.close(); // the page has put another in the place of its body
  const able = !reader.state().subscribed;
  const [t, facts] = await Promise.all([texts(reader.tag), able ? prepared(reader) : undefined]);
  if (facts instanceof Error && unasked) throw facts;
  if (dialog) return;
  dialog = new Panel(reader, t);
  await show(dialog, facts);
  if (unasked) dialog?.announce(t.question);
  else dialog?.focus();
}

/** Show the same as a part of the page. */
export function embed(reader, place, t) {
  return fill(new Panel(reader, t, place));
}
