import copy

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis.definitions import schema
from lakh.machinery import unknown

from .strategies import deployment, json_values

DEFINITION = "io.k8s.api.apps.v1.Deployment"
NODE = schema().node(DEFINITION)


def test_unknown_fields_in_the_documents_order():
    bad = deployment(foo=1)
    bad["spec"]["template"]["spec"]["containers"][0]["imagee"] = {"x": 1}
    bad["bar"] = 1
    before = copy.deepcopy(bad)
    assert unknown.unknown_fields(bad, NODE) == [
        'unknown field "spec.template.spec.containers[0].imagee"',
        'unknown field "spec.foo"',
        'unknown field "bar"',
    ]
    assert unknown.prune(bad, NODE) == deployment()
    assert bad == before
    assert unknown.unknown_fields(deployment(), NODE) == []


def test_free_form_places_are_left_alone():
    revision = schema().node("io.k8s.api.apps.v1.ControllerRevision")
    obj = {"data": {"anything": [{"goes": 1}]}, "metadata": {"labels": {"a": "b"}}}
    assert unknown.unknown_fields(obj, revision) == []
    assert unknown.prune(obj, revision) == obj
    assert unknown.prune(obj, None) == obj


def test_findings_are_bounded():
    assert len(unknown.unknown_fields({f"x{i}": 1 for i in range(1000)}, NODE)) == unknown.MAX_FINDINGS


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b'{"a":1,"b":2}', []),
        (b'{"a":1,"a":2}', ["a"]),
        (b'{"a":1,"a":2,"a":3}', ["a"]),
        (b'{"metadata":{"labels":{"a":"b","a":"c"}}}', ["metadata.labels.a"]),
        (b'{"s":{"c":[{"x":1,"x":2},{"x":1}]}}', ["s.c[0].x"]),
        (b'{"s":{"c":[[{}],{"x":{"y":1},"x":{"y":1}}]}}', ["s.c[1].x"]),
        (b'{"a":{"b":1},"a":{"b":1}}', ["a"]),
        (b'{"a\\u0062":1,"ab":2}', ["ab"]),
        (b'{"a":["a","a"],"b":"a,\\"b\\":1","c":[]}', []),
        (b"[1,2]", []),
        (b"", []),
        (b"{{{", []),
        (b'"a" : "a"', []),
    ],
)
def test_duplicate_fields(raw, found):
    assert unknown.duplicate_fields(raw) == [f'duplicate field "{path}"' for path in found]


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        (
            {"spec": {"replicas": "3"}},
            "string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            {"spec": {"replicas": 1.5}},
            "number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            {"spec": {"replicas": 2**31}},
            "number 2147483648 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        ({"spec": {"paused": "no"}}, "string into Go struct field DeploymentSpec.spec.paused of type bool"),
        ({"spec": []}, "array into Go struct field Deployment.spec of type v1.DeploymentSpec"),
        (
            {"spec": {"template": {"spec": {"containers": {}}}}},
            "object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            {"metadata": {"labels": {"a": 1}}},
            "number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        ("x", "string into Go value of type v1.Deployment"),
        (True, "bool into Go value of type v1.Deployment"),
    ],
)
def test_type_errors_are_gos(obj, text):
    assert unknown.type_error(obj, NODE) == f"json: cannot unmarshal {text}"


def test_quantities_and_ports():
    pod = schema().node("io.k8s.api.core.v1.Pod")
    bad = {"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": True}}}]}}
    assert unknown.type_error(bad, pod).startswith("quantities must match the regular expression")
    service = schema().node("io.k8s.api.core.v1.Service")
    assert unknown.type_error({"spec": {"ports": [{"port": 80, "targetPort": "http"}]}}, service) is None
    assert unknown.type_error({"spec": {"ports": [{"targetPort": []}]}}, service) is not None
    assert unknown.type_error(deployment(), NODE) is None
    assert unknown.type_error({"spec": None}, NODE) is None


def test_null_is_an_absent_field_and_as_an_item_the_zero_value():
    assert unknown.type_error(None, NODE) == "json: cannot unmarshal null into Go value of type v1.Deployment"
    obj = {
        "metadata": {"finalizers": [None], "labels": {"a": None, "b": "c"}},
        "spec": {"template": {"spec": {"containers": [None, {"resources": {"limits": {"cpu": None}}}]}}},
    }
    assert unknown.type_error(obj, NODE) is None
    pruned = unknown.prune(obj, NODE)
    assert pruned["metadata"] == {"finalizers": [""], "labels": {"a": "", "b": "c"}}
    containers = [{}, {"resources": {"limits": {"cpu": "0"}}}]
    assert pruned["spec"]["template"]["spec"]["containers"] == containers
    assert obj["metadata"]["labels"]["a"] is None


@given(json_values)
def test_any_json_is_survived_and_pruning_removes_all_that_is_unknown(obj):
    pruned = unknown.prune(obj, NODE)
    assert unknown.unknown_fields(pruned, NODE) == []
    assert unknown.type_error(obj, None) is None
    text = unknown.type_error(pruned, NODE)
    try:
        msgspec.convert(pruned, schema().struct(DEFINITION))
    except msgspec.ValidationError:
        assert text is not None
    else:
        assert text is None


@given(json_values)
def test_valid_json_without_duplicates_has_none(obj):
    assert unknown.duplicate_fields(msgspec.json.encode(obj)) == []


@given(st.binary(max_size=60))
def test_any_bytes_are_survived(raw):
    unknown.duplicate_fields(raw)


def test_the_search_for_duplicates_is_bounded():
    raw = b'{"a":[' + b"1," * unknown.MAX_TOKENS + b'1],"a":1}'
    assert unknown.duplicate_fields(raw) == []


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        ({"metadata": "x"}, "cannot restore struct from: string"),
        ({"metadata": {"labels": "x"}}, "cannot restore map from string"),
        ({"metadata": {"labels": {"a": 1}}}, "cannot convert int64 to string"),
        ({"metadata": {"labels": {"a": True}}}, "unrecognized type: string"),
        ({"metadata": {"labels": {"a": 1.5}}}, "unrecognized type: string"),
        ({"spec": {"template": {"spec": {"containers": {}}}}}, "cannot restore slice from map"),
        ({"spec": {"replicas": "3"}}, "unrecognized type: int32"),
        ({"spec": {"replicas": 1.5}}, "cannot convert float64 to int32"),
        ({"spec": {"paused": 1}}, "unrecognized type: bool"),
        (
            {"spec": {"strategy": {"rollingUpdate": {"maxSurge": []}}}},
            "json: cannot unmarshal array into Go value of type int32",
        ),
    ],
)
def test_what_a_strategic_patch_made_is_restored(obj, text):
    assert unknown.restore_error(obj, NODE) == text


def test_what_fits_is_restored():
    assert unknown.restore_error(deployment(), NODE) is None
    assert unknown.restore_error({"spec": {"replicas": "3"}}, None) is None
