"""JSON patch (RFC 6902), with the answers that Kubernetes gives to patches that do not apply.

A patch is decoded once (`decode`) and applied to a copy of the document, all of it or nothing. A patch that is no patch is a 400; one that
does not apply (a failed `test`, a path that is not there) is a 422 with upstream's fixed text, the particular cause being kept in `why`.
Both the number of operations and the bytes that `copy` may add are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from lakh.machinery.dynamic import JSON, clone, equal
from lakh.machinery.errors import StatusError, bad_request
from lakh.machinery.gojson import syntax_error

MAX_OPERATIONS = 10_000
# Copies can double a document with each operation; upstream stops at twice the size of a request.
MAX_COPY_BYTES = 3 * 1024 * 1024

_OPERATIONS = ("add", "remove", "replace", "move", "copy", "test")
MEMBERS = frozenset(("from", "op", "path", "value"))
_index = re.compile("-?(0|[1-9][0-9]{0,8})", re.ASCII).fullmatch


class PatchError(StatusError):
    """A patch does not apply to the object: upstream's 422. `why` says what was wrong."""

    def __init__(self, why: str) -> None:
        super().__init__(422, "Invalid", "the server rejected our request due to an error in our request", {})
        self.why = why


def decode(raw: bytes) -> list[dict[str, Any]]:
    """The operations of a patch's body. Raises a 400, or a 413 when there are too many."""
    try:
        patch = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(f"error decoding patch: {syntax_error(raw) or error}") from None
    return check(patch)


def check(patch: JSON) -> list[dict[str, Any]]:
    """The operations of a decoded patch, checked for shape."""
    if not isinstance(patch, list) or not all(isinstance(operation, dict) for operation in patch):
        raise bad_request("error decoding patch: a JSON patch is an array of operations")
    if len(patch) > MAX_OPERATIONS:
        raise StatusError(
            413,
            "RequestEntityTooLarge",
            "Request entity too large: The allowed maximum operations in a JSON patch is "
            f"{MAX_OPERATIONS}, got {len(patch)}",
        )
    return patch


def apply(document: JSON, patch: Sequence[dict[str, Any]]) -> JSON:
    """The document with all operations applied, in order. Raises `PatchError`; the document is never mutated."""
    try:
        return _Patcher(clone(document)).run(patch)
    except RecursionError:
        raise PatchError("the document is nested too deeply") from None


def _pointer(operation: dict[str, Any], member: str) -> list[str]:
    text = operation.get(member)
    if not isinstance(text, str):
        raise PatchError(f"operation without {member}")
    if not text:
        return []
    if not text.startswith("/"):
        raise PatchError(f"{member} {text!r} is no JSON pointer")
    return [token.replace("~1", "/").replace("~0", "~") for token in text[1:].split("/")]


def _position(items: list[Any], token: str, limit: int) -> int:
    """An index below `limit`; negative ones count from the end, as upstream takes them."""
    if not _index(token):
        raise PatchError(f"{token!r} is no index")
    index = int(token)
    if index < 0:
        index += limit
    if not 0 <= index < limit:
        raise PatchError(f"index {token} is out of bounds")
    return index


class _Patcher:
    """One application: a document of its own that the operations change."""

    def __init__(self, document: JSON) -> None:
        self._root = document
        self._copied_bytes = 0

    def run(self, patch: Sequence[dict[str, Any]]) -> JSON:
        for operation in patch:
            name = operation.get("op")
            if name not in _OPERATIONS:
                raise PatchError(f"unexpected kind: {name}")
            getattr(self, f"_{name}")(operation)
        return self._root

    def _child(self, parent: JSON, token: str) -> JSON:
        if isinstance(parent, dict):
            if token not in parent:
                raise PatchError(f"doc is missing key: {token}")
            return parent[token]
        if isinstance(parent, list):
            return parent[_position(parent, token, len(parent))]
        raise PatchError(f"doc is missing path to {token}")

    def _find(self, tokens: list[str]) -> JSON:
        value = self._root
        for token in tokens:
            value = self._child(value, token)
        return value

    def _value(self, operation: dict[str, Any]) -> JSON:
        if "value" not in operation:
            raise PatchError(f"{operation['op']} operation without value")
        return clone(operation["value"])

    def _insert(self, tokens: list[str], value: JSON) -> None:
        if not tokens:
            self._root = value
            return
        parent, token = self._find(tokens[:-1]), tokens[-1]
        if isinstance(parent, dict):
            parent[token] = value
        elif isinstance(parent, list):
            if token == "-":
                parent.append(value)
            else:
                parent.insert(_position(parent, token, len(parent) + 1), value)
        else:
            raise PatchError(f"doc is missing path to {token}")

    def _take(self, tokens: list[str]) -> JSON:
        if not tokens:
            raise PatchError("the whole document cannot be removed")
        parent, token = self._find(tokens[:-1]), tokens[-1]
        value = self._child(parent, token)
        if isinstance(parent, dict):
            del parent[token]
        else:
            del parent[_position(parent, token, len(parent))]
        return value

    def _add(self, operation: dict[str, Any]) -> None:
        self._insert(_pointer(operation, "path"), self._value(operation))

    def _remove(self, operation: dict[str, Any]) -> None:
        self._take(_pointer(operation, "path"))

    def _replace(self, operation: dict[str, Any]) -> None:
        tokens, value = _pointer(operation, "path"), self._value(operation)
        if not tokens:
            self._root = value
            return
        parent, token = self._find(tokens[:-1]), tokens[-1]
        if isinstance(parent, dict):
            # Whether it was there or not: upstream's library is not as strict as the RFC, and clients rely on it.
            parent[token] = value
        else:
            self._child(parent, token)
            parent[_position(parent, token, len(parent))] = value

    def _move(self, operation: dict[str, Any]) -> None:
        source, target = _pointer(operation, "from"), _pointer(operation, "path")
        if len(target) > len(source) and target[: len(source)] == source:
            raise PatchError("a value cannot be moved into itself")
        if source == target:
            self._find(source)
            return
        self._insert(target, self._take(source))

    def _copy(self, operation: dict[str, Any]) -> None:
        target, value = _pointer(operation, "path"), self._find(_pointer(operation, "from"))
        if isinstance(value, (dict, list, str)):
            self._copied_bytes += _size_bytes(value)
            if self._copied_bytes > MAX_COPY_BYTES:
                raise PatchError(
                    f"Unable to complete the copy, the accumulated size increase of copy is {self._copied_bytes}, "
                    f"exceeding the limit {MAX_COPY_BYTES}"
                )
        self._insert(target, clone(value))

    def _test(self, operation: dict[str, Any]) -> None:
        tokens, expected = _pointer(operation, "path"), operation.get("value")
        parent = self._find(tokens[:-1])
        if not tokens:
            actual = self._root
        elif isinstance(parent, dict):
            actual = parent.get(tokens[-1])
        else:
            actual = self._child(parent, tokens[-1])
        if not equal(actual, expected):
            raise PatchError(f"testing value {operation['path']} failed")


def _size_bytes(value: JSON) -> int:
    """About the size of a value's JSON: enough to bound copies."""
    if isinstance(value, str):
        return len(value) + 2
    if isinstance(value, dict):
        return 2 + sum(len(k) + 4 + _size_bytes(v) for k, v in value.items())
    if isinstance(value, list):
        return 2 + sum(1 + _size_bytes(v) for v in value)
    return 4
