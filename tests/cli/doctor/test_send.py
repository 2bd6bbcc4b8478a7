"""`stoppress doctor --send`: one message by pywebpush, and what its connections refuse."""

from __future__ import annotations

import json
import select
import socket
from functools import partial

import pytest
import requests

from service.cli.doctor.findings import Finding
from service.cli.doctor.session import Session
from service.model.keys import VapidKey
from service.model.network.endpoints import EndpointPolicy
from tests.support.doctor.run import KEY, doctor, findings, stored
from tests.support.push_service import Answer, PushService

pytestmark = pytest.mark.processes


def sent(environment: dict[str, str], id: object) -> Finding:
    (finding,) = findings(environment, str(id))["pywebpush"]
    return finding


def test_pywebpush_sends_one_message_that_its_browser_can_show(
    environment: dict[str, str], push: PushService
) -> None:
    id, browser = stored(environment, push, KEY)
    finding = sent(environment, id)
    assert finding.level == "ok"
    assert finding.says.startswith(f"{push.origin} accepted the message (201)")
    (message,) = push.received
    document = json.loads(browser.decrypt(message.body))
    assert document["notification"]["title"] == "A test of The Daily Example"
    assert push.refusals == []


def test_a_rejection_is_quoted_without_the_endpoint(
    environment: dict[str, str], push: PushService
) -> None:
    id, browser = stored(environment, push, VapidKey.generate())
    secret = browser.endpoint.rpartition("/")[2]
    finding = sent(environment, id)
    assert finding.level == "fail"
    assert f"{push.origin} answers 4" in finding.says
    for text in (browser.endpoint, f"/wpush/v2/{secret}", secret):
        push.answer_with(lambda _, text=text: Answer(403, body=f"BadJwtToken of {text}.".encode()))
        finding = sent(environment, id)
        assert "BadJwtToken" in finding.says
        assert secret not in finding.says


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (410, "this browser is gone"),
        (429, "the fault is in the push service"),
        (503, "the fault is in the push service"),
    ],
)
def test_the_status_code_shows_whose_fault_it_is(
    environment: dict[str, str], push: PushService, status: int, says: str
) -> None:
    id, _ = stored(environment, push, KEY)
    push.answer_with(lambda _: Answer(status))
    finding = sent(environment, id)
    assert finding.level == "fail"
    assert says in finding.says


def test_a_push_service_that_cannot_be_trusted_counts_as_unreachable(
    environment: dict[str, str], push: PushService
) -> None:
    id, browser = stored(environment, push, KEY)
    push.present("not trusted")
    finding = sent(environment, id)
    assert finding.level == "fail"
    assert "cannot be reached from here (SSLError)" in finding.says
    assert browser.endpoint not in finding.says


def test_a_redirect_of_a_push_service_is_not_followed(
    environment: dict[str, str], push: PushService
) -> None:
    id, _ = stored(environment, push, KEY)
    for status in (301, 302, 303, 307, 308):
        elsewhere = {"Location": f"{push.origin}/elsewhere"}
        push.answer_with(lambda _, status=status, to=elsewhere: Answer(status, headers=to))
        assert f"answers {status}" in sent(environment, id).says
    assert len(push.received) == 5


@pytest.mark.parametrize("named", [False, True])
def test_the_doctor_connects_to_a_private_address_only_if_a_setting_names_the_origin(
    named: bool,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        origin = f"http://localhost:{listener.getsockname()[1]}"
        policy = EndpointPolicy((origin,) if named else ())
        with (
            Session(partial(policy.may_connect, origin)) as session,
            pytest.raises(requests.RequestException),
        ):
            session.post(f"{origin}/push/1", timeout=0.5)
        assert bool(select.select([listener], [], [], 0.1)[0]) == named


def test_what_a_push_service_says_cannot_write_over_the_terminal(
    environment: dict[str, str], push: PushService
) -> None:
    id, _ = stored(environment, push, KEY)
    evil = "\x1b[2J\x1b]0;owned\x07\u202eok \x9b31m fine [bold]x[/]\u2066"
    push.answer_with(lambda _: Answer(403, body=evil.encode()))
    shown = doctor(environment, "--send", str(id)).stdout
    assert "fine" in shown
    assert not [c for c in shown if not c.isprintable() and c != "\n"]


@pytest.mark.parametrize("id", ["", "nobody", "0-77", "9-0", "0-99999999999"])
def test_nothing_is_sent_for_an_unknown_id(
    environment: dict[str, str], push: PushService, id: str
) -> None:
    finding = sent(environment, id)
    assert finding.level == "fail"
    assert "no such subscription" in finding.says
    assert push.received == []
