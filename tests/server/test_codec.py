"""What bodies the server reads."""

from __future__ import annotations

import pytest

from lakh.machinery import protobuf
from lakh.machinery.errors import StatusError
from lakh.server.codec import read_body

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
POD_JSON = b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}'


def test_json_is_passed_on_as_it_is() -> None:
    for content_type in ("", "application/json", "Application/JSON; charset=utf-8"):
        assert read_body(POD_JSON, content_type) is POD_JSON


def test_yaml_and_protobuf_become_json() -> None:
    assert read_body(b"{apiVersion: v1, kind: Pod, metadata: {name: a}}", "application/yaml") == POD_JSON
    assert read_body(protobuf.encode(POD), "application/vnd.kubernetes.protobuf") == POD_JSON


def test_malformed_protobuf_is_a_bad_request() -> None:
    envelope = b"k8s\x00" + b"\x0a\x09" + b"\x0a\x02v1\x12\x03Pod"
    # JSON that is deeper than can be read.
    deep = envelope + b"\x12\x80\x40" + b"[" * 8192 + b"\x22\x10application/json"
    for body in (b"", b"k8s\x00nonsense", b"k8s\x00\x12\x05a", deep):
        with pytest.raises(StatusError) as refused:
            read_body(body, "application/vnd.kubernetes.protobuf")
        assert refused.value.code == 400
        assert refused.value.reason == "BadRequest"
        assert refused.value.message.startswith("unable to decode protobuf: ")


def test_other_media_types_are_refused() -> None:
    with pytest.raises(StatusError) as refused:
        read_body(b"", "application/cbor")
    assert refused.value.code == 415
    assert "application/vnd.kubernetes.protobuf" in refused.value.message
