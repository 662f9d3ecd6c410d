"""The requests of the corpus, each with the upstream source that its answers were checked against."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.conformance import manifests
from tests.conformance.test_upstream_apps import WORKLOADS
from tests.conformance.test_upstream_resources import CASES as KINDS

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
SERVICES = "/api/v1/namespaces/default/services"
PODS = "/api/v1/namespaces/default/pods"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@dataclass(frozen=True)
class Step:
    """One request."""

    method: str
    path: str
    body: Any = None
    kind: str = JSON
    agent: str = "golden/1"


@dataclass(frozen=True)
class Case:
    """Requests in order. `only`: the top-level fields of successes that are compared."""

    name: str
    source: str
    steps: tuple[Step, ...]
    only: tuple[str, ...] = ()


def post(path: str, body: Any, **more: str) -> Step:
    return Step("POST", path, body, **more)


def patch(path: str, body: Any, kind: str, **more: str) -> Step:
    return Step("PATCH", path, body, kind, **more)


def apply(path: str, body: Any, manager: str = "a", query: str = "") -> Step:
    text = body.encode() if isinstance(body, str) else body
    return Step("PATCH", f"{path}?fieldManager={manager}{query}", text, APPLY)


def configmap(data: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", **metadata}}
    if data is not None:
        made["data"] = data
    return made


def deployment(replicas: int | None = 1, **containers: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "selector": {"matchLabels": {"app": "d"}},
        "template": {
            "metadata": {"labels": {"app": "d"}},
            "spec": {"containers": [{"name": n, **c} for n, c in containers.items()]},
        },
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}


def service(*ports: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"clusterIP": "None", "ports": list(ports)},
    }


SSA = "staging/src/k8s.io/apimachinery/pkg/util/managedfields, sigs.k8s.io/structured-merge-diff/merge"
SMP = "staging/src/k8s.io/apimachinery/pkg/util/strategicpatch/patch_test.go"
PATCHES = "staging/src/k8s.io/apiserver/pkg/endpoints/handlers/patch.go"
STRICT = "test/integration/apiserver/field_validation_test.go"

APPLIES = (
    Case(
        "apply: create, change nothing, add, drop",
        SSA,
        (
            apply(f"{CONFIGMAPS}/c", configmap({"a": "1", "b": "2"})),
            apply(f"{CONFIGMAPS}/c", configmap({"a": "1", "b": "2"})),
            apply(f"{CONFIGMAPS}/c", configmap({"a": "1", "c": "3"})),
            apply(f"{CONFIGMAPS}/c", configmap()),
        ),
        ("metadata", "data"),
    ),
    Case(
        "apply: conflict of one field, of two, and force",
        SSA + "/conflict.go",
        (
            apply(f"{CONFIGMAPS}/c", configmap({"a": "1", "b": "2"}), "first"),
            apply(f"{CONFIGMAPS}/c", configmap({"a": "x"}), "second"),
            apply(f"{CONFIGMAPS}/c", configmap({"a": "x", "b": "y"}), "second"),
            patch(f"{CONFIGMAPS}/c", {"data": {"b": "updated"}}, MERGE, agent="updater/1"),
            apply(f"{CONFIGMAPS}/c", configmap({"a": "x", "b": "y"}), "second"),
            apply(f"{CONFIGMAPS}/c", configmap({"a": "x", "b": "y"}), "second", "&force=true"),
        ),
        ("metadata", "data"),
    ),
    Case(
        "apply: shared ownership keeps what one of the owners drops",
        SSA,
        (
            apply(f"{CONFIGMAPS}/c", configmap({"a": "1", "b": "2"}), "first"),
            apply(f"{CONFIGMAPS}/c", configmap({"a": "1"}), "second"),
            apply(f"{CONFIGMAPS}/c", configmap({"b": "2"}), "first"),
            apply(f"{CONFIGMAPS}/c", configmap({}), "second"),
        ),
        ("metadata", "data"),
    ),
    Case(
        "apply: an updater takes a field, the applier gives it up",
        SSA,
        (
            apply(f"{DEPLOYMENTS}/d", deployment(3, nginx={"image": "nginx:1"}), "owner"),
            patch(f"{DEPLOYMENTS}/d", {"spec": {"replicas": 5}}, MERGE, agent="autoscaler/1"),
            apply(f"{DEPLOYMENTS}/d", deployment(3, nginx={"image": "nginx:1"}), "owner"),
            apply(f"{DEPLOYMENTS}/d", deployment(None, nginx={"image": "nginx:1"}), "owner"),
        ),
        ("metadata",),
    ),
    Case(
        "apply: list map with two keys",
        SSA + ", core/v1 ServicePort",
        (
            apply(
                f"{SERVICES}/s",
                service({"name": "a", "port": 80}, {"name": "b", "port": 80, "protocol": "UDP"}),
                "x",
            ),
            apply(f"{SERVICES}/s", service({"name": "c", "port": 81}), "y"),
            apply(f"{SERVICES}/s", service({"name": "b", "port": 80, "protocol": "UDP"}), "x"),
            apply(f"{SERVICES}/s", service({"name": "d", "port": 80, "protocol": "UDP"}), "y"),
        ),
        ("metadata", "spec"),
    ),
    Case(
        "apply: set list (finalizers) merges, each drops its own",
        SSA + ", metav1.ObjectMeta",
        (
            apply(f"{CONFIGMAPS}/c", configmap(finalizers=["example.com/a"]), "x"),
            apply(f"{CONFIGMAPS}/c", configmap(finalizers=["example.com/b"]), "y"),
            apply(f"{CONFIGMAPS}/c", configmap(), "x"),
        ),
        ("metadata",),
    ),
    Case(
        "apply: atomic list (arguments) is one field",
        SSA + ", core/v1 Container",
        (
            apply(f"{DEPLOYMENTS}/d", deployment(1, c={"image": "i", "args": ["a", "b"]}), "x"),
            apply(f"{DEPLOYMENTS}/d", deployment(1, c={"args": ["a", "c"]}), "y"),
            apply(f"{DEPLOYMENTS}/d", deployment(1, c={"args": ["a", "c"]}), "y", "&force=true"),
        ),
        ("metadata",),
    ),
    Case(
        "apply: containers of two managers, one goes with its manager",
        SSA,
        (
            apply(f"{DEPLOYMENTS}/d", deployment(1, main={"image": "main:1"}), "x"),
            apply(f"{DEPLOYMENTS}/d", deployment(1, sidecar={"image": "side:1"}), "y"),
            apply(
                f"{DEPLOYMENTS}/d",
                {
                    **deployment(1),
                    "spec": {**deployment(1)["spec"], "template": {"metadata": {"labels": {"app": "d"}}}},
                },
                "y",
            ),
        ),
        ("metadata",),
    ),
    Case(
        "apply: what cannot be merged",
        SSA + "/typed",
        (
            apply(f"{DEPLOYMENTS}/d", deployment(1, c={"image": "i", "nope": 1})),
            apply(f"{SERVICES}/s", service({"name": "a", "port": 80}, {"name": "b", "port": 80})),
            apply(f"{DEPLOYMENTS}/d", {**deployment(1), "spec": {"replicas": "three"}}),
            apply(f"{CONFIGMAPS}/c", {**configmap(), "metadata": {"name": "c", "managedFields": [{}]}}),
            apply(f"{CONFIGMAPS}/c", {**configmap(), "kind": "Secret"}),
            apply(f"{CONFIGMAPS}/c", "[1]"),
            apply(f"{CONFIGMAPS}/c", "a: ["),
            Step("PATCH", f"{CONFIGMAPS}/c", json.dumps(configmap()).encode(), APPLY),
        ),
    ),
    Case(
        "apply: names that are there twice in YAML",
        PATCHES,
        tuple(
            apply(
                f"{CONFIGMAPS}/c",
                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  a: one\n  a: two\n",
                query=f"&fieldValidation={how}",
            )
            for how in ("Strict", "Warn", "Ignore")
        ),
        ("data",),
    ),
    Case(
        "apply: kubectl takes over from its client-side apply",
        SSA + "/lastappliedmanager.go",
        (
            post(
                f"{CONFIGMAPS}?fieldManager=kubectl-client-side-apply",
                configmap(
                    {"a": "1", "b": "2"},
                    annotations={
                        "kubectl.kubernetes.io/last-applied-configuration": json.dumps(
                            configmap({"a": "1", "b": "2"}, annotations={}, namespace="default")
                        )
                    },
                ),
            ),
            apply(f"{CONFIGMAPS}/c", configmap({"a": "changed"}), "other"),
            apply(f"{CONFIGMAPS}/c", configmap({"a": "changed"}), "kubectl"),
        ),
        ("metadata", "data"),
    ),
    Case(
        "apply: of status, and of scale",
        SSA + "/scalehandler.go",
        (
            post(DEPLOYMENTS, deployment(1, c={"image": "i"})),
            apply(
                f"{DEPLOYMENTS}/d/status",
                {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "metadata": {"name": "d"},
                    "status": {"replicas": 1},
                },
                "controller",
            ),
            apply(
                f"{DEPLOYMENTS}/d/scale",
                {
                    "apiVersion": "autoscaling/v1",
                    "kind": "Scale",
                    "metadata": {"name": "d"},
                    "spec": {"replicas": 4},
                },
                "scaler",
            ),
            apply(
                f"{DEPLOYMENTS}/d/scale",
                {
                    "apiVersion": "autoscaling/v1",
                    "kind": "Scale",
                    "metadata": {"name": "d"},
                    "spec": {"replicas": 4},
                },
                "scaler",
                "&force=true",
            ),
            Step("GET", f"{DEPLOYMENTS}/d"),
        ),
        ("metadata", "status"),
    ),
    Case(
        "managedFields: reset by one empty entry, ignored when broken",
        SSA + "/fieldmanager.go",
        (
            post(CONFIGMAPS, configmap({"a": "1"})),
            patch(f"{CONFIGMAPS}/c", {"metadata": {"managedFields": [{"operation": "Nonsense"}]}}, MERGE),
            patch(f"{CONFIGMAPS}/c", {"metadata": {"managedFields": [{}]}}, MERGE),
            patch(f"{CONFIGMAPS}/c", {"data": {"b": "2"}}, MERGE),
            apply(f"{CONFIGMAPS}/c", configmap({"c": "3"}), "x"),
        ),
        ("metadata", "data"),
    ),
)

PATCHES_OF_EACH_TYPE = (
    Case(
        "json patch: operations",
        PATCHES,
        (
            post(CONFIGMAPS, configmap({"a": "1", "b": "2"})),
            patch(
                f"{CONFIGMAPS}/c",
                [
                    {"op": "test", "path": "/data/a", "value": "1"},
                    {"op": "add", "path": "/metadata/labels", "value": {"x/y": "1", "~": "2"}},
                    {"op": "replace", "path": "/metadata/labels/x~1y", "value": "3"},
                    {"op": "remove", "path": "/metadata/labels/~0"},
                    {"op": "replace", "path": "/data/b", "value": "two"},
                    {"op": "move", "from": "/data/a", "path": "/data/e"},
                    {"op": "copy", "from": "/data/b", "path": "/data/f"},
                ],
                JSON_PATCH,
            ),
            patch(f"{CONFIGMAPS}/c", [{"op": "test", "path": "/data/b", "value": "2"}], JSON_PATCH),
            patch(f"{CONFIGMAPS}/c", [{"op": "remove", "path": "/data/missing"}], JSON_PATCH),
            patch(f"{CONFIGMAPS}/c", {"op": "remove"}, JSON_PATCH),
            patch(f"{CONFIGMAPS}/c", [{"op": "add", "path": "/data/n", "value": 5}], JSON_PATCH),
            patch(
                f"{CONFIGMAPS}/c", [{"op": "replace", "path": "/metadata/name", "value": "other"}], JSON_PATCH
            ),
        ),
        ("data",),
    ),
    Case(
        "merge patch: nulls, lists, what does not fit",
        PATCHES,
        (
            post(DEPLOYMENTS, deployment(1, c={"image": "i"})),
            patch(f"{DEPLOYMENTS}/d", {"spec": {"replicas": None, "minReadySeconds": 5}}, MERGE),
            patch(f"{DEPLOYMENTS}/d?fieldValidation=Strict", {"spec": {"foo": 1}}, MERGE),
            patch(f"{DEPLOYMENTS}/d?fieldValidation=Warn", {"spec": {"foo": 1}}, MERGE),
            patch(f"{DEPLOYMENTS}/d", {"spec": {"replicas": "many"}}, MERGE),
            patch(f"{DEPLOYMENTS}/d?fieldValidation=Strict", b'{"spec":{"replicas":2,"replicas":3}}', MERGE),
            patch(f"{DEPLOYMENTS}/d", b"[]", MERGE),
            patch(f"{DEPLOYMENTS}/d?force=true", {}, MERGE),
            patch(f"{DEPLOYMENTS}/missing", {}, MERGE),
            patch(f"{DEPLOYMENTS}/d", {}, "application/nonsense"),
        ),
        ("spec",),
    ),
    Case(
        "strategic merge patch: directives",
        SMP,
        (
            post(DEPLOYMENTS, deployment(1, a={"image": "a"}, b={"image": "b"})),
            patch(
                f"{DEPLOYMENTS}/d",
                {
                    "spec": {
                        "template": {
                            "spec": {
                                "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
                                "containers": [
                                    {"name": "c", "image": "c"},
                                    {"name": "a", "image": "a2"},
                                    {"name": "b", "$patch": "delete"},
                                ],
                            }
                        }
                    }
                },
                STRATEGIC,
            ),
            patch(
                f"{DEPLOYMENTS}/d",
                {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}},
                STRATEGIC,
            ),
            patch(
                f"{DEPLOYMENTS}/d",
                {
                    "spec": {
                        "template": {
                            "spec": {"containers": [{"$patch": "replace"}, {"name": "z", "image": "z"}]}
                        }
                    }
                },
                STRATEGIC,
            ),
            patch(
                f"{DEPLOYMENTS}/d",
                {"metadata": {"finalizers": ["example.com/a", "example.com/b"]}},
                STRATEGIC,
            ),
            patch(
                f"{DEPLOYMENTS}/d",
                {"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a"]}},
                STRATEGIC,
            ),
            patch(f"{DEPLOYMENTS}/d", {"spec": {"$patch": "nonsense"}}, STRATEGIC),
            patch(
                f"{DEPLOYMENTS}/d",
                {"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}},
                STRATEGIC,
            ),
            patch(
                f"{DEPLOYMENTS}/d?fieldValidation=Strict",
                {"spec": {"foo": {"b": 1, "a": [True, None]}}},
                STRATEGIC,
            ),
        ),
        ("spec",),
    ),
)

WRITES = (
    Case(
        "update: stale, unconditional, immutable metadata, precondition",
        "staging/src/k8s.io/apiserver/pkg/registry/generic/registry/store.go, apimachinery/pkg/api/validation/objectmeta.go",
        (
            post(CONFIGMAPS, configmap({"a": "1"})),
            Step("PUT", f"{CONFIGMAPS}/c", configmap({"a": "2"}, resourceVersion="999999")),
            Step("PUT", f"{CONFIGMAPS}/c", configmap({"a": "2"})),
            Step("PUT", f"{CONFIGMAPS}/c", configmap({"a": "2"}, uid="00000000-0000-0000-0000-000000000000")),
            Step("PUT", f"{CONFIGMAPS}/other", configmap({"a": "2"})),
            Step("PUT", f"{CONFIGMAPS}/c", configmap({"a": "2"}, namespace="kube-system")),
            Step("PUT", f"{CONFIGMAPS}/c", configmap({"a": "2"}, resourceVersion="abc")),
            Step("DELETE", f"{CONFIGMAPS}/c", {"preconditions": {"uid": "no-such"}}),
            Step("DELETE", f"{CONFIGMAPS}/c", {"preconditions": {"resourceVersion": "1"}}),
            Step("DELETE", f"{CONFIGMAPS}/c", {"propagationPolicy": "Nonsense"}),
        ),
        ("data",),
    ),
    Case(
        "create: unknown and duplicate fields, Strict, Warn, Ignore",
        STRICT,
        tuple(
            post(
                f"{PODS}?dryRun=All&fieldValidation={how}",
                b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","foo":1},"spec":{"containers":[{"name":"c","image":"i",'
                b'"image":"j","nope":{"a":1}}],"restartPolicy":"Never"}}',
            )
            for how in ("Strict", "Warn", "Ignore", "Wrong")
        ),
        ("kind",),
    ),
    Case(
        "create: what is malformed",
        "staging/src/k8s.io/apimachinery/pkg/runtime/serializer/json",
        (
            post(CONFIGMAPS, b""),
            post(CONFIGMAPS, b"{"),
            post(CONFIGMAPS, b"[]"),
            post(CONFIGMAPS, b"null"),
            post(CONFIGMAPS, {**configmap(), "kind": "Secret"}),
            post(CONFIGMAPS, {**configmap(), "apiVersion": "v2"}),
            post(CONFIGMAPS, configmap({"a": 1})),
            post(CONFIGMAPS, configmap(namespace="elsewhere")),
            post(CONFIGMAPS, configmap(resourceVersion="5")),
            post(CONFIGMAPS, {**configmap(), "metadata": {}}),
            post(CONFIGMAPS, configmap(), kind="text/plain"),
        ),
    ),
)


def _defaults() -> tuple[Case, ...]:
    found = []
    for plural, kind in sorted(KINDS.items()):
        found.append(
            Case(
                f"defaults: {kind.group or 'core'}/{kind.version} {plural}",
                f"pkg/apis/{kind.group.split('.')[0] or 'core'}/{kind.version}/defaults.go and the strategy in pkg/registry",
                (post(kind.path("default"), kind.object("n", "l")),),
                tuple(sorted({*kind.body, "spec", "status"})),
            )
        )
    for plural, (version, body) in sorted(WORKLOADS.items()):
        root = "/api/v1" if version == "v1" else f"/apis/{version}"
        found.append(
            Case(
                f"defaults: {version} {plural}",
                f"pkg/apis/{version.rpartition('/')[0] or 'core'}/v1/defaults.go and the strategy in pkg/registry",
                (post(f"{root}/namespaces/default/{plural}", body),),
                ("spec", "status"),
            )
        )
    probe = {"httpGet": {"path": "/", "port": 80}}
    found.append(
        Case(
            "defaults: core/v1 pods",
            "pkg/apis/core/v1/defaults.go, plugin/pkg/admission",
            (
                post(
                    PODS,
                    manifests.pod(
                        "p",
                        hostNetwork=True,
                        volumes=[
                            {"name": "s", "secret": {"secretName": "x"}},
                            {"name": "c", "configMap": {"name": "x"}},
                            {
                                "name": "d",
                                "downwardAPI": {
                                    "items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]
                                },
                            },
                            {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
                            {"name": "h", "hostPath": {"path": "/x"}},
                            {"name": "e"},
                            {
                                "name": "i",
                                "iscsi": {
                                    "targetPortal": "1.2.3.4",
                                    "iqn": "iqn.2020-01.com.example:x",
                                    "lun": 0,
                                },
                            },
                        ],
                        containers=[
                            {
                                "name": "c",
                                "image": "nginx",
                                "ports": [{"containerPort": 80}],
                                "livenessProbe": probe,
                                "readinessProbe": {"grpc": {"port": 5}},
                                "env": [
                                    {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
                                ],
                                "resources": {"limits": {"cpu": "0.5"}},
                                "lifecycle": {"preStop": {"httpGet": {"port": 1}}},
                            }
                        ],
                    ),
                ),
            ),
            ("spec", "status"),
        )
    )
    return tuple(found)


CASES: tuple[Case, ...] = (*APPLIES, *PATCHES_OF_EACH_TYPE, *WRITES, *_defaults())
