"""Whose writes field ownership is computed of: an endpoint, what it does not write, and the other versions of its objects.

`/status` of a Deployment writes neither `spec` nor `metadata.labels`, and so nobody becomes their manager through it (upstream's GetResetFields and
GetResetFieldsFilter). An entry of `managedFields` speaks of the fields of its own `apiVersion`; what a write changes is looked at in each version
that an entry names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol

from lakh.machinery import fieldset
from lakh.machinery.fieldset import EMPTY, FieldSet
from lakh.machinery.schema import Node
from lakh.machinery.shapes import Shape, shape_of

JSONObject = dict[str, Any]
# Path elements from the root, `*` for any; what a prefix of a path matches is kept with all below.
Pattern = tuple[str, ...]


class Versions(Protocol):
    """The versions of a kind."""

    def shape(self, api_version: str) -> Shape | None:
        """The shape of objects of a version; None when there is no such version."""

    def convert(self, obj: JSONObject, api_version: str) -> JSONObject:
        """A plain object, which says its apiVersion, in that version; the argument stays as it is."""


class Endpoint:
    """A version of a kind, or a subresource of it.

    Writes to it leave alone: the top-level fields in `ignored`; members of `resets` and what is below them; where there are patterns in
    `only`, everything that none matches.
    """

    __slots__ = ("api_version", "ignored", "kept", "shape", "subresource", "versions")

    def __init__(
        self,
        api_version: str,
        node: Node | None,
        subresource: str = "",
        *,
        ignored: Collection[str] = (),
        resets: FieldSet = EMPTY,
        only: tuple[Pattern, ...] = (),
        versions: Versions | None = None,
    ) -> None:
        self.api_version = api_version
        self.shape = shape_of(node)
        self.subresource = subresource
        self.ignored = frozenset(ignored)
        self.versions = versions
        # Cuts a set of fields; None where `ignored` says all, which is most often.
        self.kept: Callable[[FieldSet], FieldSet] | None = None
        if only:
            self.kept = lambda fields: matching(fields, only)
        elif resets:
            self.kept = lambda fields: fieldset.recursive_difference(fields, resets)

    def __repr__(self) -> str:
        return f"<Endpoint {self.api_version} {self.subresource}>"


def matching(fields: FieldSet, patterns: tuple[Pattern, ...]) -> FieldSet:
    """The members of a set whose paths begin as one of the patterns."""
    out: FieldSet = {}
    for key, node in fields.items():
        rest = tuple(p[1:] for p in patterns if p[0] in (key, "*"))
        if key == "." or not rest:
            continue
        if () in rest:
            out[key] = node
        elif below := matching(node, rest):
            out[key] = below
    return out
