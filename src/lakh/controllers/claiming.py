"""Which objects a controller owns: by owner reference, and by selector for those that nobody owns.

`claim` is the pure part: of the objects that name the owner and of the orphans around it, which to keep, adopt or release. Adopting and
releasing are patches that the server checks against the object's uid, so a race costs a conflict and never a wrong owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from lakh.client.client import STRATEGIC, Client
from lakh.client.errors import ApiError, is_invalid, is_not_found
from lakh.client.resources import Resource

from .bursts import all_of
from .selecting import Matcher
from .views import Object

T = TypeVar("T")


class AdoptionError(Exception):
    """The owner is gone or going, so it must not adopt."""


@dataclass
class Claim(Generic[T]):
    """What to do with the candidates. `owned` are the owner's already."""

    owned: list[T] = field(default_factory=list)
    adopt: list[T] = field(default_factory=list)
    release: list[T] = field(default_factory=list)


def claim(
    *,
    owner_deleting: bool,
    matches: Matcher,
    mine: Iterable[T],
    orphans: Iterable[T],
    skip: Callable[[T], bool],
) -> Claim[T]:
    """Sort `mine` (objects naming the owner as controller) and `orphans` of its namespace.

    An owner that is being deleted neither adopts nor releases. `skip` says which orphans are not worth adopting.
    """
    result: Claim[T] = Claim()
    for obj in mine:
        if matches(obj.metadata.labels):  # type: ignore[attr-defined]
            result.owned.append(obj)
        elif owner_deleting:
            continue
        else:
            result.release.append(obj)
    if not owner_deleting:
        for obj in orphans:
            metadata = obj.metadata  # type: ignore[attr-defined]
            if metadata.deletionTimestamp is None and matches(metadata.labels) and not skip(obj):
                result.adopt.append(obj)
    return result


async def carry_out(
    client: Client,
    plan: Claim[T],
    *,
    owner: Resource,
    owner_metadata: Any,
    reference: dict[str, Any],
    resource: Resource,
    finalizers: Sequence[str] = (),
) -> list[T]:
    """Adopt and release as planned; returns the objects that are the owner's afterwards. Adopted ones get `finalizers`.

    Before the first adoption the owner is read once from the server: memory may be older than its deletion.
    """
    kept = list(plan.owned)
    if plan.adopt:
        live = await client.get(owner, owner_metadata.name, owner_metadata.namespace, type=Object)
        if live.metadata.uid != owner_metadata.uid:
            raise AdoptionError(f"original {owner.kind} {owner_metadata.name} is gone")
        if live.metadata.deletionTimestamp is not None:
            raise AdoptionError(
                f"{owner_metadata.name} has just been deleted at {live.metadata.deletionTimestamp}"
            )

    async def adopt(obj: Any) -> None:
        patch: dict[str, Any] = {"metadata": {"ownerReferences": [reference], "uid": obj.metadata.uid}}
        if finalizers:
            patch["metadata"]["finalizers"] = list(finalizers)
        if await _patch(client, resource, obj, patch):
            kept.append(obj)

    async def release(obj: Any) -> None:
        gone = {"$patch": "delete", "uid": owner_metadata.uid}
        await _patch(
            client, resource, obj, {"metadata": {"ownerReferences": [gone], "uid": obj.metadata.uid}}
        )

    error = await all_of(plan.adopt, adopt) or await all_of(plan.release, release)
    if error is not None:
        raise error
    return kept


async def _patch(client: Client, resource: Resource, obj: Any, patch: dict[str, Any]) -> bool:
    try:
        await client.patch(
            resource,
            obj.metadata.name,
            patch,
            obj.metadata.namespace,
            patch_type=STRATEGIC,
            type=Object,
        )
    except ApiError as error:
        # Gone, or another object of that name by now (the patch names the uid): nothing to claim.
        if is_not_found(error) or is_invalid(error):
            return False
        raise
    return True
