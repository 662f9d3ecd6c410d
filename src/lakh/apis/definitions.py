"""Kubernetes v1.36's own schemas, as the package `kubernetes-validate` carries them."""

from __future__ import annotations

from functools import cache
from importlib import resources

import msgspec

from lakh.machinery.schema import Schema

KUBERNETES_VERSION = "1.36"


@cache
def schema() -> Schema:
    """The schema of every built-in kind; loaded once (15 ms)."""
    path = resources.files("kubernetes_validate").joinpath(
        f"kubernetes-json-schema/v{KUBERNETES_VERSION}.0-local/_definitions.json"
    )
    return Schema(msgspec.json.decode(path.read_bytes())["$defs"])
