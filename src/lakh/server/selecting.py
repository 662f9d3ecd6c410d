"""Selectors on stored objects: what a list or watch asked for, tested on items.

An item's labels are decoded once, through a view that skips the rest, and kept with the item; whoever selects next finds them there.
Names, namespaces and index terms are tested without decoding anything.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from lakh.apis.registry import Resource
from lakh.machinery import errors, selectors
from lakh.store.replica import Replica
from lakh.store.state import Item


class _MetadataView(msgspec.Struct, gc=False):
    labels: msgspec.Raw = msgspec.Raw(b"null")


class _LabelsView(msgspec.Struct, gc=False):
    metadata: _MetadataView


_find_labels = msgspec.json.Decoder(_LabelsView).decode
_decode_labels = msgspec.json.Decoder(dict[str, str] | None).decode
_known: dict[bytes, dict[str, str]] = {}
"""Labels by their JSON: items made from one template hold one dictionary."""
KNOWN_MAX = 16_384


def labels_of(item: Item) -> dict[str, str]:
    """The labels of an item; decoded once."""
    labels = item.cache
    if labels is None:
        encoded = bytes(_find_labels(item.value).metadata.labels)
        labels = _known.get(encoded)
        if labels is None:
            if len(_known) >= KNOWN_MAX:
                _known.clear()
            labels = _known[encoded] = _decode_labels(encoded) or {}
        item.cache = labels
    return labels  # type: ignore[no-any-return]


@cache
def status_decoder(view: type) -> Callable[[bytes], Any]:
    """Decodes of an object at rest what `view` has of its status, and nothing else: 1 µs instead of 6 for a pod.

    The status is looked for from the end. Only a key can be written so, for quotes in a text are escaped; and if it was a key further inside, there would be
    more to come after the end of the object that begins with it. Then, and without a status, all is decoded.
    """
    status = next(field.type for field in msgspec.structs.fields(view) if field.name == "status")
    tail = msgspec.json.Decoder(msgspec.defstruct("Tail", [("status", status)], gc=False)).decode
    whole: Callable[[bytes], Any] = msgspec.json.Decoder(view).decode

    def decode(value: bytes) -> Any:
        at = value.rfind(b',"status":{')
        if at >= 0:
            try:
                return tail(b"{" + value[at + 1 :])
            except msgspec.DecodeError:
                pass
        return whole(value)

    return decode


class Selection:
    """The label and field selectors of a request on one resource.

    `name`, `namespace` and `term` are the parts that a store index answers; the rest is tested by `matches`.
    """

    __slots__ = (
        "_decode",
        "_excluded",
        "_fields",
        "_labels",
        "_terms",
        "_without",
        "by_terms",
        "decodes",
        "name",
        "namespace",
        "term",
        "trivial",
    )

    def __init__(
        self,
        resource: Resource,
        decode: Callable[[bytes], Any],
        namespace: str,
        name: str,
        label_selector: str,
        field_selector: str,
    ) -> None:
        self._decode = decode
        self.namespace = namespace
        self.name = name
        self.term: str | None = None
        self._labels: selectors.Selector | None = None
        self._terms: list[str] = []
        # Index prefixes with the value that is not wanted, and prefixes of which there must be no term.
        self._excluded: list[tuple[str, str]] = []
        self._without: list[str] = []
        # How a field is read, with the values that it must have, or must not.
        self._fields: dict[Callable[[Any], str], list[tuple[str, bool]]] = {}
        if label_selector:
            try:
                parsed = selectors.parse(label_selector)
            except selectors.SelectorError as e:
                raise errors.bad_request(str(e)) from None
            if not parsed.empty:
                self._labels = parsed
        if field_selector:
            self._read_fields(resource, field_selector)
            if name:
                # Of what a path names no other fields are asked for (upstream's ListResource).
                named = [value for value, wanted in self._fields.get(_name_of, ()) if wanted]
                if named[:1] != [name]:
                    raise errors.bad_request("fieldSelector metadata.name doesn't match requested name")
        self.decodes = bool(self._fields)
        """Whether `matches` looks into values."""
        self.by_terms = self._labels is None and not self._fields
        """Whether `matches` looks at an item's terms alone."""
        self.trivial = self.by_terms and not (self._terms or self._excluded or self._without)

    def _read_fields(self, resource: Resource, text: str) -> None:
        try:
            parsed = selectors.parse_fields(text)
        except selectors.SelectorError as e:
            raise errors.bad_request(str(e)) from None
        known = resource.strategy.selectable_fields
        for field, operator, value in parsed.requirements:
            positive = operator in ("=", "==")
            if field == "metadata.name":
                if positive and not self.name:
                    self.name = value
                else:
                    self._require(_name_of, value, positive)
            elif field == "metadata.namespace" and resource.namespaced:
                if positive and not self.namespace:
                    self.namespace = value
                else:
                    self._require(_namespace_of, value, positive)
            elif field in known:
                term = f"{field}={value}"
                if field in INDEXED.get(resource.table, ()):
                    if not positive:
                        self._excluded.append((f"{field}=", value))
                    elif value:
                        self.term = self.term or term
                        self._terms.append(term)
                    else:
                        self._without.append(f"{field}=")
                else:
                    self._require(known[field], value, positive)
            else:
                raise errors.bad_request(f"field label not supported: {field}")
        view = resource.strategy.selectable_view
        if view is not None and self._fields.keys() <= {
            get for field, get in known.items() if field.startswith("status.")
        }:
            self._decode = status_decoder(view)

    def _require(self, get: Callable[[Any], str], value: str, wanted: bool) -> None:
        self._fields.setdefault(get, []).append((value, wanted))

    def matches(self, item: Item) -> bool:
        """Whether an item is selected, whatever its name and namespace indexes said."""
        for term in self._terms:
            if term not in item.terms:
                return False
        for prefix, value in self._excluded:
            if _term_value(item, prefix) == value:
                return False
        for prefix in self._without:
            if _term_value(item, prefix):
                return False
        if self._labels is not None and not self._labels.matches(labels_of(item)):
            return False
        if self._fields:
            obj = self._decode(item.value)
            for get, required in self._fields.items():
                found = get(obj)
                for value, wanted in required:
                    if (found == value) != wanted:
                        return False
        return True

    def covers(self, item: Item, scope: str | None) -> bool:
        """Whether an item of any namespace and name is selected; `scope` is the namespace, None for all."""
        _, namespace, name = item.key.split("/", 2)
        return (
            (scope is None or namespace == scope)
            and (not self.name or name == self.name)
            and self.matches(item)
        )

    def at_hand(self, partition: Replica, resource: Resource) -> list[Item] | None:
        """What is selected now, where an index tells: a named object, or the objects of a term. None where the table must be read."""
        scope = self.scope(resource)
        if self.name and (scope or not resource.namespaced):
            named = partition.get(f"{resource.table}/{scope or ''}/{self.name}")
            return [named] if named is not None and self.matches(named) else []
        if self.term is not None:
            return [i for i in partition.having(resource.table, self.term) if self.covers(i, scope)]
        return None

    def scope(self, resource: Resource) -> str | None:
        """The namespace that is asked for; None for all, and for what has none."""
        return self.namespace or None if resource.namespaced else None


def indexed_term(table: str, field_selector: str) -> str | None:
    """The term by which the store finds what a field selector asks for, if it is one: without judging the selector."""
    for field in INDEXED.get(table, ()):
        for part in field_selector.split(","):
            name, equals, value = part.partition("=")
            if name == field and equals and value.removeprefix("="):
                return f"{field}={value.removeprefix('=')}"
    return None


def _term_value(item: Item, prefix: str) -> str:
    """The value of an indexed field: what a term says behind its prefix, or nothing."""
    for term in item.terms:
        if term.startswith(prefix):
            return term[len(prefix) :]
    return ""


# Fields by which the store indexes objects; strategies give them as terms.
INDEXED = {"pods": ("spec.nodeName",)}


def _name_of(obj: Any) -> str:
    return obj.metadata.name or ""


def _namespace_of(obj: Any) -> str:
    return obj.metadata.namespace or ""
