"""apiregistration.k8s.io/v1: which groups and versions there are, and who serves them."""

from __future__ import annotations

from typing import Any

from lakh.apis import meta
from lakh.apis.groups import printing
from lakh.apis.groups.base import DEFAULT_SERVICE_PORT, METADATA_RESETS, GroupStrategy, child, declare, new
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, STATUS_METADATA, Column
from lakh.machinery import names, times
from lakh.machinery.errors import FieldError, invalid_value, not_supported, required

GROUP = "apiregistration.k8s.io"

MAX_GROUP_PRIORITY = 20_000
MAX_VERSION_PRIORITY = 1000

_STATUSES = ("True", "False", "Unknown")


class APIServiceStrategy(GroupStrategy):
    """API services."""

    has_status = True
    resets = METADATA_RESETS
    status_keeps = STATUS_METADATA
    allow_unconditional_update = False
    columns = (
        NAME_COLUMN,
        Column("Service", description="The reference to the service that hosts this API endpoint."),
        Column("Available", description="Whether this service is available."),
        AGE_COLUMN,
    )

    def default(self, obj: Any) -> None:
        """HTTPS."""
        service = child(obj, "spec").service
        if service is not None and service.port is None:
            service.port = DEFAULT_SERVICE_PORT

    def reset_status(self, obj: Any) -> None:
        """What this server serves itself is available at once."""
        super().reset_status(obj)
        if obj.spec.service is None:
            obj.status.conditions = [_available(obj.status)]

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole API service."""
        spec = obj.spec
        found: list[FieldError] = []
        version, group = spec.version or "", spec.group or ""
        name, wanted = obj.metadata.name or "", f"{version}.{group}"
        if name != wanted and not names.path_segment_name(name):
            why = f'must be `spec.version+"."+spec.group`: "{wanted}"'
            found.append(invalid_value("metadata.name", name, why))
        if group:
            meta.report(names.dns_subdomain(group), "spec.group", group, found)
        elif version != "v1":
            found.append(
                required("spec.group", "only v1 may have an empty group and it better be legacy kube")
            )
        meta.report(names.dns1035_label(version), "spec.version", version, found)
        priority = spec.groupPriorityMinimum or 0
        if not 0 < priority <= MAX_GROUP_PRIORITY:
            found.append(
                invalid_value(
                    "spec.groupPriorityMinimum",
                    priority,
                    f"must be positive and less than {MAX_GROUP_PRIORITY}",
                )
            )
        priority = spec.versionPriority or 0
        if not 0 < priority <= MAX_VERSION_PRIORITY:
            found.append(
                invalid_value(
                    "spec.versionPriority", priority, f"must be positive and less than {MAX_VERSION_PRIORITY}"
                )
            )
        service = spec.service
        if service is None:
            if spec.caBundle:
                size = f"{len(spec.caBundle.rstrip('=')) * 3 // 4} bytes"
                found.append(
                    invalid_value("spec.caBundle", size, "local APIServices may not have a caBundle")
                )
            if spec.insecureSkipTLSVerify:
                found.append(
                    invalid_value(
                        "spec.insecureSkipTLSVerify",
                        True,
                        "local APIServices may not have insecureSkipTLSVerify",
                    )
                )
            return found
        for name in ("namespace", "name"):
            if not getattr(service, name):
                found.append(required(f"spec.service.{name}"))
        if messages := names.port_number(service.port):
            why = f"port is not valid: {','.join(messages)}"
            found.append(invalid_value("spec.service.port", service.port, why))
        if spec.insecureSkipTLSVerify and spec.caBundle:
            found.append(
                invalid_value("spec.insecureSkipTLSVerify", True, "may not be true if caBundle is present")
            )
        return found

    def validate_name(self, name: str) -> list[str]:
        """Any segment of a path; `validate` knows which."""
        return names.path_segment_name(name)

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Conditions that hold, do not, or may."""
        found: list[FieldError] = []
        for index, condition in enumerate((new.status.conditions if new.status is not None else None) or ()):
            if condition.status not in _STATUSES:
                path = f"status.conditions[{index}].status"
                found.append(not_supported(path, condition.status or "", _STATUSES, as_given=True))
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get apiservices` shows it."""
        service, status = obj.spec.service, obj.status
        conditions = (status.conditions if status is not None else None) or ()
        available = next((c for c in conditions if c.type == "Available"), None)
        if available is None:
            text = "Unknown"
        elif available.status == "True":
            text = "True"
        else:
            text = f"{available.status} ({available.reason or ''})"
        return [
            obj.metadata.name,
            f"{service.namespace}/{service.name}" if service is not None else "Local",
            text,
            printing.age(obj, now),
        ]


def _available(status: Any) -> Any:
    return new(
        status,
        "conditions",
        type="Available",
        status="True",
        reason="Local",
        message="Local APIServices are always available",
        lastTransitionTime=times.now(),
    )


RESOURCES = (
    declare(
        GROUP,
        "v1",
        "apiservices",
        "APIService",
        APIServiceStrategy(),
        namespaced=False,
        definition="io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService",
        categories=("api-extensions",),
    ),
)
