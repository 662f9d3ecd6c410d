"""Validation of containers: names, images, ports, environment, mounts, probes, restarts.

Mirrors upstream's `validateContainers`, `validateInitContainers`, `validateEphemeralContainers` and what those call. Security contexts are in
`security`. Paths are put together only for findings: the path of a container is the one string made for each.
"""

from __future__ import annotations

from typing import Any

from lakh.apis.fieldrefs import (
    local_descending_path,
    local_file,
    no_backsteps,
    validate_field_ref,
    validate_resource_field_ref,
)
from lakh.apis.meta import check_dns_label, check_dns_subdomain, memoised, non_negative, report
from lakh.apis.resourcelists import milli, validate_requirements
from lakh.apis.security import validate_security
from lakh.apis.volume_sources import PULL_POLICIES
from lakh.machinery import names
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_found_field,
    not_supported,
    required,
    too_long,
)

PROTOCOLS = ("SCTP", "TCP", "UDP")
TERMINATION_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
CONTAINER_RESTART_POLICIES = ("Always", "Never", "OnFailure")
RESTART_ALL = "RestartAllContainers"
RESTART_ACTIONS = ("Restart", RESTART_ALL)
MAX_RESTART_RULES = 20
MAX_EXIT_CODES = 255
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
_INIT_ONLY = "may not be set for init containers without restartPolicy=Always"

_check_env_name = memoised(names.env_var_name)
_check_port_name = memoised(names.port_name)
_check_config_map_key = memoised(names.config_map_key)


def validate_containers(
    spec: Any, volumes: dict[str, Any], claims: frozenset[str], path: str, found: list[FieldError]
) -> None:
    """The regular containers: at least one, unique names, no host port twice."""
    if not spec.containers:
        found.append(required(path))
        return
    seen: set[str] = set()
    ports = False
    for index, container in enumerate(spec.containers):
        where = f"{path}[{index}]"
        _validate_common(container, volumes, claims, where, spec, found)
        name = container.name or ""
        if name in seen:
            found.append(duplicate(f"{where}.name", name))
        else:
            seen.add(name)
        _validate_running(container, where, spec, found)
        if container.restartPolicy is not None or container.restartPolicyRules:
            _validate_restart_policy(container, where, found)
        if container.ports:
            ports = True
    if ports:
        _validate_host_ports(spec.containers, path, found)


def validate_init_containers(
    spec: Any, volumes: dict[str, Any], claims: frozenset[str], path: str, found: list[FieldError]
) -> None:
    """The init containers; those with restartPolicy Always (sidecars) may have what running containers may."""
    seen = {container.name for container in spec.containers or ()}
    for index, container in enumerate(spec.initContainers):
        where = f"{path}[{index}]"
        _validate_common(container, volumes, claims, where, spec, found)
        if container.restartPolicy is not None or container.restartPolicyRules:
            _validate_restart_policy(container, where, found)
        name = container.name
        if name and name in seen:
            found.append(duplicate(f"{where}.name", name))
        seen.add(name)
        if container.ports:
            # They run one by one, so each is looked at alone, and upstream reports each as the first.
            _validate_host_ports((container,), path, found)
        if container.restartPolicy == "Always":
            _validate_running(container, where, spec, found)
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
    """How a container of its own mind restarts (KEP-5307)."""
    policy, rules = container.restartPolicy, container.restartPolicyRules or ()
    if policy is None:
        found.append(
            required(f"{path}.restartPolicy", "must specify restartPolicy when restart rules are used")
        )
    elif policy not in CONTAINER_RESTART_POLICIES:
        found.append(not_supported(f"{path}.restartPolicy", policy, CONTAINER_RESTART_POLICIES))
    if len(rules) > MAX_RESTART_RULES:
        found.append(too_long(f"{path}.restartPolicyRules", MAX_RESTART_RULES))
    for index, rule in enumerate(rules):
        where = f"{path}.restartPolicyRules[{index}]"
        if rule.action not in RESTART_ACTIONS:
            found.append(not_supported(f"{where}.action", rule.action or "", RESTART_ACTIONS))
        codes = rule.exitCodes
        if codes is None:
            found.append(required(f"{where}.exitCodes", "must be specified"))
            continue
        if codes.operator not in ("In", "NotIn"):
            found.append(not_supported(f"{where}.exitCodes.operator", codes.operator or "", ("In", "NotIn")))
        if len(codes.values or ()) > MAX_EXIT_CODES:
            found.append(too_long(f"{where}.exitCodes.values", MAX_EXIT_CODES))


def _validate_common(
    container: Any,
    volumes: dict[str, Any],
    claims: frozenset[str],
    path: str,
    spec: Any,
    found: list[FieldError],
) -> None:
    name = container.name
    if not name:
        found.append(required(f"{path}.name"))
    else:
        messages = check_dns_label(name)
        if messages:
            report(messages, f"{path}.name", name, found)
    if not container.image:
        found.append(required(f"{path}.image"))
    policy = container.terminationMessagePolicy
    if policy not in TERMINATION_MESSAGE_POLICIES:
        found.append(
            not_supported(
                f"{path}.terminationMessagePolicy", policy, TERMINATION_MESSAGE_POLICIES, as_given=True
            )
            if policy
            else required(f"{path}.terminationMessagePolicy")
        )
    if container.ports:
        _validate_ports(container.ports, f"{path}.ports", found)
    if container.env:
        _validate_env(container.env, spec, f"{path}.env", found)
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
        _validate_resize_policy(container.resizePolicy, spec, f"{path}.resizePolicy", found)
    if container.securityContext is not None:
        validate_security(
            container.securityContext, f"{path}.securityContext", spec.hostUsers is not False, found
        )


def validate_image_spaces(containers: Any, path: str, found: list[FieldError]) -> None:
    """What holds of images in pods and not in templates, where some have used a blank as a token of their own."""
    for index, container in enumerate(containers):
        image = container.image
        if image and image != image.strip():
            found.append(
                invalid_value(f"{path}[{index}].image", image, "must not have leading or trailing whitespace")
            )


# Of a container, what an ephemeral one has not, in the order of Container's fields in Go.
_NOT_EPHEMERAL = (
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
)


def validate_ephemeral_containers(
    spec: Any, volumes: dict[str, Any], claims: frozenset[str], path: str, found: list[FieldError]
) -> None:
    """The containers for debugging: they have no ports, probes, resources or restarts."""
    targets = {c.name for c in (*(spec.containers or ()), *(spec.initContainers or ()))}
    taken = set(targets)
    why = "cannot be set for an Ephemeral Container"
    for index, container in enumerate(spec.ephemeralContainers):
        where = f"{path}[{index}]"
        _validate_common(container, volumes, claims, where, spec, found)
        image = container.image
        if image and image != image.strip():
            found.append(
                invalid_value(f"{where}.image", image, "must not have leading or trailing whitespace")
            )
        if container.name in taken:
            found.append(duplicate(f"{where}.name", container.name or ""))
        taken.add(container.name)
        target = container.targetContainerName
        if target and target not in targets:
            found.append(not_found_field(f"{where}.targetContainerName", target))
        for name in _NOT_EPHEMERAL:
            value = getattr(container, name)
            if value and value != type(value)():
                found.append(forbidden_field(f"{where}.{name}", why))
        for position, mount in enumerate(container.volumeMounts or ()):
            for name in ("subPath", "subPathExpr"):
                if getattr(mount, name):
                    found.append(forbidden_field(f"{where}.volumeMounts[{position}].{name}", why))


def _validate_ports(ports: list[Any], path: str, found: list[FieldError]) -> None:
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


def _validate_host_ports(containers: Any, path: str, found: list[FieldError]) -> None:
    seen: set[str] = set()
    for position, container in enumerate(containers):
        for index, port in enumerate(container.ports or ()):
            if port.hostPort:
                key = f"{port.protocol or ''}/{port.hostIP or ''}/{port.hostPort}"
                if key in seen:
                    found.append(duplicate(f"{path}[{position}].ports[{index}].hostPort", key))
                seen.add(key)


def validate_host_network_ports(
    containers: list[Any], is_pod: bool, path: str, found: list[FieldError]
) -> None:
    """In the node's network a container's port is the node's; in a template the latter may be open: it is filled in when the pod is made."""
    for position, container in enumerate(containers):
        for index, port in enumerate(container.ports or ()):
            host_port = port.hostPort
            if (is_pod or host_port) and host_port != port.containerPort:
                found.append(
                    invalid_value(
                        f"{path}[{position}].ports[{index}].hostPort",
                        host_port or 0,
                        "must match `containerPort` when `hostNetwork` is true",
                    )
                )


def _validate_env(env: list[Any], spec: Any, path: str, found: list[FieldError]) -> None:
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
                variable.valueFrom, bool(variable.value), spec, f"{path}[{index}].valueFrom", found
            )


def _validate_env_source(source: Any, has_value: bool, spec: Any, path: str, found: list[FieldError]) -> None:
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
            report(check_dns_subdomain(ref.name or ""), f"{path}.{attribute}.name", ref.name or "", found)
            if not ref.key:
                found.append(required(f"{path}.{attribute}.key"))
            else:
                report(_check_config_map_key(ref.key), f"{path}.{attribute}.key", ref.key, found)
    if source.fileKeyRef is not None:
        count += 1
        _validate_file_key(source.fileKeyRef, spec, f"{path}.fileKeyRef", found)
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


def _validate_file_key(ref: Any, spec: Any, path: str, found: list[FieldError]) -> None:
    """A variable from a file that an init container writes into an empty directory (KEP-3721)."""
    if not ref.key:
        found.append(required(f"{path}.key"))
    else:
        report(_check_env_name(ref.key), f"{path}.key", ref.key, found)
    if not ref.volumeName:
        found.append(required(f"{path}.volumeName"))
    else:
        volume = next((v for v in spec.volumes or () if v.name == ref.volumeName), None)
        if volume is None:
            found.append(not_found_field(f"{path}.volumeName", ref.volumeName))
        elif volume.emptyDir is None:
            found.append(
                invalid_value(
                    f"{path}.volumeName", ref.volumeName, "referenced volume must be of type emptyDir"
                )
            )
    if not ref.path:
        found.append(required(f"{path}.path"))
    else:
        local_file(ref.path, f"{path}.path", found)


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
                else:
                    messages = check_dns_subdomain(names.mask_trailing_dash(ref.name))
                    report(messages, f"{where}.{attribute}.name", ref.name, found)
        # Upstream reports these two at the list.
        if count == 0:
            found.append(invalid_value(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif count > 1:
            found.append(invalid_value(path, "", "may not have more than one field specified at a time"))


def _validate_mounts(container: Any, volumes: dict[str, Any], path: str, found: list[FieldError]) -> None:
    seen: set[str] = set()
    devices = container.volumeDevices
    for index, mount in enumerate(container.volumeMounts):
        name, where = mount.name, mount.mountPath or ""
        if not name:
            found.append(required(f"{path}[{index}].name"))
        if name not in volumes:
            found.append(not_found_field(f"{path}[{index}].name", name or ""))
        if not where:
            found.append(required(f"{path}[{index}].mountPath"))
        if where in seen:
            found.append(invalid_value(f"{path}[{index}].mountPath", where, "must be unique"))
        seen.add(where)
        if devices:
            if any(device.name == name for device in devices):
                found.append(
                    invalid_value(f"{path}[{index}].name", name, "must not already exist in volumeDevices")
                )
            if any(device.devicePath == where for device in devices):
                found.append(
                    invalid_value(
                        f"{path}[{index}].mountPath",
                        where,
                        "must not already exist as a path in volumeDevices",
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
        if mount.recursiveReadOnly is not None:
            _validate_recursive_read_only(mount, f"{path}.recursiveReadOnly", found)


def _validate_recursive_read_only(mount: Any, path: str, found: list[FieldError]) -> None:
    chosen = mount.recursiveReadOnly
    if chosen in ("Enabled", "IfPossible"):
        if not mount.readOnly:
            found.append(forbidden_field(path, "may only be specified when readOnly is true"))
        if mount.mountPropagation not in (None, "None"):
            found.append(
                forbidden_field(path, "may only be specified when mountPropagation is None or not specified")
            )
    elif chosen != "Disabled":
        found.append(not_supported(path, chosen, ("Disabled", "Enabled", "IfPossible")))


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
    mounts = {mount.name: mount.mountPath for mount in container.volumeMounts or ()}
    for index, device in enumerate(container.volumeDevices):
        where = f"{path}[{index}]"
        name, device_path = device.name or "", device.devicePath or ""
        if not name:
            found.append(required(f"{where}.name"))
        if name in seen_names:
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
        if device_path in seen_paths:
            found.append(invalid_value(f"{where}.devicePath", device_path, "must be unique"))
        backsteps: list[FieldError] = []
        no_backsteps(device_path, where, backsteps)
        if backsteps:
            found.append(
                invalid_value(f"{where}.devicePath", device_path, "can not contain backsteps ('..')")
            )
        else:
            seen_paths.add(device_path)
        if name in mounts:
            found.append(invalid_value(f"{where}.name", name, "must not already exist in volumeMounts"))
        if device_path in mounts.values():
            found.append(
                invalid_value(
                    f"{where}.devicePath", device_path, "must not already exist as a path in volumeMounts"
                )
            )
        if name:
            seen_names.add(name)


def _validate_resize_policy(policies: list[Any], spec: Any, path: str, found: list[FieldError]) -> None:
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
        if spec.restartPolicy == "Never" and action != "NotRequired":
            found.append(invalid_value(path, action, "must be 'NotRequired' when `restartPolicy` is 'Never'"))


def _validate_running(container: Any, path: str, spec: Any, found: list[FieldError]) -> None:
    grace = spec.terminationGracePeriodSeconds
    if container.lifecycle is not None:
        for attribute in ("postStart", "preStop"):
            handler = getattr(container.lifecycle, attribute)
            if handler is not None:
                _validate_handler(handler, f"{path}.lifecycle.{attribute}", grace, found)
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
    _validate_handler(probe, path, None, found)
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


def _validate_handler(handler: Any, path: str, grace: int | None, found: list[FieldError]) -> None:
    chosen = ""
    for name in ("exec", "httpGet", "tcpSocket", "grpc", "sleep"):
        action = getattr(handler, name, None)
        if action is None:
            continue
        if chosen:
            found.append(forbidden_field(f"{path}.{name}", "may not specify more than 1 handler type"))
            continue
        chosen, where = name, f"{path}.{name}"
        match name:
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
                    key = header.name or ""
                    report(names.http_header_name(key), f"{where}.httpHeaders", key, found)
            case "tcpSocket":
                _validate_port(action.port, f"{where}.port", found)
            case "grpc":
                _validate_port(action.port or 0, f"{where}.port", found)
            case _:
                seconds = action.seconds or 0
                if grace is not None and not 0 <= seconds <= grace:
                    found.append(
                        invalid_value(
                            where,
                            seconds,
                            f"must be non-negative and less than terminationGracePeriodSeconds ({grace})",
                        )
                    )
    if not chosen:
        found.append(required(path, "must specify a handler type"))


def _validate_port(port: int | str | None, path: str, found: list[FieldError]) -> None:
    if isinstance(port, str):
        report(_check_port_name(port), path, port, found)
    else:
        report(names.port_number(port or 0), path, port or 0, found)


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
