"""Whatever a program sends, each call of the API answers as its description says.

schemathesis makes the requests, of the routes that the description has, with tokens that may do
everything. A new route is tried without a word here.
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.model.notifications import Audience, Content
from service.model.two_texts import SecondText
from tests.support.client import API, Client, Reader, open_client
from tests.support.kept import KEPT, PUBLISH_HOOK, store_kept

# Requests of each call that fit its description, and as many that do not: 1, in `make soak` 30.
EXAMPLES = max(1, settings().max_examples // 33)


class Caller:
    """Calls an installation that has readers, and an alert in each of some states."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._numbers = itertools.count(1)

    def prepared(self, operation: Any) -> tuple[dict[str, str], dict[str, Any]]:
        """Return headers, and variables of the path, with which a call finds something."""
        number, publishing = next(self._numbers), self._client.runtime.publishing
        text, everyone = Content("Late news", "https://paper.example/"), Audience(everyone=True)
        quake, other = Audience(everyone=True, story="quake"), SecondText("Other", "", 10, 15)
        alerts = [
            publishing.publish(text, quake, by="a test"),
            publishing.publish(text, everyone, by="a test", draft=True),
            publishing.publish(text, everyone, by="a test", second_text=other),
        ]
        store_kept(self._client.runtime)
        slug = "quake" if "stories" in operation.path else "world"
        token, id = self._client.add_token(f"tool {number}"), str(alerts[number % 3].id)
        if "reader" in {
            name for row in operation.definition.raw.get("security", ()) for name in row
        }:
            reader = Reader(self._client, number)
            token, id = reader.token, reader.id
        return {"Authorization": f"Bearer {token}"}, {
            **{"id": id, "slug": slug, "template": KEPT, "hook": PUBLISH_HOOK}
        }


@pytest.mark.long
@pytest.mark.skipif(sys.version_info < (3, 11), reason="schemathesis needs Python 3.11")
@pytest.mark.filterwarnings("ignore")  # those of libraries, about themselves
def test_each_call_of_the_description_is_answered_as_it_says(redis_url: str) -> None:
    # It takes a second and a half to import, which only the process with this test needs.
    import schemathesis
    from schemathesis.specs.openapi import checks

    client = open_client(redis_url)
    caller = Caller(client)
    schema = schemathesis.openapi.from_wsgi(f"{API}/openapi.json", client.app)
    calls = [result.ok() for result in schema.get_all_operations()]
    assert len(calls) > 30
    for operation in calls:
        headers, known = caller.prepared(operation)
        for mode in schemathesis.GenerationMode:
            # Of bodies that do not fit, test_refusals.py sends more than one of each call.
            has_input = (operation.body and EXAMPLES > 1) or [*operation.iter_parameters()]
            if not has_input and mode is schemathesis.GenerationMode.NEGATIVE:
                continue

            @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[*HealthCheck])
            @given(case=operation.as_strategy(generation_mode=mode), finds=st.booleans())
            def is_answered(case: Any, finds: bool) -> None:
                if finds:
                    for name in known.keys() & case.path_parameters.keys():  # noqa: B023
                        case.path_parameters[name] = known[name]  # noqa: B023
                case.headers.update(headers)  # noqa: B023
                answer = case.call()
                if answer.status_code != 503 or not client.runtime.stops.holds():
                    case.validate_response(
                        answer,
                        checks=[
                            schemathesis.checks.not_a_server_error,
                            checks.status_code_conformance,
                            checks.content_type_conformance,
                            checks.response_headers_conformance,
                            checks.response_schema_conformance,
                        ],
                    )

            is_answered()
        client.runtime.stops.release(by="a test")
