"""The status of pods: what a write of it keeps, and what it may not say.

Mirrors upstream's podStatusStrategy and `ValidatePodStatusUpdate`. Kubelets write a status for each change of a container, so whatever is as it
was before is not looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lakh.apis.containers import RESTART_ALL
from lakh.apis.core.pod_claims import validate_extended_claim
from lakh.apis.meta import IMMUTABLE, check_dns_subdomain, check_label_key, report
from lakh.apis.podannotations import validate_annotation_updates
from lakh.apis.structs import core
from lakh.machinery import addresses, names
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
)

PodStatus = core("PodStatus")
_PodIP = core("PodIP")

MAX_ID = 2**31 - 1
_ID_RANGE = names.range_message(0, MAX_ID)
_SYSTEM_CONDITIONS = frozenset(("Initialized", "PodScheduled", "Ready"))
_HEALTH = ("Healthy", "Unhealthy", "Unknown")
_ONE_OF_A_FAMILY = "may specify no more than one IP for each IP family"


# -- what a write keeps ------------------------------------------------------------------------------------------------------------


def prepare_status(new: Any, old: Any) -> None:
    """Fills in what a client of an older time leaves out: the quality of service, the first address in both fields, observed generations."""
    status, before = new.status, old.status
    if status is None:
        status = new.status = PodStatus()
    if before is not None:
        if not status.qosClass:
            status.qosClass = before.qosClass
        if not status.observedGeneration:
            status.observedGeneration = before.observedGeneration
        if status.conditions and before.conditions:
            keep_generations(status.conditions, before.conditions)
    if status.podIP:
        if not status.podIPs or status.podIPs[0].ip != status.podIP:
            status.podIPs = [_PodIP(ip=status.podIP)]
    elif status.podIPs:
        status.podIP = status.podIPs[0].ip


def keep_generations(conditions: list[Any], before: list[Any]) -> None:
    """Conditions of a client that says no observed generation keep what they had."""
    known: dict[str, list[int]] = {}
    for condition in before:
        if condition.observedGeneration:
            known.setdefault(condition.type, []).append(condition.observedGeneration)
    for condition in conditions if known else ():
        left = known.get(condition.type)
        if left:
            generation = left.pop(0)
            if not condition.observedGeneration:
                condition.observedGeneration = generation


# -- what it may not say -----------------------------------------------------------------------------------------------------------


def validate_status(new: Any, old: Any) -> list[FieldError]:
    """All findings on an update of a pod's status."""
    found: list[FieldError] = []
    status, before, spec = new.status, old.status or PodStatus(), old.spec
    if new.metadata.annotations or old.metadata.annotations:
        validate_annotation_updates(new, old, "metadata.annotations", found)
    validate_conditions(status.conditions or (), found)
    if status.nominatedNodeName and status.nominatedNodeName != before.nominatedNodeName:
        report(
            check_dns_subdomain(status.nominatedNodeName),
            "status.nominatedNodeName",
            status.nominatedNodeName,
            found,
        )
    if before.qosClass and status.qosClass != before.qosClass:
        found.append(invalid_value("status.qosClass", status.qosClass or "", IMMUTABLE))
    if spec is not None and spec.restartPolicy != "Always":
        if before.containerStatuses:
            _validate_ends(
                status.containerStatuses, before.containerStatuses, "containerStatuses", spec, found
            )
        if before.initContainerStatuses:
            _validate_ends(
                status.initContainerStatuses,
                before.initContainerStatuses,
                "initContainerStatuses",
                spec,
                found,
            )
    if before.ephemeralContainerStatuses:
        _validate_ends(
            status.ephemeralContainerStatuses,
            before.ephemeralContainerStatuses,
            "ephemeralContainerStatuses",
            None,
            found,
        )
    if status.resourceClaimStatuses:
        _validate_claims(status.resourceClaimStatuses, spec, found)
    claim = status.extendedResourceClaimStatus
    if claim is not None and claim != before.extendedResourceClaimStatus:
        found += validate_extended_claim(claim, spec)
    if status.podIPs and status.podIPs != before.podIPs:
        _validate_addresses(status.podIPs, "podIPs", found)
    if status.hostIPs and status.hostIPs != before.hostIPs:
        first = status.hostIPs[0].ip or ""
        if (status.hostIP or "") != first:
            found.append(invalid_value("status.hostIPs[0].ip", first, "must be equal to `hostIP`"))
        _validate_addresses(status.hostIPs, "hostIPs", found)
    _validate_details(status, spec, found)
    return found


def validate_conditions(conditions: Sequence[Any], found: list[FieldError]) -> None:
    """Types of conditions are qualified names, or the system's."""
    for index, condition in enumerate(conditions):
        if condition.type not in _SYSTEM_CONDITIONS:
            messages = check_label_key(condition.type or "")
            if messages:
                # Upstream's path.
                report(messages, f"metadata.conditions[{index}].Type", condition.type or "", found)


def _validate_ends(
    statuses: list[Any] | None, before: list[Any], field: str, spec: Any, found: list[FieldError]
) -> None:
    """A container that ended for good stays ended. `spec` None: all do, whatever the pod's restart policy says."""
    now = {s.name: s for s in statuses or ()}
    for index, was in enumerate(before):
        if was.state is None or was.state.terminated is None:
            continue
        if spec is not None and _may_restart(spec, was.name, was.state.terminated.exitCode or 0):
            continue
        status = now.get(was.name)
        if status is not None and (status.state is None or status.state.terminated is None):
            found.append(
                forbidden_field(
                    f"status.{field}[{index}].state", "may not be transitioned to non-terminated state"
                )
            )


def _may_restart(spec: Any, name: str, exit_code: int) -> bool:
    """Whether a container may run again after it ended with a code: by its own rules and policy, else by its pod's."""
    policy, containers = spec.restartPolicy, (*(spec.containers or ()), *(spec.initContainers or ()))
    if any(rule.action == RESTART_ALL for c in containers for rule in c.restartPolicyRules or ()):
        # Another container's end may be this one's beginning.
        return True
    for container in containers:
        if container.name != name:
            continue
        for rule in container.restartPolicyRules or ():
            codes = rule.exitCodes
            if codes is not None and (exit_code in (codes.values or ())) == (codes.operator == "In"):
                return True
        policy = container.restartPolicy or policy
        break
    return bool(policy == "Always" or (policy == "OnFailure" and exit_code))


def _validate_claims(statuses: list[Any], spec: Any, found: list[FieldError]) -> None:
    known = {claim.name for claim in (spec and spec.resourceClaims) or ()}
    seen: set[str] = set()
    for index, status in enumerate(statuses):
        where = f"status.resourceClaimStatuses[{index}].name"
        name = status.name or ""
        if name not in known:
            found.append(
                invalid_value(where, name, "must match the name of an entry in `spec.resourceClaims`")
            )
        if name in seen:
            found.append(duplicate(where, name))
        seen.add(name)
        if status.resourceClaimName is not None:
            report(check_dns_subdomain(status.resourceClaimName), where, status.resourceClaimName, found)


def _validate_addresses(given: list[Any], field: str, found: list[FieldError]) -> None:
    texts = [address.ip or "" for address in given]
    for index, text in enumerate(texts):
        report(addresses.ip(text), f"status.{field}[{index}]", text, found)
    if len(texts) < 2:
        return
    shown = [{"IP": text} for text in texts]
    if len(texts) > 2 or not addresses.are_dual_stack(texts):
        found.append(invalid_value(f"status.{field}", shown, _ONE_OF_A_FAMILY))
    for index, text in enumerate(texts):
        if text in texts[:index]:
            found.append(duplicate(f"status.{field}[{index}]", shown[index]))


def _validate_details(status: Any, spec: Any, found: list[FieldError]) -> None:
    """Users of containers, and the health of the devices that they have."""
    windows = spec is not None and spec.os is not None and spec.os.name == "windows"
    for field, owners in (
        ("containerStatuses", "containers"),
        ("initContainerStatuses", "initContainers"),
        ("ephemeralContainerStatuses", ""),
    ):
        for index, item in enumerate(getattr(status, field) or ()):
            if item.user is not None and item.user.linux is not None:
                where = f"status.{field}[{index}].linux"
                if windows:
                    found.append(forbidden_field(where, "cannot be set for a windows pod"))
                else:
                    _validate_user(item.user.linux, where, found)
            if item.allocatedResourcesStatus:
                where = f"status.{field}[{index}].allocatedResourcesStatus"
                if not owners:
                    found.append(forbidden_field(where, "must not be specified in container status"))
                else:
                    owner = next((c for c in getattr(spec, owners) or () if c.name == item.name), None)
                    _validate_devices(item.allocatedResourcesStatus, owner, where, found)


def _validate_user(user: Any, path: str, found: list[FieldError]) -> None:
    ids = [("uid", user.uid), ("gid", user.gid)]
    ids += [(f"supplementalGroups[{i}]", group) for i, group in enumerate(user.supplementalGroups or ())]
    for name, value in ids:
        if not 0 <= (value or 0) <= MAX_ID:
            found.append(invalid_value(f"{path}.{name}", value, _ID_RANGE))


def _validate_devices(items: list[Any], container: Any, path: str, found: list[FieldError]) -> None:
    resources = container.resources if container is not None else None
    claims = {
        f"claim:{c.name}/{c.request}" if c.request else f"claim:{c.name}"
        for c in (resources and resources.claims) or ()
    }
    requests = (resources and resources.requests) or {}
    for index, item in enumerate(items):
        name = item.name or ""
        # A container that is not there is passed over.
        if container is not None:
            why = ""
            if name.startswith("claim:"):
                if name not in claims:
                    why = (
                        "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' "
                        "or 'claim:<claimName>' if request is empty"
                    )
            elif name not in requests:
                why = "must match one of the container's resource requests"
            if why:
                found.append(invalid_value(f"{path}[{index}].name", name, why))
        seen: set[str] = set()
        for position, device in enumerate(item.resources or ()):
            where = f"{path}[{index}].resources[{position}]"
            if device.health not in _HEALTH:
                found.append(not_supported(f"{where}.health", device.health or "", _HEALTH))
            if device.resourceID in seen:
                found.append(duplicate(f"{where}.resourceID", device.resourceID))
            seen.add(device.resourceID)
