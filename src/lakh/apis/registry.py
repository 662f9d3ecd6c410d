"""What a resource is: the declarations from which the server serves it.

A `Resource` says where it lives (group, version, plural), of which schema definition it is, and what its subresources are. Its `Strategy`
says what is particular to its kind: defaults, what a create or an update may set, validation, columns, selectable fields. What is common to
all kinds (metadata, generation, dropping status) is written once, here and in `apis.meta`.

Objects are the generated Structs of `machinery.schema`: attributes with the JSON names, `None` for absent. A strategy changes them in place.
The order of a write is upstream's: decode → `default` → `prepare_for_create` → `validate` (create), and decode → `default` →
`prepare_for_update` → `validate_update` (update), where `old` is the stored object and is never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lakh.machinery import names
from lakh.machinery.errors import FieldError

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of kubectl's table: `meta.k8s.io/v1 TableColumnDefinition`. Priority above 0 shows with `-o wide` only."""

    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0


NAME_COLUMN = Column("Name", "string", "name", "Name must be unique within a namespace.")
AGE_COLUMN = Column(
    "Age",
    "string",
    "",
    "CreationTimestamp is a timestamp representing the server time when this object was created.",
)


# What upstream's ResetObjectMetaForStatus restores.
STATUS_METADATA = ("labels", "annotations", "finalizers", "ownerReferences")


class Strategy:
    """What is particular to a kind. The methods here do nothing beyond what every kind needs; override what differs.

    `has_status`: the kind has a status subresource, so creates and updates of the main resource leave status alone, and updates of
    status leave the rest alone. `generation`: metadata.generation counts changes of spec.
    """

    has_status: bool = False
    generation: bool = False
    allow_create_on_update: bool = False
    allow_unconditional_update: bool = True
    # Whether finalizers without a domain are fine: built-in kinds know only three of them.
    any_finalizer: bool = False
    # The warning that every answer to a request for a deprecated kind carries; empty when it is not deprecated.
    deprecation: str = ""
    # What writes to an endpoint leave alone beside spec or status, by subresource ("" is the object itself): upstream's GetResetFields.
    resets: Mapping[str, tuple[str, ...]] = {}
    # Where writes leave everything else alone, what they write (`*` any item): upstream's GetResetFieldsFilter.
    writes: Mapping[str, tuple[str, ...]] = {}
    # Metadata that an update of status leaves alone.
    status_keeps: tuple[str, ...] = ()
    # Whether an update changes nothing in parts that are as they were stored, so that a patch need not copy what it does not name.
    keeps_parts: bool = True
    # Whether `default` looks at nothing but the spec, so that an update that shares its spec with what is stored needs none.
    defaults_spec_alone: bool = False
    # Finalizers of garbage collection by default: "background" for all but a few old kinds.
    default_propagation: str = "Background"
    # What is said to a client that deletes an object and leaves its dependents to that.
    propagation_warning: str = ""
    columns: tuple[Column, ...] = (NAME_COLUMN, Column("Created At", "date", "", AGE_COLUMN.description))
    # Where an object's row stands in a table, if not by name.
    row_order: Callable[[Any], Any] | None = None
    # metadata.name and metadata.namespace are always there.
    selectable_fields: Mapping[str, Callable[[Any], str]] = {}
    # A struct of the parts of a stored object that they read, for a kind that is watched by field a lot: its decoding is a
    # third of the whole object's.
    selectable_view: type | None = None
    # A struct of the parts by which a delete tells whether an object goes at once, for a kind that is deleted a lot.
    deletable_view: type | None = None

    def validate_name(self, name: str) -> list[str]:
        """Messages of what is wrong with `metadata.name`; a DNS subdomain unless overridden."""
        return names.dns_subdomain(name)

    def default(self, obj: Any) -> None:
        """Fills in defaults (upstream's SetDefaults functions). Idempotent. Called on every decode of a client's object."""

    def unnamed(self) -> str:
        """The name of a new object that has none; empty where that is wrong, or `generateName` decides."""
        return ""

    def prepare_for_create(self, obj: Any) -> None:
        """Clears what a client may not set on create."""
        if self.has_status:
            obj.status = None
        if self.generation:
            obj.metadata.generation = 1

    def validate(self, obj: Any) -> list[FieldError]:
        """All findings on a new object, metadata excluded (the server checks that by `apis.meta`)."""
        return []

    def prepare_for_update(self, new: Any, old: Any) -> None:
        """Restores what an update may not change silently, counts the generation."""
        if self.has_status:
            new.status = old.status
        if self.generation:
            changed = any(
                getattr(new, name) != getattr(old, name)
                for name in new.__struct_fields__
                if name not in ("metadata", "status", "apiVersion", "kind")
            )
            new.metadata.generation = (
                (old.metadata.generation or 0) + 1 if changed else old.metadata.generation
            )

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """All findings on an update, immutability included; calls `validate` unless a kind says otherwise."""
        return self.validate(new)

    def prepare_for_status_update(self, new: Any, old: Any) -> None:
        """Keeps everything but status (and the metadata that status updates may change)."""
        for name in new.__struct_fields__:
            if name not in ("metadata", "status", "apiVersion", "kind"):
                setattr(new, name, getattr(old, name))
        new.metadata.generation = old.metadata.generation
        for name in self.status_keeps:
            setattr(new.metadata, name, getattr(old.metadata, name))

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """All findings on an update of status."""
        return []

    def prepare_for_subresource(self, new: Any, old: Any, subresource: str) -> None:
        """Keeps what an update of a subresource of the kind's own (other than status) may not change."""
        self.prepare_for_update(new, old)

    def validate_subresource(self, new: Any, old: Any, subresource: str) -> list[FieldError]:
        """All findings on an update of such a subresource."""
        return self.validate_status_update(new, old)

    def renewed(self, new: Any, old: Any) -> str:
        """The one field of the spec that an update changed, where any value of its type is valid whatever the rest is; "" otherwise.

        Of such an update, with metadata as they were, nothing is prepared, validated or compared again.
        """
        return ""

    def heartbeat(self, new: Any, old: Any) -> bytes:
        """The set of fields below status (as `FieldsV1`) that an update of status changed, where any of their values is valid whatever the rest is; b""
        otherwise. Their values are there before and after.

        Of such an update, with metadata as they were, nothing is prepared, validated or compared again.
        """
        return b""

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """Texts for `Warning` headers of a create (`old` None) or update."""
        return []

    def permanent(self, name: str) -> str:
        """Why the object of this name may not be deleted; "" when it may. Deletions of collections do not ask."""
        return ""

    def fields_key(self, obj: Any) -> bytes | None:
        """Bytes that two new objects have in common only if their specs have the same fields; None for a kind whose objects seldom do."""
        return None

    def grace_period_seconds(self, obj: Any, requested: int | None) -> int:
        """How long a delete waits for the object's node or owner to finish it off; 0 deletes at once."""
        return 0

    def terms(self, obj: Any) -> tuple[str, ...]:
        """Index words by which watchers find the object, such as `spec.nodeName=n1`."""
        return ()

    def cells(self, obj: Any, now: float) -> list[Any]:
        """The row of `columns` for an object; `now` in seconds since the epoch."""
        return [obj.metadata.name, obj.metadata.creationTimestamp]

    def row_conditions(self, obj: Any) -> list[dict[str, str]]:
        """The `conditions` of an object's row: `Completed`, where a kind has an end."""
        return []


@dataclass(frozen=True, slots=True)
class Scale:
    """Where the scale subresource finds its numbers: dotted paths into the object, without a leading dot."""

    spec_replicas: str = "spec.replicas"
    status_replicas: str = "status.replicas"
    selector: str = "spec.selector"


@dataclass(frozen=True, eq=False)
class Resource:
    """A resource as served: `pods` of `v1`, `deployments` of `apps/v1`.

    `definition` names its schema (`io.k8s.api.core.v1.Pod`). `partition` is where it is stored. A resource that is another view of a stored one
    (`events.k8s.io/v1` events, `autoscaling/v1` autoscalers) has `stored_as` = (group, version, plural) of that one and converts in both
    directions between plain dicts (without apiVersion and kind).
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    definition: str
    strategy: Strategy = field(default_factory=Strategy)
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    partition: str = "default"
    # Subresource name → the kind it speaks (group, version, kind) and its verbs.
    subresources: Mapping[str, Subresource] = field(default_factory=dict)
    scale: Scale | None = None
    stored_as: tuple[str, str, str] | None = None
    to_stored: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    from_stored: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    @property
    def api_version(self) -> str:
        """`apps/v1`, or `v1` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def list_name(self) -> str:
        """The kind of its lists."""
        return f"{self.kind}List"

    @property
    def table(self) -> str:
        """The name of its table in the store: `pods`, `deployments.apps`."""
        if self.stored_as is not None:
            group, _, plural = self.stored_as
            return f"{plural}.{group}" if group else plural
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def __repr__(self) -> str:
        return f"<Resource {self.plural}.{self.version}.{self.group or 'core'}>"


@dataclass(frozen=True, slots=True)
class Subresource:
    """A subresource as discovery shows it."""

    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


CONNECT_VERBS = ("create", "get")
PROXY_VERBS = ("create", "delete", "get", "patch", "update")
STATUS_VERBS = ("get", "patch", "update")


def status_of(kind: str) -> Subresource:
    """The usual status subresource."""
    return Subresource(kind, STATUS_VERBS)


SCALE = Subresource("Scale", STATUS_VERBS, "autoscaling", "v1")


class Registry:
    """All resources served, by group, version and plural. `generation` counts its changes, for whoever keeps what was made of it."""

    def __init__(self, resources: tuple[Resource, ...] = ()) -> None:
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        self.generation = 0
        for resource in resources:
            self.add(resource)

    def add(self, resource: Resource) -> None:
        """Adds a resource; raises ValueError when it is there already."""
        key = (resource.group, resource.version, resource.plural)
        if key in self._by_path:
            raise ValueError(f"{key} is registered twice")
        self._by_path[key] = resource
        self.generation += 1

    def remove(self, resource: Resource) -> None:
        """Removes a resource; nothing happens when it is not there."""
        key = (resource.group, resource.version, resource.plural)
        if self._by_path.get(key) is resource:
            del self._by_path[key]
            self.generation += 1

    def copy(self) -> Registry:
        """A registry of the same resources, to be changed on its own."""
        return Registry(tuple(self._by_path.values()))

    def get(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource at a path, or None."""
        return self._by_path.get((group, version, plural))

    def of_kind(self, group: str, version: str, kind: str) -> Resource | None:
        """The resource of a kind, or None."""
        return next(
            (r for r in self._by_path.values() if (r.group, r.version, r.kind) == (group, version, kind)),
            None,
        )

    def all(self) -> list[Resource]:
        """All resources, in the order they were added."""
        return list(self._by_path.values())
