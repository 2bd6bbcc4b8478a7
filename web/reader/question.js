/* The question in one line, and what both of its steps share: the buttons and the site's icon. */

import { choices, often, stored } from "./dialog.js";
import { element, outline } from "./dom.js";

const DOWN = "m6 9 6 6 6-6";
const INFORMATION = ["M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18", "M12 11v6", "M12 7v1"];

/** The site's own icon: what the publisher names (`data-logo`), else the page's. */
export function logo({ tag }) {
  const icon = document.querySelector("link[rel=apple-touch-icon], link[rel~=icon]");
  const src = tag?.dataset.logo ?? icon?.href;
  if (!src) return "";
  const node = element("img", { src, alt: "", class: "logo" });
  node.onerror = () => node.remove();
  return node;
}

/** The answers to the question. “Yes” subscribes to the topics that `chosen()` returns, unless that
    is nothing. */
export function answers(panel, facts, chosen) {
  const { reader, t } = panel;
  const yes = panel.button("yes", async () => {
    const topics = await chosen();
    if (!topics) return;
    const listening = reader.listen();
    const help = reader.load("./help.js").catch(() => {});
    await facts.join({ topics }, (kind) => panel.hint(kind)).catch(async (error) => {
      if (error.kind === "blocked") await reader.later(); // so that other tabs do not ask either
      throw error;
    });
    panel.say(facts.name, t.thanks, t.promise);
    (await help)?.showThanks(panel, facts, topics, listening);
  });
  const later = panel.button("later", async () => {
    await reader.later(); // so that no other tab asks once this one no longer does
    panel.close();
  });
  return choices(...(panel.stays ? [yes] : [yes, later]));
}

/** Show the question as one line and two buttons; `more()` shows the topics. */
export function showLine(panel, facts, more) {
  const { reader, t } = panel;
  const preselected = facts.preselected.map(({ slug }) => slug);
  const chosen = () => (preselected.length || !facts.topics.length ? preselected : more());
  const brief = (title) => {
    const details = panel.button("details", more);
    details.ariaLabel = details.title = t.details;
    details.replaceChildren(outline(DOWN));
    const rate = element("p", { class: "small" }, often(t, facts), " ", stored(t, outline(...INFORMATION)));
    return element("div", { class: "line" }, logo(reader), element("div", {}, title, rate), details);
  };
  panel.show({ heading: t.line, brief, asks: true }, answers(panel, facts, chosen));
}
