"""Lua scripts that fail as on a cluster's node whose slot is on its way to another node.

Such a node has a key or sends callers to the other node, in the midst of a script as well. So a
script may not touch a key again that it has emptied: it would end there, half done.
"""

from __future__ import annotations

import pytest
from redis.commands.core import Script, ScriptCommands

_STRICT = """
local was_there, theirs, redis = {}, redis, {}
for name, value in pairs(theirs) do redis[name] = value end
for _, key in ipairs(KEYS) do was_there[key] = theirs.call('EXISTS', key) == 1 end
local function strictly(call)
  return function(...)
    for i, word in ipairs({...}) do
      if i > 1 and was_there[word] == 'emptied' then error('touches again: ' .. word) end
    end
    local answer = call(...)
    for i, word in ipairs({...}) do
      if i > 1 and was_there[word] == true and theirs.call('EXISTS', word) == 0 then
        was_there[word] = 'emptied'
      end
    end
    return answer
  end
end
redis.call, redis.pcall = strictly(theirs.call), strictly(theirs.pcall)
""".replace("\n", " ")  # one line, so that errors name the lines of the scripts


def strict(script: str) -> str:
    """Return a script as a strict one."""
    return _STRICT + script


def be_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all scripts that are registered from now on be strict."""
    register = ScriptCommands.register_script

    def register_strictly(client: ScriptCommands, script: str) -> Script:
        return register(client, strict(script))

    monkeypatch.setattr(ScriptCommands, "register_script", register_strictly)
