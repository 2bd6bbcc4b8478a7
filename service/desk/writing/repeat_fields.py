"""The fields of an alert's form that say how it repeats."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from service.model.time.repeats import MOST_LISTED, Digest, Repeat

# Fields with several values, each with the name under which the form sends them.
SEVERAL = {"weekdays": "weekday", "digest_topics": "digest_topic"}

_NO_DAY = "Tick at least one day."
_NO_TIME = "An alert repeats from a day and a time on: choose “At”, or untick the days."
_NO_ZONE = "Your browser does not say in which time zone it is, so that the alert cannot repeat."
_NO_NUMBER = f"Write how many titles in digits: 1 to {MOST_LISTED}."
_TWO_TEXTS = "Two texts cannot be tried where the text is made of other alerts. Empty title B."


@dataclass(frozen=True, slots=True)
class RepeatFields:
    """The fields, as an editor typed them."""

    weekdays: tuple[str, ...] = ()  # on which it repeats
    digest: str = ""  # "yes": its text is made of the alerts since the last one
    digest_most: str = str(Digest().most)  # titles
    digest_topics: tuple[str, ...] = ()  # whose alerts; empty: of all topics
    makes_drafts: str = ""  # "yes": each time it becomes a draft

    def repeat_as_json(self) -> dict[str, Any] | None:
        """Return the repetition as the API accepts it."""
        if not (self.weekdays or self.digest or self.makes_drafts):
            return None
        most = self.digest_most
        digest = {
            "most": int(most) if re.fullmatch("[0-9]{1,9}", most) else most,
            "topics": list(self.digest_topics),
        }
        return {
            "weekdays": list(self.weekdays),
            "digest": digest if self.digest else None,
            "makes_drafts": bool(self.makes_drafts),
        }

    def complaint_of_repeat(
        self, words: str, *, has_time: bool, has_zone: bool, has_second_text: bool
    ) -> str:
        """Say what is wrong with the repetition; `words` are the API's."""
        most = self.digest_most
        if not self.weekdays:
            return _NO_DAY
        if not has_time:
            return _NO_TIME
        if self.digest and not (re.fullmatch("[0-9]{1,2}", most) and 1 <= int(most) <= MOST_LISTED):
            return _NO_NUMBER
        if self.digest and has_second_text:
            return _TWO_TEXTS
        return words if has_zone else _NO_ZONE


# Those of an alert that does not repeat.
NONE = asdict(RepeatFields())


def fields_of(repeat: Repeat | None) -> dict[str, Any]:
    """Return the fields for a repetition."""
    if repeat is None:
        return {}
    given = NONE | {"weekdays": repeat.weekdays, "makes_drafts": _tick(repeat.makes_drafts)}
    if (digest := repeat.digest) is not None:
        given |= {"digest": "yes", "digest_most": str(digest.most), "digest_topics": digest.topics}
    return given


def _tick(is_ticked: bool) -> str:
    return "yes" if is_ticked else ""
