/* What everything that we show on a page shares: elements, shadow roots, the colours, and the texts
   in the page's language.

   All of it lives in shadow roots with constructed style sheets. So neither the page's own styles
   nor a strict Content-Security-Policy (style-src 'self') can spoil it. A site sets its own look
   with the custom properties --stop-press-*. */

// A page's rules for its own elements must not reach those that we add to it.
const THEME = `
:host(:not([data-stop-press])), :host([data-stop-press=corner]) { all: initial !important; }
:host {
  all: initial;
  color: inherit;
  --scheme: light;
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
    --scheme: dark;
    --paper: var(--stop-press-paper, #211f1c);
    --ink: var(--stop-press-ink, #e8e1d4);
    --muted: var(--stop-press-muted, #a79f91);
    --rule: var(--stop-press-rule, #4a453e);
    --accent: var(--stop-press-accent, #f2837a);
  }
}
* { box-sizing: border-box; color-scheme: var(--scheme); }
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

/** Return a property of `document`. An element whose name is that word (`<iframe name=hidden>`) hides
    the property from `document.hidden`. */
export function of(property) {
  return Reflect.get(Document.prototype, property, document);
}

export function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** Return a drawing of these paths, in a square of 24 by 24. */
export function outline(...paths) {
  const make = (name) => document.createElementNS("http://www.w3.org/2000/svg", name);
  const svg = make("svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  for (const path of paths) svg.appendChild(make("path")).setAttribute("d", path);
  return svg;
}

/** Give `host` a shadow root in our colours, with this `style`. */
export function root(host, style) {
  const shadow = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(THEME + style);
  shadow.adoptedStyleSheets = [sheet];
  if (!host.firstChild) host.append(element("i")); // pages hide what is empty
  return shadow;
}

/** Call `show` on every change of the subscription, for as long as the page keeps `place`. */
export function follow(place, show) {
  const kept = new WeakRef(place);
  place.stopPress = show;
  addEventListener("stoppress:change", () => kept.deref()?.stopPress());
}

/** Read a file of texts. Without a limit, one that never comes would keep bell and panel away for as
    long as the page is open. */
async function read(address, base = import.meta.url) {
  const signal = AbortSignal.timeout?.(8000);
  const response = await fetch(new webkitURL(address, base).href, { credentials: "omit", signal });
  if (!response.ok) throw new Error(`${address}: ${response.status}`);
  return response.json();
}

async function load(tag) {
  const page = (tag.closest("[lang]") ?? of("documentElement")).lang; // optimisers remove tags
  const language = page.toLowerCase().split(/[-_]/)[0];
  // service/reader/scripts.py puts in the LANGUAGES that we have.
  const known = LANGUAGES.includes(language) ? language : "en";
  const replaced = tag.dataset.texts;
  const [ours, theirs] = await Promise.all([
    read(`./texts/${known}.json`),
    replaced && read(replaced, tag.baseURI).catch((error) => console.warn("Stop Press:", error)),
  ]);
  // A question of the publisher's own is the question in one line too.
  const t = { ...ours, line: theirs?.question ?? ours.line, ...theirs };
  // If the reader's own language is the page's, times are written as in the reader's region.
  // Browsers say names that they do not take themselves: `en-US@posix`, `en-`.
  const fits = (name) => {
    try {
      return new Intl.Locale(name).language === t.lang;
    } catch {
      return false;
    }
  };
  return { ...t, locale: navigator.languages?.find(fits) ?? t.lang };
}

/** Return these texts and those of another section, which few readers see. */
export async function withSection(t, section) {
  return { ...(await read(`./texts/${t.lang}/${section}.json`)), ...t };
}

let loading;

/** Return the texts in the page's language at our script's `tag`, in which the publisher's own
    (`data-texts`) replace ours; fetched once a page view. */
export function texts(tag) {
  loading ??= load(tag).catch((error) => {
    loading = undefined; // the next click tries again
    throw error;
  });
  return loading;
}
