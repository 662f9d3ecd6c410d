"""The compiled encoders write what `protobuf.encode`, the reference, writes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given

from lakh.machinery import protobuf, protoencode

from .test_protobuf import KINDS, QUICK, objects


def _fast(obj: dict[str, Any]) -> bytes:
    message = protobuf.message_of(obj["apiVersion"], obj["kind"])
    raw = protoencode.of_message(message.name).of_json(msgspec.json.encode(obj))
    return protobuf.envelope(protobuf.envelope_head(obj["apiVersion"], obj["kind"]), raw)


@QUICK
@given(objects())
def test_as_the_reference(obj: dict[str, Any]) -> None:
    assert _fast(obj) == protobuf.encode(obj)


def test_every_kind_compiles() -> None:
    for _, api_version, kind in KINDS:
        assert protobuf.decode(_fast({"apiVersion": api_version, "kind": kind}))["kind"] == kind


def test_lengths_of_more_than_one_byte() -> None:
    for size in (0, 1, 127, 128, 16383, 16384, 70000):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "n" * size, "labels": {"k": "v" * size}, "generation": size},
            "spec": {"containers": [{"name": "c" * size}]},
        }
        assert _fast(pod) == protobuf.encode(pod)


def test_nulls_are_absent() -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": None, "labels": None, "creationTimestamp": None},
        "spec": {"containers": [None], "affinity": None, "nodeSelector": {"k": None}},
    }
    assert protobuf.decode(_fast(pod))["spec"] == {"containers": [{}], "nodeSelector": {"k": ""}}


def test_a_part_is_told_apart_by_its_message() -> None:
    # The same JSON as a volume and as a container.
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "spec": {"volumes": [{"name": "a"}], "containers": [{"name": "a"}]},
    }
    assert _fast(pod) == protobuf.encode(pod)


def test_remembered_parts_are_bounded() -> None:
    parts = protoencode._Parts()
    for n in range(60_000):
        parts.encode("core.v1.Toleration", msgspec.Raw(b'{"key":"%d"}' % n))
    assert len(parts._young) + len(parts._old) < 2 * protoencode.PART_BYTES / protoencode.PART_OVERHEAD_BYTES
    large = msgspec.Raw(b'{"key":"%s"}' % (b"x" * protoencode.PART_MAX_BYTES))
    assert parts.encode("core.v1.Toleration", large) == parts.encode("core.v1.Toleration", large)
    assert all(len(raw) <= protoencode.PART_MAX_BYTES for _, raw in parts._young)


@pytest.mark.parametrize("raw", [b"[]", b'{"metadata":{"name":1}}', b'{"spec":{"containers":{}}}', b"{"])
def test_what_is_no_object_of_the_kind(raw: bytes) -> None:
    with pytest.raises(protobuf.ProtobufError):
        protoencode.of_message("core.v1.Pod").of_json(raw)
