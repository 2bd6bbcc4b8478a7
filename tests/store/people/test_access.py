"""What the store keeps of sign-in links, sessions and guesses, on each Redis."""

from __future__ import annotations

import pytest

from service.model.retention import SESSION_IDLE, TWO_STEP_REPEATED
from service.store import Store
from service.store.people.access import Person, Session
from service.store.people.paired_browsers import PairedRow
from service.store.people.two_step import Begun, TwoStepRow

pytestmark = pytest.mark.redis

EMAIL = "nora@paper.example"


def of_session(session: Session | None) -> tuple[str, str] | None:
    return session and (session.email, session.stamp)


def test_a_link_is_used_once_and_starts_a_session_with_the_new_password(store: Store) -> None:
    access = store.access
    access.add_editor(EMAIL)
    access.keep_sign_in_link("link", EMAIL)
    assert access.sign_in_link("link") == EMAIL
    used = [
        access.use_sign_in_link("link", Session(EMAIL, "stamp", digest=f"session {n}"), "hash")
        for n in range(2)
    ]
    assert used == [True, False]
    assert access.sign_in_link("link") is None
    assert access.password_hash(EMAIL) == "hash"
    assert of_session(access.session("session 0", prolong=True)) == (EMAIL, "stamp")
    assert access.session("session 1", prolong=True) is None


def test_the_first_editors_link_works_only_while_there_is_none(store: Store) -> None:
    access = store.access
    access.keep_sign_in_link("link", "")
    access.add_editor("second@paper.example")
    session = Session(EMAIL, "stamp", digest="session")
    assert not access.use_sign_in_link("link", session, "hash", Person())
    assert access.password_hash(EMAIL) is None
    assert access.session("session", prolong=False) is None


def test_a_session_lives_on_while_it_is_used_and_ends_when_it_is_ended(store: Store) -> None:
    access = store.access
    access.add_editor(EMAIL)
    access.start_session(Session(EMAIL, "stamp", browser="Firefox", digest="one"))
    (key,) = store.redis.scan_iter("{g}:session:*")
    store.redis.expire(key, 10)
    assert of_session(access.session("one", prolong=False)) == (EMAIL, "stamp")
    assert store.redis.ttl(key) <= 10
    assert of_session(access.session("one", prolong=True)) == (EMAIL, "stamp")
    assert store.redis.ttl(key) > 10
    access.end_sessions(["one"])
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


def test_the_sessions_of_an_editor_are_listed_by_their_last_visit(store: Store) -> None:
    access = store.access
    for email in (EMAIL, "tom@paper.example"):
        access.add_editor(email)
        for n in range(2):
            digest = f"{email} {n}"
            access.start_session(Session(email, "stamp", browser="Firefox", digest=digest))
    store.redis.zadd(f"{{g}}:sessions:{EMAIL}", {f"{EMAIL} 1": 1000})
    found = access.sessions([EMAIL])
    assert [(one.digest, one.browser) for one in found] == [
        (f"{EMAIL} 0", "Firefox"),
        (f"{EMAIL} 1", "Firefox"),
    ]
    assert found[1].seen_at == 1000
    access.session(f"{EMAIL} 1", prolong=True)
    assert access.sessions([EMAIL])[1].seen_at > 1000
    access.end_sessions([f"{EMAIL} 0"])
    assert [one.digest for one in access.sessions([EMAIL])] == [f"{EMAIL} 1"]
    assert len(access.sessions([EMAIL, "tom@paper.example"])) == 3
    assert 0 < store.redis.ttl(f"{{g}}:sessions:{EMAIL}") <= SESSION_IDLE


def test_a_session_of_an_earlier_release_is_listed_from_its_next_visit_on(store: Store) -> None:
    access = store.access
    access.add_editor(EMAIL)
    access.start_session(Session(EMAIL, "stamp", digest="old"))
    store.redis.delete(f"{{g}}:sessions:{EMAIL}")
    row = store.redis.get("{g}:session:old") or b""
    store.redis.set("{g}:session:old", row.replace(b'"browser":"",', b""), keepttl=True)
    assert access.sessions([EMAIL]) == []
    assert access.session("old", prolong=True)
    assert [one.digest for one in access.sessions([EMAIL])] == ["old"]


def test_the_first_editor_manages_and_those_of_an_earlier_release_do(store: Store) -> None:
    access = store.access
    assert access.add_editor(EMAIL, person=Person("writes", 1, "x"))
    assert access.add_editor("tom@paper.example", person=Person("writes", 2, EMAIL))
    assert not access.add_editor("tom@paper.example", person=Person("manages"))
    store.redis.hset("{g}:editors", "old@paper.example", "a hash")
    assert access.find(EMAIL) == ("", Person("manages", 1, "x"))
    assert access.find("tom@paper.example") == ("", Person("writes", 2, EMAIL))
    assert access.find("old@paper.example") == ("a hash", Person("manages"))


def test_the_last_who_manages_is_neither_removed_nor_given_another_role(store: Store) -> None:
    access = store.access
    access.add_editor(EMAIL, "hash")
    access.add_editor("tom@paper.example", "hash", Person("sends"))
    assert access.set_role(EMAIL, "sends") == "last"
    assert access.remove_editor(EMAIL) == "last"
    assert access.set_role("nobody@paper.example", "sends") == "unknown"
    assert access.set_role("tom@paper.example", "manages") == "done"
    assert access.set_role(EMAIL, "sends") == "done"
    assert access.remove_editor("tom@paper.example") == "last"
    assert access.remove_editor(EMAIL) == "done"
    assert access.remove_editor(EMAIL) == "unknown"
    assert store.redis.hkeys("{g}:people") == [b"tom@paper.example"]


def test_an_editor_who_was_removed_meanwhile_gets_no_link_and_begins_no_session(
    store: Store,
) -> None:
    access = store.access
    before = {*store.redis.scan_iter()}
    assert not access.keep_sign_in_link("link", EMAIL)
    assert not access.start_session(Session(EMAIL, "stamp", digest="one"))
    assert {*store.redis.scan_iter()} == before
    access.add_editor(EMAIL)
    assert access.start_session(Session(EMAIL, "stamp", digest="one"))


def test_a_removal_leaves_nothing_of_an_editor_also_when_it_is_repeated(store: Store) -> None:
    access, paired = store.access, store.paired_browsers
    access.add_editor("tom@paper.example", "hash")
    for known in (True, False):
        access.add_editor(EMAIL)
        access.start_session(Session(EMAIL, "stamp", digest="one"))
        access.keep_sign_in_link("link", EMAIL)
        store.two_step.begin(EMAIL, Begun("sealed", "codes"))
        paired.begin("code", EMAIL)
        paired.claim("code", PairedRow("0:1", "stamp", "Firefox"))
        pairing = paired.pairing("code")
        assert pairing
        row = PairedRow("0:1", "stamp", "Firefox", EMAIL)
        assert paired.confirm("code", pairing, row, 5) == "paired"
        if not known:  # as a release that was cut off in the middle left it
            store.redis.hdel("{g}:editors", EMAIL)
        done = access.remove_editor(EMAIL, paired.keys_of(EMAIL))
        assert done == ("done" if known else "unknown")
        left = {*store.redis.scan_iter()} - {b"{g}:layout"}
        assert left == {b"{g}:editors", b"{g}:people"}


def test_who_has_never_signed_in_does_not_stand_in_for_the_last_who_manages(store: Store) -> None:
    access = store.access
    access.add_editor(EMAIL, "hash")
    access.add_editor("invited@paper.example")
    assert access.remove_editor(EMAIL) == "last"
    assert access.remove_editor("invited@paper.example") == "done"


def test_the_use_of_a_token_is_noted_and_forgotten_with_the_token(store: Store) -> None:
    access = store.access
    access.add_token("one", "CMS", ["send"], 1.0)
    access.note_use("one", 100)
    access.note_use("another", 100)
    assert access.tokens_used() == {"one": 100}
    assert access.remove_token("one")
    access.note_use("one", 200)
    assert access.tokens_used() == {}


def test_each_code_of_two_step_sign_in_counts_once(store: Store) -> None:
    rows = store.two_step
    assert not rows.use_code(EMAIL, 7, "sealed")
    first = TwoStepRow("sealed", 7, ("a", "b"))
    assert not rows.add(EMAIL, first), "nothing was begun"
    rows.begin(EMAIL, Begun("sealed", "codes"))
    assert rows.begun(EMAIL) == Begun("sealed", "codes")
    assert not rows.add(EMAIL, first), "there is no such editor"
    store.access.add_editor(EMAIL)
    assert not rows.add(EMAIL, first._replace(secret="another"))
    assert rows.emails() == set()
    assert [rows.add(EMAIL, first) for _ in range(2)] == [True, True]
    assert not rows.add(EMAIL, first._replace(step=8)), "only the code that switched it on"
    assert rows.find(EMAIL) == first
    assert 0 < store.redis.ttl(f"{{g}}:two_step:{EMAIL}") <= TWO_STEP_REPEATED
    assert [rows.use_code(EMAIL, step, "anew") for step in (6, 7, 8, 8)] == [
        *(False, False, True, False)
    ]
    assert [rows.use_recovery_code(EMAIL, one, "anew") for one in ("a", "a", "x", "b", "b")] == [
        *(True, False, False, True, False)
    ]
    assert rows.find(EMAIL) == TwoStepRow("anew", 8, ())
    assert rows.use_code(EMAIL, 9, "anew"), "the app counts without recovery codes too"
    assert not rows.add(EMAIL, first), "another code was entered since"
    rows.remove(EMAIL)
    assert (rows.find(EMAIL), rows.begun(EMAIL)) == (None, None)
