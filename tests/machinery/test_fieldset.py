import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis.definitions import schema
from lakh.machinery import fieldset
from lakh.machinery.fieldset import (
    contains,
    difference,
    equal,
    intersection,
    is_empty,
    iterate,
    of_paths,
    recursive_difference,
    union,
)
from lakh.machinery.shapes import shape_of

from .strategies import deployment, deployments, json_values

DEPLOYMENT = schema().node("io.k8s.api.apps.v1.Deployment")
POD = schema().node("io.k8s.api.core.v1.Pod")

paths = st.lists(
    st.lists(st.sampled_from(["f:a", "f:b", 'k:{"name":"c"}']), min_size=1, max_size=3).map(tuple), max_size=6
)
sets = paths.map(of_paths)


def test_the_set_of_an_applied_deployment():
    assert fieldset.of(deployment(), DEPLOYMENT) == {
        "f:apiVersion": {},
        "f:kind": {},
        "f:metadata": {"f:name": {}, "f:namespace": {}, "f:labels": {"f:app": {}}},
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:template": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"nginx"}': {
                            ".": {},
                            "f:name": {},
                            "f:image": {},
                            "f:ports": {
                                'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}
                            },
                        }
                    }
                },
            },
        },
    }


def test_lists_and_maps_by_their_type():
    pod = {
        "metadata": {"finalizers": ["a", 'q"']},
        "spec": {
            "nodeSelector": {"a": "b"},
            "tolerations": [{"key": "a"}],
            "securityContext": {},
            "volumes": [],
        },
    }
    assert fieldset.of(pod, POD) == {
        "f:metadata": {"f:finalizers": {'v:"a"': {}, 'v:"q\\""': {}}},
        "f:spec": {"f:nodeSelector": {}, "f:tolerations": {}, "f:securityContext": {}},
    }


def test_duplicate_and_keyless_items_of_live_objects_are_survived():
    pod = {"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "a"}, {"image": "y"}, 5]}}
    assert fieldset.of(pod, POD) == {"f:spec": {"f:containers": {'k:{"name":"a"}': {}}}}


def test_paths_as_messages_show_them():
    path = ("f:spec", "f:ports", 'k:{"containerPort":80,"protocol":"TCP"}', "f:name")
    assert fieldset.path_text(path) == '.spec.ports[containerPort=80,protocol="TCP"].name'
    assert fieldset.path_text(("f:finalizers", 'v:"a"')) == '.finalizers[="a"]'
    assert fieldset.path_text(("i:3",)) == "[3]"


def test_members_and_ways_to_them():
    fields = {"f:a": {".": {}, "f:b": {}}, "f:c": {"f:d": {}}}
    assert list(iterate(fields)) == [("f:a",), ("f:a", "f:b"), ("f:c", "f:d")]
    assert fieldset.has(fields, ("f:a",))
    assert not fieldset.has(fields, ("f:c",))
    assert not fieldset.has(fields, ("f:x", "f:y"))
    assert difference(fields, {"f:a": {}}) == {"f:a": {"f:b": {}}, "f:c": {"f:d": {}}}
    assert recursive_difference(fields, {"f:a": {}}) == {"f:c": {"f:d": {}}}
    assert union({"f:a": {}}, {"f:a": {"f:b": {}}}) == {"f:a": {".": {}, "f:b": {}}}


@given(paths, paths)
def test_the_algebra_is_that_of_sets_of_paths(left, right):
    a, b = of_paths(left), of_paths(right)
    assert set(iterate(a)) == set(left)
    assert set(iterate(union(a, b))) == set(left) | set(right)
    assert set(iterate(intersection(a, b))) == set(left) & set(right)
    assert set(iterate(difference(a, b))) == set(left) - set(right)
    assert is_empty(a) == (not left)
    assert contains(a, b) == (set(right) <= set(left))
    assert equal(a, b) == (set(left) == set(right))
    below = {p for p in left if any(p[: len(q)] == q for q in right)}
    assert set(iterate(recursive_difference(a, b))) == set(left) - below


@given(sets, sets, sets)
def test_laws(a, b, c):
    assert equal(union(a, b), union(b, a))
    assert equal(union(union(a, b), c), union(a, union(b, c)))
    assert equal(intersection(a, union(b, c)), union(intersection(a, b), intersection(a, c)))
    assert equal(difference(a, union(b, c)), difference(difference(a, b), c))
    assert union(a, a) == a == union(a, {})


@given(sets, sets)
def test_arguments_are_not_mutated_and_results_are_well_formed(a, b):
    before = repr((a, b))
    for result in (union(a, b), intersection(a, b), difference(a, b), recursive_difference(a, b)):
        fieldset.check(result)
    assert repr((a, b)) == before


@given(deployments)
def test_what_is_added_contains_what_is_set(obj):
    shape = shape_of(DEPLOYMENT)
    assert contains(fieldset.added(obj, shape), fieldset.of(obj, DEPLOYMENT))


@given(json_values)
def test_any_object_has_a_set(obj):
    fieldset.check(fieldset.of(obj, POD))
    fieldset.check(fieldset.of(obj, None))
    fieldset.check(fieldset.added(obj, shape_of(POD)))


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"x": {}},
        {"f:a": []},
        {"f:a": 1},
        {"k:[]": {}},
        {"k:{": {}},
        {"v:": {}},
        {"i:x": {}},
        {".": {"f:a": {}}},
    ],
)
def test_malformed_fields_are_refused(value):
    with pytest.raises(ValueError, match=r".+"):
        fieldset.check(value)
