"""`stoppress stop`: everything is stopped and released from a shell."""

from __future__ import annotations

import re

from service.cli.doctor.installation import Examination
from service.runtime import Runtime
from tests.support.command import stoppress

EDITOR = "ada@paper.example"


def test_everything_is_stopped_and_released(environment: dict[str, str], runtime: Runtime) -> None:
    done = stoppress(environment, "stop")
    assert done.exit_code == 0, done.output
    assert done.output == "Everything is stopped. To send again: stoppress stop --release\n"
    held = runtime.stops.current()
    assert held
    assert held.by.startswith("the command line of ")
    done = stoppress(environment, "stop", "--release")
    assert (done.exit_code, runtime.stops.current()) == (0, None)
    assert "what waited is sent now" in done.output
    assert stoppress(environment, "stop", "--release").output == "Nothing was stopped.\n"
    assert [one.action for one in runtime.store.alert_log.all()] == ["released", "stopped"]


def test_the_command_says_who_stopped_before(environment: dict[str, str], runtime: Runtime) -> None:
    held = runtime.stops.hold(by=EDITOR)
    assert f"It was {EDITOR} who stopped it." in stoppress(environment, "stop").output
    assert runtime.stops.current() == held


def test_the_help_has_examples(environment: dict[str, str]) -> None:
    shown = stoppress(environment, "stop", "--help").output
    assert re.findall(r"^ +(stoppress .*)$", shown, re.M) == [
        "stoppress stop",
        "stoppress stop --release",
    ]


def test_the_doctor_says_who_stopped_everything_and_what_to_do(runtime: Runtime) -> None:
    doctor = Examination(runtime)
    assert list(doctor.stop()) == []
    runtime.stops.hold(by=EDITOR)
    (finding,) = doctor.stop()
    assert finding.level == "warn"
    assert f"{EDITOR} stopped everything" in finding.says
    assert "stoppress stop --release" in finding.says
