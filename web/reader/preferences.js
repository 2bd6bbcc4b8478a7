/* The preferences of a subscriber: topics and stories, quiet hours, a limit, a pause; and beside
   them the last alerts, a test, the download of what is stored, and leaving. */

import { choices, promise, topicRows, wordsFor } from "./dialog.js";
import { element } from "./dom.js";

const MOST_A_DAY = 14;
const HOUR_MS = 60 * 60 * 1000;
const MORNING = 7; // o'clock: when a pause “until tomorrow morning” ends

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
  return Array.from({ length: 24 * 4 }, (_, number) => {
    const time = new Date((number * HOUR_MS) / 4);
    return [time.toISOString().slice(11, 16), written(t, time, { timeZone: "UTC" })];
  });
}

export function written(t, time, options = { dateStyle: "medium" }) {
  return new Date(time).toLocaleString(t.locale, { timeStyle: "short", ...options });
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

/** A pause: `value()` is the Date of its end, null for none, undefined to leave it as it is. */
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
