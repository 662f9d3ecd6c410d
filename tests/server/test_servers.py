"""Several API servers on one JetStream journal, with real sockets, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lakh.client.client import Client
from lakh.client.exchange import RawResponse
from lakh.peering import dialler
from lakh.server import ownendpoints, peers, writers
from lakh.server.app import ApiServer
from lakh.server.certs import PkiError
from lakh.server.cluster import PARTITIONS
from lakh.server.consistency import Barrier
from lakh.server.engine import NatsEngine
from lakh.store.nats_journal import NatsJournal
from lakh.store.nats_server import NatsServer
from tests.apis.groups.test_certificates import REQUEST
from tests.server.harness import CONFIGMAPS, PODS, configmap, pod
from tests.store.nats_servers import cluster, kill, leader_of

pytestmark = pytest.mark.xdist_group("servers")

WAIT_SECONDS = 240


class Answer:
    def __init__(self, raw: RawResponse) -> None:
        self.status = raw.status
        self.headers = raw.headers
        self.body = raw.body
        self.json: Any = msgspec.json.decode(raw.body) if raw.body[:1] == b"{" else None

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.body[:300]!r}>"

    def same(self) -> tuple[Any, ...]:
        """What must not depend on the server that was asked."""
        headers = sorted((n, v) for n, v in self.headers if n.lower() not in (b"date",))
        return self.status, headers, self.body


class Node:
    """One server and an administrator's client of it."""

    def __init__(self, server: ApiServer, directory: Path) -> None:
        self.server = server
        self.client = Client.from_kubeconfig(directory / "kubeconfig", user_agent="tests/1")

    async def call(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", **headers: str
    ) -> Answer:
        data = msgspec.json.encode(body) if body is not None else None
        transport = self.client._transport
        return Answer(
            await transport.request(method, path, data, kind if data else None, WAIT_SECONDS, headers or None)
        )

    def writes(self, name: str) -> bool:
        return self.server.cluster.partitions[name].is_writer

    async def close(self) -> None:
        await self.client.close()
        await self.server.stop()


class Servers:
    """API servers on the streams of an engine."""

    def __init__(self, directory: Path, engine: NatsEngine) -> None:
        self.directory = directory
        self.engine = engine
        self.nodes: list[Node] = []

    async def add(self, *, own_keys: bool = False) -> Node:
        home = self.directory / f"server-{len(self.nodes)}"
        certificates = None if own_keys else self.directory / "pki"
        server = await ApiServer.start(
            home,
            port=0,
            engine=self.engine,
            certificates=certificates,
            dialler=dialler,
        )
        self.nodes.append(Node(server, home))
        await until(lambda: server.ready and all(server.replication.checks().values()))  # type: ignore[union-attr]
        return self.nodes[-1]

    def writer(self, name: str) -> Node:
        return next(node for node in self.nodes if node.writes(name))

    def other(self, name: str) -> Node:
        return next(node for node in self.nodes if not node.writes(name))


async def until(probe: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not probe():
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer for a second is not dead: this process had no core for so long. One that is gone refuses connections."""
    monkeypatch.setattr(peers, "PROBE_TIMEOUT_SECONDS", 60.0)
    # Partitions are not evened out meanwhile: a test that takes longer than the usual 5 s moves some itself.
    monkeypatch.setattr(writers, "HANDOVER_SECONDS", 1e9)


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    nats = await NatsServer.start(tmp_path / "nats")
    started = Servers(tmp_path, NatsEngine((nats.url,), token=nats.token))
    try:
        yield started
    finally:
        await asyncio.gather(*(node.close() for node in started.nodes))
        await nats.stop()


@pytest.fixture
async def two(servers: Servers) -> Servers:
    await servers.add()
    await servers.add()
    return servers


async def test_what_is_written_anywhere_is_read_everywhere(two: Servers) -> None:
    here, there = two.writer("default"), two.other("default")
    assert here is not there
    for number in range(20):
        writer, reader = (here, there) if number % 2 else (there, here)
        made = await writer.call("POST", CONFIGMAPS, configmap(f"m{number}", a="1"))
        assert made.status == 201, made
        # No resourceVersion: linearizable on the other server; =0: this client's own write on the same one.
        assert (await reader.call("GET", f"{CONFIGMAPS}/m{number}")).body == made.body
        assert (await writer.call("GET", f"{CONFIGMAPS}/m{number}?resourceVersion=0")).body == made.body
        listed = await reader.call("GET", CONFIGMAPS)
        assert len(listed.json["items"]) == number + 1
        gone = await reader.call("GET", f"{CONFIGMAPS}/n{number}")
        assert gone.status == 404
    page = (await here.call("GET", f"{CONFIGMAPS}?limit=7")).json
    rest = (await there.call("GET", f"{CONFIGMAPS}?limit=100&continue={page['metadata']['continue']}")).json
    assert len(page["items"]) + len(rest["items"]) == 20
    assert page["metadata"]["resourceVersion"] == rest["metadata"]["resourceVersion"]
    counters = there.server.replication
    assert counters is not None and counters.forwarded >= 10


async def test_answers_do_not_depend_on_the_server(two: Servers) -> None:
    here, there = two.writer("default"), two.other("default")
    assert (await there.call("POST", CONFIGMAPS, configmap("a", x="1"))).status == 201
    old = (await here.call("GET", f"{CONFIGMAPS}/a")).json
    assert (await here.call("PUT", f"{CONFIGMAPS}/a", {**old, "data": {"x": "2"}})).status == 200
    merge = "application/merge-patch+json"
    apply = "application/apply-patch+yaml"
    for request in (
        ("POST", CONFIGMAPS, configmap("a", x="1")),
        ("PUT", f"{CONFIGMAPS}/a", old),
        ("PUT", f"{CONFIGMAPS}/missing", configmap("missing")),
        ("POST", CONFIGMAPS, {"metadata": {"name": "Bad_Name"}}),
        ("POST", CONFIGMAPS, {"metadata": {"name": "b"}, "data": 7}),
        ("POST", "/api/v1/namespaces/nowhere/configmaps", configmap("c")),
        ("POST", "/api/v1/namespaces/nowhere/pods", pod("c")),
        ("POST", PODS, pod("c", priorityClassName="none")),
        ("PATCH", f"{CONFIGMAPS}/a", {"metadata": {"resourceVersion": "1"}}, merge),
        ("PATCH", f"{CONFIGMAPS}/a", [1], "application/json-patch+json"),
        ("PATCH", f"{CONFIGMAPS}/a?fieldManager=m", configmap("a", x="9"), apply),
        ("PATCH", f"{CONFIGMAPS}/a", {}, "text/plain"),
        ("DELETE", f"{CONFIGMAPS}/missing", None),
        ("DELETE", f"{CONFIGMAPS}/a", {"preconditions": {"uid": "other"}}),
        ("POST", f"{CONFIGMAPS}?dryRun=Some", configmap("d")),
        ("POST", f"{CONFIGMAPS}/a", configmap("a")),
    ):
        first, second = await here.call(*request), await there.call(*request)
        assert first.status >= 400, (request, first)
        assert first.same() == second.same(), request
    # Warnings and field managers come along.
    odd = {**configmap("w"), "surprise": 1}
    first = await here.call("POST", f"{CONFIGMAPS}?dryRun=All", odd)
    second = await there.call("POST", f"{CONFIGMAPS}?dryRun=All", odd)
    assert (
        [v for n, v in first.headers if n.lower() == b"warning"]
        == [v for n, v in second.headers if n.lower() == b"warning"]
        != []
    )
    assert first.json["metadata"]["managedFields"][0]["manager"] == "tests"
    assert second.json["metadata"]["managedFields"][0]["manager"] == "tests"


async def test_a_new_namespace_is_known_to_the_writer_of_its_pods(two: Servers) -> None:
    first, second = two.nodes
    # Pods are written by one server, namespaces by the other.
    await move(two, "pods", first)
    await move(two, "default", second)
    for number in range(10):
        path = f"/api/v1/namespaces/ns{number}"
        asked = two.nodes[number % 2]
        assert (
            await asked.call("POST", "/api/v1/namespaces", {"metadata": {"name": f"ns{number}"}})
        ).status == 201
        account = {"metadata": {"name": "default"}}
        other = two.nodes[(number + 1) % 2]
        assert (await other.call("POST", f"{path}/serviceaccounts", account)).status == 201
        made = await asked.call("POST", f"{path}/pods", pod("a"))
        assert made.status == 201, made


async def test_an_eviction_spends_a_budget_that_another_server_writes(two: Servers) -> None:
    first, second = two.nodes
    await move(two, "pods", first)
    await move(two, "default", second)
    budget = {
        "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}},
    }
    budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
    made = await second.call("POST", budgets, budget)
    assert made.status == 201, made
    await second.call("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    for name in ("p1", "p2"):
        obj = pod(name)
        obj["metadata"]["labels"] = {"app": "x"}
        assert (await first.call("POST", PODS, obj)).status == 201
        status = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
        done = await first.call("PATCH", f"{PODS}/{name}/status", status, "application/merge-patch+json")
        assert done.status == 200, done
    status = {
        "status": {
            "observedGeneration": made.json["metadata"]["generation"],
            "disruptionsAllowed": 1,
            "currentHealthy": 2,
            "desiredHealthy": 1,
            "expectedPods": 2,
        }
    }
    done = await first.call("PATCH", f"{budgets}/b/status", status, "application/merge-patch+json")
    assert done.status == 200, done

    def eviction(name: str) -> Awaitable[Answer]:
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        return second.call("POST", f"{PODS}/{name}/eviction", body)

    evicted = await eviction("p1")
    assert evicted.status == 201, evicted
    left = (await first.call("GET", f"{budgets}/b")).json["status"]
    assert left["disruptionsAllowed"] == 0
    assert list(left["disruptedPods"]) == ["p1"]
    refused = await eviction("p2")
    assert refused.status == 429, refused
    assert "disruption budget" in refused.json["message"]


async def test_watches_on_both_servers_see_the_same(two: Servers) -> None:
    count = 30
    version = (await two.nodes[0].call("GET", CONFIGMAPS)).json["metadata"]["resourceVersion"]
    streams = [
        await node.client._transport.stream(
            "GET", f"{CONFIGMAPS}?watch=1&resourceVersion={version}", timeout=WAIT_SECONDS
        )
        for node in two.nodes
    ]

    async def lines(stream: Any) -> list[bytes]:
        data = b""
        async with asyncio.timeout(WAIT_SECONDS):
            while data.count(b"\n") < count:
                data += await stream.read()
        stream.close()
        return data.splitlines()

    reading = [asyncio.ensure_future(lines(stream)) for stream in streams]
    for number in range(count):
        made = await two.nodes[number % 2].call("POST", CONFIGMAPS, configmap(f"m{number}"))
        assert made.status == 201
    first, second = await asyncio.gather(*reading)
    assert first == second
    names = [msgspec.json.decode(line)["object"]["metadata"]["name"] for line in first]
    assert names == [f"m{n}" for n in range(count)]


async def test_a_definition_made_at_one_server_is_served_at_the_other(two: Servers) -> None:
    here, there = two.writer("default"), two.other("default")
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "jobs.train.example.com"},
        "spec": {
            "group": "train.example.com",
            "scope": "Namespaced",
            "names": {"plural": "jobs", "singular": "job", "kind": "Job"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                    },
                }
            ],
        },
    }
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert (await there.call("POST", definitions, definition)).status == 201

    def established(answer: Answer) -> bool:
        conditions = (answer.json.get("status") or {}).get("conditions") or ()
        return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)

    async with asyncio.timeout(WAIT_SECONDS):
        while not established(await there.call("GET", f"{definitions}/jobs.train.example.com")):
            await asyncio.sleep(0.01)
    jobs = "/apis/train.example.com/v1/namespaces/default/jobs"
    job = {"apiVersion": "train.example.com/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"n": 3}}
    for node in (there, here):
        assert (await node.call("GET", "/apis/train.example.com/v1")).status == 200
    assert (await there.call("POST", jobs, job)).status == 201
    assert (await here.call("GET", f"{jobs}/j")).json["spec"] == {"n": 3}
    assert (await there.call("DELETE", f"{definitions}/jobs.train.example.com")).status == 200
    async with asyncio.timeout(WAIT_SECONDS):
        while (await there.call("GET", f"{definitions}/jobs.train.example.com")).status != 404:
            await asyncio.sleep(0.01)
    for node in (there, here):
        assert (await node.call("GET", jobs)).status == 404


async def move(servers: Servers, name: str, to: Node) -> None:
    """Has a partition handed over."""
    writer = servers.writer(name)
    if writer is to:
        return
    assert writer.server.replication is not None and to.server.replication is not None
    await writer.server.replication.writers._hand_over(name, to.server.replication.writers.url, True)
    assert to.writes(name) and not writer.writes(name)


async def test_a_hand_over_under_load_loses_and_refuses_nothing(two: Servers) -> None:
    first, second = two.nodes
    stop = False
    made: list[str] = []

    async def client(node: Node, number: int) -> None:
        count = 0
        while not stop:
            name = f"c{number}-{count}"
            count += 1
            answer = await node.call("POST", CONFIGMAPS, configmap(name))
            assert answer.status == 201, answer
            made.append(name)

    clients = [asyncio.ensure_future(client(two.nodes[n % 2], n)) for n in range(8)]
    for to in (second, first, second, first):
        reached = len(made) + 20
        await until(lambda reached=reached: len(made) >= reached)  # type: ignore[misc]
        await move(two, "default", to)
    stop = True
    await asyncio.gather(*clients)
    listed = (await second.call("GET", CONFIGMAPS)).json["items"]
    assert sorted(o["metadata"]["name"] for o in listed) == sorted(made)


async def test_a_writer_whose_journal_hangs_is_replaced(
    two: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, other = two.writer("default"), two.other("default")
    partition = stuck.server.cluster.partitions["default"]
    append, release = partition._journal.append, asyncio.Event()

    async def hang(batch: bytes, *, after: int, urgent: bool = False) -> int:
        await release.wait()
        return await append(batch, after=after, urgent=urgent)

    monkeypatch.setattr(partition._journal, "append", hang)
    waiting = [asyncio.ensure_future(stuck.call("POST", CONFIGMAPS, configmap(f"w{n}"))) for n in range(3)]
    # Only until it is replaced: who replaces it may be as slow for a while, and keeps the partition.
    with pytest.MonkeyPatch.context() as quick:
        quick.setattr(writers, "STALL_SECONDS", 0.2)
        quick.setattr(writers, "PROGRESS_SECONDS", 0.2)
        await until(lambda: other.writes("default"))
    assert partition.is_writer, "it lives, and believes that it is the writer"
    for n in range(3):
        assert (await other.call("POST", CONFIGMAPS, configmap(f"o{n}"))).status == 201
    release.set()
    # It is fenced: what waited there was never carried out, and is now, once, by the new writer.
    assert [answer.status for answer in await asyncio.gather(*waiting)] == [201] * 3
    assert not partition.is_writer
    for node in two.nodes:
        listed = (await node.call("GET", CONFIGMAPS)).json["items"]
        assert sorted(o["metadata"]["name"] for o in listed) == ["o0", "o1", "o2", "w0", "w1", "w2"]


async def test_writers_outlive_the_leader_of_their_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A NATS server of three is killed: its streams have no leader for 4 to 9 s. All writes wait, none fails, no writer is replaced."""
    monkeypatch.setattr(
        writers, "PROGRESS_SECONDS", 10.0
    )  # a machine with other work is slower than its journal says
    async with cluster(tmp_path / "nats") as nats:
        engine = NatsEngine(tuple(server.url for server in nats), token="secret", replicas=3)
        servers = Servers(tmp_path, engine)
        try:
            for _ in range(2):
                await servers.add()
            before = [{n: node.writes(n) for n in PARTITIONS} for node in servers.nodes]
            for node in servers.nodes:
                for partition in node.server.cluster.partitions.values():
                    assert isinstance(partition._journal, NatsJournal)
                    # Where much else runs an election takes more than one try.
                    partition._journal._append_seconds = WAIT_SECONDS
            journal = servers.nodes[0].server.cluster.partitions["default"]._journal
            assert isinstance(journal, NatsJournal)
            leader = await leader_of(journal._reader, journal.stream)
            kill(next(server for server in nats if server.name == leader))
            made = await asyncio.gather(
                *(
                    node.call("POST", CONFIGMAPS, configmap(f"m{index}-{n}"))
                    for index, node in enumerate(servers.nodes)
                    for n in range(5)
                )
            )
            assert [answer.status for answer in made] == [201] * 10
            for node in servers.nodes:
                assert len((await node.call("GET", CONFIGMAPS)).json["items"]) == 10
            assert [{n: node.writes(n) for n in PARTITIONS} for node in servers.nodes] == before
            assert not sum(
                p.counters.step_downs
                for node in servers.nodes
                for p in node.server.cluster.partitions.values()
            )
        finally:
            await asyncio.gather(*(node.close() for node in servers.nodes))


async def test_partitions_are_spread_when_a_server_joins_and_when_it_leaves(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "HANDOVER_SECONDS", 0.1)
    first = await servers.add()
    assert all(p.is_writer for p in first.server.cluster.partitions.values())
    second = await servers.add()
    urls = [n.server.replication.writers.url for n in servers.nodes]  # type: ignore[union-attr]
    wanted = writers.assign(list(first.server.cluster.partitions), sorted(urls))

    def spread() -> bool:
        return all(servers.nodes[urls.index(url)].writes(name) for name, url in wanted.items())

    await until(spread)
    # One that is stopped hands over what it has before it goes.
    servers.nodes.remove(second)
    await second.close()
    await until(lambda: all(p.is_writer for p in first.server.cluster.partitions.values()))
    assert (await first.call("POST", CONFIGMAPS, configmap("after"))).status == 201


async def test_a_server_with_other_keys_is_refused(servers: Servers) -> None:
    await servers.add()
    with pytest.raises(
        PkiError, match=r"has not the keys of this cluster \(ca.crt, front-proxy-ca.crt, sa.key differ\)"
    ):
        await servers.add(own_keys=True)


async def test_health_tells_what_is_wrong(two: Servers) -> None:
    first = two.nodes[0]
    ready = await first.call("GET", "/readyz?verbose")
    for name in ("journal-pods", "writer-leases", "partition-events", "poststarthook/bootstrap"):
        assert f"[+]{name} ok" in ready.body.decode()
    assert (await first.call("GET", "/readyz/writer-pods")).body == b"ok"
    replication = first.server.replication
    assert replication is not None
    # The journal is away, as a barrier that has never been passed has it: not ready, but alive.
    with pytest.MonkeyPatch.context() as away:
        away.setitem(replication.barriers, "pods", Barrier(first.server.cluster.partitions["pods"]))
        answer = await first.call("GET", "/readyz?verbose")
        live = await first.call("GET", "/livez?verbose")
    assert answer.status == 500
    assert "[-]journal-pods failed" in answer.body.decode()
    assert live.status == 200
    assert "journal" not in live.body.decode()
    leases = (await first.call("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases")).json[
        "items"
    ]
    labels = {"apiserver.kubernetes.io/identity": "kube-apiserver"}
    assert [
        labels.items() <= o["metadata"]["labels"].items()
        for o in leases
        if o["metadata"]["name"].startswith("apiserver-")
    ] == [True, True]


async def test_nobody_else_speaks_for_others(two: Servers) -> None:
    """The headers of a front proxy count with its certificate only."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    answer = await two.nodes[0].call(
        "POST", path, body, **{"X-Remote-User": "root", "X-Lakh-Seen": "pods=99999"}
    )
    assert answer.json["status"]["userInfo"]["username"] == "kubernetes-admin"
    asked = await two.other("default").call(
        "POST", CONFIGMAPS, configmap("x"), **{"X-Remote-User": "root", "X-Lakh-Seen": "default=99999"}
    )
    assert asked.status == 201, asked


async def test_who_acts_as_somebody_else_does_so_at_the_writer_too(two: Servers) -> None:
    spec = {"request": REQUEST, "signerName": "example.com/x", "usages": ["client auth"]}
    body = {"metadata": {"generateName": "jane-"}, "spec": spec}
    jane = {"Impersonate-User": "jane", "Impersonate-Uid": "7", "Impersonate-Extra-Team": "red"}
    for node in two.nodes:
        path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
        made = (await node.call("POST", path, body, **jane)).json["spec"]
        assert (made["username"], made["uid"], made["extra"]) == ("jane", "7", {"team": ["red"]})
        assert made["groups"] == ["system:authenticated"]


async def test_the_endpoints_of_the_service_kubernetes_are_the_servers_that_are_there(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownendpoints, "advertised_address", lambda: "10.9.8.7")
    await servers.add()
    await servers.add()
    partition = servers.nodes[0].server.cluster.partitions["default"]

    def ports() -> list[int]:
        item = partition.get("endpoints/default/kubernetes")
        found = msgspec.json.decode(item.value)["subsets"] if item is not None else []
        assert all(subset["addresses"] == [{"ip": "10.9.8.7"}] for subset in found)
        return [subset["ports"][0]["port"] for subset in found]

    def slices() -> list[tuple[str, int]]:
        found = (
            msgspec.json.decode(i.value)
            for i in partition.range("endpointslices.discovery.k8s.io", "default").items
        )
        return [(s["metadata"]["name"], s["ports"][0]["port"]) for s in found]

    both = sorted(node.server.port for node in servers.nodes)
    await until(lambda: ports() == both)
    await until(lambda: slices() == [("kubernetes", both[0]), (f"kubernetes-{both[1]}", both[1])])
    gone = servers.nodes.pop()
    await gone.close()
    left = servers.nodes[0].server.port
    await until(lambda: ports() == [left] and slices() == [("kubernetes", left)])
