/* The panel: the question, the thanks, and plain words when something does not work.

   It does nothing by itself. optin.js passes it a `reader`: what is known of this browser and what
   can be done. */

import { Panel, wordsFor } from "./dialog.js";
import { texts } from "./dom.js";
import { showLine } from "./question.js";

/** Show that a first alert arrives, or what to do on this system. */
export function expectAlert(panel, facts) {
  import("./help.js").then((help) => help.showArrival(panel, facts)).catch(console.warn);
}

async function showQuestion(panel, facts) {
  const more = async () => (await import("./topics.js")).showTopics(panel, facts);
  await (panel.stays ? more() : showLine(panel, facts, more));
}

/** Show what fits this reader. `facts`, if they are prepared, are what a click on “Yes” needs. */
export async function fill(panel, facts) {
  const { reader, t } = panel;
  if (reader.state().subscribed) {
    const { showPreferences } = await import("./preferences.js");
    return showPreferences(panel);
  }
  const found = facts ?? (await prepared(reader));
  const trouble = reader.whyNot() ?? found.kind;
  if (trouble === "home") return (await import("./home.js")).showHomeScreen(panel);
  if (!trouble) return await showQuestion(panel, found);
  panel.say("", t.noAlerts, await wordsFor({ kind: trouble }, t), panel.again());
}

function prepared(reader) {
  return reader.whyNot() ? {} : reader.prepare().catch((error) => error);
}

/** Open the panel, filled by `show`, or focus the one that is open; return a new panel.

    If the reader did not ask for it (`unasked`), it appears only when all that it offers will work,
    and it leaves the focus alone. */
export async function open(reader, unasked, show = fill) {
  if (Panel.open?.shown) return void (unasked || Panel.open.focus());
  Panel.open?.close(); // the page has replaced its body
  const able = !reader.state().subscribed;
  const [t, facts] = await Promise.all([texts(reader.tag), able ? prepared(reader) : undefined]);
  if (facts instanceof Error && unasked) throw facts;
  if (Panel.open) return;
  const panel = new Panel(reader, t, fill);
  await show(panel, facts);
  if (unasked) Panel.open?.announce();
  else Panel.open?.focus();
  return panel;
}

/** Show the same as a part of the page. */
export function embed(reader, place, t) {
  return fill(new Panel(reader, t, fill, place));
}
