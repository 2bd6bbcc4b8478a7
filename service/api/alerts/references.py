"""Publishing and changing alerts that were checked, also by the caller's own id (decision 104)."""

from __future__ import annotations

import dataclasses
from contextlib import suppress

from service.api.alerts.notification_requests import CheckedAlert, NewNotification
from service.api.fields import Invalid
from service.domain.alerts.requests import (
    ChangedMeanwhile,
    Conflict,
    Idempotency,
    PlanWithdrawn,
    Published,
    UnknownNotification,
)
from service.model.alert_log import ToolName
from service.model.notifications import Notification
from service.model.retention import REFERENCE_KEPT
from service.runtime import Runtime


def publish(
    runtime: Runtime, checked: CheckedAlert, idempotency: Idempotency | None, by: str
) -> Published:
    """Publish an alert that was checked."""
    return runtime.publishing.publish(
        checked.content,
        checked.audience,
        by=by,
        idempotency=idempotency,
        warnings=checked.warnings,
        once_per_link=checked.once_per_link,
        **checked.plan,
    )


def change(runtime: Runtime, before: Notification, checked: CheckedAlert, by: str) -> Published:
    """Change a planned alert into one that was checked."""
    return runtime.publishing.change(
        before,
        checked.content,
        checked.audience,
        by=by,
        once_per_link=checked.once_per_link,
        **checked.plan,
    )


def publish_as(
    runtime: Runtime, reference: str, requested: NewNotification, caller: str, by: ToolName
) -> Published:
    """Publish what a caller knows by its own reference; change it if it is planned already.

    `Conflict` if the alert of this reference was sent, and another one. Of two calls at once the
    second one changes what the first has stored.
    """
    try:
        while True:
            with suppress(ChangedMeanwhile):
                return _published_as(runtime, reference, requested, caller, by)
    except UnknownNotification:  # deleted since it was looked up
        raise PlanWithdrawn from None


def _published_as(
    runtime: Runtime, reference: str, requested: NewNotification, caller: str, by: ToolName
) -> Published:
    key = _key(reference, caller)
    earlier = runtime.publishing.responses.earlier(key)
    sent = None if earlier is None else runtime.publishing.get(earlier.id)
    try:
        checked = requested.accepted(runtime)
    except Invalid:  # such as a time that has passed, when the alert was sent
        if sent is None or sent.planned:
            raise
        raise _sent_as(reference, sent.id) from None
    earlier = earlier or publish(runtime, checked, key, by)
    before = runtime.publishing.get(earlier.id)
    if checked.describes(before):
        return dataclasses.replace(earlier, state=before.state)
    if not before.planned:
        raise _sent_as(reference, before.id)
    return change(runtime, before, checked, by)


def known(runtime: Runtime, reference: str, caller: str) -> Notification | None:
    """Return the alert of a reference, if there is one."""
    earlier = runtime.publishing.responses.earlier(_key(reference, caller))
    return next(iter(runtime.publishing.all([earlier.id] if earlier else [])), None)


def _key(reference: str, caller: str) -> Idempotency:
    # A header has no space in it. The body does not matter.
    return Idempotency(caller, f"reference {reference}", b"", REFERENCE_KEPT)


def _sent_as(reference: str, id: int) -> Conflict:
    detail = f"The reference “{reference}” is that of alert {id}, which was sent: correct that one."
    return Conflict(id, detail)
