/* How to add the site to the Home Screen, for readers with an iPhone or iPad, which shows alerts
   only then.

   Few readers see this, so the script contains its words in all languages. A publisher's own texts
   (`data-texts`) replace them. */

import { element, outline } from "./dom.js";

const WORDS = EACH_LANGUAGE.home; // service/reader/scripts.py puts them in

// Apple's symbol for Share.
const SHARE = ["M8 10H5v11h14V10h-3M12 15V3m-4 4 4-4 4 4"];

/** Show the steps. */
export function showHomeScreen(panel) {
  const t = { ...WORDS[panel.t.lang], ...panel.t };
  const share = element("li", {}, t.homeShare, outline(...SHARE));
  const steps = element("ol", {}, share, element("li", {}, t.homeAdd), element("li", {}, t.homeOpen));
  const closing = element("p", { class: "choices" }, ...panel.closing());
  panel.show({ paper: "", heading: t.home }, element("p", {}, t.homeWhy), steps, closing);
}
