/* The question's second step: an alert as it would look, and the topics. The preferences have the
   topics and the style of forms from here too. */

import { often, promise } from "./dialog.js";
import { element, of } from "./dom.js";
import { answers, logo } from "./question.js";

const FORM = new CSSStyleSheet();
FORM.replaceSync(`
.sample {
  display: flex;
  gap: 0.75em;
  align-items: center;
  margin: 0 0 1em;
  padding: 0.6em 0.75em;
  border: 1px solid var(--rule);
  border-radius: 0.5em;
}
.sample div { min-inline-size: 0; }
.sample b { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
bdi, p { overflow-wrap: anywhere; }
h3 { margin: 1em 0 0.3em; font: 600 1.05em/1.2 var(--serif); }
ul { padding: 0; list-style: none; }
fieldset { min-inline-size: 0; margin: 0 0 1em; padding: 0; border: 0; }
legend { padding: 0 0 0.4em; color: var(--muted); font-size: 0.8125em; }
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
label + .small { margin: 0.6em 0 0; }
`);

/** Give the panel in which `node` is the style of forms. */
export function dress(node) {
  const shadow = node.getRootNode();
  const others = shadow.adoptedStyleSheets.filter((sheet) => sheet !== FORM);
  shadow.adoptedStyleSheets = [...others, FORM];
}

/** Topics as checkboxes: `shown` are all slugs, `value()` the ticked ones; `missing()` is true if none
    is ticked. */
export function topicRows(title, topics, isTicked = () => true) {
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
    shown: topics.map(({ slug }) => slug),
    value: () => ticked().map((box) => box.value),
    missing: () => rows.length > 0 && !ticked().length,
  };
}

/** An alert as this page's story would be one. */
function sample(panel, name) {
  // On a front page the first heading is the paper's own name.
  const headline = document.querySelector("article :is(h1, h2, h3)")?.textContent;
  const title = element("b", { dir: "auto" }, headline ?? of("title"));
  const words = element("div", {}, title, element("small", {}, element("bdi", {}, name)));
  return [
    element("p", { class: "small" }, panel.t.sample),
    element("div", { class: "sample" }, logo(panel.reader), words),
  ];
}

/** Show the question with the topics. */
export function showTopics(panel, facts) {
  const { t } = panel;
  const topics = topicRows(t.about, facts.topics, (topic) => facts.preselected.includes(topic));
  const chosen = () => (topics.missing() ? panel.tell(t.tick) : topics.value());
  panel.show(
    { paper: facts.name, heading: t.question, asks: true },
    element("p", { class: "small" }, often(t, facts)),
    ...sample(panel, facts.name),
    topics.fieldset,
    answers(panel, facts, chosen),
    promise(t),
  );
  dress(topics.fieldset);
}
