/* Whether the panel may open by itself now, and what a refusal means. optin.js has counted the
   page views by then. */

// After the first and the second “Not now” we do not ask for this many days, after the third never.
const REST_DAYS = [7, 30];
export const DAY_MS = 86_400_000;
export const ASKED = "stop-press-asked"; // {views, refusals, until}

const DIALOGS = "dialog[open], [role$=dialog], [aria-modal=true]";
// Names of consent managers' containers, and of other elements in view that ask for consent.
const CONSENT =
  /didomi|usercentrics|tarteaucitron|axeptio|cmp(box|wrapper|2)|onetrust|sp_message|iubenda-cs|osano-cm/;
const CALLED_SO = /consent|cookie/i;

/** Whether something else waits for the reader's answer: a dialog, an element over the middle of
    the page, or a consent manager at its edges. */
export function somethingIsOpen() {
  const dialogs = document.querySelectorAll(DIALOGS);
  const seen = { visibilityProperty: true, opacityProperty: true };
  if ([...dialogs].some((dialog) => dialog.checkVisibility?.(seen) ?? true)) return true;
  // The first spot is the middle.
  const spots = [0.5, 0.03, 0.97].flatMap((y) => [0.5, 0.1, 0.9].map((x) => [x, y]));
  return spots.some(([x, y], index) => {
    let node = document.elementFromPoint(x * innerWidth, y * innerHeight);
    for (let stays = false; node && node.tagName !== "BODY"; node = node.parentElement) {
      const { position } = getComputedStyle(node);
      const called = `${node.id} ${node.className}`;
      stays ||= /fixed|sticky/.test(position);
      if (CONSENT.test(called) || (stays && CALLED_SO.test(called))) return true;
      if (index === 0 && position === "fixed") return true;
    }
    return false;
  });
}

/** Return what the browser remembers after another “Not now”. */
export function refused({ refusals = 0, ...rest }) {
  const days = REST_DAYS[refusals] ?? 0;
  return { ...rest, refusals: refusals + 1, until: Date.now() + days * DAY_MS };
}
