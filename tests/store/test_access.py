"""What the store keeps of sign-in links, sessions and guesses, on each Redis."""

from __future__ import annotations

import pytest

from service.store import Store
from service.store.access import Session

pytestmark = pytest.mark.redis

EMAIL = "nora@paper.example"


def test_a_link_is_used_once_and_starts_a_session_with_the_new_password(store: Store) -> None:
    access = store.access
    access.add_editor(EMAIL)
    access.keep_sign_in_link("link", EMAIL)
    assert access.sign_in_link("link") == EMAIL
    used = [
        access.use_sign_in_link("link", EMAIL, "hash", f"session {n}", "stamp", first=False)
        for n in range(2)
    ]
    assert used == [True, False]
    assert access.sign_in_link("link") is None
    assert access.password_hash(EMAIL) == "hash"
    assert access.session("session 0", prolong=True) == Session(EMAIL, "stamp")
    assert access.session("session 1", prolong=True) is None


def test_the_first_editors_link_works_only_while_there_is_none(store: Store) -> None:
    access = store.access
    access.keep_sign_in_link("link", "")
    access.add_editor("second@paper.example")
    assert not access.use_sign_in_link("link", EMAIL, "hash", "session", "stamp", first=True)
    assert access.password_hash(EMAIL) is None
    assert access.session("session", prolong=False) is None


def test_a_session_lives_on_while_it_is_used_and_ends_when_it_is_ended(store: Store) -> None:
    access = store.access
    access.start_session("one", EMAIL, "stamp")
    (key,) = store.redis.scan_iter("{g}:session:*")
    store.redis.expire(key, 10)
    assert access.session("one", prolong=False) == Session(EMAIL, "stamp")
    assert store.redis.ttl(key) <= 10
    assert access.session("one", prolong=True) == Session(EMAIL, "stamp")
    assert store.redis.ttl(key) > 10
    access.end_session("one")
    assert access.session("one", prolong=True) is None


def test_guesses_are_counted_for_some_time_and_forgotten_after_success(store: Store) -> None:
    access = store.access
    assert [access.count_guess("code", 60) for _ in range(3)] == [1, 2, 3]
    (key,) = store.redis.scan_iter("{g}:guesses:*")
    assert 0 < store.redis.ttl(key) <= 60
    assert not access.knows_network("network")
    access.note_success("network", ["code"])
    assert access.knows_network("network")
    assert access.count_guess("code", 60) == 1
