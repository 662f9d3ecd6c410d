"""What bodies the server reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from lakh.apis.catalogue import registry
from lakh.apis.registry import Resource
from lakh.machinery import protobuf
from lakh.machinery.errors import StatusError
from lakh.machinery.schema import Node
from lakh.server.codec import Codec, codec_of, read_body

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
POD_JSON = b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}'


def test_json_is_passed_on_as_it_is() -> None:
    for content_type in ("", "application/json", "Application/JSON; charset=utf-8"):
        assert read_body(POD_JSON, content_type) is POD_JSON


def test_yaml_and_protobuf_become_json() -> None:
    assert read_body(b"{apiVersion: v1, kind: Pod, metadata: {name: a}}", "application/yaml") == POD_JSON
    assert read_body(protobuf.encode(POD), "application/vnd.kubernetes.protobuf") == POD_JSON


def test_malformed_protobuf_is_a_bad_request() -> None:
    envelope = b"k8s\x00" + b"\x0a\x09" + b"\x0a\x02v1\x12\x03Pod"
    # JSON that is deeper than can be read.
    deep = envelope + b"\x12\x80\x40" + b"[" * 8192 + b"\x22\x10application/json"
    for body in (b"", b"k8s\x00nonsense", b"k8s\x00\x12\x05a", deep):
        with pytest.raises(StatusError) as refused:
            read_body(body, "application/vnd.kubernetes.protobuf")
        assert refused.value.code == 400
        assert refused.value.reason == "BadRequest"
        assert refused.value.message.startswith("unable to decode protobuf: ")


def test_other_media_types_are_refused() -> None:
    with pytest.raises(StatusError) as refused:
        read_body(b"", "application/cbor")
    assert refused.value.code == 415
    assert "application/vnd.kubernetes.protobuf" in refused.value.message


# -- what Go's types decode themselves ---------------------------------------------------------------------------------------

WRONG_QUANTITY = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def codec(group: str, plural: str) -> Codec:
    return codec_of(registry().get(group, "v1", plural))


def decode(group: str, plural: str, obj: dict[str, Any], warnings: list[str] | None = None) -> Any:
    return codec(group, plural).decode(
        msgspec.json.encode(obj),
        "Strict" if warnings is None else "Warn",
        [] if warnings is None else warnings,
    )


def refusal(group: str, plural: str, obj: dict[str, Any]) -> str:
    with pytest.raises(StatusError) as refused:
        decode(group, plural, obj)
    assert (refused.value.code, refused.value.reason) == (400, "BadRequest")
    return refused.value.message.partition(": ")[2]


def with_cpu(cpu: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}}


@pytest.mark.parametrize("cpu", ["", "lots", "1Zi", "1 1", True, {}, []])
def test_malformed_quantities_do_not_decode(cpu: Any) -> None:
    assert refusal("", "pods", with_cpu(cpu)) == WRONG_QUANTITY


def test_an_unknown_suffix() -> None:
    assert refusal("", "pods", with_cpu("1kk")) == "unable to parse quantity's suffix"


@pytest.mark.parametrize(
    ("cpu", "read"), [("1", "1"), (" 500m ", "500m"), (2, 2), ("1e3", "1e3"), (".5", ".5")]
)
def test_quantities_decode(cpu: Any, read: Any) -> None:
    pod = decode("", "pods", with_cpu(cpu))
    assert pod.spec.containers[0].resources.requests == {"cpu": read}


def test_a_malformed_quantity_goes_before_whatever_else_is_wrong() -> None:
    obj = with_cpu("lots")
    obj["spec"]["hostNetwork"] = "yes"
    obj["spec"]["unknown"] = 1
    assert refusal("", "pods", obj) == WRONG_QUANTITY


def test_what_does_not_decode_warns_of_nothing() -> None:
    warnings: list[str] = []
    with pytest.raises(StatusError):
        decode("", "pods", {**with_cpu("lots"), "unknown": 1}, warnings)
    assert warnings == []


@pytest.mark.parametrize(
    ("group", "plural", "obj"),
    [
        ("", "nodes", {"status": {"capacity": {"cpu": "x"}}}),
        ("", "limitranges", {"spec": {"limits": [{"default": {"cpu": "x"}}]}}),
        ("node.k8s.io", "runtimeclasses", {"overhead": {"podFixed": {"cpu": "x"}}}),
        ("storage.k8s.io", "csistoragecapacities", {"capacity": "x"}),
        ("resource.k8s.io", "resourceslices", {"spec": {"devices": [{"capacity": {"m": {"value": "x"}}}]}}),
        ("apps", "deployments", {"spec": {"template": with_cpu("x")}}),
        ("", "pods", {"spec": {"volumes": [{"emptyDir": {"sizeLimit": "x"}}]}}),
    ],
)
def test_quantities_of_all_kinds(group: str, plural: str, obj: dict[str, Any]) -> None:
    assert refusal(group, plural, obj) == WRONG_QUANTITY


def test_malformed_times_do_not_decode() -> None:
    layout = '"2006-01-02T15:04:05Z07:00"'
    assert (
        refusal("", "events", {"firstTimestamp": "now"})
        == f'parsing time "now" as {layout}: cannot parse "now" as "2006"'
    )
    # As long as one, and a day that is none.
    assert refusal("", "pods", {"status": {"startTime": "2026-02-30T00:00:00Z"}}) == (
        'parsing time "2026-02-30T00:00:00Z": day out of range'
    )
    assert refusal("coordination.k8s.io", "leases", {"spec": {"renewTime": "2026-02-03T00:00:00Z"}}) == (
        'parsing time "2026-02-03T00:00:00Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000"'
    )


def test_times_become_as_they_are_written_back() -> None:
    event = decode("", "events", {"firstTimestamp": "2026-01-01T00:30:00.5+01:00", "lastTimestamp": None})
    assert (event.firstTimestamp, event.lastTimestamp) == ("2025-12-31T23:30:00Z", None)
    lease = decode(
        "coordination.k8s.io", "leases", {"spec": {"renewTime": "2026-01-01T01:00:00.000001+01:00"}}
    )
    assert lease.spec.renewTime == "2026-01-01T00:00:00.000001Z"
    leap = decode("", "events", {"firstTimestamp": "2024-02-29T00:00:00Z"})
    assert leap.firstTimestamp == "2024-02-29T00:00:00Z"


@pytest.mark.parametrize(
    ("text", "offset"),
    [("a", 0), ("abc", 0), ("abcde", 4), ("ab=c", 2), ("!", 0), ("YWJj*", 4), ("YQ==x", 4), ("=", 0)],
)
def test_malformed_bytes_do_not_decode(text: str, offset: int) -> None:
    assert refusal("", "secrets", {"data": {"k": text}}) == f"illegal base64 data at input byte {offset}"


def test_bytes_may_have_line_ends() -> None:
    assert decode("", "secrets", {"data": {"k": "YW\r\nJj"}}).data == {"k": "YWJj"}


@pytest.mark.parametrize(("replicas", "fits"), [(2**31 - 1, True), (2**31, False), (-(2**31) - 1, False)])
def test_integers_have_their_size(replicas: int, fits: bool) -> None:
    obj = {"spec": {"replicas": replicas}}
    if fits:
        assert decode("apps", "deployments", obj).spec.replicas == replicas
    else:
        assert refusal("apps", "deployments", obj) == (
            f"json: cannot unmarshal number {replicas} into Go struct field DeploymentSpec.spec.replicas of type int32"
        )


# -- null --------------------------------------------------------------------------------------------------------------------


def nulls(node: Node, depth: int) -> Iterator[Any]:
    """Values of a place with one null in them, at each place below it."""
    yield None
    if depth == 0:
        return
    if node.type == "struct":
        for name, below in node.fields():
            if name not in ("apiVersion", "kind"):
                for value in nulls(below, depth - 1):
                    yield {name: value}
    elif node.type == "map":
        for value in nulls(node.element, depth - 1):
            yield {"k": value}
    elif node.type == "list":
        for value in nulls(node.element, depth - 1):
            yield [value]


@pytest.mark.parametrize("resource", registry().all(), ids=lambda r: f"{r.plural}.{r.group}")
def test_null_is_the_zero_value_everywhere(resource: Resource) -> None:
    mine = codec_of(resource)
    for value in nulls(mine.node, 6):
        if value is not None:
            obj = mine.decode(msgspec.json.encode(value), "Strict", [])
            assert mine.decode(msgspec.json.encode(obj), "Strict", []) == obj, value


def test_zero_values() -> None:
    pod = decode(
        "", "pods", {"spec": {"containers": [None], "nodeSelector": {"a": None}, "overhead": {"cpu": None}}}
    )
    assert pod.spec.containers[0].name is None
    assert pod.spec.nodeSelector == {"a": ""}
    assert pod.spec.overhead == {"cpu": "0"}
    budget = decode("policy", "poddisruptionbudgets", {"status": {"disruptedPods": {"a": None}}})
    assert budget.status.disruptedPods == {"a": None}


@pytest.mark.parametrize(
    ("group", "plural", "obj", "shown"),
    [
        ("rbac.authorization.k8s.io", "roles", {}, {"rules": None}),
        (
            "",
            "pods",
            {"status": {"conditions": [{"type": "Ready"}]}},
            {
                "status": {
                    "conditions": [{"type": "Ready", "lastProbeTime": None, "lastTransitionTime": None}]
                }
            },
        ),
        (
            "storage.k8s.io",
            "csinodes",
            {"spec": {"drivers": [{"name": "d"}]}},
            {"spec": {"drivers": [{"name": "d", "topologyKeys": None}]}},
        ),
        ("discovery.k8s.io", "endpointslices", {"ports": None}, {"endpoints": None, "ports": None}),
    ],
)
def test_what_is_shown_though_absent(group: str, plural: str, obj: Any, shown: Any) -> None:
    warnings: list[str] = []
    encoded = codec(group, plural).encode_stored(decode(group, plural, obj, warnings))
    assert msgspec.json.decode(encoded) == {"metadata": {}, **shown}
    assert warnings == []


def test_duplicates_are_found_beside_what_is_shown_though_absent() -> None:
    body = b'{"metadata":{"name":"a"},"rules":null,"rules":[]}'
    with pytest.raises(StatusError, match="duplicate field"):
        codec("rbac.authorization.k8s.io", "roles").decode(body, "Strict", [])
    body = b'{"metadata":{"name":"a","name":"b"}}'
    with pytest.raises(StatusError, match="duplicate field"):
        codec("rbac.authorization.k8s.io", "roles").decode(body, "Strict", [])


@pytest.mark.parametrize(
    ("group", "plural", "status", "shown"),
    [
        (
            "",
            "pods",
            {"containerStatuses": [{"name": "c", "ready": None, "state": {"terminated": {}}}]},
            {
                "containerStatuses": [
                    {
                        "name": "c",
                        "state": {"terminated": {"exitCode": 0, "startedAt": None, "finishedAt": None}},
                        "lastState": {},
                        "ready": False,
                        "restartCount": 0,
                        "image": "",
                        "imageID": "",
                    }
                ]
            },
        ),
        ("apps", "statefulsets", {"replicas": 1}, {"replicas": 1, "availableReplicas": 0}),
        ("storage.k8s.io", "volumeattachments", {"attached": None}, {"attached": False}),
    ],
)
def test_statuses_are_shown_whole(group: str, plural: str, status: Any, shown: Any) -> None:
    encoded = codec(group, plural).encode_stored(decode(group, plural, {"status": status}))
    assert msgspec.json.decode(encoded)["status"] == shown
