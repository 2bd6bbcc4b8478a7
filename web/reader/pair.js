/* Pairing this browser with an editor's account at the desk, which then sends tests of alerts here.
   The link of a code leads here: `#stop-press=pair&code=…`.

   links.js fetches this when such a link was opened. Only editors see it, so the script contains its
   words in all languages. A publisher's own texts (`data-texts`) replace them. */

import { choices, promise, wordsFor } from "./dialog.js";
import { element } from "./dom.js";
import { open } from "./panel.js";

const OVER = 410; // the status by which the service refuses a code that was used or has ended

const WORDS = EACH_LANGUAGE.pair; // service/reader/scripts.py puts them in

/** Tell the service the code; return who made it. `agreed` uses it up. */
async function tell({ reader }, code, agreed) {
  try {
    return await reader.own("POST", "/pairing", { code, agreed });
  } catch (error) {
    if (error.status === OVER) error.kind = "pairOver";
    throw error;
  }
}

/** Ask a reader who is not subscribed to subscribe first, with the topics that are chosen anyway. */
async function subscribeFirst(panel, facts, code) {
  const { reader, t } = panel;
  const found = facts || (await reader.prepare().catch((error) => error));
  const trouble = reader.whyNot() ?? found.kind;
  if (trouble === "home") return panel.say("", t.pairFirst, t.pairIphone);
  if (trouble) {
    const again = panel.again(() => subscribeFirst(panel, null, code));
    return panel.say("", t.pairFirst, await wordsFor({ kind: trouble }, t), again);
  }
  const yes = panel.button("yes", async () => {
    const topics = found.preselected.map(({ slug }) => slug);
    await found.join({ topics }, (kind) => panel.hint(kind));
    await ask(panel, code);
  });
  const why = element("p", {}, t.pairSubscribe);
  const buttons = choices(yes, panel.button("later", () => panel.close()));
  panel.show({ paper: found.name, heading: t.pairFirst }, why, promise(t), buttons);
}

/** Say who wants to pair this browser, and ask. */
async function ask(panel, code) {
  const { reader, t } = panel;
  let made;
  try {
    made = await tell(panel, code, false);
  } catch (error) {
    const again = panel.again(async () => {
      await reader.refresh(); // the service may not know this browser any more
      await begin(panel, null, code);
    });
    const buttons = error.kind === "pairOver" ? [] : [again];
    return panel.say("", t.pairing, await wordsFor(error, t), ...buttons);
  }
  // Isolated, since an address runs from left to right in every language.
  const named = (text) => text.replace(/\{(\w+)\}/g, (_, name) => `\u2068${made[name]}\u2069`);
  const yes = panel.button("pairYes", async () => {
    await tell(panel, code, true);
    panel.say(made.site, t.pairDone, t.pairConfirm);
  });
  const texts = [t.pairWho, t.pairAgree].map((text) => element("p", {}, named(text)));
  const buttons = choices(yes, panel.button("later", () => panel.close()));
  panel.show({ paper: made.site, heading: t.pairing }, ...texts, buttons);
}

function begin(panel, facts, code) {
  return panel.reader.state().subscribed ? ask(panel, code) : subscribeFirst(panel, facts, code);
}

/** Open a panel that pairs this browser by the code of a link. */
export function pair(reader, code) {
  return open(reader, false, (panel, facts) => {
    panel.t = { ...WORDS[panel.t.lang], ...panel.t };
    return begin(panel, facts, code);
  });
}
