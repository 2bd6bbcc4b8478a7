"""Requests of browsers that subscribe, as the store takes them."""

from __future__ import annotations

import hashlib

from service.model.network.endpoints import EndpointPolicy
from service.model.subscriptions import SubscriptionRequest

KEY = "the public half of a VAPID key"


def requested(name: object, keys: int = 0, **preferences: object) -> SubscriptionRequest:
    """The request of the browser `name` with its nth pair of keys."""
    url = f"https://fcm.googleapis.com/fcm/send/{name}"
    p256dh = b"\x04" + hashlib.sha512(f"{name} {keys}".encode()).digest()
    auth = hashlib.md5(f"{name} {keys}".encode()).digest()
    return SubscriptionRequest(EndpointPolicy().parse(url), p256dh, auth, KEY, **preferences)  # type: ignore[arg-type]
