"""What the folded parts of the form of an alert are set to, in words."""

from __future__ import annotations

from dataclasses import replace

from babel.lists import format_list

from service.api.alerts.notification_requests import document_size
from service.current import runtime
from service.desk.times import wall_time
from service.desk.words import each_of, number, plural, plural_days, topic_names
from service.desk.writing.forms import Form
from service.model.notifications import DEFAULT_TTL, ENCRYPTION, MAX_PLAINTEXT
from service.model.payload import LARGE
from service.model.time.repeats import each_day
from service.model.time.spans import span

_TELLING = 2000  # bytes of a message from which on its size is worth a sentence


def fold_words(form: Form) -> dict[str, str]:
    """Return, for each folded part, what it is set to."""
    return {
        "story": _story(form),
        "exceptions": _exceptions(form),
        "extras": _extras(form),
        "settings": _settings(form),
        "second-text": _second_text(form),
        "when": _when(form),
    }


def size_words(form: Form) -> str:
    """Say how large a large message is, encrypted (RFC 8188), and who cannot take it as it is."""
    content = form.content()
    texts = [content, replace(content, title=form.title_b, body=form.body_b)]
    size = max(document_size(one, form.story_slug, runtime()) for one in texts)
    words = f"The message has {number(size + ENCRYPTION)} bytes"
    if size > MAX_PLAINTEXT:
        return f"{words}: too long to be pushed, by {number(size - MAX_PLAINTEXT)}."
    if size > LARGE:
        return f"{words}: Firefox on Android gets it without picture and buttons, and shorter."
    if size + ENCRYPTION >= _TELLING:
        limit = number(LARGE + ENCRYPTION)
        return f"{words}. Above {limit}, Firefox on Android gets it without picture and buttons."
    return ""


def _story(form: Form) -> str:
    if form.new_story:
        return f"starts “{form.story_slug}”"
    return form.story or "none"


def _exceptions(form: Form) -> str:
    topics, parts = runtime().topics.named(), []
    if form.all_topics:
        parts.append(f"followers of {each_of(form.all_topics, topics)}")
    if form.exclude:
        parts.append(f"not followers of {topic_names(form.exclude, topics)}")
    if form.locales:
        parts.append(f"only readers of {form.locales}")
    if form.followers_of:
        parts.append(f"followers of the story {form.followers_of}")
    if form.new_within_days:
        days = "? days" if form.days_are_wrong else plural_days(int(form.new_within_days))
        parts.append(f"subscribed in the last {days}")
    for ids, words in ((form.not_reached_by, "did not get"), (form.clicked, "clicked")):
        if ids:
            parts.append(f"{words} {plural(len(ids), 'an alert', f'{len(ids)} alerts')}")
    return ", ".join(parts) or "not narrowed"


def _extras(form: Form) -> str:
    named = {"picture": form.image, "icon": form.icon, "badge": form.badge}
    parts = [name for name, value in named.items() if value]
    buttons = [one for one in (form.button1, form.button2) if one]
    parts += [f"“{button}”" for button in buttons]
    return format_list(parts, locale="en") if parts else "none"


def _second_text(form: Form) -> str:
    if not form.has_second_text:
        return "one text"
    if not form.title_b:
        return "title B is missing"
    return f"“{form.title_b}” on {form.sample} %, for {form.decide_after} minutes"


def _settings(form: Form) -> str:
    usual = DEFAULT_TTL.get(form.kind, DEFAULT_TTL["news"])
    seconds = int(form.ttl) if form.ttl.isdecimal() and len(form.ttl) < 10 else usual
    parts = [f"good for {span(seconds)}"]
    if form.urgency != "high":
        parts.append(f"urgency {form.urgency}")
    if form.lang:
        parts.append(f"language {form.lang}")
    return ", ".join(parts)


def _when(form: Form) -> str:
    if form.when == "draft":
        return "not yet, save it as a draft"
    spread = f", spread over {form.spread} minutes" if form.spread else ""
    if form.when != "at":
        return f"now{spread}"
    try:
        day = wall_time(form.at)
    except ValueError:
        day = "no time chosen"
    zone = "each reader’s own time" if form.local else form.zone
    repeat = f", {each_day(form.weekdays)}" if form.weekdays else ""
    return f"{day}, {zone}{repeat}{spread}"
