"""Pods: the kind that the cluster makes most of.

Default, prepare and validate run on every create and cost about 10 µs for a usual pod. What an update may change is little (images,
deadline, added tolerations, removed gates), so it is checked by comparing the rest as a whole.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import msgspec

from lakh.apis import structs
from lakh.apis.containers import quality_of_service, validate_image_spaces
from lakh.apis.core import pod_subresources
from lakh.apis.core.base import condition, declare, spec_field, status_field, text
from lakh.apis.core.pod_printing import pod_cells
from lakh.apis.core.pod_status import PodStatus, prepare_status, validate_status
from lakh.apis.meta import check_dns_label, same, spec_difference
from lakh.apis.placement import validate_tolerations
from lakh.apis.podannotations import (
    settle_apparmor,
    validate_annotation_updates,
    validate_pod_annotations,
    validate_profiles_match,
)
from lakh.apis.podspec_defaults import default_pod, mirror_service_account
from lakh.apis.podspec_known import KNOWN, fields_key
from lakh.apis.podspec_validation import MAX_INT32, validate_pod_spec
from lakh.apis.podspec_warnings import pod_spec_warnings, pod_warnings
from lakh.apis.registry import (
    AGE_COLUMN,
    CONNECT_VERBS,
    NAME_COLUMN,
    PROXY_VERBS,
    STATUS_VERBS,
    Column,
    Resource,
    Strategy,
    Subresource,
)
from lakh.machinery import names, times
from lakh.machinery.errors import (
    FieldError,
    forbidden_field,
    invalid_value,
    required,
)

_PodCondition = structs.core("PodCondition")
_Requirement = structs.meta("LabelSelectorRequirement")
_Affinity = structs.core("Affinity")

TERMINAL_PHASES = ("Failed", "Succeeded")
GATED_MESSAGE = "Scheduling is blocked due to non-empty scheduling gates"
UPDATABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def is_terminal(pod: Any) -> bool:
    """Whether a pod's containers have all ended for good."""
    return pod.status is not None and pod.status.phase in TERMINAL_PHASES


_SELECTABLE = {
    "spec.nodeName": spec_field("nodeName"),
    "spec.restartPolicy": spec_field("restartPolicy"),
    "spec.schedulerName": spec_field("schedulerName"),
    "spec.serviceAccountName": spec_field("serviceAccountName"),
    "spec.hostNetwork": lambda pod: text(pod.spec is not None and pod.spec.hostNetwork),
    "status.phase": status_field("phase"),
    "status.podIP": status_field("podIP"),
    "status.podIPs": status_field("podIP"),
    "status.nominatedNodeName": status_field("nominatedNodeName"),
}


class _SelectableMeta(msgspec.Struct, gc=False):
    name: str | None = None
    namespace: str | None = None


class _SelectableSpec(msgspec.Struct, gc=False):
    nodeName: str | None = None
    restartPolicy: str | None = None
    schedulerName: str | None = None
    serviceAccountName: str | None = None
    hostNetwork: bool | None = None


class _SelectableStatus(msgspec.Struct, gc=False):
    phase: str | None = None
    podIP: str | None = None
    nominatedNodeName: str | None = None


class _SelectableView(msgspec.Struct, gc=False):
    metadata: _SelectableMeta
    spec: _SelectableSpec | None = None
    status: _SelectableStatus | None = None


class _DeletableMeta(msgspec.Struct, gc=False):
    uid: str | None = None
    resourceVersion: str | None = None
    generation: int | None = None
    finalizers: list[str] | None = None
    deletionTimestamp: str | None = None
    deletionGracePeriodSeconds: int | None = None


class _DeletableSpec(msgspec.Struct, gc=False):
    nodeName: str | None = None
    terminationGracePeriodSeconds: int | None = None


class _DeletableStatus(msgspec.Struct, gc=False):
    phase: str | None = None


class _DeletableView(msgspec.Struct, gc=False):
    metadata: _DeletableMeta
    spec: _DeletableSpec
    status: _DeletableStatus | None = None


_ENDED = {
    phase: [{"type": "Completed", "status": "True", "reason": phase, "message": message}]
    for phase, message in (
        ("Succeeded", "The pod has completed successfully."),
        ("Failed", "The pod failed."),
    )
}


class PodStrategy(Strategy):
    """Pods."""

    has_status = True
    generation = True
    defaults_spec_alone = True
    resets: Mapping[str, tuple[str, ...]] = {
        "status": ("metadata.deletionTimestamp", "metadata.ownerReferences")
    }
    writes: Mapping[str, tuple[str, ...]] = {
        "ephemeralcontainers": ("spec.ephemeralContainers",),
        "resize": (
            "spec.containers.*.resources",
            "spec.containers.*.resizePolicy",
            "spec.initContainers.*.resources",
            "spec.initContainers.*.resizePolicy",
        ),
    }
    columns = (
        NAME_COLUMN,
        Column("Ready", description="The aggregate readiness state of this pod for accepting traffic."),
        Column("Status", description="The aggregate status of the containers in this pod."),
        Column(
            "Restarts",
            description="The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
        ),
        AGE_COLUMN,
        Column("IP", priority=1, description="The first address of this pod."),
        Column("Node", priority=1, description="The node that this pod is assigned to."),
        Column(
            "Nominated Node",
            priority=1,
            description="The node on which this pod is to take the place of others.",
        ),
        Column(
            "Readiness Gates", priority=1, description="How many of this pod's readiness gates are passed."
        ),
    )
    selectable_fields = _SELECTABLE
    selectable_view = _SelectableView
    deletable_view = _DeletableView

    def default(self, obj: Any) -> None:
        """Upstream's SetDefaults_Pod."""
        default_pod(obj)

    def prepare_for_create(self, obj: Any) -> None:
        """A new pod is Pending, of a quality of service, and gated when it has gates."""
        spec = obj.spec
        mirror_service_account(spec)
        obj.metadata.generation = 1
        status = obj.status = PodStatus(phase="Pending", qosClass=quality_of_service(spec))
        if spec.schedulingGates:
            status.conditions = [
                _PodCondition(
                    type="PodScheduled",
                    status="False",
                    reason="SchedulingGated",
                    message=GATED_MESSAGE,
                    lastTransitionTime=times.now(),
                )
            ]
        if spec.affinity is not None or spec.topologySpreadConstraints:
            _merge_match_label_keys(obj)
        if obj.metadata.annotations:
            settle_apparmor(obj.metadata.annotations, spec)

    def validate(self, obj: Any) -> list[FieldError]:
        """A new pod (`ValidatePodCreate`)."""
        spec, metadata = obj.spec, obj.metadata
        found = validate_pod(obj)
        if spec.ephemeralContainers:
            found.append(forbidden_field("spec.ephemeralContainers", "cannot be set on create"))
        if spec.schedulingGates and spec.nodeName:
            found.append(
                forbidden_field("spec.nodeName", "cannot be set until all schedulingGates have been cleared")
            )
        if metadata.annotations:
            validate_profiles_match(metadata.annotations, spec, "spec", found)
        return found

    def prepare_for_update(self, new: Any, old: Any) -> None:
        """Status stays, and the generation counts changes of spec."""
        mirror_service_account(new.spec)
        super().prepare_for_update(new, old)

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """Images, deadline, tolerations and gates may change within bounds, the rest of spec may not (`ValidatePodUpdate`)."""
        changed = new.spec != old.spec
        found = validate_pod(new) if changed else []
        if new.metadata.annotations or old.metadata.annotations:
            validate_annotation_updates(new, old, "metadata.annotations", found)
        if changed:
            found += validate_pod_spec_update(new.spec, old.spec)
        return found

    def prepare_for_status_update(self, new: Any, old: Any) -> None:
        """Owners and deletion are not a kubelet's to change; the first address is in both fields for addresses."""
        super().prepare_for_status_update(new, old)
        new.metadata.ownerReferences = old.metadata.ownerReferences
        new.metadata.deletionTimestamp = old.metadata.deletionTimestamp
        prepare_status(new, old)

    def prepare_for_subresource(self, new: Any, old: Any, subresource: str) -> None:
        """Ephemeral containers, and the resources of containers."""
        pod_subresources.prepare(new, old, subresource)

    def validate_subresource(self, new: Any, old: Any, subresource: str) -> list[FieldError]:
        """Ephemeral containers are only added; a resize changes processors and memory."""
        return pod_subresources.validate(new, old, subresource)

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Addresses, and containers that ended for good stay ended."""
        return validate_status(new, old)

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """What is legal and most likely a mistake, in a new pod."""
        return pod_warnings(obj) if old is None else []

    def fields_key(self, obj: Any) -> bytes | None:
        """Pods of one template have the same fields."""
        return fields_key(obj.spec)

    def grace_period_seconds(self, obj: Any, requested: int | None) -> int:
        """What the client or the pod asks for; nothing to wait for when no node has it or it has finished."""
        spec = obj.spec
        if not spec.nodeName or is_terminal(obj):
            return 0
        period: int = requested if requested is not None else spec.terminationGracePeriodSeconds or 0
        return 1 if period < 0 else period

    def terms(self, obj: Any) -> tuple[str, ...]:
        """Kubelets watch the pods of their node."""
        node = obj.spec.nodeName
        return (f"spec.nodeName={node}",) if node else ()

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get pods -o wide` shows it."""
        return pod_cells(obj, now)

    def row_conditions(self, obj: Any) -> list[dict[str, str]]:
        """Pods that have ended."""
        return _ENDED.get(obj.status.phase, []) if obj.status is not None else []


def _merge_match_label_keys(pod: Any) -> None:
    """Writes (mis)matchLabelKeys of affinity between pods and of spreading into the selectors, with the new pod's own labels."""
    spec, labels = pod.spec, pod.metadata.labels
    if not labels:
        return
    affinity = spec.affinity
    for part in (affinity.podAffinity, affinity.podAntiAffinity) if affinity is not None else ():
        if part is None:
            continue
        for weighted in part.preferredDuringSchedulingIgnoredDuringExecution or ():
            term = weighted.podAffinityTerm
            if term is not None:
                _merge_keys(term, term.matchLabelKeys, term.mismatchLabelKeys, labels)
        for term in part.requiredDuringSchedulingIgnoredDuringExecution or ():
            _merge_keys(term, term.matchLabelKeys, term.mismatchLabelKeys, labels)
    for constraint in spec.topologySpreadConstraints or ():
        _merge_keys(constraint, constraint.matchLabelKeys, None, labels)


def _merge_keys(
    term: Any, match: list[str] | None, mismatch: list[str] | None, labels: dict[str, str]
) -> None:
    selector = term.labelSelector
    if selector is None:
        return
    for keys, operator in ((match, "In"), (mismatch, "NotIn")):
        for key in keys or ():
            if key in labels:
                selector.matchExpressions = [
                    *(selector.matchExpressions or ()),
                    _Requirement(key=key, operator=operator, values=[labels[key]]),
                ]


def validate_pod(pod: Any) -> list[FieldError]:
    """What holds of a pod at any time (`validatePodMetadataAndSpec`)."""
    spec, metadata = pod.spec, pod.metadata
    found: list[FieldError] = []
    if metadata.annotations:
        validate_pod_annotations(metadata.annotations, spec, "metadata.annotations", found)
    key = KNOWN.key(spec)
    if key in KNOWN and not (spec.hostname and check_dns_label(spec.hostname)):
        KNOWN.newest = spec
        return found
    before = len(found)
    found += validate_pod_spec(spec, "spec", pod_name=metadata.name)
    validate_image_spaces(spec.containers or (), "spec.containers", found)
    if spec.initContainers:
        validate_image_spaces(spec.initContainers, "spec.initContainers", found)
    if key is not None and len(found) == before and not pod_spec_warnings(spec, "spec"):
        KNOWN.add(key)
        KNOWN.newest = spec
    return found


def validate_pod_spec_update(new: Any, old: Any) -> list[FieldError]:
    """What an update of a pod's spec may not do."""
    found: list[FieldError] = []
    for name in ("containers", "initContainers"):
        after, before = getattr(new, name) or (), getattr(old, name) or ()
        if len(after) != len(before):
            found.append(forbidden_field(f"spec.{name}", "pod updates may not add or remove containers"))
            return found
        for index, container in enumerate(after):
            if not container.image:
                found.append(required(f"spec.{name}[{index}].image"))
            elif container.image != container.image.strip():
                found.append(
                    invalid_value(
                        f"spec.{name}[{index}].image",
                        container.image,
                        "must not have leading or trailing whitespace",
                    )
                )
    if not _validate_deadline(new.activeDeadlineSeconds, old.activeDeadlineSeconds, found):
        return found
    if new.tolerations != old.tolerations:
        _validate_added_tolerations(new.tolerations or [], old.tolerations or [], found)
    kept = {gate.name for gate in old.schedulingGates or ()}
    for index, gate in enumerate(new.schedulingGates or ()):
        if gate.name not in kept:
            found.append(
                forbidden_field(
                    f"spec.schedulingGates[{index}].name",
                    f"only deletion is allowed, but found new scheduling gate '{gate.name}'",
                )
            )
    munged = _munge(new, old, found)
    if not same(munged, old):
        found.append(
            forbidden_field(
                "spec",
                f"pod updates may not change fields other than {UPDATABLE}\n{spec_difference(munged, old)}",
            )
        )
    return found


def _validate_deadline(after: int | None, before: int | None, found: list[FieldError]) -> bool:
    if after is None:
        if before is not None:
            found.append(
                invalid_value(
                    "spec.activeDeadlineSeconds",
                    None,
                    "must not update from a positive integer to nil value",
                )
            )
        return True
    if not 0 <= after <= MAX_INT32:
        found.append(invalid_value("spec.activeDeadlineSeconds", after, names.range_message(0, MAX_INT32)))
        return False
    if before is not None and before < after:
        found.append(
            invalid_value("spec.activeDeadlineSeconds", after, "must be less than or equal to previous value")
        )
        return False
    return True


def _validate_added_tolerations(after: list[Any], before: list[Any], found: list[FieldError]) -> None:
    kept = [(t.key or "", t.operator or "", t.value or "", t.effect or "") for t in after]
    for old in before:
        if (old.key or "", old.operator or "", old.value or "", old.effect or "") not in kept:
            found.append(
                forbidden_field(
                    "spec.tolerations",
                    "existing toleration can not be modified except its tolerationSeconds",
                )
            )
            return
    validate_tolerations(after, "spec.tolerations", found)


def _munge(new: Any, old: Any, found: list[FieldError]) -> Any:
    """`new` with everything taken from `old` that an update may change."""
    munged = copy.copy(new)
    for name in ("containers", "initContainers"):
        containers = getattr(new, name)
        if containers:
            images = [copy.copy(container) for container in containers]
            for container, before in zip(images, getattr(old, name), strict=True):
                container.image = before.image
            setattr(munged, name, images)
        else:
            setattr(munged, name, getattr(old, name))
    munged.activeDeadlineSeconds = old.activeDeadlineSeconds
    munged.tolerations = old.tolerations
    munged.schedulingGates = old.schedulingGates
    if (old.terminationGracePeriodSeconds or 0) < 0 and new.terminationGracePeriodSeconds == 1:
        munged.terminationGracePeriodSeconds = old.terminationGracePeriodSeconds
    if old.schedulingGates:
        # A gated pod's placement may still be narrowed.
        _munge_placement(munged, old, found)
    return munged


def _munge_placement(munged: Any, old: Any, found: list[FieldError]) -> None:
    before, after = old.nodeSelector or {}, munged.nodeSelector or {}
    if not before.items() <= after.items():
        found.append(
            invalid_value(
                "spec.nodeSelector",
                after,
                "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
            )
        )
    munged.nodeSelector = old.nodeSelector
    was = old.affinity.nodeAffinity if old.affinity is not None else None
    now = munged.affinity.nodeAffinity if munged.affinity is not None else None
    if same(now, was):
        return
    _validate_narrowed_affinity(now, was, found)
    others = munged.affinity or _Affinity()
    if old.affinity is None and others.podAffinity is None and others.podAntiAffinity is None:
        munged.affinity = None
    else:
        munged.affinity = _Affinity(
            nodeAffinity=was, podAffinity=others.podAffinity, podAntiAffinity=others.podAntiAffinity
        )


def _validate_narrowed_affinity(now: Any, was: Any, found: list[FieldError]) -> None:
    """What a pod's node affinity requires is only added to, within each term."""
    path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"

    def terms(affinity: Any) -> list[Any]:
        required = affinity and affinity.requiredDuringSchedulingIgnoredDuringExecution
        return (required and required.nodeSelectorTerms) or []

    before, after = terms(was), terms(now)
    if not before:
        return
    if len(before) != len(after):
        found.append(
            invalid_value(
                path, after, "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
            )
        )
        return
    for index, (new, old) in enumerate(zip(after, before, strict=True)):
        if not _has_only_additions(new, old):
            found.append(
                invalid_value(
                    f"{path}[{index}]", new, "only additions are allowed (no mutations or deletions)"
                )
            )


def _has_only_additions(new: Any, old: Any) -> bool:
    parts = [
        (getattr(new, name) or [], getattr(old, name) or []) for name in ("matchExpressions", "matchFields")
    ]
    if not any(before for _, before in parts):
        # A term without requirements matches nothing, and is to go on doing so.
        return not any(after for after, _ in parts)
    return all(same(after[: len(before)], before) for after, before in parts)


def is_ready(pod: Any) -> bool:
    """Whether the Ready condition is true."""
    ready = condition(pod.status and pod.status.conditions, "Ready")
    return ready is not None and ready.status == "True"


RESOURCES: tuple[Resource, ...] = (
    declare(
        "pods",
        "Pod",
        PodStrategy(),
        short_names=("po",),
        categories=("all",),
        partition="pods",
        subresources={
            "attach": Subresource("PodAttachOptions", CONNECT_VERBS),
            "binding": Subresource("Binding", ("create",)),
            "ephemeralcontainers": Subresource("Pod", STATUS_VERBS),
            "eviction": Subresource("Eviction", ("create",), "policy", "v1"),
            "exec": Subresource("PodExecOptions", CONNECT_VERBS),
            "log": Subresource("Pod", ("get",)),
            "portforward": Subresource("PodPortForwardOptions", CONNECT_VERBS),
            "proxy": Subresource("PodProxyOptions", PROXY_VERBS),
            "resize": Subresource("Pod", STATUS_VERBS),
        },
    ),
)
