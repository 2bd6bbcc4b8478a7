"""The pages of webhooks and of publish hooks: set up, shown once, tested, ended."""

from __future__ import annotations

import html
import re
from dataclasses import replace

from flask.testing import FlaskClient

from service.model.newsroom.webhooks import Answer, Health, Waiting
from service.runtime import Runtime
from tests.support.desk.pages import EMAIL, NASTY, Page, post, seen, words

HOOKS, WEBHOOKS = "/desk/hooks", "/desk/webhooks"
ADDRESS = "https://cms.paper.example/hook"
FORM = {
    "name": "Ghost",
    "signature": "header",
    "header": "X-Ghost-Signature",
    "title": "post.title",
    "url": "post.url",
    "topics": "Politics = world\r\n\r\n",
    "otherwise": "*",
    "draft": "no",
}


def secret_on(editor: FlaskClient, page: str) -> str:
    found = re.search(r'value="(whsec_[^"]+)" readonly', editor.get(page).text)
    assert found, "the page shows no secret"
    return html.unescape(found[1])


def test_a_webhook_is_added_tested_changed_and_removed(
    editor: FlaskClient, runtime: Runtime
) -> None:
    answer = post(editor, WEBHOOKS, address="cms.paper.example/hook", event=["alert.sent"])
    assert (answer.status_code, answer.location) == (303, WEBHOOKS)
    secret = secret_on(editor, WEBHOOKS)
    assert secret not in html.unescape(editor.get(WEBHOOKS).text)
    (one,) = runtime.webhooks.all()
    id = one.webhook.id
    assert (one.webhook.address, one.webhook.created_by) == (ADDRESS, EMAIL)
    post(editor, f"{WEBHOOKS}/{id}/test", page=WEBHOOKS)
    shown = words(editor.get(WEBHOOKS).text)
    assert "1 event waits" in shown
    assert "Nothing is sent, because no fetch process runs." in shown
    post(editor, f"{WEBHOOKS}/{id}/pause", page=WEBHOOKS, paused="yes")
    assert "Paused." in words(editor.get(WEBHOOKS).text)
    post(editor, f"{WEBHOOKS}/{id}/rotate", page=WEBHOOKS)
    assert secret_on(editor, WEBHOOKS) != secret
    post(editor, f"{WEBHOOKS}/{id}", page=WEBHOOKS, address=f"{ADDRESS}/2", event="readers.left")
    assert runtime.webhooks.get(id).webhook.events == ("readers.left",)
    for _ in range(2):
        assert post(editor, f"{WEBHOOKS}/{id}/remove", page=WEBHOOKS).status_code == 303
    assert runtime.webhooks.all() == []


def test_what_another_editor_has_removed_is_not_found(
    editor: FlaskClient, runtime: Runtime
) -> None:
    id = "0123456789abcdef"
    for path, form in (
        (f"{WEBHOOKS}/{id}", {"event": "alert.sent", "address": ADDRESS}),
        *((f"{WEBHOOKS}/{id}/{what}", {}) for what in ("pause", "test", "rotate")),
        (f"{HOOKS}/{id}", FORM),
        (f"{HOOKS}/{id}/secret", {}),
    ):
        answer = post(editor, path, page=WEBHOOKS, **form)
        assert (answer.status_code, "Page not found" in answer.text) == (404, True), path


def test_what_another_editor_has_changed_is_not_overwritten_unseen(
    editor: FlaskClient, runtime: Runtime
) -> None:
    id = runtime.webhooks.add(ADDRESS, ["alert.sent"], by=EMAIL)[0].id
    opened_at = seen(editor.get(WEBHOOKS).text)
    runtime.webhooks.change(id, address=f"{ADDRESS}/new")
    path, form = f"{WEBHOOKS}/{id}", {"page": WEBHOOKS, "address": ADDRESS}
    faulty = post(editor, path, **form, seen=opened_at)
    assert (faulty.status_code, seen(faulty.text)) == (422, opened_at)
    form["event"] = "alert.finished"
    refused = post(editor, path, **form, seen=opened_at)
    Page(refused.text)
    assert refused.status_code == 409
    assert "Another editor has changed this webhook since" in words(refused.text)
    assert runtime.webhooks.get(id).webhook.address == f"{ADDRESS}/new"
    for _ in range(2):  # a double click
        answer = post(editor, path, **form, seen=seen(refused.text))
        assert answer.status_code == 303
    assert runtime.webhooks.get(id).webhook.address == ADDRESS

    post(editor, HOOKS, **FORM)
    ((one, _),) = runtime.publish_hooks.all()
    opened_at = seen(editor.get(HOOKS).text)
    runtime.publish_hooks.change(one.id, lambda before: replace(before, lang="de"))
    path, changed = f"{HOOKS}/{one.id}", {**FORM, "draft": "yes"}
    refused = post(editor, path, page=HOOKS, **changed, seen=opened_at)
    Page(refused.text)
    assert refused.status_code == 409
    assert "Another editor has changed this publish hook since" in words(refused.text)
    assert runtime.publish_hooks.get(one.id).lang == "de"
    for _ in range(2):
        answer = post(editor, path, page=HOOKS, **changed, seen=seen(refused.text))
        assert answer.status_code == 303
    assert runtime.publish_hooks.get(one.id) == replace(one, draft=True)


def test_a_form_with_a_mistake_keeps_what_was_typed(editor: FlaskClient, runtime: Runtime) -> None:
    for address, event in ((NASTY, "alert.sent"), (ADDRESS, "nonsense"), ("http://a.example/", "")):
        answer = post(editor, WEBHOOKS, address=address, event=event)
        assert answer.status_code == 422
        assert f'value="{address}"' in html.unescape(answer.text)
    assert runtime.webhooks.all() == []


def test_the_desk_says_that_a_webhook_has_ended_and_lets_it_go_on(
    editor: FlaskClient, runtime: Runtime
) -> None:
    made, _ = runtime.webhooks.add(ADDRESS, ["alert.sent"], by=EMAIL)
    event = Waiting("msg_1", "alert.sent", "{}")
    health, _ = Health().after(event, Answer(410), 1_790_000_000)
    assert "Nothing is sent any more" not in editor.get("/desk/").text
    runtime.store.webhooks.put_health(made.id, health)
    assert f"Nothing is sent any more to {ADDRESS}." in words(editor.get("/desk/").text)
    shown = words(editor.get(WEBHOOKS).text)
    assert "The program answered 410" in shown
    assert "It wants no more (410)" in shown
    post(editor, f"{WEBHOOKS}/{made.id}/pause", page=WEBHOOKS, paused="no")
    assert runtime.webhooks.get(made.id).status == "active"


def test_a_publish_hook_is_added_changed_and_removed(editor: FlaskClient, runtime: Runtime) -> None:
    answer = post(editor, HOOKS, **FORM)
    assert (answer.status_code, answer.location) == (303, HOOKS)
    secret = secret_on(editor, HOOKS)
    shown = editor.get(HOOKS).text
    assert secret not in html.unescape(shown)
    ((one, _),) = runtime.publish_hooks.all()
    assert f"/api/v1/hooks/{one.id}" in shown
    assert (one.header, one.topics, one.otherwise) == (FORM["header"], {"politics": "world"}, "*")
    assert (one.draft, one.created_by) == (False, EMAIL)
    runtime.publish_hooks.note(one.id, 422, f"title: {NASTY}")
    assert NASTY not in editor.get(HOOKS).text
    post(editor, f"{HOOKS}/{one.id}", page=HOOKS, **{**FORM, "draft": "yes", "lang": "pt-br"})
    changed = runtime.publish_hooks.get(one.id)
    assert (changed.draft, changed.lang, changed.secret) == (True, "pt-BR", one.secret)
    post(editor, f"{HOOKS}/{one.id}/secret", page=HOOKS)
    assert secret_on(editor, HOOKS) != secret
    for _ in range(2):
        assert post(editor, f"{HOOKS}/{one.id}/remove", page=HOOKS).status_code == 303
    assert runtime.publish_hooks.all() == []


def test_a_hook_with_a_mistake_is_not_added(editor: FlaskClient, runtime: Runtime) -> None:
    for wrong, says in (
        ({"name": ""}, "Give it a name"),
        ({"header": ""}, "Say in which header"),
        ({"title": ""}, "Say where it is"),
        ({"topics": "Politics = nowhere"}, "“Politics = nowhere” is not"),
        ({"topics": "Politics"}, "“Politics” is not"),
        ({"otherwise": "nowhere"}, "Choose one"),
        ({"lang": "English"}, "Must be a language"),
        ({"secret": "short"}, "at least 16 characters"),
    ):
        answer = post(editor, HOOKS, **{**FORM, **wrong})
        assert answer.status_code == 422
        assert says in words(answer.text), wrong
    assert runtime.publish_hooks.all() == []
