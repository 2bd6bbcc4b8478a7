"""A notification as it is stored: the document that its writers change, and what became of it.

Documents of earlier releases are read as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast

from service.model.notifications import (
    Audience,
    Content,
    Mends,
    Notification,
    Request,
    SendAt,
    State,
)
from service.model.stored import known_fields
from service.model.time.repeats import Repeat
from service.model.two_texts import Decision, SecondText

# Of the hash of a notification: the document first, then what became of it.
FIELDS = (
    *("doc", "state", "started_at", "finished_at", "revision", "corrected", "corrections"),
    *("missed", "changes", "waves", "decision", "withheld"),
)


def document_of(notification: Notification) -> str:
    """Return what is stored of a notification when it is written."""
    return json.dumps(
        {
            "content": notification.content.as_json(),
            "audience": notification.audience.as_stored(),
            "story": notification.story,
            "spread_minutes": notification.spread_minutes,
            **_send_at_as_json(notification.send_at),
            "corrects": notification.corrects,
            "reporting": notification.reporting,
            "created_at": notification.created_at,
            "created_by": notification.created_by,
            "authors": notification.authors,
            "request": asdict(notification.request) if notification.request else None,
            "approved_by": notification.approved_by,
            **({"request_id": id} if (id := notification.request_id) else {}),
            **({"trace": trace} if (trace := notification.trace) else {}),
            **({"second_text": asdict(other)} if (other := notification.second_text) else {}),
            **({"link_parameters": own} if (own := notification.link_parameters) else {}),
            **({"repeat": repeat.as_json()} if (repeat := notification.repeat) else {}),
            **({"mends": asdict(mends)} if (mends := notification.mends) else {}),
            **({"was_ready": asdict(ready)} if (ready := notification.was_ready) else {}),
        }
    )


def notification_of(id: int, row: Sequence[bytes | None]) -> Notification:
    """Return the notification of which `row` has the `FIELDS`."""
    doc, state, started_at, finished_at, revision, corrected, corrections = row[:7]
    missed, changes, waves, decision, withheld = row[7:]
    document = json.loads(cast(bytes, doc))
    other, repeat = document.get("second_text"), document.get("repeat")
    return Notification(
        id=id,
        content=Content.from_json(document["content"]),
        audience=Audience.from_json(document["audience"] | {"story": document["story"]}),
        state=State(cast(bytes, state).decode()),
        created_at=document["created_at"],
        created_by=document["created_by"],
        started_at=float(started_at) if started_at else None,
        finished_at=float(finished_at) if finished_at else None,
        spread_minutes=document["spread_minutes"],
        send_at=_send_at(document),
        missed=bool(missed),
        changes=int(changes or 0),
        corrects=document["corrects"],
        revision=int(revision or 0),
        corrected=Content.from_json(json.loads(corrected)) if corrected else None,
        corrections=tuple(json.loads(corrections)) if corrections else (),
        reporting=document["reporting"],
        waves=tuple((id, alone, together) for id, alone, together in json.loads(waves or b"[]")),
        # A stored alert of an earlier release has none of these.
        authors=tuple(document.get("authors", [document["created_by"]])),
        request=_request(document.get("request")),
        was_ready=_request(document.get("was_ready")),
        approved_by=document.get("approved_by", ""),
        request_id=document.get("request_id", ""),
        trace=document.get("trace", ""),
        second_text=SecondText(**known_fields(SecondText, other)) if other else None,
        decision=Decision.from_json(json.loads(decision)) if decision else None,
        withheld=bool(withheld),
        repeat=Repeat.from_json(repeat) if repeat else None,
        link_parameters=document.get("link_parameters", ""),
        mends=_mends(document.get("mends")),
        digest=hashlib.sha1(cast(bytes, doc), usedforsecurity=False).hexdigest(),
    )


def _send_at_as_json(send_at: SendAt | None) -> dict[str, Any]:
    """Return a time as it is stored; the release before `sent_at` reads only the other fields."""
    if send_at is None:
        return {"send_at": None}
    document = asdict(send_at)
    return {"sent_at": document.pop("sent_at"), "send_at": document}


def _send_at(document: dict[str, Any]) -> SendAt | None:
    """Read what `_send_at_as_json` wrote."""
    if not document["send_at"]:
        return None
    # The release of 29 November kept `sent_at` in the document of the time itself.
    return SendAt(
        **{"sent_at": document.get("sent_at"), **known_fields(SendAt, document["send_at"])}
    )


def _request(document: dict[str, Any] | None) -> Request | None:
    return Request(**known_fields(Request, document)) if document else None


def _mends(document: dict[str, Any] | None) -> Mends | None:
    if document is None:
        return None
    known = known_fields(Mends, document)
    return Mends(**known | {"paused": tuple(known.get("paused", ()))})
