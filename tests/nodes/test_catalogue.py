from __future__ import annotations

import pytest

from lakh.machinery import quantity
from lakh.nodes.catalogue import CATALOGUE, InstanceType

DEVICES = {
    "trn2.48xlarge": ("aws.amazon.com/neuron", 16),
    "p5e.48xlarge": ("nvidia.com/gpu", 8),
    "p6-b200.48xlarge": ("nvidia.com/gpu", 8),
}


@pytest.mark.parametrize("instance", CATALOGUE.values(), ids=lambda i: i.name)
def test_a_type_makes_sense(instance: InstanceType) -> None:
    capacity, allocatable = instance.capacity(), instance.allocatable()
    assert capacity.keys() == allocatable.keys()
    for name in capacity:
        assert 0 <= quantity.parse(allocatable[name]) <= quantity.parse(capacity[name]), name
    assert instance.prefix == instance.prefix.lower() and "." not in instance.prefix


@pytest.mark.parametrize(("name", "device"), DEVICES.items())
def test_accelerators(name: str, device: tuple[str, int]) -> None:
    assert CATALOGUE[name].capacity()[device[0]] == str(device[1])


def test_prefixes_differ_so_that_fleets_of_different_types_do() -> None:
    assert len({i.prefix for i in CATALOGUE.values()}) == len(CATALOGUE)


@pytest.mark.parametrize("instance", CATALOGUE.values(), ids=lambda i: i.name)
def test_a_driver_takes_the_plugins_place(instance: InstanceType) -> None:
    """What the driver hands out is no resource of the node any more, and all else is as before."""
    with_driver = instance.with_driver()
    gone = instance.devices.keys() - with_driver.devices.keys()
    kind = instance.accelerator
    assert gone == (set() if kind is None else {kind.resource, kind.parts} - {None})
    if kind is not None:
        assert instance.devices[kind.resource] == kind.count
    assert with_driver.capacity() == {n: v for n, v in instance.capacity().items() if n not in gone}
