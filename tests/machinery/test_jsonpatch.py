import copy

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.machinery import jsonpatch
from lakh.machinery.errors import StatusError
from lakh.machinery.jsonpatch import PatchError

from .strategies import json_values


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [
        # RFC 6902, appendix A
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
        (
            {"foo": ["bar", "baz"]},
            [{"op": "add", "path": "/foo/1", "value": "qux"}],
            {"foo": ["bar", "qux", "baz"]},
        ),
        ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
        ({"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
        (
            {"baz": "qux", "foo": "bar"},
            [{"op": "replace", "path": "/baz", "value": "boo"}],
            {"baz": "boo", "foo": "bar"},
        ),
        (
            {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
            [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
            {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
        ),
        (
            {"foo": ["all", "grass", "cows", "eat"]},
            [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
            {"foo": ["all", "cows", "eat", "grass"]},
        ),
        (
            {"baz": "qux", "foo": ["a", 2, "c"]},
            [
                {"op": "test", "path": "/baz", "value": "qux"},
                {"op": "test", "path": "/foo/1", "value": 2},
            ],
            {"baz": "qux", "foo": ["a", 2, "c"]},
        ),
        (
            {"foo": "bar"},
            [{"op": "add", "path": "/child", "value": {"grandchild": {}}}],
            {"foo": "bar", "child": {"grandchild": {}}},
        ),
        (
            {"foo": "bar"},
            [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}],
            {"foo": "bar", "baz": "qux"},
        ),
        ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
        (
            {"foo": ["bar"]},
            [{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}],
            {"foo": ["bar", ["abc", "def"]]},
        ),
        # and more
        ({"a": 1}, [{"op": "replace", "path": "", "value": [1]}], [1]),
        ({}, [{"op": "replace", "path": "/a", "value": 1}], {"a": 1}),
        ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": [1], "b": [1]}),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/-1"}], {"a": [1]}),
        ({}, [{"op": "test", "path": "/a", "value": None}], {}),
        ({"a": 1}, [{"op": "move", "from": "/a", "path": "/a"}], {"a": 1}),
    ],
)
def test_examples(document, patch, result):
    before = copy.deepcopy((document, patch))
    assert jsonpatch.apply(document, patch) == result
    assert (document, patch) == before


@pytest.mark.parametrize(
    ("document", "operation"),
    [
        ({"baz": "qux"}, {"op": "test", "path": "/baz", "value": "bar"}),
        ({"/": 9, "~1": 10}, {"op": "test", "path": "/~01", "value": "10"}),
        ({"a": 1}, {"op": "test", "path": "/a", "value": True}),
        ({"foo": "bar"}, {"op": "add", "path": "/baz/bat", "value": "qux"}),
        ({}, {"op": "remove", "path": "/a"}),
        ({}, {"op": "remove", "path": ""}),
        ({}, {"op": "replace", "path": "/a/b", "value": 1}),
        ({"a": []}, {"op": "add", "path": "/a/1", "value": 1}),
        ({"a": []}, {"op": "add", "path": "/a/x", "value": 1}),
        ({"a": []}, {"op": "replace", "path": "/a/-", "value": 1}),
        ({"a": {}}, {"op": "move", "from": "/a", "path": "/a/b"}),
        ({}, {"op": "copy", "from": "/a", "path": "/b"}),
        ({}, {"op": "add", "path": "/a"}),
        ({}, {"op": "add", "path": "a", "value": 1}),
        ({}, {"op": "add", "value": 1}),
        ({}, {"op": "spam", "path": "/a"}),
        ({}, {"path": "/a"}),
        ({}, {"op": ["add"], "path": "/a"}),
    ],
)
def test_what_does_not_apply_is_422_and_says_why(document, operation):
    with pytest.raises(PatchError) as error:
        jsonpatch.apply(document, [operation])
    assert (error.value.code, error.value.reason) == (422, "Invalid")
    assert error.value.message == "the server rejected our request due to an error in our request"
    assert error.value.why


def test_a_patch_is_applied_whole_or_not_at_all():
    document = {"a": {"b": 1}}
    with pytest.raises(PatchError):
        jsonpatch.apply(document, [{"op": "remove", "path": "/a/b"}, {"op": "remove", "path": "/x"}])
    assert document == {"a": {"b": 1}}


@pytest.mark.parametrize("raw", [b"", b"{}", b"[1]", b"nonsense", b"\xff", b"[" * 100_000])
def test_what_is_no_patch_is_400(raw):
    with pytest.raises(StatusError) as error:
        jsonpatch.decode(raw)
    assert error.value.code == 400


def test_operations_and_copies_are_bounded():
    one = {"op": "test", "path": "/a", "value": None}
    assert len(jsonpatch.decode(msgspec.json.encode([one] * jsonpatch.MAX_OPERATIONS))) == 10_000
    with pytest.raises(StatusError) as error:
        jsonpatch.decode(msgspec.json.encode([one] * 10_001))
    assert error.value.code == 413
    assert error.value.message.endswith("operations in a JSON patch is 10000, got 10001")
    doubling = [{"op": "copy", "from": "/a", "path": "/a/-"}] * 40
    with pytest.raises(PatchError):
        jsonpatch.apply({"a": ["x" * 100]}, doubling)


pointers = st.lists(st.sampled_from(["a", "b", "name", "0", "1", "-", "-1", "~0", "~1"]), max_size=3).map(
    lambda tokens: "".join(f"/{t}" for t in tokens)
)
operations = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"])},
    optional={"path": pointers | json_values, "from": pointers | json_values, "value": json_values},
)


@given(json_values, st.lists(operations, max_size=5))
def test_any_patch_applies_or_is_a_patch_error(document, patch):
    before = copy.deepcopy((document, patch))
    try:
        jsonpatch.apply(document, patch)
    except PatchError:
        pass
    assert (document, patch) == before


@given(st.binary(max_size=40))
def test_any_body_decodes_or_is_a_status_error(raw):
    try:
        jsonpatch.decode(raw)
    except StatusError:
        pass
