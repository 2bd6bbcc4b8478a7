"""What the doctor says of the provider with which editors may sign in."""

from __future__ import annotations

import pytest

from service.cli.doctor.sign_in import provider
from service.config import Config
from tests.support.desk.provider import AUTHLIB_IS_CHANGING, METADATA, answer, running_provider
from tests.support.doctor.run import findings
from workers.trials.processes import free_port

pytestmark = [pytest.mark.processes, AUTHLIB_IS_CHANGING]


def test_a_provider_that_cannot_be_used_is_reported(environment: dict[str, str]) -> None:
    assert "OIDC_ISSUER" not in findings(environment), "there is none"
    with running_provider() as running:
        environment.update(running.settings)
        (fine,) = findings(environment)["OIDC_ISSUER"]
        assert (fine.level, fine.says) == ("ok", f"{running.address} answers.")
        running.describe_itself(issuer="http://localhost:1")
        (wrong,) = provider(Config.read(environment))
        assert (wrong.level, "(ValueError)" in wrong.says) == ("warn", True)
        running.instead[METADATA] = answer("", 503)
        (down,) = provider(Config.read(environment))
        assert "(HTTPError), so editors have to sign in in another way" in down.says
    away = environment | {"OIDC_ISSUER": f"http://localhost:{free_port()}"}
    (missing,) = provider(Config.read(away))
    assert (missing.level, "(ConnectionError)" in missing.says) == ("warn", True)
    (half,) = provider(Config.read(environment | {"OIDC_CLIENT_SECRET": ""}))
    assert half.level == "fail"
    assert half.says == "OIDC_CLIENT_SECRET is not set, which OIDC_ISSUER needs."
