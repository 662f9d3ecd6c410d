from __future__ import annotations

from operator import attrgetter
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from lakh.client.informer import Informer
from lakh.client.resources import PODS
from lakh.controllers import informers, views
from lakh.controllers.claimviews import PodVolume
from lakh.controllers.endpointslice import address_of
from lakh.controllers.sharing import share_node, share_pod
from lakh.controllers.views import Node, Pod
from lakh.controllers.volumeprotection import USES, claims_of

THEN = "2026-01-01T00:00:00Z"


def pod(name: str, node: str | None = "n1", ip: str = "10.0.0.1", **more: Any) -> Pod:
    return msgspec.convert(
        {
            "metadata": {
                "name": name,
                "namespace": "default",
                "uid": f"uid-{name}",
                "creationTimestamp": THEN,
                "labels": {"app": "a"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "rs", "uid": "u", "controller": True}],
                **more,
            },
            "spec": {
                "nodeName": node,
                "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 80}]}],
                "tolerations": [{"key": "k", "operator": "Exists"}],
            },
            "status": {
                "phase": "Running",
                "podIP": ip,
                "podIPs": [{"ip": ip}],
                "startTime": THEN,
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": THEN}],
                "containerStatuses": [{"name": "c", "state": {"running": {"startedAt": THEN}}}],
            },
        },
        Pod,
    )


def test_pods_of_a_template_share_what_they_have_in_common() -> None:
    one, two = pod("a"), pod("b", ip="10.0.0.2")
    share_pod(None, one)
    share_pod(None, two)
    for field in ("labels", "ownerReferences", "creationTimestamp"):
        assert getattr(one.metadata, field) is getattr(two.metadata, field), field
    for field in ("containers", "tolerations", "nodeName"):
        assert getattr(one.spec, field) is getattr(two.spec, field), field
    for field in ("conditions", "containerStatuses", "startTime"):
        assert getattr(one.status, field) is getattr(two.status, field), field
    assert [address_of(each, "IPv4") for each in (one, two)] == ["10.0.0.1", "10.0.0.2"]


def test_sharing_changes_nothing_that_is_read() -> None:
    shared, plain = pod("a"), pod("a")
    share_pod(None, shared)
    shared.status.podIPs = plain.status.podIPs
    assert shared == plain


def test_a_new_version_keeps_what_has_not_changed() -> None:
    old, new = pod("a", node=None), pod("a", labels={"app": "other"})
    share_pod(None, old)
    share_pod(old, new)
    assert new.metadata.ownerReferences is old.metadata.ownerReferences
    assert new.metadata.labels == {"app": "other"}
    assert new.spec is not old.spec and new.spec.nodeName == "n1"
    assert new.spec.containers is old.spec.containers
    newest = pod("a", labels={"app": "other"})
    share_pod(new, newest)
    assert newest.spec is new.spec


def test_volumes_without_a_claim_are_not_kept() -> None:
    token = {"name": "kube-api-access-x7k2p", "projected": {}}
    spec = {"volumes": [token, {"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]}
    one, two = (msgspec.convert({"metadata": {"name": "a", "uid": "u"}, "spec": spec}, Pod) for _ in range(2))
    share_pod(None, one)
    share_pod(one, two)
    assert one.spec.volumes is not None and [v.name for v in one.spec.volumes] == ["data"]
    assert two.spec is one.spec
    plain = msgspec.convert({"metadata": {"name": "a"}, "spec": {"volumes": [token]}}, Pod)
    share_pod(None, plain)
    assert plain.spec.volumes is None


def test_addresses_of_two_families_stay() -> None:
    both = msgspec.convert(
        {
            "metadata": {"name": "a"},
            "status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]},
        },
        Pod,
    )
    share_pod(None, both)
    assert address_of(both, "IPv6") == "fd00::1"


def test_nodes_share_values_of_labels_and_conditions() -> None:
    def node(name: str) -> Node:
        return msgspec.json.decode(
            msgspec.json.encode(
                {
                    "metadata": {
                        "name": name,
                        "labels": {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": "zone-a"},
                    },
                    "status": {
                        "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": THEN}]
                    },
                }
            ),
            type=Node,
        )

    one, two = node("n1"), node("n2")
    share_node(None, one)
    share_node(None, two)
    assert one.status.conditions is two.status.conditions
    assert one.spec is two.spec
    assert one.metadata.labels is not None and two.metadata.labels is not None
    zone = "topology.kubernetes.io/zone"
    assert one.metadata.labels[zone] is two.metadata.labels[zone]
    assert two.metadata.labels["kubernetes.io/hostname"] == "n2"
    later = node("n1")
    share_node(one, later)
    assert later.metadata.labels is one.metadata.labels


VERSIONS = st.fixed_dictionaries(
    {
        "node": st.sampled_from([None, "n1", "n2"]),
        "owners": st.sampled_from([None, "u1", "u2"]),
        "claim": st.sampled_from([None, "c1", "c2"]),
        "phase": st.sampled_from(["Pending", "Running"]),
    }
)


def version_of(said: dict[str, str | None], number: int) -> Pod:
    owners = [{"kind": "Job", "name": "j", "uid": said["owners"], "controller": True}]
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": said["claim"]}}]
    found = pod("a", said["node"], resourceVersion=str(number))
    metadata, spec = found.metadata, found.spec
    metadata.ownerReferences = msgspec.convert(owners, list[views.OwnerReference]) if said["owners"] else None
    spec.volumes = msgspec.convert(volumes, list[PodVolume]) if said["claim"] else None
    found.status.phase = said["phase"]
    return found


@given(st.lists(VERSIONS, min_size=1, max_size=8))
def test_indexes_that_know_what_their_keys_follow_from_find_the_same(
    history: list[dict[str, str | None]],
) -> None:
    def informer(*, parts: bool) -> Informer[Pod]:
        made: Informer[Pod] = Informer(None, PODS, Pod, share=share_pod)  # type: ignore[arg-type]
        for name, keys in informers._INDEXES.items():
            made.add_index(name, keys, part=informers._PARTS[name] if parts else None)
        made.add_index(USES, claims_of, part=attrgetter("spec.volumes") if parts else None)
        return made

    quick, plain = informer(parts=True), informer(parts=False)
    for number, said in enumerate(history):
        for each in (quick, plain):
            each._put("default/a", version_of(said, number))
        for name, index in plain._indexes.items():
            assert quick._indexes[name].buckets == index.buckets
            for bucket in quick._indexes[name].buckets.values():
                assert list(bucket.values()) == [quick.items["default/a"]]
