"""What the kinds of core/v1 share: how they are declared, and small views of usual structures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lakh.apis.groups.base import declare as declare_in_group
from lakh.apis.registry import Resource, Strategy


def declare(plural: str, kind: str, strategy: Strategy, *, namespaced: bool = True, **more: Any) -> Resource:
    """A resource of the core group with the usual names filled in."""
    return declare_in_group(
        "",
        "v1",
        plural,
        kind,
        strategy,
        namespaced=namespaced,
        definition=f"io.k8s.api.core.v1.{kind}",
        **more,
    )


def condition(conditions: list[Any] | None, kind: str) -> Any | None:
    """The condition of a type, or None."""
    for item in conditions or ():
        if item.type == kind:
            return item
    return None


def spec_field(name: str) -> Callable[[Any], str]:
    """A selectable field of spec: empty when absent."""

    def read(obj: Any) -> str:
        return (obj.spec and getattr(obj.spec, name)) or ""

    return read


def status_field(name: str) -> Callable[[Any], str]:
    """A selectable field of status: empty when absent."""

    def read(obj: Any) -> str:
        return (obj.status and getattr(obj.status, name)) or ""

    return read


def text(value: bool | None) -> str:
    """A boolean as field selectors spell it."""
    return "true" if value else "false"
