"""A pod of a template that was seen before is what any other create would have made of it."""

from __future__ import annotations

import asyncio
import copy
import json
import random
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.machinery import times
from lakh.server import knownpods, storage
from lakh.server.knownpods import KnownPods
from tests.server.harness import PODS, Api

NEW_UID = storage.new_uid
UID = "1d1b4bb7-0d2c-4bd9-a3c6-6b5a2f7f3c11"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"


def test_uids_are_random_ones() -> None:
    made = [uuid.UUID(NEW_UID()) for _ in range(100)]
    assert len(set(made)) == 100
    assert all(uid.version == 4 and uid.variant == uuid.RFC_4122 for uid in made)


@pytest.fixture(autouse=True)
def _nothing_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "now", lambda: "2026-01-01T00:00:00Z")
    # What is drawn twice is the same.
    monkeypatch.setattr(random, "random", lambda: 0.4321)
    monkeypatch.setattr(storage, "new_uid", lambda: UID)
    monkeypatch.setattr(knownpods, "new_uid", lambda: UID)


def pod(index: int = 0, **spec: Any) -> dict[str, Any]:
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": "train",
        "uid": UID,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"train-{index}-",
            "labels": {"job-name": "train", "index": str(index)},
            "annotations": {"index": str(index)},
            "finalizers": ["batch.kubernetes.io/job-tracking"],
            "ownerReferences": [owner],
        },
        "spec": {
            "hostname": f"train-{index}",
            "restartPolicy": "Never",
            "containers": [{"name": "c", "image": "i:1", "resources": {"limits": {"cpu": "1500m"}}}],
            **spec,
        },
    }


def body(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


async def started() -> Api:
    api = await Api.start()
    assert (await api.post(ACCOUNTS, {"metadata": {"name": "other"}})).status == 201
    return api


class Plain(KnownPods):
    """Knows none."""

    def queue(self, *args: Any) -> None:
        return None


async def both(api: Api, sent: bytes, path: str = PODS) -> tuple[bool, Any, Any]:
    """Whether the pod was made from a template, and the answers with and without; what is stored is in the answer."""
    handlers = api.server.handlers
    known = handlers.pods
    was_known = False
    queue = known.queue

    def watched(*args: Any) -> Any:
        nonlocal was_known
        found = queue(*args)
        was_known = found is not None and not isinstance(found, knownpods.Candidate)
        return found

    answers = []
    for pods in (known, Plain(known._rests_on)):
        known.queue = watched  # type: ignore[method-assign]
        handlers.pods = pods
        answer = await api.call("POST", path, sent)
        if answer.status == 201:
            meta = answer.json["metadata"]
            item = api.server.cluster.partitions["pods"].get(f"pods/{meta['namespace']}/{meta['name']}")
            assert item is not None
            answers.append((answer.status, item.value, item.terms, answer.warnings, answer.content_type))
            version = meta["resourceVersion"]
            assert answer.body.replace(f'"resourceVersion":"{version}",'.encode(), b"").endswith(
                item.value[1:]
            )
            await api.server.cluster.partitions["pods"].delete(item.key)
        else:
            answers.append((answer.status, answer.body, (), answer.warnings, answer.content_type))
    handlers.pods = known
    del known.queue  # type: ignore[method-assign]
    return was_known, answers[0], answers[1]


async def learnt(api: Api, value: dict[str, Any]) -> None:
    for _ in range(2):
        await both(api, body(value))


SPECS: dict[str, dict[str, Any]] = {
    "as Jobs": {},
    "no token": {"automountServiceAccountToken": False},
    "bound": {"nodeName": "n"},
    "another account": {"serviceAccountName": "other"},
    "an older name": {"serviceAccount": "other"},
    "tolerant": {"tolerations": [{"operator": "Exists"}]},
    "volume": {"volumes": [{"name": "v", "emptyDir": {}}], "subdomain": "s"},
    "init": {"initContainers": [{"name": "i", "image": "i"}]},
    "spread": {
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
        ]
    },
}
UNKNOWN: dict[str, dict[str, Any]] = {
    "gated": {"schedulingGates": [{"name": "a.b/c"}]},
    "labels of its own": {
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "zone",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {},
                "matchLabelKeys": ["index"],
            }
        ]
    },
    "a hostname elsewhere": {"nodeSelector": {"hostname": "train-1"}},
    "its own token": {"volumes": [{"name": "kube-api-access-x", "emptyDir": {}}]},
    "a claim of its own": {
        "volumes": [
            {
                "name": "v",
                "ephemeral": {
                    "volumeClaimTemplate": {
                        "spec": {
                            "accessModes": ["ReadWriteOnce"],
                            "resources": {"requests": {"storage": "1Gi"}},
                        }
                    }
                },
            }
        ]
    },
    "worth a warning": {"nodeSelector": {"beta.kubernetes.io/os": "linux"}},
    "invalid": {"restartPolicy": "Sometimes"},
    "no account": {"serviceAccountName": "nobody"},
    "no class": {"priorityClassName": "nothing"},
    "unknown field": {"wrong": 1},
}


@pytest.mark.parametrize("name", [*SPECS, *UNKNOWN])
def test_specs(name: str) -> None:
    async def check() -> None:
        api = await started()
        spec = SPECS.get(name, UNKNOWN.get(name))
        assert spec is not None
        await learnt(api, pod(1, **spec))
        known, fast, plain = await both(api, body(pod(2, **spec)))
        assert fast == plain
        assert known == (name in SPECS)
        assert len(api.server.handlers.pods) == (name in SPECS)
        await api.stop()

    asyncio.run(check())


def test_no_hostname() -> None:
    async def check() -> None:
        api = await started()
        value = pod()
        del value["spec"]["hostname"]
        await learnt(api, value)
        known, fast, plain = await both(api, body(value))
        assert known and fast == plain
        await api.stop()

    asyncio.run(check())


def test_a_hostname_in_other_letters_is_not_the_hostname() -> None:
    async def check() -> None:
        api = await started()
        sent = body(pod(nodeSelector={"hostname": "train-0"})).replace(b'"hostname"', b'"host\\u006eame"', 1)
        for _ in range(3):
            known, fast, plain = await both(api, sent)
            assert not known and fast == plain
        assert len(api.server.handlers.pods) == 0
        await api.stop()

    asyncio.run(check())


def change(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    def changed(sent: bytes) -> bytes:
        value = json.loads(sent)
        change(value)
        return body(value)

    return changed


def metadata(**values: Any) -> Callable[[bytes], bytes]:
    return change(lambda value: value["metadata"].update(values))


OWNER = pod()["metadata"]["ownerReferences"][0]
OTHERS: dict[str, tuple[Callable[[bytes], bytes], bool]] = {
    "same": (lambda sent: sent, True),
    "named": (metadata(name="a"), True),
    "in its namespace": (metadata(namespace="default"), True),
    "no annotations": (metadata(annotations={}, finalizers=[], ownerReferences=[]), True),
    "no labels": (metadata(labels=None), False),
    "a uid of its own": (metadata(uid="x", generation=7, selfLink="/x"), True),
    "no kind": (change(lambda value: (value.pop("kind"), value.pop("apiVersion"))), True),
    "another hostname": (change(lambda value: value["spec"].update(hostname="x")), True),
    "a bad hostname": (change(lambda value: value["spec"].update(hostname="-x")), False),
    "another kind": (change(lambda value: value.update(kind="Node")), False),
    "another namespace": (metadata(namespace="kube-system"), False),
    "no name": (metadata(generateName=""), False),
    "a bad name": (metadata(name="A"), False),
    "a long name": (metadata(name="a" * 64), False),
    "a name with a dot": (metadata(name="a.b"), False),
    "a long generated name": (metadata(generateName="a" * 60), True),
    "a bad label": (metadata(labels={"a b": "c"}), False),
    "a bad finalizer": (metadata(finalizers=["a b"]), False),
    "a bad owner": (metadata(ownerReferences=[{**OWNER, "uid": ""}]), False),
    "owners twice": (metadata(ownerReferences=[OWNER, OWNER]), False),
    "a mirror": (metadata(annotations={"kubernetes.io/config.mirror": "x"}), False),
    "an annotation to warn of": (
        metadata(annotations={"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}),
        False,
    ),
    "a version": (metadata(resourceVersion="5"), False),
    "a time": (metadata(creationTimestamp="2020-01-01T00:00:00Z"), False),
    "a wrong time": (metadata(creationTimestamp="soon"), False),
    "managers": (metadata(managedFields=[]), False),
    "unknown field": (metadata(wrong=1), False),
    "a status": (change(lambda value: value.update(status={"phase": "Running"})), False),
    "twice a label": (lambda sent: sent.replace(b'"labels":{', b'"labels":{"index":"7",', 1), False),
    "twice a kind": (lambda sent: sent.replace(b"{", b'{"kind":"Pod",', 1), False),
    "cut": (lambda sent: sent[:-1], False),
}


@pytest.mark.parametrize("name", OTHERS)
def test_metadata(name: str) -> None:
    async def check() -> None:
        api = await started()
        await learnt(api, pod(1))
        other, expected = OTHERS[name]
        known, fast, plain = await both(api, other(body(pod(2))))
        assert fast == plain
        assert known is expected
        await api.stop()

    asyncio.run(check())


NAMES = st.text("ab-.A_/ é", min_size=0, max_size=6)
TEXTS = st.dictionaries(NAMES | st.just("example.com/a"), NAMES, max_size=3)


@given(
    labels=TEXTS,
    annotations=TEXTS,
    name=st.none() | NAMES,
    generate=st.none() | NAMES,
    hostname=st.sampled_from(["train-9", "x", "9", "-", "X", "", "a" * 64]),
    spec=st.sampled_from([*SPECS.values(), *UNKNOWN.values()]),
)
def test_whatever_is_sent(
    labels: dict[str, str],
    annotations: dict[str, str],
    name: str | None,
    generate: str | None,
    hostname: str,
    spec: dict[str, Any],
) -> None:
    async def check() -> None:
        api = await started()
        first = pod(1, **copy.deepcopy(spec))
        await learnt(api, first)
        second = copy.deepcopy(first)
        second["spec"]["hostname"] = hostname
        second["metadata"].update(labels=labels, annotations=annotations)
        for key, value in (("name", name), ("generateName", generate)):
            second["metadata"].pop(key, None)
            if value is not None:
                second["metadata"][key] = value
        _, fast, plain = await both(api, body(second))
        assert fast == plain
        await api.stop()

    asyncio.run(check())


def test_what_the_verdict_rests_on_changes() -> None:
    async def check() -> None:
        api = await started()
        sent = body(pod(1))

        async def settled() -> None:
            await asyncio.sleep(0)
            known, fast, plain = await both(api, sent)
            assert not known and fast == plain
            await both(api, sent)
            known, fast, plain = await both(api, sent)
            assert known and fast == plain

        await learnt(api, pod(1))
        merge = "application/merge-patch+json"
        changed = await api.call(
            "PATCH", f"{ACCOUNTS}/default", {"imagePullSecrets": [{"name": "s"}]}, content_type=merge
        )
        assert changed.status == 200
        await settled()
        made = {"metadata": {"name": "high"}, "value": 7, "globalDefault": True}
        assert (await api.call("POST", CLASSES, made)).status == 201
        await settled()
        assert (await api.call("DELETE", f"{ACCOUNTS}/default")).status == 200
        known, fast, plain = await both(api, sent)
        assert not known and fast == plain and fast[0] == 403
        await api.stop()

    asyncio.run(check())


def test_a_named_priority_class_is_made_anew() -> None:
    async def check() -> None:
        api = await started()
        sent = pod(1, priorityClassName="high")
        for value in (7, 8):
            made = {"metadata": {"name": "high"}, "value": value}
            assert (await api.call("POST", CLASSES, made)).status == 201
            await learnt(api, sent)
            known, fast, plain = await both(api, body(sent))
            assert known and fast == plain
            assert f'"priority":{value},'.encode() in fast[1]
            assert (await api.call("DELETE", f"{CLASSES}/high")).status == 200
        await api.stop()

    asyncio.run(check())


def test_a_name_that_is_taken() -> None:
    async def check() -> None:
        api = await started()
        await learnt(api, pod(1))
        value = pod(1)
        value["metadata"]["name"] = "taken"
        assert (await api.post(PODS, value)).status == 201
        known, fast, plain = await both(api, body(value))
        assert not known and fast == plain and fast[0] == 409
        await api.stop()

    asyncio.run(check())


def test_templates_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        api = await started()
        for priority in ("a", "b", "c", "d"):
            await learnt(api, pod(1, subdomain=priority))
        assert len(api.server.handlers.pods) == 2
        await api.stop()

    monkeypatch.setattr(knownpods, "TEMPLATES_MAX", 2)
    monkeypatch.setattr(knownpods, "SEEN_MAX", 2)
    asyncio.run(check())
