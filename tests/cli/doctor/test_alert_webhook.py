"""What the doctor says of the address at which a person is told what is wrong."""

from __future__ import annotations

from service.config import Config
from service.model.newsroom.webhooks import Answer, Health, Waiting
from service.model.operations.causes import Reported
from service.model.time import clock
from service.runtime import Runtime
from tests.support.doctor.run import one

ADDRESS = "https://chat.example/hooks/a-secret-word"


def test_the_doctor_says_whether_the_chat_takes_calls(environment: dict[str, str]) -> None:
    def says() -> tuple[str, str]:
        finding = one(environment, "ALERT_WEBHOOK")
        assert "a-secret-word" not in finding.says
        return finding.level, finding.says

    def answered(answer: Answer) -> None:
        store = Runtime.open(Config.read(environment)).store
        health, _ = Health().after(Waiting("1", "no-workers", ""), answer, clock.time())
        assert store.causes.change(store.causes.read(), Reported(health=health).as_json())

    assert says()[1].startswith("Not set here.")
    environment["ALERT_WEBHOOK"] = ADDRESS
    assert says() == ("ok", "Set. There was nothing to tell yet.")
    answered(Answer(500))
    level, words = says()
    assert level == "fail"
    assert "it answered 500. Nobody hears what is wrong until it works" in words
    answered(Answer(200))
    assert says()[1].startswith("Set. It took the last call ")


def test_an_address_that_no_clock_tries_any_more_is_no_failure(
    environment: dict[str, str],
) -> None:
    health, _ = Health().after(Waiting("1", "no-workers", ""), Answer(500), clock.time() - 3600)
    store = Runtime.open(Config.read(environment)).store
    assert store.causes.change(None, Reported(health=health).as_json())
    found = one(environment, "ALERT_WEBHOOK")
    assert (found.level, found.says[:13]) == ("ok", "Not set here.")
