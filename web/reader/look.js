/* What all that a reader sees of ours on a page shares: the texts in the page's language, the
   colours, how elements are made; and the bell, a small permanent control that opens the panel and
   says whether alerts are on:

     <div data-stop-press="bell"></div>      in its place on the page,
       … data-story="quake"                  one by which a running story is followed, or
     <script … data-bell>                    in the page's lower corner

   Everything lives in shadow roots with constructed style sheets, so that neither the page's styles
   nor a strict Content-Security-Policy (style-src 'self') reach it. A site gives it its own look
   with the custom properties --stop-press-*. */

const LANGUAGES = ["en", "es", "fr", "de", "ru", "ar"];

const THEME = `
:host {
  all: initial;
  color-scheme: light;
  --paper: var(--stop-press-paper, #fcfaf5);
  --ink: var(--stop-press-ink, #1c1a17);
  --muted: var(--stop-press-muted, #625c52);
  --rule: var(--stop-press-rule, #d3ccbe);
  --accent: var(--stop-press-accent, #ad1519);
  --serif: var(--stop-press-serif, "Iowan Old Style", "Palatino Linotype", Palatino, Georgia, serif);
  --sans: var(--stop-press-sans, system-ui, sans-serif);
}
@media (prefers-color-scheme: dark) {
  :host {
    color-scheme: dark;
    --paper: var(--stop-press-paper, #211f1c);
    --ink: var(--stop-press-ink, #e8e1d4);
    --muted: var(--stop-press-muted, #a79f91);
    --rule: var(--stop-press-rule, #4a453e);
    --accent: var(--stop-press-accent, #f2837a);
  }
}
* { box-sizing: border-box; }
svg {
  inline-size: 1.4em;
  block-size: 1.4em;
  fill: none;
  stroke: currentColor;
  stroke-width: 1.7;
  stroke-linejoin: round;
}
button {
  min-block-size: 2.75em;
  padding: 0.4em 0;
  border: 1px solid transparent;
  border-radius: 2px;
  background: none;
  color: var(--ink);
  font: inherit;
  text-decoration: underline;
  text-underline-offset: 0.2em;
  cursor: pointer;
}
:focus-visible { outline: 2px solid var(--ink); outline-offset: 2px; }
@media (forced-colors: active) { button { padding-inline: 0.6em; } }
`;

const BELL_STYLE = `
button {
  display: inline-flex;
  gap: 0.4em;
  align-items: center;
  color: var(--stop-press-bell, var(--ink));
  font: 600 0.875rem/1 var(--sans);
  text-decoration: none;
  white-space: nowrap;
}
button:hover span { text-decoration: underline; }
.on path { fill: currentColor; }
.corner {
  position: fixed;
  inset-block-end: calc(1.25rem + env(safe-area-inset-bottom));
  inset-inline-start: 1.25rem;
  z-index: 2147482999;
  justify-content: center;
  inline-size: 3rem;
  block-size: 3rem;
  padding: 0;
  border: 1px solid var(--rule);
  border-radius: 50%;
  background: var(--paper);
  color: var(--ink);
  box-shadow: 0 0.15em 0.6em rgb(0 0 0 / 18%);
}
@media print { button { display: none; } }
`;

export function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** A drawing of these paths on a ground of 24 by 24. */
export function outline(...paths) {
  const [svg, ...rows] = ["svg", ...paths.map(() => "path")].map((name) =>
    document.createElementNS("http://www.w3.org/2000/svg", name),
  );
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  rows.forEach((row, index) => row.setAttribute("d", paths[index]));
  svg.append(...rows);
  return svg;
}

/** Give `host` a root to draw in. */
export function root(host, style) {
  const shadow = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(THEME + style);
  shadow.adoptedStyleSheets = [sheet];
  return shadow;
}

/** Call `show` on every change for as long as `place` exists: pages throw away what they added. */
export function follow(place, show) {
  const kept = new WeakRef(place);
  place.stopPress = show;
  addEventListener("stoppress:change", () => kept.deref()?.stopPress());
}

async function read(url) {
  const response = await fetch(url, { credentials: "omit" });
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
  return response.json();
}

async function load(tag) {
  const page = (tag ?? document.documentElement).closest("[lang]")?.lang ?? "";
  const language = page.toLowerCase().split("-")[0];
  const file = `./texts/${LANGUAGES.includes(language) ? language : "en"}.json`;
  const replaced = tag?.dataset.texts;
  const [ours, theirs] = await Promise.all([
    read(new URL(file, import.meta.url)),
    replaced &&
      read(new URL(replaced, document.baseURI)).catch((error) => console.warn("Stop Press:", error)),
  ]);
  const t = { ...ours, ...theirs };
  // Times are written as this reader is used to, where the reader's language is the page's.
  const own = navigator.languages.find((name) => name.startsWith(t.lang));
  return { ...t, locale: own ?? t.lang };
}

let loading;

/** The texts in the language at the script's `tag`, with the publisher's own (`data-texts`) over
    ours; fetched once a page view. */
export function texts(tag) {
  loading ??= load(tag).catch((error) => {
    loading = undefined; // the next click tries again
    throw error;
  });
  return loading;
}

const BELL = [
  "M12 3a6 6 0 0 0-6 6c0 5-2 6.5-2.5 8h17C20 15.5 18 14 18 9a6 6 0 0 0-6-6z",
  "M9.5 20a2.6 2.6 0 0 0 5 0",
];

/** Put a bell into `place`; the one in the corner of the page is small and round. */
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
    if (!story) return reader.ask();
    const { pressed } = await import("./story.js");
    return pressed(reader, story);
  };
  bell.addEventListener("click", () => press().catch(console.warn));
  follow(place, show);
  show();
  root(place, BELL_STYLE).append(bell);
}

/** Fill each place, with the preferences or a bell. */
export function furnish(reader, places) {
  const fill = async (place) => {
    const t = await texts(reader.tag);
    const panel = place.dataset.stopPress === "preferences" && (await import("./panel.js"));
    if (place.shadowRoot) return; // another look at the page came first
    await (panel ? panel.embed(reader, place, t) : ring(reader, place, t));
  };
  return Promise.all(places.map(fill));
}
