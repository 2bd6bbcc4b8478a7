import pytest

from tests.client import Client


@pytest.fixture
def token(client: Client) -> str:
    """An API token that may do everything."""
    return client.add_token()
