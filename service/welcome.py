"""The welcome: an alert to who has just subscribed, which can also confirm that they have."""

from __future__ import annotations

from contextlib import suppress

from redis.exceptions import RedisError

from service.config import CONFIRM, WELCOME
from service.endpoints import origin_of
from service.languages import GREETING, PRESS, TEST, ours
from service.models import Audience, Content
from service.publishing import Idempotency
from service.runtime import Runtime
from service.store.records import Subscription
from service.store.subscriptions import NotSubscribed

_TTL = 600  # seconds: who has just said yes is there
# Alerts under way beside which none is begun: each look at what is to be sent goes through all, and
# a push service that is down would make the welcomes of its readers pile up before breaking news.
_MOST_UNDER_WAY = 100


def greet(house: Runtime, reader: Subscription, *, new: bool) -> None:
    """Send a welcome to a reader who is new, or has yet to confirm: at most one a day.

    Where nobody has to confirm any more, whoever had to is confirmed. What keeps a welcome from
    being sent does not undo the subscription: who has yet to confirm is sent one on another visit.
    """
    waits, wanted = not reader.choice.confirmed, house.config.welcome
    with suppress(RedisError):
        if waits and wanted != CONFIRM:
            with suppress(NotSubscribed):
                house.store.subscriptions.confirm(reader.id)
        elif waits or (new and wanted == WELCOME):
            _send(house, reader)


def _send(house: Runtime, reader: Subscription) -> None:
    if len(house.store.notifications.active()) >= _MOST_UNDER_WAY:
        return
    once = Idempotency("welcome", str(reader.id), b"")
    only = Audience(subscription=reader.id)
    house.publishing.publish(_content(house, reader), only, by="", idempotency=once)


def _content(house: Runtime, reader: Subscription) -> Content:
    config, lang = house.config, ours(reader.locale)
    own = config.welcome_title or config.welcome_body
    words, url = TEST[lang][1], config.front_page
    if not reader.choice.confirmed:
        # The page that opens reports the press itself: Safari does not, nor a worker that is to
        # count nothing. The token is that of no alert, so that nothing is counted by it.
        token = house.tokens.receipt(0, reader.id)
        url += f"#stop-press=welcome&receipt={token}"
        silent = house.endpoints.service(origin_of(reader.endpoint.url)) == "apple"
        if silent or not reader.choice.receipts:
            words = PRESS[lang]
    return Content(
        title=config.welcome_title or GREETING[lang],
        body=config.welcome_body or words.format(config.site_name),
        url=url,
        ttl=_TTL,
        lang=(config.site_language or None) if own else lang,
    )
