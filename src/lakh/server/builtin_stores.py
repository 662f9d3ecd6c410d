"""The stores of builtin kinds with ways of their own; the store of services is in `serviceaddresses`."""

from __future__ import annotations

import copy
from typing import Any

from lakh.apis.definitions import schema
from lakh.apis.groups.certificates import fill_times
from lakh.server.storage import ResourceStore


class NamespaceStore(ResourceStore):
    """Namespaces also wait for `spec.finalizers`, which the namespace controller clears when they are empty."""

    def waits(self, obj: Any) -> bool:
        return bool(obj.spec and obj.spec.finalizers)

    def finished(self, obj: Any) -> bool:
        return not self.waits(obj)

    def on_marked(self, obj: Any) -> None:
        if obj.status is None:
            obj.status = schema().struct("io.k8s.api.core.v1.NamespaceStatus")()
        obj.status.phase = "Terminating"

    def prepare_for_subresource(self, new: Any, old: Any, subresource: str) -> None:
        new.status = old.status


class CertificateSigningRequestStore(ResourceStore):
    """Approvals and denials are written through `approval` only, which changes no more than conditions."""

    def prepare_for_subresource(self, new: Any, old: Any, subresource: str) -> None:
        new.spec = old.spec
        decided = new.status.conditions if new.status is not None else None
        status = schema().struct("io.k8s.api.certificates.v1.CertificateSigningRequestStatus")
        new.status = status() if old.status is None else copy.copy(old.status)
        new.status.conditions = decided
        fill_times(new, old)
