"""Semantic versions."""

from __future__ import annotations

import itertools

import pytest

from lakh.machinery import semver

ORDER = [
    "0.9.9",
    "1.0.0-1",
    "1.0.0-2",
    "1.0.0-10",
    "1.0.0-a",
    "1.0.0-a.1",
    "1.0.0-b",
    "1.0.0",
    "1.0.1",
    "1.2.0",
    "1.10.0",
    "2.0.0",
]


def test_order() -> None:
    assert all(semver.parse(a) < semver.parse(b) for a, b in itertools.pairwise(ORDER))


def test_builds_do_not_count() -> None:
    assert semver.parse("1.2.3+a.b-c") == semver.parse("1.2.3") == semver.parse("1.2.3+0")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Version string empty"),
        ("1", "No Major.Minor.Patch elements found"),
        ("v1.2", "No Major.Minor.Patch elements found"),
        ("v1.2.3", 'Invalid character(s) found in major number "v1"'),
        ("1. 2.3", 'Invalid character(s) found in minor number " 2"'),
        ("1.2.3 ", 'Invalid character(s) found in patch number "3 "'),
        ("01.2.3", 'Major number must not contain leading zeroes "01"'),
        ("1.02.3", 'Minor number must not contain leading zeroes "02"'),
        ("1.2.03", 'Patch number must not contain leading zeroes "03"'),
        ("1..3", 'strconv.ParseUint: parsing "": invalid syntax'),
        (
            "18446744073709551616.0.0",
            'strconv.ParseUint: parsing "18446744073709551616": value out of range',
        ),
        ("1.2.3-", "Prerelease is empty"),
        ("1.2.3-a..b", "Prerelease is empty"),
        ("1.2.3-01", 'Numeric PreRelease version must not contain leading zeroes "01"'),
        ("1.2.3-a_b", 'Invalid character(s) found in prerelease "a_b"'),
        ("1.2.3+", "Build meta data is empty"),
        ("1.2.3+a_b", 'Invalid character(s) found in build meta data "a_b"'),
    ],
)
def test_what_is_no_version(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        semver.parse(text)
    assert str(caught.value) == why


@pytest.mark.parametrize(
    ("text", "as_it_should_be"),
    [
        ("v1", "1.0.0"),
        ("1.2", "1.2.0"),
        ("v01.002.000-rc.1", "1.2.0-rc.1"),
        ("0.0.0", "0.0.0"),
        ("", ".0.0"),
        (" 1.2.3", "0 1.2.3"),
    ],
)
def test_normalized(text: str, as_it_should_be: str) -> None:
    assert semver.normalized(text) == as_it_should_be


def test_short_versions_have_nothing_behind_them() -> None:
    with pytest.raises(ValueError, match="short version cannot contain PreRelease/Build meta data"):
        semver.normalized("1.2-rc")
