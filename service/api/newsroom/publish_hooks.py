"""The call of a CMS that cannot call the API as such: a story was published (decision 107)."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from flask import Blueprint, request
from pydantic import Field
from werkzeug.exceptions import RequestEntityTooLarge

from service.api.alerts import alerts_shown, references
from service.api.alerts.notification_requests import NewNotification
from service.api.calls import call
from service.api.fields import Invalid, ResponseModel, read_fields
from service.api.json_bodies import read_json
from service.api.problems import FieldError, Problem
from service.api.rate_limits import per_address
from service.api.responses import WarningShown
from service.current import runtime
from service.domain.alerts.requests import Conflict, PlanWithdrawn, Published
from service.domain.newsroom.publish_hooks import NotSigned, Signed
from service.model.alert_log import ToolName
from service.model.language.links import web_address
from service.model.newsroom.articles import LONGEST_TEXT
from service.model.newsroom.publish_hooks import EVERYONE, PublishHook
from service.model.notifications import State
from service.model.payload import shortened

bp = Blueprint("hooks", __name__, url_prefix="/hooks")

_DONE = {
    State.DRAFT: "A draft of an alert is kept.",
    State.SCHEDULED: "An alert is scheduled.",
    State.SENDING: "An alert is being sent.",
}
_CHANGED = "The draft was changed."
# A CMS sends the whole story, often with its text in two forms. A worker process takes as much.
_LARGEST = 1 << 20  # bytes
_TOO_LARGE = "The call is larger than 1 MB. Leave the full text out of it."
_TAKEN = "This text of the story was taken before, so nothing was done."
_NO_TOPIC = "The story’s section has no topic, so nothing was done."
_BEFORE = "This story was alerted before, so nothing was done."
_DELETED = "An editor has deleted this story’s alert, so nothing was done."
# What a field of an alert is called in a hook, where that is another name.
_NAMES = {"image": "picture", "body": "text", "url": "link", "reference": "story"}


class HookTaken(ResponseModel):
    """What was done with a story; `id` is that of its alert, null if it has none.

    `warnings` says what became of its texts, as in the response to a new alert.
    """

    id: str | None
    detail: str
    warnings: list[WarningShown] = Field(default=[])


@bp.post("/<hook>")
@call(
    gives={202: HookTaken},
    rates=(per_address(120, "hooks"),),
    problems=(400, 401, 404, 413, 422),
)
def take_story(hook: str) -> HookTaken:
    """Take a story from a CMS whose call is signed; the desk says how, and what its document has.

    A story is alerted once. The same call within ten minutes gets the same answer.
    """
    hooks = runtime().publish_hooks
    one = hooks.get(hook)
    request.max_content_length = _LARGEST
    try:
        body = request.get_data()
    except RequestEntityTooLarge:
        hooks.note(one.id, 413, _TOO_LARGE)
        raise
    try:
        signed = hooks.check(one, {name.lower(): v for name, v in request.headers}, body)
    except NotSigned as error:
        hooks.note(one.id, 401, str(error))
        raise Problem(401, str(error), headers={"WWW-Authenticate": "Signature"}) from None
    if (before := hooks.answered(signed.digest)) is not None:
        return HookTaken(**before)
    try:
        taken = _taken(one, signed, body)
    except Problem as problem:
        errors = " ".join(f"{_name(field)}: {detail}" for field, detail in problem.errors)
        hooks.note(one.id, problem.code or 422, errors or problem.description or "")
        raise
    hooks.keep_answer(signed.digest, taken.model_dump(exclude_unset=True))
    lines = [taken.detail, *(f"{_name(row.field)}: {row.detail}" for row in taken.warnings)]
    hooks.note(one.id, 202, " ".join(lines), int(taken.id or 0))
    return taken


def _name(field: str) -> str:
    return _NAMES.get(field, field)


def _taken(hook: PublishHook, signed: Signed, body: bytes) -> HookTaken:
    document = read_json(body)
    given = {name: hook.text(name, document) for name in ("title", "url", "body", "image")}
    _check_present(hook, given)
    topics = hook.topics_of(document) or [hook.otherwise] * bool(hook.otherwise)
    if not topics:
        return HookTaken(id=None, detail=_NO_TOPIC)
    picture = web_address(given["image"], given["url"]) if given["image"] else ""
    everyone = topics == [EVERYONE]
    fields: dict[str, object] = {
        **given,
        "body": shortened(given["body"], LONGEST_TEXT),
        "image": picture if picture.startswith("https:") else None,  # browsers load no other
        "audience": {"everyone": True} if everyone else {"topics": topics},
        "draft": hook.draft,
        "lang": hook.lang or None,
    }
    requested = read_fields(NewNotification, fields, runtime())
    story = hook.text("story", document) or given["url"]
    if (alert := runtime().publish_hooks.taken(hook, signed, story)) is not None:
        return HookTaken(id=str(alert), detail=_TAKEN)
    taken = _published(hook, sha256(story.encode()).hexdigest(), requested)
    if taken.id is not None:
        runtime().publish_hooks.note_taken(hook, signed, story, int(taken.id))
    return taken


def _published(hook: PublishHook, reference: str, requested: NewNotification) -> HookTaken:
    by, caller = ToolName.of(hook.name, hook.created_by), f"hook {hook.id}"
    try:
        before = references.known(runtime(), reference, caller)
        done: Published = references.publish_as(runtime(), reference, requested, caller, by)
    except Conflict as conflict:
        return HookTaken(id=str(conflict.id), detail=_BEFORE)
    except PlanWithdrawn:
        return HookTaken(id=None, detail=_DELETED)
    detail = _DONE.get(done.state, _BEFORE)
    if done.state is State.DRAFT and before not in (None, *runtime().publishing.all([done.id])):
        detail = _CHANGED
    warnings = alerts_shown.warnings(tuple(dict.fromkeys((*requested.warnings(), *done.warnings))))
    given = {"warnings": warnings} if warnings else {}
    return HookTaken(id=str(done.id), detail=detail, **given)


def _check_present(hook: PublishHook, given: Mapping[str, str]) -> None:
    missing = [name for name in ("title", "url") if not given[name]]
    if missing:
        raise Invalid(
            [FieldError(name, f"There is no text at {hook.paths[name]}.") for name in missing]
        )
