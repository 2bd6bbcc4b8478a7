"""docs/ops: Prometheus takes the rules, each fires when it should, and their figures exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.model.keys import VapidKey, b64url
from service.model.measures import HTTP_REQUESTS, PUSH_ANSWERS, PUSH_RETRIES
from service.model.notifications import Audience
from service.store.push_services import Pace, Rest
from tests.support import ROOT
from tests.support.browser.programs import MissingProgramError
from tests.support.client import SUBSCRIPTIONS, browser, open_client
from tests.support.installation import content

OPS = ROOT / "docs" / "ops"
RULES = OPS / "alerts.yaml"
CASES = sorted(OPS.glob("*_test.yaml"))
# A figure, and the labels that follow it in braces.
FIGURE = re.compile(r"\b(stoppress_\w+)(?:\{([^}]*)\})?")
LABEL = re.compile(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"')
OF_PROMETHEUS = {"job", "instance"}


def promtool(*arguments: str, given: str = "") -> str:
    """Run Prometheus' own checks; what it says, if it finds nothing wrong."""
    unpacked = ROOT / ".venv" / "promtool"
    program = str(unpacked) if unpacked.exists() else shutil.which("promtool")
    if program is None:
        raise MissingProgramError("no promtool: make .venv/promtool, or apt-get install prometheus")
    done = subprocess.run(
        [program, *arguments], input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def page(redis_url: str) -> str:
    """A scrape of an installation in which whatever can be counted has happened."""
    client = open_client(redis_url, PROMISE="90% in 60s", CANARY_MINUTES="5")
    client.call("POST", SUBSCRIPTIONS, {"subscription": browser()})
    runtime = client.runtime
    id = runtime.publishing.publish(content(), Audience(everyone=True), by="a test").id
    runtime.planning.plan(runtime.publishing.get(id))
    services, now = runtime.store.push_services, time.time()
    services.rest("https://fcm.googleapis.com", Rest(1, now, now + 60, "credentials"))
    services.doubt("https://fcm.googleapis.com", now)
    services.pace("https://fcm.googleapis.com", Pace(1000, now))
    for status in ("2xx", "5xx", "none"):
        runtime.counting.observe(PUSH_ANSWERS, 0.1, "google", status)
    runtime.counting.count(PUSH_RETRIES, "google", "limited")
    for status in ("429", "503"):
        runtime.counting.observe(HTTP_REQUESTS, 0.1, "GET", "/api/v1/site", status)
    runtime.counting.add_to(runtime.store.counted)
    runtime.store.installation.retire_vapid_key(b64url(VapidKey.generate().public))  # is not set
    token = client.add_token("Prometheus", ["read"])
    return client.call("GET", "/metrics", token=token).text


def series(page: str) -> dict[str, list[dict[str, str]]]:
    """The labels of each series of a scrape, by the figure's name."""
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def expressions() -> list[str]:
    """All that the rules, the dashboard and the example for KEDA ask Prometheus for."""
    panels = json.loads((OPS / "dashboard.json").read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    rules = RULES.read_text()
    parts = re.split(r"^ +- alert: ", rules, flags=re.M)[1:]
    asked += [part.partition("expr:")[2].partition("annotations:")[0] for part in parts]
    return [*asked, (OPS / "keda.yaml").read_text()]


def _cases() -> str:
    return "".join(one.read_text() for one in CASES)


def matches(labels: dict[str, str], wanted: list[tuple[str, str, str]]) -> bool:
    return all(
        name in labels and (labels[name] == value or bool(re.fullmatch(value, labels[name])))
        for name, _, value in wanted
        if name not in OF_PROMETHEUS
    )


def test_prometheus_finds_nothing_to_improve_in_our_figures(page: str) -> None:
    assert promtool("check", "metrics", given=page) == ""


def test_prometheus_takes_the_rules_and_each_fires_when_it_should() -> None:
    assert "SUCCESS" in promtool("check", "rules", str(RULES))
    assert "SUCCESS" in promtool("test", "rules", *map(str, CASES))


def test_each_rule_has_a_case_and_says_what_happened_and_what_to_do() -> None:
    rules = re.split(r"^ +- alert: ", RULES.read_text(), flags=re.M)[1:]
    names = [rule.split()[0] for rule in rules]
    assert len(names) == len(set(names)) >= 18
    fired = set(re.findall(r'alertname="(\w+)"', _cases()))
    assert fired == set(names)
    for rule in rules:
        assert "summary: " in rule
        assert "do: " in rule
        assert "severity: " in rule


def test_each_figure_that_is_asked_for_is_in_a_scrape_with_these_labels(page: str) -> None:
    known = series(page)
    for expression in expressions():
        for name, inside in FIGURE.findall(expression):
            wanted = LABEL.findall(inside)
            assert any(matches(labels, wanted) for labels in known.get(name, [])), (name, inside)
        grouped = re.findall(r"\b(?:by|without|on) \(([^)]*)\)", expression)
        names = {name for name, _ in FIGURE.findall(expression)}
        labels = {label for name in names for one in known[name] for label in one}
        for group in grouped:
            asked = {label.strip() for label in group.split(",")} - OF_PROMETHEUS
            assert asked <= labels, (expression, asked - labels)


def test_the_cases_have_the_series_that_a_scrape_has(page: str) -> None:
    known = series(page)
    cases = re.findall(r"series: '(stoppress_\w+)\{([^}]*)\}'", _cases())
    assert len(cases) > 50
    for name, inside in cases:
        labels = {label for label, _, _ in LABEL.findall(inside)} - OF_PROMETHEUS
        assert labels == {*known[name][0]}, (name, labels)
