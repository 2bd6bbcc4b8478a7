"""Runs the doctor in the test's own process."""

from __future__ import annotations

import os

from click.testing import CliRunner, Result

from service.cli import main
from service.cli.doctor import Wanted, examine
from service.cli.doctor.findings import Finding
from service.config import Config
from service.model.keys import VapidKey
from service.model.subscriptions import SubscriptionId, SubscriptionRequest
from service.runtime import Runtime
from tests.support.push_service import PushService, Subscription

KEY = VapidKey.generate()


def findings(
    environment: dict[str, str], send: str | None = None, site: str | None = None
) -> dict[str, list[Finding]]:
    """The doctor's findings, by the thing that was checked."""
    found: dict[str, list[Finding]] = {}
    for finding in examine(lambda: environment, Wanted(send, site)):
        found.setdefault(finding.what, []).append(finding)
    return found


def one(environment: dict[str, str], what: str) -> Finding:
    (finding,) = findings(environment)[what]
    return finding


def doctor(environment: dict[str, str], *options: str) -> Result:
    """Run the command in this process with these environment variables alone."""
    usual = {"PATH": "/usr/bin:/bin", "COLUMNS": "80", "SSL_CERT_FILE": os.devnull}
    env = {**dict.fromkeys(os.environ), **usual, **environment}
    done = CliRunner().invoke(main, ["doctor", *options], env=env)
    assert done.exception is None or isinstance(done.exception, SystemExit), "no traceback"
    return done


def stored(
    environment: dict[str, str], push: PushService, key: VapidKey
) -> tuple[SubscriptionId, Subscription]:
    """Let a pretend browser subscribe with a key."""
    origins = {"PUSH_SERVICES": push.origin, "PUSH_CA_BUNDLE": str(push.ca_file)}
    environment.update(origins)
    runtime = Runtime.open(Config.read(environment))
    made = push.subscribe(key.public)
    endpoint = runtime.endpoints.parse(made.endpoint)
    requested = SubscriptionRequest(endpoint, made.p256dh, made.auth, runtime.keys.current)
    subscription, _ = runtime.store.subscriptions.subscribe(requested)
    return subscription.id, made
