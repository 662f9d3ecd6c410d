"""Selectors of devices."""

from __future__ import annotations

from typing import Any

import pytest

from lakh.machinery import cel, cel_device
from lakh.machinery.cel_functions import as_quantity, as_semver
from lakh.machinery.cel_metering import CostLimitExceeded
from lakh.machinery.cel_values import DomainMap, EvaluationError

DEVICE: dict[str, Any] = {
    "driver": "d.x",
    "attributes": DomainMap({"d.x": {"size": 1, "version": as_semver("1.2.3"), "kind": "x"}}),
    "capacity": DomainMap({"d.x": {"memory": as_quantity("1Gi")}}),
    "allowMultipleAllocations": False,
}


@pytest.mark.parametrize(
    ("source", "most", "cost"),
    [
        ("device.driver == 'd.x'", 3, 3),
        ("device.attributes['d.x'].size == 1", 5, 5),
        ("!has(device.attributes['elsewhere'].size)", 4, 4),
        ("device.capacity['d.x'].memory.compareTo(quantity('1M')) > 0", 7, 7),
        ("device.attributes['d.x'].version.isGreaterThan(semver('1.0.0'))", 6, 6),
        ("cel.bind(a, device.attributes['d.x'], a.size == 1 && a.kind == 'x')", 19, 9),
        ("device.attributes['d.x'].?colour.orValue('') == ''", 5, 3),
        ("!device.allowMultipleAllocations", 3, 3),
    ],
)
def test_selectors(source: str, most: int, cost: int) -> None:
    assert cel_device.check(source) == most
    assert cel_device.compile_selector(source).run(DEVICE) == (True, cost)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("device.nope", "compilation failed: ERROR: <input>:1:7: undefined field 'nope'"),
        ("device.driver", "must evaluate to bool or the unknown type, not string"),
        ("dyn(true)", "must evaluate to bool or the unknown type, not dyn"),
        (
            "device.capacity['d.x'].memory == 1",
            "no matching overload for '_==_' applied to '(kubernetes.Quantity, int)'",
        ),
        ("device.driver == ", "compilation failed: ERROR: <input>:1:18: Syntax error"),
    ],
)
def test_what_is_no_selector(source: str, why: str) -> None:
    with pytest.raises(cel.ExpressionError) as raised:
        cel_device.check(source)
    assert why in str(raised.value)


def test_an_attribute_that_is_not_there() -> None:
    found, _ = cel_device.compile_selector("device.attributes['d.x'].colour == 'red'").run(DEVICE)
    assert isinstance(found, EvaluationError)
    assert str(found) == "no such key: colour"


def test_what_an_attribute_is_is_not_known() -> None:
    assert cel_device.check("device.attributes['d.x'].shared") == 4


def test_costs_are_estimated_from_the_bounds_of_devices() -> None:
    inner = "device.attributes['d.x'].all(k, k.matches('^[a-z]*$'))"
    assert cel_device.check(inner) < cel_device.COST_LIMIT
    for _ in range(3):
        inner = f"device.attributes['d.x'].all(k, {inner})"
    assert cel_device.check(inner) > cel_device.COST_LIMIT


def test_a_selector_is_cancelled_at_its_limit() -> None:
    source = "lists.range(10000).all(x, lists.range(10000).all(y, x + y >= 0))"
    assert isinstance(cel_device.compile_selector(source).run(DEVICE)[0], CostLimitExceeded)
