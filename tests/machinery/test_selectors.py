from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis.definitions import schema
from lakh.machinery import selectors
from lakh.machinery.selectors import SelectorError, of_label_selector, of_labels, parse, parse_fields


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "c"}, False),
        ("a=b", {}, False),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False),
        ("!a", {}, True),
        ("a in (x,y)", {"a": "y"}, True),
        ("a in (x, y)", {}, False),
        ("a notin (x,y)", {}, True),
        ("a notin (x,y)", {"a": "x"}, False),
        ("a>5", {"a": "6"}, True),
        ("a<5", {"a": "6"}, False),
        ("a>5", {"a": "x"}, False),
        ("a=", {"a": ""}, True),
        ("a in ()", {"a": ""}, True),
        ("a=b,c!=d,e in (x,y),!f,g>5", {"a": "b", "e": "x", "g": "9"}, True),
        ("in in (in)", {"in": "in"}, True),
    ],
)
def test_matching(text, labels, matches):
    assert parse(text).matches(labels) is matches


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        (" a = b , c ", "a=b,c"),
        ("c in (z,x, y),a notin (b)", "a notin (b),c in (x,y,z)"),
        ("a in (,x)", "a in (,x)"),
        ("b>1,a<2,!c,d==e", "a<2,b>1,!c,d==e"),
    ],
)
def test_printing_is_canonical(text, printed):
    assert str(parse(text)) == printed
    assert parse(printed) == parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,", "found '', expected: identifier after ','"),
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a in", "unable to parse requirement: found '' expected: '('"),
        ("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
        ("a in (x", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        (
            "g>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be "
            "an integer",
        ),
    ],
)
def test_errors_are_upstreams(text, message):
    with pytest.raises(SelectorError) as error:
        parse(text)
    assert str(error.value) == message


def test_an_invalid_key_or_value_is_explained():
    with pytest.raises(
        SelectorError, match=r'unable to parse requirement: <nil>: Invalid value: "-a": name part must'
    ):
        parse("-a=b")
    with pytest.raises(
        SelectorError, match=r'unable to parse requirement: values\[0\]\[a\]: Invalid value: "-": a valid'
    ):
        parse("a=-")


def test_label_selectors_of_objects():
    selector = {
        "matchLabels": {"app": "web"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]},
            {"key": "old", "operator": "DoesNotExist"},
        ],
    }
    parsed = of_label_selector(selector)
    assert str(parsed) == "app=web,!old,tier in (a,b)"
    assert parsed.matches({"app": "web", "tier": "a"})
    assert not parsed.matches({"app": "web", "tier": "a", "old": ""})
    struct = schema().struct("io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector")
    assert of_label_selector(struct(matchLabels={"app": "web"})) == of_labels({"app": "web"})


def test_no_selector_selects_nothing_and_an_empty_one_everything():
    assert not of_label_selector(None).matches({})
    assert not of_label_selector(None).empty
    assert of_label_selector({}).empty
    assert of_label_selector({}).matches(None)
    assert of_labels(None).empty


def test_an_unknown_operator_is_refused():
    with pytest.raises(SelectorError, match='"Foo" is not a valid label selector operator'):
        of_label_selector({"matchExpressions": [{"key": "a", "operator": "Foo"}]})
    with pytest.raises(SelectorError, match="values set can't be empty"):
        of_label_selector({"matchExpressions": [{"key": "a", "operator": "In"}]})


def test_exact_values():
    assert parse("a=b,c in (x,y)").exact("a") == "b"
    assert parse("a=b,c in (x,y)").exact("c") is None


def test_field_selectors():
    selector = parse_fields("spec.nodeName=n1,status.phase!=Failed,metadata.name==web")
    assert selector.requirements == (
        ("metadata.name", "=", "web"),
        ("spec.nodeName", "=", "n1"),
        ("status.phase", "!=", "Failed"),
    )
    assert selector.exact("spec.nodeName") == "n1"
    assert selector.exact("status.phase") is None
    values = {"spec.nodeName": "n1", "status.phase": "Running", "metadata.name": "web"}
    assert selector.matches(values.__getitem__)
    assert str(selector) == "metadata.name=web,spec.nodeName=n1,status.phase!=Failed"
    assert parse_fields("").empty
    assert parse_fields("a=x\\,y\\=").requirements == (("a", "=", "x,y="),)
    assert str(parse_fields("a=x\\,y\\=")) == "a=x\\,y\\="


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "invalid selector: 'a'; can't understand 'a'"),
        ("a=b=c", "invalid field selector: unescaped character in value: ="),
        ("a=\\q", "invalid field selector: invalid escape sequence: \\q"),
    ],
)
def test_field_selector_errors(text, message):
    with pytest.raises(SelectorError) as error:
        parse_fields(text)
    assert str(error.value) == message


@given(st.text(alphabet="ab=!<>(),in ot\\\n", max_size=20))
def test_only_selector_errors_and_what_parses_prints_and_parses_again(text):
    try:
        selector = parse(text)
    except SelectorError:
        pass
    else:
        assert str(parse(str(selector))) == str(selector)
        selector.matches({"a": "b"})
    try:
        fields = parse_fields(text)
    except SelectorError:
        pass
    else:
        assert parse_fields(str(fields)) == fields


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "matchLabels": json_values,
            "matchExpressions": st.lists(
                st.fixed_dictionaries(
                    {}, optional={"key": json_values, "operator": json_values, "values": json_values}
                )
            ),
        },
    )
)
def test_label_selectors_of_any_shape(selector):
    try:
        of_label_selector(selector)
    except SelectorError:
        pass


def test_parsed_selectors_are_shared():
    assert selectors.parse("a=b") is selectors.parse("a=b")


def test_long_selectors_are_parsed_but_not_kept():
    text = f"a in ({','.join(f'v{i}' for i in range(500))})"
    assert parse(text).matches({"a": "v7"})
    assert selectors.parse(text) is not selectors.parse(text)
    fields = ",".join(f"f{i}=x" for i in range(500))
    assert len(parse_fields(fields).requirements) == 500
    many = {"matchExpressions": [{"key": "a", "operator": "In", "values": [f"v{i}" for i in range(100)]}]}
    assert of_label_selector(many).matches({"a": "v99"})


@pytest.mark.parametrize(
    ("text", "selected", "not_selected"),
    [
        ("a,a,b", {"a": "1", "b": ""}, {"a": "1"}),
        ("!a,!b", {"c": "1"}, {"b": "1"}),
        ("a!=1,a!=2,b notin (3,4)", {"a": "3", "b": "5"}, {"a": "2"}),
        ("a!=1,b notin (3,4)", {}, {"b": "4"}),
        ("a=1,a=1,b in (1,2)", {"a": "1", "b": "2"}, {"a": "1", "b": "3"}),
        ("a in (1,2),a in (2,3)", {"a": "2"}, {"a": "1"}),
        ("a>1,a>1,a<5", {"a": "3"}, {"a": "5"}),
    ],
)
def test_requirements_of_one_kind_are_tested_together(text: str, selected: Any, not_selected: Any) -> None:
    selector = selectors.parse(text)
    assert selector.matches(selected) and not selector.matches(not_selected)
    assert selector.matches(selected) == all(r.matches(selected) for r in selector.requirements)


def test_a_text_as_long_as_a_request_may_have_matches_at_once() -> None:
    selector = selectors.parse(",".join(f"!a{i}" for i in range(10_000)))
    labels = CountingLabels({"b": "1"})
    assert selector.matches(labels)
    assert labels.looks <= 2


class CountingLabels(dict[str, str]):
    """Labels that count how often they are looked at."""

    looks = 0

    def __iter__(self) -> Any:
        self.looks += 1
        return super().__iter__()

    def get(self, key: str, default: Any = None) -> Any:
        self.looks += 1
        return super().get(key, default)
