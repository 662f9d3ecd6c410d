"""The stores of custom resources and of their definitions."""

from __future__ import annotations

from typing import Any

from lakh.apis.custom import CustomResource, storage_version
from lakh.apis.registry import Resource
from lakh.machinery import errors
from lakh.server.codec import Codec
from lakh.server.context import Context
from lakh.server.custom_codec import CustomCodec
from lakh.server.storage import DeleteOptions, ResourceStore
from lakh.store.partition import Partition
from lakh.store.state import Item

CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"


TERMINATING = "create not allowed while custom resource definition is terminating"


class CustomStore(ResourceStore):
    """The objects of one version of a custom resource. `terminating`: its definition is being deleted, so there will be no new ones."""

    def __init__(self, resource: Resource, partition: Partition) -> None:
        super().__init__(resource, partition)
        assert isinstance(resource, CustomResource)
        self.converted = resource.webhook
        self.has_webhook = resource.versions.conversion is not None
        self.terminating = False

    def make_codec(self, resource: Resource) -> Codec:
        """The codec of its objects."""
        assert isinstance(resource, CustomResource)
        return CustomCodec(resource)

    async def create(self, context: Context, obj: Any, namespace: str) -> Item | bytes:
        """Stores a new object; raises 405 while the definition is being deleted, to a server-side apply 403."""
        if self.terminating:
            if context.applied:
                raise errors.forbidden(
                    self.resource.group, self.resource.plural, obj.metadata.name, TERMINATING
                )
            error = errors.method_not_supported(self.resource.group, self.resource.plural, "create")
            error.message = TERMINATING
            raise error
        return await super().create(context, obj, namespace)


class CustomResourceDefinitionStore(ResourceStore):
    """Definitions wait for their instances: they get a finalizer with their deletion."""

    def _prepare_update(
        self, context: Context, new: Any, old: Any, subresource: str, managers: bytes
    ) -> tuple[bytes, tuple[str, ...], bool]:
        if not subresource:
            self._check_storage_version(new, old)
        return super()._prepare_update(context, new, old, subresource, managers)

    def _check_storage_version(self, new: Any, old: Any) -> None:
        """Objects at rest do not say which version they are of: where a webhook converts, it stays the one they were written in."""
        webhooks = [
            s.conversion is not None and s.conversion.strategy == "Webhook" for s in (new.spec, old.spec)
        ]
        if not any(webhooks) or storage_version(new) == storage_version(old):
            return
        if self.partition.range(f"{old.spec.names.plural}.{old.spec.group}", limit=1).items:
            why = "the storage version may not change while there are objects and a webhook converts them"
            raise errors.invalid(
                self.resource.group,
                self.resource.kind,
                old.metadata.name,
                [errors.forbidden_field("spec.versions", why)],
            )

    def _mark_deleted(self, obj: Any, options: DeleteOptions) -> bool:
        metadata = obj.metadata
        if metadata.deletionTimestamp is None:
            metadata.finalizers = list(dict.fromkeys((*(metadata.finalizers or ()), CLEANUP_FINALIZER)))
        return super()._mark_deleted(obj, options)
