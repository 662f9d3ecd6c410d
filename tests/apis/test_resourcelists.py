"""Resource lists: canonical amounts, names, requests within limits."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis import resourcelists, structs
from lakh.machinery.errors import FieldError

NOT_COMMITTABLE = "r.limits: Required value: Limit must be set for non overcommitable resources"


def findings(limits: dict[str, Any], requests: dict[str, Any]) -> list[str]:
    requirements = msgspec.convert(
        {"limits": limits, "requests": requests}, structs.core("ResourceRequirements")
    )
    found: list[FieldError] = []
    resourcelists.validate_requirements(requirements, "r", found)
    return [str(f) for f in found]


@pytest.mark.parametrize(
    ("limits", "requests", "expected"),
    [
        ({"cpu": "1"}, {"cpu": "500m"}, []),
        ({"cpu": "1"}, {"cpu": "1000m"}, []),
        (
            {"cpu": "1"},
            {"cpu": "2"},
            ['r.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'],
        ),
        ({"nvidia.com/gpu": "8"}, {"nvidia.com/gpu": "8"}, []),
        (
            {"nvidia.com/gpu": "8"},
            {"nvidia.com/gpu": "4"},
            ['r.requests: Invalid value: "4": must be equal to nvidia.com/gpu limit of 8'],
        ),
        ({}, {"nvidia.com/gpu": "4"}, [NOT_COMMITTABLE]),
        (
            {"nvidia.com/gpu": "500m"},
            {},
            ['r.limits[nvidia.com/gpu]: Invalid value: "500m": must be an integer'],
        ),
        (
            {"gpu": "1"},
            {},
            [
                'r.limits[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified',
                'r.limits[gpu]: Invalid value: "gpu": must be a standard resource for containers',
            ],
        ),
        (
            {"cpu": "-1"},
            {},
            ['r.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0'],
        ),
        (
            {"cpu": "lots"},
            {},
            [f'r.limits[cpu]: Invalid value: "lots": {resourcelists.NOT_A_QUANTITY}'],
        ),
        (
            {"hugepages-2Mi": "4Mi"},
            {"hugepages-2Mi": "4Mi"},
            ["r: Forbidden: HugePages require cpu or memory"],
        ),
    ],
)
def test_requirements(limits: dict[str, Any], requests: dict[str, Any], expected: list[str]) -> None:
    assert findings(limits, requests) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0.5", "500m"), (1, "1"), (0.25, "250m"), ("1024Mi", "1Gi"), ("100u", "1m"), ("nonsense", None)],
)
def test_canonical(value: Any, expected: str | None) -> None:
    assert resourcelists.canonical(value) == expected


@given(st.integers(0, 10**12), st.sampled_from(["", "m", "u", "n", "k", "M", "Ki", "Mi", "Gi", "e3"]))
def test_canonical_is_idempotent_and_keeps_the_amount(number: int, suffix: str) -> None:
    form = resourcelists.canonical(f"{number}{suffix}")
    assert form is not None
    assert resourcelists.canonical(form) == form
    assert resourcelists.milli(form) == resourcelists.milli(f"{number}{suffix}")
