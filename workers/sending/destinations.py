"""The bases of endpoints, where messages go: each with its push service."""

from __future__ import annotations

from dataclasses import dataclass

from service.model.network.endpoints import EndpointPolicy, origin_of
from service.model.operations.canary import CANARY, PATH
from service.store.layout.names import Names
from workers.sending.health import Health
from workers.sending.push_service import Service


@dataclass(frozen=True, slots=True)
class Base:
    """What the endpoints of many subscriptions begin with."""

    number: int  # in the store
    origin: str
    path: str
    allowed: bool  # by PUSH_SERVICES
    service: Service  # the push service there


class Bases(dict[int, Base]):
    """The bases by their number in the store, from which each is read when first needed."""

    def __init__(self, names: Names, endpoints: EndpointPolicy, health: Health) -> None:
        super().__init__()
        self._names = names
        self._endpoints = endpoints
        self._health = health

    def __missing__(self, number: int) -> Base:
        """Read a base from the store; 0 is that of the canary, which the store does not have."""
        if not number:
            own = self._endpoints.own
            service = self._health.of(own, CANARY)
            base = self[number] = Base(number, own, PATH, bool(own), service)
            return base
        url = self._names.bases.name(number)
        origin = origin_of(url)
        endpoints = self._endpoints
        service = self._health.of(origin, endpoints.service(origin), endpoints.wildcard_of(origin))
        allowed = self._endpoints.allows(origin)
        base = self[number] = Base(number, origin, url[len(origin) :], allowed, service)
        return base
