"""Lists and watches as upstream's storage tests have them (apiserver/pkg/storage/testing/{store,watcher}_tests.go, cacher/*_test.go)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from .harness import CONFIGMAPS, PODS, Api, configmap, pod

SECOND = "/api/v1/namespaces/kube-public/configmaps"
ALL = "/api/v1/configmaps"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


@pytest.fixture
async def versions(api: Api) -> dict[str, str]:
    """Revisions: `first` before all, `a`, `b`, `c` as each of three is made, `changed` after `a` has, `last` when `d` has come and gone."""
    found = {"first": (await api.get(CONFIGMAPS)).json["metadata"]["resourceVersion"]}
    for name in "abc":
        found[name] = (await api.post(CONFIGMAPS, configmap(name))).json["metadata"]["resourceVersion"]
    changed = await api.patch(f"{CONFIGMAPS}/a", {"data": {"k": "v"}})
    found["changed"] = changed.json["metadata"]["resourceVersion"]
    await api.post(CONFIGMAPS, configmap("d"))
    await api.delete(f"{CONFIGMAPS}/d")
    found["last"] = (await api.get(CONFIGMAPS)).json["metadata"]["resourceVersion"]
    return found


def shown(answer: Any) -> str:
    """Names of a list, an asterisk after what has data, and `+n` for what is left."""
    names = "".join(i["metadata"]["name"] + ("*" if i.get("data") else "") for i in answer["items"] if i["metadata"]["name"] != "kube-root-ca.crt")  # fmt: skip
    meta = answer["metadata"]
    return f"{names}+{meta.get('remainingItemCount', '?')}" if meta.get("continue") else names


# What is asked, at which revision, what comes, of which revision.
@pytest.mark.parametrize(
    ("query", "at", "wanted", "of"),
    [
        pytest.param("", "", "a*bc", "last", id="rejects nothing: RV unset"),
        pytest.param("", "0", "a*bc", "last", id="test List on non-existing/existing key with resource version set to 0"),
        pytest.param("", "b", "a*bc", "last", id="resource version set before first write: not older than"),
        pytest.param("&resourceVersionMatch=NotOlderThan", "b", "a*bc", "last", id="match=NotOlderThan"),
        pytest.param("&resourceVersionMatch=NotOlderThan", "0", "a*bc", "last", id="0, match=NotOlderThan"),
        pytest.param("&resourceVersionMatch=Exact", "first", "", "first", id="before first write, match=Exact"),
        pytest.param("&resourceVersionMatch=Exact", "b", "ab", "b", id="after first write, match=Exact"),
        pytest.param("&resourceVersionMatch=Exact", "last", "a*bc", "last", id="current, match=Exact"),
        pytest.param("&limit=1", "", "a*+2", "last", id="test List with limit"),
        pytest.param("&limit=1", "last", "a*+2", "last", id="test List with limit at current resource version"),
        pytest.param("&limit=1&resourceVersionMatch=Exact", "last", "a*+2", "last", id="limit at current, match=Exact"),
        pytest.param("&limit=1", "b", "a+1", "b", id="limit at an old resource version: as of then"),
        pytest.param("&limit=1&resourceVersionMatch=Exact", "b", "a+1", "b", id="limit at an old resource version, match=Exact"),
        pytest.param("&limit=1&resourceVersionMatch=NotOlderThan", "b", "a*+2", "last", id="limit, match=NotOlderThan"),
        pytest.param("&limit=1", "first", "", "first", id="limit at a resource version before first write"),
        pytest.param("&limit=1&resourceVersionMatch=Exact", "first", "", "first", id="the same, match=Exact"),
        pytest.param("&limit=3", "", "a*bc", "last", id="test List with limit equal to total elements"),
        pytest.param("&limit=1&fieldSelector=metadata.name%3Db", "", "b", "last", id="test List with pregenerated field selector and limit"),
        pytest.param("&fieldSelector=metadata.name%3Dd", "", "", "last", id="test List with nothing that matches"),
    ],
)  # fmt: skip
async def test_list(api: Api, versions: dict[str, str], query: str, at: str, wanted: str, of: str) -> None:
    """RunTestList, RunTestConsistentList."""
    version = versions.get(at, at)
    answer = await api.get(f"{CONFIGMAPS}?labelSelector={query}{f'&resourceVersion={version}' if at else ''}")
    assert answer.status == 200, answer
    assert shown(answer.json) == wanted
    assert answer.json["metadata"]["resourceVersion"] == versions[of]


async def test_pages_are_of_the_first_ones_revision(api: Api, versions: dict[str, str]) -> None:
    """RunTestListContinuation, RunTestListContinuationWithFilter, RunTestConsistentList: what happens between pages is not seen."""
    page = (await api.get(f"{CONFIGMAPS}?limit=1")).json
    await api.delete(f"{CONFIGMAPS}/c")
    await api.post(CONFIGMAPS, configmap("bb"))
    found = [shown(page)]
    while token := page["metadata"].get("continue"):
        page = (await api.get(f"{CONFIGMAPS}?limit=1&continue={token}")).json
        found.append(shown(page))
        assert page["metadata"]["resourceVersion"] == versions["last"]
    assert found == ["a*+2", "b+1", "c"]
    token = (await api.get(f"{CONFIGMAPS}?limit=1&resourceVersion={versions['c']}")).json["metadata"]["continue"]  # fmt: skip
    assert shown((await api.get(f"{CONFIGMAPS}?continue={token}")).json) == "bc"


async def test_no_count_of_what_is_filtered(api: Api, versions: dict[str, str]) -> None:
    """RunTestListContinuationWithFilter: a selector's list says that there is more, not how much."""
    for name in "abc":
        await api.patch(f"{CONFIGMAPS}/{name}", {"metadata": {"labels": {"x": "y"}}})
    page = (await api.get(f"{CONFIGMAPS}?limit=2&labelSelector=x%3Dy")).json
    assert shown(page) == "a*b+?"
    rest = (await api.get(f"{CONFIGMAPS}?limit=2&labelSelector=x%3Dy&continue={page['metadata']['continue']}")).json  # fmt: skip
    assert shown(rest) == "c"


async def test_pages_across_namespaces(api: Api) -> None:
    """RunTestRecursiveList, RunTestNamespaceScopedList: by namespace, then by name; a prefix of a namespace is another."""
    for path in (CONFIGMAPS, SECOND):
        for name in "ba":
            await api.post(path, configmap(name))
    found, token = [], ""
    while True:
        page = (await api.get(f"{ALL}?limit=1&continue={token}")).json
        found += [f"{i['metadata']['namespace']}/{i['metadata']['name']}" for i in page["items"]]
        token = page["metadata"].get("continue", "")
        if not token:
            break
    mine = [name for name in found if name.split("/")[1] in "ab"]
    assert mine == ["default/a", "default/b", "kube-public/a", "kube-public/b"]
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", f"{CONFIGMAPS}/x"), ("DELETE", f"{CONFIGMAPS}/x"), ("PATCH", f"{CONFIGMAPS}/x")]
)  # fmt: skip
async def test_what_is_not_there(api: Api, method: str, path: str) -> None:
    """RunTestGet, RunTestUnconditionalDelete: `non-existing key`."""
    body = {} if method == "PATCH" else None
    answer = await api.call(method, path, body, content_type="application/merge-patch+json")
    assert (answer.status, answer.json["message"]) == (404, 'configmaps "x" not found')


async def test_deletes_on_condition(api: Api, versions: dict[str, str]) -> None:
    """RunTestConditionalDelete, RunTestPreconditionalDeleteWithSuggestion."""
    made = (await api.get(f"{CONFIGMAPS}/a")).json["metadata"]
    for conditions in ({"uid": "other"}, {"resourceVersion": versions["a"]}, {"uid": made["uid"], "resourceVersion": "1"}):  # fmt: skip
        answer = await api.delete(f"{CONFIGMAPS}/a", {"preconditions": conditions})
        assert (answer.status, answer.json["reason"]) == (409, "Conflict"), conditions
    wanted = {"uid": made["uid"], "resourceVersion": made["resourceVersion"]}
    assert (await api.delete(f"{CONFIGMAPS}/a", {"preconditions": wanted})).status == 200


async def test_an_update_that_changes_nothing(api: Api, versions: dict[str, str]) -> None:
    """RunTestGuaranteedUpdate: `no new resource version`; a patch that changes nothing is no event either."""
    made = (await api.get(f"{CONFIGMAPS}/a")).json
    for answer in (
        await api.put(f"{CONFIGMAPS}/a", made),
        await api.patch(f"{CONFIGMAPS}/a", {"data": {"k": "v"}}),
    ):
        assert answer.json["metadata"]["resourceVersion"] == versions["changed"]


# -- watches -----------------------------------------------------------------------------------------------------------------------


def told(lines: list[Any]) -> list[tuple[str, str]]:
    """Types and names of events."""
    return [(line["type"], line["object"]["metadata"].get("name", "")) for line in lines]


@pytest.mark.parametrize(
    ("selector", "events"),
    [
        pytest.param("", ["ADDED", "MODIFIED", "MODIFIED", "DELETED"], id="create a key, update"),
        pytest.param("spec.nodeName%3Dn", ["ADDED", "MODIFIED", "DELETED"], id="key updated to match predicate"),
        pytest.param("spec.nodeName!%3Dn", ["ADDED", "DELETED"], id="delete because of being filtered"),
        pytest.param("metadata.name%3Dp", ["ADDED", "MODIFIED", "MODIFIED", "DELETED"], id="request with name, field selector with metadata.name"),
        pytest.param("metadata.name%3Dp,spec.nodeName%3Dn", ["ADDED", "MODIFIED", "DELETED"], id="request with name, field selector with metadata.name and spec.nodeName"),
        pytest.param("metadata.name%3Dq", [], id="another name"),
    ],
)  # fmt: skip
async def test_watch(api: Api, selector: str, events: list[str]) -> None:
    """RunTestWatch, RunTestClusterScopedWatch, RunTestNamespaceScopedWatch."""
    start = (await api.get(PODS)).json["metadata"]["resourceVersion"]
    stream = await api.watch(f"{PODS}?watch=1&resourceVersion={start}&fieldSelector={selector}")
    await api.post(PODS, pod("p"))
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}  # fmt: skip
    assert (await api.post(f"{PODS}/p/binding", binding)).status == 201
    await api.patch(f"{PODS}/p", {"metadata": {"labels": {"a": "b"}}})
    gone = await api.delete(f"{PODS}/p", {"gracePeriodSeconds": 0})
    assert gone.status == 200
    other = await api.watch(f"{PODS}?watch=1&resourceVersion={start}")
    await other.until(4)
    lines = await stream.until(len(events))
    assert told(lines) == [(kind, "p") for kind in events]
    if events and events[-1] == "DELETED" and len(events) != 2:
        # RunTestWatchDeleteEventObjectHaveLatestRV
        last = (await api.get(PODS)).json["metadata"]["resourceVersion"]
        assert lines[-1]["object"]["metadata"]["resourceVersion"] == last


async def test_watch_from_zero(api: Api, versions: dict[str, str]) -> None:
    """RunTestWatchFromZero, TestGetCacheBypass: what there is comes first, as it is now."""
    stream = await api.watch(f"{CONFIGMAPS}?watch=1&resourceVersion=0&fieldSelector=metadata.name%3Da")
    lines = await stream.until(1)
    assert told(lines) == [("ADDED", "a")]
    assert lines[0]["object"]["metadata"]["resourceVersion"] == versions["changed"]


async def test_watch_from_a_version(api: Api, versions: dict[str, str]) -> None:
    """RunTestWatchFromNonZero, RunTestDeleteTriggerWatch, RunTestDelayedWatchDelivery: each that came after, once and in order."""
    stream = await api.watch(f"{CONFIGMAPS}?watch=1&resourceVersion={versions['b']}")
    lines = await stream.until(4)
    assert told(lines) == [("ADDED", "c"), ("MODIFIED", "a"), ("ADDED", "d"), ("DELETED", "d")]
    assert lines[-1]["object"]["metadata"]["resourceVersion"] == versions["last"]


INITIAL = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"


@pytest.mark.parametrize(
    ("query", "at", "initial", "mark"),
    [
        pytest.param("watch=1&allowWatchBookmarks=1", "", True, False, id="legacy, RV=unset"),
        pytest.param("watch=1&allowWatchBookmarks=1", "0", True, False, id="legacy, RV=0"),
        pytest.param("watch=1&allowWatchBookmarks=1", "last", False, False, id="legacy, RV=X"),
        pytest.param(f"{INITIAL}&allowWatchBookmarks=1", "", True, True, id="allowWatchBookmarks=true, sendInitialEvents=true, RV=unset"),
        pytest.param(f"{INITIAL}&allowWatchBookmarks=1", "0", True, True, id="allowWatchBookmarks=true, sendInitialEvents=true, RV=0"),
        pytest.param(f"{INITIAL}&allowWatchBookmarks=1", "b", True, True, id="allowWatchBookmarks=true, sendInitialEvents=true, RV=1"),
        pytest.param(f"{INITIAL}&allowWatchBookmarks=1", "last", True, True, id="allowWatchBookmarks=true, sendInitialEvents=true, RV=useCurrentRV"),
        pytest.param(INITIAL, "last", True, False, id="allowWatchBookmarks=false, sendInitialEvents=true, RV=useCurrentRV"),
        pytest.param(INITIAL.replace("true", "false"), "", False, False, id="sendInitialEvents=false, RV=unset"),
        pytest.param(INITIAL.replace("true", "false"), "0", False, False, id="sendInitialEvents=false, RV=0"),
        pytest.param(INITIAL.replace("true", "false"), "last", False, False, id="sendInitialEvents=false, RV=useCurrentRV"),
    ],
)  # fmt: skip
async def test_watch_semantics(
    api: Api, versions: dict[str, str], query: str, at: str, initial: bool, mark: bool
) -> None:
    """RunWatchSemantics, RunWatchSemanticInitialEventsExtended."""
    version = versions.get(at, at)
    stream = await api.watch(f"{CONFIGMAPS}?{query}{f'&resourceVersion={version}' if at else ''}")
    await api.post(CONFIGMAPS, configmap("z"))
    wanted = [("ADDED", name) for name in "abc"] if initial else []
    wanted += [("BOOKMARK", "")] if mark else []
    wanted.append(("ADDED", "z"))
    lines = await stream.until(len(wanted))
    assert told(lines) == wanted
    if mark:
        meta = lines[-2]["object"]["metadata"]
        assert meta["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert meta["resourceVersion"] == versions["last"]


async def test_a_version_to_come(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """RunWatchErrorIsBlockingFurtherEvents and WaitUntilFreshAndList: a watch of initial events from a revision to come is refused."""
    monkeypatch.setattr("lakh.server.consistency.REACH_SECONDS", 0.01)
    answer = await api.get(f"{CONFIGMAPS}?{INITIAL}&resourceVersion=9223372036854775807")
    assert (answer.status, answer.json["reason"]) == (504, "Timeout")
    assert answer.json["details"]["causes"] == [
        {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    ]


async def test_a_version_that_is_gone(api: Api, versions: dict[str, str]) -> None:
    """RunTestWatchError, `too old resource version`: of a watch an event, of a list and its pages the answer; what goes on says how."""
    token = (await api.get(f"{CONFIGMAPS}?limit=1")).json["metadata"]["continue"]
    partition = api.server.cluster.named("", "v1", "configmaps").partition
    partition._state.history.max_events = 1
    for number in range(3):
        await api.patch(f"{CONFIGMAPS}/a", {"data": {"n": str(number)}})
    stream = await api.watch(f"{CONFIGMAPS}?watch=1&resourceVersion={versions['b']}")
    (line,) = await stream.until(1)
    status = line["object"]
    assert (line["type"], status["code"], status["reason"]) == ("ERROR", 410, "Expired")
    assert status["message"] == f"too old resource version: {versions['b']} ({partition.oldest_revision})"
    for query in (
        f"limit=1&resourceVersion={versions['b']}",
        f"resourceVersionMatch=Exact&resourceVersion={versions['b']}",
    ):
        gone = await api.get(f"{CONFIGMAPS}?{query}")
        assert (gone.status, gone.json["reason"]) == (410, "Expired")
        assert gone.json["message"] == "The resourceVersion for the provided list is too old."
    gone = await api.get(f"{CONFIGMAPS}?limit=1&continue={token}")
    assert (gone.status, gone.json["reason"]) == (410, "Expired")
    rest = (await api.get(f"{CONFIGMAPS}?continue={gone.json['metadata']['continue']}")).json
    assert shown(rest) == "bc"
