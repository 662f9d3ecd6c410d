"""The simple JSONPath of printer columns."""

from __future__ import annotations

from typing import Any

import pytest

from lakh.machinery import jsonpath

OBJECT: dict[str, Any] = {
    "spec": {"replicas": 3, "a.b": "dotted", "names": ["x", "y", "z"], "flag": False},
    "status": {"conditions": [{"type": "A", "status": "False"}, {"type": "Ready", "status": "True", "n": 2}]},
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".spec.replicas", 3),
        ("{.spec.replicas}", 3),
        (".spec.flag", False),
        (".spec.missing", None),
        (".spec.missing.deeper", None),
        (r".spec.a\.b", "dotted"),
        (".spec['a.b']", "dotted"),
        (".spec.names[0]", "x"),
        (".spec.names[-1]", "z"),
        (".spec.names[7]", None),
        (".spec.names[*]", "x"),
        (".spec.names[1:]", "y"),
        ('.status.conditions[?(@.type=="Ready")].status', "True"),
        (".status.conditions[?(@.type=='Ready')].status", "True"),
        (".status.conditions[?(@.n>1)].type", "Ready"),
        (".status.conditions[?(@.n)].type", "Ready"),
        ('.status.conditions[?(@.type!="Ready")].type', "A"),
        (".status.conditions[*].type", "A"),
    ],
)
def test_first_match(path: str, value: Any) -> None:
    assert jsonpath.compiled(path)(OBJECT) == value


@pytest.mark.parametrize("path", ["spec", ".spec[", ".a[?(@.b==)c]", ".a..b", ".status[?(@.b == zz)]"])
def test_malformed(path: str) -> None:
    with pytest.raises(ValueError, match="unrecognized"):
        jsonpath.compiled(path)
