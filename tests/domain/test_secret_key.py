"""SECRET_KEY is changed: the new one comes first, and the previous one counts for a while."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from service.config import Config, ConfigError
from service.runtime import Runtime
from tests.support.client import API, VAPID, Client, Reader, browser, make_app
from tests.support.desk.pages import EMAIL, PASSWORD, path_of, post, token_in
from tests.support.prepared_keys import READERS, filling, publics, take_all
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService
from workers.sending import prepared_keys
from workers.sending.prepared_keys import Pool

pytestmark = pytest.mark.usefixtures("one_partition")

OLD, NEW = "the old secret of 32 characters or more", "the new secret of 32 characters or more"
ROTATED = f"{NEW},{OLD}"
SUBSCRIPTIONS = f"{API}/subscriptions"


def client_with(redis_url: str, secrets: str) -> Client:
    return Client(make_app(redis_url, SECRET_KEY=secrets))


def opened(redis_url: str, secrets: str) -> Runtime:
    return client_with(redis_url, secrets).runtime


def test_a_reader_keeps_the_subscription_and_gets_a_new_token_on_the_next_visit(
    redis_url: str,
) -> None:
    before = Reader(client_with(redis_url, OLD))
    rotated = client_with(redis_url, ROTATED)
    reader = Reader.known(rotated, before.credentials)
    assert reader.change(locale="lv")["id"] == before.id
    checked_in = {"subscription": browser(), "refresh": True}
    visit = rotated.call("POST", SUBSCRIPTIONS, checked_in, token=before.token)
    assert (visit.status_code, visit.json["id"]) == (200, before.id)
    assert visit.json["token"] != before.token

    after = client_with(redis_url, NEW)
    assert Reader.known(after, visit.json).sees("locale") == ("lv",)
    late = Reader.known(after, before.credentials)
    assert late.call("GET").status_code == 404
    # A later visitor gets the new token unasked as well, by the browser's keys.
    visit = after.call("POST", SUBSCRIPTIONS, checked_in, token=before.token)
    assert (visit.status_code, visit.json["id"]) == (200, before.id)


def test_an_alert_on_its_way_is_still_counted(redis_url: str) -> None:
    client = client_with(redis_url, OLD)
    reader = Reader(client)
    runtime = client.runtime
    alert = client.call(
        "POST",
        f"{API}/notifications",
        {"title": "News", "url": "https://paper.example/", "audience": {"everyone": True}},
        token=client.add_token(),
    ).json["id"]
    (row,) = [runtime.subscriptions.get(reader.id)]
    receipt = runtime.tokens.receipt(int(alert), row.id)
    client_with(redis_url, ROTATED).call(
        "POST", f"{API}/receipts", {"token": receipt, "event": "shown"}
    )
    assert opened(redis_url, NEW).receipts.of(int(alert))["shown"] == 1


def signed_in_client(redis_url: str) -> FlaskClient:
    app = make_app(redis_url, SECRET_KEY=OLD)
    client = app.test_client()
    link = path_of(app.extensions["stoppress"].editors.signin_link(EMAIL))
    assert post(client, link, password=PASSWORD).status_code == 303
    return client


def moved(client: FlaskClient, redis_url: str, secrets: str) -> FlaskClient:
    """The same browser, when the service was started with other secrets."""
    other = make_app(redis_url, SECRET_KEY=secrets).test_client()
    cookie = client.get_cookie("stoppress")
    assert cookie
    other.set_cookie("stoppress", cookie.value)
    return other


def test_an_editor_stays_signed_in_and_an_open_form_is_accepted(redis_url: str) -> None:
    before = signed_in_client(redis_url)
    form = {"csrf_token": token_in(before.get("/desk/").text)}
    rotated = moved(before, redis_url, ROTATED)
    assert rotated.get("/desk/").status_code == 200
    assert rotated.post("/desk/sign-out", data=form).status_code == 303
    assert rotated.get("/desk/").status_code == 302


def test_a_stolen_key_that_is_taken_out_signs_nobody_in(redis_url: str) -> None:
    before = signed_in_client(redis_url)
    assert moved(before, redis_url, ROTATED).get("/desk/").status_code == 200
    assert moved(before, redis_url, NEW).get("/desk/").status_code == 302


def test_prepared_keys_are_sealed_anew_and_none_is_lost(
    redis_url: str, push: PushService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared_keys, "_REST", 0.02)
    monkeypatch.setattr(prepared_keys, "_LEAST_REST", 0)

    def installed(secrets: str) -> Installation:
        keys = {"SECRET_KEY": secrets, "VAPID_PRIVATE_KEY": VAPID.text}
        return Installation(redis_url, push, tmp_path, **keys)

    with installed(OLD) as installation:
        installation.seed(READERS)
        with filling(installation.runtime):
            wait_until(lambda: installation.runtime.store.prepared_keys.ready() == READERS)
        pool = Pool(installation.runtime)
        made = take_all(pool)
        kept = publics(made)
        for bucket in (0, 1):
            mine = {number: key for number, key in made.items() if number // 256 == bucket}
            assert pool.put_back(0, bucket, mine)
    with installed(ROTATED) as installation, filling(installation.runtime) as filler:
        wait_until(lambda: not filler._seal_anew)
    with installed(NEW) as installation:
        assert publics(take_all(Pool(installation.runtime))) == kept


def test_a_key_that_nobody_knows_is_refused_and_the_line_says_what_to_set(redis_url: str) -> None:
    Reader(client_with(redis_url, OLD))
    with pytest.raises(ConfigError, match="set both: the new one, a comma and the previous one"):
        opened(redis_url, NEW)
    opened(redis_url, f"{OLD},{NEW}")  # the first step on several hosts
    opened(redis_url, ROTATED)
    opened(redis_url, NEW)
    with pytest.raises(ConfigError, match="SECRET_KEY"):
        opened(redis_url, OLD)


def test_a_backup_of_before_the_change_counts_no_longer(redis_url: str) -> None:
    opened(redis_url, OLD).keys.note_backup()
    assert opened(redis_url, OLD).keys.backed_up_at()
    assert opened(redis_url, ROTATED).keys.backed_up_at() is None


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        (OLD, (OLD,)),
        (f" {NEW} , {OLD} ", (NEW, OLD)),
        ("one key, made up by an operator, with commas", None),  # of an earlier release
        ("", ()),
    ],
)
def test_a_comma_divides_two_keys_of_full_length(value: str, keys: tuple[str, ...] | None) -> None:
    assert Config.read({"SECRET_KEY": value}).secret_key == ((value,) if keys is None else keys)


def test_a_third_key_is_refused_without_repeating_any() -> None:
    with pytest.raises(ConfigError, match="SECRET_KEY: must be one key, or") as refused:
        Config.read({"SECRET_KEY": f"{ROTATED},{OLD}"})
    assert "secret of" not in str(refused.value)
