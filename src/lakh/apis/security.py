"""Security contexts of pods and containers, and what a pod's operating system allows.

Mirrors upstream's `validatePodSpecSecurityContext`, `ValidateSecurityContext`, `validateWindowsSecurityContextOptions`,
`validateWindowsHostProcessPod`, `validateLinux` and `validateWindows`. Fields that are absent cost one comparison.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lakh.apis.fieldrefs import local_descending_path
from lakh.apis.meta import check_dns_subdomain, report
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

MAX_USER_ID = 2**31 - 1
PROFILE_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")
MAX_SYSCTL_BYTES = 253
MAX_PROFILE_PATH_BYTES = 4095
MAX_CREDENTIAL_SPEC_KIB = 64
MAX_WINDOWS_DOMAIN = 256
MAX_WINDOWS_USER = 104
_SYSCTL_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
SYSCTL_NAME = f"^({_SYSCTL_SEGMENT}[\\./])*{_SYSCTL_SEGMENT}$"
_sysctl_segment = re.compile(_SYSCTL_SEGMENT, re.ASCII).fullmatch
_USER_RANGE = names.range_message(0, MAX_USER_ID)


def visit_containers(spec: Any, path: str) -> Iterator[tuple[Any, str]]:
    """All containers of a pod spec with their paths, in upstream's order."""
    for name in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(getattr(spec, name) or ()):
            yield container, f"{path}.{name}[{index}]"


def _validate_id(value: int | None, path: str, found: list[FieldError]) -> None:
    if value is not None and not 0 <= value <= MAX_USER_ID:
        found.append(invalid_value(path, value, _USER_RANGE))


# -- pods --------------------------------------------------------------------------------------------------------------------------


def validate_pod_security(spec: Any, path: str, found: list[FieldError]) -> None:
    """The security context of a pod spec, which has one."""
    context = spec.securityContext
    for attribute in ("fsGroup", "runAsUser", "runAsGroup"):
        _validate_id(getattr(context, attribute), f"{path}.{attribute}", found)
    for index, group in enumerate(context.supplementalGroups or ()):
        _validate_id(group, f"{path}.supplementalGroups[{index}]", found)
    if spec.shareProcessNamespace and spec.hostPID:
        found.append(
            invalid_value(
                f"{path}.shareProcessNamespace",
                True,
                "ShareProcessNamespace and HostPID cannot both be enabled",
            )
        )
    if context.sysctls:
        _validate_sysctls(spec, context.sysctls, f"{path}.sysctls", found)
    _enumeration(
        context.fsGroupChangePolicy, ("Always", "OnRootMismatch"), f"{path}.fsGroupChangePolicy", found
    )
    if context.seccompProfile is not None:
        _validate_seccomp(context.seccompProfile, f"{path}.seccompProfile", found)
    if context.windowsOptions is not None:
        _validate_windows_options(context.windowsOptions, f"{path}.windowsOptions", found)
    if context.appArmorProfile is not None:
        validate_apparmor(context.appArmorProfile, f"{path}.appArmorProfile", found)
    _enumeration(
        context.supplementalGroupsPolicy, ("Merge", "Strict"), f"{path}.supplementalGroupsPolicy", found
    )
    _enumeration(
        context.seLinuxChangePolicy, ("MountOption", "Recursive"), f"{path}.seLinuxChangePolicy", found
    )


def _enumeration(value: str | None, supported: tuple[str, ...], path: str, found: list[FieldError]) -> None:
    if value is not None and value not in supported:
        found.append(not_supported(path, value, supported))


def _validate_sysctls(spec: Any, sysctls: list[Any], path: str, found: list[FieldError]) -> None:
    seen: set[str] = set()
    for index, sysctl in enumerate(sysctls):
        name, where = sysctl.name or "", f"{path}[{index}].name"
        plain = name.replace("/", ".")
        if not name:
            found.append(required(where))
        elif len(name) > MAX_SYSCTL_BYTES or not all(map(_sysctl_segment, plain.split("."))):
            found.append(
                invalid_value(
                    where,
                    name,
                    f"must have at most {MAX_SYSCTL_BYTES} characters and match regex {SYSCTL_NAME}",
                )
            )
        elif name in seen:
            found.append(duplicate(where, name))
        # A sysctl of a namespace that the pod shares with its node would be the node's.
        if spec.hostNetwork and plain.startswith("net."):
            found.append(invalid_value(where, name, "may not be specified when 'hostNetwork' is true"))
        elif spec.hostIPC and (
            plain == "kernel.sem" or plain.startswith(("kernel.shm", "kernel.msg", "fs.mqueue."))
        ):
            found.append(invalid_value(where, name, "may not be specified when 'hostIPC' is true"))
        seen.add(name)


# -- containers --------------------------------------------------------------------------------------------------------------------


def validate_security(context: Any, path: str, host_users: bool, found: list[FieldError]) -> None:
    """The security context of a container."""
    _validate_id(context.runAsUser, f"{path}.runAsUser", found)
    _validate_id(context.runAsGroup, f"{path}.runAsGroup", found)
    mount = context.procMount
    if mount is not None:
        if mount not in ("Default", "Unmasked"):
            found.append(not_supported(f"{path}.procMount", mount, ("Default", "Unmasked")))
        elif mount == "Unmasked" and host_users:
            found.append(
                invalid_value(f"{path}.procMount", mount, "`hostUsers` must be false to use `Unmasked`")
            )
    if context.seccompProfile is not None:
        _validate_seccomp(context.seccompProfile, f"{path}.seccompProfile", found)
    if context.allowPrivilegeEscalation is False:
        why = "cannot set `allowPrivilegeEscalation` to false and "
        if context.privileged:
            found.append(invalid_value(path, context, f"{why}`privileged` to true"))
        for capability in (context.capabilities.add or ()) if context.capabilities is not None else ():
            if capability == "CAP_SYS_ADMIN":
                found.append(invalid_value(path, context, f"{why}`capabilities.Add` CAP_SYS_ADMIN"))
    if context.windowsOptions is not None:
        _validate_windows_options(context.windowsOptions, f"{path}.windowsOptions", found)
    if context.appArmorProfile is not None:
        validate_apparmor(context.appArmorProfile, f"{path}.appArmorProfile", found)


def _validate_seccomp(profile: Any, path: str, found: list[FieldError]) -> None:
    chosen, file = profile.type or "", profile.localhostProfile
    if not chosen:
        found.append(required(f"{path}.type", "type is required when seccompProfile is set"))
    elif chosen not in PROFILE_TYPES:
        found.append(not_supported(f"{path}.type", chosen, PROFILE_TYPES))
    if chosen == "Localhost":
        if file is None:
            found.append(required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost"))
        else:
            local_descending_path(file, f"{path}.localhostProfile", found)
    elif file is not None:
        found.append(
            invalid_value(
                f"{path}.localhostProfile",
                {"Type": chosen, "LocalhostProfile": file},
                "can only be set when seccomp type is Localhost",
            )
        )


def validate_apparmor(profile: Any, path: str, found: list[FieldError]) -> None:
    """An AppArmor profile of a pod or of a container."""
    chosen, file, where = profile.type or "", profile.localhostProfile, f"{path}.localhostProfile"
    if chosen == "Localhost":
        needed = required(where, "must be set when AppArmor type is Localhost")
        if file is None:
            found.append(needed)
            return
        if file != file.strip():
            found.append(invalid_value(where, file, "must not be padded with whitespace"))
        elif not file:
            found.append(needed)
        if len(file) > MAX_PROFILE_PATH_BYTES:
            found.append(too_long(where, MAX_PROFILE_PATH_BYTES))
    elif chosen in PROFILE_TYPES:
        if file is not None:
            found.append(invalid_value(where, file, "can only be set when AppArmor type is Localhost"))
    elif not chosen:
        found.append(required(f"{path}.type", "type is required when appArmorProfile is set"))
    else:
        found.append(not_supported(f"{path}.type", chosen, PROFILE_TYPES))


# -- Windows -----------------------------------------------------------------------------------------------------------------------

_has_control_characters = re.compile(r"[\x00-\x1f\x7f]").search
_is_netbios = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}').fullmatch
_DOMAIN_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_is_domain = re.compile(rf"{_DOMAIN_LABEL}(?:\.{_DOMAIN_LABEL})*").fullmatch
_only_dots_and_spaces = re.compile(r"[. ]+").fullmatch
_has_bad_characters = re.compile(r'["/\\:;|=,+*?<>@\[\]]').search


def _validate_windows_options(options: Any, path: str, found: list[FieldError]) -> None:
    name, spec, user = options.gmsaCredentialSpecName, options.gmsaCredentialSpec, options.runAsUserName
    if name is not None:
        report(check_dns_subdomain(name), f"{path}.gmsaCredentialSpecName", name, found)
    if spec is not None:
        why = ""
        if not spec:
            why = "gmsaCredentialSpec cannot be an empty string"
        elif len(spec.encode()) > MAX_CREDENTIAL_SPEC_KIB * 1024:
            why = f"gmsaCredentialSpec size must be under {MAX_CREDENTIAL_SPEC_KIB} KiB"
        if why:
            found.append(invalid_value(f"{path}.gmsaCredentialSpec", spec, why))
    if user is not None:
        for why in _windows_user(user):
            found.append(invalid_value(f"{path}.runAsUserName", user, f"runAsUserName{why}"))


def _windows_user(text: str) -> list[str]:
    """What is wrong with `[DOMAIN\\]USER`."""
    if not text:
        return [" cannot be an empty string"]
    if _has_control_characters(text):
        return [" cannot contain control characters"]
    domain, backslash, user = text.rpartition("\\")
    if "\\" in domain:
        return [" cannot contain more than one backslash"]
    found = []
    if len(domain) >= MAX_WINDOWS_DOMAIN:
        found.append(f"'s Domain length must be under {MAX_WINDOWS_DOMAIN} characters")
    if backslash and not _is_netbios(domain) and not _is_domain(domain):
        found.append("'s Domain doesn't match the NetBios nor the DNS format")
    if not user:
        found.append("'s User cannot be empty")
    elif len(user) > MAX_WINDOWS_USER:
        found.append(f"'s User length must not be longer than {MAX_WINDOWS_USER} characters")
    if _only_dots_and_spaces(user):
        found.append("'s User cannot contain only periods or spaces")
    if _has_bad_characters(user):
        found.append("""'s User cannot contain the following characters: "/\\:;|=,+*?<>@[]""")
    return found


def validate_host_process(spec: Any, path: str, found: list[FieldError]) -> None:
    """HostProcess containers of Windows: all of a pod's or none, in the host's network."""
    context = spec.securityContext
    of_pod = context.windowsOptions.hostProcess if context is not None and context.windowsOptions else None
    count = host_processes = 0
    for container, where in visit_containers(spec, path):
        count += 1
        own = container.securityContext
        options = own.windowsOptions if own is not None else None
        chosen = options.hostProcess if options is not None else None
        if chosen is not None and of_pod is not None and chosen != of_pod:
            found.append(
                invalid_value(
                    f"{where}.securityContext.windowsOptions.hostProcess",
                    chosen,
                    f"pod hostProcess value must be identical if both are specified, was {str(of_pod).lower()}",
                )
            )
        host_processes += bool(of_pod if chosen is None else chosen)
    if not host_processes:
        return
    if host_processes != count:
        found.append(
            invalid_value(
                path,
                "",
                "If pod contains any hostProcess containers then all containers must be HostProcess containers",
            )
        )
    if not spec.hostNetwork:
        found.append(
            invalid_value(
                f"{path}.hostNetwork",
                False,
                "hostNetwork must be true if pod contains any hostProcess containers",
            )
        )


# What a Windows pod cannot have: attribute, and the path below the spec that is reported.
_NOT_IN_WINDOWS_PODS = tuple(
    (place, name)
    for place, listed in (
        ("context", "appArmorProfile seLinuxOptions"),
        ("spec", "hostUsers hostPID hostIPC"),
        ("context", "seccompProfile fsGroup fsGroupChangePolicy sysctls"),
        ("spec", "shareProcessNamespace"),
        (
            "context",
            "runAsUser runAsGroup supplementalGroups supplementalGroupsPolicy seLinuxChangePolicy",
        ),
    )
    for name in listed.split()
)
# These are plain in Go, where empty is absent.
_EMPTY_IS_ABSENT = frozenset(("hostPID", "hostIPC", "sysctls"))
_NOT_IN_WINDOWS_CONTAINERS = (
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
)


def validate_os(spec: Any, path: str, found: list[FieldError]) -> None:
    """The operating system that a pod names, and that its security contexts are of that system."""
    name = spec.os.name or ""
    if not name:
        found.append(required(f"{path}.os.name", "cannot be empty"))
    elif name == "linux":
        _validate_linux(spec, path, found)
    elif name == "windows":
        _validate_windows(spec, path, found)
    else:
        found.append(not_supported(f"{path}.os", name, ("linux", "windows")))


def _validate_linux(spec: Any, path: str, found: list[FieldError]) -> None:
    holders = [(spec, path), *visit_containers(spec, path)]
    for holder, where in holders:
        context = holder.securityContext
        if context is not None and context.windowsOptions is not None:
            found.append(
                forbidden_field(
                    f"{where}.securityContext.windowsOptions", "windows options cannot be set for a linux pod"
                )
            )


def _validate_windows(spec: Any, path: str, found: list[FieldError]) -> None:
    why = "cannot be set for a windows pod"
    context = spec.securityContext
    for place, name in _NOT_IN_WINDOWS_PODS:
        holder = spec if place == "spec" else context
        value = getattr(holder, name) if holder is not None else None
        if value is None or (not value and name in _EMPTY_IS_ABSENT):
            continue
        found.append(
            forbidden_field(f"{path}.{name}" if place == "spec" else f"{path}.securityContext.{name}", why)
        )
    for container, where in visit_containers(spec, path):
        for name in _NOT_IN_WINDOWS_CONTAINERS if container.securityContext is not None else ():
            if getattr(container.securityContext, name) is not None:
                found.append(forbidden_field(f"{where}.securityContext.{name}", why))
