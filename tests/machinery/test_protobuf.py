"""Protobuf bodies: what Go's clients write, round trips over the whole schema, and bytes of any kind."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakh.apis.definitions import schema
from lakh.machinery import protobuf
from lakh.machinery.protobuf import MAX_DEPTH, ProtobufError, decode, encode
from lakh.machinery.schema import Node
from tests.examples import examples

# -- bytes as Go writes them -------------------------------------------------------------------------------------------------------


def field(number: int, value: int | bytes | str) -> bytes:
    """A field of a hand-made message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def body(api_version: str, kind: str, raw: bytes, content_type: str = "") -> bytes:
    """An envelope around `raw`."""
    return b"k8s\0" + b"".join(
        (
            field(1, field(1, api_version) + field(2, kind)),
            field(2, raw),
            field(3, ""),
            field(4, content_type),
        )
    )


def plain(api_version: str, kind: str, raw: bytes) -> dict[str, Any]:
    """What is in `raw`, without apiVersion and kind."""
    found = decode(body(api_version, kind, raw))
    assert (found.pop("apiVersion"), found.pop("kind")) == (api_version, kind)
    return found


def test_zero_scalars_are_kept_only_where_json_has_them() -> None:
    # replicas is a pointer, minReadySeconds and paused are not; template and strategy are structs that JSON always has.
    spec = field(1, 0) + field(3, b"") + field(4, b"") + field(5, 0) + field(7, 0)
    assert plain("apps/v1", "Deployment", field(2, spec)) == {
        "spec": {"replicas": 0, "template": {}, "strategy": {}}
    }
    port = field(1, "") + field(2, "TCP") + field(3, 80) + field(4, b"\x08\x00\x10\x00\x1a\x00") + field(5, 0)
    assert plain("v1", "Service", field(2, field(1, port))) == {
        "spec": {"ports": [{"protocol": "TCP", "port": 80, "targetPort": 0}]}
    }
    pod = field(4, 0) + field(21, 0) + field(11, 0) + field(2, field(1, ""))
    assert plain("v1", "Pod", field(2, pod)) == {
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "containers": [{"name": ""}],
        }
    }
    # A later zero wins over an earlier value.
    assert plain("v1", "Pod", field(2, field(3, "Never") + field(3, ""))) == {"spec": {}}


def test_structs_inlined_in_json_are_messages() -> None:
    volume = field(1, "v") + field(2, field(19, field(1, field(1, "map")) + field(4, 0)))
    assert plain("v1", "Pod", field(2, field(1, volume))) == {
        "spec": {"volumes": [{"name": "v", "configMap": {"name": "map", "optional": False}}]}
    }


def test_bytes_maps_and_merging() -> None:
    entry = field(1, "k") + field(2, b"\xff\x00")
    assert plain("v1", "Secret", field(2, entry) + field(3, "Opaque")) == {
        "data": {"k": base64.b64encode(b"\xff\x00").decode()},
        "type": "Opaque",
    }
    assert plain("v1", "ConfigMap", field(2, b"") + field(2, field(1, "a"))) == {"data": {"": "", "a": ""}}
    twice = field(1, field(1, "a") + field(3, "b")) + field(1, field(1, "c"))
    assert plain("v1", "ConfigMap", twice) == {"metadata": {"name": "c", "namespace": "b"}}


def test_times() -> None:
    assert plain("v1", "Pod", field(1, field(8, b"") + field(9, field(1, 0) + field(2, 0)))) == {
        "metadata": {"deletionTimestamp": "1970-01-01T00:00:00Z"}
    }
    micro = field(2, field(4, field(1, 1767366245) + field(2, 123456789)))
    assert plain("coordination.k8s.io/v1", "Lease", micro) == {
        "spec": {"renewTime": "2026-01-02T15:04:05.123456Z"}
    }
    for seconds in (2**62, -(2**62)):
        with pytest.raises(ProtobufError, match="year outside"):
            plain("v1", "Pod", field(1, field(8, field(1, seconds))))


def test_the_zero_time_is_null() -> None:
    obj = {"apiVersion": "v1", "kind": "Pod", "metadata": {"creationTimestamp": "0001-01-01T00:00:00Z"}}
    assert encode(obj) == body("v1", "Pod", field(1, field(8, b"")))


def test_numbers_are_signed_and_may_be_packed() -> None:
    assert plain("v1", "Pod", field(2, field(25, -5))) == {"spec": {"priority": -5}}
    for groups in (field(4, 1) + field(4, 2), field(4, varint(1) + varint(2))):
        assert plain("v1", "Pod", field(2, field(14, groups))) == {
            "spec": {"securityContext": {"supplementalGroups": [1, 2]}}
        }


def test_list_of_strings_in_a_map() -> None:
    extra = field(1, "scopes") + field(2, field(1, "a") + field(1, "b"))
    review = field(2, field(5, extra) + field(3, "u"))
    assert plain("authorization.k8s.io/v1", "SubjectAccessReview", review) == {
        "spec": {"user": "u", "extra": {"scopes": ["a", "b"]}}
    }


def test_options_are_kinds_of_every_group_version() -> None:
    for api_version in ("v1", "apps/v1", "example.com/v1"):
        assert plain(api_version, "DeleteOptions", field(1, 0) + field(4, "Background")) == {
            "gracePeriodSeconds": 0,
            "propagationPolicy": "Background",
        }


def test_json_within_an_envelope() -> None:
    raw = b'{"metadata":{"name":"a"}}'
    assert decode(body("v1", "Pod", raw, "application/json")) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a"},
    }


def test_unknown_fields_and_groups_are_skipped() -> None:
    group = (
        varint(900 << 3 | 3) + field(1, 5) + varint(1 << 3 | 3) + varint(1 << 3 | 4) + varint(900 << 3 | 4)
    )
    fixed = varint(901 << 3 | 5) + b"1234" + varint(902 << 3 | 1) + b"12345678"
    unknown = group + fixed + field(903, 1) + field(904, "x")
    assert plain("v1", "Pod", unknown + field(2, unknown)) == {"spec": {}}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "does not appear to be a protobuf message"),
        (b"k8s\0", "'Kind' is missing"),
        (body("", "Pod", b""), "'apiVersion' is missing"),
        (body("v1", "Nothing", b""), 'no kind "Nothing" is registered for version "v1"'),
        (body("example.com/v1", "Widget", b""), 'no kind "Widget" is registered'),
        (body("v1", "Pod", b"\x0a\x05a"), "unexpected EOF"),
        (body("v1", "Pod", field(1, 5)), "wrong wireType = 0 for field metadata"),
        (body("v1", "Pod", b"\x80" * 10 + b"\x01"), "integer overflow"),
        (body("v1", "Pod", b"\x00"), "illegal tag 0"),
        (body("v1", "Pod", b"\x0c"), "wrong wireType = 4"),
        (body("v1", "Pod", varint(900 << 3 | 4)), "illegal wire type 4"),
        (body("v1", "Pod", varint(900 << 3 | 3)), "unexpected EOF"),
        (body("v1", "Pod", b"", "text/plain"), 'content type "text/plain" is not supported'),
        (body("v1", "Pod", b"[]", "application/json"), "not an object"),
        (body("v1", "Pod", b"{", "application/json"), "json parse error"),
        (body("apps/v1", "ControllerRevision", field(2, field(1, "{"))), "json parse error"),
    ],
)
def test_malformed(data: bytes, why: str) -> None:
    with pytest.raises(ProtobufError, match=why):
        decode(data)


def _nested(levels: int) -> dict[str, Any]:
    props: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        props = {"properties": {"a": props}}
    version = {"name": "v1", "schema": {"openAPIV3Schema": props}}
    return {**CRD, "spec": {"versions": [version]}}


CRD = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}


def test_depth_is_bounded() -> None:
    # Five messages stand around the properties: the definition's spec, version, schema and the schema's own.
    deepest = _nested(MAX_DEPTH - 4)
    assert decode(encode(deepest)) == deepest
    with pytest.raises(ProtobufError, match="nested deeper"):
        encode(_nested(MAX_DEPTH - 3))
    props = b""
    for _ in range(5000):
        props = field(28, props)
    with pytest.raises(ProtobufError, match="nested deeper"):
        plain(*CRD.values(), field(2, field(7, field(4, field(1, props)))))


def test_json_schemas_and_their_unions() -> None:
    props = {
        "$ref": "#/a",
        "default": {"a": [1, None]},
        "enum": ["a", 1, None],
        "maximum": 1.5,
        "items": {"type": "string"},
        "additionalProperties": False,
        "additionalItems": {"x-kubernetes-preserve-unknown-fields": False},
        "dependencies": {"a": ["b"], "c": {"type": "object"}},
        "not": {"items": [{"type": "string"}, {}]},
        "definitions": {"d": {"additionalProperties": True}},
    }
    obj = {
        **CRD,
        "spec": {
            "versions": [
                {"name": "v1", "served": False, "storage": True, "schema": {"openAPIV3Schema": props}}
            ]
        },
    }
    assert decode(encode(obj)) == obj


@pytest.mark.parametrize(
    "obj",
    [
        {},
        {"apiVersion": "v1", "kind": "Pod", "spec": []},
        {"apiVersion": "v1", "kind": "Pod", "spec": {"nodeName": 1}},
        {"apiVersion": "v1", "kind": "Pod", "spec": {"nodeName": "\ud800"}},
        {"apiVersion": "v1", "kind": "Pod", "spec": {"priority": 2**31}},
        {"apiVersion": "v1", "kind": "Pod", "spec": {"hostNetwork": 1}},
        {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": {}}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": []}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"creationTimestamp": "yesterday"}},
        {"apiVersion": "v1", "kind": "Secret", "data": {"a": "?"}},
        {"apiVersion": "v1", "kind": "Widget"},
    ],
)
def test_what_cannot_be_encoded(obj: dict[str, Any]) -> None:
    with pytest.raises(ProtobufError):
        encode(obj)


# -- the table against the schema --------------------------------------------------------------------------------------------------


def _message_name(definition: str) -> str:
    return ".".join(definition.split(".")[-3:])


def _names(message: protobuf.Message) -> set[str]:
    found: set[str] = set()
    for each in message.fields:
        found |= _names(protobuf.message(each.message)) if each.name == "*" else {each.name}
    return found


KNOWN = set(protobuf.messages())


def test_every_definition_has_the_schemas_fields() -> None:
    compared = 0
    for definition in schema().definitions():
        name = _message_name(definition)
        node = schema().node(definition)
        if name not in KNOWN or (node.type != "struct" and not name.endswith(".JSONSchemaProps")):
            continue
        properties = set(schema().definitions()[definition]["properties"])
        assert properties - _names(protobuf.message(name)) <= {"apiVersion", "kind"}, name
        assert _names(protobuf.message(name)) <= properties, name
        compared += 1
    assert compared > 600


def test_every_message_that_is_named_is_there() -> None:
    for name in KNOWN:
        message = protobuf.message(name)
        assert len(message.by_number) == len(message.fields)
        for each in message.fields:
            assert not each.message or each.message in KNOWN, (name, each)


# -- round trips -------------------------------------------------------------------------------------------------------------------

LEVELS = 7

texts = st.text(min_size=1, max_size=6)
json_values = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)
# The first second of year 1 is Go's zero time: null.
moments = st.datetimes(min_value=datetime(1, 1, 1, 0, 0, 1))
seconds = moments.map(lambda t: t.replace(microsecond=0).isoformat() + "Z")
micros = moments.map(lambda t: t.isoformat(timespec="microseconds") + "Z")


def values(node: Node, level: int) -> st.SearchStrategy[Any]:
    """Canonical values of a node: no nulls, no zeros and no empty lists or maps, which JSON may leave out."""
    definition = node.definition or ""
    if definition.endswith(".MicroTime"):
        return micros
    if definition.endswith(".Time"):
        return seconds
    match node.type:
        case "struct":
            return st.deferred(lambda: structs(node, level))
        case "map":
            return st.dictionaries(texts, values(node.element, level + 1), min_size=1, max_size=2)
        case "list":
            return st.lists(values(node.element, level + 1), min_size=1, max_size=2)
        case "string":
            if node.format == "byte":
                return st.binary(min_size=1, max_size=6).map(lambda b: base64.b64encode(b).decode())
            return texts
        case "integer":
            bits = 31 if node.format == "int32" else 63
            return st.integers(-(2**bits), 2**bits - 1).filter(bool)
        case "number":
            return st.floats(allow_nan=False, allow_infinity=False).filter(bool)
        case "boolean":
            return st.just(True)
        case "quantity":
            return st.sampled_from(["0", "1", "250m", "16Gi", "1e3"])
        case "int-or-string":
            return texts | st.integers(-(2**31), 2**31 - 1)
        case _:
            if definition.endswith((".JSONSchemaProps", ".JSONSchemaPropsOrBool", ".JSONSchemaPropsOrArray")):
                return st.builds(lambda t, p: {"type": t, "properties": {p: {}}}, texts, texts)
            # A message without fields.
            empty = (
                _message_name(definition) in KNOWN and not protobuf.message(_message_name(definition)).fields
            )
            return st.just({}) if empty else json_values


@st.composite
def structs(draw: st.DrawFn, node: Node, level: int) -> dict[str, Any]:
    definition = node.definition or ""
    names = sorted(_names(protobuf.message(_message_name(definition))))
    chosen = (
        draw(st.lists(st.sampled_from(names), unique=True, max_size=3)) if names and level < LEVELS else []
    )
    found = {}
    for name in chosen:
        child = node.field(name)
        assert child is not None
        found[name] = draw(values(child, level + 1))
    return found


def _kinds() -> list[tuple[str, str, str]]:
    found = []
    for definition, raw in schema().definitions().items():
        for gvk in raw.get("x-kubernetes-group-version-kind", ()):
            if _message_name(definition) in KNOWN:
                api_version = f"{gvk['group']}/{gvk['version']}" if gvk["group"] else gvk["version"]
                found.append((definition, api_version, gvk["kind"]))
    return found


KINDS = _kinds()


@st.composite
def objects(draw: st.DrawFn) -> dict[str, Any]:
    definition, api_version, kind = draw(st.sampled_from(KINDS))
    return {
        "apiVersion": api_version,
        "kind": kind,
        **draw(structs(schema().node(definition), 0)),
    }


QUICK = settings(max_examples=examples(250))


@QUICK
@given(objects())
def test_round_trip(obj: dict[str, Any]) -> None:
    assert decode(encode(obj)) == obj


def test_every_kind_is_known() -> None:
    assert len(KINDS) > 200
    for _, api_version, kind in KINDS:
        obj = {"apiVersion": api_version, "kind": kind}
        found = decode(encode(obj))
        assert found == obj


# -- bytes of any kind -------------------------------------------------------------------------------------------------------------


def _decodes_or_refuses(data: bytes) -> None:
    try:
        assert isinstance(decode(data), dict)
    except ProtobufError as e:
        assert str(e)  # noqa: PT017


@QUICK
@given(st.binary(max_size=80), st.sampled_from(KINDS))
def test_random_bytes(data: bytes, kind: tuple[str, str, str]) -> None:
    _decodes_or_refuses(data)
    _decodes_or_refuses(b"k8s\0" + data)
    _decodes_or_refuses(body(kind[1], kind[2], data))


@QUICK
@given(objects(), st.data())
def test_mutated_messages(obj: dict[str, Any], data: st.DataObject) -> None:
    mutated = bytearray(encode(obj))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        match data.draw(st.sampled_from("rid")):
            case "r":
                mutated[at] = data.draw(st.integers(0, 255))
            case "i":
                mutated[at:at] = data.draw(st.binary(min_size=1, max_size=3))
            case _:
                del mutated[at : at + data.draw(st.integers(1, 3))]
        if not mutated:
            break
    _decodes_or_refuses(bytes(mutated))
