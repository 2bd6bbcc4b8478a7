"""How Lua scripts are read and run, and the parts that several of them share.

No script touches a key again that it has emptied. While a slot of a cluster is on its way to
another node, the node that it leaves refuses that, and the script ends half done (decision 83).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from redis import Redis
from redis.commands.core import Script
from redis.exceptions import NoScriptError

from service.store.redis_servers.connection import NotMaster

Call: TypeAlias = "tuple[Sequence[str], Sequence[Any]]"  # keys and arguments of a script

# For scripts that need the time: `now`, in ms.
NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# KEYS: counter. ARGV: seconds. Returns how often it was counted since the first of them. The first
# write allocates.
COUNT = """
local times = redis.call('INCR', KEYS[1])
if times == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return times
"""

# Stores a result, unless what was asked for has ended. KEYS: what was asked for. ARGV: field,
# result, seconds for which both are kept. The first write frees.
KEEP_RESULT = """
if redis.call('EXISTS', KEYS[1]) == 0 then return end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""

# KEYS: hash. ARGV: field, its value as it was read, and as it shall be. Returns 0 if it is another
# by now. The first write overwrites.
REPLACE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""


@cache
def lua(module: str, name: str) -> str:
    """Return the script in `<name>.lua` beside a module, which gives its `__file__`."""
    return Path(module).with_name(f"{name}.lua").read_text(encoding="utf-8")


def answers(redis: Redis, script: Script, calls: Sequence[Call]) -> list[Any]:
    """Run a script once for each partition, in one round trip; an answer may be an exception.

    The calls are no transaction. Those that found the script missing are repeated, no other.
    """
    found = _send(redis, script, calls)
    missing = [at for at, answer in enumerate(found) if isinstance(answer, NoScriptError)]
    if missing:
        redis.script_load(script.script)
        again = _send(redis, script, [calls[at] for at in missing])
        for at, answer in zip(missing, again, strict=True):
            found[at] = answer
    return found


def run_each(redis: Redis, script: Script, calls: Sequence[Call]) -> list[Any]:
    """Run a script once for each partition, in one round trip; `RedisError` if one fails."""
    found = answers(redis, script, calls)
    for answer in found:
        if isinstance(answer, Exception):
            raise answer
    return found


def _send(redis: Redis, script: Script, calls: Sequence[Call]) -> list[Any]:
    with redis.pipeline(transaction=False) as pipe:
        for keys, args in calls:
            pipe.evalsha(script.sha, len(keys), *keys, *args)
        try:
            return pipe.execute(raise_on_error=False)
        except NotMaster as error:  # it ends the connection, and with it the other calls
            return [error] * len(calls)
