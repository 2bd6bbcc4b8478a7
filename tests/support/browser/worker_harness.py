"""A site whose pages can send any event to the service worker under test."""

from __future__ import annotations

import json
from typing import Any

from flask import Flask, request

from service.config import Config
from service.reader import demo, privacy, scripts
from tests.support.browser.served import Served

# Loads the worker under test, and calls its event handlers when a page asks for it. Events that a
# page makes itself would not be trusted.
HARNESS = """
const handlers = {};
const listen = self.addEventListener.bind(self);
self.addEventListener = (type, handler) => { handlers[type] = handler; };
const later = self.setTimeout;
// Only the clock is not real; pictures have the time that they take.
let patience = 5000;
let storing = 30_000; // not half a second, because the machine may be busy
self.setTimeout = (run, ms, ...given) =>
  later(run, ms === 5000 ? patience : ms === 500 ? storing : 0, ...given);
PIECE

// Returns whether the event was stopped before the site's own listeners, which come later.
async function happen(type, event) {
  const promises = [];
  let stopped = false;
  handlers[type]({
    ...event,
    waitUntil: (promise) => promises.push(promise),
    stopImmediatePropagation: () => { stopped = true; },
  });
  await Promise.all(promises);
  return stopped;
}

function data(text) {
  return text === null ? null : { text: () => text, json: () => JSON.parse(text) };
}

async function shown() {
  const found = await registration.getNotifications();
  return found.map((one) => ({
    ...{ title: one.title, body: one.body, tag: one.tag, icon: one.icon, dir: one.dir },
    ...{ lang: one.lang, timestamp: one.timestamp, data: one.data, image: one.image },
    ...{ badge: one.badge, renotify: one.renotify },
    actions: one.actions.map(({ action, title }) => ({ action, title })),
  }));
}

const does = {
  async push(text) {
    await happen("push", { data: data(text) });
    return shown();
  },
  async pushAll(texts) {
    let count = 0;
    const show = registration.showNotification.bind(registration);
    registration.showNotification = async (...all) => { await show(...all); count += 1; };
    const counts = [];
    for (const text of texts) {
      count = 0;
      await happen("push", { data: data(text) });
      counts.push(count);
    }
    for (const one of await registration.getNotifications()) one.close();
    return counts;
  },
  async pushSlowly(text) {
    const show = registration.showNotification.bind(registration);
    let pictures, whole;
    const come = new Promise((resolve) => { pictures = resolve; });
    registration.showNotification = (title, options) => {
      if (!options.image && !options.icon) return show(title, options);
      return (whole = come.then(() => show(title, options)));
    };
    patience = 0;
    await happen("push", { data: data(text) });
    patience = 5000;
    const before = await shown();
    pictures();
    await whole;
    return [before, await shown()];
  },
  async order(text) {
    const order = [];
    const show = registration.showNotification.bind(registration);
    registration.showNotification = async (...all) => { await show(...all); order.push("shown"); };
    const call = self.fetch;
    self.fetch = (url, options) => {
      const { keepalive, credentials, referrerPolicy, signal } = options;
      order.push({ keepalive, credentials, referrerPolicy, ends: signal instanceof AbortSignal });
      return call(url, options);
    };
    await happen("push", { data: data(text) });
    self.fetch = call;
    return order;
  },
  async pushTo(settings, text) {
    self.stopPress = settings;
    const stopped = await happen("push", { data: data(text) });
    self.stopPress = undefined;
    return { stopped, shown: await shown() };
  },
  async click(action, gone = false) {
    const opened = [];
    // The real ones need a trusted event.
    clients.openWindow = async (url) => { opened.push(url); };
    WindowClient.prototype.focus = async function () {
      opened.push(`focus ${this.url}`);
      if (gone) throw new Error("The tab is gone.");
    };
    const [notification] = await registration.getNotifications();
    const stopped = await happen("notificationclick", { notification, action });
    return { stopped, opened, left: (await shown()).length };
  },
  async clickOthers() {
    await registration.showNotification("The site's own", { data: { theirs: true } });
    const [notification] = await registration.getNotifications();
    const stopped = await happen("notificationclick", { notification, action: "" });
    return { stopped, left: (await shown()).length };
  },
  async private(value) {
    Object.defineProperty(navigator, "globalPrivacyControl", { value, configurable: true });
  },
  async lost(event, kept, statuses = [], age = 0) {
    const asked = [];
    const { pushManager } = registration; // Chromium's own does not answer in a private window
    pushManager.subscribe = async (options) => {
      asked.push(options);
      const endpoint = "https://push.example/new";
      return { endpoint, toJSON: () => ({ endpoint }) };
    };
    const called = [];
    const call = self.fetch;
    self.fetch = async (url, { method, headers, body }) => {
      called.push([method, `${url}`, headers.Authorization ?? null, JSON.parse(body)]);
      const status = statuses.shift() ?? 200;
      return Response.json({ id: "0-9", token: "new" }, { status });
    };
    const cache = await caches.open("stop-press");
    const written = JSON.stringify([kept, Date.now() - age]);
    if (kept) await cache.put("/reader", new Response(written));
    await happen("pushsubscriptionchange", event);
    self.fetch = call;
    return { asked, called, kept: (await (await cache.match("/reader"))?.json())?.[0] ?? null };
  },
  async agent(value) {
    Object.defineProperty(navigator, "userAgent", { value, configurable: true });
    const put = Cache.prototype.put;
    Cache.prototype.put = async function (key, ...given) {
      if (key === "/clicked") await new Promise((resolve) => later(resolve, 200)); // a slow disk
      return put.call(this, key, ...given);
    };
  },
  async clicked() {
    const found = await (await caches.open("stop-press")).match("/clicked");
    return (await found?.json())?.[0] ?? null;
  },
  // A broken disk says neither yes nor no.
  async stick() {
    storing = 0;
    CacheStorage.prototype.open = () => new Promise(() => {});
  },
  async close() {
    for (const notification of await registration.getNotifications()) {
      notification.close();
      await happen("notificationclose", { notification });
    }
  },
  async waiting() {
    const keys = await (await caches.open("stop-press-receipts")).keys();
    return keys.map(({ url }) => new URL(url).pathname.split("/").slice(0, 3).join("/"));
  },
  // As the release before did, without a time; and two hours on this browser's clock.
  async leave(receipt) {
    await (await caches.open("stop-press-receipts")).put(`/shown/${receipt}`, new Response());
    const now = Date.now;
    Date.now = () => now() + 7_200_000;
  },
};

listen("install", () => self.skipWaiting());
listen("activate", (event) => event.waitUntil(clients.claim()));
listen("message", async ({ data: [what, ...given], ports: [port] }) => {
  try {
    port.postMessage([await does[what](...given), null]);
  } catch (error) {
    port.postMessage([null, `${error}`]);
  }
});
"""
CALL = """
async ([what, ...given]) => {
  const registration = await navigator.serviceWorker.register("/harness.js", { scope: "/" });
  await navigator.serviceWorker.ready;
  const channel = new MessageChannel();
  const answer = new Promise((resolve) => { channel.port1.onmessage = resolve; });
  registration.active.postMessage([what, ...given], [channel.port2]);
  const { data: [value, error] } = await answer;
  if (error) throw new Error(error);
  return value;
}
"""


class Site(Served):
    """A newspaper's site whose worker is the harness; receipts get `statuses`, then 204."""

    def __init__(self) -> None:
        self.begin_anew()
        app = Flask(__name__, static_folder=None)
        app.config["STOPPRESS"] = Config.read({"LINK_PARAMETERS": "from=alert-{id}"})
        for part in (scripts, privacy, demo):
            app.register_blueprint(part.bp)
        app.add_url_rule("/", view_func=lambda: "<!doctype html><title>Paper</title>", endpoint="/")
        javascript = {"Content-Type": "text/javascript"}
        app.add_url_rule(
            "/harness.js",
            view_func=lambda: (HARNESS.replace("PIECE", self.piece), 200, javascript),
            endpoint="h",
        )
        app.add_url_rule("/api/v1/receipts", view_func=self._take, methods=["POST"])
        super().__init__(app)
        self.origin = f"http://localhost:{self.port}"

    def begin_anew(self) -> None:
        """Forget all receipts and settings."""
        self.receipts: list[list[dict[str, str]]] = []  # without how long ago that was
        self.ago: dict[tuple[str, str], float | None] = {}  # in seconds, by receipt and event
        self.statuses: list[int] = []
        self.piece = 'importScripts("/sw.js");'  # by which the worker has ours

    def _take(self) -> tuple[str, int]:
        rows = request.get_json()["receipts"]
        for row in rows:
            self.ago[row["token"], row["event"]] = row.pop("seconds_ago", None)
        self.receipts.append(rows)
        return "", self.statuses.pop(0) if self.statuses else 204


def document(site: Site, receipt: str = "r1", **more: Any) -> str:
    """A document as the service pushes it."""
    notification = {
        "title": "Ferry afloat",
        "body": "Since this morning.",
        "navigate": "https://paper.example/ferry",
        "tag": f"stop-press-{receipt}",
        "data": {"api": site.origin, "receipt": receipt},
        **more,
    }
    return json.dumps({"web_push": 8030, "notification": notification})
