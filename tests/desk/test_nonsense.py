"""Whatever a program sends to the desk's forms, the answer is never a fault of ours."""

from __future__ import annotations

from urllib.parse import quote_plus

from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from service.model.notifications import Audience, Topic
from service.runtime import Runtime
from tests.support.desk.pages import EMAIL, STORY, token_in
from tests.support.processes.installation import content

GOOD = {
    **{name: value for name, value in STORY.items() if isinstance(value, str)},
    "topic": "world",
    "nonce": "a-nonce-of-some-length",
}
FIELDS = (
    *("nonce", "title", "body", "url", "audience", "topic", "story", "new_story", "kind", "spread"),
    *("when", "at", "local", "zone", "changes", "step", "reached", "email", "password", "origin"),
    *("readers", "subscription", "token", "csrf_token", "title[]", ""),
)
CHOICES = (
    *("", "now", "at", "draft", "edit", "replace", "leave", "everyone", "topics", "breaking"),
    *("world", "2026-11-28T10:00", "9999-12-31T23:59", "0001-01-01T00:00", "2026-13-45T99:99"),
    *(
        "Europe/Riga",
        "+14:00",
        "-99:99",
        "[Europe/Riga]",
        "../../etc/passwd",
        "https://[",
        "https://",
    ),
    *("https://paper.example/\0", "\0", "\ud800", "\udfff\ud800", "{{7*7}}", "1e400", "-1", "0"),
    *("9" * 400, "NaN", "null", "[]", '{"a": 1}', "\N{ARABIC-INDIC DIGIT THREE}", "x" * 5000),
)
# No digits, because a number of readers that may be would start a rehearsal.
TEXTS = st.text(st.characters(exclude_categories=["Nd"]), max_size=20)
VALUES = st.one_of(st.sampled_from(CHOICES), TEXTS)
FORMS = st.lists(st.tuples(st.one_of(st.sampled_from(FIELDS), TEXTS), VALUES), max_size=8)
TYPES = (
    *("application/x-www-form-urlencoded",) * 6,
    *("multipart/form-data; boundary=x", "multipart/form-data", "application/json", "text/\0", ""),
)
KEY = "a-key-of-a-form-1"
IDS = ("{draft}", "{sent}", "0", "9" * 30)


def posts(app: Flask) -> list[str]:
    """The paths of all forms, with names for what differs."""
    rules = [rule for rule in app.url_map.iter_rules() if "POST" in (rule.methods or ())]
    return sorted(one.rule for one in rules if one.endpoint.partition(".")[0] in ("desk", "start"))


def encoded(form: list[tuple[str, str]]) -> bytes:
    """The body as a program may send it that knows nothing of UTF-8."""
    pairs = [[part.encode("utf-8", "surrogatepass") for part in pair] for pair in form]
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs).encode()


def test_no_form_of_the_desk_answers_with_a_fault(
    app: Flask, runtime: Runtime, editor: FlaskClient, stranger: FlaskClient
) -> None:
    runtime.store.topics.add(Topic("storm", "Storm"))
    publish = runtime.publishing.publish
    everyone = Audience(everyone=True)
    known = {
        "draft": publish(content(), everyone, by=EMAIL, draft=True).id,
        "sent": publish(content(), everyone, by=EMAIL).id,
    }
    paths = posts(app)
    assert len(paths) >= 18, "hypothesis chooses among all of them"
    tokens = {
        editor: token_in(editor.get("/desk/").text),
        stranger: token_in(stranger.get("/desk/sign-in").text),
    }

    @given(
        path=st.sampled_from(paths),
        id=st.sampled_from(IDS),
        name=st.sampled_from(("storm", "\0", "%ED%A0%80", "x" * 300)),
        form=FORMS,
        good=st.booleans(),
        has_token=st.sampled_from((True, True, True, True, False)),
        type_=st.sampled_from(TYPES),
        htmx=st.booleans(),
    )
    def post_nonsense(
        path: str,
        id: str,
        name: str,
        form: list[tuple[str, str]],
        good: bool,
        has_token: bool,
        type_: str,
        htmx: bool,
    ) -> None:
        # The editor stays signed in.
        client = stranger if "welcome" in path or "sign" in path else editor
        to = path.replace("<int:id>", id.format(**known))
        to = (
            to.replace("<slug>", quote_plus(name))
            .replace("<token>", quote_plus(name))
            .replace("<key>", KEY)
        )
        given_fields = {**(GOOD if good else {}), **dict(form)}
        fields = [*given_fields.items(), *form]  # some names more than once
        if has_token:
            fields.insert(0, ("csrf_token", tokens[client]))
        headers = {"HX-Request": "true"} if htmx else {}
        answer = client.post(to, data=encoded(fields), content_type=type_, headers=headers)
        assert answer.status_code < 500, (to, fields, answer.text)

    post_nonsense()
