/* Counts how often the question was shown and how far it went, by the part of the site that it was
   on. It says nothing of the reader.

   asking.js fetches this once the panel is open, which no ordinary page view does. */

import { call } from "./calls.js";

export function follow(reader, panel) {
  if (!reader.receipts) return; // a reader who asks not to be tracked
  const page = location.pathname;
  const count = (step) => {
    call("POST", "questions", { body: { page, step } }).catch(console.debug);
  };
  const end = new AbortController();
  const joined = () => {
    if (!reader.state().subscribed) return;
    end.abort();
    count("subscribed");
  };
  count("shown");
  // reader.js calls this when “Yes” was pressed.
  reader.joining = () => {
    reader.joining = undefined;
    count("yes");
    addEventListener("stoppress:change", joined, { signal: end.signal });
  };
  panel.closed.then(() => (reader.joining = undefined));
}
