/* Counts what a reader did on the site within a day after a click on an alert, such as subscribing to
   the newspaper, for that alert: `StopPress.converted("subscription")`.

   The worker keeps in this browser which alert was pressed last. */

import { call } from "./calls.js";

const WITHIN_MS = 86_400_000;
const STORED_MS = 3000; // for a broken storage, which may never answer: the site may wait for us

/** Count it; whether it was. It is not for a reader who asks not to be tracked, or came without an
    alert. */
export async function converted(reader, name) {
  if (!reader.receipts) return false;
  const late = new Promise((resolve) => setTimeout(resolve, STORED_MS, []));
  const [token, at] = await Promise.race([lastPressed(), late]);
  if (!token || Math.abs(Date.now() - at) > WITHIN_MS) return false;
  try {
    await call("POST", "receipts", { body: { token, event: `converted:${name}` } });
    return true;
  } catch (error) {
    const why = error.kind === "refused" ? "it is none of the newsroom’s CONVERSIONS" : error.kind;
    console.warn(`Stop Press: “${name}” was not counted: ${why}`);
    return false;
  }
}

async function lastPressed() {
  try {
    const cache = await caches.open("stop-press");
    return await (await cache.match("/pressed")).json();
  } catch {
    return []; // no click, or storage is blocked
  }
}
