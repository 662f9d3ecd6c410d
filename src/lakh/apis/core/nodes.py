"""Nodes."""

from __future__ import annotations

from typing import Any

import msgspec

from lakh.apis import structs
from lakh.apis.core.base import condition, declare, text
from lakh.apis.definitions import schema
from lakh.apis.groups.printing import NONE, UNKNOWN, age
from lakh.apis.meta import check_label_key, check_label_value, report
from lakh.apis.placement import TAINT_EFFECTS
from lakh.apis.registry import (
    AGE_COLUMN,
    NAME_COLUMN,
    PROXY_VERBS,
    Column,
    Resource,
    Strategy,
    Subresource,
)
from lakh.apis.resourcelists import canonicalise, check_amount
from lakh.machinery import addresses
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
    show,
)
from lakh.machinery.fieldset import EMPTY
from lakh.machinery.shapes import shape_of
from lakh.machinery.shortcache import short_cache

_NodeSpec = structs.core("NodeSpec")
_NodeStatus = structs.core("NodeStatus")
_NodeSystemInfo = structs.core("NodeSystemInfo")
_NodeDaemonEndpoints, _DaemonEndpoint = structs.core("NodeDaemonEndpoints"), structs.core("DaemonEndpoint")

_CONDITIONS = shape_of(schema().node("io.k8s.api.core.v1.NodeStatus").field("conditions"))
# Sets of conditions: those of kubelets and of what detects problems of nodes. And how many are in one at most.
HEARTBEAT_CACHE_ENTRIES = 256
HEARTBEAT_MAX_CONDITIONS = 32
_encode = msgspec.json.Encoder().encode

_UNREPORTED = {name: "" for name in _NodeSystemInfo.__struct_fields__ if name != "swap"}

ROLE_PREFIX = "node-role.kubernetes.io/"
ROLE_LABEL = "kubernetes.io/role"


_SELECTABLE = {"spec.unschedulable": lambda node: text(node.spec and node.spec.unschedulable)}


class NodeStrategy(Strategy):
    """Nodes. A kubelet may give status with the create."""

    has_status = True
    columns = (
        NAME_COLUMN,
        Column("Status", description="The status of the node"),
        Column("Roles", description="The roles of the node"),
        AGE_COLUMN,
        Column("Version", description="Kubelet Version reported by the node."),
        Column("Internal-IP", priority=1, description="The node's first internal address."),
        Column("External-IP", priority=1, description="The node's first external address."),
        Column("OS-Image", priority=1, description="OS Image reported by the node."),
        Column("Kernel-Version", priority=1, description="Kernel Version reported by the node."),
        Column(
            "Container-Runtime", priority=1, description="Container runtime and version reported by the node."
        ),
    )
    selectable_fields = _SELECTABLE

    def default(self, obj: Any) -> None:
        """Allocatable is capacity unless given. What upstream shows of a node that no kubelet has reported is there, and empty."""
        if obj.spec is None:
            obj.spec = _NodeSpec()
        if obj.spec.unschedulable is False:
            obj.spec.unschedulable = None
        if obj.spec.podCIDR and not obj.spec.podCIDRs:
            obj.spec.podCIDRs = [obj.spec.podCIDR]
        status = obj.status
        if status is None:
            status = obj.status = _NodeStatus()
        if status.nodeInfo is None:
            status.nodeInfo = _NodeSystemInfo(**_UNREPORTED)
        if status.daemonEndpoints is None:
            status.daemonEndpoints = _NodeDaemonEndpoints()
        if status.daemonEndpoints.kubeletEndpoint is None:
            status.daemonEndpoints.kubeletEndpoint = _DaemonEndpoint(Port=0)
        if status.capacity:
            canonicalise(status.capacity)
            if status.allocatable is None:
                status.allocatable = dict(status.capacity)
        if status.allocatable:
            canonicalise(status.allocatable)

    def prepare_for_create(self, obj: Any) -> None:
        """Everything may be set on create, status too, but for the sources of configuration that kubelets no longer have."""
        _drop_configuration(obj, None)

    def prepare_for_update(self, new: Any, old: Any) -> None:
        """Status stays."""
        super().prepare_for_update(new, old)
        _drop_configuration(new, old)

    def prepare_for_status_update(self, new: Any, old: Any) -> None:
        """Spec stays."""
        super().prepare_for_status_update(new, old)
        _drop_configuration(new, old)

    def validate(self, obj: Any) -> list[FieldError]:
        """Taints, and addresses of pods (`ValidateNode`)."""
        found: list[FieldError] = []
        spec = obj.spec
        if spec.taints:
            # Upstream's path.
            validate_taints(spec.taints, "metadata.taints", found)
        if obj.status is not None:
            _validate_amounts(obj.status, found, None)
        if spec.podCIDRs:
            _validate_networks(spec.podCIDRs, found)
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """Pod addresses and the provider's id are set once (`ValidateNodeUpdate`)."""
        found: list[FieldError] = []
        if new.spec == old.spec:
            return found
        before = old.spec or _NodeSpec()
        was, now = before.podCIDRs or [], new.spec.podCIDRs or []
        if was:
            changed = forbidden_field(
                "spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid'
            )
            if len(was) != len(now):
                found.append(changed)
            else:
                found += [changed for a, b in zip(was, now, strict=True) if a != b]
        if before.providerID and new.spec.providerID != before.providerID:
            found.append(
                forbidden_field(
                    "spec.providerID", 'node updates may not change providerID except from "" to valid'
                )
            )
        if new.spec.taints:
            validate_taints(new.spec.taints, "metadata.taints", found)
        if (new.spec.externalID or "") != (before.externalID or ""):
            found.append(forbidden_field("spec.externalID", "may not be updated"))
        return found

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Amounts are quantities, addresses are not there twice."""
        found: list[FieldError] = []
        status = new.status
        if status is None:
            return found
        _validate_amounts(status, found, old.status)
        if not _duplicate_addresses(status):
            return found
        seen: set[tuple[str, str]] = set()
        for index, address in enumerate(status.addresses):
            key = (address.type, address.address)
            if key in seen:
                shown = {"Type": address.type or "", "Address": address.address or ""}
                found.append(duplicate(f"status.addresses[{index}]", shown))
            seen.add(key)
        return found

    def heartbeat(self, new: Any, old: Any) -> bytes:
        """Kubelets say every five minutes that all is as it was, in `lastHeartbeatTime` of the conditions."""
        status, before = new.status, old.status
        if status is None or before is None or status is before or new.spec != old.spec:
            return b""
        conditions, known = status.conditions, before.conditions
        if not conditions or not known or not len(known) == len(conditions) <= HEARTBEAT_MAX_CONDITIONS:
            return b""
        status.conditions = known
        same = status == before
        status.conditions = conditions
        # Addresses that are there twice are stored with a new node, and refused from then on.
        if not same or _duplicate_addresses(status):
            return b""
        heard: list[str] = []
        for heartbeat, was in zip(conditions, known, strict=True):
            time, earlier = heartbeat.lastHeartbeatTime, was.lastHeartbeatTime
            if time == earlier:
                if heartbeat != was:
                    return b""
                continue
            heartbeat.lastHeartbeatTime = earlier
            same = heartbeat == was
            heartbeat.lastHeartbeatTime = time
            if not same or time is None or earlier is None:
                return b""
            heard.append(heartbeat.type)
        types = {c.type for c in conditions}
        if not heard or len(types) < len(conditions) or None in types:
            return b""
        return heartbeat_fields(*heard)

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """Fields without effect; networks of pods in their usual form."""
        spec = obj.spec
        found = [
            f"spec.{name}: {text}"
            for name, text in _WITHOUT_EFFECT
            if spec is not None and getattr(spec, name)
        ]
        if old is None or (old.spec is not None and spec.podCIDRs != old.spec.podCIDRs):
            for index, network in enumerate(spec.podCIDRs or ()):
                found += addresses.cidr_warnings(network, f"spec.podCIDRs[{index}]")
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get nodes -o wide` shows it."""
        status = obj.status or _NodeStatus()
        info = status.nodeInfo
        ready = condition(status.conditions, "Ready")
        words = ["Unknown" if ready is None else "Ready" if ready.status == "True" else "NotReady"]
        if obj.spec is not None and obj.spec.unschedulable:
            words.append("SchedulingDisabled")
        return [
            obj.metadata.name,
            ",".join(words),
            ",".join(node_roles(obj.metadata.labels)) or NONE,
            age(obj, now),
            (info and info.kubeletVersion) or "",
            _address(status, "InternalIP"),
            _address(status, "ExternalIP"),
            (info and info.osImage) or UNKNOWN,
            (info and info.kernelVersion) or UNKNOWN,
            (info and info.containerRuntimeVersion) or UNKNOWN,
        ]


def node_roles(labels: dict[str, str] | None) -> list[str]:
    """The roles that a node's labels give it, sorted."""
    roles: set[str] = set()
    for key, value in (labels or {}).items():
        if key.startswith(ROLE_PREFIX) and len(key) > len(ROLE_PREFIX):
            roles.add(key[len(ROLE_PREFIX) :])
        elif key == ROLE_LABEL and value:
            roles.add(value)
    return sorted(roles)


def _address(status: Any, kind: str) -> str:
    for address in status.addresses or ():
        if address.type == kind:
            return address.address or ""
    return NONE


_WITHOUT_EFFECT = (
    ("configSource", "the feature is no longer supported"),
    ("externalID", "this field is deprecated, and is unused by Kubernetes"),
)


def _drop_configuration(new: Any, old: Any) -> None:
    """Dynamic configuration of kubelets is gone: only what an old node has of it stays."""
    for part, name in (("spec", "configSource"), ("status", "config")):
        after, before = getattr(new, part), getattr(old, part) if old is not None else None
        if after is not None and (before is None or getattr(before, name) is None):
            setattr(after, name, None)


def _duplicate_addresses(status: Any) -> bool:
    addresses = status.addresses
    return bool(addresses) and len({(a.type, a.address) for a in addresses}) < len(addresses)


@short_cache(HEARTBEAT_CACHE_ENTRIES)
def heartbeat_fields(*types: str) -> bytes:
    """The fields that a heartbeat of these conditions changed."""
    heartbeat = {"f:lastHeartbeatTime": EMPTY}
    return _encode({"f:conditions": {_CONDITIONS.item_key({"type": kind}): heartbeat for kind in types}})


def _validate_networks(networks: list[str], found: list[FieldError]) -> None:
    for index, network in enumerate(networks):
        report(addresses.cidr(network), f"spec.podCIDRs[{index}]", network, found)
    if len(networks) < 2:
        return
    if len(networks) > 2 or not addresses.are_dual_stack(networks):
        found.append(
            invalid_value("spec.podCIDRs", networks, "may specify no more than one CIDR for each IP family")
        )
    for index, network in enumerate(networks):
        if network in networks[:index]:
            found.append(duplicate(f"spec.podCIDRs[{index}]", network))


def _validate_amounts(status: Any, found: list[FieldError], stored: Any) -> None:
    """Of what is stored already, nothing is looked at again."""
    for side in ("capacity", "allocatable"):
        if stored is not None and getattr(status, side) == getattr(stored, side):
            continue
        for name, value in (getattr(status, side) or {}).items():
            messages = check_amount(name, value)
            if messages:
                report(messages, f"status.{side}.{name}", value, found)


def validate_taints(taints: list[Any], path: str, found: list[FieldError]) -> None:
    """Taints of a node: unique by key and effect."""
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        where = f"{path}[{index}]"
        key, value, effect = taint.key or "", taint.value or "", taint.effect or ""
        report(check_label_key(key), f"{where}.key", key, found)
        messages = check_label_value(value)
        if messages:
            found.append(invalid_value(f"{where}.value", value, ";".join(messages)))
        if not effect:
            found.append(required(f"{where}.effect"))
        elif effect not in TAINT_EFFECTS:
            found.append(not_supported(f"{where}.effect", effect, TAINT_EFFECTS, as_given=True))
        if (key, effect) in seen:
            shown = {"Key": key, "Value": value, "Effect": effect, "TimeAdded": taint.timeAdded}
            found.append(
                FieldError(
                    "FieldValueDuplicate",
                    where,
                    f"Duplicate value: {show(shown)}: taints must be unique by key and effect pair",
                )
            )
        seen.add((key, effect))


RESOURCES: tuple[Resource, ...] = (
    declare(
        "nodes",
        "Node",
        NodeStrategy(),
        namespaced=False,
        short_names=("no",),
        partition="nodes",
        subresources={"proxy": Subresource("NodeProxyOptions", PROXY_VERBS)},
    ),
)
