"""Kubernetes' schemas as two things made of one source: type nodes and Structs.

The source is Kubernetes' own OpenAPI definitions with their `x-kubernetes-*` extensions, a dict of definition name → JSON schema. From it
come

* `Node`s: the tree that generic code walks (pruning, unknown fields, strategic merge, field ownership, explain);
* `msgspec.Struct` types: what an object is while it is written. Decoding one checks every type at C speed (3 µs for a pod), and an unknown
  field is an error, so that only the rare object that has one pays for pruning.

Nodes are built when first asked for and shared; definitions may be recursive, so a node's children are looked up lazily. Every field of a
Struct may be `None`, which stands for absent: Go's decoder also takes JSON null for the zero value. It is not encoded, but for the `nulls`, which
upstream's types show though there is nothing; `zeros` are shown as the zero values that they have from the start.
"""

from __future__ import annotations

import keyword
import sys
import types
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Literal, Union

import msgspec

from lakh.machinery import checkedtexts

NodeType = Literal[
    "struct", "map", "list", "string", "integer", "number", "boolean", "quantity", "int-or-string", "any"
]

# Definitions that are their own world: free-form JSON, or (JSONSchemaProps) recursive enough that Structs
# would buy nothing.
_FREE_FORM = (
    ".FieldsV1",
    ".RawExtension",
    ".JSON",
    ".JSONSchemaProps",
    ".JSONSchemaPropsOrBool",
    ".JSONSchemaPropsOrArray",
    ".JSONSchemaPropsOrStringArray",
)


# List-map keys that Kubernetes' types default; the published schemas do not say so.
KEY_DEFAULTS = {"protocol": "TCP"}


class Node:
    """One place of a schema: its type, and how lists and maps merge there.

    `list_type` is `atomic`, `set` or `map` (absent means atomic), `map_keys` the keys of a list map; `merge_key` and `patch_strategy` are
    what strategic merge patch goes by; `map_type` is `granular` or `atomic` for structs and maps. `shape` belongs to `machinery.shapes`, which
    keeps its own view of the place there.
    """

    __slots__ = (
        "_element",
        "_fields",
        "_schema",
        "definition",
        "description",
        "format",
        "list_type",
        "map_keys",
        "map_type",
        "merge_key",
        "patch_strategy",
        "required",
        "shape",
        "type",
    )

    # Whether a struct keeps fields that it does not declare; only structural schemas say so.
    open: bool = False

    def __init__(self, schema: Schema, raw: Mapping[str, Any], definition: str | None) -> None:
        self._schema = schema
        self.shape: Any = None
        self.definition = definition
        self.type: NodeType = _node_type(raw, definition)
        self.description: str = raw.get("description", "")
        self.format: str | None = raw.get("format")
        self.required: frozenset[str] = frozenset(raw.get("required", ()))
        self.list_type: str = raw.get("x-kubernetes-list-type", "atomic")
        self.map_keys: tuple[str, ...] = tuple(raw.get("x-kubernetes-list-map-keys", ()))
        self.map_type: str = raw.get("x-kubernetes-map-type", "granular")
        self.merge_key: str | None = raw.get("x-kubernetes-patch-merge-key")
        strategy = raw.get("x-kubernetes-patch-strategy", "")
        self.patch_strategy: tuple[str, ...] = tuple(strategy.split(",")) if strategy else ()
        self._fields: dict[str, Any] = dict(raw["properties"]) if self.type == "struct" else {}
        if self.type == "list":
            self._element: Any = raw["items"]
        elif self.type == "map":
            self._element = raw.get("additionalProperties")
        else:
            self._element = None

    def __repr__(self) -> str:
        return f"<Node {self.type} {self.definition or ''}>"

    def key_default(self, key: str) -> Any:
        """The default of a key of this list's items, None when it has none."""
        return KEY_DEFAULTS.get(key)

    def field(self, name: str) -> Node | None:
        """The node of a struct's field; None when there is no such field."""
        fields = self._fields
        node = fields.get(name)
        if node is None or isinstance(node, Node):
            return node
        resolved = fields[name] = self._schema._resolve(node)
        return resolved

    def fields(self) -> Iterator[tuple[str, Node]]:
        """All fields of a struct, in the schema's order."""
        for name in list(self._fields):
            node = self.field(name)
            assert node is not None
            yield name, node

    @property
    def element(self) -> Node:
        """The node of a list's items or a map's values."""
        if not isinstance(self._element, Node):
            self._element = self._schema._resolve(self._element or {})
        return self._element


def _node_type(raw: Mapping[str, Any], definition: str | None) -> NodeType:
    if definition is not None:
        if definition.endswith(".Quantity"):
            return "quantity"
        if definition.endswith(".IntOrString"):
            return "int-or-string"
        if definition.endswith(_FREE_FORM):
            return "any"
    declared = raw.get("type")
    if isinstance(declared, list):
        declared = next(t for t in declared if t != "null")
    match declared:
        case "object":
            if "properties" in raw:
                return "struct"
            return "map" if raw.get("additionalProperties") else "any"
        case "array":
            return "list"
        case "string" | "integer" | "number" | "boolean":
            return declared  # type: ignore[no-any-return]
        case _:
            return "any"


_SCALARS: dict[str, Any] = {"string": str, "integer": int, "boolean": bool}
_INTEGERS = {
    "int32": Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)],
    "int64": Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
}
_CHECKED = {
    ".Time": checkedtexts.Time,
    ".MicroTime": checkedtexts.MicroTime,
    ".Quantity": checkedtexts.Quantity,
}


def _nullable(python_type: Any) -> Any:
    return Union[python_type, None]  # noqa: UP007


def _checked_type(raw: Mapping[str, Any], definition: str | None) -> Any:
    """The type of a value whose text a `checks` Struct looks at; None when any will do."""
    if definition is not None:
        return _CHECKED.get(definition[definition.rindex(".") :])
    return bytes if raw.get("format") == "byte" else None


def attribute_name(field: str) -> str:
    """The Python attribute of a JSON field: `from` → `from_`, `$ref` → `ref`, `x-a` → `x_a`."""
    name = field.replace("$", "").replace("-", "_")
    return name + "_" if keyword.iskeyword(name) else name


class Schema:
    """All definitions; hands out nodes and Struct types by definition name. `nulls` are fields that are encoded as null when absent,
    `zeros` those that are never absent: strings, numbers, booleans and structs.
    """

    def __init__(
        self,
        definitions: Mapping[str, Any],
        module: str = "lakh.machinery._structs",
        nulls: Mapping[str, Collection[str]] | None = None,
        zeros: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self._definitions = definitions
        self._nulls = nulls or {}
        self._zeros = zeros or {}
        self._nodes: dict[str, Node] = {}
        self._structs: dict[str, Any] = {}
        self._checks: dict[str, Any] = {}
        self._module = module
        sys.modules.setdefault(
            module, types.ModuleType(module, "Structs generated from Kubernetes' schemas.")
        )

    def definitions(self) -> Mapping[str, Any]:
        """The raw definitions, as given."""
        return self._definitions

    def node(self, definition: str) -> Node:
        """The node of a definition; raises KeyError when there is none."""
        node = self._nodes.get(definition)
        if node is None:
            node = self._nodes[definition] = Node(self, self._definitions[definition], definition)
        return node

    def _resolve(self, raw: Mapping[str, Any]) -> Node:
        ref = raw.get("$ref")
        if ref is None:
            return Node(self, raw, None)
        definition = ref.rsplit("/", 1)[1]
        extra = {k: v for k, v in raw.items() if k.startswith("x-kubernetes") or k == "description"}
        if not any(k.startswith("x-") for k in extra) and "description" not in extra:
            return self.node(definition)
        return Node(self, {**self._definitions[definition], **extra}, definition)

    def struct(self, definition: str) -> Any:
        """The Struct type of a definition. `metadata` is its first field, so that it is encoded first."""
        struct = self._structs.get(definition)
        if struct is not None:
            return struct
        raw = self._definitions[definition]
        fields: list[tuple[str, Any, Any]] = []
        rename: dict[str, str] = {}
        nulls, zeros = self._nulls.get(definition, ()), self._zeros.get(definition, ())
        for name, sub in sorted(raw["properties"].items(), key=lambda field: field[0] != "metadata"):
            attribute = attribute_name(name)
            if attribute != name:
                rename[attribute] = name
            python_type = self._python_type(sub)
            # What is no default is always encoded.
            if name in zeros:
                zero = python_type if "$ref" in sub else _SCALARS[_node_type(sub, None)]
                fields.append((attribute, python_type, msgspec.field(default_factory=zero)))
            else:
                absent = msgspec.field(default_factory=type(None)) if name in nulls else None
                fields.append((attribute, _nullable(python_type), absent))
        struct = msgspec.defstruct(
            definition.rsplit(".", 1)[1],
            fields,
            module=self._module,
            rename=rename or None,
            omit_defaults=True,
            forbid_unknown_fields=True,
            kw_only=True,
            gc=False,
        )
        self._structs[definition] = struct
        return struct

    def checks(self, definition: str) -> Any:
        """A narrow Struct type that decodes, with `checkedtexts.look` as hook, when the times, quantities and bytes of an object are well formed; None
        when it has none.

        The Struct type takes them as texts: what is at rest has been looked at.
        """
        if definition not in self._checks:
            # Until it is known: a definition within itself adds nothing.
            self._checks[definition] = None
            fields = [
                (name, checked)
                for name, sub in self._definitions[definition].get("properties", {}).items()
                if (checked := self._check(sub)) is not None
            ]
            if fields:
                self._checks[definition] = msgspec.defstruct(
                    definition.rsplit(".", 1)[1] + "Checks",
                    [(attribute_name(name), _nullable(checked), None) for name, checked in fields],
                    module=self._module,
                    rename={attribute_name(name): name for name, _ in fields},
                    kw_only=True,
                    gc=False,
                )
        return self._checks[definition]

    def _check(self, raw: Mapping[str, Any]) -> Any:
        definition = None
        if "$ref" in raw:
            definition = raw["$ref"].rsplit("/", 1)[1]
            raw = self._definitions[definition]
        found = _checked_type(raw, definition)
        if found is not None:
            return found
        match _node_type(raw, definition):
            case "struct" if definition is not None:
                return self.checks(definition)
            case "map" if (below := self._check(raw["additionalProperties"])) is not None:
                return dict[str, _nullable(below)]  # type: ignore[misc]
            case "list" if (below := self._check(raw["items"])) is not None:
                return list[_nullable(below)]  # type: ignore[misc]
        return None

    def _python_type(self, raw: Mapping[str, Any]) -> Any:
        definition = None
        if "$ref" in raw:
            definition = raw["$ref"].rsplit("/", 1)[1]
            raw = self._definitions[definition]
        match _node_type(raw, definition):
            case "struct":
                if definition is None:
                    raise ValueError("inline structs are not expected in Kubernetes' definitions")
                return self.struct(definition)
            case "map":
                below = self._python_type(raw["additionalProperties"])
                if raw["additionalProperties"].get("$ref", "").endswith("Time"):
                    # The zero time is encoded as null.
                    below = _nullable(below)
                return dict[str, below]  # type: ignore[valid-type]
            case "list":
                return list[self._python_type(raw["items"])]  # type: ignore[misc]
            case "string":
                return str
            case "integer":
                return _INTEGERS[raw.get("format", "int64")]
            case "number":
                return float
            case "boolean":
                return bool
            case "quantity":
                return str | int | float
            case "int-or-string":
                return str | int
            case _:
                return Any
