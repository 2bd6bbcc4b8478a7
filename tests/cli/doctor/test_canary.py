"""What the doctor says of the canary."""

from __future__ import annotations

import pytest

from service.cli.doctor.canary import canary
from service.config import Config
from service.model.operations.canary import Arrival
from service.model.time import clock
from service.runtime import Runtime
from tests.support.doctor.run import findings


@pytest.fixture
def runtime(environment: dict[str, str]) -> Runtime:
    return Runtime.open(Config.read({**environment, "CANARY_MINUTES": "5"}))


def arrived(runtime: Runtime, ago: float) -> None:
    at = clock.time() - ago
    runtime.store.canary.note_arrived(Arrival(at - 1.5, at, 1.5))


def test_it_is_named_while_it_is_off(environment: dict[str, str]) -> None:
    (finding,) = findings(environment)["Canary"]
    assert finding.level == "ok"
    assert "CANARY_MINUTES=5" in finding.says


def test_one_that_has_just_been_switched_on_is_a_warning_and_then_a_failure(
    runtime: Runtime,
) -> None:
    assert (canary(runtime).level, canary(runtime).says[:22]) == ("warn", "None has ever arrived.")
    runtime.store.canary.note_sent(clock.time())
    assert canary(runtime).level == "fail"


def test_one_that_arrives_is_dated_and_timed(runtime: Runtime) -> None:
    arrived(runtime, 60)
    finding = canary(runtime)
    assert finding.level == "ok"
    assert "1 minute ago, 1.5 s after it was published" in finding.says


def test_two_missed_ones_are_a_failure_unless_everything_is_stopped(runtime: Runtime) -> None:
    runtime.store.canary.note_sent(clock.time())
    arrived(runtime, 12 * 60)
    finding = canary(runtime)
    assert finding.level == "fail"
    assert "workers cannot reach http://localhost:" in finding.says
    runtime.stops.hold(by="nora@paper.example")
    assert canary(runtime).level == "ok"
