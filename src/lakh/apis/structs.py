"""The Struct types that defaults have to make: a short name for `schema().struct(…)`."""

from __future__ import annotations

from typing import Any

from lakh.apis.definitions import schema


def core(name: str) -> Any:
    """The Struct of a definition of core/v1, such as `PodSpec`."""
    return schema().struct(f"io.k8s.api.core.v1.{name}")


def meta(name: str) -> Any:
    """The Struct of a definition of meta/v1, such as `ObjectMeta`."""
    return schema().struct(f"io.k8s.apimachinery.pkg.apis.meta.v1.{name}")
