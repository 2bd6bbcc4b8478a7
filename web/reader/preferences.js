/* The preferences of a subscriber: topics and stories, quiet hours, a limit, a pause; and beside
   them the last alerts, a test, the download of what is stored, and leaving.

   panel.js fetches this when it shows them. */

import { choices, leave, promise, wordsFor, written } from "./dialog.js";
import { element } from "./dom.js";
import { dress, topicRows } from "./topics.js";

const MOST_A_DAY = 14;
const HOUR_MS = 60 * 60 * 1000;
const MORNING = 7; // o'clock: when a pause “until tomorrow morning” ends

/** Return the numbers from 0. `Array.from` is another function on pages with Prototype.js. */
function numbers(count) {
  return [...Array(count).keys()];
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

/** Every quarter of an hour of a day, as the service writes it and as the reader writes it. */
function quarters(t) {
  return numbers(24 * 4).map((number) => {
    const time = new Date((number * HOUR_MS) / 4);
    return [time.toISOString().slice(11, 16), written(t, time, { timeZone: "UTC" })];
  });
}

function tomorrowMorning() {
  return new Date(new Date().setHours(24 + MORNING, 0, 0, 0));
}

/** A time zone in words: “Eastern European Time”. */
function zoneName(t, timeZone) {
  const name = (timeZoneName) => {
    const format = new Intl.DateTimeFormat(t.locale, { timeZone, timeZoneName });
    return format.formatToParts().find(({ type }) => type === "timeZoneName").value;
  };
  try {
    const generic = name("longGeneric");
    return /\d/.test(generic) ? name("long") : generic; // UTC has no generic name
  } catch {
    return timeZone; // this browser does not know it
  }
}

/** Quiet hours: `value()` is {from, to} or null. */
function quietHours(t, { quiet_hours: chosen, timezone }) {
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
  return {
    row: element(
      "fieldset",
      {},
      element("legend", {}, t.quiet),
      labelled(t.from, from),
      until,
      element("p", { class: "small" }, t.zone.replace("{zone}", zoneName(t, timezone))),
    ),
    value: () => (from.value ? { from: from.value, to: to.value } : null),
  };
}

/** A pause until `current`, or null for none. A new one is sent as a span: this clock may be wrong. */
function pause(t, current) {
  const from = (span) => () => ({ paused_for: Math.round(span() / 1000) });
  const rows = [
    [t.noPause, () => ({ paused_until: null })],
    [t.hour, from(() => HOUR_MS)],
    [t.tomorrow, from(() => tomorrowMorning() - Date.now())],
    [t.week, from(() => 7 * 24 * HOUR_MS)],
  ];
  if (current) rows.unshift([t.until.replace("{when}", written(t, current)), () => ({})]);
  const control = select(rows.map(([text], index) => [index, text]), 0);
  return {
    row: labelled(t.pause, control),
    change: () => rows[control.value][1](),
    value: () => control.value, // a time from now on would always differ
  };
}

function limit(t, chosen) {
  const rows = numbers(MOST_A_DAY).map((index) => [index + 1, t.perDay.replace("{n}", index + 1)]);
  const control = select([...rows, ["", t.noLimit]], chosen ?? "");
  return { row: labelled(t.most, control), value: () => Number(control.value) || null };
}

/** Whether breaking news may come at any time. */
function breaking(t, chosen) {
  const control = element("input", { type: "checkbox" });
  control.checked = chosen;
  return { row: element("label", {}, control, t.breaking), value: () => control.checked };
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

function leaving(panel, name, chosen = () => {}) {
  return panel.button("leave", () => leave(panel, name, chosen), panel.t.stillHere);
}

/** Return the slugs to store, where `before` were shown as ticked and another tab has stored `now`
    meanwhile: a slug that this reader has not touched here stays as it is. */
function merged(list, before, now) {
  const ticked = list.value();
  const touched = (slug) => ticked.includes(slug) !== before.includes(slug);
  const kept = list.shown.filter((slug) => (touched(slug) ? ticked : now).includes(slug));
  return [...kept, ...now.filter((slug) => !list.shown.includes(slug))];
}

/** Show the preferences, or why they cannot be shown. */
export async function showPreferences(panel) {
  const { reader, t } = panel;
  let site, chosen, alerts;
  try {
    [site, chosen, { alerts }] = await Promise.all([
      reader.site(),
      reader.own("GET"),
      reader.own("GET", "/alerts").catch(() => ({ alerts: [] })),
    ]);
  } catch (error) {
    // The service may not know this browser any more.
    if (error.kind === "refused") await reader.refresh().catch(console.warn);
    if (!reader.state().subscribed) return panel.refill();
    return panel.say("", t.yours, await wordsFor(error, t), panel.again(), leaving(panel, ""));
  }
  const named = (slug) => ({ slug, name: slug });
  const lists = {
    topics: topicRows(t.about, site.topics, ({ slug }) => chosen.topics.includes(slug)),
    followed_stories: topicRows(t.followedStories, chosen.followed_stories.map(named)),
    muted_stories: topicRows(t.mutedStories, chosen.muted_stories.map(named)),
  };
  const fields = {
    quiet_hours: quietHours(t, chosen),
    daily_limit: limit(t, chosen.daily_limit),
    allow_breaking: breaking(t, chosen.allow_breaking),
    paused_until: pause(t, chosen.paused_until),
  };
  const all = Object.entries({ ...lists, ...fields });
  const states = () => all.map(([, { value }]) => JSON.stringify(value()));
  let before = states();
  const touched = () => {
    const now = states();
    return all.filter((_, index) => now[index] !== before[index]);
  };
  // Another tab may have stored other changes meanwhile: only those made here are sent.
  const save = async () => {
    const { topics, followed_stories: followed } = lists;
    if (topics.missing() && !followed.value().length) return panel.tell(t.tick);
    const now = await reader.own("GET");
    const changes = touched().map(([name, field]) => {
      if (field.change) return field.change();
      return { [name]: lists[name] ? merged(field, chosen[name], now[name]) : field.value() };
    });
    const [shown, sent] = [chosen, states()];
    chosen = await reader.change(Object.assign({}, ...changes));
    before = sent; // what was changed since then is not saved yet
    const differs = ([name]) => JSON.stringify(now[name]) !== JSON.stringify(shown[name]);
    if (all.some(differs)) await showPreferences(panel);
    panel.tell(t.saved, "status");
  };
  /** Go on with `next`, at once or when the reader gives up the changes that are not saved. */
  const unlessUnsaved = (next) => {
    if (!touched().length) return next();
    const discard = () => {
      before = states();
      return next();
    };
    panel.tell(t.unsaved, "alert", panel.button("discard", discard));
  };
  const test = async () => {
    await reader.own("POST", "/test");
    panel.tell(t.tested, "status");
  };
  const explain = async () => (await reader.load("./help.js")).showWhy(panel);
  const download = async () => {
    const stored = JSON.stringify(await reader.own("GET", "/export"), null, 1);
    const href = `data:application/json,${encodeURIComponent(stored)}`;
    element("a", { href, download: "alerts.json" }).click();
  };
  const keep = () => {
    const unsaved = touched().length > 0;
    if (unsaved) unlessUnsaved(() => panel.close());
    return unsaved;
  };
  const details = element("fieldset", {}, fields.daily_limit.row, fields.paused_until.row);
  details.append(fields.allow_breaking.row);
  panel.show(
    { paper: site.name, heading: t.yours, keep },
    ...Object.values(lists).filter(({ shown }) => shown.length).map(({ fieldset }) => fieldset),
    fields.quiet_hours.row,
    details,
    choices(panel.button("save", save), ...panel.closing()),
    element(
      "p",
      { class: "choices" },
      panel.button("test", test),
      panel.button("why", () => unlessUnsaved(explain)),
      leaving(panel, site.name, () => chosen),
      panel.button("download", download),
    ),
    promise(t),
    ...missed(t, alerts),
  );
  dress(details);
  // Each change adds the listener anew, which is nothing while it is there.
  const ask = (event) => {
    if (details.isConnected && touched().length) event.preventDefault();
  };
  details.parentNode.onchange = () => {
    const listen = touched().length ? addEventListener : removeEventListener;
    listen("beforeunload", ask); // it keeps a page out of the back/forward cache
  };
}
