/* What a page does that was opened by one of our links in an alert: “Fewer alerts” shows three
   buttons that need a single click each, and a welcome confirms the subscription. The link of a code
   at the desk, which pairs an editor's browser, leads to pair.js.

   optin.js fetches this when the page's fragment is one of ours. Few readers see it, so the script
   contains its words in all languages. A publisher's own texts (`data-texts`) replace them. */

import { leave, written } from "./dialog.js";
import { element } from "./dom.js";
import { fill, open } from "./panel.js";

const HOUR_MS = 60 * 60 * 1000;
const MORNING = "07:00"; // for a reader without quiet hours
const NOT_RUNNING = 422; // the status by which the service refuses a story that is not open

const WORDS = EACH_LANGUAGE.links; // service/reader/scripts.py puts them in

const STYLE = `
.quick { display: grid; gap: 0.6em; margin: 0; }
.quick button {
  min-block-size: 3.25em;
  padding-inline: 1em;
  border-color: var(--ink);
  font-weight: 600;
  text-align: start;
  text-decoration: none;
}
.quick button:hover { text-decoration: underline; }
.quick .leave { border-color: var(--accent); color: var(--accent); }
output { display: block; min-block-size: 1.45em; margin-block: 0.75em; }
`;

/** When the quiet hours end next, or else the next MORNING, by the reader's own clock. */
function morning(quiet) {
  const time = new Date();
  time.setHours(...(quiet?.to ?? MORNING).split(":"), 0, 0);
  if (time - Date.now() < HOUR_MS) time.setDate(time.getDate() + 1);
  return time;
}

/** Pause until the morning, unless a longer pause is set; return a message and an undo. */
async function quietTonight({ reader, t }) {
  const { quiet_hours: quiet, paused_until: before } = await reader.own("GET");
  const pause = async (chosen) => (await reader.own("PATCH", "", chosen)).paused_until;
  const keep = () => pause({ paused_until: before });
  // As a span, since this clock may be wrong; the service's is not.
  let until = await pause({ paused_for: Math.round((morning(quiet) - Date.now()) / 1000) });
  if (new Date(until) < new Date(before)) until = await keep();
  return [t.resting.replace("{when}", written(t, until)), keep];
}

/** Mute a story; return a message and, unless the story has ended, an undo. */
async function muteStory({ reader, t }, story) {
  const choose = async (also) => {
    const { muted_stories: muted } = await reader.own("GET");
    const others = muted.filter((slug) => slug !== story);
    await reader.own("PATCH", "", { muted_stories: [...others, ...also] });
  };
  try {
    await choose([story]);
  } catch (error) {
    if (error.status !== NOT_RUNNING) throw error;
    return [t.ended];
  }
  return [t.muted, () => choose([])];
}

/** A button that does something with one click and undoes it with the next. `act` returns a message
    for `output` and an undo. */
function quick(panel, name, output, act) {
  const { t } = panel;
  let undo;
  const click = async () => {
    const [message, next] = undo ? [t.undone, void (await undo())] : await act();
    undo = next;
    node.textContent = undo ? `${t.undo}: ${t[name]}` : t[name];
    node.getRootNode().querySelector("[role=alert]")?.remove(); // an earlier failure
    output.textContent = message;
  };
  const node = panel.button(name, click);
  return node;
}

async function showFewer(panel, story) {
  const { reader } = panel;
  if (!reader.state().subscribed) return fill(panel);
  const t = (panel.t = { ...WORDS[panel.t.lang], ...panel.t });
  const { name } = await reader.site().catch(() => ({ name: "" }));
  const kept = reader.own("GET").catch(() => {});
  // A live region, which announces only changes after it exists.
  const output = element("output");
  const buttons = [quick(panel, "tonight", output, () => quietTonight(panel))];
  if (story) buttons.push(quick(panel, "mute", output, () => muteStory(panel, story)));
  buttons.push(panel.button("leave", () => leave(panel, name, () => kept), t.stillHere));
  const rows = element("div", { class: "quick" }, ...buttons);
  const others = element("p", { class: "choices" }, panel.button("more", () => fill(panel)));
  others.append(...panel.closing());
  panel.show({ paper: name, heading: t.fewer }, rows, output, others);
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  const shadow = rows.getRootNode();
  shadow.adoptedStyleSheets = [...shadow.adoptedStyleSheets, sheet];
}

/** Report to the service that the welcome was pressed. If that fails, the fragment stays, so that a
    reload reports it again. */
async function showWelcome(panel, token) {
  const { t } = panel;
  const response = await fetch(new webkitURL("/api/v1/receipts", import.meta.url).href, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token, event: "clicked" }),
    credentials: "omit",
    signal: AbortSignal.timeout(15_000),
  }).catch(() => ({}));
  const again = () => panel.again(() => showWelcome(panel, token));
  if (!response.ok) return panel.say("", t.yours, response.status ? t.busy : t.offline, again());
  removeFragment();
  if (!panel.reader.state().subscribed) return fill(panel); // the reader has left meanwhile
  panel.say("", t.thanks, t.promise, panel.button("more", () => fill(panel)));
}

/** Remove the fragment, so that a reload or a shared address shows an ordinary page. */
function removeFragment() {
  // A path alone would be taken for one of the `<base>`, which may be on another origin.
  history.replaceState(history.state, "", location.href.split("#")[0]);
}

/** Do what the page's fragment says. */
export async function follow(reader) {
  const requested = new URLSearchParams(location.hash.slice(1));
  if (requested.get("stop-press") === "welcome") {
    return open(reader, false, (panel) => showWelcome(panel, requested.get("receipt")));
  }
  removeFragment();
  const code = requested.get("code");
  if (code) return (await reader.load("./pair.js")).pair(reader, code);
  return open(reader, false, (panel) => showFewer(panel, requested.get("story")));
}
