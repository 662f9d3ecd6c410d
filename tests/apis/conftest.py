"""Objects of core/v1 from JSON, and findings as plain text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from lakh.apis.core import RESOURCES
from lakh.apis.definitions import schema
from lakh.apis.registry import Strategy

_BY_KIND = {resource.kind: resource for resource in RESOURCES}

Make = Callable[..., Any]


@pytest.fixture
def make() -> Make:
    """`make("Pod", {...})`: the Struct of an object, without defaults."""

    def build(kind: str, obj: dict[str, Any]) -> Any:
        obj.setdefault("metadata", {"name": "x", "namespace": "default"})
        return msgspec.convert(obj, schema().struct(_BY_KIND[kind].definition))

    return build


@pytest.fixture
def create(make: Make) -> Make:
    """`create("Pod", {...})`: the object as it would be stored, and the findings as text."""

    def run(kind: str, obj: dict[str, Any]) -> tuple[Any, list[str]]:
        strategy = _BY_KIND[kind].strategy
        new = make(kind, obj)
        strategy.default(new)
        strategy.prepare_for_create(new)
        return new, [str(finding) for finding in strategy.validate(new)]

    return run


@pytest.fixture
def update(make: Make) -> Make:
    """`update("Pod", old, new)`: the findings of an update, as text."""

    def run(kind: str, old: dict[str, Any], new: dict[str, Any]) -> tuple[Any, list[str]]:
        strategy = _BY_KIND[kind].strategy
        before, after = make(kind, old), make(kind, new)
        strategy.default(before)
        strategy.prepare_for_create(before)
        strategy.default(after)
        strategy.prepare_for_update(after, before)
        return after, [str(finding) for finding in strategy.validate_update(after, before)]

    return run


@pytest.fixture
def strategy_of() -> Callable[[str], Strategy]:
    """The strategy of a kind of core/v1."""
    return lambda kind: _BY_KIND[kind].strategy


@pytest.fixture
def rewrite(make: Make) -> Make:
    """`rewrite("Pod", old, new)`: as `update`, of an object that has the status that it comes with."""

    def run(kind: str, old: dict[str, Any], new: dict[str, Any]) -> tuple[Any, list[str]]:
        strategy = _BY_KIND[kind].strategy
        before, after = make(kind, old), make(kind, new)
        strategy.default(before)
        strategy.default(after)
        strategy.prepare_for_update(after, before)
        return after, [str(finding) for finding in strategy.validate_update(after, before)]

    return run


@pytest.fixture
def update_status(make: Make) -> Make:
    """`update_status("Pod", old, new)`: the object as it would be stored, and the findings as text."""

    def run(kind: str, old: dict[str, Any], new: dict[str, Any]) -> tuple[Any, list[str]]:
        strategy = _BY_KIND[kind].strategy
        before, after = make(kind, old), make(kind, new)
        strategy.default(before)
        strategy.default(after)
        strategy.prepare_for_status_update(after, before)
        return after, [str(finding) for finding in strategy.validate_status_update(after, before)]

    return run


@pytest.fixture
def warn(make: Make) -> Make:
    """`warn("Pod", {...})`: the warnings about a new object, or about a change of `old`."""

    def run(kind: str, obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
        strategy = _BY_KIND[kind].strategy
        new = make(kind, obj)
        strategy.default(new)
        strategy.prepare_for_create(new)
        before = None
        if old is not None:
            before = make(kind, old)
            strategy.default(before)
        return list(strategy.warnings(new, before))

    return run
