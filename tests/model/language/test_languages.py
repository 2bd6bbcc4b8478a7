"""Language and direction of an alert, by which browsers read it out and show it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from service.model.language.languages import language_tag, right_to_left
from service.model.notifications import MAX_PLAINTEXT, Audience, Notification, State
from service.model.payload import Payload, combined
from tests.support.client import API, Client, browser, make_app
from tests.support.processes.installation import content

NOTIFICATIONS = f"{API}/notifications"
NEWS = {
    "title": "BBC: العبّارة عائمة",
    "url": "https://paper.example/ferry",
    "audience": {"everyone": True},
}


@pytest.fixture
def client(redis_url: str) -> Client:
    return Client(make_app(redis_url, SITE_LANGUAGE="ar-eg"))


def shown(one: Notification) -> dict[str, Any]:
    """What a browser is to show."""
    document = json.loads(Payload(one, "https://push.example").carrying("r" * 22))
    found: dict[str, Any] = document["notification"]
    return found


def publish(client: Client, **more: Any) -> Notification:
    answer = client.call("POST", NOTIFICATIONS, NEWS | more, token=client.add_token())
    assert answer.status_code == 202, answer.text
    return client.runtime.publishing.get(int(answer.json["id"]))


def test_alert_has_the_sites_language_and_its_direction(client: Client) -> None:
    document = shown(publish(client))
    assert (document["lang"], document["dir"]) == ("ar-EG", "rtl")


def test_alert_may_name_a_language_of_its_own(client: Client) -> None:
    document = shown(publish(client, lang="fr-ca"))
    assert (document["lang"], document["dir"]) == ("fr-CA", "auto")


def test_alert_has_no_language_without_the_setting(redis_url: str) -> None:
    client = Client(make_app(redis_url))
    document = shown(publish(client))
    assert "lang" not in document
    assert document["dir"] == "auto"


def test_draft_keeps_its_language_and_a_correction_takes_it_over(client: Client) -> None:
    token = client.add_token()
    draft = publish(client, lang="fr", draft=True)
    answer = client.call("PATCH", f"{NOTIFICATIONS}/{draft.id}", {"title": "À flot"}, token=token)
    assert answer.status_code == 200
    desk = client.runtime.publishing
    assert desk.get(draft.id).content.lang == "fr"
    desk.send(draft.id, by="a test")
    correction = client.runtime.corrections.correct(
        draft.id, title="Échoué", body=None, url=None, replace=False, by="a test"
    )
    assert desk.get(correction.id).content.lang == "fr"
    shown_again = client.call("GET", f"{NOTIFICATIONS}/{draft.id}", token=token).json
    assert shown_again["lang"] == "fr"


def test_alert_stored_without_a_language_has_none() -> None:
    document = content().as_json()
    del document["lang"]
    assert type(content()).from_json(document) == content()


def test_readers_test_has_the_language_of_its_words(client: Client) -> None:
    for number, (locale, lang) in enumerate({"de-AT": "de", "lv": "en"}.items()):
        answer = client.call(
            "POST", f"{API}/subscriptions", {"subscription": browser(number), "locale": locale}
        )
        where = f"{API}/subscriptions/{answer.json['id']}/test"
        assert client.call("POST", where, token=answer.json["token"]).status_code == 202
        newest = max(client.runtime.store.notifications.active())
        document = shown(client.runtime.publishing.get(newest))
        assert (document["lang"], document["dir"]) == (lang, "auto")


def test_combined_alerts_have_the_language_of_their_headlines() -> None:
    one = Notification(1, content(lang="he"), Audience(everyone=True), State.SENT, 0.0, "a test")
    wave = replace(one, id=3, content=content("While you slept"), audience=Audience(waking=1))
    made = combined(wave, [one, replace(one, id=2)], "en", "https://push.example")
    document = json.loads(made.carrying("r" * 22))["notification"]
    assert (document["lang"], document["dir"]) == ("he", "rtl")


@pytest.mark.parametrize(
    "one", ["🇱🇻", "👩‍👩‍👧‍👦", "👍🏽", "e\u0301\u0323", "नि", "\u1112\u1161\u11ab"]
)
def test_a_long_headline_of_the_night_is_cut_between_characters(one: str) -> None:
    alert = Notification(1, content(one * 100), Audience(everyone=True), State.SENT, 0.0, "a test")
    wave = replace(alert, id=3, content=content("While you slept"), audience=Audience(waking=1))
    made = combined(wave, [alert, replace(alert, id=2)], "en", "https://push.example")
    document = json.loads(made.carrying("r" * 22))["notification"]
    for line in document["body"].split("\n"):
        assert line.endswith("…")
        assert len(line) <= 120
        assert line[:-1] == one * (len(line[:-1]) // len(one))


def test_language_counts_against_the_size_of_an_alert(client: Client) -> None:
    def over(**more: Any) -> str:
        document = NEWS | {"icon": f"https://paper.example/{'i' * 1900}", "body": "x" * 990} | more
        document["image"] = f"https://paper.example/{'i' * 1300}"
        answer = client.call("POST", NOTIFICATIONS, document, token=client.add_token())
        assert answer.status_code == 422
        detail: str = answer.json["errors"][0]["detail"]
        return detail.split(" bytes")[0].removeprefix("The alert is ")

    # "ar-EG" runs from right to left, "rtl" is a letter shorter than "auto".
    longer = int(over(lang="sr-Latn-RS-x-paper")) - int(over())
    assert longer == len("sr-Latn-RS-x-paper") + len("auto") - len("ar-EG") - len("rtl")
    assert len(json.dumps(shown(publish(client)))) < MAX_PLAINTEXT


@pytest.mark.parametrize("lang", ["", "English", "e", "en_GB", "x" * 40, 7, "en-"])
def test_text_that_is_no_language_is_refused_with_its_field(client: Client, lang: object) -> None:
    answer = client.call("POST", NOTIFICATIONS, NEWS | {"lang": lang}, token=client.add_token())
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "lang")


@pytest.mark.parametrize(
    ("tag", "usual"),
    [("EN", "en"), ("pt-br", "pt-BR"), ("zh-hant-tw", "zh-Hant-TW"), ("de-x-AB", "de-x-ab")],
)
def test_language_tag_is_kept_in_its_usual_spelling(tag: str, usual: str) -> None:
    assert language_tag(tag) == usual


@pytest.mark.parametrize(
    ("tag", "rtl"),
    [
        ("ar", True),
        ("he-IL", True),
        ("az-Arab", True),
        ("sd", True),
        ("sd-Deva-IN", False),
        ("yi-Latn", False),
        ("en-1994", False),
        ("de", False),
        ("arn", False),
    ],
)
def test_language_is_written_from_right_to_left_or_not(tag: str, rtl: bool) -> None:
    assert right_to_left(tag) is rtl
