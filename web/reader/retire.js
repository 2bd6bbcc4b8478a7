/* Retires another provider's worker: who had its alerts gets ours, without being asked again.

   optin.js fetches this only where a page names such a worker (`data-retire`). */

// Set from when the old subscription ends until ours is there: what fails is tried again next time.
const MOVING = "stop-press-moving";

/** Unregister the worker at the address `retired`, and subscribe whoever was subscribed there. */
export async function retire(retired, { runs, site, prepare, mayAsk }) {
  const url = new URL(retired, document.baseURI);
  const all = await navigator.serviceWorker.getRegistrations();
  const old = all.find((registration) => runs(registration, url));
  if (!old && !localStorage[MOVING]) return;
  const { topics } = await site(); // while the service is down, all stays as it was
  if (await old?.pushManager.getSubscription()) localStorage[MOVING] = "yes";
  await old?.unregister();
  if (localStorage[MOVING] && Notification.permission === "granted" && mayAsk()) {
    const { join } = await prepare();
    await join({ topics: topics.filter((topic) => topic.default).map((topic) => topic.slug) });
  }
  localStorage.removeItem(MOVING);
}
