"""A patch of a pod that stays bytes is what any other patch would have made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis.catalogue import registry
from lakh.controllers.job import _REMOVE_FINALIZER, FINALIZER
from lakh.machinery import times
from lakh.machinery.errors import StatusError
from lakh.nodes import pods as kubelet
from lakh.server import handlers, podpatches
from lakh.server.context import Context
from lakh.server.handlers import Handlers
from lakh.server.routing import RequestInfo
from lakh.server.storage import ResourceStore
from lakh.server.transport import Request
from lakh.store.state import Item
from tests.server.harness import ADMIN

RESOURCE = registry().get("", "v1", "pods")
assert RESOURCE is not None
KEY = "pods/default/p"
UID = "1d1b4bb7-0d2c-4bd9-a3c6-6b5a2f7f3c11"
CREATED = "2026-01-01T00:00:00Z"
TIMES = tuple(f"2026-01-01T00:00:0{second}Z" for second in range(1, 4))
NOW = "2026-05-05T05:05:05Z"
STATUS_PATCH = "application/strategic-merge-patch+json"

Written = tuple[bytes, tuple[str, ...], bool]


class OnePod:
    """A partition with one item, that keeps what is put."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.put_: Written | None = None

    def head(self, key: str) -> Item | None:
        return self.item if key == self.item.key else None

    async def settle(self, revision: int) -> None:
        """It is durable."""

    async def put(
        self, key: str, value: bytes, *, expect: int, terms: tuple[str, ...], essential: bool = False
    ) -> Item:
        assert (key, expect) == (self.item.key, self.item.revision)
        self.put_ = value, terms, essential
        return Item(key, value, terms, self.item.create_revision, expect + 1)

    def delete(self, key: str, *, expect: int) -> Any:
        async def gone() -> None:
            self.put_ = b"", (), True

        return gone()


def patched(
    item: Item, body: bytes, subresource: str, manager: str
) -> tuple[Written | None, tuple[int, bytes] | int]:
    """What a patch writes, and what it answers: code and body, or the code of a refusal."""
    partition = OnePod(item)
    store = ResourceStore(RESOURCE, partition)  # type: ignore[arg-type]
    verbs = Handlers.__new__(Handlers)
    verbs.admit = None  # type: ignore[assignment]
    headers = {"user-agent": f"{manager}/1", "content-type": STATUS_PATCH, "accept": "application/json"}
    request = Request("PATCH", "", "", headers, body, None)  # type: ignore[arg-type]
    info = RequestInfo("patch", RESOURCE, "default", "p", subresource, "")
    answer = verbs._patch(request, store, info, {}, ADMIN, subresource)
    try:
        answer.send(None)
    except StopIteration as e:
        return partition.put_, (e.value.status, e.value.body)
    except StatusError as e:
        return None, e.code
    raise AssertionError("nothing is awaited that is not there")


def ordinarily(item: Item, body: bytes, subresource: str, manager: str) -> Any:
    with mock.patch.object(handlers, "_FROM_BYTES", {}):
        return patched(item, body, subresource, manager)


def ways(item: Item, body: bytes, subresource: str, manager: str) -> tuple[Item, bool]:
    """The pod after a patch, and whether it stayed bytes; both ways do the same."""
    queued: list[bool] = []
    queue = podpatches.queue

    def seen(*arguments: Any) -> Any:
        found = queue(*arguments)
        queued.append(found is not None)
        return found

    with mock.patch.object(times, "now", return_value=NOW):
        wanted = ordinarily(item, body, subresource, manager)
        with mock.patch.object(handlers, "_FROM_BYTES", {("pods", subresource): seen}):
            assert patched(item, body, subresource, manager) == wanted
    written = wanted[0]
    if written is None:
        return item, queued[0]
    return Item(KEY, written[0], written[1], item.create_revision, item.revision + 1), queued[0]


def made(annotations: dict[str, str] | None = None, finalizers: list[str] | None = None, **spec: Any) -> Item:
    """A new pod at rest."""
    store = ResourceStore(RESOURCE, None)  # type: ignore[arg-type]
    container = {
        "name": "c",
        "image": "i",
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
    }
    pod = {
        "metadata": {"name": "p", "namespace": "default", "labels": {"a": "b"}, "annotations": annotations}
        | ({"finalizers": finalizers} if finalizers else {}),
        "spec": {"nodeName": "n", "containers": [container], **spec},
    }
    context = Context(ADMIN, manager="maker")
    context.now = CREATED
    obj = store.codec.decode(msgspec.json.encode(pod), "Strict", [])
    with mock.patch("lakh.server.storage.new_uid", return_value=UID):
        value, terms = store._prepare_create(context, obj)
    return Item(KEY, value, terms, 2, 2)


def marked(item: Item, grace_seconds: int = 30) -> Item:
    """A pod that is being deleted."""
    store = ResourceStore(RESOURCE, None)  # type: ignore[arg-type]
    pod = store.codec.decode_stored(item.value)
    pod.metadata.deletionTimestamp, pod.metadata.deletionGracePeriodSeconds = NOW, grace_seconds
    return Item(KEY, store.codec.encode_stored(pod), item.terms, 2, 3)


def started(item: Item, at: float = 1_800_000_000.0, address: str = "10.0.0.5") -> bytes:
    """A kubelet's patch."""
    store = ResourceStore(RESOURCE, None)  # type: ignore[arg-type]
    view = msgspec.json.decode(store.serve(item), type=kubelet.PodView)
    status = kubelet.start(view, "172.16.0.5", address, at).status
    return msgspec.json.encode({"metadata": {"uid": UID}, "status": status})


def ended(item: Item) -> bytes:
    """A kubelet's patch at the end."""
    store = ResourceStore(RESOURCE, None)  # type: ignore[arg-type]
    view = msgspec.json.decode(store.serve(item), type=kubelet.PodView)
    state = kubelet.State(terminated=kubelet.Terminated(finishedAt=TIMES[0], reason="Completed"))
    status = {
        "phase": "Succeeded",
        "conditions": [
            kubelet.condition(view, "Initialized", True, TIMES[0], "PodCompleted"),
            *kubelet._ready_conditions(view, TIMES[0], "PodCompleted"),
        ],
        "containerStatuses": [kubelet.container_status(view, view.spec.containers[0], 0, state)],
    }
    return msgspec.json.encode({"metadata": {"uid": UID}, "status": status})


def test_a_pod_that_starts_ends_and_is_let_go_stays_bytes() -> None:
    item = made(finalizers=["example.com/f", FINALIZER], restartPolicy="Never")
    for body, subresource, manager in (
        (started(item), "status", "kubelet"),
        (started(item, 1_800_000_001.0), "status", "kubelet"),
        (ended(item), "status", "kubelet"),
        (_REMOVE_FINALIZER, "", "controllers"),
    ):
        after, stayed = ways(item, body, subresource, manager)
        assert stayed, body
        assert after.value != item.value
        item = after
    pod = msgspec.json.decode(item.value)
    assert pod["metadata"]["finalizers"] == ["example.com/f"]
    assert pod["status"]["podIPs"] == [{"ip": "10.0.0.5"}]
    assert b'k:{\\"ip\\":\\"10.0.0.5\\"}' in item.value
    assert [entry["manager"] for entry in pod["metadata"]["managedFields"]] == ["maker", "kubelet"]


def test_the_last_finalizer() -> None:
    after, stayed = ways(made(finalizers=[FINALIZER]), _REMOVE_FINALIZER, "", "controllers")
    assert stayed
    assert b"job-tracking" not in after.value


def test_a_pod_that_is_being_deleted() -> None:
    item = marked(made(finalizers=[FINALIZER]))
    item, stayed = ways(item, started(item), "status", "kubelet")
    assert stayed
    item = marked(item, grace_seconds=0)
    assert not ways(item, started(item, 1_800_000_001.0), "status", "kubelet")[1]
    after, stayed = ways(item, _REMOVE_FINALIZER, "", "controllers")
    assert stayed
    assert after.value == b"", "it is gone"


def test_pods_that_are_judged() -> None:
    item = made({"kubernetes.io/config.mirror": "x"}, finalizers=[FINALIZER])
    assert not ways(item, _REMOVE_FINALIZER, "", "controllers")[1]
    assert not ways(item, started(item), "status", "kubelet")[1]


def test_what_ended_does_not_run_again() -> None:
    item = made(restartPolicy="Never")
    item, _ = ways(item, started(item), "status", "kubelet")
    item, stayed = ways(item, ended(item), "status", "kubelet")
    assert stayed
    assert not ways(item, started(item), "status", "kubelet")[1]


def test_another_address_is_compared() -> None:
    item = made()
    item, _ = ways(item, started(item), "status", "kubelet")
    assert not ways(item, started(item, address="10.0.0.6"), "status", "kubelet")[1]


# Any patch

ANNOTATIONS: tuple[dict[str, str], ...] = (
    {},
    {"a": "b"},
    {"controller.kubernetes.io/pod-deletion-cost": "1"},
    {"a": '"finalizers":["x"],"status":{'},
    {"a": '"},"spec":{', "b": '],"name":"'},
    {"uid": "x"},
    {"deletionTimestamp": "x", "deletionGracePeriodSeconds": "0"},
)
items = st.builds(
    lambda annotations, finalizers, grace, spec: (
        made(annotations, finalizers, **spec)
        if grace is None
        else marked(made(annotations, finalizers, **spec), grace)
    ),
    st.sampled_from(ANNOTATIONS),
    st.sampled_from(([], [FINALIZER], [FINALIZER, "example.com/f"], [FINALIZER, "example.com/f", FINALIZER])),
    st.sampled_from((None, None, None, 0, 30)),
    st.sampled_from(
        (
            {},
            {"restartPolicy": "Never"},
            {"hostAliases": [{"ip": "10.0.0.5", "hostnames": ["h"]}]},
            {"initContainers": [{"name": "d", "image": "i"}]},
        )
    ),
)
second = st.sampled_from(TIMES)
strange = st.sampled_from((None, 0, "", "x", "2026-02-30T00:00:00Z", [], {}, True))
generation = st.sampled_from((1, 1, 2, 0, -1, 1.0, "1", 2**70))


def usually(usual: st.SearchStrategy[Any], other: st.SearchStrategy[Any] = strange) -> st.SearchStrategy[Any]:
    return st.one_of(*[usual] * 7, other)


conditions = st.lists(
    st.fixed_dictionaries(
        {"type": usually(st.sampled_from(("Ready", "Initialized", "PodScheduled", "example.com/gate")))},
        optional={
            "status": st.sampled_from(("True", "False")),
            "lastTransitionTime": usually(second),
            "reason": st.sampled_from((None, "a")),
            "message": st.sampled_from((None, "ü", "")),
            "observedGeneration": generation,
            "$patch": st.just("delete"),
            "unknown": st.just(1),
        },
    ).filter(lambda c: len(c.keys() & {"$patch", "unknown"}) < 2),
    max_size=3,
)
amounts = st.sampled_from(
    ({"cpu": "1", "memory": "1Gi"}, {"memory": "1Gi", "cpu": "1"}, {"cpu": 1}, {"cpu": "1x"}, {}, {"$a": 1})
)
containers = st.lists(
    st.fixed_dictionaries(
        {"name": st.just("c"), "image": st.just("i")},
        optional={
            "ready": st.booleans(),
            "restartCount": st.sampled_from((0, 1)),
            "state": st.sampled_from(
                (
                    {"running": {"startedAt": TIMES[0]}},
                    {"terminated": {"exitCode": 0}},
                    {"waiting": {"reason": None}},
                )
            ),
            "lastState": st.sampled_from(({}, {"terminated": {"exitCode": 1, "finishedAt": "x"}})),
            "allocatedResources": amounts,
            "resources": st.fixed_dictionaries({}, optional={"requests": amounts, "limits": amounts}),
            "user": st.sampled_from((None, {}, {"linux": {"uid": -1, "gid": 0}})),
            "allocatedResourcesStatus": st.sampled_from(([], [{"name": "x"}])),
        },
    ),
    max_size=2,
)
addresses = st.sampled_from(("10.0.0.5", "10.0.0.5", "10.0.0.6", "fd00::1", "010.0.0.5", "", None))
listed = st.lists(st.fixed_dictionaries({"ip": addresses}), min_size=1, max_size=2) | st.sampled_from(
    ([], [{}])
)
statuses = st.fixed_dictionaries(
    {"conditions": usually(conditions)},
    optional={
        "phase": usually(st.sampled_from(("Running", "Succeeded"))),
        "startTime": usually(second),
        "hostIP": addresses,
        "hostIPs": listed,
        "podIP": addresses,
        "podIPs": listed,
        "reason": usually(st.just("a")),
        "observedGeneration": generation,
        "containerStatuses": usually(containers),
        "initContainerStatuses": containers,
        "qosClass": st.just("Burstable"),
        "nominatedNodeName": st.just("n"),
        "resourceClaimStatuses": st.just([{"name": "x"}]),
    },
)
plain_statuses = st.fixed_dictionaries(
    {"conditions": conditions},
    optional={
        "phase": st.sampled_from(("Running", "Succeeded")),
        "startTime": second,
        "containerStatuses": containers,
    },
)
metadata = st.sampled_from(
    ({"uid": UID}, {"uid": UID}, {}, {"uid": "x"}, {"uid": ""}, {"uid": None}, {"labels": {}}, None)
)
names = st.lists(st.sampled_from((FINALIZER, "example.com/f", "x")), max_size=2)
patches = st.one_of(
    st.tuples(
        st.just("status"), st.fixed_dictionaries({"metadata": metadata, "status": statuses | plain_statuses})
    ),
    st.tuples(
        st.just("status"),
        plain_statuses.map(lambda status: {"metadata": {"uid": UID}, "status": status}),
    ),
    st.tuples(
        st.just(""),
        names.map(lambda taken: {"metadata": {"$deleteFromPrimitiveList/finalizers": taken}}),
    ),
    st.tuples(st.just(""), st.fixed_dictionaries({"status": statuses})),
)
TEXTS: tuple[Callable[[bytes], bytes], ...] = (
    *[lambda text: text] * 5,
    lambda text: text.replace(b",", b", ", 1),
    lambda text: text.replace(b'"phase":', b'"phase":"x","phase":'),
    lambda text: text.replace(b'"type":', b'"type":"x","type":'),
    lambda text: text.replace(b"Ready", b"Read\\u0079"),
    lambda text: text[:-1],
    lambda text: text.replace(b'{"metadata"', b'{"kind":"Pod","metadata"'),
)


@given(
    items,
    st.lists(
        st.tuples(patches, st.sampled_from(("kubelet", "kubelet", "other")), st.sampled_from(TEXTS)),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)
def test_as_any_patch(
    item: Item, written: list[tuple[tuple[str, Any], str, Callable[[bytes], bytes]]], runs: bool
) -> None:
    if runs:
        item, _ = ways(item, started(item), "status", "kubelet")
    for (subresource, patch), manager, text in written:
        if not item.value:
            break  # it is gone
        item, _ = ways(item, text(msgspec.json.encode(patch)), subresource, manager)


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """What one test looked up another doesn't find."""
    yield
    podpatches._settled.cache_clear()
    podpatches._let_go.cache_clear()
