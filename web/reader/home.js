/* For readers with an iPhone or iPad: how to add the site to the Home Screen, since these show
   alerts only then; and from there on to the story whose alert was pressed. */

import { element, outline, withSection } from "./dom.js";

// Apple's symbols for Share and for more.
const DRAWINGS = {
  homeShare: ["M8 10H5v11h14V10h-3M12 15V3m-4 4 4-4 4 4"],
  homeMore: [
    "M6 11a1 1 0 0 1 0 2 1 1 0 0 1 0-2m6 0a1 1 0 0 1 0 2 1 1 0 0 1 0-2m6 0a1 1 0 0 1 0 2 1 1 0 0 1 0-2",
  ],
};
const FRESH_MS = 30_000; // for which a click says what the reader wants to see

/** Return the names of the steps in this browser. Safari alone has a version in its name; of other
    apps, Chrome, Firefox and Edge can add a site. Since iOS 26 Safari hides Share behind dots on an
    iPhone. */
function stepsIn({ userAgent }) {
  const [, version] = /Version\/(\d+)/.exec(userAgent) ?? [];
  const rest = ["homeAdd", "homeOpen"];
  if (/CriOS|FxiOS|EdgiOS/.test(userAgent)) return ["homeMenu", ...rest];
  if (!version) return ["homeSafari", "homeShare", ...rest];
  const hidden = version >= 26 && /iPhone|iPod/.test(userAgent);
  return [...(hidden ? ["homeMore"] : []), "homeShare", ...rest];
}

/** Show the steps. */
export async function showHomeScreen(panel) {
  const t = await withSection(panel.t, "home");
  const rows = stepsIn(navigator).map((name) => {
    const drawing = DRAWINGS[name] ? [outline(...DRAWINGS[name])] : [];
    return element("li", {}, t[name], ...drawing);
  });
  const closing = element("p", { class: "choices" }, ...panel.closing());
  const why = element("p", {}, t.homeWhy);
  panel.show({ paper: "", heading: t.home }, why, element("ol", {}, ...rows), closing);
}

/** Go on to the story whose alert was pressed just now: before iOS 18.4 an app on the Home Screen
    opens its start page instead. Return whether this page goes. */
export async function goOn() {
  try {
    const cache = await caches.open("stop-press");
    const [url, at] = await (await cache.match("/clicked")).json();
    await cache.delete("/clicked");
    if (Date.now() - at > FRESH_MS || url === location.href) return false;
    location.replace(url);
    return true;
  } catch {
    return false; // no click, or storage is blocked
  }
}
