"""Runs each kind of process as the Redis user that `stoppress redis-users` gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis import Redis

from service.local.redis_users import redis_users

# Options of a Redis in a test. It does not ask for passwords.
USERS = [
    word for user in redis_users() for word in ("--user", user.name, "on", "nopass", *user.rules)
]


def as_users(environment: Mapping[str, str], process: str) -> dict[str, str]:
    """Return settings that lead to the same Redis as the user of this kind of process.

    An address that names a user is left as it is.
    """
    addresses = {
        name: address.replace("://", f"://stoppress-{process}:any@", 1)
        for name, address in environment.items()
        if name in ("REDIS_URL", "STORE_URL") and "@" not in address
    }
    return {**environment, **addresses}


def create_users(admin: Redis) -> None:
    """Make the users at a Redis that was started without them."""
    for user in redis_users():
        admin.execute_command("ACL", "SETUSER", user.name, "on", "nopass", *user.rules)


def refused(admin: Redis) -> list[dict[str, Any]]:
    """Return what Redis has refused to these users, apart from what is only asked.

    redis-py tells its version where it may (`CLIENT SETINFO`), and the doctor asks for `CONFIG`.
    """
    asked = ("client|setinfo", "config|get", "config", "client")
    return [
        entry
        for entry in admin.acl_log()
        if entry["username"].startswith("stoppress-")
        and entry["reason"] != "auth"
        and entry["object"] not in asked
    ]
