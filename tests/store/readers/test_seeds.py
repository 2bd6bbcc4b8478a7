"""Pretend readers: valid, the same every time, and never among real readers."""

from __future__ import annotations

import pytest
from click.testing import Result

from service.domain.operations.pretend_readers import Mixture
from service.local import pretend_readers
from service.model.notifications import Audience
from service.model.subscriptions import SubscriptionId
from service.store import Store, connect
from service.store.layout.records import digest_of
from tests.support.command import stoppress
from tests.support.processes.installation import TOPICS, Installation
from tests.support.requested import requested


def seed(installation: Installation, *arguments: str) -> Result:
    """Run `stoppress seed` in this installation."""
    return stoppress(installation.environment, "seed", *arguments)


@pytest.mark.usefixtures("one_partition")
def test_pretend_readers_are_found_by_endpoint_and_follow_the_topics(
    installation: Installation,
) -> None:
    done = seed(installation, "5000", "--origin", installation.push.origin)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("5,000 pretend readers stored in ")
    store = installation.runtime.store
    subscriptions = store.subscriptions
    assert subscriptions.count() == 5000
    assert installation.runtime.publishing.reach(Audience(topics=TOPICS)) == 5000
    for number in (0, 255, 256, 4095, 4096, 4999):
        reader = subscriptions.get(SubscriptionId(0, number))
        assert reader.endpoint.url == installation.push.origin + pretend_readers.path(number)
        assert (reader.p256dh, reader.auth) == pretend_readers.keys(number)
        digest = digest_of(reader.endpoint.url)
        entry = store.redis.hget(store.partitions.index_key(0, digest), digest[2:])
        assert entry == str(number).encode()
    # A second seeding continues the numbers of the first.
    done = seed(installation, "7")
    assert done.exit_code == 0
    assert "Nothing listens there by itself; to see alerts go out, use" in done.stdout
    assert subscriptions.count() == 5007


def test_pretend_readers_are_never_mixed_with_real_readers(installation: Installation) -> None:
    real = requested("a-real-reader")._replace(vapid_key=installation.runtime.keys.current)
    installation.runtime.store.subscriptions.subscribe(real)
    keys = sorted(installation.runtime.store.redis.keys())
    done = seed(installation, "10")
    assert done.exit_code == 1
    assert "this store has real readers" in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(installation.runtime.store.redis.keys()) == keys
    assert installation.runtime.store.subscriptions.count() == 1


@pytest.mark.parametrize(
    "origin", ["https//a.example", "https://a.example/path", "ftp://a.example"]
)
def test_wrong_origin_is_refused_with_a_reason(installation: Installation, origin: str) -> None:
    done = seed(installation, "10", "--origin", origin)
    assert done.exit_code == 2
    assert "must be an origin such as" in done.stderr
    assert installation.runtime.store.subscriptions.count() == 0


def test_pretend_readers_at_a_real_push_service_are_refused(installation: Installation) -> None:
    done = seed(installation, "10", "--origin", "https://fcm.googleapis.com")
    assert done.exit_code == 2
    assert "is a real push service" in done.stderr
    assert installation.runtime.store.subscriptions.count() == 0


def test_reader_who_subscribes_between_two_seedings_loses_no_bit(
    installation: Installation,
) -> None:
    assert seed(installation, "5").exit_code == 0
    chosen = frozenset({"breaking"})
    between = requested("x", topics=chosen)._replace(vapid_key=installation.runtime.keys.current)
    reader, _ = installation.runtime.store.subscriptions.subscribe(between)
    assert seed(installation, "10").exit_code == 0
    assert installation.runtime.store.subscriptions.get(reader.id).topics == chosen
    assert installation.runtime.store.subscriptions.count() == 16


def test_pretend_readers_are_in_the_partitions_of_their_endpoints(redis_url: str) -> None:
    redis = connect(redis_url)
    store = Store(redis, 3)
    list(
        pretend_readers.seed(
            store, 1000, origins=["https://127.0.0.1:8443"], vapid_key="k", topics=()
        )
    )
    assert store.subscriptions.count() == 1000
    for partition in store.partitions:
        reader = store.subscriptions.get(SubscriptionId(partition, 5))
        assert store.partitions.of(digest_of(reader.endpoint.url)) == partition


def test_pretend_readers_are_removed_and_real_ones_who_joined_them_stay(
    installation: Installation,
) -> None:
    store, pretend = installation.runtime.store, installation.runtime.pretend_readers
    assert pretend.mixture() is None
    for number in ("300", "200"):
        assert seed(installation, number, "--origin", installation.push.origin).exit_code == 0
    chosen = frozenset({"breaking"})
    joined = requested("x", topics=chosen)._replace(vapid_key=installation.runtime.keys.current)
    reader, _ = store.subscriptions.subscribe(joined)
    assert pretend.mixture() == Mixture(500, 1)
    done = seed(installation, "--remove")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "500 pretend readers removed; 1 real readers are left\n"
    assert pretend.mixture() is None
    assert store.subscriptions.count() == 1
    assert store.subscriptions.get(reader.id).topics == chosen
    for topic in TOPICS:
        assert store.audiences.count(Audience(topics=(topic,))) == (topic == "breaking")
    again = seed(installation, "--remove")
    assert again.stdout == "0 pretend readers removed; 1 real readers are left\n"
    refused = seed(installation, "10")
    assert (refused.exit_code, "has real readers" in refused.stderr) == (1, True)


def test_removing_pretend_readers_may_be_cut_off_and_repeated(installation: Installation) -> None:
    store = installation.runtime.store
    assert seed(installation, "600").exit_code == 0
    next(pretend_readers.remove(store))  # and then it was killed
    left = store.subscriptions.count()
    assert 0 < left < 600
    assert installation.runtime.pretend_readers.mixture() == Mixture(left, 0)
    assert seed(installation, "--remove").exit_code == 0
    assert store.subscriptions.count() == 0


def test_readers_that_an_earlier_release_stored_all_count_as_pretend_and_are_removed(
    installation: Installation,
) -> None:
    assert seed(installation, "10").exit_code == 0
    installation.runtime.store.redis.delete("{g}:layout:pretend")
    assert installation.runtime.pretend_readers.mixture() == Mixture(10, 0)
    assert seed(installation, "--remove").exit_code == 0
    assert installation.runtime.store.subscriptions.count() == 0


def test_seeding_takes_a_number_or_removes(installation: Installation) -> None:
    for arguments in ((), ("10", "--remove"), ("0",)):
        assert seed(installation, *arguments).exit_code == 2
    assert installation.runtime.store.subscriptions.count() == 0
