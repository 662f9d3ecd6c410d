"""Validation of pod specs: what upstream's `ValidatePodSpec` finds, in its wording.

Containers are in `containers`, volumes in `volumes`, placement in `placement`. Every check first asks whether there is anything to check, so a
usual pod costs 10 µs.
"""

from __future__ import annotations

import re
from typing import Any

from lakh.apis import structs
from lakh.apis.containers import (
    validate_containers,
    validate_init_containers,
    validate_profiles,
)
from lakh.apis.meta import check_dns_label, check_dns_subdomain, check_label_key, report, validate_labels
from lakh.apis.placement import (
    validate_affinity,
    validate_tolerations,
    validate_topology_spread,
)
from lakh.apis.resourcelists import check_amount, is_huge_page, milli, validate_requirements
from lakh.apis.volumes import validate_volumes
from lakh.machinery import names
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
    too_long,
)

ResourceRequirements = structs.core("ResourceRequirements")

RESTART_POLICIES = ("Always", "Never", "OnFailure")
DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
PREEMPTION_POLICIES = ("Never", "PreemptLowerPriority")
MAX_INT32 = 2**31 - 1
MAX_USER_ID = 2**31 - 1
MAX_HOSTNAME_BYTES = 64
MAX_DNS_NAMESERVERS = 3
MAX_DNS_SEARCH_PATHS = 32
MAX_DNS_SEARCH_BYTES = 2048
MAX_SYSCTL_BYTES = 253
_SYSCTL_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
SYSCTL_NAME = f"^({_SYSCTL_SEGMENT}[\\./])*{_SYSCTL_SEGMENT}$"
_sysctl_segment = re.compile(_SYSCTL_SEGMENT, re.ASCII).fullmatch


def validate_pod_spec(spec: Any, path: str, *, template: bool = False) -> list[FieldError]:
    """All findings on a pod spec. `template`: it is one of a pod template, where some things are looser and some forbidden."""
    found: list[FieldError] = []
    volumes: dict[str, Any] = {}
    if spec.volumes:
        volumes = validate_volumes(spec.volumes, f"{path}.volumes", found)
    claims: frozenset[str] = frozenset()
    if spec.resourceClaims:
        claims = _validate_resource_claims(spec.resourceClaims, f"{path}.resourceClaims", found)
    validate_containers(spec, volumes, claims, f"{path}.containers", not template, found)
    if spec.initContainers:
        validate_init_containers(spec, volumes, claims, f"{path}.initContainers", not template, found)
    if spec.ephemeralContainers:
        found.append(
            forbidden_field(
                f"{path}.ephemeralContainers",
                "ephemeral containers not allowed in pod template" if template else "cannot be set on create",
            )
        )
    if spec.resources is not None:
        _validate_pod_resources(spec, f"{path}.resources", found)
    _enumeration(spec.restartPolicy, RESTART_POLICIES, f"{path}.restartPolicy", found)
    _enumeration(spec.dnsPolicy, DNS_POLICIES, f"{path}.dnsPolicy", found)
    if spec.nodeSelector:
        validate_labels(spec.nodeSelector, f"{path}.nodeSelector", found)
    if spec.securityContext is not None:
        _validate_security_context(spec.securityContext, f"{path}.securityContext", found)
    if spec.shareProcessNamespace and spec.hostPID:
        found.append(
            invalid_value(
                f"{path}.securityContext.shareProcessNamespace",
                True,
                "ShareProcessNamespace and HostPID cannot both be enabled",
            )
        )
    if spec.imagePullSecrets:
        for index, reference in enumerate(spec.imagePullSecrets):
            if not reference.name:
                found.append(required(f"{path}.imagePullSecrets[{index}].name"))
    if spec.affinity is not None:
        validate_affinity(spec.affinity, f"{path}.affinity", found)
    if spec.dnsPolicy == "None" or spec.dnsConfig is not None:
        _validate_dns(spec.dnsConfig, spec.dnsPolicy, f"{path}.dnsConfig", found)
    if spec.readinessGates:
        for index, gate in enumerate(spec.readinessGates):
            name = gate.conditionType or ""
            report(check_label_key(name), f"{path}.readinessGates[{index}].conditionType", name, found)
    if spec.schedulingGates:
        _validate_gates(spec.schedulingGates, f"{path}.schedulingGates", found)
    if spec.topologySpreadConstraints:
        validate_topology_spread(spec.topologySpreadConstraints, f"{path}.topologySpreadConstraints", found)
    if spec.hostUsers is False:
        # Upstream reports two of them by their Go names.
        for attribute, shown in (
            ("hostNetwork", "hostNetwork"),
            ("hostPID", "HostPID"),
            ("hostIPC", "HostIPC"),
        ):
            if getattr(spec, attribute):
                found.append(forbidden_field(f"{path}.{shown}", "when `pod.Spec.HostUsers` is false"))
    _validate_names(spec, path, found)
    seconds = spec.activeDeadlineSeconds
    if seconds is not None and not 1 <= seconds <= MAX_INT32:
        found.append(
            invalid_value(f"{path}.activeDeadlineSeconds", seconds, names.range_message(1, MAX_INT32))
        )
    if spec.tolerations:
        validate_tolerations(spec.tolerations, f"{path}.tolerations", found)
    if spec.hostAliases:
        _validate_host_aliases(spec.hostAliases, f"{path}.hostAliases", found)
    if spec.preemptionPolicy and spec.preemptionPolicy not in PREEMPTION_POLICIES:
        found.append(not_supported(f"{path}.preemptionPolicy", spec.preemptionPolicy, PREEMPTION_POLICIES))
    if spec.overhead:
        # Upstream checks it as if it were limits of a container.
        validate_requirements(ResourceRequirements(limits=spec.overhead), f"{path}.overhead", found)
    if spec.os is not None and spec.os.name not in ("linux", "windows"):
        if not spec.os.name:
            found.append(required(f"{path}.os.name"))
        else:
            found.append(not_supported(f"{path}.os.name", spec.os.name, ("linux", "windows")))
    return found


def _enumeration(value: str | None, supported: tuple[str, ...], path: str, found: list[FieldError]) -> None:
    if value not in supported:
        found.append(not_supported(path, value, supported) if value else required(path))


def _validate_names(spec: Any, path: str, found: list[FieldError]) -> None:
    # Node names repeat within a cluster as often as pods do; the rest repeats within a workload.
    if spec.serviceAccountName:
        report(
            check_dns_subdomain(spec.serviceAccountName),
            f"{path}.serviceAccountName",
            spec.serviceAccountName,
            found,
        )
    if spec.nodeName:
        report(check_dns_subdomain(spec.nodeName), f"{path}.nodeName", spec.nodeName, found)
    if spec.hostname:
        report(check_dns_label(spec.hostname), f"{path}.hostname", spec.hostname, found)
    if spec.subdomain:
        report(check_dns_label(spec.subdomain), f"{path}.subdomain", spec.subdomain, found)
    if spec.hostnameOverride:
        report(
            check_dns_subdomain(spec.hostnameOverride),
            f"{path}.hostnameOverride",
            spec.hostnameOverride,
            found,
        )
        if len(spec.hostnameOverride) > MAX_HOSTNAME_BYTES:
            found.append(too_long(f"{path}.hostnameOverride", MAX_HOSTNAME_BYTES))
    if spec.priorityClassName:
        report(
            check_dns_subdomain(spec.priorityClassName),
            f"{path}.priorityClassName",
            spec.priorityClassName,
            found,
        )
    if spec.runtimeClassName is not None:
        report(
            check_dns_subdomain(spec.runtimeClassName),
            f"{path}.runtimeClassName",
            spec.runtimeClassName,
            found,
        )


def _validate_security_context(context: Any, path: str, found: list[FieldError]) -> None:
    for attribute in ("fsGroup", "runAsGroup", "runAsUser"):
        value = getattr(context, attribute)
        if value is not None and not 0 <= value <= MAX_USER_ID:
            found.append(invalid_value(f"{path}.{attribute}", value, names.range_message(0, MAX_USER_ID)))
    for index, group in enumerate(context.supplementalGroups or ()):
        if not 0 <= group <= MAX_USER_ID:
            found.append(
                invalid_value(
                    f"{path}.supplementalGroups[{index}]", group, names.range_message(0, MAX_USER_ID)
                )
            )
    if context.sysctls:
        seen: set[str] = set()
        for index, sysctl in enumerate(context.sysctls):
            if not sysctl.name:
                found.append(required(f"{path}.sysctls[{index}].name"))
            elif len(sysctl.name) > MAX_SYSCTL_BYTES or not all(
                map(_sysctl_segment, sysctl.name.replace("/", ".").split("."))
            ):
                found.append(
                    invalid_value(
                        f"{path}.sysctls[{index}].name",
                        sysctl.name,
                        f"must have at most {MAX_SYSCTL_BYTES} characters and match regex {SYSCTL_NAME}",
                    )
                )
            elif sysctl.name in seen:
                found.append(duplicate(f"{path}.sysctls[{index}].name", sysctl.name))
            seen.add(sysctl.name or "")
    if context.fsGroupChangePolicy is not None and context.fsGroupChangePolicy not in (
        "Always",
        "OnRootMismatch",
    ):
        found.append(
            not_supported(
                f"{path}.fsGroupChangePolicy", context.fsGroupChangePolicy, ("Always", "OnRootMismatch")
            )
        )
    validate_profiles(context, path, found)


def _validate_dns(config: Any, policy: str | None, path: str, found: list[FieldError]) -> None:
    if policy == "None":
        if config is None:
            found.append(required(path, 'must provide `dnsConfig` when `dnsPolicy` is "None"'))
            return
        if not config.nameservers:
            found.append(
                required(
                    f"{path}.nameservers",
                    'must provide at least one DNS nameserver when `dnsPolicy` is "None"',
                )
            )
    servers = config.nameservers or ()
    if len(servers) > MAX_DNS_NAMESERVERS:
        found.append(
            invalid_value(
                f"{path}.nameservers", servers, f"must not have more than {MAX_DNS_NAMESERVERS} nameservers"
            )
        )
    for index, server in enumerate(servers):
        report(names.ip(server), f"{path}.nameservers[{index}]", server, found)
    searches = config.searches or ()
    if len(searches) > MAX_DNS_SEARCH_PATHS:
        found.append(
            invalid_value(
                f"{path}.searches", searches, f"must not have more than {MAX_DNS_SEARCH_PATHS} search paths"
            )
        )
    if len(" ".join(searches)) > MAX_DNS_SEARCH_BYTES:
        found.append(
            invalid_value(
                f"{path}.searches",
                searches,
                f"must not have more than {MAX_DNS_SEARCH_BYTES} characters (including spaces) in the search list",
            )
        )
    for index, search in enumerate(searches):
        if search != ".":
            plain = search.removesuffix(".").replace("_", "a")
            report(check_dns_subdomain(plain), f"{path}.searches[{index}]", search, found)
    for index, option in enumerate(config.options or ()):
        if not option.name:
            found.append(required(f"{path}.options[{index}]"))


def _validate_gates(gates: list[Any], path: str, found: list[FieldError]) -> None:
    seen: set[str] = set()
    for index, gate in enumerate(gates):
        name = gate.name or ""
        report(check_label_key(name), f"{path}[{index}]", name, found)
        if name in seen:
            found.append(duplicate(f"{path}[{index}]", name))
        seen.add(name)


def _validate_host_aliases(aliases: list[Any], path: str, found: list[FieldError]) -> None:
    for index, alias in enumerate(aliases):
        report(names.ip(alias.ip or ""), f"{path}[{index}].ip", alias.ip or "", found)
        for host_index, host in enumerate(alias.hostnames or ()):
            report(check_dns_subdomain(host), f"{path}[{index}].hostnames[{host_index}]", host, found)


def _validate_resource_claims(claims: list[Any], path: str, found: list[FieldError]) -> frozenset[str]:
    seen: set[str] = set()
    for index, claim in enumerate(claims):
        where = f"{path}[{index}]"
        name = claim.name or ""
        if not name:
            found.append(required(f"{where}.name"))
        elif name in seen:
            found.append(duplicate(f"{where}.name", name))
        else:
            report(check_dns_label(name), f"{where}.name", name, found)
        seen.add(name)
        sources = (claim.resourceClaimName is not None) + (claim.resourceClaimTemplateName is not None)
        if sources == 0:
            found.append(
                invalid_value(
                    where, claim, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
                )
            )
        elif sources == 2:
            found.append(
                invalid_value(
                    where,
                    claim,
                    "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
                )
            )
    return frozenset(seen)


def _validate_pod_resources(spec: Any, path: str, found: list[FieldError]) -> None:
    limits, requests = spec.resources.limits or {}, spec.resources.requests or {}
    for side, amounts in (("limits", limits), ("requests", requests)):
        for name, value in amounts.items():
            where = f"{path}.{side}[{name}]"
            if name not in ("cpu", "memory") and not is_huge_page(name):
                found.append(not_supported(where, name, ("cpu", "hugepages-", "memory")))
            report(check_amount(name, value), where, value, found)
    for name, value in requests.items():
        limit = limits.get(name)
        if limit is not None and (milli(value) or 0) > (milli(limit) or 0):
            found.append(
                invalid_value(
                    f"{path}.requests", value, f"must be less than or equal to {name} limit of {limit}"
                )
            )
    totals: dict[str, int] = {}
    for container in spec.containers or ():
        resources = container.resources
        for name, value in ((resources.requests if resources else None) or {}).items():
            totals[name] = totals.get(name, 0) + (milli(value) or 0)
    for name, total in totals.items():
        request = requests.get(name)
        if request is not None and total > (milli(request) or 0):
            found.append(
                invalid_value(
                    f"{path}.requests[{name}]",
                    request,
                    f"must be greater than or equal to aggregate container requests of {total}m",
                )
            )
