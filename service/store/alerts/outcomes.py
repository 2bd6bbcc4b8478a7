"""Outcomes of recipients: recorded as they come in, read as progress, kept as a final report.

The keys are described in batches.py; the report is a field of the notification.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

from redis import Redis
from redis.typing import EncodableT

from service.model.notifications import Batch, Outcome, Progress, State
from service.model.retention import (
    ACCEPTED_KEPT,
    CLOSED_SEND_KEPT,
    GONE_KEPT,
    HELD_KEPT,
    IN_VAIN_KEPT,
    READERS_TEST_KEPT,
    RESPONSES_KEPT,
)
from service.model.time import clock
from service.model.time.clocks import QUARTER
from service.store.alerts.notifications import ACTIVE, alert_key
from service.store.layout.bitmaps import bitmap_key, pack_numbers
from service.store.layout.partitions import Partitions
from service.store.redis_servers.history import HISTORY
from service.store.redis_servers.scripts import NOW, lua
from service.store.sending.batches import part_key
from service.store.sending.gone import due_key, responses_key
from service.store.sending.held_alerts import NOTHING, WaveDelivery, held_key, wakes_key

# KEYS: notification, active; for a wave the alerts that it delivered. ARGV: id, state, finished_at,
# report, seconds for which one to a single browser is kept, the history of the data when it was
# closed; for a wave, to how many readers it delivered each alert alone, and together with others.
# 'cancelled' stays so; one that was paused is withheld from waves. Returns 0 if it is finished
# already, or if Redis may have forgotten that it was closed. The first write frees.
_FINISH = (
    HISTORY
    + """
if history ~= ARGV[6] then return 0 end
redis.call('SREM', KEYS[2], ARGV[1])
if redis.call('HEXISTS', KEYS[1], 'report') == 1 then return 0 end
local before, state = redis.call('HGET', KEYS[1], 'state'), ARGV[2]
if before == 'cancelled' then state = 'cancelled' end
if before == 'paused' then redis.call('HSET', KEYS[1], 'withheld', 1) end
redis.call('HSET', KEYS[1], 'state', state, 'finished_at', ARGV[3], 'report', ARGV[4])
if redis.call('HEXISTS', KEYS[1], 'by_reader') == 1 then redis.call('EXPIRE', KEYS[1], ARGV[5]) end
for i = 3, #KEYS do
  local waves = cjson.decode(redis.call('HGET', KEYS[i], 'waves') or '[]')
  table.insert(waves, {tonumber(ARGV[1]), tonumber(ARGV[i * 2 + 1]), tonumber(ARGV[i * 2 + 2])})
  redis.call('HSET', KEYS[i], 'waves', cjson.encode(waves))
end
return 1
"""
)


class Result(NamedTuple):
    """What became of some recipients."""

    outcome: Outcome
    service: str  # whose push service, or why they were skipped
    base: int  # 0: no push service was asked
    revision: int | None = None  # of the text that was accepted; None: no correction will ask
    wakes: int = 0  # quarter hour in which these readers wake, if the alert is held for them
    is_held: bool = False
    delivery: WaveDelivery = NOTHING  # what a wave delivered to them
    text: str = ""  # which of two texts, A or B, was accepted in the sample
    silent: bool = False  # by a push service whose browsers report no clicks
    in_vain: bool = False  # a host that has yet to prove itself was asked and did not accept it


_TRIED = "tried_"  # of two texts, before which one: a counter of a send
Results: TypeAlias = Mapping[Result, Sequence[int]]


class Outcomes:
    """The outcomes of all sends."""

    def __init__(self, redis: Redis, partitions: Partitions) -> None:
        self._redis = redis
        self._partitions = partitions
        self._record = redis.register_script(NOW + lua(__file__, "record"))
        self._finish = redis.register_script(_FINISH)

    def record(self, id: int, batch: Batch, worker: str, lease_ms: int, results: Results) -> bool:
        """Record outcomes; False if the lease was lost.

        Outcomes count even then, but only for recipients who had none yet.
        """
        next_quarter = 0
        # If recording was slow, move the wake-up to the next quarter hour, since the wave of this
        # one may be out already.
        while (code := self._try_record(id, batch, worker, lease_ms, results, next_quarter)) > 1:
            next_quarter = code
        return code == 1

    def _try_record(
        self,
        id: int,
        batch: Batch,
        worker: str,
        lease_ms: int,
        results: Results,
        next_quarter: int,
    ) -> int:
        part = batch.partition
        keys = [part_key(part, id, what) for what in ("batches", "leases", "", "done")]
        keys += [
            bitmap_key(part, "gone"),
            responses_key(part, clock.time()),
            due_key(part),
            wakes_key(part),
            part_key(part, id, "audience"),
        ]
        places: dict[str, int] = {}  # bitmaps by their place in KEYS, counted from 1
        rows: list[dict[str, Any]] = []
        for one, numbers in results.items():
            wakes = max(one.wakes, next_quarter) if one.wakes else 0
            marks = [
                (places.setdefault(key, len(keys) + len(places) + 1), bit, kept)
                for key, bit, kept in _bits(id, part, one, wakes)
            ]
            rows.append(
                {
                    "outcome": one.outcome.value,
                    "service": one.service,
                    "base": one.base,
                    "wakes": wakes,
                    "marks": [{"bitmap": at, "bit": bit, "kept": kept} for at, bit, kept in marks],
                    "tallies": [*one.delivery.tallies, *_tried(one)],
                    "recipients": len(numbers),
                }
            )
        args: list[EncodableT] = [str(batch), worker, lease_ms]
        args += [QUARTER * 1000, GONE_KEPT * 1000, RESPONSES_KEPT, json.dumps(rows)]
        args.append(b"".join(map(pack_numbers, results.values())))
        return cast(int, self._record(keys=[*keys, *places], args=args))

    def forget(self, id: int) -> None:
        """Let the counts of a send expire, once the final report has them."""
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                pipe.expire(part_key(partition, id), CLOSED_SEND_KEPT)
            pipe.execute()

    def progress(self, id: int) -> Progress:
        """Return how far a notification has come, as its partitions have counted."""
        recipients = 0
        outcomes: dict[tuple[Outcome, str], int] = {}
        delivered: dict[int, dict[str, int]] = {}
        tried: dict[str, list[int]] = {}
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                pipe.hgetall(part_key(partition, id))
            rows = cast("list[dict[bytes, bytes]]", pipe.execute())
        for row in rows:
            for field, value in row.items():
                name, space, service = field.decode().partition(" ")
                if space:
                    kind = (Outcome(name), service)
                    outcomes[kind] = outcomes.get(kind, 0) + int(value)
                elif name == "recipients":
                    recipients += int(value)
                elif ":" in name:
                    how, _, alert = name.partition(":")
                    counts = delivered.setdefault(int(alert), {"alone": 0, "together": 0})
                    counts[how] += int(value)
                elif name.startswith(_TRIED):
                    text, _, silent = name.removeprefix(_TRIED).partition("_")
                    tried.setdefault(text, [0, 0])[bool(silent)] += int(value)
        return Progress(
            recipients,
            outcomes,
            {alert: (n["alone"], n["together"]) for alert, n in delivered.items()},
            {text: (heard, silent) for text, (heard, silent) in sorted(tried.items())},
        )

    def finish(self, id: int, state: State, at: float, progress: Progress, history: bytes) -> bool:
        """Make the report final, once every partition is closed; True for the call that did.

        `history` is the replication id from before the partitions were closed. Under another one
        nothing is done, because Redis may have forgotten that they were.
        """
        report: dict[str, Any] = {
            "recipients": progress.recipients,
            "outcomes": [[o.value, service, n] for (o, service), n in progress.outcomes.items()],
        }
        if progress.delivered:
            report["brought"] = [[alert, *counts] for alert, counts in progress.delivered.items()]
        if progress.tried:
            report["tried"] = progress.tried
        keys = [alert_key(id), ACTIVE, *map(alert_key, progress.delivered)]
        args = [id, state.value, repr(at), json.dumps(report), READERS_TEST_KEPT, history]
        args += [count for counts in progress.delivered.values() for count in counts]
        return bool(self._finish(keys=keys, args=args))

    def report(self, id: int) -> Progress | None:
        """Return the final report of a notification, if it is finished."""
        text = cast("bytes | None", self._redis.hget(alert_key(id), "report"))
        return None if text is None else final_progress(text)


def final_progress(report: bytes) -> Progress:
    """Return what a final report says."""
    given = json.loads(report)
    counts = {(Outcome(o), service): n for o, service, n in given["outcomes"]}
    rows = given.get("brought", ())  # only of waves
    delivered = {alert: (alone, together) for alert, alone, together in rows}
    tried = {text: (n, silent) for text, (n, silent) in given.get("tried", {}).items()}
    return Progress(given["recipients"], counts, delivered, tried)


def _tried(result: Result) -> list[str]:
    """Return the field of the send that counts which of two texts was accepted, if there are."""
    return [f"{_TRIED}{result.text}{'_silent' * result.silent}"] if result.text else []


def _bits(id: int, partition: int, result: Result, wakes: int) -> list[tuple[str, int, int]]:
    """Return the bits that a result sets or clears: bitmap, bit, seconds for which it is kept."""
    alerts, held, _ = result.delivery
    accepted = alerts if held else [(id, result.revision)]
    bits = [
        (part_key(partition, one, f"accepted:{revision}"), 1, ACCEPTED_KEPT)
        for one, revision in accepted
        if revision is not None
    ]
    bits += [(held_key(partition, one), 0, HELD_KEPT) for one in held]
    if wakes:
        bits.append((bitmap_key(partition, "wake", wakes), 1, HELD_KEPT))
    if result.in_vain:
        bits.append((bitmap_key(partition, "in_vain"), 1, IN_VAIN_KEPT))
    if result.is_held:
        bits.append((held_key(partition, id), 1, HELD_KEPT))
    return bits
