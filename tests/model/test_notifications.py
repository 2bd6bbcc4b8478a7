"""What is stored of an alert, read again by this release and by the one before."""

from __future__ import annotations

from service.model.notifications import Action, Content

ALERT = Content(
    title="Late news",
    url="https://paper.example/story",
    actions=(Action("Live", "https://paper.example/live"),),
)


def test_what_is_stored_of_an_alert_is_read_again() -> None:
    assert Content.from_json(ALERT.as_json()) == ALERT


def test_a_newer_releases_alert_is_read_without_the_fields_that_only_it_knows() -> None:
    stored = ALERT.as_json()
    newer = {**stored, "sound": "bell", "actions": [{**stored["actions"][0], "icon": "/live.png"}]}
    assert Content.from_json(newer) == ALERT
