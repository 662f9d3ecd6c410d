import copy

import pytest
from hypothesis import given

from lakh.machinery import mergepatch
from lakh.machinery.errors import StatusError

from .strategies import deployments, json_values


@pytest.mark.parametrize(
    ("original", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_examples_of_rfc_7386(original, patch, result):
    before = copy.deepcopy((original, patch))
    assert mergepatch.apply(original, patch) == result
    assert (original, patch) == before


@given(json_values, json_values)
def test_any_patch_is_idempotent_and_mutates_nothing(original, patch):
    before = copy.deepcopy((original, patch))
    once = mergepatch.apply(original, patch)
    assert mergepatch.apply(once, patch) == once
    assert (original, patch) == before


@given(deployments, deployments)
def test_applying_a_diff_gives_the_new_object(old, new):
    assert mergepatch.apply(old, mergepatch.diff(old, new)) == new
    assert mergepatch.diff(new, new) == {}


def test_depth_is_a_client_error():
    patch = {}
    for _ in range(100_000):
        patch = {"a": patch}
    with pytest.raises(StatusError) as error:
        mergepatch.apply({}, patch)
    assert error.value.code == 400
    while patch:
        patch = patch["a"]
