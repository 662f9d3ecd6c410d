"""Plain decoded JSON: copying, comparing, and reading and writing by dotted path.

JSON here is what `msgspec.json.decode` gives without a type: `dict`, `list`, `str`, `int`, `float`, `bool` and `None`. Nothing is mutated but by
`put` and `remove`, whose purpose that is.
"""

from __future__ import annotations

from typing import Any

JSON = Any


def clone(value: JSON) -> JSON:
    """A deep copy."""
    if isinstance(value, dict):
        return {k: clone(v) if isinstance(v, (dict, list)) else v for k, v in value.items()}
    if isinstance(value, list):
        return [clone(v) if isinstance(v, (dict, list)) else v for v in value]
    return value


def equal(a: JSON, b: JSON) -> bool:
    """Whether two values are the same JSON. Unlike `==`, `true` is not 1."""
    if isinstance(a, dict):
        return (
            isinstance(b, dict) and len(a) == len(b) and all(k in b and equal(v, b[k]) for k, v in a.items())
        )
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return bool(a == b)


def get(obj: JSON, path: str) -> JSON:
    """The value at a dotted path (`spec.replicas`), None when there is none."""
    for field in path.split("."):
        if not isinstance(obj, dict):
            return None
        obj = obj.get(field)
    return obj


def put(obj: dict[str, Any], path: str, value: JSON) -> None:
    """Sets the value at a dotted path, making the objects on the way to it. Replaces what is in the way."""
    *parents, last = path.split(".")
    for field in parents:
        child = obj.get(field)
        if not isinstance(child, dict):
            child = obj[field] = {}
        obj = child
    obj[last] = value


def remove(obj: dict[str, Any], path: str) -> None:
    """Removes the value at a dotted path, if it is there."""
    *parents, last = path.split(".")
    for field in parents:
        child = obj.get(field)
        if not isinstance(child, dict):
            return
        obj = child
    obj.pop(last, None)
