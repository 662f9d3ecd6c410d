import copy

import pytest
from hypothesis import given

from lakh.apis.definitions import schema
from lakh.machinery import mergepatch, strategic
from lakh.machinery.errors import StatusError

from .strategies import deployment, deployments, json_values

DEPLOYMENT = schema().node("io.k8s.api.apps.v1.Deployment")
POD = schema().node("io.k8s.api.core.v1.Pod")
SERVICE = schema().node("io.k8s.api.core.v1.Service")


def pod(*containers, **spec):
    return {"spec": {"containers": list(containers), **spec}}


def c(name, **fields):
    return {"name": name, **fields}


@pytest.mark.parametrize(
    ("original", "patch", "result"),
    [
        # items merge by their key; new ones come before those that only the server has
        (pod(c("a", image="1"), c("b")), pod(c("a", image="2"), c("d")), pod(c("a", image="2"), c("d"), c("b"))),
        # as upstream's mergeSortedSlice has it: an item that the server does not know is less than no other, so it comes first
        (pod(c("a"), c("b")), pod(c("d")), pod(c("d"), c("a"), c("b"))),
        (pod(c("a"), c("b")), pod(c("b", image="1"), c("d")), pod(c("a"), c("b", image="1"), c("d"))),
        (pod(c("a"), c("b")), pod(c("e"), c("b", image="1"), c("d")), pod(c("e"), c("a"), c("b", image="1"), c("d"))),
        (
            pod(c("a"), c("b"), c("g")),
            pod(c("d"), {"name": "a", "$patch": "delete"}, c("g", image="1")),
            pod(c("d"), c("b"), c("g", image="1")),
        ),
        # the patch's items come in the patch's order, the others stay where they were
        (pod(c("a"), c("b"), c("d")), pod(c("d", image="x"), c("a")), pod(c("b"), c("d", image="x"), c("a"))),
        # a directive deletes an item, or replaces the list
        (pod(c("a"), c("b")), pod({"name": "a", "$patch": "delete"}), pod(c("b"))),
        (pod(c("a"), c("b")), pod(c("d"), {"$patch": "replace"}), pod(c("d"))),
        # nulls delete, wherever; null for what is not there does nothing
        (pod(c("a", image="1")), pod(c("a", image=None)), pod(c("a"))),
        ({"metadata": {"labels": {"a": "b"}}}, {"metadata": {"labels": None, "x": None}}, {"metadata": {}}),
        ({}, {"metadata": {"labels": {"a": None, "b": "c"}}}, {"metadata": {"labels": {"b": "c"}}}),
        # maps are replaced or emptied
        (pod(nodeSelector={"a": "b"}), pod(nodeSelector={"$patch": "replace", "c": "d"}), pod(nodeSelector={"c": "d"})),
        (pod(securityContext={"runAsUser": 1}), {"spec": {"securityContext": {"$patch": "delete"}}}, pod(securityContext={})),
        # atomic lists are replaced
        (pod(c("a", args=["1", "2"])), pod(c("a", args=["3"])), pod(c("a", args=["3"]))),
        (pod(tolerations=[{"key": "a"}]), {"spec": {"tolerations": [{"key": "b"}]}}, pod(tolerations=[{"key": "b"}])),
        # scalars with the merge strategy are a set
        (
            {"metadata": {"finalizers": ["a", "b"]}},
            {"metadata": {"finalizers": ["c", "a"]}},
            {"metadata": {"finalizers": ["c", "a", "b"]}},
        ),
        (
            {"metadata": {"finalizers": ["a", "b", "c"]}},
            {"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"]}},
            {"metadata": {"finalizers": ["a", "c"]}},
        ),
        (
            {"metadata": {"finalizers": ["a", "b"]}},
            {
                "metadata": {
                    "$setElementOrder/finalizers": ["c", "a"],
                    "$deleteFromPrimitiveList/finalizers": ["b"],
                    "finalizers": ["c"],
                }
            },
            {"metadata": {"finalizers": ["c", "a"]}},
        ),
        # the order of a list alone
        (
            pod(c("a"), c("b"), c("d")),
            {"spec": {"$setElementOrder/containers": [c("d"), c("a")]}},
            pod(c("b"), c("d"), c("a")),
        ),
        # retainKeys clears what is not named
        (
            pod(volumes=[c("v", emptyDir={}, hostPath=None)]),
            {"spec": {"volumes": [c("v", **{"$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}})]}},
            pod(volumes=[c("v", hostPath={"path": "/"})]),
        ),
    ],
)  # fmt: skip
def test_directives(original, patch, result):
    before = copy.deepcopy((original, patch))
    assert strategic.apply(original, patch, POD) == result
    assert (original, patch) == before


def test_what_kubectl_sends_for_set_image_and_a_new_strategy():
    patch = {
        "spec": {
            "strategy": {"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": None},
            "template": {
                "spec": {
                    "$setElementOrder/containers": [{"name": "nginx"}],
                    "containers": [{"name": "nginx", "image": "nginx:1.28"}],
                }
            },
        }
    }
    live = deployment(strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}})
    merged = strategic.apply(live, patch, DEPLOYMENT)
    assert merged["spec"]["strategy"] == {"type": "Recreate"}
    assert merged["spec"]["template"]["spec"]["containers"] == [
        {"name": "nginx", "image": "nginx:1.28", "ports": [{"containerPort": 80}]}
    ]
    assert strategic.apply(merged, patch, DEPLOYMENT) == merged


def test_service_ports_merge_by_port():
    service = {"spec": {"ports": [{"port": 80, "name": "http"}, {"port": 443, "name": "https"}]}}
    patch = {"spec": {"ports": [{"port": 443, "targetPort": 8443}]}}
    assert strategic.apply(service, patch, SERVICE)["spec"]["ports"] == [
        {"port": 80, "name": "http"},
        {"port": 443, "name": "https", "targetPort": 8443},
    ]


def test_without_a_schema_maps_merge_and_lists_are_replaced():
    assert strategic.apply({"a": {"b": [1], "c": 1}}, {"a": {"b": [2]}}, None) == {"a": {"b": [2], "c": 1}}


def test_a_directive_that_meets_nothing_goes_with_what_is_beside_it():
    """Upstream's removeDirectives."""
    labels = {"metadata": {"labels": {"$patch": "replace", "a": "b"}}}
    assert strategic.apply({}, labels, POD) == {"metadata": {}}
    assert strategic.apply({"metadata": {}}, labels, POD) == {"metadata": {}}
    assert strategic.apply({"metadata": {"labels": {"c": "d"}}}, labels, POD) == {
        "metadata": {"labels": {"a": "b"}}
    }
    assert strategic.apply({}, pod({"name": "a", "$patch": "delete"}, c("b")), POD) == pod(c("b"))


def test_an_order_that_names_nothing_orders_nothing():
    patch = {"spec": {"$setElementOrder/containers": [], "containers": [c("b")]}}
    assert strategic.apply(pod(c("a")), patch, POD)["spec"]["containers"] == [c("a"), c("b")]


@pytest.mark.parametrize(
    ("original", "patch", "code"),
    [
        ({}, [], 400),
        ({}, {"$patch": "spam"}, 400),
        ({}, {"$patch": "merge"}, 400),
        (pod(c("a")), pod({"image": "x"}), 400),
        (pod(c("a")), pod({"name": "a", "$patch": "spam"}), 400),
        (pod(c("a")), pod("x"), 400),
        (pod(c("a")), pod([]), 422),
        ({}, {"$retainKeys": "a"}, 400),
        ({}, {"$retainKeys": ["a"], "b": 1}, 400),
        (pod(c("a")), {"spec": {"$setElementOrder/containers": "a"}}, 400),
        (pod(c("a")), {"spec": {"$setElementOrder/containers": [c("b")], "containers": [c("a")]}}, 422),
        (pod(c("a")), {"spec": {"$setElementOrder/containers": ["a"]}}, 400),
        (
            {"metadata": {"finalizers": ["a"]}},
            {"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}},
            400,
        ),
    ],
)
def test_malformed_patches(original, patch, code):
    with pytest.raises(StatusError) as error:
        strategic.apply(original, patch, POD)
    assert error.value.code == code


@given(deployments, deployments)
def test_applying_a_whole_object_is_idempotent(old, new):
    once = strategic.apply(old, new, DEPLOYMENT)
    assert strategic.apply(once, new, DEPLOYMENT) == once


@given(deployments)
def test_an_object_applied_to_itself_is_itself(obj):
    assert strategic.apply(obj, obj, DEPLOYMENT) == obj
    assert strategic.apply(obj, {}, DEPLOYMENT) == obj
    assert strategic.apply({}, obj, DEPLOYMENT) == obj


@given(deployments, deployments)
def test_without_a_schema_it_is_a_merge_patch(old, new):
    patch = mergepatch.diff(old, new)
    assert strategic.apply(old, patch, None) == mergepatch.apply(old, patch)


@given(json_values.filter(lambda v: isinstance(v, dict)), json_values)
def test_any_patch_applies_or_is_a_status_error(original, patch):
    before = copy.deepcopy((original, patch))
    for node in (POD, None):
        try:
            strategic.apply(original, patch, node)
        except StatusError:
            pass
    assert (original, patch) == before


def test_large_lists_merge_in_linear_time():
    items = [{"name": f"c{i}"} for i in range(20_000)]
    merged = strategic.apply({"spec": {"containers": items}}, {"spec": {"containers": items[::-1]}}, POD)
    assert merged["spec"]["containers"] == items[::-1]
