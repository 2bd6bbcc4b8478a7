/* Asks a reader unasked-for, at a moment at which the reader can see the question and is not busy.

   optin.js fetches this on page views on which it may ask. A panel that nobody saw is not a
   question, and only a pressed “Not now” or the browser's own no is an answer: a panel that is
   closed with Escape rests for a day, one that is ignored on several page views for a week. */

const ASKED = "stop-press-asked"; // optin.js says what is in it
const DAY_MS = 86_400_000;
const MOST_IGNORED = 3;
const IGNORED_REST_MS = 7 * DAY_MS;
const LOOK_AGAIN_S = 2; // at the least, while the reader does something else
const FORGOTTEN_MS = 600_000; // a page that has shown the panel for so long may have crashed

const DIALOGS = "dialog[open], [role$=dialog], [aria-modal=true]";
// Names of consent managers' containers, and of other elements in view that ask for consent.
const CONSENT =
  /didomi|usercentrics|tarteaucitron|axeptio|cmp(box|wrapper|2)|onetrust|sp_message|iubenda-cs|osano-cm/;
const CALLED_SO = /consent|cookie/i;
// A frame may have a field of its own.
const FIELDS =
  "textarea, select, iframe, [role=textbox], [role=searchbox], [role=combobox], " +
  "input:not([type=button], [type=submit], [type=reset], [type=checkbox], [type=radio])";

/** A property of `document`; the `of` of dom.js is not loaded yet. */
function of(property) {
  return Reflect.get(Document.prototype, property, document);
}

function asked() {
  try {
    return JSON.parse(localStorage.getItem(ASKED)) ?? {};
  } catch {
    return {}; // storage is blocked, or holds something else
  }
}

function note(changes) {
  try {
    localStorage.setItem(ASKED, JSON.stringify({ ...asked(), ...changes }));
  } catch {
    // Storage is blocked, so that the next visit knows nothing of this one.
  }
}

function isTyping() {
  let node = of("activeElement");
  if (node?.stopPress) return false; // our own panel
  while (node?.shadowRoot?.activeElement) node = node.shadowRoot.activeElement;
  // What is in a closed shadow root cannot be seen, and may be a field.
  const isClosed = node?.localName.includes("-") && !node.shadowRoot;
  return Boolean(isClosed || node?.isContentEditable || node?.matches(FIELDS));
}

function inView() {
  return new Promise((resolve) => {
    const look = () => {
      if (of("hidden")) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    look();
  });
}

/** Whether a part of an element's box is in view. */
function isInView(node) {
  const { width, height, left, right, top, bottom } = node.getBoundingClientRect();
  return width && height && right > 0 && bottom > 0 && left < innerWidth && top < innerHeight;
}

/** Whether a reader sees a dialog, which may wait beside the page until it is needed; or may have no
    box of its own, and a fixed element within. */
function isSeen(dialog) {
  const how = { visibilityProperty: true, opacityProperty: true };
  if (!(dialog.checkVisibility?.(how) ?? true)) return false;
  if (dialog.closest("[aria-hidden=true], [inert]")) return false;
  const isFixed = (node) => getComputedStyle(node).position === "fixed";
  return isInView(dialog) || [...dialog.querySelectorAll("*")].some((one) => isFixed(one) && isInView(one));
}

/** Whether something else waits for the reader's answer: a dialog, an element over the middle of
    the page, or a consent manager at its edges. */
function somethingIsOpen() {
  if ([...document.querySelectorAll(DIALOGS)].some(isSeen)) return true;
  // The first spot is the middle.
  const spots = [0.5, 0.03, 0.97].flatMap((y) => [0.5, 0.1, 0.9].map((x) => [x, y]));
  return spots.some(([x, y], index) => {
    let node = document.elementFromPoint(x * innerWidth, y * innerHeight);
    let stays = false;
    let area = 0; // of the largest so far: a container may have no box of its own
    for (; node && node.tagName !== "BODY"; node = node.parentElement) {
      const { position } = getComputedStyle(node);
      const called = `${node.id} ${node.className}`;
      stays ||= /fixed|sticky/.test(position);
      // A small one is the button that opens the consent manager again.
      const { width, height } = node.getBoundingClientRect();
      area = Math.max(area, width * height);
      const isLarge = area > 0.04 * innerWidth * innerHeight;
      if (isLarge && (CONSENT.test(called) || (stays && CALLED_SO.test(called)))) return true;
      // It would lie over the question.
      if (isLarge && node.matches(":is(:popover-open)")) return true;
      // An application may be one fixed element, with all of the page in it.
      if (index === 0 && position === "fixed" && !node.querySelector("main")) return true;
    }
    return false;
  });
}

/** Whether the reader does something else now, or sees a part of the page only. */
function isOccupied() {
  const isZoomed = window.visualViewport?.scale > 1.1;
  return of("hidden") || isZoomed || isTyping() || somethingIsOpen();
}

/** Show the panel, in one page of the site at a time, and see to it that it stays in nobody's way.
    Return false if it could not be shown now. */
async function show(reader) {
  const { open = 0, ignored = 0 } = asked();
  if (Math.abs(Date.now() - open) < FORGOTTEN_MS || !reader.mayAsk() || isOccupied()) return false;
  const mine = Date.now();
  note({ open: mine });
  const end = new AbortController();
  const on = (target, type, run) => target.addEventListener(type, run, { signal: end.signal });
  const inAnotherPage = () => ![0, mine].includes(asked().open ?? 0);
  const finish = () => {
    end.abort();
    if (!inAnotherPage()) note({ open: 0 });
  };
  let panel;
  // Nothing of it comes back from the back/forward cache, also if it was still loading.
  on(window, "pagehide", () => {
    finish();
    panel?.close();
  });
  // To load it may take so long that the reader now does something else, or has answered elsewhere.
  let wasBusy = false;
  const isBusy = () => (wasBusy = end.signal.aborted || isOccupied() || !reader.mayAsk());
  const opening = reader.load("./panel.js").then(({ open }) => open(reader, true, undefined, isBusy));
  panel = await opening.catch((error) => {
    finish();
    throw error;
  });
  if (!panel) {
    finish();
    return !wasBusy; // then the reader has opened it
  }
  reader.load("./counting.js").then(({ follow }) => follow(reader, panel)).catch(() => {});
  const isLast = ignored + 1 >= MOST_IGNORED;
  note({ ignored: isLast ? 0 : ignored + 1, rest: isLast ? mine + IGNORED_REST_MS : 0 });

  // The page that the reader looks at has it.
  on(document, "visibilitychange", () => {
    if (of("hidden")) note({ open: 0 });
    else if (inAnotherPage()) panel.close();
    else note({ open: mine });
  });
  on(window, "storage", () => inAnotherPage() && panel.close());
  on(document, "focusin", () => panel.hide(isTyping()));
  on(document, "focusout", () => panel.hide(false));
  const escaped = await panel.closed;
  finish();
  if (escaped) note({ rest: Date.now() + DAY_MS });
  return true;
}

/** Ask once the newsroom's conditions for that are met on this page view, the `views`th. */
export async function askInTime(reader, { prompt }, views) {
  if (views < prompt.page_views) return;
  const { pathname } = location;
  let wait = prompt.delay_seconds;
  do {
    await inView();
    await new Promise((resolve) => setTimeout(resolve, wait * 1000));
    if (pathname !== location.pathname) return; // another page of an application
    wait = Math.max(wait, LOOK_AGAIN_S);
  } while (reader.mayAsk() && !(await show(reader)));
}

/** Ask at once. */
export function askNow(reader) {
  return show(reader);
}
