"""Numbers in texts, as Go reads them."""

from __future__ import annotations

import pytest

from lakh.machinery import gonumbers


@pytest.mark.parametrize(
    ("text", "number"), [("0", 0), ("007", 7), (str(2**64 - 1), 2**64 - 1), ("0" * 9000 + "1", 1)]
)
def test_uint(text: str, number: int) -> None:
    assert gonumbers.parse_uint(text) == number
    assert gonumbers.is_uint(text)


@pytest.mark.parametrize("text", ["", "-1", "+1", "1_0", " 1", "1\n", "²", "٣", "1.0", "0x1"])
def test_what_is_no_uint(text: str) -> None:
    assert not gonumbers.is_uint(text)
    with pytest.raises(ValueError, match=r"(?s)strconv.ParseUint: parsing .*: invalid syntax"):
        gonumbers.parse_uint(text)


@pytest.mark.parametrize("text", [str(2**64), "9" * 9000])
def test_too_large(text: str) -> None:
    with pytest.raises(ValueError, match=r"ParseUint.*value out of range"):
        gonumbers.parse_uint(text)
    with pytest.raises(ValueError, match=r"ParseInt.*value out of range"):
        gonumbers.parse_int(text)


def test_int() -> None:
    assert [gonumbers.parse_int(t) for t in ("-1", "+2", str(-(2**63)), "0")] == [-1, 2, -(2**63), 0]
    for text in (str(2**63), str(-(2**63) - 1)):
        with pytest.raises(ValueError, match="value out of range"):
            gonumbers.parse_int(text)
    for text in ("", "-", "--1", "1e3", "²"):
        with pytest.raises(ValueError, match="invalid syntax"):
            gonumbers.parse_int(text)
