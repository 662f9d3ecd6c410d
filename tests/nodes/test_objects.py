from __future__ import annotations

import ipaddress
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.nodes import objects
from lakh.nodes.catalogue import CATALOGUE

TRN2 = CATALOGUE["trn2.48xlarge"]
SERVICES = ipaddress.ip_network("10.96.0.0/12")
NOW = "2026-01-02T03:04:05Z"


def test_addresses_and_networks_are_unique_and_clear_of_services() -> None:
    nodes = range(objects.NODES_MAX)
    starts = [objects.pod_network(i) for i in nodes]
    assert len(set(starts)) == len(nodes)
    first, last = int(SERVICES.network_address), int(SERVICES.broadcast_address)
    assert not any(first <= start <= last for start in starts)
    assert all(start % objects.POD_NETWORK_ADDRESSES == 0 for start in starts)
    addresses = {objects.node_address(i) for i in nodes}
    assert len(addresses) == len(nodes)
    assert ipaddress.ip_address(objects.node_address(nodes[-1])) in ipaddress.ip_network("172.16.0.0/12")
    assert objects.pod_cidr(155_647) == "100.127.255.128/25" and objects.pod_cidr(155_648) == "240.0.0.0/25"


def test_the_broadcast_address_is_no_pods() -> None:
    last = 155_648 + (1 << 28) // objects.POD_NETWORK_ADDRESSES - 2
    assert objects.pod_cidr(last) == "255.255.255.0/25"
    with pytest.raises(ValueError, match="no pod network for so many nodes"):
        objects.pod_network(last + 1)


@given(st.integers(0, objects.NODES_MAX - 1), st.integers(0, 127))
def test_a_pod_address_knows_its_number(index: int, number: int) -> None:
    address = objects.pod_address(index, number)
    assert ipaddress.ip_address(address) in ipaddress.ip_network(objects.pod_cidr(index))
    assert objects.pod_number(index, address) == number
    assert objects.pod_number(index, "192.168.0.1") is None
    assert objects.pod_number(index, "nonsense") is None


@given(st.sets(st.integers(2, 127)))
def test_the_lowest_free_number(taken: set[int]) -> None:
    free = next((n for n in range(2, 128) if n not in taken), 127)
    assert objects.free_number(sum(1 << n for n in taken)) == free


@pytest.mark.parametrize(("layer", "size"), list(enumerate(objects.NODES_PER_LAYER, 1)))
def test_so_many_nodes_are_below_a_switch(layer: int, size: int) -> None:
    label = f"topology.k8s.aws/network-node-layer-{layer}"
    count = 2 * objects.NODES_PER_LAYER[0]
    switches = Counter(objects.network_layers(i)[label] for i in range(0, count, 16))
    assert set(switches.values()) == {size // 16}


def test_switches_nest_and_lie_in_one_zone() -> None:
    above: dict[str, object] = {}
    for index in range(0, 20_000, 16):
        spine, middle, rack = objects.network_layers(index).values()
        assert above.setdefault(rack, middle) == middle
        assert above.setdefault(middle, spine) == spine
        assert above.setdefault(spine, objects.zone(index)) == objects.zone(index)


def test_a_node_of_the_fleet() -> None:
    node = objects.node_object(TRN2, 42, NOW)
    assert node["metadata"]["name"] == "trn2-00042"
    labels = node["metadata"]["labels"]
    assert labels["node.kubernetes.io/instance-type"] == "trn2.48xlarge"
    assert labels["topology.kubernetes.io/zone"] == "us-east-1a"
    assert node["spec"]["providerID"].startswith("aws:///us-east-1a/i-")
    assert node["spec"]["podCIDR"] == "10.0.21.0/25"
    assert node["status"]["addresses"][0] == {"type": "InternalIP", "address": "172.16.0.43"}
    assert objects.node_object(TRN2, 42, NOW) == node, "everything follows from the index"


@pytest.mark.parametrize("version", [None, "17"])
def test_a_lease(version: str | None) -> None:
    at = "2026-01-02T03:04:05.000000Z"
    lease = msgspec.json.decode(objects.lease_json("n1", "u-1", at, version))
    assert lease["metadata"].get("resourceVersion") == version
    assert lease["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u-1"}
    ]
    assert lease["spec"] == {"holderIdentity": "n1", "leaseDurationSeconds": 40, "renewTime": at}
