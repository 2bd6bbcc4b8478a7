"""docs/ops: Prometheus takes the rules, each fires when it should, and their figures exist."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.model.keys import VapidKey, b64url
from service.model.notifications import Audience
from service.model.operations.measures import HTTP_REQUESTS, PUSH_ANSWERS, PUSH_RETRIES
from service.model.time import clock
from service.store.sending.push_services import Pace, Rest
from tests.support import ROOT
from tests.support.browser.programs import MissingProgramError
from tests.support.client import SUBSCRIPTIONS, browser, open_client
from tests.support.processes.installation import Installation, content, wait_until
from tests.support.push_service import PushService

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


@pytest.mark.processes
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


# In a real run ------------------------------------------------------------------------------------

RUNG = ("StopPressCanaryMissing", "StopPressPromiseMissed")
CANARY = "stoppress_canary_last_success_timestamp_seconds"
Scrape = dict[str, float]  # by the series, as Prometheus writes it


def scrape(installation: Installation, token: str) -> Scrape:
    """Ask a web process as Prometheus does."""
    asked = Request(f"{installation.address}/metrics", headers={"Authorization": f"Bearer {token}"})
    with urlopen(asked, timeout=60) as answer:
        page = answer.read().decode()
    found = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels = {**sample.labels, "job": "stoppress", "instance": "push.paper.example"}
            inside = ",".join(f'{name}="{value}"' for name, value in labels.items())
            found[f"{sample.name}{{{inside}}}"] = sample.value
    return found


def figure(scraped: Scrape, name: str, label: str = "") -> float:
    """One figure of a scrape."""
    (found,) = [n for one, n in scraped.items() if one.startswith(name + "{") and label in one]
    return found


def ring(before: Scrape, after: Scrape, expected: dict[str, set[str]], folder: Path) -> str:
    """Have Prometheus check which alarms ring when, if two minutes were like one scrape, and all
    that follows like the other."""
    names = {name for name, _ in FIGURE.findall(RULES.read_text())}
    given = [
        {"series": one, "values": f"{before.get(one, n)!r}x7 {n!r}x100"}
        for one, n in after.items()
        if one.partition("{")[0] in names
    ]
    firing = f'ALERTS{{alertname=~"{"|".join(RUNG)}",alertstate="firing"}}'
    looks = [
        {
            "expr": f"count by (alertname) ({firing})",
            "eval_time": at,
            "exp_samples": [
                {"labels": f'{{alertname="{one}"}}', "value": 1} for one in sorted(alarms)
            ],
        }
        for at, alarms in expected.items()
    ]
    run = {"interval": "15s", "input_series": given, "promql_expr_test": looks}
    cases = folder / "real.yaml"
    rules = {"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": [run]}
    cases.write_text(json.dumps(rules))
    return promtool("test", "rules", str(cases))


@pytest.mark.processes
def test_both_alarms_ring_in_a_real_run_once_its_workers_are_stopped(
    redis_url: str, push: PushService, tmp_path: Path
) -> None:
    settings = {"PROMISE": "90% in 1s", "CANARY_MINUTES": "1"}
    with Installation(redis_url, push, tmp_path, **settings) as installation:
        installation.seed(30)
        installation.web()
        workers = [installation.worker() for _ in range(2)]
        installation.clock()
        canary, token = installation.runtime.store.canary, installation.api_token()
        wait_until(canary.arrived)
        before, at = scrape(installation, token), clock.time()
        assert figure(before, "stoppress_canary_seconds") >= 0
        assert figure(before, "stoppress_promises_active", "missed") == 0

        installation.end(workers[0])
        workers[1].send_signal(signal.SIGSTOP)
        latest = canary.arrived()
        canary.note_sent(due := at - 60)
        installation.publish()
        wait_until(lambda: canary.sent_at() > due)

        def missed() -> Scrape | None:
            after = scrape(installation, token)
            return after if figure(after, "stoppress_promises_active", "missed") else None

        after = wait_until(missed, timeout=90, every=0.3)
        assert latest is not None
        assert figure(after, CANARY) == latest.arrived, "no other one has arrived"

    for scraped in (before, after):  # Prometheus' clock begins at 0 in its tests
        scraped.update({one: n - at for one, n in scraped.items() if one.startswith(CANARY)})
    expected = {"1m": set(), "3m": {"StopPressPromiseMissed"}, "10m": set(RUNG)}
    assert "SUCCESS" in ring(before, after, expected, tmp_path)
