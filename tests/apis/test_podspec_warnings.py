"""Warnings about pod specs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lakh.apis import structs
from lakh.apis.podspec_warnings import pod_spec_warnings

C = "spec.containers[0]"


@pytest.mark.parametrize(
    ("spec", "container", "expected"),
    [
        ({}, {"env": [{"name": "A"}, {"name": "B"}], "resources": {"limits": {"memory": "1Gi"}}}, []),
        (
            {},
            {"env": [{"name": "A"}, {"name": "A"}]},
            [f'{C}.env[1]: hides previous definition of "A", which may be dropped when using apply'],
        ),
        (
            {},
            {"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 1, "name": "b"}]},
            [f"{C}.ports[1]: duplicate port definition with {C}.ports[0]"],
        ),
        (
            {},
            {"resources": {"requests": {"memory": "128m"}}},
            [f'{C}.resources.requests[memory]: fractional byte value "128m" is invalid, must be an integer'],
        ),
        (
            {"terminationGracePeriodSeconds": -1},
            {},
            [
                "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
            ],
        ),
        (
            {"nodeSelector": {"beta.kubernetes.io/os": "linux"}},
            {},
            [
                'spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'
            ],
        ),
    ],
)
def test_warnings(spec: dict[str, Any], container: dict[str, Any], expected: list[str]) -> None:
    plain = {"containers": [{"name": "c", **container}], **spec}
    assert pod_spec_warnings(msgspec.convert(plain, structs.core("PodSpec")), "spec") == expected
