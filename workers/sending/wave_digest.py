"""What a wave sends to readers whose quiet hours are over: one alert as it is, several as one."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

from service.domain.sending.waves import MOST_HELD, newer_of_story, wave_may_send
from service.model.inactive import in_language
from service.model.language.languages import supported_language
from service.model.notifications import Notification, State
from service.model.payload import Payload, combined
from service.model.subscriptions import Record, SubscriptionId
from service.runtime import Runtime, inactive_policy
from service.store.sending.held_alerts import WaveDelivery

_READ_AGAIN = 1.0  # seconds


class WaveDigest:
    """The alerts that one wave may deliver."""

    def __init__(self, runtime: Runtime, wave: Notification) -> None:
        self._runtime = runtime
        self._wave = wave
        self._alerts: dict[int, Notification] = {}
        self._paused: set[int] = set()  # these stay held
        self._newer: dict[int, dict[int, Notification]] = {}  # by alert, newer ones of its story
        self._made: dict[tuple[tuple[int, ...], str], Payload] = {}  # by alerts shown and language
        self._read_at = -math.inf

    def held(self, partition: int, numbers: Sequence[int]) -> dict[int, list[int]]:
        """Return the alerts held for each of these readers; a reader with none is left out.

        An alert is left out for a reader who already got a newer one of its story by itself.
        """
        self._read()
        held = self._runtime.store.held_alerts.of(partition, numbers, self._alerts)
        return {number: ids for number, ids in self.still_held(partition, held).items() if ids}

    def still_held(self, partition: int, held: Mapping[int, list[int]]) -> dict[int, list[int]]:
        """Return the alerts held for each of these readers, without those that are outdated now."""
        self._read()
        newer = {id: self._newer.get(id, {}) for ids in held.values() for id in ids}
        some = {id: one for these in newer.values() for id, one in these.items()}
        if not some:
            return {**held}
        received = self._runtime.store.recipients.received(partition, [*held], some.values())
        got = {number: {one.id for one in alerts} for number, alerts in received.items()}
        return {
            number: [id for id in ids if got.get(number, set()).isdisjoint(newer[id])]
            for number, ids in held.items()
        }

    def message(
        self, id: SubscriptionId, held: Sequence[int], record: Record, *, small: bool = False
    ) -> tuple[WaveDelivery, bytes] | None:
        """Return the alerts that a reader gets of those held, and the plaintext of the message.

        None if none of the held alerts is left.
        """
        shown = self._shown(held)
        if not shown:
            return None
        language = supported_language(self._runtime.store.names.locales.name(record.locale))
        delivered = tuple(shown.values())
        key = tuple(shown), language
        if key not in self._made:
            config = self._runtime.config
            policy = inactive_policy(config)
            alerts = [in_language(self._alerts[one], policy, language) for one in shown]
            self._made[key] = combined(
                self._wave, alerts, language, config.public_url, config.opened_links
            )
        # The receipt of a single alert names that alert; the receipt of several names the wave.
        about = delivered[0] if len(delivered) == 1 else self._wave.id
        revisions = tuple((one, self._alerts[one].revision) for one in shown)
        done = tuple(one for one in held if one not in self._paused)
        delivery = WaveDelivery(revisions, done, delivered)
        receipt = self._runtime.tokens.receipt(about, id) if record.may_report else None
        payload = self._made[key].small() if small else self._made[key]
        return delivery, payload.carrying(receipt)

    def _shown(self, held: Sequence[int]) -> dict[int, int]:
        """Return the alerts to show, each with the held alert that it stands for.

        A correction and the alert it corrects are one, shown with its present text. Of a story only
        the latest alert is shown.
        """
        self._read()
        found: dict[int, int] = {}
        left = sorted(id for id in held if id in self._alerts)
        for id in left:
            root = self._alerts.get(self._alerts[id].corrects or id, self._alerts[id])
            if self._newer[id].keys().isdisjoint(left):
                found[root.id] = id
        return dict(sorted(found.items()))

    def _read(self) -> None:
        """Read the latest alerts again, once a second: an editor may have changed something.

        A paused one stays held for its readers, who wake again when it goes on.
        """
        if time.monotonic() - self._read_at < _READ_AGAIN:
            return
        self._read_at, self._made = time.monotonic(), {}
        latest = self._runtime.publishing.started(MOST_HELD)
        quarter = self._wave.audience.waking or 0
        self._paused = {one.id for one in latest if one.state is State.PAUSED}
        self._alerts = {one.id: one for one in latest if wave_may_send(quarter, one)}
        self._newer = {
            id: {newer.id: newer for newer in newer_of_story(one, latest)}
            for id, one in self._alerts.items()
        }
