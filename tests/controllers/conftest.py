"""The fake API server, importable by the tests of this folder, and a client of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_client import FakeClient


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()
