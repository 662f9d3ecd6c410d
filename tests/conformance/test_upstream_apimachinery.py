"""Upstream's conformance tests of api-machinery: discovery, lists in chunks, watches, field validation, webhook configurations."""

from __future__ import annotations

import base64
import itertools
import json
import random
import threading
from typing import Any

import pytest

from .cluster import eventually
from .rest import Events, Rest
from .upstream import covers

pytestmark = pytest.mark.xdist_group("conformance")

_numbers = itertools.count(1)

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


def unique(prefix: str) -> str:
    """A name that no other test has."""
    return f"{prefix}-{next(_numbers)}"


# What upstream's test of aggregated discovery looks for.
BUILT_IN = {
    "apps/v1": {"deployments", "replicasets", "statefulsets", "daemonsets", "controllerrevisions"},
    "batch/v1": {"jobs", "cronjobs"},
    "v1": {"pods", "nodes", "services", "configmaps", "secrets", "namespaces", "events"},
    "rbac.authorization.k8s.io/v1": {"roles", "rolebindings", "clusterroles", "clusterrolebindings"},
    "policy/v1": {"poddisruptionbudgets"},
    "networking.k8s.io/v1": {"ingresses", "networkpolicies", "ingressclasses"},
    "coordination.k8s.io/v1": {"leases"},
    "storage.k8s.io/v1": {"storageclasses", "volumeattachments", "csinodes", "csidrivers"},
    "apiextensions.k8s.io/v1": {"customresourcedefinitions"},
    "apiregistration.k8s.io/v1": {"apiservices"},
    "scheduling.k8s.io/v1": {"priorityclasses"},
}


def aggregated(rest: Rest) -> dict[str, set[str]]:
    """Group and version → resources, from the documents of /api and /apis."""
    found: dict[str, set[str]] = {}
    for path in ("/api", "/apis"):
        answer = rest.get(path, AGGREGATED)
        assert "as=APIGroupDiscoveryList" in answer.headers["Content-Type"]
        document = json.loads(answer.text)
        assert (document["kind"], document["apiVersion"]) == (
            "APIGroupDiscoveryList",
            "apidiscovery.k8s.io/v2",
        )
        for group in document["items"]:
            name = group["metadata"].get("name", "")
            for version in group["versions"]:
                key = f"{name}/{version['version']}" if name else version["version"]
                found[key] = {r["resource"] for r in version["resources"]}
    return found


class TestDiscovery:
    @covers(
        "AggregatedDiscovery should support aggregated discovery interface",
        "AggregatedDiscovery should support raw aggregated discovery endpoint Accept headers",
    )
    def test_aggregated(self, rest: Rest) -> None:
        found = aggregated(rest)
        for version, resources in BUILT_IN.items():
            assert resources <= found[version], version
        assert rest.get("/apis").ok(200)["kind"] == "APIGroupList"

    @covers(
        "Discovery should validate PreferredVersion for each APIGroup",
        "Discovery should locate the groupVersion and a resource within each APIGroup",
        "AdmissionWebhook should include webhook resources in discovery documents",
        "CustomResourceDefinition resources should include custom resource definition resources in discovery documents",
    )
    def test_groups(self, rest: Rest) -> None:
        groups = rest.get("/apis").ok(200)["groups"]
        for group in groups:
            assert group["preferredVersion"] in group["versions"]
            assert rest.get(f"/apis/{group['name']}").ok(200)["versions"] == group["versions"]
            for version in group["versions"]:
                listed = rest.get(f"/apis/{version['groupVersion']}").ok(200)
                assert listed["groupVersion"] == version["groupVersion"]
                assert listed["resources"]
        names = {g["name"] for g in groups}
        assert {"admissionregistration.k8s.io", "apiextensions.k8s.io"} <= names
        webhooks = rest.get("/apis/admissionregistration.k8s.io/v1").ok(200)["resources"]
        assert {"mutatingwebhookconfigurations", "validatingwebhookconfigurations"} <= {
            r["name"] for r in webhooks
        }
        definitions = rest.get("/apis/apiextensions.k8s.io/v1").ok(200)["resources"]
        assert "customresourcedefinitions" in {r["name"] for r in definitions}

    @covers("server version should find the server version")
    def test_version(self, rest: Rest) -> None:
        version = rest.get("/version").ok(200)
        assert version["major"].isdigit()
        assert version["minor"].isdigit()

    @covers(
        "Servers with support for Table transformation should return a 406 for a backend which does not implement metadata"
    )
    def test_tables_of_reviews(self, rest: Rest) -> None:
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"namespace": "default", "verb": "list", "resource": "pods"}},
        }
        rest.post(
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            body,
            headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"},
        ).refused(406, "NotAcceptable")


class TestChunks:
    TOTAL = 400

    def fill(self, rest: Rest, namespace: str) -> str:
        path = f"/api/v1/namespaces/{namespace}/podtemplates"
        for number in range(self.TOTAL):
            rest.post(path, template(f"template-{number:04d}")).ok(201)
        return path

    @covers("Servers with support for API chunking should return chunks of results for list calls")
    def test_pages(self, rest: Rest, namespace: str) -> None:
        path = self.fill(rest, namespace)
        for seed in range(3):
            rng = random.Random(seed)
            names: list[str] = []
            token, revision = "", ""
            while True:
                limit = rng.randint(1, self.TOTAL // 10)
                page = rest.get(f"{path}?limit={limit}&continue={token}").ok(200)
                meta = page["metadata"]
                assert len(page["items"]) <= limit
                revision = revision or meta["resourceVersion"]
                assert meta["resourceVersion"] == revision
                names += [i["metadata"]["name"] for i in page["items"]]
                token = meta.get("continue", "")
                if not token:
                    assert "remainingItemCount" not in meta
                    break
                assert meta["remainingItemCount"] + len(names) == self.TOTAL
            assert names == [f"template-{n:04d}" for n in range(self.TOTAL)]
        whole = rest.get(f"{path}?limit={self.TOTAL + 1}").ok(200)
        assert len(whole["items"]) == self.TOTAL
        assert "continue" not in whole["metadata"]

    @covers(
        "Servers with support for API chunking should support continue listing from the last key if the original version "
        "has been compacted away, though the list is inconsistent"
    )
    def test_expired_token(self, rest: Rest, namespace: str) -> None:
        """Upstream waits minutes for the token to expire; here it is made older."""
        path = self.fill(rest, namespace)
        tenth = self.TOTAL // 10
        first = rest.get(f"{path}?limit={tenth}").ok(200)
        token = json.loads(base64.urlsafe_b64decode(first["metadata"]["continue"] + "=="))
        token["at"] -= 3600
        aged = base64.urlsafe_b64encode(json.dumps(token).encode()).decode().rstrip("=")
        rest.post(path, template("template-9999")).ok(201)
        expired = rest.get(f"{path}?limit={tenth}&continue={aged}").refused(
            410, "Expired", "too old to display"
        )
        names = [i["metadata"]["name"] for i in first["items"]]
        page = rest.get(f"{path}?limit={tenth}&continue={expired['metadata']['continue']}").ok(200)
        revision = page["metadata"]["resourceVersion"]
        assert revision != first["metadata"]["resourceVersion"]
        while True:
            names += [i["metadata"]["name"] for i in page["items"]]
            assert page["metadata"]["resourceVersion"] == revision
            following = page["metadata"].get("continue")
            if not following:
                break
            assert page["metadata"]["remainingItemCount"] + len(names) == self.TOTAL + 1
            page = rest.get(f"{path}?limit={tenth}&continue={following}").ok(200)
        assert names == [*(f"template-{n:04d}" for n in range(self.TOTAL)), "template-9999"]


def template(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PodTemplate",
        "metadata": {"name": name},
        "template": {"spec": {"containers": [{"name": "test", "image": "test2"}]}},
    }


class TestWatchers:
    """All on config maps, as upstream's."""

    def path(self, namespace: str) -> str:
        return f"/api/v1/namespaces/{namespace}/configmaps"

    def config_map(self, name: str, label: str, **data: str) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {"watch-this": label}},
            "data": data,
        }

    @covers("Watchers should observe add, update, and delete watch notifications on configmaps")
    def test_labels(self, rest: Rest, namespace: str) -> None:
        path = self.path(namespace)
        with (
            rest.watch(f"{path}?labelSelector=watch-this%3Da") as a,
            rest.watch(f"{path}?labelSelector=watch-this%3Db") as b,
            rest.watch(f"{path}?labelSelector=watch-this+in+(a,b)") as both,
        ):
            rest.post(path, self.config_map("cm-a", "a")).ok(201)
            rest.patch(f"{path}/cm-a", {"data": {"mutation": "1"}}).ok(200)
            rest.patch(f"{path}/cm-a", {"data": {"mutation": "2"}}).ok(200)
            rest.delete(f"{path}/cm-a").ok(200)
            rest.post(path, self.config_map("cm-b", "b")).ok(201)
            rest.delete(f"{path}/cm-b").ok(200)
            of_a = [a.next() for _ in range(4)]
            of_b = [b.next() for _ in range(2)]
            of_both = [both.next() for _ in range(6)]
        assert [e["type"] for e in of_a] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]
        assert [e["object"].get("data", {}).get("mutation") for e in of_a] == [None, "1", "2", "2"]
        assert [(e["type"], e["object"]["metadata"]["name"]) for e in of_b] == [
            ("ADDED", "cm-b"),
            ("DELETED", "cm-b"),
        ]
        assert of_both == of_a + of_b

    @covers("Watchers should be able to start watching from a specific resource version")
    def test_from_a_version(self, rest: Rest, namespace: str) -> None:
        path = self.path(namespace)
        rest.post(path, self.config_map("cm", "v")).ok(201)
        first = rest.patch(f"{path}/cm", {"data": {"mutation": "1"}}).ok(200)
        rest.patch(f"{path}/cm", {"data": {"mutation": "2"}}).ok(200)
        rest.delete(f"{path}/cm").ok(200)
        version = first["metadata"]["resourceVersion"]
        with rest.watch(f"{path}?labelSelector=watch-this%3Dv&resourceVersion={version}") as events:
            found = [events.next() for _ in range(2)]
        assert [(e["type"], e["object"]["data"]["mutation"]) for e in found] == [
            ("MODIFIED", "2"),
            ("DELETED", "2"),
        ]

    @covers(
        "Watchers should be able to restart watching from the last resource version observed by the previous watch"
    )
    def test_restarts(self, rest: Rest, namespace: str) -> None:
        path = self.path(namespace)
        with rest.watch(f"{path}?labelSelector=watch-this%3Dr") as events:
            rest.post(path, self.config_map("cm", "r")).ok(201)
            rest.patch(f"{path}/cm", {"data": {"mutation": "1"}}).ok(200)
            assert events.next()["type"] == "ADDED"
            last = events.next()["object"]["metadata"]["resourceVersion"]
        rest.patch(f"{path}/cm", {"data": {"mutation": "2"}}).ok(200)
        rest.delete(f"{path}/cm").ok(200)
        with rest.watch(f"{path}?labelSelector=watch-this%3Dr&resourceVersion={last}") as events:
            assert [events.next()["type"] for _ in range(2)] == ["MODIFIED", "DELETED"]

    @covers("Watchers should observe an object deletion if it stops meeting the requirements of the selector")
    def test_selector(self, rest: Rest, namespace: str) -> None:
        path = self.path(namespace)

        def label(value: str) -> None:
            rest.patch(f"{path}/cm", {"metadata": {"labels": {"watch-this": value}}}).ok(200)

        with rest.watch(f"{path}?labelSelector=watch-this%3Ds") as events:
            rest.post(path, self.config_map("cm", "s")).ok(201)
            rest.patch(f"{path}/cm", {"data": {"mutation": "1"}}).ok(200)
            label("other")
            rest.patch(f"{path}/cm", {"data": {"mutation": "2"}}).ok(200)
            label("s")
            rest.patch(f"{path}/cm", {"data": {"mutation": "3"}}).ok(200)
            rest.delete(f"{path}/cm").ok(200)
            found = [events.next() for _ in range(6)]
        assert [(e["type"], e["object"].get("data", {}).get("mutation")) for e in found] == [
            ("ADDED", None),
            ("MODIFIED", "1"),
            ("DELETED", "1"),
            ("ADDED", "2"),
            ("MODIFIED", "3"),
            ("DELETED", "3"),
        ]

    @covers("Watchers should receive events on concurrent watches in same order")
    def test_order(self, rest: Rest, namespace: str) -> None:
        path, total = self.path(namespace), 40

        def write() -> None:
            rng = random.Random(7)
            alive: list[int] = []
            for number in range(total):
                choice = rng.randrange(3) if alive else 0
                if choice == 0:
                    rest.post(path, self.config_map(f"cm-{number}", "o")).ok(201)
                    alive.append(number)
                elif choice == 1:
                    rest.patch(f"{path}/cm-{rng.choice(alive)}", {"data": {"n": str(number)}}).ok(200)
                else:
                    rest.delete(f"{path}/cm-{alive.pop(rng.randrange(len(alive)))}").ok(200)

        writer = threading.Thread(target=write)
        with rest.watch(f"{path}?labelSelector=watch-this%3Do") as events:
            writer.start()
            seen = [events.next() for _ in range(total)]
        writer.join()
        versions = [e["object"]["metadata"]["resourceVersion"] for e in seen]
        assert versions == sorted(versions, key=int)
        for start in range(0, total - 1, 7):
            with rest.watch(
                f"{path}?labelSelector=watch-this%3Do&resourceVersion={versions[start]}"
            ) as again:
                assert [again.next() for _ in range(total - start - 1)] == seen[start + 1 :]


DEPLOYMENT = """{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"my-dep",%s"labels":{"app":"nginx"}},"spec":{%s
"selector":{"matchLabels":{"app":"nginx"}},"template":{"metadata":{"labels":{"app":"nginx"}},
"spec":{"containers":[{"name":"nginx","image":"nginx:latest"}]}}}}"""


class TestFieldValidation:
    @covers("FieldValidation should detect unknown and duplicate fields of a typed object")
    def test_unknown_and_duplicate(self, rest: Rest, namespace: str) -> None:
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments?fieldManager=m&fieldValidation="
        body = DEPLOYMENT % ("", '"unknownField":"foo","replicas":2,"replicas":3,')
        text = 'unknown field "spec.unknownField", duplicate field "spec.replicas"'
        rest.post(path + "Strict", body).refused(400, "BadRequest", f"strict decoding error: {text}")
        warned = rest.post(path + "Warn", body)
        assert warned.ok(201)["spec"]["replicas"] == 3
        assert [w.partition("- ")[2] for w in warned.warnings] == [
            '"unknown field \\"spec.unknownField\\""',
            '"duplicate field \\"spec.replicas\\""',
        ]
        ignored = rest.post(path + "Ignore", body.replace("my-dep", "my-other"))
        assert ignored.ok(201)
        assert ignored.warnings == []

    @covers("FieldValidation should detect unknown metadata fields of a typed object")
    def test_unknown_metadata(self, rest: Rest, namespace: str) -> None:
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments?fieldManager=m&fieldValidation=Strict"
        rest.post(path, DEPLOYMENT % ('"unknownMeta":"foo",', "")).refused(
            400, "BadRequest", 'strict decoding error: unknown field "metadata.unknownMeta"'
        )


RULE = {
    "apiGroups": ["case.example.com"],
    "apiVersions": ["v1"],
    "operations": ["CREATE"],
    "resources": ["cases"],
}


def webhook(kind: str, name: str, conditions: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": "case.example.com",
                "clientConfig": {"url": "https://127.0.0.1:1/case"},
                "rules": [RULE],
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "failurePolicy": "Ignore",
                "matchConditions": conditions,
            }
        ],
    }


CONDITION = {"name": "expression-1", "expression": "object.metadata.namespace == 'production'"}
OTHER_CONDITION = {"name": "expression-2", "expression": "object.metadata.namespace == 'staging'"}


@covers(
    "AdmissionWebhook should be able to create and update mutating webhook configurations with match conditions",
    "AdmissionWebhook should be able to create and update validating webhook configurations with match conditions",
    "AdmissionWebhook should reject mutating webhook configurations with invalid match conditions",
    "AdmissionWebhook should reject validating webhook configurations with invalid match conditions",
)
@pytest.mark.parametrize("kind", ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"])
def test_match_conditions(rest: Rest, kind: str) -> None:
    path = f"/apis/admissionregistration.k8s.io/v1/{kind.lower()}s"
    name = unique("conditions")
    rest.post(path, webhook(kind, name, [CONDITION])).ok(201)
    obj = rest.get(f"{path}/{name}").ok(200)
    assert obj["webhooks"][0]["matchConditions"] == [CONDITION]
    obj["webhooks"][0]["matchConditions"] = [OTHER_CONDITION, CONDITION]
    rest.put(f"{path}/{name}", obj).ok(200)
    assert rest.get(f"{path}/{name}").ok(200)["webhooks"][0]["matchConditions"] == [
        OTHER_CONDITION,
        CONDITION,
    ]
    broken = {"name": "invalid-expression-1", "expression": "... [] bad expression"}
    rest.post(path, webhook(kind, unique("conditions"), [broken])).refused(
        422, "Invalid", "compilation failed"
    )
    rest.delete(f"{path}/{name}").ok(200)


def test_events_are_read_whole(rest: Rest, namespace: str) -> None:
    """The helper itself: what upstream's tests stand on."""
    with rest.watch(
        f"/api/v1/namespaces/{namespace}/configmaps?fieldSelector=metadata.name%3Dlarge"
    ) as events:
        assert isinstance(events, Events)
        rest.post(
            f"/api/v1/namespaces/{namespace}/configmaps",
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "large"},
                "data": {"k": "x" * 300_000},
            },
        ).ok(201)
        assert eventually(lambda: len(events.next()["object"]["data"]["k"]) == 300_000)
