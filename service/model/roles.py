"""What an editor may do at the desk."""

from __future__ import annotations

from enum import IntEnum


class Role(IntEnum):
    """A role; each may do what those before it may do."""

    WRITES = 1  # drafts, which reach no reader
    SENDS = 2  # all that concerns alerts and stories
    MANAGES = 3  # also people and API tokens

    @property
    def word(self) -> str:
        """The word by which the store, the command line and the pages call it."""
        return self.name.lower()

    @classmethod
    def called(cls, word: str) -> Role:
        """Return the role with this word; an unknown one, of a later release, is the least."""
        return ROLES.get(word, cls.WRITES)


ROLES = {role.word: role for role in Role}
