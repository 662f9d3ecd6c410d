"""Lists and watches, without sockets."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from lakh.apis.core.pods import PodStrategy
from lakh.machinery import errors
from lakh.server import listing, selecting, watching
from lakh.server.watching import Form
from tests.examples import examples
from tests.server.harness import CONFIGMAPS, PODS, Api, FakeStream, configmap, pod


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


async def fill(api: Api, count: int) -> None:
    for number in range(count):
        await api.post(CONFIGMAPS, configmap(f"c{number:04d}"))


def token(**changes: Any) -> str:
    """A continue token, as a client that makes its own would send it."""
    made = {"v": "meta.k8s.io/v1", "rv": 1, "start": "configmaps/default/a", **changes}
    return base64.urlsafe_b64encode(json.dumps(made).encode()).rstrip(b"=").decode()


class TestLists:
    async def test_pages_are_of_one_state(self, api: Api) -> None:
        await fill(api, 7)
        first = (await api.get(f"{CONFIGMAPS}?limit=3")).json
        assert first["metadata"]["remainingItemCount"] == 4
        await api.post(CONFIGMAPS, configmap("c0003a"))
        await api.delete(f"{CONFIGMAPS}/c0005")
        names = [i["metadata"]["name"] for i in first["items"]]
        token = first["metadata"]["continue"]
        while token:
            page = (await api.get(f"{CONFIGMAPS}?limit=3&continue={quote(token)}")).json
            assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
            names += [i["metadata"]["name"] for i in page["items"]]
            token = page["metadata"].get("continue")
        assert names == [f"c{n:04d}" for n in range(7)]

    async def test_long_lists_are_streamed(self, api: Api) -> None:
        await fill(api, 1300)
        whole = (await api.get(CONFIGMAPS)).json
        assert len(whole["items"]) == 1300
        assert whole["kind"] == "ConfigMapList"
        assert whole["metadata"]["resourceVersion"].isdigit()

    async def test_selectors(self, api: Api) -> None:
        for name, tier in (("a", "web"), ("b", "db"), ("c", "web")):
            body = configmap(name)
            body["metadata"]["labels"] = {"tier": tier}
            await api.post(CONFIGMAPS, body)
        found = (await api.get(f"{CONFIGMAPS}?labelSelector=tier%3Dweb&limit=1")).json
        assert [i["metadata"]["name"] for i in found["items"]] == ["a"]
        assert "remainingItemCount" not in found["metadata"]
        rest = (
            await api.get(f"{CONFIGMAPS}?labelSelector=tier%3Dweb&continue={found['metadata']['continue']}")
        ).json
        assert [i["metadata"]["name"] for i in rest["items"]] == ["c"]
        one = (await api.get(f"{CONFIGMAPS}?fieldSelector=metadata.name%3Db")).json
        assert [i["metadata"]["name"] for i in one["items"]] == ["b"]
        assert (await api.get(f"{CONFIGMAPS}?labelSelector=%3D%3D")).status == 400
        assert (await api.get(f"{CONFIGMAPS}?fieldSelector=nope%3D1")).status == 400

    async def test_resource_versions(self, api: Api) -> None:
        await fill(api, 2)
        now = (await api.get(CONFIGMAPS)).json["metadata"]["resourceVersion"]
        await fill_more(api)
        exact = (await api.get(f"{CONFIGMAPS}?resourceVersion={now}&resourceVersionMatch=Exact")).json
        assert len(exact["items"]) == 2
        assert exact["metadata"]["resourceVersion"] == now
        newer = (await api.get(f"{CONFIGMAPS}?resourceVersion={now}")).json
        assert len(newer["items"]) == 3
        assert (await api.get(f"{CONFIGMAPS}?resourceVersion=x")).status == 400
        assert (await api.get(f"{CONFIGMAPS}?resourceVersionMatch=Exact")).status == 422
        assert (await api.get(f"{CONFIGMAPS}?continue=garbage")).status == 400


async def fill_named(api: Api, names: str) -> None:
    for name in names:
        await api.post(CONFIGMAPS, configmap(name))


async def fill_more(api: Api) -> None:
    await api.post(CONFIGMAPS, configmap("more"))


async def gathering_watch(api: Api, monkeypatch: pytest.MonkeyPatch) -> FakeStream:
    """A watch that is sent its first event at once, and gathers what follows for an hour."""
    monkeypatch.setattr(watching, "GATHER_SECONDS", 3600.0)
    api.server.watching.now = lambda: 1e6
    return await api.watch(f"{CONFIGMAPS}?watch=1")


class TestWatches:
    async def test_deprecated_paths(self, api: Api) -> None:
        """`/watch/` before a collection or an object, as by clients older than the parameter."""
        path = CONFIGMAPS.replace("/v1/", "/v1/watch/")
        await fill_named(api, "ab")
        every, one = await api.watch(path), await api.watch(f"{path}/b?fieldSelector=metadata.name%3Db")
        await fill_named(api, "c")
        await api.patch(f"{CONFIGMAPS}/b", {"data": {"k": "v"}})
        seen = [(e["type"], e["object"]["metadata"]["name"]) for e in await every.until(4)]
        assert seen == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c"), ("MODIFIED", "b")]
        assert [e["type"] for e in await one.until(2)] == ["ADDED", "MODIFIED"]
        assert len(one.lines()) == 2
        for other in ("metadata.name%3Da", "metadata.namespace%3Ddefault"):
            refused = await api.get(f"{path}/b?fieldSelector={other}")
            assert refused.status == 400
            assert refused.json["message"] == "fieldSelector metadata.name doesn't match requested name"
        assert (await api.post(path, configmap("d"))).status == 405
        assert (await api.get("/api/v1/watch")).status == 404

    async def test_from_nothing(self, api: Api) -> None:
        await fill(api, 2)
        stream = await api.watch(f"{CONFIGMAPS}?watch=1")
        await api.post(CONFIGMAPS, configmap("new"))
        await api.patch(f"{CONFIGMAPS}/new", {"data": {"k": "v"}})
        await api.delete(f"{CONFIGMAPS}/new")
        events = await stream.until(5)
        assert [e["type"] for e in events] == ["ADDED", "ADDED", "ADDED", "MODIFIED", "DELETED"]
        assert events[4]["object"]["data"] == {"k": "v"}
        versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in events]
        assert versions == sorted(set(versions))

    async def test_resumes(self, api: Api) -> None:
        await fill(api, 1)
        start = (await api.get(CONFIGMAPS)).json["metadata"]["resourceVersion"]
        await api.post(CONFIGMAPS, configmap("between"))
        stream = await api.watch(f"{CONFIGMAPS}?watch=1&resourceVersion={start}")
        await api.post(CONFIGMAPS, configmap("later"))
        events = await stream.until(2)
        assert [e["object"]["metadata"]["name"] for e in events] == ["between", "later"]

    async def test_selectors_turn_changes_into_adds_and_deletes(self, api: Api) -> None:
        stream = await api.watch(f"{CONFIGMAPS}?watch=1&labelSelector=on%3Dyes")
        await api.post(CONFIGMAPS, configmap("a"))
        await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"labels": {"on": "yes"}}})
        await api.patch(f"{CONFIGMAPS}/a", {"data": {"k": "v"}})
        await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"labels": {"on": "no"}}})
        events = await stream.until(3)
        assert [e["type"] for e in events] == ["ADDED", "MODIFIED", "DELETED"]

    async def test_pods_of_a_node(self, api: Api) -> None:
        stream = await api.watch("/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1")
        for name, node in (("a", "n1"), ("b", "n2")):
            await api.post(PODS, pod(name))
            await api.post(f"{PODS}/{name}/binding", {"metadata": {"name": name}, "target": {"name": node}})
        await api.delete(f"{PODS}/a?gracePeriodSeconds=0")
        events = await stream.until(2)
        assert [(e["type"], e["object"]["metadata"]["name"]) for e in events] == [
            ("ADDED", "a"),
            ("DELETED", "a"),
        ]

    @pytest.mark.parametrize(
        ("selector", "told"),
        [
            ("spec.nodeName%3Dn1", ["ADDED", "MODIFIED", "DELETED"]),
            ("spec.nodeName!%3Dn1", ["ADDED", "MODIFIED", "DELETED"]),
            ("spec.nodeName!%3D", ["ADDED", "MODIFIED", "DELETED"]),
            ("spec.nodeName!%3Dn2", ["ADDED", "MODIFIED", "MODIFIED", "MODIFIED", "DELETED"]),
            ("spec.nodeName%3D", ["ADDED", "MODIFIED", "DELETED"]),
            ("spec.nodeName!%3D&labelSelector=a%3Db", ["ADDED", "DELETED"]),
        ],
    )
    async def test_selectors_of_nodes_turn_changes_into_adds_and_deletes(
        self, api: Api, selector: str, told: list[str]
    ) -> None:
        stream = await api.watch(f"/api/v1/pods?watch=1&fieldSelector={selector}")
        await api.post(PODS, pod("a"))
        await api.patch(f"{PODS}/a", {"metadata": {"labels": {"a": "b"}}})
        await api.post(f"{PODS}/a/binding", {"metadata": {"name": "a"}, "target": {"name": "n1"}})
        await api.patch(f"{PODS}/a", {"metadata": {"labels": {"a": "c"}}})
        await api.delete(f"{PODS}/a?gracePeriodSeconds=0")
        await api.post(PODS, pod("b"))
        await api.post(f"{PODS}/b/binding", {"metadata": {"name": "b"}, "target": {"name": "n1"}})
        events = await stream.until(len(told))
        assert [e["type"] for e in events if e["object"]["metadata"]["name"] == "a"] == told

    async def test_pods_of_a_node_that_are_there_already(self, api: Api) -> None:
        """What a kubelet asks for when it starts: found by the store's index, whatever else there is."""
        for number in range(5):
            name, node = f"p{number}", "n1" if number % 2 else "n2"
            await api.post(PODS, pod(name))
            await api.post(f"{PODS}/{name}/binding", {"metadata": {"name": name}, "target": {"name": node}})
        partition = api.server.cluster.named("", "v1", "pods").partition
        partition.cursor = None  # nobody may read the table
        url = "/api/v1/pods?fieldSelector=spec.nodeName%3Dn2"
        stream = await api.watch(f"{url}&watch=1")
        assert [e["object"]["metadata"]["name"] for e in await stream.until(3)] == ["p0", "p2", "p4"]
        named = await api.watch(f"{PODS}?watch=1&fieldSelector=metadata.name%3Dp3")
        assert [e["object"]["metadata"]["name"] for e in await named.until(1)] == ["p3"]
        for query, names in (
            ("&resourceVersion=0", ["p0", "p2", "p4"]),
            ("&limit=3", ["p0", "p2", "p4"]),
            ("&labelSelector=a%3Db", []),
        ):
            found = (await api.get(url + query)).json
            assert [i["metadata"]["name"] for i in found["items"]] == names, query
            assert "continue" not in found["metadata"]
        del partition.cursor
        page = (await api.get(f"{url}&limit=2")).json
        assert [i["metadata"]["name"] for i in page["items"]] == ["p0", "p2"]
        rest = (await api.get(f"{url}&limit=2&continue={page['metadata']['continue']}")).json
        assert [i["metadata"]["name"] for i in rest["items"]] == ["p4"]
        assert (await api.get("/api/v1/namespaces/other/pods?fieldSelector=spec.nodeName%3Dn2")).json[
            "items"
        ] == []

    async def test_initial_events(self, api: Api) -> None:
        await fill(api, 2)
        url = f"{CONFIGMAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        stream = await api.watch(url)
        events = await stream.until(3)
        assert [e["type"] for e in events] == ["ADDED", "ADDED", "BOOKMARK"]
        assert events[2]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        refused = await api.get(f"{CONFIGMAPS}?watch=1&sendInitialEvents=true")
        assert refused.status == 422

    async def test_too_old(self, api: Api) -> None:
        partition = api.server.cluster.named("", "v1", "configmaps").partition
        partition._state.history.max_events = 1
        await fill(api, 3)
        assert partition.oldest_revision > 1
        stream = await api.watch(f"{CONFIGMAPS}?watch=1&resourceVersion=1")
        events = await stream.until(1)
        assert events[0]["type"] == "ERROR"
        assert events[0]["object"]["code"] == 410
        assert stream.finished

    async def test_too_new(self, api: Api) -> None:
        answer = await api.get(f"{CONFIGMAPS}?resourceVersion=99999")
        assert answer.status == 504
        assert "Too large resource version" in answer.json["message"]

    async def test_tables(self, api: Api) -> None:
        stream = await api.watch(f"{PODS}?watch=1", accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        await api.post(PODS, pod("a"))
        await api.post(PODS, pod("b"))
        events = await stream.until(2)
        assert events[0]["object"]["columnDefinitions"][0]["name"] == "Name"
        assert events[1]["object"]["columnDefinitions"] is None
        assert events[1]["object"]["rows"][0]["cells"][0] == "b"

    async def test_one_encoding_for_all(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        streams = [await api.watch(f"{CONFIGMAPS}?watch=1") for _ in range(3)]
        encode, encoded = Form.event, []

        def counted(form: Form, kind: str, *rest: Any) -> bytes:
            encoded.append(kind)
            return encode(form, kind, *rest)

        monkeypatch.setattr(Form, "event", counted)
        await api.post(CONFIGMAPS, configmap("a"))
        for stream in streams:
            assert (await stream.until(1))[0]["object"]["metadata"]["name"] == "a"
        assert encoded == ["ADDED"]

    async def test_what_follows_soon_waits_until_it_is_much(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stream = await gathering_watch(api, monkeypatch)
        await api.post(CONFIGMAPS, configmap("a"))
        await stream.until(1)
        await api.post(CONFIGMAPS, configmap("b"))
        assert len(stream.lines()) == 1
        await api.post(CONFIGMAPS, {**configmap("c"), "data": {"text": "x" * watching.GATHER_BYTES}})
        assert [e["object"]["metadata"]["name"] for e in await stream.until(3)] == ["a", "b", "c"]

    async def test_what_waits_goes_out_before_an_error(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stream = await gathering_watch(api, monkeypatch)
        encode = Form.event

        def failing(form: Form, kind: str, item: Any, *rest: Any) -> bytes:
            if item.key.endswith("/d"):
                raise errors.internal("has no such form")
            return encode(form, kind, item, *rest)

        monkeypatch.setattr(Form, "event", failing)
        await api.post(CONFIGMAPS, configmap("a"))
        await api.post(CONFIGMAPS, configmap("b"))
        await asyncio.gather(*(api.post(CONFIGMAPS, configmap(name)) for name in "cde"))
        told = [(e["type"], e["object"]["metadata"].get("name")) for e in await stream.until(4)]
        assert told == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c"), ("ERROR", None)]
        assert stream.finished

    async def test_a_client_that_does_not_read_is_cut_off(self, api: Api) -> None:
        stream = await api.watch(f"{CONFIGMAPS}?watch=1")
        stream.buffered_bytes = 1 << 30
        await api.post(CONFIGMAPS, configmap("a"))
        await stream.until(1)
        assert stream.closed
        assert sum(api.server.watching.cut_off.values()) == 1
        assert len(api.server.watching) == 0


class TestListOptions:
    """The matrix of upstream's ValidateListOptions (apimachinery/pkg/apis/meta/internalversion/validation)."""

    @pytest.mark.parametrize(
        ("query", "texts"),
        [
            ("resourceVersionMatch=Exact", ["is forbidden unless resourceVersion is provided"]),
            ("resourceVersionMatch=NotOlderThan", ["is forbidden unless resourceVersion is provided"]),
            ("resourceVersionMatch=Bad&resourceVersion=1", ['Unsupported value: "Bad": supported values: "Exact", "NotOlderThan", ""']),
            ("resourceVersionMatch=Exact&resourceVersion=0", ['resourceVersionMatch "exact" is forbidden for resourceVersion "0"']),
            ("resourceVersionMatch=Exact&resourceVersion=1&continue=x", ["is forbidden when continue is provided"]),
            (
                "resourceVersionMatch=Bad&continue=x&sendInitialEvents=true",
                [
                    "is forbidden unless resourceVersion is provided",
                    "is forbidden when continue is provided",
                    "Unsupported value",
                    "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
                ],
            ),
            ("watch=1&resourceVersionMatch=NotOlderThan", ["is forbidden for watch unless sendInitialEvents is provided"]),
            ("watch=1&sendInitialEvents=true", ["sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"]),
            (
                "watch=1&sendInitialEvents=false&resourceVersionMatch=Exact&continue=x",
                [
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                    'Unsupported value: "Exact": supported values: "NotOlderThan"',
                    "is forbidden when continue is provided",
                ],
            ),
        ],
    )  # fmt: skip
    async def test_refused(self, api: Api, query: str, texts: list[str]) -> None:
        answer = await api.get(f"{CONFIGMAPS}?{query}")
        assert answer.status == 422
        assert answer.json["details"]["kind"] == "ListOptions"
        assert len(answer.json["details"]["causes"]) == len(texts)
        for text in texts:
            assert text in answer.json["message"]

    @pytest.mark.parametrize(
        ("query", "text"),
        [
            ("limit=abc", 'strconv.ParseInt: parsing "abc": invalid syntax'),
            ("continue=garbage", "invalid continue token: continue key is not valid"),
            (f"continue={token(v='v0')}", "server does not recognize this encoded version"),
            (f"continue={token(rv=0)}", "incorrect encoded start resourceVersion (version meta.k8s.io/v1)"),
            (f"continue={token(rv=-2)}", "incorrect encoded start resourceVersion (version meta.k8s.io/v1)"),
            (f"continue={token(start='')}", "encoded start key empty (version meta.k8s.io/v1)"),
            (f"continue={token(start='secrets/default/a')}", "continue key is not valid"),
            (
                f"continue={token()}&resourceVersion=1",
                "specifying resource version is not allowed when using continue",
            ),
        ],
    )
    async def test_malformed(self, api: Api, query: str, text: str) -> None:
        answer = await api.get(f"{CONFIGMAPS}?{query}")
        assert (answer.status, answer.json["reason"]) == (400, "BadRequest")
        assert text in answer.json["message"]

    async def test_a_token_that_is_too_old_goes_on_with_what_there_is(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await fill_named(api, "abcd")
        first = (await api.get(f"{CONFIGMAPS}?limit=2")).json
        assert [i["metadata"]["name"] for i in first["items"]] == ["a", "b"]
        await api.post(CONFIGMAPS, configmap("bb"))
        later = time.time() + listing.TOKEN_SECONDS + 1
        monkeypatch.setattr(listing.time, "time", lambda: later)
        gone = await api.get(f"{CONFIGMAPS}?limit=2&continue={first['metadata']['continue']}")
        assert (gone.status, gone.json["reason"]) == (410, "Expired")
        again = gone.json["metadata"]["continue"]
        second = (await api.get(f"{CONFIGMAPS}?limit=2&continue={again}")).json
        assert [i["metadata"]["name"] for i in second["items"]] == ["bb", "c"]
        assert second["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]
        assert second["metadata"]["remainingItemCount"] == 1
        third = (await api.get(f"{CONFIGMAPS}?limit=2&continue={second['metadata']['continue']}")).json
        assert [i["metadata"]["name"] for i in third["items"]] == ["d"]
        assert third["metadata"] == {"resourceVersion": second["metadata"]["resourceVersion"]}

    async def test_deletecollection_stops_at_its_limit(self, api: Api) -> None:
        await fill_named(api, "abcd")
        gone = await api.delete(f"{CONFIGMAPS}?limit=3")
        assert [i["metadata"]["name"] for i in gone.json["items"]] == ["a", "b", "c"]
        assert [i["metadata"]["name"] for i in (await api.get(CONFIGMAPS)).json["items"]] == ["d"]


class TestMetaV1beta1:
    """Who asks for v1beta1 of a table or of metadata gets it, in all that is in the answer."""

    VERSION = "meta.k8s.io/v1beta1"

    def accept(self, kind: str, media: str = "json") -> str:
        name = {"json": "application/json", "protobuf": "application/vnd.kubernetes.protobuf"}[media]
        return f"{name};as={kind};v=v1beta1;g=meta.k8s.io"

    async def test_tables(self, api: Api) -> None:
        await api.post(CONFIGMAPS, configmap("a"))
        for path in (CONFIGMAPS, f"{CONFIGMAPS}/a"):
            table = (await api.get(path, accept=self.accept("Table"))).json
            assert (table["kind"], table["apiVersion"]) == ("Table", self.VERSION)
            assert table["rows"][-1]["object"]["apiVersion"] == self.VERSION

    async def test_metadata(self, api: Api) -> None:
        await api.post(CONFIGMAPS, configmap("a"))
        one = (await api.get(f"{CONFIGMAPS}/a", accept=self.accept("PartialObjectMetadata"))).json
        many = (await api.get(CONFIGMAPS, accept=self.accept("PartialObjectMetadataList"))).json
        assert {o["apiVersion"] for o in (one, many, *many["items"])} == {self.VERSION}
        packed = await api.get(f"{CONFIGMAPS}/a", accept=self.accept("PartialObjectMetadata", "protobuf"))
        assert self.VERSION.encode() in packed.body

    async def test_watches_beside_each_other(self, api: Api) -> None:
        streams = {
            version: await api.watch(
                f"{CONFIGMAPS}?watch=1&resourceVersion=0",
                accept=f"application/json;as=PartialObjectMetadata;v={version};g=meta.k8s.io",
            )
            for version in ("v1", "v1beta1")
        }
        await api.post(CONFIGMAPS, configmap("a"))
        for version, stream in streams.items():
            (event,) = await stream.until(1)
            assert event["object"]["apiVersion"] == f"meta.k8s.io/{version}"


async def test_what_an_object_was_is_not_decoded_again_to_see_whether_it_matched(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, decoded = selecting.status_decoder(PodStrategy.selectable_view), []

    def counted(value: bytes) -> Any:
        decoded.append(value)
        return decode(value)

    monkeypatch.setattr(selecting, "status_decoder", lambda view: counted)
    await api.post("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    stream = await api.watch(f"{PODS}?watch=true&fieldSelector=status.phase!=Failed")
    await api.post(PODS, pod("p"))
    for phase in ("Running", "Failed", "Running"):
        await api.patch(f"{PODS}/p/status", {"status": {"phase": phase}})
    kinds = [line["type"] for line in await stream.until(4)]
    assert kinds == ["ADDED", "MODIFIED", "DELETED", "ADDED"]
    assert len(decoded) == 4


PHASES = st.sampled_from(("Pending", "Running", "Failed", None))


@settings(max_examples=examples(50))
@given(
    st.lists(st.tuples(st.sampled_from("pqr"), PHASES), max_size=20),
    st.sampled_from((1, 2, watching.KNOWN_MATCHES)),
)
def test_watches_by_field_tell_who_comes_and_goes(steps: list[tuple[str, str | None]], known: int) -> None:
    selectors = {"!=Failed": lambda phase: phase != "Failed", "=Running": lambda phase: phase == "Running"}

    async def play() -> None:
        api = await Api.start()
        await api.post("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
        start = (await api.get(PODS)).json["metadata"]["resourceVersion"]
        url = f"{PODS}?watch=true&resourceVersion={start}&fieldSelector=status.phase"
        live = {s: await api.watch(url + s) for s in selectors}
        phases: dict[str, str | None] = {}
        changes: list[tuple[str, str | None, str | None]] = []

        def note(name: str, phase: str | None) -> None:
            changes.append((name, phases.get(name), phase))
            phases[name] = phase

        for name, phase in steps:
            if phases.get(name) is None and phase is not None:
                assert (await api.post(PODS, pod(name))).status == 201
                note(name, "Pending")
            if phase is None and phases.get(name) is not None:
                assert (await api.delete(f"{PODS}/{name}")).status == 200
                note(name, None)
            elif phase != phases.get(name):
                assert (await api.patch(f"{PODS}/{name}/status", {"status": {"phase": phase}})).status == 200
                note(name, phase)
        for selector, matches in selectors.items():
            expected = []
            for name, before, after in changes:
                was, now = (phase is not None and matches(phase) for phase in (before, after))
                if was or now:
                    expected.append((name, "DELETED" if not now else "MODIFIED" if was else "ADDED"))
            for stream in (live[selector], await api.watch(url + selector)):
                told = [
                    (e["object"]["metadata"]["name"], e["type"]) for e in await stream.until(len(expected))
                ]
                assert told == expected
        await api.stop()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(watching, "KNOWN_MATCHES", known)
        asyncio.run(play())


KEYS = st.sampled_from(("status", "phase", 'a"status', 'a,"status":{', "metadata", "spec", "\\"))
VALUES = st.recursive(
    st.one_of(st.none(), st.integers(0, 9), KEYS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=12,
)
STATUSES = st.one_of(st.fixed_dictionaries({"phase": st.one_of(st.none(), KEYS)}), st.none())


@settings(max_examples=examples(300))
@given(st.dictionaries(KEYS, VALUES, max_size=3), st.dictionaries(KEYS, VALUES, max_size=3), STATUSES)
def test_a_status_is_found_from_the_end(spec: dict[str, Any], more: dict[str, Any], status: Any) -> None:
    view = PodStrategy.selectable_view
    assert view is not None
    decode = selecting.status_decoder(view)
    for obj in (
        {"metadata": {"annotations": spec}, "more": more, "status": {**more, **(status or {})}},
        {"metadata": {"annotations": spec}, "status": status, "more": more},
        {"metadata": {}, "more": [more, spec]},
        {"status": status, "metadata": {}, "more": spec},
    ):
        value = msgspec.json.encode(obj)
        try:
            expected = msgspec.json.decode(value, type=view).status
        except msgspec.ValidationError:
            with pytest.raises(msgspec.ValidationError):
                decode(value)
        else:
            assert decode(value).status == expected
