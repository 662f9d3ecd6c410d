"""Objects as rows: `meta.k8s.io/v1 Table`, which kubectl prints."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column
from lakh.machinery import errors, times
from lakh.server.codec import encode_json
from lakh.server.negotiate import META
from lakh.server.storage import ResourceStore
from lakh.store.state import Item

INCLUDE = ("None", "Metadata", "Object")


class _RawMetadata(msgspec.Struct, gc=False):
    metadata: msgspec.Raw


_decode_metadata = msgspec.json.Decoder(_RawMetadata).decode


def partial_metadata(item: Item, revision: int | None = None, meta: str = META) -> bytes:
    """The item as PartialObjectMetadata of the version `meta`."""
    raw = bytes(_decode_metadata(item.value).metadata)
    return b'{"kind":"PartialObjectMetadata","apiVersion":"%s","metadata":{"resourceVersion":"%d",%s}' % (
        meta.encode(),
        item.revision if revision is None else revision,
        raw[1:],
    )


def include_object(query: dict[str, str]) -> str:
    """The `includeObject` parameter; Metadata when it is not given. Raises 400."""
    value = query.get("includeObject", "Metadata") or "Metadata"
    if value not in INCLUDE:
        finding = errors.invalid_value(
            "includeObject", value, "must be 'Metadata', 'Object', 'None', or empty"
        )
        raise errors.bad_request(f"Unable to convert to Table as requested: {finding}")
    return value


def column_definitions(columns: tuple[Column, ...]) -> bytes:
    """The `columnDefinitions` of a table."""
    return encode_json(
        [
            {
                "name": c.name,
                "type": c.type,
                "format": c.format,
                "description": c.description,
                "priority": c.priority,
            }
            for c in columns
        ]
    )


def row(
    store: ResourceStore, item: Item, include: str, revision: int | None = None, meta: str = META
) -> bytes:
    """One row: the cells, and of the object what was asked for."""
    obj = store.codec.decode_stored(item.value)
    cells = encode_json(store.strategy.cells(obj, time.time()))
    conditions = store.strategy.row_conditions(obj)
    if conditions:
        cells = b'%s,"conditions":%s' % (cells, encode_json(conditions))
    if include == "None":
        return b'{"cells":%s}' % cells
    if include == "Metadata":
        return b'{"cells":%s,"object":%s}' % (cells, partial_metadata(item, revision, meta))
    served = store.codec.serve(item.value, item.revision if revision is None else revision)
    return b'{"cells":%s,"object":%s}' % (cells, served)


def in_order(store: ResourceStore, items: list[Item]) -> list[Item]:
    """The items in the order of their rows. Kinds with an order of their own have few objects: all are in the first piece of a list."""
    order = store.strategy.row_order
    if order is None:
        return items
    return sorted(items, key=lambda item: order(store.codec.decode_stored(item.value)))


def table_head(store: ResourceStore, list_metadata: bytes, headers: bool = True, meta: str = META) -> bytes:
    """A table up to its rows."""
    definitions = column_definitions(store.strategy.columns) if headers else b"null"
    return b'{"kind":"Table","apiVersion":"%s","metadata":%s,"columnDefinitions":%s,"rows":[' % (
        meta.encode(),
        list_metadata,
        definitions,
    )


TABLE_TAIL = b"]}"


def single(
    store: ResourceStore,
    item: Item,
    include: str,
    headers: bool = True,
    revision: int | None = None,
    meta: str = META,
) -> bytes:
    """A table of one object."""
    shown = item.revision if revision is None else revision
    return b"%s%s%s" % (
        table_head(store, b'{"resourceVersion":"%d"}' % shown, headers, meta),
        row(store, item, include, revision, meta),
        TABLE_TAIL,
    )


_SCALE_COLUMNS = (
    NAME_COLUMN,
    Column("Desired", "integer", description="Number of instances that are wanted."),
    Column("Available", "integer", description="Number of instances that there are."),
    AGE_COLUMN,
)


def of_scale(scale: dict[str, Any], include: str, meta: str) -> bytes:
    """A Scale as a table of one row."""
    metadata = scale["metadata"]
    shown: dict[str, Any] = {
        "cells": [
            metadata["name"],
            scale["spec"]["replicas"],
            scale["status"]["replicas"],
            times.age(metadata.get("creationTimestamp"), time.time()),
        ]
    }
    if include == "Metadata":
        shown["object"] = metadata_of(scale, meta)
    elif include == "Object":
        shown["object"] = scale
    return b'{"kind":"Table","apiVersion":"%s","metadata":%s,"columnDefinitions":%s,"rows":[%s]}' % (
        meta.encode(),
        encode_json({"resourceVersion": metadata["resourceVersion"]}),
        column_definitions(_SCALE_COLUMNS),
        encode_json(shown),
    )


def metadata_of(plain: dict[str, Any], meta: str) -> dict[str, Any]:
    """A plain object as PartialObjectMetadata of the version `meta`."""
    return {"kind": "PartialObjectMetadata", "apiVersion": meta, "metadata": plain["metadata"]}
