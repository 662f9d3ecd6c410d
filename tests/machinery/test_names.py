import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.machinery import names

LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


@pytest.mark.parametrize(
    ("rule", "good"),
    [
        (names.dns_label, ["a", "0", "my-name", "a" * 63]),
        (names.dns_subdomain, ["a", "example.com", "a.b.c", "0.0"]),
        (names.dns1035_label, ["a", "a-0", "x" * 63]),
        (names.wildcard_dns_subdomain, ["*.example.com", "*.a"]),
        (names.qualified_name, ["app", "example.com/App.name_1", "a/b"]),
        (names.label_value, ["", "a", "A.b_c-1", "v" * 63]),
        (names.c_identifier, ["_a", "A1"]),
        (names.env_var_name, ["PATH", "a b", "1X", "x/y"]),
        (names.strict_env_var_name, ["PATH", "my.env-name"]),
        (names.config_map_key, ["a", "A.b_c-d", "...a"[3:]]),
        (names.port_name, ["http", "a-1"]),
        (names.percent, ["0%", "100%"]),
        (names.http_header_name, ["X-Header-Name"]),
        (names.path_segment_name, ["a", "system:admin", "..."]),
    ],
)
def test_what_is_valid(rule, good):
    assert [rule(value) for value in good] == [[]] * len(good)


@pytest.mark.parametrize(
    ("rule", "value", "messages"),
    [
        (names.dns_label, "A", [LABEL]),
        (names.dns_label, "a.b", ["must not contain dots"]),
        (names.dns_label, "a\n", [LABEL]),
        (names.dns_label, "a" * 64, ["must be no more than 63 bytes"]),
        (names.dns_subdomain, "a" * 254, ["must be no more than 253 bytes"]),
        (names.label_value, "x" * 64, ["must be no more than 63 bytes"]),
        (names.port_name, "", [
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
            "must contain at least one letter (a-z)",
        ]),
        (names.port_name, "-a--b-", [
            "must not contain consecutive hyphens",
            "must not begin or end with a hyphen",
        ]),
        (names.port_name, "a" * 16, ["must be no more than 15 bytes"]),
        (names.config_map_key, "..", ["must not be '..'"]),
        (names.config_map_key, ".", ["must not be '.'"]),
        (names.config_map_key, "..a", ["must not start with '..'"]),
        (names.env_var_name, "", ["environment variable name must be non-empty"]),
        (names.env_var_name, "a=b", [
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
        ]),
        (names.path_segment_name, "..", ["may not be '..'"]),
        (names.path_segment_name, "a/%", ["may not contain '/'", "may not contain '%'"]),
        (names.dns_subdomain_with_underscores, "_tcp.a_b.example", []),
    ],
)  # fmt: skip
def test_what_is_not(rule, value, messages):
    assert rule(value) == messages


def test_qualified_names_are_judged_in_parts():
    assert names.qualified_name("/a") == ["prefix part must be non-empty"]
    assert names.qualified_name("A/a")[0].startswith("prefix part a lowercase RFC 1123 subdomain")
    assert names.qualified_name("a/")[0] == "name part must be non-empty"
    assert names.qualified_name("x" * 64) == ["name part must be no more than 63 bytes"]
    assert names.qualified_name("a/b/c")[0].startswith("a valid label key must consist of")


def test_numbers():
    assert names.port_number(1) == names.port_number(65535) == []
    assert names.port_number(0) == ["must be between 1 and 65535, inclusive"]
    assert names.in_range(5, 1, 3) == ["must be between 1 and 3, inclusive"]
    assert names.user_id(-1) == ["must be between 0 and 4294967295, inclusive"]


def test_generate_names_may_end_in_a_dash():
    assert names.dns_subdomain(names.mask_trailing_dash("web-")) == []
    assert names.mask_trailing_dash("-") == "-"


@given(st.text(max_size=80))
def test_every_rule_takes_any_text(value):
    for rule in (
        names.dns_label, names.dns_subdomain, names.dns1035_label, names.wildcard_dns_subdomain, names.qualified_name,
        names.label_value, names.c_identifier, names.env_var_name, names.strict_env_var_name, names.config_map_key,
    ):  # fmt: skip
        assert all(isinstance(message, str) for message in rule(value))
    if not names.dns_label(value):
        assert not names.dns_subdomain(value)
        assert not names.label_value(value)
        assert not names.path_segment_name(value)
