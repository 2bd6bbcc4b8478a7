/* Retires another provider's worker. A reader who had its alerts gets ours and is not asked again.

   optin.js fetches this only if a page names such a worker (`data-retire`). */

// Set while the old subscription has ended and ours is not there yet; the next visit then goes on.
const MOVING = "stop-press-moving";

/** Unregister the worker at the address `retired`, and subscribe its reader to our default topics. */
export async function retire(retired, { runs, site, prepare, mayMove, base = location.href, workerUrl }) {
  const url = new webkitURL(retired, base);
  const file = (address) => address && address.origin + address.pathname;
  if (file(url) === file(workerUrl))
    return console.warn("Stop Press: data-retire is our own worker");
  const all = await navigator.serviceWorker.getRegistrations();
  const old = all.find((registration) => runs(registration, url));
  if (!old && !localStorage[MOVING]) return;
  const { topics } = await site(); // fails while the service is down, and all stays as it was
  if (await old?.pushManager.getSubscription()) localStorage[MOVING] = "yes";
  await old?.unregister();
  if (localStorage[MOVING] && window.Notification.permission === "granted" && mayMove) {
    const { join } = await prepare();
    await join({ topics: topics.filter((topic) => topic.default).map((topic) => topic.slug) });
  }
  localStorage.removeItem(MOVING);
}
