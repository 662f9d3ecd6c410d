"""Semantic versions as Kubernetes' expressions read them (github.com/blang/semver, with its words for what is wrong)."""

from __future__ import annotations

import re
from typing import Any

from lakh.machinery.errors import show

_is_number = re.compile(r"[0-9]*").fullmatch
_is_identifier = re.compile(r"[0-9A-Za-z-]*").fullmatch
_MAX = 2**64


def parse(text: str) -> tuple[Any, ...]:
    """What a version is ordered by; raises ValueError. Build metadata must be well-formed, but do not count."""
    if not text:
        raise ValueError("Version string empty")
    parts = text.split(".", 2)
    if len(parts) != 3:
        raise ValueError("No Major.Minor.Patch elements found")
    major, minor = _part("major", parts[0]), _part("minor", parts[1])
    rest, plus, build = parts[2].partition("+")
    patch_text, dash, pre = rest.partition("-")
    patch = _part("patch", patch_text)
    identifiers = tuple(map(_identifier, pre.split("."))) if dash else ()
    for identifier in build.split(".") if plus else ():
        if not identifier:
            raise ValueError("Build meta data is empty")
        if not _is_identifier(identifier):
            raise ValueError(f"Invalid character(s) found in build meta data {show(identifier)}")
    # What is before a release is less than it.
    return (major, minor, patch, 0, identifiers) if dash else (major, minor, patch, 1)


def _part(what: str, text: str) -> int:
    if not _is_number(text):
        raise ValueError(f"Invalid character(s) found in {what} number {show(text)}")
    if len(text) > 1 and text[0] == "0":
        raise ValueError(f"{what.capitalize()} number must not contain leading zeroes {show(text)}")
    return _number(text)


def _number(text: str) -> int:
    # More than 20 digits do not fit into 64 bits; Python refuses thousands of them.
    if not text or len(text) > 20 or int(text) >= _MAX:
        why = "value out of range" if text else "invalid syntax"
        raise ValueError(f"strconv.ParseUint: parsing {show(text)}: {why}")
    return int(text)


def _identifier(text: str) -> tuple[int, int, str]:
    """Numbers come before names."""
    if not text:
        raise ValueError("Prerelease is empty")
    if _is_number(text):
        if len(text) > 1 and text[0] == "0":
            raise ValueError(f"Numeric PreRelease version must not contain leading zeroes {show(text)}")
        return 0, _number(text), ""
    if not _is_identifier(text):
        raise ValueError(f"Invalid character(s) found in prerelease {show(text)}")
    return 1, 0, text


def normalized(text: str) -> str:
    """A version without a leading v and leading zeros, with all three numbers; raises ValueError."""
    parts = text.removeprefix("v").split(".", 2)
    for index, part in enumerate(parts):
        if len(part) > 1:
            bare = part.lstrip("0")
            parts[index] = bare if bare[:1].isascii() and bare[:1].isdigit() else "0" + bare
    if len(parts) < 3 and any(c in parts[-1] for c in "+-"):
        raise ValueError("short version cannot contain PreRelease/Build meta data")
    return ".".join(parts + ["0"] * (3 - len(parts)))
