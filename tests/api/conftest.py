import pytest

from tests.support.client import Client


@pytest.fixture
def token(client: Client) -> str:
    """An API token that may do everything."""
    return client.add_token()
