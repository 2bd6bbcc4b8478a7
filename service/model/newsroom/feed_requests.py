"""What a fetch process is asked to do for a feed, and its answer.

The clock writes the one and a fetch process the other. That process parses what strangers write, so
each value of its answer is checked when it is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from service.model.newsroom.feeds import FeedReading
from service.model.stored import Stored


@dataclass(frozen=True, slots=True)
class FeedRequest(Stored):
    """An address to read if it has changed; or, with `hub`, a subscription to ask a hub for."""

    address: str  # of the feed; with `hub`, the topic that the hub knows it by
    etag: str = ""
    modified: str = ""
    digest: str = ""  # of the bytes that were read last
    hub: str = ""  # its address
    named_by: str = ""  # the address of the feed that names the hub
    callback: str = ""  # ours, which the hub calls
    lease: int = 0  # seconds; 0: end the subscription

    @classmethod
    def from_json(cls, text: str) -> FeedRequest:
        """Read what is stored; `ValueError` for what another release wrote."""
        document = json.loads(text)
        if document.pop("version", None) != cls.VERSION:
            raise ValueError("another version")
        return cls(**document)


@dataclass(frozen=True, slots=True)
class FeedAnswer(Stored):
    """What came of reading a feed."""

    reading: FeedReading
    digest: str = ""  # of its bytes
    wait: int = 0  # seconds for which the server asks us not to come again; 0: it does not say

    def as_json(self) -> str:
        """Return it as it is stored."""
        kept = {"reading": self.reading.as_json(), "digest": self.digest, "wait": self.wait}
        return json.dumps({"version": self.VERSION, **kept})

    @classmethod
    def from_json(cls, text: str) -> FeedAnswer:
        """Read what is stored; `ValueError` for anything else."""
        try:
            document = json.loads(text)
            reading, digest, wait = (document[name] for name in ("reading", "digest", "wait"))
            fits = isinstance(reading, str) and isinstance(digest, str) and type(wait) is int
            if document["version"] != cls.VERSION or not fits:
                raise ValueError("no answer")
            return cls(FeedReading.from_json(reading), digest, wait)
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError("no answer") from error
