"""What the store's tests share."""

import itertools
from collections.abc import Iterator

import pytest

from tests.store.nats_servers import BackgroundServer

_numbers = itertools.count()


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackgroundServer]:
    """One server for all tests; each has streams of its own by a prefix."""
    server = BackgroundServer(tmp_path_factory.mktemp("nats"))
    yield server
    server.stop()


@pytest.fixture
def prefix() -> str:
    return f"t{next(_numbers)}"
