from __future__ import annotations

import pytest

from lakh.machinery.errors import StatusError
from lakh.server.negotiate import accepted

PROTOBUF = "application/vnd.kubernetes.protobuf"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("header", "shape", "media"),
    [
        ("", "object", "json"),
        ("*/*", "object", "json"),
        ("application/yaml", "object", "yaml"),
        (f"{TABLE},application/json", "table", "json"),
        ("application/json;as=Table;v=v9;g=meta.k8s.io, application/json", "object", "json"),
        ("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "metadata", "json"),
        ("text/html, application/json;q=0.9", "object", "json"),
        (f"{PROTOBUF},application/json", "object", "protobuf"),
        (f"application/json;q=0.5, {PROTOBUF};q=0.8", "object", "protobuf"),
        (f"*/*, {PROTOBUF}", "object", "protobuf"),
        (f"{PROTOBUF};as=Table;v=v1;g=meta.k8s.io,{TABLE}", "table", "json"),
        (f"{PROTOBUF};as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "metadata", "protobuf"),
        (f"{PROTOBUF};stream=watch", "object", "protobuf"),
    ],
)
def test_accepted(header: str, shape: str, media: str) -> None:
    assert accepted(header)[:2] == (shape, media)


def test_custom_resources_have_no_messages() -> None:
    assert accepted(f"{PROTOBUF},application/json", messages=False).media == "json"
    partial = f"{PROTOBUF};as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
    assert accepted(partial, messages=False)[:2] == ("metadata", "protobuf")
    with pytest.raises(StatusError, match=r"application/json, application/yaml, application/vnd\.kubernetes"):
        accepted(PROTOBUF, messages=False)


def test_yaml_cannot_be_watched() -> None:
    with pytest.raises(
        StatusError,
        match=r"application/json;stream=watch, application/vnd\.kubernetes\.protobuf;stream=watch",
    ):
        accepted("application/yaml", watch=True)


@pytest.mark.parametrize("header", ["text/html", "application/json;as=Nonsense;v=v1;g=meta.k8s.io"])
def test_not_acceptable(header: str) -> None:
    with pytest.raises(StatusError) as error:
        accepted(header)
    assert error.value.code == 406
