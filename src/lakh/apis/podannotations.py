"""Annotations of pods that the API gives a meaning: mirror pods, the cost of deletion, and the older spelling of security profiles.

Mirrors upstream's `ValidatePodSpecificAnnotations`, `ValidatePodSpecificAnnotationUpdates`, `validateSeccompAnnotationsAndFields` and
`validateAppArmorAnnotationsAndFieldsMatchOnCreate`. Almost all annotations mean nothing here: a known key costs one look into a cache.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lakh.apis import structs
from lakh.apis.fieldrefs import local_descending_path
from lakh.apis.meta import STRING_CACHE_SIZE
from lakh.apis.security import visit_containers
from lakh.machinery.errors import FieldError, forbidden_field, invalid_value
from lakh.machinery.shortcache import short_cache

_AppArmorProfile = structs.core("AppArmorProfile")
_SecurityContext = structs.core("SecurityContext")

MIRROR = "kubernetes.io/config.mirror"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_LOCALHOST = "localhost/"
_SECCOMP_DEFAULTS = ("runtime/default", "docker/default")
_MAX_COST = 2**31
_is_cost = re.compile(r"[-+]?[0-9]+", re.ASCII).fullmatch


@short_cache(STRING_CACHE_SIZE)
def _meaning(key: str) -> str:
    """Which rule an annotation's key has; empty for none."""
    if key in (MIRROR, DELETION_COST, SECCOMP_POD):
        return key
    return next((prefix for prefix in (SECCOMP_CONTAINER, APPARMOR) if key.startswith(prefix)), "")


def is_special(key: str) -> bool:
    """Whether an annotation with this key means something for the API."""
    return bool(_meaning(key))


def _special(annotations: Mapping[str, str]) -> dict[str, str]:
    for key in annotations:
        if _meaning(key):
            return {key: value for key, value in annotations.items() if _meaning(key)}
    return {}


def validate_pod_annotations(
    annotations: Mapping[str, str], spec: Any, path: str, found: list[FieldError]
) -> None:
    """The annotations of a pod or of a pod template."""
    special = _special(annotations)
    if not special:
        return
    if MIRROR in special and not spec.nodeName:
        found.append(
            invalid_value(
                f"{path}[{MIRROR}]", special[MIRROR], "must set spec.nodeName if mirror pod annotation is set"
            )
        )
    cost = special.get(DELETION_COST)
    if cost is not None and not is_deletion_cost(cost):
        found.append(invalid_value(f"{path}[{DELETION_COST}]", cost, "must be a 32bit integer"))
    for key, value in special.items():
        meaning = _meaning(key)
        if meaning in (SECCOMP_POD, SECCOMP_CONTAINER):
            _validate_seccomp(value, f"{path}.{key}", found)
    for key, value in special.items():
        if _meaning(key) == APPARMOR:
            _validate_apparmor(key, value, spec, f"{path}[{key}]", found)


def is_deletion_cost(text: str) -> bool:
    """Whether a text is a 32 bit integer as it is to be written: no sign of plus, no zeros in front."""
    if not text or text[0] == "+" or not _is_cost(text):
        return False
    if text[0] == "0" and text != "0":
        return False
    return -_MAX_COST <= int(text) < _MAX_COST


def _validate_seccomp(value: str, path: str, found: list[FieldError]) -> None:
    if value in _SECCOMP_DEFAULTS or value == "unconfined":
        return
    if value.startswith(_LOCALHOST):
        local_descending_path(value.removeprefix(_LOCALHOST), path, found)
    else:
        found.append(invalid_value(path, value, "must be a valid seccomp profile"))


def _validate_apparmor(key: str, value: str, spec: Any, path: str, found: list[FieldError]) -> None:
    name = key.removeprefix(APPARMOR)
    if all(container.name != name for container, _ in visit_containers(spec, "")):
        found.append(invalid_value(path, name, "container not found"))
    if value not in ("", "runtime/default", "unconfined") and not value.startswith(_LOCALHOST):
        found.append(invalid_value(path, value, f'invalid AppArmor profile name: "{value}"'))


def validate_profiles_match(
    annotations: Mapping[str, str], spec: Any, path: str, found: list[FieldError]
) -> None:
    """Where both the annotation and the field for a security profile are there, they say the same. `path`: the spec's."""
    special = _special(annotations)
    if not special:
        return
    context = spec.securityContext
    if context is not None and context.seccompProfile is not None and SECCOMP_POD in special:
        _match(
            "seccomp",
            special[SECCOMP_POD],
            context.seccompProfile,
            f"{path}.securityContext.seccompProfile",
            found,
        )
    for container, where in visit_containers(spec, path):
        own = container.securityContext
        value = special.get(f"{SECCOMP_CONTAINER}{container.name}")
        if value is not None and own is not None and own.seccompProfile is not None:
            _match("seccomp", value, own.seccompProfile, f"{where}.securityContext.seccompProfile", found)
    if spec.os is not None and spec.os.name == "windows":
        return
    for container, where in visit_containers(spec, path):
        value = special.get(f"{APPARMOR}{container.name}")
        profile = container.securityContext.appArmorProfile if container.securityContext is not None else None
        if profile is None and context is not None:
            profile = context.appArmorProfile
        if value is not None and profile is not None:
            _match("apparmor", value, profile, f"{where}.securityContext.appArmorProfile", found)


def _match(kind: str, annotation: str, profile: Any, path: str, found: list[FieldError]) -> None:
    wrong = ""
    match profile.type:
        case "Unconfined":
            wrong = "" if annotation == "unconfined" else "type"
        case "RuntimeDefault":
            allowed = _SECCOMP_DEFAULTS if kind == "seccomp" else ("runtime/default",)
            wrong = "" if annotation in allowed else "type"
        case "Localhost":
            if not annotation.startswith(_LOCALHOST):
                wrong = "type"
            elif annotation.removeprefix(_LOCALHOST) != profile.localhostProfile:
                wrong = "localhostProfile"
    if wrong:
        what = "type" if wrong == "type" else "profile"
        found.append(forbidden_field(f"{path}.{wrong}", f"{kind} {what} in annotation and field must match"))


def apparmor_of(annotation: str) -> Any:
    """The profile that an older annotation means; None for one that means nothing."""
    match annotation:
        case "runtime/default":
            return _AppArmorProfile(type="RuntimeDefault")
        case "unconfined":
            return _AppArmorProfile(type="Unconfined")
    file = annotation.removeprefix(_LOCALHOST)
    if file == annotation or not file.strip() or file != file.strip():
        return None
    return _AppArmorProfile(type="Localhost", localhostProfile=file)


def settle_apparmor(annotations: Mapping[str, str], spec: Any) -> None:
    """Writes profiles that a new pod gives by annotation into the fields, for kubelets read only those."""
    special = _special(annotations)
    if not special or (spec.os is not None and spec.os.name == "windows"):
        return
    of_pod = spec.securityContext.appArmorProfile if spec.securityContext is not None else None
    for container, _ in visit_containers(spec, ""):
        annotation, context = special.get(f"{APPARMOR}{container.name}"), container.securityContext
        if annotation is None or (context is not None and context.appArmorProfile is not None):
            continue
        profile = apparmor_of(annotation)
        if profile is not None and profile != of_pod:
            if context is None:
                context = container.securityContext = _SecurityContext()
            context.appArmorProfile = profile


def validate_annotation_updates(new: Any, old: Any, path: str, found: list[FieldError]) -> None:
    """Annotations of a pod that never change once it is there, and then those that it has."""
    after, before = new.metadata.annotations or {}, old.metadata.annotations or {}
    if after != before:
        for key, value in before.items():
            if after.get(key) == value:
                continue
            if key.startswith(APPARMOR):
                found.append(
                    forbidden_field(f"{path}[{key}]", "may not remove or update AppArmor annotations")
                )
            if key == MIRROR:
                found.append(
                    forbidden_field(f"{path}[{key}]", "may not remove or update mirror pod annotation")
                )
        for key in after:
            if key in before:
                continue
            if key.startswith(APPARMOR):
                found.append(forbidden_field(f"{path}[{key}]", "may not add AppArmor annotations"))
            if key == MIRROR:
                found.append(forbidden_field(f"{path}[{key}]", "may not add mirror pod annotation"))
    if after:
        validate_pod_annotations(after, new.spec, path, found)
