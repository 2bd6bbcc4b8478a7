"""The canary's push service: where a worker's message to it arrives (RFC 8030, section 5).

The address cannot be guessed, and only who has `SECRET_KEY` can encrypt what it takes.
"""

from __future__ import annotations

from flask import Blueprint, Response, abort, request

from service.api import rate_limits
from service.api.rate_limits import per_address
from service.current import runtime
from service.domain.operations.canary import MOST_BYTES, NotOurs

bp = Blueprint("canary", __name__)

_RATE = per_address(60)


@bp.post("/canary/<token>")
def take(token: str) -> Response:
    """Note that an alert of our own arrived; 404 for anything else."""
    rate_limits.check(_RATE)
    try:
        runtime().canary.take(token, request.stream.read(MOST_BYTES + 1))
    except NotOurs:
        abort(404)
    return Response(status=201)
