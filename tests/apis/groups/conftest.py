"""Objects for the tests of the groups: decode, default and validate as the server does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from lakh.apis.definitions import schema
from lakh.apis.groups import RESOURCES
from lakh.apis.registry import Resource


class Kind:
    """A resource with its write paths in short."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.strategy = resource.strategy

    def decode(self, plain: dict[str, Any]) -> Any:
        metadata = {"name": "x", "uid": "u-1", **plain.get("metadata", {})}
        if self.resource.namespaced:
            metadata.setdefault("namespace", "default")
        obj = msgspec.convert({**plain, "metadata": metadata}, schema().struct(self.resource.definition))
        self.strategy.default(obj)
        return obj

    def created(self, plain: dict[str, Any]) -> Any:
        obj = self.decode(plain)
        self.strategy.prepare_for_create(obj)
        return obj

    def create_findings(self, plain: dict[str, Any]) -> list[Any]:
        return list(self.strategy.validate(self.created(plain)))

    def update_findings(self, old: dict[str, Any], new: dict[str, Any], subresource: str = "") -> list[Any]:
        before, after = self.decode(old), self.decode(new)
        if subresource == "status":
            self.strategy.prepare_for_status_update(after, before)
            return list(self.strategy.validate_status_update(after, before))
        self.strategy.prepare_for_update(after, before)
        return list(self.strategy.validate_update(after, before))

    def create_errors(self, plain: dict[str, Any]) -> list[str]:
        return [str(e) for e in self.strategy.validate(self.created(plain))]

    def update_errors(self, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
        before, after = self.created(old), self.decode(new)
        self.strategy.prepare_for_update(after, before)
        return [str(e) for e in self.strategy.validate_update(after, before)]

    def cells(self, plain: dict[str, Any], now: float = 0.0) -> list[Any]:
        obj = self.decode(plain)
        cells = self.strategy.cells(obj, now)
        assert len(cells) == len(self.strategy.columns)
        return cells


@pytest.fixture(scope="session")
def kind() -> Callable[[str], Kind]:
    """A kind by `plural` or `plural/version`."""
    kinds = {}
    for resource in RESOURCES:
        kinds[f"{resource.plural}/{resource.version}"] = Kind(resource)
        kinds.setdefault(resource.plural, Kind(resource))
    return kinds.__getitem__
