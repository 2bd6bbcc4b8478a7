"""Other senders, sending the same message to the same sink."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import requests
from py_vapid import Vapid
from pywebpush import webpush

from service import seeding
from service.keys import b64url
from service.models import SubscriptionId
from service.payload import Payload
from workers.bench.figures import Bench, BenchError, Step
from workers.bench.house import CONTENT, SUBJECT, House

PYWEBPUSH_MESSAGES = 1000
WEB_PUSH_MESSAGES = 2000
WEB_PUSH_VERSION = "3.6.7"
# The first messages open the connections and let V8 compile: they are sent, and not measured.
_WEB_PUSH_SCRIPT = """
const webpush = require("web-push");
const { Agent } = require("https");
const asked = JSON.parse(require("fs").readFileSync(0));
const agent = new Agent({ keepAlive: true, maxSockets: 16, ca: asked.ca });
const options = { vapidDetails: asked.vapid, agent, TTL: 14400, urgency: "high" };
async function send(subscriptions) {
  let accepted = 0;
  const left = subscriptions.values();
  const one = async () => {
    for (const subscription of left) {
      const answer = await webpush.sendNotification(subscription, asked.payload, options);
      accepted += answer.statusCode === 201;
    }
  };
  await Promise.all(Array.from({ length: 16 }, one));
  return accepted;
}
(async () => {
  await send(asked.subscriptions.slice(0, asked.warm_up));
  const cpu = process.cpuUsage();
  const accepted = await send(asked.subscriptions.slice(asked.warm_up));
  const { user, system } = process.cpuUsage(cpu);
  console.log(JSON.stringify({ accepted, cpu: (user + system) / 1e6 }));
  process.exit();
})();
"""


class Absent(Exception):
    """A peer that is not here; the message says why."""


def payload(house: House) -> bytes:
    """Return what a browser receives of the latest alert."""
    latest = house.runtime.publishing.latest(1)[0]
    receipt = house.runtime.tokens.receipt(latest.id, SubscriptionId(0, 0))
    return Payload(latest, house.runtime.config.public_url).carrying(receipt)


def _subscription(house: House, number: int) -> dict[str, Any]:
    """Return a pretend subscription as a browser hands it out."""
    p256dh, auth = seeding.keys(number)
    keys = {"p256dh": b64url(p256dh), "auth": b64url(auth)}
    return {"endpoint": house.sinks[0].origin + seeding.path(number), "keys": keys}


def pywebpush_session(house: House, bench: Bench) -> float:
    """Return the CPU seconds of pywebpush's `webpush()` for a message.

    Its best case: one requests session, the key read beforehand.
    """
    with bench.bar("pywebpush", PYWEBPUSH_MESSAGES) as step:
        return _pywebpush_session(house, step)


def _pywebpush_session(house: House, step: Step) -> float:
    text = payload(house).decode()
    vapid = Vapid.from_raw(house.runtime.vapid_keys[0].text.encode())
    subscriptions = [_subscription(house, number) for number in range(PYWEBPUSH_MESSAGES)]
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(house.sinks[0].ca_file)
        cpu = time.thread_time()
        for number, subscription in enumerate(subscriptions, 1):
            webpush(  # raises for any answer that is not a 2xx
                subscription,
                text,
                vapid_private_key=vapid,
                vapid_claims={"sub": SUBJECT},
                ttl=CONTENT.ttl,
                headers={"Urgency": CONTENT.urgency},
                requests_session=session,
                timeout=10,
            )
            step(number)
        return (time.thread_time() - cpu) / PYWEBPUSH_MESSAGES


def web_push(house: House, folder: Path) -> float:
    """Return the CPU seconds of web-push for Node for a message, 16 at a time; `Absent`."""
    if not (shutil.which("node") and shutil.which("npm")):
        raise Absent("node and npm are not both installed")
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", "."]
    try:
        subprocess.run(
            [*install, f"web-push@{WEB_PUSH_VERSION}"],
            cwd=folder,
            capture_output=True,
            check=True,
            timeout=120,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        raise Absent("npm could not install it") from None
    key = house.runtime.vapid_keys[0]
    messages, warm_up = WEB_PUSH_MESSAGES, WEB_PUSH_MESSAGES // 10
    asked = {
        "subscriptions": [_subscription(house, number) for number in range(messages + warm_up)],
        "warm_up": warm_up,
        "payload": payload(house).decode(),
        "vapid": {"subject": SUBJECT, "publicKey": b64url(key.public), "privateKey": key.text},
        "ca": house.sinks[0].ca_file.read_text(),
    }
    run = subprocess.run(
        ["node", "-e", _WEB_PUSH_SCRIPT],
        cwd=folder,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if run.returncode:
        raise BenchError(f"web-push ended with exit code {run.returncode}: {run.stderr.strip()}")
    said = json.loads(run.stdout)
    if said["accepted"] != messages:
        raise BenchError(f"web-push: {said['accepted']:,} of {messages:,} messages were accepted")
    return float(said["cpu"]) / messages
