"""What the groups share: the declaration helper and the strategy that every kind here starts from.

Almost every kind outside the core group follows the same naming: its definition is `io.k8s.api.<first label of the group>.<version>.<kind>`,
its singular is the kind in lower case, its status subresource speaks the kind itself. `declare` knows that, so that a group's table of
resources says only what is particular.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, get_args

import msgspec

from lakh.apis import meta
from lakh.apis.definitions import schema
from lakh.apis.groups import printing
from lakh.apis.registry import (
    AGE_COLUMN,
    ALL_VERBS,
    NAME_COLUMN,
    SCALE,
    Column,
    Resource,
    Scale,
    Strategy,
    Subresource,
    status_of,
)
from lakh.machinery.errors import FieldError


@lru_cache(maxsize=1024)
def _child_type(parent: Any, name: str) -> Any:
    for field in msgspec.structs.fields(parent):
        if field.name == name:
            for kind in get_args(field.type):
                kind = next(iter(get_args(kind)), kind)
                if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                    return kind
    raise AttributeError(f"{parent.__name__} has no struct in {name}")


def child(parent: Any, name: str) -> Any:
    """The struct in a field, made empty when it is absent: Go's zero value."""
    value = getattr(parent, name)
    if value is None:
        value = new(parent, name)
        setattr(parent, name, value)
    return value


def new(parent: Any, name: str, **values: Any) -> Any:
    """A struct of the type of a field, or of its items."""
    owner: Any = type(parent)
    return _child_type(owner, name)(**values)


# Of a reference to a service.
DEFAULT_SERVICE_PORT = 443
# Of kinds whose status is written without metadata.
METADATA_RESETS: Mapping[str, tuple[str, ...]] = {"status": ("metadata",)}

_ZEROS: dict[str, Any] = {"integer": 0, "boolean": False}


class GroupStrategy(Strategy):
    """What every kind of these groups starts from.

    An absent spec becomes an empty one, as it is in Go. A status is there from the start, with the zero values that its schema
    requires: clients rely on `object.status` being an object. Validation finds what the schema requires and the object lacks. Tables show
    name and age.
    """

    definition: str = ""
    # Numbers of a status that are always there, though the schema does not require them.
    status_zeros: tuple[str, ...] = ()
    columns: tuple[Column, ...] = (NAME_COLUMN, AGE_COLUMN)

    def default(self, obj: Any) -> None:
        """An empty spec for an absent one."""
        if getattr(obj, "spec", obj) is None:
            child(obj, "spec")

    def prepare_for_create(self, obj: Any) -> None:
        """Status as a new object has it."""
        super().prepare_for_create(obj)
        if self.has_status:
            self.reset_status(obj)

    def reset_status(self, obj: Any) -> None:
        """An empty status with its required numbers zero and booleans false."""
        obj.status = None
        status = child(obj, "status")
        node = schema().node(self.definition).field("status")
        assert node is not None
        for name in (*node.required, *self.status_zeros):
            field = node.field(name)
            if field is not None and field.type in _ZEROS:
                setattr(status, name, _ZEROS[field.type])

    def validate(self, obj: Any) -> list[FieldError]:
        """What the schema requires."""
        return meta.required_fields(obj, schema().node(self.definition))

    def cells(self, obj: Any, now: float) -> list[Any]:
        """Name and age."""
        return [obj.metadata.name, printing.age(obj, now)]


def declare(
    group: str,
    version: str,
    plural: str,
    kind: str,
    strategy: Strategy,
    *,
    namespaced: bool,
    definition: str = "",
    short_names: tuple[str, ...] = (),
    categories: tuple[str, ...] = (),
    verbs: tuple[str, ...] = ALL_VERBS,
    partition: str = "default",
    scale: Scale | None = None,
    subresources: dict[str, Subresource] | None = None,
    **view: Any,
) -> Resource:
    """A resource with the usual names filled in; `status` and `scale` subresources follow from the strategy and `scale`."""
    served = dict(subresources or {})
    if strategy.has_status:
        served["status"] = status_of(kind)
    if scale is not None:
        served["scale"] = SCALE
    definition = definition or f"io.k8s.api.{group.split('.', 1)[0]}.{version}.{kind}"
    if isinstance(strategy, GroupStrategy):
        strategy.definition = definition
    return Resource(
        group=group,
        version=version,
        plural=plural,
        kind=kind,
        namespaced=namespaced,
        definition=definition,
        strategy=strategy,
        singular=kind.lower(),
        short_names=short_names,
        categories=categories,
        verbs=verbs,
        partition=partition,
        subresources=dict(sorted(served.items())),
        scale=scale,
        **view,
    )
