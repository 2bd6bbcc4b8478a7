"""Calls webhooks: the clock signs what is due, a fetch process sends it, the clock reads what came.

A fetch process has none of the secrets, and connects only to guarded addresses (decision 90). A job
that is lost, or killed with its process, is made again.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import datetime, timezone

from standardwebhooks import Webhook as Signer

from service.domain.newsroom.webhooks import Seals
from service.domain.sending.job_queue import CALL, FetchQueue
from service.model.language.links import Origin
from service.model.newsroom.webhooks import CALL_SECONDS, Answer, Call, Health, Waiting, Webhook
from service.model.retention import ARTICLE_NEW
from service.store import Store
from service.store.newsroom.calls import Request
from service.store.newsroom.webhooks import Kept

# Seconds after which a call without an answer is lost: a job waits for so long at most.
_LOST_AFTER = ARTICLE_NEW + CALL_SECONDS + 5.0


class WebhookCalls:
    """Calls the webhooks of one installation."""

    def __init__(self, store: Store, queue: FetchQueue, seals: Seals) -> None:
        self._rows = store.webhooks
        self._calls = store.calls
        self._queue = queue
        self._seals = seals

    def go_on(self, now: float) -> None:
        """Read the results of calls, and make those that are due: what the clock does every second.

        There is one call at a time to each target, so that a slow one takes no place of others.
        """
        kept = self._rows.kept()
        settled = [self._settle(kept, one, now) for one in kept.webhooks.values()]
        if any(settled):
            kept = self._rows.kept()
        busy = {
            Origin.of(one.address) for one in kept.webhooks.values() if kept.health_of(one.id).call
        }
        free = [one for one in kept.webhooks.values() if _may_be_called(one, kept, now)]
        free.sort(key=lambda one: _last_called(kept.health_of(one.id)))
        due = self._rows.due([one.id for one in free], now)
        if not due or not self._queue.workers():
            return
        for one in free:
            target = Origin.of(one.address)
            if one.id in due and target not in busy:
                busy.add(target)
                self._begin(kept, one, due[one.id], now)

    def _settle(self, kept: Kept, webhook: Webhook, now: float) -> bool:
        """Store what came of the call to a webhook that is under way; False if there is nothing."""
        health = kept.health_of(webhook.id)
        call = health.call
        if call is None:
            return False
        text = self._calls.answer(call.id)
        event = self._rows.event(webhook.id, call.event)
        if text is None and now - call.at < _LOST_AFTER:
            return False
        if text is None or event is None:  # lost, or what waited was dropped
            again = (now, event) if event is not None else None
            return self._rows.settle(kept, webhook.id, call, replace(health, call=None), again)
        after, due = health.after(event, Answer.from_json(text), now)
        tried = replace(event, attempts=event.attempts + 1)
        again = None if due is None else (due, tried)
        return self._rows.settle(kept, webhook.id, call, after, again)

    def _begin(self, kept: Kept, webhook: Webhook, event: Waiting, now: float) -> None:
        webhook = self._sealed_anew(kept, webhook)
        secrets_now = [self._seals.open(sealed) for sealed in webhook.secrets(now)]
        at = datetime.fromtimestamp(int(now), timezone.utc)
        signed = [Signer(one).sign(event.id, at, event.body) for one in secrets_now if one]
        health = kept.health_of(webhook.id)
        if not signed:
            self._rows.put_health(webhook.id, health.without_secret(now))
            return
        call = Call(secrets.token_hex(16), event.id, now)
        headers = {
            "content-type": "application/json",
            "webhook-id": event.id,
            "webhook-timestamp": str(int(now)),
            "webhook-signature": " ".join(signed),
        }
        request = Request(webhook.address, headers, event.body.encode())
        if self._rows.begin(kept, webhook, replace(health, call=call), call, request):
            self._queue.ask(CALL, call.id)

    def _sealed_anew(self, kept: Kept, webhook: Webhook) -> Webhook:
        """Seal its secrets under the current SECRET_KEY; the previous one can then be removed."""
        anew = replace(
            webhook,
            secret=self._seals.anew(webhook.secret),
            secret_before=webhook.secret_before and self._seals.anew(webhook.secret_before),
        )
        if anew != webhook:
            self._rows.change(kept, anew)
        return anew


def _may_be_called(webhook: Webhook, kept: Kept, now: float) -> bool:
    health = kept.health_of(webhook.id)
    rests = health.call or health.ended_at or now < health.rests_until
    return not (webhook.paused or rests)


def _last_called(health: Health) -> float:
    return health.results[0].at if health.results else 0.0
