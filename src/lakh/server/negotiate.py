"""What form of answer a client accepts: whole objects, `Table`s, or `PartialObjectMetadata`."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

from lakh.machinery import errors

Shape = Literal["object", "table", "metadata"]
SERVED = ("application/json", "application/yaml")


class Accepted(NamedTuple):
    """The form chosen: `shape`, and whether as YAML."""

    shape: Shape
    yaml: bool


@lru_cache(256)
def accepted(header: str) -> Accepted:
    """The first entry of an `Accept` header that can be served; raises 406 when there is none."""
    if not header:
        return Accepted("object", False)
    for entry in header.split(","):
        kind, *parameters = (p.strip() for p in entry.split(";"))
        options = dict(p.split("=", 1) for p in parameters if "=" in p)
        yaml = kind in ("application/yaml", "text/yaml")
        if kind not in ("application/json", "*/*", "application/*") and not yaml:
            continue
        wanted = options.get("as")
        if wanted is None:
            return Accepted("object", yaml)
        if options.get("g") != "meta.k8s.io" or options.get("v") not in ("v1", "v1beta1"):
            continue
        if wanted in ("Table",):
            return Accepted("table", yaml)
        if wanted in ("PartialObjectMetadata", "PartialObjectMetadataList"):
            return Accepted("metadata", yaml)
    raise errors.not_acceptable(SERVED)
