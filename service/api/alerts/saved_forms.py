"""An alert as the desk's form keeps it, and as the API takes it: one from the other, and back.

What an editor typed is kept as it is, so a saved form may be half filled in, or wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from service.model.language.slugs import slug_of
from service.model.notifications import DEFAULT_TTL, Audience, Content
from service.model.two_texts import SecondText

Form = Mapping[str, Any]  # by the names of `service.desk.writing.forms.Form`

# The choices of how long to spread an alert: what the form sends, and the minutes.
SPREADS: dict[str, int | None] = {"": None, "10": 10, "30": 30, "60": 60, "120": 120}


def alert_of(form: Form) -> dict[str, Any]:
    """Return a form's alert as the API takes it, without its time; unchecked."""
    spread = form.get("spread", "")
    return {
        **{name: form.get(name, "") for name in ("title", "body", "url")},
        "kind": form.get("kind", "news"),
        "ttl": number(form["ttl"]) if form.get("ttl") else None,
        "urgency": form.get("urgency", "high"),
        **{name: form.get(name) or None for name in ("lang", "icon", "badge", "image")},
        "actions": buttons_of(form),
        "spread_minutes": SPREADS.get(spread, spread),
        "second_text": _second_text_of(form) if has_second_text(form) else None,
        "audience": audience_of(form),
        "story": story_of(form) or None,
    }


def audience_of(form: Form) -> dict[str, Any]:
    """Return who gets a form's alert as the API takes it; unchecked."""
    several = {
        name: list(form.get(name, ()))
        for name in ("topics", "exclude", "all_topics", "not_reached_by", "clicked")
    }
    days = form.get("new_within_days")
    named = not (several["all_topics"] or form.get("followers_of"))  # else no topic is needed
    topics = {"topics": several["topics"]} if several["topics"] or named else {}
    return {
        **({"everyone": True} if form.get("audience") == "everyone" else topics),
        "exclude": several["exclude"],
        "locales": words(form.get("locales", "")),
        "all_topics": several["all_topics"] or None,
        "followers_of": form.get("followers_of") or None,
        "new_within_days": number(days) if days else None,
        "not_reached_by": several["not_reached_by"],
        "clicked": several["clicked"],
    }


def buttons_of(form: Form) -> list[dict[str, str]]:
    """Return a form's buttons as the API takes them."""
    pairs = [(form.get(f"button{n}", ""), form.get(f"button{n}_url", "")) for n in (1, 2)]
    return [{"title": title, "url": url} for title, url in pairs if title or url]


def story_of(form: Form) -> str:
    """Return the slug of a form's story, running or new; may be empty."""
    new = form.get("new_story", "")
    # A name of which nothing is left stays, so that it is complained of.
    return slug_of(new) or new or form.get("story", "")


def has_second_text(form: Form) -> bool:
    """Whether two texts are to be tried: title B is typed, or a text B other than text A."""
    body = form.get("body_b", "")
    return bool(form.get("title_b") or (body and body != form.get("body", "")))


def _second_text_of(form: Form) -> dict[str, Any]:
    return {
        "title": form.get("title_b", ""),
        "body": form.get("body_b", ""),
        "sample_percent": number(form.get("sample", "10")),
        "decide_after_minutes": number(form.get("decide_after", "15")),
    }


def fields_of(
    content: Content, audience: Audience, second: SecondText | None, spread_minutes: int
) -> dict[str, Any]:
    """Return the fields of the form that describes an alert, without its time."""
    buttons = [(action.title, action.url) for action in content.actions] + [("", ""), ("", "")]
    return {
        **{name: getattr(content, name) for name in ("title", "body", "url", "kind", "urgency")},
        **{name: getattr(content, name) or "" for name in ("lang", "icon", "badge", "image")},
        "ttl": "" if content.ttl == DEFAULT_TTL[content.kind] else str(content.ttl),
        **{f"button{n}": title for n, (title, _) in enumerate(buttons[:2], 1)},
        **{f"button{n}_url": url for n, (_, url) in enumerate(buttons[:2], 1)},
        **_fields_of_second(second),
        "spread": str(spread_minutes or ""),
        **fields_of_audience(audience),
        "story": audience.story,
    }


def fields_of_audience(audience: Audience) -> dict[str, Any]:
    """Return the fields of the form that say who gets an alert: what a saved audience keeps."""
    return {
        "audience": "everyone" if audience.everyone else "topics",
        **{name: getattr(audience, name) for name in ("topics", "exclude", "all_topics")},
        "locales": " ".join(audience.locales),
        "followers_of": audience.followers_of,
        "new_within_days": str(audience.new_within_days or ""),
        "not_reached_by": tuple(map(str, audience.not_reached_by)),
        "clicked": tuple(map(str, audience.clicked)),
    }


def _fields_of_second(second: SecondText | None) -> dict[str, Any]:
    if second is None:
        return {}
    return {
        "title_b": second.title,
        "body_b": second.body,
        "sample": str(second.sample_percent),
        "decide_after": str(second.decide_after_minutes),
    }


def number(text: str) -> int | str:
    """Return typed digits as a number; other text unchanged, which the API then refuses."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else text


def words(text: str) -> list[str]:
    """Return the words of a field that has spaces or commas between them."""
    return re.findall(r"[^\s,;]+", text)
