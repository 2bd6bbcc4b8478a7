/* What the links of alerts ask of the page that they open: “Fewer alerts”, three single clicks;
   and that the welcome is taken for confirmed.

   optin.js fetches it where the page's fragment is one of ours. A view that few come to pays for
   its words itself; a publisher's own texts (`data-texts`) go over them. */

import { element } from "./look.js";
import { fill, open, written } from "./panel.js";

const HOUR_MS = 60 * 60 * 1000;
const MORNING = "07:00"; // where a reader has no quiet hours
const NOT_RUNNING = 422; // of the service, to a story that it does not know as open

const WORDS = {
  ar: {
    fewer: "تنبيهات أقل",
    tonight: "هدوء هذه الليلة",
    resting: "لا تنبيهات حتى {when}.",
    mute: "كتم هذه القصة",
    muted: "لن تصلكم تنبيهات أخرى عن هذه القصة.",
    ended: "انتهت هذه القصة، ولا تنبيهات أخرى عنها.",
    undo: "تراجع",
    undone: "تم التراجع.",
  },
  de: {
    fewer: "Weniger Meldungen",
    tonight: "Heute Nacht Ruhe",
    resting: "Keine Meldungen bis {when}.",
    mute: "Nichts mehr zu diesem Thema",
    muted: "Zu diesem Thema kommt nichts mehr.",
    ended: "Dieses Thema ist abgeschlossen, es kommt nichts mehr dazu.",
    undo: "Rückgängig",
    undone: "Rückgängig gemacht.",
  },
  en: {
    fewer: "Fewer alerts",
    tonight: "Quiet tonight",
    resting: "No alerts until {when}.",
    mute: "Mute this story",
    muted: "No more alerts about this story.",
    ended: "This story has ended: no more alerts about it.",
    undo: "Undo",
    undone: "Undone.",
  },
  es: {
    fewer: "Menos avisos",
    tonight: "Silencio esta noche",
    resting: "Ningún aviso hasta {when}.",
    mute: "Silenciar esta historia",
    muted: "Ningún aviso más sobre esta historia.",
    ended: "Esta historia ha terminado: ningún aviso más sobre ella.",
    undo: "Deshacer",
    undone: "Deshecho.",
  },
  fr: {
    fewer: "Moins d’alertes",
    tonight: "Silence cette nuit",
    resting: "Aucune alerte jusqu’au {when}.",
    mute: "Ne plus suivre cette histoire",
    muted: "Plus aucune alerte sur cette histoire.",
    ended: "Cette histoire est close : plus aucune alerte à son sujet.",
    undo: "Annuler",
    undone: "Annulé.",
  },
  ru: {
    fewer: "Реже уведомлять",
    tonight: "Тишина до утра",
    resting: "До {when} уведомлений не будет.",
    mute: "Больше не об этой истории",
    muted: "Об этой истории уведомлений больше не будет.",
    ended: "Эта история завершена, уведомлений о ней больше не будет.",
    undo: "Отменить",
    undone: "Отменено.",
  },
};

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

/** When quiet hours end next, or it is seven, by this reader's own clock. */
function morning(quiet) {
  const time = new Date();
  time.setHours(...(quiet?.to ?? MORNING).split(":"), 0, 0);
  if (time - Date.now() < HOUR_MS) time.setDate(time.getDate() + 1);
  return time;
}

/** Pause until the morning, or for as long as was said before; return what is said, and an undo. */
async function quietTonight({ reader, t }) {
  const { quiet_hours: quiet, paused_until: before } = await reader.own("GET");
  const pause = (until) => reader.own("PATCH", "", { paused_until: until });
  const { paused_until: until } = await pause(new Date(Math.max(morning(quiet), new Date(before))));
  return [t.resting.replace("{when}", written(t, until)), () => pause(before)];
}

/** Mute a story; return what is said, and an undo where there was anything to mute. */
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

/** A button that does something with one click, and with the next undoes it. */
function quick(panel, name, said, act) {
  const { t } = panel;
  let undo;
  const click = async () => {
    const [words, next] = undo ? [t.undone, void (await undo())] : await act();
    undo = next;
    node.textContent = undo ? `${t.undo}: ${t[name]}` : t[name];
    node.getRootNode().querySelector("[role=alert]")?.remove(); // what failed before
    said.textContent = words;
  };
  const node = panel.button(name, click);
  return node;
}

async function showFewer(panel, story) {
  const { reader } = panel;
  if (!reader.state().subscribed) return fill(panel);
  const t = (panel.t = { ...WORDS[panel.t.lang], ...panel.t });
  const { name } = await reader.site().catch(() => ({ name: "" }));
  const leave = async () => {
    await reader.leave();
    panel.say(name, t.left, t.leftText);
  };
  // A live region, which speaks of what changes after it is there.
  const said = element("output");
  const buttons = [quick(panel, "tonight", said, () => quietTonight(panel))];
  if (story) buttons.push(quick(panel, "mute", said, () => muteStory(panel, story)));
  buttons.push(panel.button("leave", leave, t.stillHere));
  const rows = element("div", { class: "quick" }, ...buttons);
  const others = element("p", { class: "choices" }, panel.button("more", () => fill(panel)));
  others.append(...panel.closing());
  panel.show({ paper: name, heading: t.fewer }, rows, said, others);
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  const shadow = rows.getRootNode();
  shadow.adoptedStyleSheets = [...shadow.adoptedStyleSheets, sheet];
}

/** Tell the service that the welcome was pressed; while it cannot be told, loading again will. */
async function showWelcome(panel, token) {
  const { t } = panel;
  const told = await fetch(new URL("/api/v1/receipts", import.meta.url), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token, event: "clicked" }),
    credentials: "omit",
  }).catch(() => ({}));
  if (!told.ok) return panel.say("", t.yours, told.status ? t.busy : t.offline);
  ordinary();
  if (!panel.reader.state().subscribed) return fill(panel); // left meanwhile
  panel.say("", t.thanks, t.promise, panel.button("more", () => fill(panel)));
}

/** Take the fragment off: a page that is loaded again, or passed on, is an ordinary one. */
function ordinary() {
  history.replaceState(history.state, "", location.pathname + location.search);
}

/** Do what the page's fragment says. */
export async function follow(reader) {
  const asked = new URLSearchParams(location.hash.slice(1));
  if (asked.get("stop-press") === "welcome") {
    return open(reader, false, (panel) => showWelcome(panel, asked.get("receipt")));
  }
  ordinary();
  return open(reader, false, (panel) => showFewer(panel, asked.get("story")));
}
