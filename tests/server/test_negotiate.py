from __future__ import annotations

import pytest

from lakh.machinery.errors import StatusError
from lakh.server.negotiate import accepted

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("header", "shape", "yaml"),
    [
        ("", "object", False),
        ("*/*", "object", False),
        ("application/yaml", "object", True),
        (f"{TABLE},application/json", "table", False),
        ("application/json;as=Table;v=v9;g=meta.k8s.io, application/json", "object", False),
        ("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "metadata", False),
        ("text/html, application/json;q=0.9", "object", False),
    ],
)
def test_accepted(header: str, shape: str, yaml: bool) -> None:
    assert accepted(header) == (shape, yaml)


@pytest.mark.parametrize("header", ["text/html", "application/json;as=Nonsense;v=v1;g=meta.k8s.io"])
def test_not_acceptable(header: str) -> None:
    with pytest.raises(StatusError) as error:
        accepted(header)
    assert error.value.code == 406
