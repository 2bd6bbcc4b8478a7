/* The bell, a small permanent control that says whether alerts are on and opens the panel:

     <div data-stop-press="bell"></div>      in a place on the page,
       … data-story="quake"                  which follows one running story, or
     <script … data-bell>                    in the page's lower corner

   It also fills the places for preferences (`data-stop-press="preferences"`). */

import { element, follow, outline, root, texts } from "./dom.js";

// A bell in a place has the page's own colour, which can be read on the page, whatever the system's
// colours are.
const BELL_STYLE = `
button {
  display: inline-flex;
  gap: 0.4em;
  align-items: center;
  color: var(--stop-press-bell, var(--stop-press-ink, inherit));
  outline-color: currentcolor;
  font: 600 0.875em/1 var(--sans);
  text-decoration: none;
  white-space: nowrap;
}
button:hover span { text-decoration: underline; }
.on path { fill: currentColor; }
.corner, p {
  position: fixed;
  inset: auto 1.43em calc(1.43em + env(safe-area-inset-bottom));
  z-index: 2147482999;
  border: 1px solid var(--rule);
  background: var(--paper);
  color: var(--ink);
  box-shadow: 0 0.15em 0.6em rgb(0 0 0 / 18%);
}
.corner {
  justify-content: center;
  inline-size: 3.43em;
  block-size: 3.43em;
  padding: 0;
  border-radius: 50%;
}
p { max-inline-size: 25em; margin: 4.57em 0; padding: 1em; font: 0.875em/1.4 var(--sans); }
@media print { button { display: none; } }
`;

const BELL = [
  "M12 3a6 6 0 0 0-6 6c0 5-2 6.5-2.5 8h17C20 15.5 18 14 18 9a6 6 0 0 0-6-6z",
  "M9.5 20a2.6 2.6 0 0 0 5 0",
];

/** Put a bell into `place`. The bell in the page's corner is small and round. */
function ring(reader, place, t) {
  const bell = element("button", { type: "button", lang: t.lang, dir: t.dir });
  const { stopPress: kind, story } = place.dataset;
  const corner = kind === "corner";
  bell.className = corner ? "bell corner" : "bell";
  bell.ariaHasPopup = "dialog";
  bell.append(outline(...BELL));
  const label = element("span");
  if (!corner) bell.append(label);
  const show = () => {
    const { subscribed } = reader.state();
    bell.classList.toggle("on", subscribed && !story);
    label.textContent = story ? t.follow : subscribed ? t.bellOn : t.bell;
    if (corner) bell.ariaLabel = bell.title = label.textContent;
  };
  const press = async () => {
    bell.nextSibling?.remove();
    if (!story) return reader.ask();
    return (await reader.load("./story.js")).pressed(reader, story);
  };
  // Without the panel, the bell itself says that it leads nowhere. The next press tries again.
  const fail = (error) => {
    console.warn(error);
    bell.after(element("p", { role: "alert", lang: t.lang, dir: t.dir }, t.offline));
  };
  bell.onclick = () => press().catch(fail);
  follow(place, show);
  show();
  root(place, BELL_STYLE).append(bell);
}

/** Fill each place with a bell or, if it asks for them, with the preferences. */
export function furnish(reader, places) {
  const fill = async (place) => {
    const t = await texts(reader.tag);
    const panel = place.dataset.stopPress === "preferences" && (await reader.load("./panel.js"));
    if (place.shadowRoot) return; // filled meanwhile
    await (panel ? panel.embed(reader, place, t) : ring(reader, place, t));
  };
  return Promise.all(places.map(fill));
}
