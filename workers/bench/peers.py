"""Other senders, sending the same message to the same sink."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import requests
from py_vapid import Vapid
from pywebpush import webpush

from service.local import pretend_readers
from service.model.keys import b64url
from service.model.payload import Payload
from service.model.subscriptions import SubscriptionId
from workers.bench.figures import Bench, BenchError
from workers.bench.installation import CONTENT, SUBJECT, BenchInstallation

PYWEBPUSH_MESSAGES = 1000
WEB_PUSH_VERSION = "3.6.7"
WEBPUSH_GO_VERSION = "1.4.0"
# By each of the programs below. The first open the connections and let V8 compile: they are sent,
# and not measured.
_MESSAGES, _WARM_UP = 4000, 400
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
# A record is as long as header, message, delimiter and tag, since no other sender pads. The library
# writes behind the message it is given: each reader gets a copy.
_WEBPUSH_GO_PROGRAM = """
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	webpush "github.com/SherClockHolmes/webpush-go"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func cpu() float64 {
	var used syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
}

func main() {
	var asked struct {
		Subscriptions []*webpush.Subscription
		WarmUp        int `json:"warm_up"`
		Payload, CA   string
		Vapid         struct{ Subject, PublicKey, PrivateKey string }
	}
	check(json.NewDecoder(os.Stdin).Decode(&asked))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(asked.CA))
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
	}
	options := &webpush.Options{
		HTTPClient:      &http.Client{Transport: transport},
		RecordSize:      uint32(86 + len(asked.Payload) + 1 + 16),
		Subscriber:      strings.TrimPrefix(asked.Vapid.Subject, "mailto:"),
		TTL:             14400,
		Urgency:         webpush.UrgencyHigh,
		VAPIDPublicKey:  asked.Vapid.PublicKey,
		VAPIDPrivateKey: asked.Vapid.PrivateKey,
	}
	send := func(subscriptions []*webpush.Subscription) (accepted int64) {
		left := make(chan *webpush.Subscription)
		var all sync.WaitGroup
		for i := 0; i < 16; i++ {
			all.Add(1)
			go func() {
				defer all.Done()
				for one := range left {
					answer, err := webpush.SendNotification([]byte(asked.Payload), one, options)
					check(err)
					io.Copy(io.Discard, answer.Body)
					answer.Body.Close()
					if answer.StatusCode == 201 && answer.ProtoMajor == 2 {
						atomic.AddInt64(&accepted, 1)
					}
				}
			}()
		}
		for _, one := range subscriptions {
			left <- one
		}
		close(left)
		all.Wait()
		return
	}
	send(asked.Subscriptions[:asked.WarmUp])
	before := cpu()
	accepted := send(asked.Subscriptions[asked.WarmUp:])
	took := cpu() - before
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{"accepted": accepted, "cpu": took}))
}
"""


Measure: TypeAlias = Callable[[], float]  # the CPU seconds that a message takes


class Absent(Exception):
    """A peer that is not here; the message says why."""


def payload(installation: BenchInstallation) -> bytes:
    """Return what a browser receives of the latest alert."""
    latest = installation.runtime.publishing.latest(1)[0]
    receipt = installation.runtime.tokens.receipt(latest.id, SubscriptionId(0, 0))
    return Payload(latest, installation.runtime.config.public_url).carrying(receipt)


def _subscription(installation: BenchInstallation, number: int) -> dict[str, Any]:
    """Return a pretend subscription as a browser hands it out."""
    p256dh, auth = pretend_readers.keys(number)
    keys = {"p256dh": b64url(p256dh), "auth": b64url(auth)}
    return {"endpoint": installation.sinks[0].origin + pretend_readers.path(number), "keys": keys}


def pywebpush_session(installation: BenchInstallation, bench: Bench) -> Measure:
    """Make pywebpush's `webpush()` ready; its best case: one requests session, the key read."""
    vapid = Vapid.from_raw(installation.runtime.keys.vapid[0].text.encode())
    subscriptions = [_subscription(installation, number) for number in range(PYWEBPUSH_MESSAGES)]

    def measure() -> float:
        text = payload(installation).decode()
        with bench.bar("pywebpush", len(subscriptions)) as step, requests.Session() as session:
            session.trust_env = False
            session.verify = str(installation.sinks[0].ca_file)
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
            return (time.thread_time() - cpu) / len(subscriptions)

    return measure


def web_push(installation: BenchInstallation, bench: Bench) -> Measure:
    """Make web-push for Node ready, 16 messages at a time; `Absent`."""
    if not (shutil.which("node") and shutil.which("npm")):
        raise Absent("node and npm are not both installed")
    folder = bench.folder / "web-push"
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", "."]
    folder.mkdir()
    _prepare(folder, [*install, f"web-push@{WEB_PUSH_VERSION}"], why="npm could not install it")
    return partial(_program, installation, folder, ["node", "-e", _WEB_PUSH_SCRIPT])


def webpush_go(installation: BenchInstallation, bench: Bench) -> Measure:
    """Make webpush-go ready, 16 messages at a time; `Absent`.

    Its best case: one client, whose HTTP/2 connection stays open, and no padding.
    """
    if not shutil.which("go"):
        raise Absent("go is not installed")
    folder = bench.folder / "webpush-go"
    folder.mkdir()
    (folder / "main.go").write_text(_WEBPUSH_GO_PROGRAM)
    _prepare(
        folder,
        ["go", "mod", "init", "peer"],
        ["go", "get", f"github.com/SherClockHolmes/webpush-go@v{WEBPUSH_GO_VERSION}"],
        ["go", "build", "-o", "peer", "."],
        why="go could not fetch and build it",
    )
    return partial(_program, installation, folder, ["./peer"])


PEERS: dict[str, Callable[[BenchInstallation, Bench], Measure]] = {
    "pywebpush, one session": pywebpush_session,
    "web-push for Node, keep-alive": web_push,
    "webpush-go, one HTTP/2 client": webpush_go,
}


def _prepare(folder: Path, *commands: list[str], why: str) -> None:
    """Run commands one after another; `Absent`, and why, where one fails."""
    try:
        for argv in commands:
            subprocess.run(argv, cwd=folder, capture_output=True, check=True, timeout=120)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        raise Absent(why) from None


def _program(installation: BenchInstallation, folder: Path, argv: list[str]) -> float:
    """Return the CPU seconds for a message of a program that reads what to send, as JSON."""
    key = installation.runtime.keys.vapid[0]
    asked = {
        "subscriptions": [
            _subscription(installation, number) for number in range(_WARM_UP + _MESSAGES)
        ],
        "warm_up": _WARM_UP,
        "payload": payload(installation).decode(),
        "vapid": {"subject": SUBJECT, "publicKey": b64url(key.public), "privateKey": key.text},
        "ca": installation.sinks[0].ca_file.read_text(),
    }
    run = subprocess.run(
        argv,
        cwd=folder,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if run.returncode:
        raise BenchError(
            f"{folder.name} ended with exit code {run.returncode}: {run.stderr.strip()}"
        )
    said = json.loads(run.stdout)
    if said["accepted"] != _MESSAGES:
        raise BenchError(
            f"{folder.name}: {said['accepted']:,} of {_MESSAGES:,} messages were accepted"
        )
    return float(said["cpu"]) / _MESSAGES
