import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis.definitions import schema
from lakh.machinery import fieldset, typed
from lakh.machinery.shapes import shape_of

from .strategies import deployment, deployments, json_values

SHAPE = shape_of(schema().node("io.k8s.api.apps.v1.Deployment"))
POD = shape_of(schema().node("io.k8s.api.core.v1.Pod"))


def spec(*names, **more):
    return {"spec": {"containers": [{"name": n} for n in names], **more}}


def names(obj):
    return "".join(c["name"] for c in obj["spec"]["containers"])


def test_compare_tells_changed_from_removed():
    old = deployment()
    new = deployment(replicas=5)
    del new["metadata"]["labels"]
    new["spec"]["template"]["spec"]["containers"].append(
        {"name": "side", "resources": {"limits": {"cpu": "1"}}}
    )
    changed, removed = typed.compare(old, new, SHAPE)
    assert changed == {
        "f:spec": {
            "f:replicas": {},
            "f:template": {
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"side"}': {
                            ".": {},
                            "f:name": {},
                            "f:resources": {".": {}, "f:limits": {".": {}, "f:cpu": {}}},
                        }
                    }
                }
            },
        }
    }
    assert removed == {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}}


def test_the_order_of_a_list_map_is_no_change():
    assert typed.compare(spec("a", "b"), spec("b", "a"), POD) == ({}, {})


def test_a_boolean_that_becomes_a_number_is_a_change():
    assert typed.compare({"a": True}, {"a": 1}, shape_of(None))[0] == {"f:a": {}}


def test_merge_keeps_the_applied_order_and_the_places_of_the_others():
    for live, applied, merged in [
        ("ab", "b", "ab"),
        ("ab", "bc", "abc"),
        ("abc", "ca", "bca"),
        ("abcd", "bd", "abcd"),
        ("ab", "xa", "xab"),
        ("", "ab", "ab"),
        ("ab", "", "ab"),
    ]:
        assert names(typed.merge(spec(*live), spec(*applied), POD)) == merged


def test_remove_takes_members_and_leaves_the_rest():
    obj = deployment()
    gone = {"f:spec": {"f:replicas": {}, "f:template": {"f:metadata": {"f:labels": {"f:app": {}}}}}}
    left = typed.remove(obj, gone, SHAPE)
    assert "replicas" not in left["spec"]
    assert "metadata" not in left["spec"]["template"]
    assert obj == deployment()


def test_problems_are_worded_as_upstream_does():
    bad = deployment(replicas="3", foo=1)
    bad["spec"]["template"]["spec"]["containers"] = [
        {"name": "a"},
        {"name": "a"},
        {"image": "x"},
        {"name": "b", "image": 5},
    ]
    bad["spec"]["template"]["metadata"] = []
    assert typed.problems(bad, SHAPE) == [
        '.spec.replicas: expected numeric (int or float), got &value.valueUnstructured{Value:"3"}',
        ".spec.template.metadata: expected map, got list",
        '.spec.template.spec.containers: duplicate entries for key [name="a"]',
        '.spec.template.spec.containers: element 2: associative list with keys has an element that omits key field "name" '
        "(and doesn't have default value)",
        '.spec.template.spec.containers[name="b"].image: expected string, got &value.valueUnstructured{Value:5}',
        ".spec.foo: field not declared in schema",
    ]
    assert typed.problems(deployment(), SHAPE) == []


@given(deployments, deployments)
def test_merge_contains_the_applied_values_and_compare_sees_no_more(live, applied):
    before = copy.deepcopy((live, applied))
    merged = typed.merge(live, applied, SHAPE)
    assert typed.merge(merged, applied, SHAPE) == merged
    # what the applied object sets has its values in the merged one
    changed, _ = typed.compare(applied, merged, SHAPE)
    assert fieldset.is_empty(fieldset.intersection(fieldset.of_shape(applied, SHAPE), changed))
    # and the live object's fields are all still there
    assert fieldset.contains(fieldset.added(merged, SHAPE), fieldset.of_shape(live, SHAPE))
    assert (live, applied) == before


@given(deployments, deployments)
def test_compare_is_antisymmetric(old, new):
    changed, removed = typed.compare(old, new, SHAPE)
    back_changed, back_removed = typed.compare(new, old, SHAPE)
    assert fieldset.equal(fieldset.union(changed, removed), fieldset.union(back_changed, back_removed))
    assert (changed, removed) == ({}, {}) or old != new


@given(deployments)
def test_removing_all_leaves_nothing(obj):
    everything = typed.with_named_fields(fieldset.of_shape(obj, SHAPE), SHAPE)
    assert typed.remove(obj, everything, SHAPE) is None


@given(json_values, json_values)
def test_any_json_is_survived(a, b):
    for shape in (SHAPE, POD, shape_of(None)):
        typed.compare(a, b, shape)
        typed.merge(a, b, shape)
        typed.problems(a, shape)
        typed.remove(a, fieldset.of_shape(b, shape), shape)


items = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from(("a", "b", "c", 1, None)),
            "image": st.sampled_from(("x", "y")),
            "ports": st.lists(st.fixed_dictionaries({"containerPort": st.integers(1, 2)}), max_size=2),
        },
    )
    | st.just("no map"),
    max_size=4,
)


@given(items, items)
def test_lists_by_text_are_compared_as_any_other(old, new):
    found = typed.compare({"spec": {"containers": old}}, {"spec": {"containers": new}}, POD)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(typed, "_by_text", lambda items, key: None)
        assert found == typed.compare({"spec": {"containers": old}}, {"spec": {"containers": new}}, POD)
