"""Pretend readers, which `stoppress seed` stores for trials: how many there are, to be said so."""

from __future__ import annotations

from dataclasses import dataclass

from service.store import Store


@dataclass(frozen=True, slots=True)
class Mixture:
    """The readers of a store that has pretend ones."""

    pretend: int
    real: int  # who have joined them


class PretendReaders:
    """Whether this installation has pretend readers."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def mixture(self) -> Mixture | None:
        """Return how many readers are pretended and how many real; None if none is pretended."""
        if not self._store.installation.synthetic():
            return None
        all_ = self._store.subscriptions.count()
        pretend = self._store.seeds.count()
        # Those that an earlier release stored cannot be told from real ones by this.
        pretend = all_ if pretend is None else min(pretend, all_)
        return Mixture(pretend, all_ - pretend) if pretend else None
