"""Validation of containers: names, images, ports, environment, mounts, probes, security.

Paths are put together only for findings: the path of a container is the one string made for each.
"""

from __future__ import annotations

from typing import Any

from lakh.apis.meta import check_dns_label, memoised, non_negative, report
from lakh.apis.resourcelists import milli, validate_requirements
from lakh.apis.volumes import local_descending_path, validate_field_ref, validate_resource_field_ref
from lakh.machinery import names
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_found_field,
    not_supported,
    required,
)

PROTOCOLS = ("SCTP", "TCP", "UDP")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
TERMINATION_MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
CONTAINER_RESTART_POLICIES = ("Always", "Never", "OnFailure")
ENV_FIELD_PATHS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
MAX_USER_ID = 2**31 - 1
PROFILE_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")
_INIT_ONLY = "may not be set for init containers without restartPolicy=Always"

_check_env_name = memoised(names.env_var_name)
_check_port_name = memoised(names.port_name)
_check_config_map_key = memoised(names.config_map_key)


def validate_containers(
    spec: Any,
    volumes: dict[str, Any],
    claims: frozenset[str],
    path: str,
    is_pod: bool,
    found: list[FieldError],
) -> None:
    """The regular containers: at least one, unique names, no host port twice."""
    if not spec.containers:
        found.append(required(path))
        return
    seen: set[str] = set()
    host_ports: set[str] = set()
    for index, container in enumerate(spec.containers):
        where = f"{path}[{index}]"
        _validate_common(container, volumes, claims, where, spec, is_pod, found)
        if container.ports:
            _validate_host_ports(container.ports, host_ports, where, found)
        name = container.name
        if name in seen:
            found.append(duplicate(f"{where}.name", name))
        else:
            seen.add(name)
        _validate_running(container, where, found)
        if container.restartPolicy is not None or container.restartPolicyRules:
            _validate_restart_policy(container, where, found)


def validate_init_containers(
    spec: Any,
    volumes: dict[str, Any],
    claims: frozenset[str],
    path: str,
    is_pod: bool,
    found: list[FieldError],
) -> None:
    """The init containers; those with restartPolicy Always (sidecars) may have what running containers may."""
    seen = {container.name for container in spec.containers or ()}
    for index, container in enumerate(spec.initContainers):
        where = f"{path}[{index}]"
        _validate_common(container, volumes, claims, where, spec, is_pod, found)
        if container.ports:
            _validate_host_ports(container.ports, set(), where, found)
        name = container.name
        if name and name in seen:
            found.append(duplicate(f"{where}.name", name))
        seen.add(name)
        if container.restartPolicy is not None or container.restartPolicyRules:
            _validate_restart_policy(container, where, found)
        if container.restartPolicy == "Always":
            _validate_running(container, where, found)
            continue
        for attribute in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
            if getattr(container, attribute) is not None:
                found.append(forbidden_field(f"{where}.{attribute}", _INIT_ONLY))
        if container.resizePolicy:
            found.append(
                invalid_value(
                    f"{where}.resizePolicy", container.resizePolicy, "must not be set for init containers"
                )
            )


def _validate_restart_policy(container: Any, path: str, found: list[FieldError]) -> None:
    if container.restartPolicy is None:
        found.append(
            required(f"{path}.restartPolicy", "must specify restartPolicy when restart rules are used")
        )
    elif container.restartPolicy not in CONTAINER_RESTART_POLICIES:
        found.append(
            not_supported(f"{path}.restartPolicy", container.restartPolicy, CONTAINER_RESTART_POLICIES)
        )


def _validate_common(
    container: Any,
    volumes: dict[str, Any],
    claims: frozenset[str],
    path: str,
    spec: Any,
    is_pod: bool,
    found: list[FieldError],
) -> None:
    name, image = container.name, container.image
    if not name:
        found.append(required(f"{path}.name"))
    else:
        messages = check_dns_label(name)
        if messages:
            report(messages, f"{path}.name", name, found)
    if not image:
        found.append(required(f"{path}.image"))
    elif image != image.strip():
        found.append(invalid_value(f"{path}.image", image, "must not have leading or trailing whitespace"))
    policy = container.terminationMessagePolicy
    if policy not in TERMINATION_MESSAGE_POLICIES:
        found.append(
            not_supported(f"{path}.terminationMessagePolicy", policy, TERMINATION_MESSAGE_POLICIES)
            if policy
            else required(f"{path}.terminationMessagePolicy")
        )
    if container.ports:
        _validate_ports(container.ports, spec.hostNetwork, is_pod, f"{path}.ports", found)
    if container.env:
        _validate_env(container.env, f"{path}.env", found)
    if container.envFrom:
        _validate_env_from(container.envFrom, f"{path}.envFrom", found)
    if container.volumeMounts:
        _validate_mounts(container, volumes, f"{path}.volumeMounts", found)
    if container.volumeDevices:
        _validate_devices(container, volumes, f"{path}.volumeDevices", found)
    policy = container.imagePullPolicy
    if policy not in PULL_POLICIES:
        found.append(
            not_supported(f"{path}.imagePullPolicy", policy, PULL_POLICIES)
            if policy
            else required(f"{path}.imagePullPolicy")
        )
    resources = container.resources
    if resources is not None and (resources.limits or resources.requests or resources.claims):
        validate_requirements(resources, f"{path}.resources", found, claims)
    if container.resizePolicy:
        _validate_resize_policy(container.resizePolicy, f"{path}.resizePolicy", found)
    if container.securityContext is not None:
        _validate_security(container.securityContext, f"{path}.securityContext", found)


# Of a container, what an ephemeral one has not.
_NOT_EPHEMERAL = (
    "lifecycle",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "resizePolicy",
    "resources",
    "restartPolicy",
    "restartPolicyRules",
    "startupProbe",
)


def validate_ephemeral_container(
    container: Any, volumes: dict[str, Any], path: str, spec: Any, found: list[FieldError]
) -> None:
    """A container for debugging: it has no ports, probes, resources or restarts."""
    _validate_common(container, volumes, frozenset(), path, spec, True, found)
    why = "cannot be set for an Ephemeral Container"
    for name in _NOT_EPHEMERAL:
        value = getattr(container, name)
        if value and value != type(value)():
            found.append(forbidden_field(f"{path}.{name}", why))
    for index, mount in enumerate(container.volumeMounts or ()):
        for name in ("subPath", "subPathExpr"):
            if getattr(mount, name):
                found.append(forbidden_field(f"{path}.volumeMounts[{index}].{name}", why))


def _validate_ports(
    ports: list[Any], host_network: bool | None, is_pod: bool, path: str, found: list[FieldError]
) -> None:
    seen: set[str] = set()
    for index, port in enumerate(ports):
        if port.name:
            messages = _check_port_name(port.name)
            if messages:
                report(messages, f"{path}[{index}].name", port.name, found)
            elif port.name in seen:
                found.append(duplicate(f"{path}[{index}].name", port.name))
            else:
                seen.add(port.name)
        number = port.containerPort
        if not number:
            found.append(required(f"{path}[{index}].containerPort"))
        elif not 1 <= number <= 65535:
            report(names.port_number(number), f"{path}[{index}].containerPort", number, found)
        host_port = port.hostPort
        if host_port and not 1 <= host_port <= 65535:
            report(names.port_number(host_port), f"{path}[{index}].hostPort", host_port, found)
        if port.protocol not in PROTOCOLS:
            found.append(
                not_supported(f"{path}[{index}].protocol", port.protocol, PROTOCOLS)
                if port.protocol
                else required(f"{path}[{index}].protocol")
            )
        # In a template the host port may be open: it is filled in when the pod is made.
        if host_network and (is_pod or host_port) and host_port != number:
            found.append(
                invalid_value(
                    f"{path}[{index}].hostPort",
                    host_port or 0,
                    "must match `containerPort` when `hostNetwork` is true",
                )
            )


def _validate_host_ports(ports: list[Any], seen: set[str], path: str, found: list[FieldError]) -> None:
    for index, port in enumerate(ports):
        if port.hostPort:
            key = f"{port.protocol}/{port.hostIP or ''}/{port.hostPort}"
            if key in seen:
                found.append(duplicate(f"{path}.ports[{index}].hostPort", key))
            seen.add(key)


def _validate_env(env: list[Any], path: str, found: list[FieldError]) -> None:
    for index, variable in enumerate(env):
        name = variable.name
        if not name:
            found.append(required(f"{path}[{index}].name"))
        else:
            messages = _check_env_name(name)
            if messages:
                report(messages, f"{path}[{index}].name", name, found)
        if variable.valueFrom is not None:
            _validate_env_source(
                variable.valueFrom, bool(variable.value), f"{path}[{index}].valueFrom", found
            )


def _validate_env_source(source: Any, has_value: bool, path: str, found: list[FieldError]) -> None:
    count = 0
    if source.fieldRef is not None:
        count += 1
        validate_field_ref(source.fieldRef, ENV_FIELD_PATHS, f"{path}.fieldRef", found)
    if source.resourceFieldRef is not None:
        count += 1
        validate_resource_field_ref(source.resourceFieldRef, f"{path}.resourceFieldRef", False, found)
    for attribute in ("configMapKeyRef", "secretKeyRef"):
        ref = getattr(source, attribute)
        if ref is not None:
            count += 1
            if not ref.name:
                found.append(required(f"{path}.{attribute}.name"))
            if not ref.key:
                found.append(required(f"{path}.{attribute}.key"))
            else:
                report(_check_config_map_key(ref.key), f"{path}.{attribute}.key", ref.key, found)
    if source.fileKeyRef is not None:
        count += 1
        for attribute in ("key", "path", "volumeName"):
            if not getattr(source.fileKeyRef, attribute):
                found.append(required(f"{path}.fileKeyRef.{attribute}"))
    if count == 0:
        found.append(
            invalid_value(
                path,
                "",
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
            )
        )
    elif has_value:
        found.append(invalid_value(path, "", "may not be specified when `value` is not empty"))
    elif count > 1:
        found.append(invalid_value(path, "", "may not have more than one field specified at a time"))


def _validate_env_from(sources: list[Any], path: str, found: list[FieldError]) -> None:
    for index, source in enumerate(sources):
        where = f"{path}[{index}]"
        if source.prefix:
            report(_check_env_name(source.prefix), f"{where}.prefix", source.prefix, found)
        count = 0
        for attribute in ("configMapRef", "secretRef"):
            ref = getattr(source, attribute)
            if ref is not None:
                count += 1
                if not ref.name:
                    found.append(required(f"{where}.{attribute}.name"))
        if count == 0:
            found.append(invalid_value(where, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif count > 1:
            found.append(invalid_value(where, "", "may not have more than one field specified at a time"))


def _validate_mounts(container: Any, volumes: dict[str, Any], path: str, found: list[FieldError]) -> None:
    seen: set[str] = set()
    devices = {device.name for device in container.volumeDevices or ()}
    device_paths = {device.devicePath for device in container.volumeDevices or ()}
    for index, mount in enumerate(container.volumeMounts):
        name, where = mount.name, mount.mountPath
        if not name:
            found.append(required(f"{path}[{index}].name"))
        if name not in volumes:
            found.append(not_found_field(f"{path}[{index}].name", name or ""))
        if not where:
            found.append(required(f"{path}[{index}].mountPath"))
        elif where in seen:
            found.append(invalid_value(f"{path}[{index}].mountPath", where, "must be unique"))
        else:
            seen.add(where)
        if name in devices:
            found.append(
                invalid_value(f"{path}[{index}].name", name, "must not already exist in volumeDevices")
            )
        if where in device_paths:
            found.append(
                invalid_value(
                    f"{path}[{index}].mountPath", where, "must not already exist as a path in volumeDevices"
                )
            )
        if mount.subPath:
            local_descending_path(mount.subPath, f"{path}.subPath", found)
        if mount.subPathExpr:
            if mount.subPath:
                found.append(
                    invalid_value(
                        f"{path}[{index}].subPathExpr",
                        mount.subPathExpr,
                        "subPathExpr and subPath are mutually exclusive",
                    )
                )
            local_descending_path(mount.subPathExpr, f"{path}.subPathExpr", found)
        if mount.mountPropagation is not None:
            _validate_propagation(mount.mountPropagation, container, f"{path}.mountPropagation", found)


def _validate_propagation(value: str, container: Any, path: str, found: list[FieldError]) -> None:
    supported = ("Bidirectional", "HostToContainer", "None")
    if value not in supported:
        found.append(not_supported(path, value, supported))
    elif value == "Bidirectional" and not (
        container.securityContext is not None and container.securityContext.privileged
    ):
        found.append(
            forbidden_field(
                path, "Bidirectional mount propagation is available only to privileged containers"
            )
        )


def _validate_devices(container: Any, volumes: dict[str, Any], path: str, found: list[FieldError]) -> None:
    seen_names: set[str] = set()
    seen_paths: set[str] = set()
    for index, device in enumerate(container.volumeDevices):
        where = f"{path}[{index}]"
        name, device_path = device.name or "", device.devicePath or ""
        if not name:
            found.append(required(f"{where}.name"))
        elif name in seen_names:
            found.append(invalid_value(f"{where}.name", name, "must be unique"))
        volume = volumes.get(name)
        if volume is None:
            found.append(not_found_field(f"{where}.name", name))
        elif volume.persistentVolumeClaim is None and volume.ephemeral is None:
            found.append(
                invalid_value(
                    f"{where}.name",
                    name,
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                )
            )
        if not device_path:
            found.append(required(f"{where}.devicePath"))
        elif device_path in seen_paths:
            found.append(invalid_value(f"{where}.devicePath", device_path, "must be unique"))
        seen_names.add(name)
        seen_paths.add(device_path)


def _validate_resize_policy(policies: list[Any], path: str, found: list[FieldError]) -> None:
    seen: set[str] = set()
    for index, policy in enumerate(policies):
        name, action = policy.resourceName or "", policy.restartPolicy or ""
        if name in seen:
            found.append(duplicate(f"{path}[{index}]", name))
        seen.add(name)
        if name not in ("cpu", "memory"):
            found.append(not_supported(path, name, ("cpu", "memory")) if name else required(path))
        if action not in ("NotRequired", "RestartContainer"):
            found.append(
                not_supported(path, action, ("NotRequired", "RestartContainer")) if action else required(path)
            )


def _validate_running(container: Any, path: str, found: list[FieldError]) -> None:
    if container.lifecycle is not None:
        for attribute in ("postStart", "preStop"):
            handler = getattr(container.lifecycle, attribute)
            if handler is not None:
                _validate_handler(handler, f"{path}.lifecycle.{attribute}", found)
    if container.livenessProbe is not None:
        _validate_probe(container.livenessProbe, f"{path}.livenessProbe", True, found)
    if container.readinessProbe is not None:
        probe = container.readinessProbe
        _validate_probe(probe, f"{path}.readinessProbe", False, found)
        if probe.terminationGracePeriodSeconds is not None:
            found.append(
                invalid_value(
                    f"{path}.readinessProbe.terminationGracePeriodSeconds",
                    probe.terminationGracePeriodSeconds,
                    "must not be set for readinessProbes",
                )
            )
    if container.startupProbe is not None:
        _validate_probe(container.startupProbe, f"{path}.startupProbe", True, found)


def _validate_probe(probe: Any, path: str, once: bool, found: list[FieldError]) -> None:
    _validate_handler(probe, path, found)
    for attribute in (
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ):
        value = getattr(probe, attribute)
        if value is not None and value < 0:
            non_negative(value, f"{path}.{attribute}", found)
    seconds = probe.terminationGracePeriodSeconds
    if seconds is not None and seconds <= 0:
        found.append(
            invalid_value(f"{path}.terminationGracePeriodSeconds", seconds, "must be greater than 0")
        )
    if once and probe.successThreshold != 1:
        found.append(invalid_value(f"{path}.successThreshold", probe.successThreshold, "must be 1"))


def _validate_handler(handler: Any, path: str, found: list[FieldError]) -> None:
    kinds = [
        name
        for name in ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
        if getattr(handler, name, None) is not None
    ]
    if not kinds:
        found.append(required(path, "must specify a handler type"))
        return
    for name in kinds[1:]:
        found.append(forbidden_field(f"{path}.{name}", "may not specify more than 1 handler type"))
    action, where = getattr(handler, kinds[0]), f"{path}.{kinds[0]}"
    match kinds[0]:
        case "exec":
            if not action.command:
                found.append(required(f"{where}.command"))
        case "httpGet":
            if not action.path:
                found.append(required(f"{where}.path"))
            _validate_port(action.port, f"{where}.port", found)
            if action.scheme not in ("HTTP", "HTTPS"):
                found.append(not_supported(f"{where}.scheme", action.scheme, ("HTTP", "HTTPS")))
            for header in action.httpHeaders or ():
                report(names.http_header_name(header.name or ""), f"{where}.httpHeaders", header.name, found)
        case "tcpSocket":
            _validate_port(action.port, f"{where}.port", found)
        case "grpc":
            _validate_port(action.port or 0, f"{where}.port", found)
        case _:
            if (action.seconds or 0) < 0:
                found.append(
                    invalid_value(
                        where,
                        action.seconds,
                        "must be non-negative and less than terminationGracePeriodSeconds",
                    )
                )


def _validate_port(port: int | str | None, path: str, found: list[FieldError]) -> None:
    if isinstance(port, str):
        report(_check_port_name(port), path, port, found)
    else:
        report(names.port_number(port or 0), path, port or 0, found)


def _validate_security(context: Any, path: str, found: list[FieldError]) -> None:
    for attribute in ("runAsUser", "runAsGroup"):
        value = getattr(context, attribute)
        if value is not None and not 0 <= value <= MAX_USER_ID:
            found.append(invalid_value(f"{path}.{attribute}", value, names.range_message(0, MAX_USER_ID)))
    if context.procMount is not None and context.procMount not in ("Default", "Unmasked"):
        found.append(not_supported(f"{path}.procMount", context.procMount, ("Default", "Unmasked")))
    validate_profiles(context, path, found)
    if context.allowPrivilegeEscalation is False:
        if context.privileged:
            found.append(
                invalid_value(
                    path, context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
                )
            )
        if context.capabilities is not None and "CAP_SYS_ADMIN" in (context.capabilities.add or ()):
            found.append(
                invalid_value(
                    path,
                    context,
                    "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
                )
            )


def validate_profile(kind: str, field: str, profile: Any, path: str, found: list[FieldError]) -> None:
    """A security profile (`kind` seccomp or AppArmor, in a field of that name), of a pod or of a container."""
    chosen = profile.type or ""
    if not chosen:
        found.append(required(f"{path}.type", f"type is required when {field} is set"))
    elif chosen not in PROFILE_TYPES:
        found.append(not_supported(f"{path}.type", chosen, PROFILE_TYPES))
    elif chosen == "Localhost":
        if not profile.localhostProfile:
            found.append(required(f"{path}.localhostProfile", f"must be set when {kind} type is Localhost"))
        elif kind == "seccomp":
            local_descending_path(profile.localhostProfile, f"{path}.localhostProfile", found)
    elif profile.localhostProfile is not None:
        found.append(
            invalid_value(
                f"{path}.localhostProfile",
                profile.localhostProfile,
                f"can only be set when {kind} type is Localhost",
            )
        )


def validate_profiles(context: Any, path: str, found: list[FieldError]) -> None:
    """The security profiles of a pod's or a container's security context."""
    if context.seccompProfile is not None:
        validate_profile("seccomp", "seccompProfile", context.seccompProfile, f"{path}.seccompProfile", found)
    if context.appArmorProfile is not None:
        validate_profile(
            "AppArmor", "appArmorProfile", context.appArmorProfile, f"{path}.appArmorProfile", found
        )


def quality_of_service(spec: Any) -> str:
    """The pod's QoS class: `Guaranteed`, `Burstable` or `BestEffort`."""
    if spec.resources is not None and (spec.resources.limits or spec.resources.requests):
        everything = [spec.resources]
    else:
        everything = [c.resources for c in (*(spec.containers or ()), *(spec.initContainers or ()))]
    requests: dict[str, int] = {}
    limits: dict[str, int] = {}
    guaranteed = True
    for resources in everything:
        if resources is None or not (resources.limits or resources.requests):
            guaranteed = False
            continue
        limited = 0
        for total, amounts in ((requests, resources.requests), (limits, resources.limits)):
            for name in ("cpu", "memory"):
                amount = milli(amounts[name]) if amounts and name in amounts else None
                if amount:
                    total[name] = total.get(name, 0) + amount
                    limited += total is limits
        guaranteed = guaranteed and limited == 2
    if not requests and not limits:
        return "BestEffort"
    return "Guaranteed" if guaranteed and requests == limits else "Burstable"
