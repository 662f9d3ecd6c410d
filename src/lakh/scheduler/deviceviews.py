"""Narrow views of resource.k8s.io/v1: what allocating devices looks at. What devices say of themselves stays bytes until somebody asks."""

from __future__ import annotations

import msgspec

from lakh.machinery.volumes import Meta, Quantity

from .views import NodeSelector

__all__ = [
    "AllocatedDevice",
    "Allocation",
    "ClaimSpec",
    "ClaimView",
    "Consumer",
    "Device",
    "DeviceClassView",
    "DeviceRequest",
    "ExactRequest",
    "SliceSpec",
    "SliceView",
]

NOTHING = msgspec.Raw()


class _Struct(msgspec.Struct, gc=False, omit_defaults=True):
    pass


class Pool(_Struct):
    """ResourcePool."""

    name: str = ""
    generation: int = 0
    resourceSliceCount: int = 1


class Attribute(_Struct):
    """DeviceAttribute: one of these."""

    integer: int | None = msgspec.field(name="int", default=None)
    boolean: bool | None = msgspec.field(name="bool", default=None)
    string: str | None = None
    version: str | None = None


class PolicyRange(_Struct):
    """CapacityRequestPolicyRange."""

    min: Quantity | None = None
    max: Quantity | None = None
    step: Quantity | None = None


class RequestPolicy(_Struct):
    """CapacityRequestPolicy."""

    default: Quantity | None = None
    validRange: PolicyRange | None = None
    validValues: list[Quantity] | None = None


class Capacity(_Struct):
    """DeviceCapacity."""

    value: Quantity = 0
    requestPolicy: RequestPolicy | None = None


class DeviceTaint(_Struct):
    """DeviceTaint."""

    key: str = ""
    value: str | None = None
    effect: str = ""


class CounterUse(_Struct):
    """DeviceCounterConsumption and CounterSet."""

    counterSet: str = ""
    name: str = ""
    counters: dict[str, Capacity] | None = None


class Device(_Struct):
    """Device."""

    name: str = ""
    attributes: dict[str, Attribute] | None = None
    capacity: dict[str, Capacity] | None = None
    taints: list[DeviceTaint] | None = None
    consumesCounters: list[CounterUse] | None = None
    nodeName: str | None = None
    nodeSelector: NodeSelector | None = None
    allNodes: bool | None = None
    allowMultipleAllocations: bool | None = None
    bindsToNode: bool | None = None
    bindingConditions: list[str] | None = None
    bindingFailureConditions: list[str] | None = None


class SliceSpec(_Struct):
    """ResourceSliceSpec."""

    driver: str = ""
    pool: Pool = msgspec.field(default_factory=Pool)
    nodeName: str | None = None
    nodeSelector: NodeSelector | None = None
    allNodes: bool | None = None
    perDeviceNodeSelection: bool | None = None
    devices: msgspec.Raw = NOTHING
    sharedCounters: msgspec.Raw = NOTHING


class SliceView(_Struct):
    """ResourceSlice."""

    metadata: Meta
    spec: SliceSpec = msgspec.field(default_factory=SliceSpec)


class CELSelector(_Struct):
    """CELDeviceSelector."""

    expression: str = ""


class Selector(_Struct):
    """DeviceSelector."""

    cel: CELSelector | None = None


class DeviceToleration(_Struct):
    """DeviceToleration."""

    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None


class CapacityRequest(_Struct):
    """CapacityRequirements."""

    requests: dict[str, Quantity] | None = None


class ExactRequest(_Struct):
    """ExactDeviceRequest and DeviceSubRequest."""

    name: str = ""
    deviceClassName: str = ""
    selectors: list[Selector] | None = None
    allocationMode: str | None = None
    count: int | None = None
    adminAccess: bool | None = None
    tolerations: list[DeviceToleration] | None = None
    capacity: CapacityRequest | None = None


class DeviceRequest(_Struct):
    """DeviceRequest."""

    name: str = ""
    exactly: ExactRequest | None = None
    firstAvailable: list[ExactRequest] | None = None


class DeviceConstraint(_Struct):
    """DeviceConstraint."""

    requests: list[str] | None = None
    matchAttribute: str | None = None
    distinctAttribute: str | None = None


class DeviceClaim(_Struct):
    """DeviceClaim."""

    requests: list[DeviceRequest] | None = None
    constraints: list[DeviceConstraint] | None = None
    config: list[msgspec.Raw] | None = None


class ClaimSpec(_Struct):
    """ResourceClaimSpec."""

    devices: DeviceClaim = msgspec.field(default_factory=DeviceClaim)


class AllocatedDevice(_Struct):
    """DeviceRequestAllocationResult."""

    request: str = ""
    driver: str = ""
    pool: str = ""
    device: str = ""
    adminAccess: bool | None = None
    tolerations: list[DeviceToleration] | None = None
    bindingConditions: list[str] | None = None
    bindingFailureConditions: list[str] | None = None
    shareID: str | None = None
    consumedCapacity: dict[str, Quantity] | None = None


class AllocatedDevices(_Struct):
    """DeviceAllocationResult."""

    results: list[AllocatedDevice] | None = None


class Allocation(_Struct):
    """AllocationResult."""

    devices: AllocatedDevices = msgspec.field(default_factory=AllocatedDevices)
    nodeSelector: NodeSelector | None = None
    allocationTimestamp: str | None = None


class Consumer(_Struct):
    """ResourceClaimConsumerReference."""

    uid: str = ""
    name: str = ""
    resource: str = ""


class DeviceCondition(_Struct):
    """metav1 Condition."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class DeviceStatus(_Struct):
    """AllocatedDeviceStatus: what a driver says of an allocated device."""

    driver: str = ""
    pool: str = ""
    device: str = ""
    shareID: str | None = None
    conditions: list[DeviceCondition] | None = None


class ClaimStatus(_Struct):
    """ResourceClaimStatus."""

    allocation: Allocation | None = None
    reservedFor: list[Consumer] | None = None
    devices: list[DeviceStatus] | None = None


class Owner(_Struct):
    """metav1 OwnerReference."""

    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


class ClaimMeta(_Struct):
    """metav1 ObjectMeta."""

    name: str = ""
    namespace: str | None = None
    uid: str = ""
    resourceVersion: str | None = None
    deletionTimestamp: str | None = None
    annotations: dict[str, str] | None = None
    finalizers: list[str] | None = None
    ownerReferences: list[Owner] | None = None


class ClaimView(_Struct):
    """ResourceClaim: the spec stays bytes, by which equal claims find each other."""

    metadata: ClaimMeta
    spec: msgspec.Raw
    status: ClaimStatus = msgspec.field(default_factory=ClaimStatus)

    @property
    def key(self) -> str:
        """Namespace and name."""
        return f"{self.metadata.namespace}/{self.metadata.name}"


class ClassSpec(_Struct):
    """DeviceClassSpec."""

    selectors: list[Selector] | None = None
    config: list[msgspec.Raw] | None = None
    extendedResourceName: str | None = None


class ClassMeta(_Struct):
    """metav1 ObjectMeta."""

    name: str = ""
    namespace: str | None = None
    uid: str = ""
    resourceVersion: str | None = None
    creationTimestamp: str | None = None


class DeviceClassView(_Struct):
    """DeviceClass."""

    metadata: ClassMeta
    spec: ClassSpec = msgspec.field(default_factory=ClassSpec)
