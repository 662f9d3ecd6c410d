"""Security contexts of pods and containers, annotations of the time before them, and what an operating system allows."""

from __future__ import annotations

from typing import Any

import pytest

C = "spec.containers[0].securityContext"
P = "spec.securityContext"
USER = "must be between 0 and 2147483647, inclusive"
PROFILES = 'supported values: "Localhost", "RuntimeDefault", "Unconfined"'
WINDOWS = "Forbidden: cannot be set for a windows pod"
SYSCTL = r"must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"


def pod(spec: dict[str, Any], own: dict[str, Any] | None = None, **annotations: str) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "c", "image": "i"}
    if own is not None:
        container["securityContext"] = own
    return {
        "metadata": {"name": "p", "namespace": "default", "annotations": annotations},
        "spec": {"containers": [container], **spec},
    }


# ValidatePodSpec's validatePodSpecSecurityContext, validateSysctls, validateHostSysctl, validateFSGroupChangePolicy
@pytest.mark.parametrize(
    ("context", "more", "expected"),
    [
        ({"fsGroup": -1, "runAsUser": -1, "runAsGroup": 1 << 31}, {}, [
            f"{P}.fsGroup: Invalid value: -1: {USER}",
            f"{P}.runAsUser: Invalid value: -1: {USER}",
            f"{P}.runAsGroup: Invalid value: 2147483648: {USER}",
        ]),
        ({"supplementalGroups": [1, -1]}, {}, [f"{P}.supplementalGroups[1]: Invalid value: -1: {USER}"]),
        ({}, {"shareProcessNamespace": True, "hostPID": True}, [
            f"{P}.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled"
        ]),
        ({"fsGroupChangePolicy": "Never"}, {}, [
            f'{P}.fsGroupChangePolicy: Unsupported value: "Never": supported values: "Always", "OnRootMismatch"'
        ]),
        ({"supplementalGroupsPolicy": "All"}, {}, [
            f'{P}.supplementalGroupsPolicy: Unsupported value: "All": supported values: "Merge", "Strict"'
        ]),
        ({"seLinuxChangePolicy": "x"}, {}, [
            f'{P}.seLinuxChangePolicy: Unsupported value: "x": supported values: "MountOption", "Recursive"'
        ]),
        ({"sysctls": [{"name": "", "value": "1"}]}, {}, [f"{P}.sysctls[0].name: Required value"]),
        ({"sysctls": [{"name": "A", "value": "1"}]}, {}, [f'{P}.sysctls[0].name: Invalid value: "A": {SYSCTL}']),
        ({"sysctls": [{"name": "a.b", "value": "1"}] * 2}, {}, [f'{P}.sysctls[1].name: Duplicate value: "a.b"']),
        ({"sysctls": [{"name": "net.a", "value": "1"}]}, {"hostNetwork": True}, [
            f"{P}.sysctls[0].name: Invalid value: \"net.a\": may not be specified when 'hostNetwork' is true"
        ]),
        ({"sysctls": [{"name": "kernel/shmmax", "value": "1"}]}, {"hostIPC": True}, [
            f"{P}.sysctls[0].name: Invalid value: \"kernel/shmmax\": may not be specified when 'hostIPC' is true"
        ]),
        ({}, {"hostUsers": False, "hostNetwork": True, "hostPID": True, "hostIPC": True}, [
            "spec.hostNetwork: Forbidden: when `hostUsers` is false",
            "spec.HostPID: Forbidden: when `hostUsers` is false",
            "spec.HostIPC: Forbidden: when `hostUsers` is false",
        ]),
    ],
)  # fmt: skip
def test_pods(create: Any, context: dict[str, Any], more: dict[str, Any], expected: list[str]) -> None:
    assert create("Pod", pod({"securityContext": context, **more}))[1] == expected


# validateSeccompProfileField, ValidateAppArmorProfileField: the same of pods and of containers
@pytest.mark.parametrize(
    ("field", "profile", "expected"),
    [
        ("seccompProfile", {"type": "RuntimeDefault"}, []),
        ("seccompProfile", {"type": ""}, [".type: Required value: type is required when seccompProfile is set"]),
        ("seccompProfile", {"type": "Some"}, [f'.type: Unsupported value: "Some": {PROFILES}']),
        ("seccompProfile", {"type": "Localhost"}, [
            ".localhostProfile: Required value: must be set when seccomp type is Localhost"
        ]),
        ("seccompProfile", {"type": "Localhost", "localhostProfile": "../a"}, [
            ".localhostProfile: Invalid value: \"../a\": must not contain '..'"
        ]),
        ("seccompProfile", {"type": "Unconfined", "localhostProfile": "a"}, [
            '.localhostProfile: Invalid value: {"Type":"Unconfined","LocalhostProfile":"a"}: '
            "can only be set when seccomp type is Localhost"
        ]),
        ("appArmorProfile", {"type": "Localhost", "localhostProfile": "a"}, []),
        ("appArmorProfile", {"type": ""}, [".type: Required value: type is required when appArmorProfile is set"]),
        ("appArmorProfile", {"type": "Some"}, [f'.type: Unsupported value: "Some": {PROFILES}']),
        ("appArmorProfile", {"type": "Localhost", "localhostProfile": " a"}, [
            '.localhostProfile: Invalid value: " a": must not be padded with whitespace'
        ]),
        ("appArmorProfile", {"type": "Localhost", "localhostProfile": ""}, [
            ".localhostProfile: Required value: must be set when AppArmor type is Localhost"
        ]),
        ("appArmorProfile", {"type": "Localhost", "localhostProfile": "a" * 4096}, [
            ".localhostProfile: Too long: may not be more than 4095 bytes"
        ]),
        ("appArmorProfile", {"type": "RuntimeDefault", "localhostProfile": "a"}, [
            '.localhostProfile: Invalid value: "a": can only be set when AppArmor type is Localhost'
        ]),
    ],
)  # fmt: skip
def test_profiles(create: Any, field: str, profile: dict[str, Any], expected: list[str]) -> None:
    _, found = create("Pod", pod({"securityContext": {field: profile}}))
    assert found == [f"{P}.{field}{text}" for text in expected]
    _, found = create("Pod", pod({}, {field: profile}))
    assert found == [f"{C}.{field}{text}" for text in expected]


# ValidateSecurityContext, ValidateProcMountType, validateWindowsSecurityContextOptions
@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"runAsUser": -1, "runAsGroup": -1}, [
            f"{C}.runAsUser: Invalid value: -1: {USER}", f"{C}.runAsGroup: Invalid value: -1: {USER}"
        ]),
        ({"procMount": "Some"}, [f'{C}.procMount: Unsupported value: "Some": supported values: "Default", "Unmasked"']),
        ({"procMount": "Unmasked"}, [
            f'{C}.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`'
        ]),
        ({"windowsOptions": {"gmsaCredentialSpec": ""}}, [
            f'{C}.windowsOptions.gmsaCredentialSpec: Invalid value: "": gmsaCredentialSpec cannot be an empty string'
        ]),
        ({"windowsOptions": {"runAsUserName": ""}}, [
            f'{C}.windowsOptions.runAsUserName: Invalid value: "": runAsUserName cannot be an empty string'
        ]),
        ({"windowsOptions": {"runAsUserName": "a\\b\\c"}}, [
            f'{C}.windowsOptions.runAsUserName: Invalid value: "a\\\\b\\\\c": runAsUserName cannot contain more than one backslash'
        ]),
        ({"windowsOptions": {"runAsUserName": "dom\\"}}, [
            f"{C}.windowsOptions.runAsUserName: Invalid value: \"dom\\\\\": runAsUserName's User cannot be empty"
        ]),
        ({"windowsOptions": {"runAsUserName": "..."}}, [
            f"{C}.windowsOptions.runAsUserName: Invalid value: \"...\": runAsUserName's User cannot contain only periods or spaces"
        ]),
        ({"windowsOptions": {"runAsUserName": "NT AUTHORITY\\NETWORK SERVICE"}}, []),
    ],
)  # fmt: skip
def test_containers(create: Any, own: dict[str, Any], expected: list[str]) -> None:
    assert create("Pod", pod({}, own))[1] == expected


@pytest.mark.parametrize(
    ("own", "what"),
    [
        ({"privileged": True}, "`privileged` to true"),
        ({"capabilities": {"add": ["CAP_SYS_ADMIN"]}}, "`capabilities.Add` CAP_SYS_ADMIN"),
    ],
)
def test_no_escalation_and_all_rights(create: Any, own: dict[str, Any], what: str) -> None:
    _, (found,) = create("Pod", pod({}, {"allowPrivilegeEscalation": False, **own}))
    assert found.startswith(f"{C}: Invalid value: ")
    assert found.endswith(f": cannot set `allowPrivilegeEscalation` to false and {what}")


# validateOS, validateLinux, validateWindows
@pytest.mark.parametrize(
    ("spec", "own", "expected"),
    [
        ({"os": {"name": ""}}, None, ["spec.os.name: Required value: cannot be empty"]),
        ({"os": {"name": "plan9"}}, None, [
            'spec.os: Unsupported value: "plan9": supported values: "linux", "windows"'
        ]),
        ({"os": {"name": "linux"}, "securityContext": {"windowsOptions": {}}}, {"windowsOptions": {}}, [
            f"{P}.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
            f"{C}.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
        ]),
        ({"os": {"name": "windows"}, "securityContext": {"runAsUser": 1, "fsGroup": 2}, "hostPID": True}, None, [
            f"spec.hostPID: {WINDOWS}", f"{P}.fsGroup: {WINDOWS}", f"{P}.runAsUser: {WINDOWS}"
        ]),
        ({"os": {"name": "windows"}}, {"privileged": False, "runAsUser": 1}, [
            f"{C}.privileged: {WINDOWS}", f"{C}.runAsUser: {WINDOWS}"
        ]),
        ({"os": {"name": "windows"}}, {"runAsNonRoot": True}, []),
    ],
)  # fmt: skip
def test_operating_systems(
    create: Any, spec: dict[str, Any], own: dict[str, Any] | None, expected: list[str]
) -> None:
    assert create("Pod", pod(spec, own))[1] == expected


# validateWindowsHostProcessPod
@pytest.mark.parametrize(
    ("of_pod", "own", "network", "expected"),
    [
        (True, None, True, []),
        (None, True, True, []),
        (True, None, False, [
            "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers"
        ]),
        (True, False, True, [
            f"{C}.windowsOptions.hostProcess: Invalid value: false: pod hostProcess value must be identical if both are "
            "specified, was true"
        ]),
    ],
)  # fmt: skip
def test_host_process(
    create: Any, of_pod: bool | None, own: bool | None, network: bool, expected: list[str]
) -> None:
    spec: dict[str, Any] = {"hostNetwork": network}
    if of_pod is not None:
        spec["securityContext"] = {"windowsOptions": {"hostProcess": of_pod}}
    context = None if own is None else {"windowsOptions": {"hostProcess": own}}
    assert create("Pod", pod(spec, context))[1] == expected


A = "metadata.annotations"
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
SECCOMP = "seccomp.security.alpha.kubernetes.io/pod"
MIRROR = "kubernetes.io/config.mirror"
COST = "controller.kubernetes.io/pod-deletion-cost"


# ValidatePodSpecificAnnotations, ValidateSeccompPodAnnotations, ValidateAppArmorPodAnnotations, validate…AnnotationsAndFieldsMatch
@pytest.mark.parametrize(
    ("annotations", "spec", "expected"),
    [
        ({MIRROR: "x"}, {}, [
            f'{A}[{MIRROR}]: Invalid value: "x": must set spec.nodeName if mirror pod annotation is set'
        ]),
        ({MIRROR: "x"}, {"nodeName": "n"}, []),
        ({COST: "-7"}, {}, []),
        ({COST: "+7"}, {}, [f'{A}[{COST}]: Invalid value: "+7": must be a 32bit integer']),
        ({COST: "07"}, {}, [f'{A}[{COST}]: Invalid value: "07": must be a 32bit integer']),
        ({COST: "2147483648"}, {}, [f'{A}[{COST}]: Invalid value: "2147483648": must be a 32bit integer']),
        ({SECCOMP: "docker/default"}, {}, []),
        ({SECCOMP: "x"}, {}, [f'{A}.{SECCOMP}: Invalid value: "x": must be a valid seccomp profile']),
        ({SECCOMP: "localhost//a"}, {}, [f'{A}.{SECCOMP}: Invalid value: "/a": must be a relative path']),
        ({SECCOMP: "unconfined"}, {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}, [
            f"{P}.seccompProfile.type: Forbidden: seccomp type in annotation and field must match"
        ]),
        ({f"{APPARMOR}c": "unconfined"}, {}, []),
        ({f"{APPARMOR}d": "unconfined"}, {}, [f'{A}[{APPARMOR}d]: Invalid value: "d": container not found']),
        ({f"{APPARMOR}c": "x"}, {}, [f'{A}[{APPARMOR}c]: Invalid value: "x": invalid AppArmor profile name: "x"']),
    ],
)  # fmt: skip
def test_annotations(
    create: Any, annotations: dict[str, str], spec: dict[str, Any], expected: list[str]
) -> None:
    assert create("Pod", pod(spec, **annotations))[1] == expected


# applyAppArmorVersionSkew
@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("runtime/default", ("RuntimeDefault", None)),
        ("unconfined", ("Unconfined", None)),
        ("localhost/mine", ("Localhost", "mine")),
        ("localhost/", None),
    ],
)
def test_apparmor_annotation_becomes_a_field(
    create: Any, annotation: str, expected: tuple[str, str | None] | None
) -> None:
    new, _ = create("Pod", pod({}, **{f"{APPARMOR}c": annotation}))
    context = new.spec.containers[0].securityContext
    profile = context.appArmorProfile if context is not None else None
    assert (profile and (profile.type, profile.localhostProfile)) == expected


# ValidatePodSpecificAnnotationUpdates
@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({MIRROR: "x"}, {}, [f"{A}[{MIRROR}]: Forbidden: may not remove or update mirror pod annotation"]),
        ({MIRROR: "x"}, {MIRROR: "y"}, [f"{A}[{MIRROR}]: Forbidden: may not remove or update mirror pod annotation"]),
        ({}, {MIRROR: "x"}, [f"{A}[{MIRROR}]: Forbidden: may not add mirror pod annotation"]),
        ({f"{APPARMOR}c": "unconfined"}, {}, [
            f"{A}[{APPARMOR}c]: Forbidden: may not remove or update AppArmor annotations"
        ]),
        ({}, {f"{APPARMOR}c": "unconfined"}, [f"{A}[{APPARMOR}c]: Forbidden: may not add AppArmor annotations"]),
        ({"a": "1"}, {"b": "2"}, []),
    ],
)  # fmt: skip
def test_annotations_that_stay(
    update: Any, before: dict[str, str], after: dict[str, str], expected: list[str]
) -> None:
    spec = {"nodeName": "n"}
    profile = {"appArmorProfile": {"type": "Unconfined"}}
    assert update("Pod", pod(spec, profile, **before), pod(spec, profile, **after))[1] == expected
