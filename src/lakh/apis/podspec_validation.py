"""Validation of pod specs: what upstream's `ValidatePodSpec` finds, in its order and wording.

Containers are in `containers`, security in `security`, volumes in `volumes`, placement in `placement`. Every check first asks whether there is
anything to check, so a usual pod costs 10 µs.
"""

from __future__ import annotations

from typing import Any

from lakh.apis import structs
from lakh.apis.containers import (
    validate_containers,
    validate_ephemeral_containers,
    validate_host_network_ports,
    validate_init_containers,
)
from lakh.apis.meta import (
    check_dns_label,
    check_dns_subdomain,
    check_label_key,
    memoised,
    report,
    validate_labels,
)
from lakh.apis.placement import (
    validate_affinity,
    validate_tolerations,
    validate_topology_spread,
)
from lakh.apis.podresources import validate_pod_resources
from lakh.apis.resourcelists import validate_requirements
from lakh.apis.security import validate_host_process, validate_os, validate_pod_security, visit_containers
from lakh.apis.volumes import validate_volumes
from lakh.machinery import addresses, names
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
_NO_CONTEXT = structs.core("PodSecurityContext")()

# In upstream's order, which it shows.
RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
PREEMPTION_POLICIES = ("PreemptLowerPriority", "Never")
MAX_INT32 = 2**31 - 1
MAX_HOSTNAME_BYTES = 64
MAX_DNS_NAMESERVERS = 3
MAX_DNS_SEARCH_PATHS = 32
MAX_DNS_SEARCH_BYTES = 2048
_DEADLINE_RANGE = names.range_message(1, MAX_INT32)

_check_search = memoised(names.dns_subdomain_with_underscores)


def validate_pod_spec(
    spec: Any, path: str, *, template: bool = False, pod_name: str | None = None
) -> list[FieldError]:
    """All findings on a pod spec. `template`: it is one of a pod template, where some things are looser. `pod_name`: the pod's, if it has one."""
    found: list[FieldError] = []
    volumes: dict[str, Any] = {}
    if spec.volumes:
        volumes = validate_volumes(spec.volumes, pod_name, f"{path}.volumes", found)
    claims: frozenset[str] = frozenset()
    if spec.resourceClaims:
        claims = _validate_resource_claims(spec.resourceClaims, f"{path}.resourceClaims", found)
    validate_containers(spec, volumes, claims, f"{path}.containers", found)
    if spec.initContainers:
        validate_init_containers(spec, volumes, claims, f"{path}.initContainers", found)
    if spec.ephemeralContainers:
        validate_ephemeral_containers(spec, volumes, claims, f"{path}.ephemeralContainers", found)
    if spec.resources is not None:
        validate_pod_resources(spec, claims, f"{path}.resources", found)
    if spec.hostNetwork:
        validate_host_network_ports(spec.containers or [], not template, f"{path}.containers", found)
    _enumeration(spec.restartPolicy, RESTART_POLICIES, f"{path}.restartPolicy", found)
    _enumeration(spec.dnsPolicy, DNS_POLICIES, f"{path}.dnsPolicy", found)
    if spec.nodeSelector:
        validate_labels(spec.nodeSelector, f"{path}.nodeSelector", found)
    context = spec.securityContext
    # The default is an empty one.
    if context is not None and (spec.shareProcessNamespace or context != _NO_CONTEXT):
        validate_pod_security(spec, f"{path}.securityContext", found)
    if spec.affinity is not None:
        validate_affinity(spec.affinity, f"{path}.affinity", found)
    if spec.dnsConfig is not None or spec.dnsPolicy == "None":
        _validate_dns(spec.dnsConfig, spec.dnsPolicy, f"{path}.dnsConfig", found)
    if spec.readinessGates:
        for index, gate in enumerate(spec.readinessGates):
            name = gate.conditionType or ""
            report(check_label_key(name), f"{path}.readinessGates[{index}].conditionType", name, found)
    if spec.schedulingGates:
        _validate_gates(spec.schedulingGates, f"{path}.schedulingGates", found)
    if spec.topologySpreadConstraints:
        validate_topology_spread(spec.topologySpreadConstraints, f"{path}.topologySpreadConstraints", found)
    if _has_windows_options(spec):
        validate_host_process(spec, path, found)
    if spec.hostUsers is False:
        _validate_host_users(spec, path, found)
    _subdomain(spec.serviceAccountName, path, "serviceAccountName", found)
    _subdomain(spec.nodeName, path, "nodeName", found)
    seconds = spec.activeDeadlineSeconds
    if seconds is not None and not 1 <= seconds <= MAX_INT32:
        found.append(invalid_value(f"{path}.activeDeadlineSeconds", seconds, _DEADLINE_RANGE))
    if spec.hostname:
        report(check_dns_label(spec.hostname), f"{path}.hostname", spec.hostname, found)
    if spec.subdomain:
        report(check_dns_label(spec.subdomain), f"{path}.subdomain", spec.subdomain, found)
    if spec.hostnameOverride:
        _subdomain(spec.hostnameOverride, path, "hostnameOverride", found)
        if len(spec.hostnameOverride) > MAX_HOSTNAME_BYTES:
            found.append(too_long(f"{path}.hostnameOverride", MAX_HOSTNAME_BYTES))
    if spec.tolerations:
        validate_tolerations(spec.tolerations, f"{path}.tolerations", found)
    if spec.hostAliases:
        _validate_host_aliases(spec.hostAliases, f"{path}.hostAliases", found)
    _subdomain(spec.priorityClassName, path, "priorityClassName", found)
    if spec.runtimeClassName is not None:
        report(
            check_dns_subdomain(spec.runtimeClassName),
            f"{path}.runtimeClassName",
            spec.runtimeClassName,
            found,
        )
    if spec.preemptionPolicy is not None:
        _enumeration(spec.preemptionPolicy, PREEMPTION_POLICIES, f"{path}.preemptionPolicy", found)
    if spec.overhead:
        # Upstream checks it as if it were limits of a container.
        validate_requirements(ResourceRequirements(limits=spec.overhead), f"{path}.overhead", found)
    if spec.os is not None:
        validate_os(spec, path, found)
    return found


def _validate_host_users(spec: Any, path: str, found: list[FieldError]) -> None:
    """A pod with users of its own has namespaces of its own, and no raw devices."""
    why = "when `hostUsers` is false"
    # Upstream reports two of them by their Go names.
    for attribute, shown in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
        if getattr(spec, attribute):
            found.append(forbidden_field(f"{path}.{shown}", why))
    for container, where in visit_containers(spec, path):
        if container.volumeDevices:
            found.append(forbidden_field(f"{where}.volumeDevices", why))


def _enumeration(value: str | None, supported: tuple[str, ...], path: str, found: list[FieldError]) -> None:
    if value not in supported:
        found.append(not_supported(path, value, supported, as_given=True) if value else required(path))


def _subdomain(value: str | None, path: str, name: str, found: list[FieldError]) -> None:
    # These names repeat within a workload, nodes' within a cluster, as often as there are pods.
    if value:
        messages = check_dns_subdomain(value)
        if messages:
            report(messages, f"{path}.{name}", value, found)


def _has_windows_options(spec: Any) -> bool:
    for holder in (spec, *spec.containers, *(spec.initContainers or ())) if spec.containers else (spec,):
        context = holder.securityContext
        if context is not None and context.windowsOptions is not None:
            return True
    return False


def _validate_dns(config: Any, policy: str | None, path: str, found: list[FieldError]) -> None:
    if policy == "None":
        if config is None:
            found.append(required(path, "must provide `dnsConfig` when `dnsPolicy` is None"))
            return
        if not config.nameservers:
            found.append(
                required(
                    f"{path}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None"
                )
            )
            return
    servers = config.nameservers or ()
    if len(servers) > MAX_DNS_NAMESERVERS:
        found.append(
            invalid_value(
                f"{path}.nameservers", servers, f"must not have more than {MAX_DNS_NAMESERVERS} nameservers"
            )
        )
    for index, server in enumerate(servers):
        report(addresses.ip(server), f"{path}.nameservers[{index}]", server, found)
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
            plain = search.removesuffix(".")
            report(_check_search(plain), f"{path}.searches[{index}]", plain, found)
    for index, option in enumerate(config.options or ()):
        if not option.name:
            found.append(required(f"{path}.options[{index}]", "must not be empty"))


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
        report(addresses.ip(alias.ip or ""), f"{path}[{index}].ip", alias.ip or "", found)
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
        of_claim, of_template = claim.resourceClaimName, claim.resourceClaimTemplateName
        why = ""
        if of_claim is not None and of_template is not None:
            why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
        elif of_claim is None and of_template is None:
            why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
        if why:
            shown = {
                "Name": name,
                "ResourceClaimName": of_claim,
                "ResourceClaimTemplateName": of_template,
            }
            found.append(invalid_value(where, shown, why))
        for attribute, value in (
            ("resourceClaimName", of_claim),
            ("resourceClaimTemplateName", of_template),
        ):
            if value is not None:
                report(check_dns_subdomain(value), f"{where}.{attribute}", value, found)
    return frozenset(seen)
