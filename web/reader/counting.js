/* Counts how often the question was shown and how far it went, by the part of the site that it was
   on. It says nothing of the reader.

   asking.js fetches this once the panel is open, which no ordinary page view does; reader.js does once
   a subscription that began so is confirmed. */

import { call } from "./calls.js";

const ASKED = "stop-press-asked"; // see optin.js

function count(page, step) {
  call("POST", "questions", { body: { page, step } }).catch(console.debug);
}

export function follow(reader, panel) {
  if (!reader.receipts) return; // a reader who asks not to be tracked
  const page = location.pathname;
  const end = new AbortController();
  const on = { signal: end.signal };
  let granted = () => {
    granted = () => {};
    count(page, "granted");
  };
  const joined = () => {
    if (!reader.state().subscribed) return;
    end.abort();
    granted();
    count(page, "subscribed");
    reader.remember(ASKED, { ...reader.recall(ASKED), page });
  };
  count(page, "shown");
  // reader.js calls this when “Yes” was pressed.
  reader.joining = async () => {
    reader.joining = undefined;
    count(page, "yes");
    addEventListener("stoppress:change", joined, on);
    // Not every browser can be asked; there it counts once the browser is subscribed.
    const permission = await navigator.permissions?.query({ name: "notifications" }).catch(() => {});
    const look = () => permission?.state === "granted" && !end.signal.aborted && granted();
    permission?.addEventListener("change", look, on);
    look();
  };
  panel.closed.then(() => (reader.joining = undefined));
}

/** Count that a subscription which began with the question is confirmed. */
export function confirmed(reader) {
  const { page, ...asked } = reader.recall(ASKED);
  reader.remember(ASKED, asked);
  if (page) count(page, "confirmed");
}
