"""One message by pywebpush, which shares no code with our engine: shows where a fault is."""

from __future__ import annotations

from functools import partial

import requests
from pywebpush import WebPushException, webpush

from service.cli.doctor.findings import Finding, fail, ok, warn
from service.cli.doctor.session import Session
from service.model.keys import VapidKey, b64url
from service.model.language.graphemes import cut
from service.model.notifications import Audience, Content, Notification, State
from service.model.payload import Payload
from service.model.subscriptions import Subscription, SubscriptionId
from service.model.time import clock
from service.runtime import Runtime
from service.store.readers.subscriptions import NotSubscribed

_SIGNED_FOR = 12 * 3600  # seconds; RFC 8292 section 2 allows a day
_ANSWER = 10.0  # seconds that a push service has to answer


def send_one(runtime: Runtime, id: str) -> Finding:
    """Send one message by pywebpush to subscription `id`."""
    what = "pywebpush"
    if runtime.stops.current():
        return warn(what, "Nothing is sent, because everything is stopped.")
    try:
        subscription = runtime.subscriptions.get(id)
    except NotSubscribed:
        return fail(
            what,
            "There is no such subscription. To see a browser's id, enter StopPress.state().id in"
            " its console on a page of the site.",
        )
    whose = runtime.endpoints.service(subscription.endpoint.origin)
    name = subscription.endpoint.origin if whose == "other" else whose.title()
    key = next((k for k in runtime.keys.vapid if b64url(k.public) == subscription.vapid_key), None)
    if key is None or not runtime.endpoints.allows(subscription.endpoint.origin):
        return fail(
            what, f"We may not send to {name}, or not with the keys set here: check PUSH_SERVICES."
        )
    try:
        status = _send(runtime, subscription, key)
    except WebPushException as error:
        return fail(what, _refused(name, error, subscription.endpoint.url))
    except requests.RequestException as error:
        why = type(error).__name__
        return fail(what, f"{name} cannot be reached from here ({why}): check the network.")
    return ok(
        what,
        f"{name} accepted the message ({status}), so keys and subject are right. If that browser"
        " gets no alerts all the same, the fault is in Stop Press.",
    )


def _send(runtime: Runtime, subscription: Subscription, key: VapidKey) -> int:
    """Send by pywebpush and return the status of the response; raises its exceptions."""
    origin = subscription.endpoint.origin
    with Session(partial(runtime.endpoints.may_connect, origin)) as session:
        session.trust_env = False  # our own settings say which certificates and proxy to use
        if proxy := runtime.config.proxy_to(origin):
            session.proxies = {"http": proxy, "https": proxy}
        if runtime.config.push_ca_bundle:
            session.verify = str(runtime.config.push_ca_bundle)
        response = webpush(
            subscription_info={
                "endpoint": subscription.endpoint.url,
                "keys": {"p256dh": b64url(subscription.p256dh), "auth": b64url(subscription.auth)},
            },
            data=_test_message(runtime, subscription.id).decode(),
            vapid_private_key=key.text,
            # By the time that workers sign with, not by this host's.
            vapid_claims={
                "sub": runtime.config.vapid_contact,
                "exp": int(clock.time()) + _SIGNED_FOR,
            },
            ttl=60,
            headers={"Urgency": "high"},
            timeout=_ANSWER,
            requests_session=session,
        )
        return int(response.status_code)


def _test_message(runtime: Runtime, id: SubscriptionId) -> bytes:
    config = runtime.config
    content = Content(
        title=f"A test of {config.site_name}",
        body="Sent by stoppress doctor.",
        url=config.site_origins[0] if config.site_origins else config.public_url,
        lang="en",
    )
    one = Notification(
        id=0,  # no alert has this id, so its receipt is not counted
        content=content,
        audience=Audience(subscription=id),
        state=State.SENDING,
        created_at=clock.time(),
        created_by="doctor",
    )
    return Payload(one, config.public_url, config.opened_links).carrying(
        runtime.tokens.receipt(0, id)
    )


def _refused(name: str, error: WebPushException, endpoint: str) -> str:
    """Quote a push service's response without the endpoint, which is a secret."""
    status, response = error.status_code, error.response
    if status in (404, 410):
        return f"{name} says that this browser is gone ({status}): subscribe it again."
    quote = " ".join((response.text if response is not None else "").split())
    quote = quote.replace(endpoint, "…").replace(endpoint.rpartition("/")[2], "…")
    quote = cut(quote, 200)
    todo = "the fault is in keys, subject or time, not in how we send"
    if status == 429 or (status or 0) >= 500:
        todo = "the fault is in the push service; try again later"
    return f"{name} answers {status}: {todo}.{quote and f' It says: {quote}'}"
