"""Instance types: what a simulated node has.

Figures from the vendors' public specifications. `allocatable` is less than `capacity` by what a kubelet keeps for itself and the system.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Accelerator:
    """A node's accelerators as devices: their DRA driver, what one is called and what it has. A device plugin offers them as `resource`, and in
    `parts`."""

    driver: str
    device: str
    product: str
    count: int
    cores: int
    memory_gib: int
    resource: str
    parts: str | None = None


@dataclass(frozen=True)
class InstanceType:
    """One type. `devices` are extended resources, name → count; `labels` come on top of the usual ones."""

    name: str
    vcpus: int
    memory_gib: int
    storage_gib: int
    architecture: str = "amd64"
    devices: dict[str, int] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    accelerator: Accelerator | None = None

    @property
    def prefix(self) -> str:
        """What names of such nodes begin with: `trn2` for trn2.48xlarge."""
        return self.name.split(".")[0].replace("_", "-")

    def with_driver(self) -> InstanceType:
        """The type with a DRA driver in the place of the accelerators' device plugin: a chip is handed out by one of them only."""
        kind = self.accelerator
        if kind is None:
            return self
        left = {name: n for name, n in self.devices.items() if name not in (kind.resource, kind.parts)}
        return replace(self, devices=left)

    def capacity(self) -> dict[str, str]:
        """`status.capacity`."""
        return {
            "cpu": str(self.vcpus),
            "memory": f"{self.memory_gib}Gi",
            "ephemeral-storage": f"{self.storage_gib}Gi",
            "hugepages-2Mi": "0",
            "pods": str(PODS),
            **{name: str(count) for name, count in self.devices.items()},
        }

    def allocatable(self) -> dict[str, str]:
        """`status.allocatable`."""
        return {
            **self.capacity(),
            "cpu": f"{self.vcpus * 1000 - RESERVED_CPU_MILLI}m",
            "memory": f"{self.memory_gib - RESERVED_MEMORY_GIB}Gi",
        }


# kubelet's --max-pods default, and what it keeps back here.
PODS = 110
RESERVED_CPU_MILLI = 250
RESERVED_MEMORY_GIB = 4

_TYPES = (
    # 16 Trainium2 of 8 NeuronCores each.
    InstanceType(
        "trn2.48xlarge",
        192,
        2048,
        7600,
        devices={"aws.amazon.com/neuron": 16, "aws.amazon.com/neuroncore": 128},
        labels={"node.lakh.dev/accelerator": "trainium2"},
        accelerator=Accelerator(
            "neuron.aws.com",
            "neuron",
            "trainium2",
            16,
            8,
            96,
            "aws.amazon.com/neuron",
            "aws.amazon.com/neuroncore",
        ),
    ),
    InstanceType(
        "p5e.48xlarge",
        192,
        2048,
        30400,
        devices={"nvidia.com/gpu": 8, "vpc.amazonaws.com/efa": 32},
        labels={"nvidia.com/gpu.product": "NVIDIA-H200", "nvidia.com/gpu.count": "8"},
        accelerator=Accelerator("gpu.nvidia.com", "gpu", "NVIDIA-H200", 8, 132, 141, "nvidia.com/gpu"),
    ),
    InstanceType(
        "p6-b200.48xlarge",
        192,
        2048,
        30400,
        devices={"nvidia.com/gpu": 8, "vpc.amazonaws.com/efa": 8},
        labels={"nvidia.com/gpu.product": "NVIDIA-B200", "nvidia.com/gpu.count": "8"},
        accelerator=Accelerator("gpu.nvidia.com", "gpu", "NVIDIA-B200", 8, 148, 180, "nvidia.com/gpu"),
    ),
    InstanceType("c8g.48xlarge", 192, 384, 500, architecture="arm64"),
)

CATALOGUE = {t.name: t for t in _TYPES}
