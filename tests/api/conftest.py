import pytest

from tests.support.client import Client


@pytest.fixture
def token(client: Client) -> str:
    """An API token with all scopes."""
    return client.add_token()
