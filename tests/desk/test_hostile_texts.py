"""All pages: a text that a person wrote makes no element, and none that is typed is lost."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.model.newsroom.articles import Article, Reading
from service.model.notifications import Action, Audience, Content, Outcome, Topic
from service.model.roles import Role
from service.model.two_texts import SecondText
from service.runtime import Runtime
from tests.support.desk.pages import (
    PASSWORD,
    correct,
    path_of,
    post,
    review,
    send_all,
)
from tests.support.desk.planned import plan

HOSTILE = "\"'><img class=hostile onx=y>{{7*7}}</title></textarea>"
LINK = "https://paper.example/?a='><img/class=hostile>"
OTHER = "otto@paper.example"


class Elements(HTMLParser):
    """The links of a page, and the elements that a text made."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.hostile: list[str] = []
        self.sent = 0  # fields that are typed or chosen, in forms that are sent
        self._sends = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "form":
            self._sends = given.get("method") == "post"
        field = tag in ("input", "textarea", "select") and given.get("type") != "hidden"
        self.sent += field and self._sends
        for name, value in attributes:
            if "hostile" in name or (name, value) == ("class", "hostile") or name == "onx":
                self.hostile.append(f"{tag} {name}")
            if (value or "").strip().lower().startswith("javascript:"):
                self.hostile.append(f"{tag} {value}")
            if name in ("href", "hx-get") and (value or "").startswith("/desk"):
                self.links.add(value.partition("#")[0])

    def handle_endtag(self, tag):
        self._sends = self._sends and tag != "form"


def everything_hostile(app: Flask, runtime: Runtime, editor: FlaskClient) -> set[str]:
    """Write a hostile text wherever one can be written; return addresses that nothing links to."""
    runtime.store.topics.add(Topic("hostile", HOSTILE, HOSTILE))
    everyone = Audience(everyone=True, story="quake")
    content = Content(
        HOSTILE, LINK, HOSTILE, actions=(Action(HOSTILE[:40], LINK),), icon=LINK, image=LINK
    )
    ids = []
    second = SecondText(HOSTILE, HOSTILE, 10, 15)
    two_texts = {"second_text": second}, {"second_text": second, "draft": True}
    for changes in ({}, {"draft": True}, *two_texts):
        published = runtime.publishing.publish(content, everyone, by=HOSTILE, **changes)
        ids.append(published.id)
    send_all(runtime, ids[0], {(Outcome.ACCEPTED, "other"): 40})
    correct(editor, ids[0], title=f"2 {HOSTILE}", body=HOSTILE)
    plan(runtime, 3600, title=HOSTILE, body=HOSTILE)
    runtime.stops.hold(by=HOSTILE)
    runtime.templates.add(HOSTILE, {"title": HOSTILE, "url": LINK, "button1": HOSTILE}, HOSTILE)
    runtime.api_tokens.add(HOSTILE, by=HOSTILE)
    reading = Reading(LINK, 200, article=Article(*[HOSTILE] * 3, section=HOSTILE, language="lv"))
    asked = runtime.articles.ask(LINK)
    runtime.store.articles.ask(asked.id, LINK)
    runtime.store.articles.keep(asked.id, reading.as_json())
    second = app.test_client()  # whose browser says so of itself
    second.environ_base["HTTP_USER_AGENT"] = HOSTILE
    runtime.editors.invite(OTHER, Role.SENDS)
    assert post(second, path_of(runtime.editors.signin_link(OTHER)), password=PASSWORD)
    form = dict.fromkeys(("body", "story", "new_story", "locales", "spread", "ttl", "at"), HOSTILE)
    form |= dict.fromkeys(("title_b", "body_b", "sample", "decide_after"), HOSTILE)
    assert review(editor, **form, title=HOSTILE).status_code in (200, 422)
    return {
        f"/desk/articles/{asked.id}",
        f"/desk/search?q={HOSTILE}",
        f"/desk/log?by={HOSTILE}&action={HOSTILE}&since={HOSTILE}",
        f"/desk/alerts/{ids[0]}/progress",
    }


def test_no_page_of_the_desk_takes_a_text_for_markup_or_loses_a_form(
    app: Flask, runtime: Runtime, editor: FlaskClient, readers: int
) -> None:
    ahead = everything_hostile(app, runtime, editor) | {"/desk/"}
    seen: set[str] = set()
    shown = typed = 0
    while ahead:
        address = ahead.pop()
        seen.add(address)
        page = editor.get(address)
        assert page.status_code < 500, address
        if page.mimetype != "text/html":
            page.close()
            continue
        elements = Elements(page.text)
        assert elements.hostile == [], address
        assert "49</title>" not in page.text
        shown += "&lt;img" in page.text
        # `session.js` then asks to sign in again over the page, and nothing that was typed is lost.
        elements.sent *= not address.startswith("/desk/sign-in")
        typed += bool(elements.sent)
        asks = 'id="sign-in-again"' in page.text and "/session.js" in page.text
        assert asks or not elements.sent, address
        ahead |= elements.links | {page.location or "/desk/"}
        ahead -= seen
        ahead = {one for one in ahead if one.startswith("/desk") and "/static/" not in one}
    assert len(seen) > 25
    assert shown > 15, sorted(seen)
    assert typed > 8, sorted(seen)


@pytest.mark.timeout(30)  # each took minutes, in which the process answered nobody
def test_many_blanks_cost_no_time(editor: FlaskClient, readers: int) -> None:
    assert review(editor, title=" " * 60_000 + "Ferry\r\n \n\raground").status_code == 200
    hook = {"name": "Ghost", "title": "post.title", "url": "post.url", "otherwise": "*"}
    for topics, status in ((" " * 4_999 + "x", 422), ("Politics = " + " " * 4_900 + "world", 303)):
        assert post(editor, "/desk/hooks", **hook, topics=topics).status_code == status
