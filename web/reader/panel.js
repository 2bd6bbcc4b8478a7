/* The panel: the question, the thanks, and plain words when something does not work.

   It does nothing by itself. optin.js passes it a `reader`: what is known of this browser and what
   can be done. */

import { Panel, wordsFor } from "./dialog.js";
import { texts } from "./dom.js";
import { showLine } from "./question.js";

/** Show what fits this reader. `facts`, if they are prepared, are what a click on “Yes” needs. */
export async function fill(panel, facts) {
  const { reader, t } = panel;
  if (reader.state().subscribed) {
    const { showPreferences } = await reader.load("./preferences.js");
    return showPreferences(panel);
  }
  facts ||= await prepared(reader);
  Object.assign(t, facts.prompt?.texts); // the newsroom's own words
  const trouble = reader.whyNot() ?? facts.kind;
  if (trouble === "home") return (await reader.load("./home.js")).showHomeScreen(panel);
  if (trouble) return panel.say("", t.noAlerts, await wordsFor({ kind: trouble }, t), panel.again());
  const more = async () => (await reader.load("./topics.js")).showTopics(panel, facts);
  await (panel.stays ? more() : showLine(panel, facts, more));
}

function prepared(reader) {
  return reader.whyNot() ? {} : reader.prepare().catch((error) => error);
}

/** Have `show` fill a panel, or say in it why that failed. */
async function present(panel, show, facts) {
  try {
    await show(panel, facts);
  } catch (error) {
    const { t } = panel;
    console.warn(error);
    panel.say("", t.yours, await wordsFor(error, t), panel.again(() => show(panel, facts)));
  }
}

/** Open the panel, filled by `show`; return it. A panel that is open closes if `show` is a particular
    one and no changes would be lost; otherwise it stays and gets the focus.

    If the reader did not ask for it (`unasked`), it appears only when all that it offers will work
    and the reader is not busy by then (`isBusy()`), and it leaves the focus alone. */
export async function open(reader, unasked, show = fill, isBusy) {
  if (show !== fill || !Panel.open?.shown) Panel.open?.close();
  if (Panel.open) return void (unasked || Panel.open.focus());
  const [t, facts] = await Promise.all([
    texts(reader.tag),
    !reader.state().subscribed && prepared(reader),
  ]);
  if (facts instanceof Error && unasked) throw facts;
  if (Panel.open || isBusy?.()) return;
  const panel = new Panel(reader, t, fill);
  await present(panel, show, facts);
  if (unasked) Panel.open?.announce();
  else Panel.open?.focus();
  return panel;
}

/** Show the same as a part of the page. */
export function embed(reader, place, t) {
  return present(new Panel(reader, t, fill, place), fill);
}
