"""Warnings about pods and pod templates: what is legal and most likely a mistake. Texts and order are upstream's (`pkg/api/pod/warnings.go`).

Most fields that can give cause are absent from most pods, so a usual pod costs a microsecond.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lakh.apis.meta import STRING_CACHE_SIZE
from lakh.apis.nodelabels import DEPRECATED_LABELS
from lakh.apis.podannotations import APPARMOR, SECCOMP_CONTAINER, SECCOMP_POD, apparmor_of
from lakh.apis.podspec_known import KNOWN
from lakh.apis.resourcelists import milli
from lakh.apis.security import visit_containers
from lakh.apis.volumes import ACCESS_FILES, ACCESS_SOURCE, TOKEN_PATH
from lakh.machinery import addresses, names
from lakh.machinery.shortcache import short_cache

_DEPRECATED_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
# In upstream's order: field, its name in the warning, what is said.
_DEPRECATED_VOLUMES = (
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
)
_NO_SELECTOR = "a null labelSelector results in matching no pod"
_USE_SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'


def pod_warnings(pod: Any) -> list[str]:
    """All warnings about a new pod."""
    found: list[str] = []
    name = pod.metadata.name or ""
    if "." in name or len(name) > names.DNS_LABEL_MAX_BYTES:
        # It is a subdomain, or it would have been refused.
        messages = names.dns_label(name)
        found.append(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; "
            f"a DNS label is recommended: [{' '.join(messages)}]"
        )
    annotations = pod.metadata.annotations or {}
    if pod.spec is not KNOWN.newest or any(map(concerns, annotations)):
        _warn(pod.spec, annotations, "", found)
    return found


@short_cache(STRING_CACHE_SIZE)
def concerns(key: str) -> bool:
    """Whether an annotation with this key can give cause for a warning."""
    return key in _DEPRECATED_ANNOTATIONS or "apparmor" in key or "seccomp" in key


def pod_template_warnings(template: Any, path: str) -> list[str]:
    """All warnings about a pod template at a path such as `spec.template`."""
    found: list[str] = []
    if template is not None and template.spec is not None:
        metadata = template.metadata
        _warn(template.spec, (metadata and metadata.annotations) or {}, f"{path}.", found)
    return found


def pod_spec_warnings(spec: Any, path: str) -> list[str]:
    """Warnings about a pod spec alone, at a path that ends in `spec`."""
    found: list[str] = []
    _warn(spec, {}, path.removesuffix("spec"), found)
    return found


def _warn(spec: Any, annotations: Mapping[str, str], prefix: str, found: list[str]) -> None:
    path = f"{prefix}spec"
    for key in spec.nodeSelector or ():
        if key in DEPRECATED_LABELS:
            found.append(f"{path}.nodeSelector[{key}]: {DEPRECATED_LABELS[key]}")
    if spec.affinity is not None and spec.affinity.nodeAffinity is not None:
        _node_affinity(spec.affinity.nodeAffinity, f"{path}.affinity.nodeAffinity", found)
    for index, constraint in enumerate(spec.topologySpreadConstraints or ()):
        where, key = f"{path}.topologySpreadConstraints[{index}]", constraint.topologyKey
        if key in DEPRECATED_LABELS:
            found.append(f"{where}.topologyKey: {key} is {DEPRECATED_LABELS[key]}")
        if constraint.labelSelector is None:
            found.append(f"{where}.labelSelector: {_NO_SELECTOR}")
    if annotations:
        for key, text in _DEPRECATED_ANNOTATIONS.items():
            if key in annotations:
                found.append(f"{prefix}metadata.annotations[{key}]: {text}")
    if spec.volumes:
        _volumes(spec.volumes, f"{path}.volumes", found)
    if spec.hostAliases:
        _repeated(spec.hostAliases, "ip", f"{path}.hostAliases", found)
    if spec.imagePullSecrets:
        _repeated(spec.imagePullSecrets, "name", f"{path}.imagePullSecrets", found)
        for index, secret in enumerate(spec.imagePullSecrets):
            if not secret.name:
                found.append(f'{path}.imagePullSecrets[{index}].name: invalid empty name ""')
    if spec.overhead:
        _fractions(spec.overhead, f"{path}.overhead", found)
    context = spec.securityContext
    if SECCOMP_POD in annotations and (context is None or context.seccompProfile is None):
        found.append(f"{prefix}metadata.annotations[{SECCOMP_POD}]: {_USE_SECCOMP}")
    _containers(spec, annotations, prefix, found)
    if spec.terminationGracePeriodSeconds is not None and spec.terminationGracePeriodSeconds < 0:
        found.append(
            f"{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        )
    if spec.affinity is not None:
        _pod_affinity(spec.affinity, f"{path}.affinity", found)
    for index, alias in enumerate(spec.hostAliases or ()):
        found += addresses.ip_warnings(alias.ip or "", f"{path}.hostAliases[{index}].ip")
    for index, server in enumerate((spec.dnsConfig and spec.dnsConfig.nameservers) or ()):
        found += addresses.ip_warnings(server, f"{path}.dnsConfig.nameservers[{index}]")


def _containers(spec: Any, annotations: Mapping[str, str], prefix: str, found: list[str]) -> None:
    ports = 0
    profiles = any(map(concerns, annotations))
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(getattr(spec, field) or ()):
            if profiles:
                _profiles(container, spec.securityContext, annotations, prefix, found)
            resources = container.resources
            if resources is not None:
                if resources.limits:
                    _fractions(resources.limits, f"{prefix}spec.{field}[{index}].resources.limits", found)
                if resources.requests:
                    _fractions(resources.requests, f"{prefix}spec.{field}[{index}].resources.requests", found)
            if container.env and len(container.env) > 1:
                _hidden_variables(container.env, f"{prefix}spec.{field}[{index}].env", found)
            for port in container.ports or ():
                # One port alone is in nobody's way.
                ports += 2 if port.hostIP else 1
    if ports > 1:
        _ports(spec, f"{prefix}spec", found)


def node_selector_term_warnings(term: Any, path: str) -> Iterator[str]:
    """Labels of nodes that have newer names, in a term of a node selector."""
    for index, expression in enumerate(term.matchExpressions or ()):
        text = DEPRECATED_LABELS.get(expression.key)
        if text is not None:
            yield f"{path}.matchExpressions[{index}].key: {expression.key} is {text}"


def _node_affinity(affinity: Any, path: str, found: list[str]) -> None:
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution
    if required is not None:
        where = f"{path}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
        for index, term in enumerate(required.nodeSelectorTerms or ()):
            found.extend(node_selector_term_warnings(term, f"{where}[{index}]"))
    where = f"{path}.preferredDuringSchedulingIgnoredDuringExecution"
    for index, weighted in enumerate(affinity.preferredDuringSchedulingIgnoredDuringExecution or ()):
        if weighted.preference is not None:
            found.extend(node_selector_term_warnings(weighted.preference, f"{where}[{index}].preference"))


def _pod_affinity(affinity: Any, path: str, found: list[str]) -> None:
    for part in ("podAffinity", "podAntiAffinity"):
        terms = getattr(affinity, part)
        if terms is None:
            continue
        where = f"{path}.{part}.requiredDuringSchedulingIgnoredDuringExecution"
        for index, term in enumerate(terms.requiredDuringSchedulingIgnoredDuringExecution or ()):
            if term.labelSelector is None:
                found.append(f"{where}[{index}].labelSelector: {_NO_SELECTOR}")
        where = f"{path}.{part}.preferredDuringSchedulingIgnoredDuringExecution"
        for index, weighted in enumerate(terms.preferredDuringSchedulingIgnoredDuringExecution or ()):
            if weighted.podAffinityTerm is not None and weighted.podAffinityTerm.labelSelector is None:
                found.append(f"{where}[{index}].podAffinityTerm.labelSelector: {_NO_SELECTOR}")


def _volumes(volumes: list[Any], path: str, found: list[str]) -> None:
    tokens: set[str] = set()
    files: set[str | None] = set()
    for index, volume in enumerate(volumes):
        if volume.projected is ACCESS_SOURCE:
            tokens.add(TOKEN_PATH)
            files |= ACCESS_FILES
            continue
        if volume.projected is not None:
            for source in volume.projected.sources or ():
                if source.serviceAccountToken is not None:
                    tokens.add(source.serviceAccountToken.path or "")
                    continue
                if source.clusterTrustBundle is not None:
                    files.add(source.clusterTrustBundle.path)
                for inner in (source.configMap, source.secret, source.downwardAPI):
                    if inner is not None and inner.items:
                        files.update([item.path for item in inner.items])
            continue
        for field, shown, text in _DEPRECATED_VOLUMES:
            if getattr(volume, field) is not None:
                found.append(f"{path}[{index}].{shown}: {text}")
        if volume.ephemeral is not None and volume.ephemeral.volumeClaimTemplate is not None:
            template = volume.ephemeral.volumeClaimTemplate
            if template.spec is not None:
                found += claim_spec_warnings(
                    template.spec, f"{path}[{index}].ephemeral.volumeClaimTemplate.spec"
                )
    if not tokens.isdisjoint(files):
        for index, volume in enumerate(volumes):
            if volume.projected is not None:
                _shadowed_tokens(volume.projected, tokens, f"{path}[{index}].projected.sources", found)


def _shadowed_tokens(projected: Any, tokens: set[str], path: str, found: list[str]) -> None:
    def check(file: str | None, where: str) -> None:
        if file in tokens:
            found.append(f'{path}.{where}: has duplicated path with ServiceAccountToken "{file}"')

    for source in projected.sources or ():
        for field, shown in (
            ("configMap", "configMap"),
            ("secret", "secrets"),
            ("downwardAPI", "downwardAPI"),
        ):
            inner = getattr(source, field)
            for position, item in enumerate((inner and inner.items) or ()):
                check(item.path, f"{shown}[{position}]")
        if source.clusterTrustBundle is not None:
            check(source.clusterTrustBundle.path, "ClusterTrustBundle")


def claim_spec_warnings(spec: Any, path: str) -> list[str]:
    """Amounts of storage that are no whole number of bytes."""
    found = []
    for side in ("requests", "limits") if spec.resources is not None else ():
        amount = (getattr(spec.resources, side) or {}).get("storage")
        if amount is not None and (milli(amount) or 0) % 1000:
            found.append(
                f'{path}.resources.{side}[storage]: fractional byte value "{amount}" is invalid, must be an integer'
            )
    return found


def _repeated(items: list[Any], field: str, path: str, found: list[str]) -> None:
    seen: set[str] = set()
    for index, item in enumerate(items):
        value = getattr(item, field) or ""
        if value in seen:
            found.append(f'{path}[{index}].{field}: duplicate {field} "{value}"')
        seen.add(value)


def _profiles(
    container: Any, of_pod: Any, annotations: Mapping[str, str], prefix: str, found: list[str]
) -> None:
    own = container.securityContext
    key = f"{SECCOMP_CONTAINER}{container.name}"
    if key in annotations and (own is None or own.seccompProfile is None):
        found.append(f"{prefix}metadata.annotations[{key}]: {_USE_SECCOMP}")
    key = f"{APPARMOR}{container.name}"
    annotation = annotations.get(key)
    if annotation is None:
        return
    field = next((c.appArmorProfile for c in (own, of_pod) if c is not None and c.appArmorProfile), None)
    # In a new pod the field has been filled in from the annotation.
    if field is None or (not prefix and own is not None and own.appArmorProfile == apparmor_of(annotation)):
        found.append(
            f'{prefix}metadata.annotations[{key}]: deprecated since v1.30; use the "appArmorProfile" field instead'
        )


def _fractions(amounts: dict[str, Any], path: str, found: list[str]) -> None:
    for name in ("memory", "ephemeral-storage"):
        value = amounts.get(name)
        # A whole number of bytes never needs thousandths.
        if isinstance(value, str) and value.endswith("m") and (milli(value) or 0) % 1000:
            found.append(f'{path}[{name}]: fractional byte value "{value}" is invalid, must be an integer')


def _hidden_variables(env: list[Any], path: str, found: list[str]) -> None:
    if len({variable.name for variable in env}) == len(env):
        return
    seen: set[str] = set()
    for index, variable in enumerate(env):
        if variable.name in seen:
            # One that extends the earlier value is on purpose.
            reference, value = f"$({variable.name})", variable.value or ""
            if variable.valueFrom is not None or value == reference or reference not in value:
                found.append(
                    f'{path}[{index}]: hides previous definition of "{variable.name}", which may be dropped when using apply'
                )
        seen.add(variable.name)


def _ports(spec: Any, path: str, found: list[str]) -> None:
    known: dict[tuple[int, str], list[tuple[str, Any]]] = {}
    for container, of_container in visit_containers(spec, path):
        for index, port in enumerate(container.ports or ()):
            where = f"{of_container}.ports[{index}]"
            host, ip = port.hostPort or 0, port.hostIP or ""
            if ip and not host:
                found.append(
                    f"{where}: hostIP set without hostPort: {{Name:{port.name or ''} HostPort:{host} "
                    f"ContainerPort:{port.containerPort or 0} Protocol:{port.protocol or ''} HostIP:{ip}}}"
                )
            others = known.setdefault((port.containerPort or 0, port.protocol or ""), [])
            for there, other in others:
                its_host, its_ip = other.hostPort or 0, other.hostIP or ""
                if (ip, host) == (its_ip, its_host):
                    found.append(f"{where}: duplicate port definition with {there}")
                elif not host or not its_host:
                    found.append(f"{where}: overlapping port definition with {there}")
                elif host == its_host and (not ip or not its_ip):
                    found.append(f"{where}: dangerously ambiguous port definition with {there}")
            others.append((where, port))
