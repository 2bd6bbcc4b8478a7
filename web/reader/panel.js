/* The panel: the question, the thanks, the preferences of a subscriber, and plain words when
   something does not work.

   It does nothing by itself. optin.js passes it a `reader`: what is known of this browser and what
   can be done. */

import { Panel, choices, promise, topicRows, wordsFor } from "./dialog.js";
import { texts } from "./dom.js";
import { showPreferences } from "./preferences.js";

function showQuestion(panel, facts) {
  const { reader, t } = panel;
  const topics = topicRows(t.about, facts.topics, (topic) => facts.preselected.includes(topic));
  const yes = panel.button("yes", async () => {
    if (topics.missing()) return panel.tell(t.tick);
    await facts.join({ topics: topics.value() }, (kind) => panel.hint(kind));
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

/** Show what fits this reader. `facts`, if they are prepared, are what a click on “Yes” needs. */
export async function fill(panel, facts) {
  const { reader, t } = panel;
  if (reader.state().subscribed) return showPreferences(panel);
  const found = facts ?? (await prepared(reader));
  const trouble = reader.whyNot() ?? found.kind;
  if (trouble === "home") return (await import("./home.js")).showHomeScreen(panel);
  if (!trouble) return showQuestion(panel, found);
  panel.say("", t.noAlerts, await wordsFor({ kind: trouble }, t), panel.again());
}

function prepared(reader) {
  return reader.whyNot() ? {} : reader.prepare().catch((error) => error);
}

/** Open the panel, filled by `show`, or focus the one that is open.

    If the reader did not ask for it (`unasked`), it appears only when all that it offers will work,
    and it leaves the focus alone. */
export async function open(reader, unasked, show = fill) {
  if (Panel.open?.shown) return Panel.open.focus();
  Panel.open?.close(); // the page has replaced its body
  const able = !reader.state().subscribed;
  const [t, facts] = await Promise.all([texts(reader.tag), able ? prepared(reader) : undefined]);
  if (facts instanceof Error && unasked) throw facts;
  if (Panel.open) return;
  const panel = new Panel(reader, t, fill);
  await show(panel, facts);
  if (unasked) Panel.open?.announce(t.question);
  else Panel.open?.focus();
}

/** Show the same as a part of the page. */
export function embed(reader, place, t) {
  return fill(new Panel(reader, t, fill, place));
}
