/* Stop Press in a service worker: shows every push, opens the story on a click, reports both.

   A classic script, so that a site's own worker can load it with one line:

     importScripts("https://push.example/sw.js");

   It therefore defines no global name and leaves install, activate and fetch to the site. The line
   stands before the site's own listeners, so that our events do not reach them and nothing is shown
   or opened twice. docs/site.md has a guard for it. A site may set, in the line before:

     self.stopPress = { lang: "de", icon: "/icon.png", badge: "/badge.png", ignoreForeign: true };

   These options apply to alerts that have none of their own. With `ignoreForeign`, a push that is
   not one of our documents is left to the site's own listener. */

(() => {
  "use strict";

  const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];
  const OPTION_TYPES = {
    badge: "string",
    body: "string",
    icon: "string",
    image: "string",
    lang: "string",
    requireInteraction: "boolean",
    silent: "boolean",
    tag: "string",
    timestamp: "number",
  };
  // Safari revokes a subscription whose push events last about ten seconds.
  const PATIENCE_MS = 5000; // with pictures, and with a call
  const ANSWER_MS = 500; // for a page to say that it is open, and for a cache
  // A million browsers show an alert within a minute; their reports are spread over this time.
  const SHOWN_WITHIN_MS = 3000;
  // The cache of receipts that the service has not got yet, one entry each; the oldest give way.
  const WAITING = "stop-press-receipts";
  const MOST_WAITING = 50;
  const LEFT_KEPT_MS = 30 * 86_400_000;
  // What reader.js keeps here of this reader, the link of a click that a start page follows, and the
  // receipt token of the last click for converted.js.
  const KEPT = "stop-press";
  // Parameters with which links count visits: the page is the same without them.
  const TRACKING =
    /^#?((utm|mtm|pk|at|mc)_|(\w{0,3}clid|[gw]braid|igsh(id)?|srsltid|xtor|cmpid|ocid|_g[al])\b)/i;
  // Those that the newsroom adds to links (LINK_PARAMETERS); service/reader/scripts.py puts them in.
  const ADDED = LINK_PARAMETERS;
  const CONVERSIONS_COUNT = CONVERSIONS; // likewise: whether the newsroom counts any
  // Our own button under each alert that has room for it, and the fragment of the page it opens.
  const FEWER = "stop-press=fewer";
  const FEWER_ALERTS = EACH_LANGUAGE.links.fewer; // service/reader/scripts.py puts them in
  // Receipts of clicked alerts: Firefox reports a close after a click too, which is no dismissal.
  const clicked = new Set();

  /** Resolve to true after a while. */
  const pause = (ms) => new Promise((go) => setTimeout(go, ms, true));

  // Half a surrogate pair in a tag crashes Chromium (seen in 156).
  function wellFormed(_key, value) {
    return value?.toWellFormed?.() ?? value;
  }

  /** Return the notification in a Declarative Web Push document; null for any other payload. */
  function unpack(data) {
    try {
      const { web_push: format, notification } = JSON.parse(data.text(), wellFormed);
      return format === 8030 && typeof notification.title === "string" ? notification : null;
    } catch {
      return null;
    }
  }

  /** Return `link` if it is safe to open, otherwise the site's front page. */
  function safeLink(link) {
    const front = `${self.location.origin}/`;
    try {
      const url = new URL(typeof link === "string" ? link : "", front);
      const local = url.protocol === "http:" && LOOPBACK.includes(url.hostname);
      const safe = (url.protocol === "https:" || local) && !url.username && !url.password;
      return safe ? url.href : front;
    } catch {
      return front; // not a URL at all
    }
  }

  function actionsOf(notification) {
    if (!Array.isArray(notification.actions)) return [];
    return notification.actions.filter(
      (row) => typeof row?.action === "string" && typeof row?.title === "string",
    );
  }

  /** Return the page for “Fewer alerts”: the article's, or the front page if the article is on
      another origin. Its fragment names the running story. */
  function panelLink(article, story) {
    const url = new URL(article);
    const page = url.origin === self.location.origin ? url : new URL("/", self.location);
    page.hash = typeof story === "string" ? `${FEWER}&${new URLSearchParams({ story })}` : FEWER;
    return page.href;
  }

  /** Return what a click and the receipts need; the browser keeps it with the notification. */
  function keptData({ navigate, data, ...notification }) {
    const article = safeLink(navigate);
    const links = actionsOf(notification).map((row) => [row.action, safeLink(row.navigate)]);
    return {
      navigate: article,
      links: [[FEWER, panelLink(article, data?.story)], ...links],
      api: data?.api,
      receipt: data?.receipt,
      // Clicks are always reported; the rest, in a large audience, by some browsers only.
      reports: Math.random() < (data?.report ?? 1),
    };
  }

  function optionsOf(given) {
    const notification = { ...self.stopPress, ...given };
    const known = ([name, value]) => typeof value === OPTION_TYPES[name];
    const options = Object.fromEntries(Object.entries(notification).filter(known));
    if (["auto", "ltr", "rtl"].includes(notification.dir)) options.dir = notification.dir;
    // `renotify` without a tag throws (Notifications API, section 2.3).
    if (options.tag && notification.renotify === true) options.renotify = true;
    const actions = actionsOf(notification).map(({ action, title }) => ({ action, title }));
    const [language] = (options.lang ?? "").split("-");
    const fewer = { action: FEWER, title: FEWER_ALERTS[language] ?? FEWER_ALERTS.en };
    options.actions = [...actions, fewer].slice(0, self.Notification.maxActions ?? 0);
    return options;
  }

  /** Report to the service that this notification was `shown`, `clicked` or `dismissed`.

      If that fails, the next report includes this one. */
  async function report({ api, receipt, reports }, event) {
    if (typeof receipt !== "string" || !(reports || event === "clicked")) return;
    if (self.navigator.globalPrivacyControl) return; // this reader does not want to be counted
    // By this browser's clock, which may be wrong: the service is told how long ago that is.
    const at = event === "shown" ? `/${Date.now()}` : "";
    const own = new Request(`/${event}/${encodeURIComponent(receipt)}${at}`);
    // A full disk takes nothing, and a broken one may never say so: then this report goes by itself.
    let cache = { keys: () => [own], delete() {} };
    const store = (real) => real.put(own, new Response()).then(() => (cache = real));
    try {
      await Promise.race([caches.open(WAITING).then(store).catch(() => {}), pause(ANSWER_MS)]);
      if (event === "shown") await pause(Math.random() * SHOWN_WITHIN_MS);
      await deliver(cache, api);
    } catch {
      // Offline, or the service is down. The reader has seen the alert, which matters more.
    }
  }

  async function deliver(cache, api) {
    const waiting = await cache.keys();
    const forget = (some) => Promise.all(some.map((one) => cache.delete(one)));
    const going = waiting.slice(-MOST_WAITING);
    await forget(waiting.slice(0, -MOST_WAITING));
    if (!going.length) return; // another event has sent ours
    const receipts = going.map(({ url }) => {
      const [, event, token, at] = new URL(url).pathname.split("/");
      const seconds_ago = at && (Date.now() - at) / 1000;
      return { token: decodeURIComponent(token), event, seconds_ago };
    });
    const { status } = await call("POST", api, "receipts", { receipts });
    // A refused receipt would be refused again. After 429 or 5xx another try may succeed.
    if (status < 500 && status !== 429) await forget(going);
  }

  function pages() {
    return self.clients.matchAll({ type: "window", includeUncontrolled: true });
  }

  /** Tell the site's open pages that an alert was shown or clicked. */
  async function announce(type, { title, body, tag }, navigate) {
    for (const page of await pages()) page.postMessage({ type, title, body, tag, navigate });
  }

  /** Show a notification. Every push needs one, because a silent push ends the subscription. */
  async function show(notification) {
    const kept = keptData(notification);
    const options = optionsOf(notification);
    options.tag ??= kept.receipt; // the same for the plain form below
    const display = (all) =>
      self.registration.showNotification(notification.title, { ...all, data: { stopPress: kept } });
    // The reader gets the alert even if this browser rejects an option.
    const shown = display(options).catch(() => display({ body: options.body ?? "" }));
    const { icon, image, badge, ...plain } = options;
    // Chromium waits for pictures, longer than this worker lives. If they come later, the whole alert
    // takes the place of the plain one, since both have the same tag.
    if ((icon || image || badge) && (await Promise.race([shown, pause(PATIENCE_MS)])))
      await display(plain);
    else await shown;
    await Promise.all([
      report(kept, "shown"),
      announce("stoppress:shown", notification, kept.navigate),
    ]);
  }

  /** Return a page's address without what only counts visits, and the part that it names. */
  function placeOf(link) {
    const { origin, pathname, searchParams, hash } = new URL(link);
    for (const name of [...searchParams.keys()]) {
      if (TRACKING.test(name) || ADDED.includes(name)) searchParams.delete(name);
    }
    searchParams.sort();
    const part = TRACKING.test(hash) ? "" : hash;
    return [`${origin}${pathname.replace(/\/$/, "")}?${searchParams}`, part];
  }

  /** Whether a reader has opened the page in this tab. Chromium also lists pages that it has only
      prepared (speculation rules), which cannot come to the front: they do not answer yet. */
  function isOpened(tab) {
    if (tab.visibilityState === "visible") return true;
    const { port1, port2 } = new MessageChannel();
    tab.postMessage({ type: "stoppress:here" }, [port2]);
    return new Promise((go) => {
      port1.onmessage = go;
      setTimeout(go, ANSWER_MS);
    });
  }

  /** Bring the story to the front, with one call, because Chromium allows only one a click. */
  async function open(url) {
    const [story, part] = placeOf(url);
    const tab = (await pages()).find((one) => {
      const [shown, at] = placeOf(one.url);
      // A frame is a part of another page. A tab that shows any part of the story will do, unless
      // the link names a part.
      return one.frameType !== "nested" && shown === story && (!part || at === part);
    });
    const anew = () => self.clients.openWindow(url);
    const is = (name) => self.navigator.userAgent.includes(name);
    // The reader may have closed it meanwhile.
    if (tab && (!is("Chrom") || (await isOpened(tab)))) return tab.focus().catch(anew);
    // An app on the Home Screen opens its start page instead before iOS 18.4: home.js goes on.
    const apple = is("AppleWebKit") && !is("Chrom");
    // The worker must live until both are done, and the window must not wait for storage.
    return Promise.allSettled([apple && keep("clicked", url), anew()]);
  }

  async function keep(name, value) {
    const cache = await caches.open(KEPT);
    await cache.put(`/${name}`, new Response(JSON.stringify([value, Date.now()])));
  }

  /** Return what reader.js knows of this reader, and since when. */
  async function recall() {
    try {
      return await (await caches.match("/reader", { cacheName: KEPT })).json();
    } catch {
      return [{}]; // nothing, or storage is blocked
    }
  }

  /** Subscribe again after the browser lost the subscription, and tell the service. If that fails,
      the next page view does both. */
  async function renew({ oldSubscription, newSubscription }) {
    const [{ api, id, token, key, endpoint, ...preferences }, at] = await recall();
    const applicationServerKey = key ?? oldSubscription?.options.applicationServerKey;
    if (!newSubscription && !applicationServerKey) return;
    const options = { userVisibleOnly: true, applicationServerKey };
    const subscription = newSubscription ?? (await self.registration.pushManager.subscribe(options));
    if (!key) return;
    const given = { subscription, vapid_public_key: key };
    const post = (body) => call("POST", api, "subscriptions", { ...given, ...body });
    // After the browser lost the subscription, the service has no such id any more.
    let response = await (id
      ? call("PATCH", api, `subscriptions/${id}`, given, token)
      : post(preferences));
    // Nor if the push service had ended the old endpoint, and an alert came before this. For a month
    // the service knows who has left, and else says of the old endpoint that there is none.
    if (response.status === 404 && endpoint && Date.now() - at < LEFT_KEPT_MS) {
      const old = { ...subscription.toJSON(), endpoint };
      if ((await post({ subscription: old, refresh: true })).status === 404)
        response = await post(preferences);
    }
    const { id: now, token: its } = await response.json();
    const { endpoint: here } = subscription;
    if (response.ok) await keep("reader", { ...preferences, api, key, id: now, token: its, endpoint: here });
  }

  /** Call the service. */
  function call(method, api, path, body, token) {
    return fetch(new URL(`/api/v1/${path}`, api), {
      method,
      headers: {
        "Content-Type": "application/json",
        ...(token && { Authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify(body),
      credentials: "omit",
      referrerPolicy: "no-referrer",
      keepalive: true,
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
  }

  self.addEventListener("push", (event) => {
    const ours = unpack(event.data);
    if (!ours && self.stopPress?.ignoreForeign) return;
    if (ours) event.stopImmediatePropagation();
    event.waitUntil(show(ours ?? { title: self.location.hostname }));
  });

  self.addEventListener("notificationclick", (event) => {
    const { notification, action } = event;
    const kept = notification.data?.stopPress;
    if (!kept) return; // the site's own notification
    event.stopImmediatePropagation();
    clicked.add(kept.receipt);
    notification.close();
    const link = new Map(kept.links).get(action) ?? kept.navigate;
    // “Fewer alerts” gets a page of its own and is not a click on the story.
    const done =
      action === FEWER
        ? [self.clients.openWindow(link)]
        : [
            open(link),
            report(kept, "clicked"),
            CONVERSIONS_COUNT && kept.receipt && keep("pressed", kept.receipt),
            announce("stoppress:clicked", notification, link),
          ];
    event.waitUntil(Promise.allSettled(done)); // one that fails does not end the others
  });

  self.addEventListener("notificationclose", (event) => {
    const kept = event.notification.data?.stopPress;
    if (!kept) return;
    event.stopImmediatePropagation();
    if (!clicked.delete(kept.receipt)) event.waitUntil(report(kept, "dismissed"));
  });

  self.addEventListener("pushsubscriptionchange", (event) => event.waitUntil(renew(event)));

  // A page asks whether this script is in the worker that was installed.
  self.addEventListener("message", (event) => {
    if (event.data !== "stoppress:here") return;
    event.stopImmediatePropagation();
    event.ports[0].postMessage(true);
  });
})();
