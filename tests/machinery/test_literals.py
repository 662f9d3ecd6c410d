"""What Go's own decoders make of texts; the codec's tests show what clients are told."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lakh.apis.definitions import schema
from lakh.machinery.checkedtexts import look
from lakh.machinery.literals import LiteralError, settle

CORE = "io.k8s.api.core.v1"
SECRET = schema().node(f"{CORE}.Secret")


def test_what_is_well_formed_is_shared() -> None:
    pod = {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"hostname": "a"}}
    assert settle(pod, schema().node(f"{CORE}.Pod")) is pod


@pytest.mark.parametrize("definition", [f"{CORE}.Pod", f"{CORE}.Secret", f"{CORE}.Node"])
@pytest.mark.parametrize(
    "value", [None, 1, "a", [], {"metadata": 1}, {"spec": [], "data": "x", "status": None}]
)
def test_what_has_another_type_is_left_to_others(definition: str, value: Any) -> None:
    assert settle(value, schema().node(definition)) == value


_BASE64 = re.compile(r"([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


@example("AAAA=")
@example("AAAA====")
@example("AAAA\r=")
@given(st.text("AQgw+/=\r\n*é", max_size=12))
def test_bytes_are_taken_or_refused_as_by_a_strict_decoder(text: str) -> None:
    bare = text.replace("\r", "").replace("\n", "")
    try:
        taken = settle({"data": {"k": text}}, SECRET)["data"]["k"]
    except LiteralError as e:
        offset = int(str(e).rpartition(" ")[2])
        assert 0 <= offset <= len(text.encode())
        assert _BASE64.fullmatch(bare) is None
    else:
        assert taken == bare
        assert _BASE64.fullmatch(bare) is not None


@given(st.dictionaries(st.sampled_from("abc"), st.sampled_from(["1", " 2Gi", "1e3", "0.5", 3, 1.5])))
def test_what_the_quick_look_takes_stays(limits: dict[str, Any]) -> None:
    quota = {"spec": {"hard": limits}}
    settled = settle(quota, schema().node(f"{CORE}.ResourceQuota"))
    checks = schema().checks(f"{CORE}.ResourceQuota")
    msgspec.convert(settled, checks, dec_hook=look)
    try:
        msgspec.convert(quota, checks, dec_hook=look)
    except msgspec.ValidationError:
        assert settled != quota
    else:
        assert settled == quota
