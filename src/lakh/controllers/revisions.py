"""ControllerRevisions: the stored templates of DaemonSets and StatefulSets.

A revision's data is a strategic merge patch that puts the template back (`kubectl rollout undo` applies it). Equal templates share one
revision; going back to an old template gives that revision the next number.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from lakh.client.errors import ApiError, is_already_exists, is_not_found
from lakh.client.resources import CONTROLLERREVISIONS, Resource

from . import informers
from .context import Context
from .hashing import template_hash
from .pods import controller_of, controller_reference, decode_template
from .views import ControllerRevision, Meta

HASH_LABEL = "controller-revision-hash"


def revision_data(template: bytes | msgspec.Raw) -> dict[str, Any]:
    """What a revision stores of a template."""
    return {"spec": {"template": {**msgspec.json.decode(template), "$patch": "replace"}}}


class HashCollisionError(Exception):
    """Another object has the revision's name; the hash must be made with another collision count."""


class Histories:
    """The revisions of all objects of one kind."""

    def __init__(self, context: Context, owner: Resource) -> None:
        self._client = context.client
        self._owner = owner
        self._revisions = context.informers.of(
            CONTROLLERREVISIONS, ControllerRevision, indexes=(informers.CONTROLLER,)
        )

    def of(self, metadata: Meta) -> list[ControllerRevision]:
        """An object's revisions, oldest first."""
        found = self._revisions.by_index(informers.CONTROLLER, metadata.uid)
        return sorted(found, key=lambda revision: (revision.revision, revision.metadata.name))

    async def current(
        self, metadata: Meta, template: bytes | msgspec.Raw, collision_count: int | None
    ) -> ControllerRevision:
        """The revision of this template; made, or moved to the front, when it must be."""
        data = revision_data(template)
        history = self.of(metadata)
        newest = history[-1].revision if history else 0
        for revision in reversed(history):
            if msgspec.json.decode(revision.data) != data:
                continue
            if revision.revision < newest:
                patch = {"revision": newest + 1}
                name = revision.metadata.name
                return await self._client.patch(
                    CONTROLLERREVISIONS, name, patch, metadata.namespace, type=ControllerRevision
                )
            return revision
        return await self._create(metadata, template, data, newest + 1, collision_count)

    async def _create(
        self,
        metadata: Meta,
        template: bytes | msgspec.Raw,
        data: dict[str, Any],
        number: int,
        collision_count: int | None,
    ) -> ControllerRevision:
        hashed = template_hash(data, collision_count or None)
        decoded = decode_template(template).metadata
        name = f"{metadata.name}-{hashed}"
        body = {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {
                "name": name,
                "labels": {**((decoded and decoded.labels) or {}), HASH_LABEL: hashed},
                # Among them why the template was changed: `kubectl rollout history` shows it.
                "annotations": metadata.annotations or {},
                "ownerReferences": [
                    controller_reference(self._owner.api_version, self._owner.kind, metadata)
                ],
            },
            "data": data,
            "revision": number,
        }
        try:
            return await self._client.create(
                CONTROLLERREVISIONS, body, metadata.namespace, type=ControllerRevision
            )
        except ApiError as error:
            if not is_already_exists(error):
                raise
        live = await self._client.get(CONTROLLERREVISIONS, name, metadata.namespace, type=ControllerRevision)
        owner = controller_of(live.metadata)
        if owner is None or owner.uid != metadata.uid or msgspec.json.decode(live.data) != data:
            raise HashCollisionError(name)
        return live

    async def prune(self, metadata: Meta, live: Collection[str], limit: int | None) -> None:
        """Delete the oldest revisions beyond `limit` that no pod uses. `live` has their hashes."""
        unused = [rev for rev in self.of(metadata) if hash_of(rev) not in live]
        for revision in unused[: max(len(unused) - (10 if limit is None else limit), 0)]:
            try:
                await self._client.delete(
                    CONTROLLERREVISIONS, revision.metadata.name, metadata.namespace, uid=revision.metadata.uid
                )
            except ApiError as error:
                if not is_not_found(error):
                    raise


def hash_of(revision: ControllerRevision) -> str:
    """The hash that the pods of this revision carry."""
    return (revision.metadata.labels or {}).get(HASH_LABEL, "")


__all__ = ["HASH_LABEL", "HashCollisionError", "Histories", "hash_of", "revision_data"]
