"""Devices that claims share by their capacity: how much a request takes, and that no more is given than there is."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.scheduler.consumption import amounts_of, as_quantities, consumed_by
from lakh.scheduler.deviceviews import Device

from .test_devices import DRIVER, Cluster, claim, device, request, to

Json = dict[str, Any]
GI = 1 << 30
POLICY = {"default": "2Gi", "validRange": {"min": "1Gi", "max": "6Gi", "step": "2Gi"}}
VALUES = {"default": "1Gi", "validValues": ["1Gi", "4Gi"]}


@pytest.mark.parametrize(
    ("policy", "asked", "expected"),
    [
        (None, None, "8Gi"),
        (None, "3Gi", "3Gi"),
        (None, "9Gi", None),
        (POLICY, None, "2Gi"),
        (POLICY, "512Mi", "1Gi"),
        (POLICY, "2Gi", "3Gi"),
        (POLICY, "3Gi", "3Gi"),
        (POLICY, "5Gi", "5Gi"),
        (POLICY, "5500Mi", None),
        (VALUES, "2Gi", "4Gi"),
        (VALUES, "1Gi", "1Gi"),
        (VALUES, "5Gi", None),
        (VALUES, None, "1Gi"),
        ({"default": "1Gi"}, None, "1Gi"),
        ({"default": "1Gi"}, "3Gi", "3Gi"),
    ],
)
@pytest.mark.parametrize("name", ["memory", f"{DRIVER}/memory"])
def test_what_a_request_takes(
    policy: Json | None, asked: str | None, expected: str | None, name: str
) -> None:
    capacity = {"value": "8Gi", **({"requestPolicy": policy} if policy else {})}
    one = to({"name": "d", "allowMultipleAllocations": True, "capacity": {"memory": capacity}}, Device)
    found = consumed_by(DRIVER, one, amounts_of({name: asked} if asked else None))
    assert (None if found is None else as_quantities(found)) == (expected and {"memory": expected})
    assert consumed_by(DRIVER, one, amounts_of({"other": "1"})) is None
    assert consumed_by(DRIVER, one, amounts_of({"example.org/memory": "1"})) is None


def shared(name: str, gigabytes: int, policy: Json | None) -> Json:
    capacity = {"value": f"{gigabytes}Gi", **({"requestPolicy": policy} if policy else {})}
    return device(name, allowMultipleAllocations=True) | {"capacity": {"memory": capacity}}


def taken(policy: Json | None, asked: int | None, whole: int) -> int | None:
    """GiB, by the rules once more."""
    if asked is None:
        return int(policy["default"][:-2]) if policy else whole
    if policy is POLICY:
        found = next((v for v in (1, 3, 5) if v >= asked), None)
    elif policy is VALUES:
        found = next((v for v in (1, 4) if v >= asked), None)
    else:
        found = asked
    return None if found is None or found > whole else found


devices = st.lists(
    st.tuples(st.integers(2, 9), st.sampled_from((None, POLICY, VALUES))), min_size=1, max_size=3
)


@given(
    devices,
    st.lists(
        st.tuples(st.one_of(st.none(), st.integers(1, 6)), st.integers(1, 2), st.booleans()),
        min_size=1,
        max_size=8,
    ),
)
def test_no_more_is_given_than_there_is(
    given_devices: list[tuple[int, Json | None]], steps: list[tuple[int | None, int, bool]]
) -> None:
    """Pods come and go; each finds room exactly where a search through all choices does."""
    cluster = Cluster({"n": [shared(f"d{i}", *one) for i, one in enumerate(given_devices)]})
    held: dict[str, list[tuple[int, int]]] = {}
    for number, (asked, count, leaves) in enumerate(steps):
        if leaves and held:
            gone = sorted(held)[0]
            del held[gone]
            cluster.core.remove(f"uid-{gone}")
        use = [
            sum(n for d, n in itertools.chain(*held.values()) if d == i) for i in range(len(given_devices))
        ]
        sizes = [taken(policy, asked, whole) for whole, policy in given_devices]

        def possible(chosen: tuple[int, ...], sizes: list[int | None] = sizes, use: list[int] = use) -> bool:
            return all(
                (size := sizes[d]) is not None and use[d] + size * chosen.count(d) <= given_devices[d][0]
                for d in chosen
            )

        choices = itertools.combinations_with_replacement(range(len(given_devices)), count)
        exists = any(possible(chosen) for chosen in choices)
        more = {} if asked is None else {"capacity": {"requests": {"memory": f"{asked}Gi"}}}
        cluster.claim(claim(f"c{number}", [request(count=count, **more)]))
        cls = cluster.resolve(f"p{number}", f"c{number}")
        room = cls.constraints[0].room(cluster.core.feasible_rows(cls))
        node = cluster.core.decide(cls)
        assert (node is not None) is exists and (int(room.sum()) > 0) is exists
        if node is None:
            continue
        cluster.core.place(f"uid-p{number}", cls, node)
        results = cluster.core.devices.pending[f"uid-c{number}"].allocation.devices.results or []
        mine = []
        for result in results:
            which = int(result.device[1:])
            assert result.consumedCapacity == {"memory": f"{sizes[which]}Gi"}
            mine.append((which, sizes[which] or 0))
        assert len({result.shareID for result in results}) == count
        assert possible(tuple(which for which, _ in mine))
        held[f"p{number}"] = mine


def test_a_device_of_ones_own_has_capacity_enough() -> None:
    """Capacities that are asked for are a filter on devices that are not shared."""
    cluster = Cluster({"n": [device("small", memory="4Gi"), device("large", memory="16Gi")]})
    for name in ("a", "b"):
        cluster.claim(claim(name, [request(capacity={"requests": {"memory": "8Gi"}})]))
    assert cluster.schedule("p", "a") == "n" and cluster.devices_of("a") == ["n/large"]
    assert cluster.schedule("q", "b") is None
    result = (cluster.core.devices.pending["uid-a"].allocation.devices.results or [])[0]
    assert result.shareID is None and result.consumedCapacity is None
