"""The requests of the corpus, each with the upstream source that its answers were checked against."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .defaults import DEFAULTS

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
SERVICES = "/api/v1/namespaces/default/services"
PODS = "/api/v1/namespaces/default/pods"
MANAGERS = ("managedFields",)


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
    """Requests in order. `only`: the top-level fields of successes that are compared; `hide`: fields of metadata that are not."""

    name: str
    source: str
    steps: tuple[Step, ...]
    only: tuple[str, ...] = ()
    hide: tuple[str, ...] = ()


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


# What was read: in structured-merge-diff (release of Kubernetes v1.36), apimachinery's managedfields, and apiserver's endpoints/handlers.
MERGE_GO = "structured-merge-diff/merge/update.go: Updater"
FIELDS_GO = "apimachinery/pkg/util/managedfields"
SMP_GO = "apimachinery/pkg/util/strategicpatch/patch.go"
PATCH_GO = "apiserver/pkg/endpoints/handlers/patch.go"

APPLIES = (
    Case(
        "apply: create, change nothing, add, drop",
        f"{MERGE_GO}.Apply and .prune; merge/leaf_test.go, merge/multiple_appliers_test.go",
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
        f"{MERGE_GO}.update; {FIELDS_GO}/internal/conflict.go: NewConflictError",
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
        f"{MERGE_GO}.addBackOwnedItems; merge/multiple_appliers_test.go",
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
        f"{MERGE_GO}.Update and .Apply; merge/leaf_test.go",
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
        f"{MERGE_GO}; merge/key_test.go, merge/default_keys_test.go; core/v1/types.go: ServiceSpec.Ports (+listMapKey=port, protocol)",
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
        f"{MERGE_GO}.prune; merge/set_test.go; meta/v1/types.go: ObjectMeta.Finalizers (+listType=set)",
        (
            apply(f"{CONFIGMAPS}/c", configmap(finalizers=["example.com/a"]), "x"),
            apply(f"{CONFIGMAPS}/c", configmap(finalizers=["example.com/b"]), "y"),
            apply(f"{CONFIGMAPS}/c", configmap(), "x"),
        ),
        ("metadata",),
    ),
    Case(
        "apply: atomic list (arguments) is one field",
        f"{MERGE_GO}.update; merge/leaf_test.go; core/v1/types.go: Container.Args (+listType=atomic)",
        (
            apply(f"{DEPLOYMENTS}/d", deployment(1, c={"image": "i", "args": ["a", "b"]}), "x"),
            apply(f"{DEPLOYMENTS}/d", deployment(1, c={"args": ["a", "c"]}), "y"),
            apply(f"{DEPLOYMENTS}/d", deployment(1, c={"args": ["a", "c"]}), "y", "&force=true"),
        ),
        ("metadata",),
    ),
    Case(
        "apply: containers of two managers, one goes with its manager",
        f"{MERGE_GO}.addBackDanglingItems; merge/nested_test.go",
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
        f"structured-merge-diff/typed/validate.go; {FIELDS_GO}/internal/structuredmerge.go: Apply; {PATCH_GO}: applyPatcher",
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
        f"{PATCH_GO}: applyPatcher.applyPatchToCurrentObject (yaml.UnmarshalStrict)",
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
        f"{FIELDS_GO}/internal/lastappliedmanager.go, lastappliedupdater.go and their tests",
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
        f"{FIELDS_GO}/scalehandler.go; pkg/registry/apps/deployment/strategy.go: GetResetFields",
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
        f"{FIELDS_GO}/internal/fieldmanager.go: Update, decodeLiveOrNew; skipnonapplied.go; managedfields.go: DecodeManagedFields",
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
        f"RFC 6902; {PATCH_GO}: jsonPatcher.applyJSPatch",
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
        f"RFC 7386; {PATCH_GO}: jsonPatcher, patchResource; meta/v1/validation: ValidatePatchOptions",
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
        f"{SMP_GO}: mergeMap, mergeSlice, mergePatchIntoOriginal, applyRetainKeysDirective; patch_test.go",
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

PODS_OF_PATCHES: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "p",
        "finalizers": ["example.com/a", "example.com/b"],
        "labels": {"a": "1", "b": "2"},
    },
    "spec": {
        "nodeSelector": {"a": "1"},
        "tolerations": [{"key": "x", "operator": "Exists"}],
        "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}, {"containerPort": 81}]}],
    },
}

STRATEGIC_MERGES = (
    Case(
        "strategic merge patch: maps, sets, orders, lists that are replaced",
        f"{SMP_GO}: handleDirectiveInMergeMap, removeDirectives, validatePatchWithSetOrderList, normalizeElementOrder; patch_test.go",
        (
            post(PODS, PODS_OF_PATCHES),
            patch(f"{PODS}/p", {"metadata": {"labels": {"a": None, "c": "3"}}}, STRATEGIC),
            patch(f"{PODS}/p", {"metadata": {"labels": {"$patch": "replace", "d": "4"}}}, STRATEGIC),
            patch(f"{PODS}/p", {"metadata": {"labels": {"$patch": "delete"}}}, STRATEGIC),
            patch(f"{PODS}/p", {"metadata": {"annotations": {"$patch": "replace", "e": "5"}}}, STRATEGIC),
            patch(f"{PODS}/p", {"metadata": {"finalizers": ["example.com/c", "example.com/a"]}}, STRATEGIC),
            patch(
                f"{PODS}/p",
                {
                    "metadata": {
                        "$setElementOrder/finalizers": ["example.com/c", "example.com/d"],
                        "$deleteFromPrimitiveList/finalizers": ["example.com/b"],
                        "finalizers": ["example.com/d"],
                    }
                },
                STRATEGIC,
            ),
            patch(
                f"{PODS}/p",
                {
                    "metadata": {
                        "$setElementOrder/finalizers": ["example.com/x"],
                        "finalizers": ["example.com/y"],
                    }
                },
                STRATEGIC,
            ),
            patch(f"{PODS}/p", {"metadata": {"$retainKeys": ["name"], "labels": {"a": "1"}}}, STRATEGIC),
            patch(f"{PODS}/p", {"metadata": {"$retainKeys": "name"}}, STRATEGIC),
            patch(f"{PODS}/p", {"metadata": {"$deleteFromPrimitiveList/finalizers": "x"}}, STRATEGIC),
            patch(f"{PODS}/p", {"spec": {"containers": [{"$patch": "merge", "name": "c"}]}}, STRATEGIC),
            patch(
                f"{PODS}/p?dryRun=All",
                {
                    "spec": {
                        "tolerations": [
                            {"key": "x", "operator": "Exists"},
                            {"key": "y", "operator": "Exists"},
                        ]
                    }
                },
                STRATEGIC,
            ),
        ),
        ("metadata",),
        MANAGERS,
    ),
)

JSON_PATCHES = (
    Case(
        "json patch: pointers, appending, whole documents, what is no patch",
        f"RFC 6902, RFC 6901; {PATCH_GO}: jsonPatcher.applyJSPatch, maxJSONPatchOperations",
        (
            post(CONFIGMAPS, configmap({"a": "1"}, finalizers=["example.com/a"])),
            patch(
                f"{CONFIGMAPS}/c",
                [
                    {"op": "add", "path": "/metadata/finalizers/-", "value": "example.com/c"},
                    {"op": "add", "path": "/metadata/finalizers/1", "value": "example.com/b"},
                    {
                        "op": "test",
                        "path": "/metadata/finalizers",
                        "value": [f"example.com/{x}" for x in "abc"],
                    },
                ],
                JSON_PATCH,
            ),
            patch(f"{CONFIGMAPS}/c", [{"op": "remove", "path": "/metadata/finalizers/7"}], JSON_PATCH),
            patch(f"{CONFIGMAPS}/c", [{"op": "add", "path": "/data/x/y", "value": "1"}], JSON_PATCH),
            patch(f"{CONFIGMAPS}/c", [{"op": "replace", "path": "/data/missing", "value": "1"}], JSON_PATCH),
            patch(f"{CONFIGMAPS}/c", [{"op": "nonsense", "path": "/data/a"}], JSON_PATCH),
            patch(f"{CONFIGMAPS}/c", [{"op": "add", "path": "/data/k", "value": None}], JSON_PATCH),
            patch(f"{CONFIGMAPS}/c", [{"op": "test", "path": "/metadata/uid", "value": None}], JSON_PATCH),
            patch(f"{CONFIGMAPS}/c", [], JSON_PATCH),
        ),
        ("metadata", "data"),
        MANAGERS,
    ),
    Case(
        "merge patch: nested nulls, lists replaced, metadata that stays",
        f"RFC 7386; {PATCH_GO}: jsonPatcher; registry/rest/update.go: BeforeUpdate",
        (
            post(
                CONFIGMAPS,
                configmap({"a": "1", "b": "2"}, labels={"x": "1", "y": "2"}, finalizers=["example.com/a"]),
            ),
            patch(
                f"{CONFIGMAPS}/c", {"metadata": {"labels": {"x": None, "z": "3"}}, "data": {"a": None}}, MERGE
            ),
            patch(
                f"{CONFIGMAPS}/c",
                {"metadata": {"finalizers": ["example.com/b"], "annotations": {"n": None}}},
                MERGE,
            ),
            patch(f"{CONFIGMAPS}/c", {"data": None}, MERGE),
            patch(f"{CONFIGMAPS}/c", {"metadata": {"creationTimestamp": None, "generation": 7}}, MERGE),
            patch(f"{CONFIGMAPS}/c", {"metadata": {"uid": "other"}}, MERGE),
            patch(f"{CONFIGMAPS}/c", {"metadata": {"namespace": "kube-system"}}, MERGE),
            patch(f"{CONFIGMAPS}/c", {"metadata": {"resourceVersion": "1"}}, MERGE),
            patch(f"{CONFIGMAPS}/c", {"kind": "Secret"}, MERGE),
        ),
        ("metadata", "data"),
        MANAGERS,
    ),
)

AUTOSCALER: dict[str, Any] = {
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "h"},
    "spec": {
        "maxReplicas": 3,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
    },
}
AUTOSCALERS = {v: f"/apis/autoscaling/{v}/namespaces/default/horizontalpodautoscalers" for v in ("v1", "v2")}


def autoscaler(version: str, **spec: Any) -> dict[str, Any]:
    return {**AUTOSCALER, "apiVersion": f"autoscaling/{version}", "spec": {**AUTOSCALER["spec"], **spec}}


def cpu(percent: int) -> list[dict[str, Any]]:
    target = {"type": "Utilization", "averageUtilization": percent}
    return [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]


FLOW: dict[str, Any] = {
    "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
    "kind": "FlowSchema",
    "metadata": {"name": "f", "labels": {"a": "1"}},
}
FLOWS = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"

ENDPOINTS = (
    Case(
        "apply: two versions of one kind",
        f"{MERGE_GO}.update and .prune: a comparison for each version of a manager; merge/obsolete_versions_test.go",
        (
            apply(f"{AUTOSCALERS['v2']}/h", autoscaler("v2", metrics=cpu(50)), "two"),
            apply(f"{AUTOSCALERS['v1']}/h", autoscaler("v1", targetCPUUtilizationPercentage=60), "one"),
            apply(
                f"{AUTOSCALERS['v1']}/h",
                autoscaler("v1", targetCPUUtilizationPercentage=60),
                "one",
                "&force=true",
            ),
            patch(f"{AUTOSCALERS['v2']}/h", {"spec": {"metrics": cpu(70)}}, MERGE),
            apply(f"{AUTOSCALERS['v1']}/h", autoscaler("v1"), "two"),
        ),
        ("metadata", "spec"),
    ),
    Case(
        "apply: what status and the object leave to each other",
        "pkg/registry/flowcontrol/flowschema/strategy.go and pkg/registry/core/pod/strategy.go: GetResetFields; "
        "test/integration/apiserver/apply/reset_fields_test.go: TestApplyResetFields",
        (
            apply(
                f"{FLOWS}/f",
                {**FLOW, "spec": {"priorityLevelConfiguration": {"name": "p"}}, "status": {}},
                "a",
            ),
            apply(
                f"{FLOWS}/f/status",
                {
                    **FLOW,
                    "metadata": {"name": "f", "labels": {"a": "2"}},
                    "spec": {"priorityLevelConfiguration": {"name": "q"}},
                    "status": {"conditions": [{"type": "Dangling", "status": "True"}]},
                },
                "b",
            ),
            Step(
                "PUT",
                f"{FLOWS}/f/status",
                {**FLOW, "metadata": {"name": "f", "labels": {"c": "3"}}, "status": {}},
            ),
        ),
        ("metadata", "spec", "status"),
    ),
    Case(
        "managedFields: of subresources that write a part",
        "pkg/registry/core/pod/strategy.go: EphemeralContainersStrategy, ResizeStrategy: GetResetFieldsFilter",
        (
            post(
                PODS,
                {
                    **PODS_OF_PATCHES,
                    "spec": {
                        "containers": [
                            {"name": "c", "image": "i", "resources": {"requests": {"cpu": "500m"}}}
                        ]
                    },
                },
            ),
            patch(
                f"{PODS}/p/ephemeralcontainers",
                {
                    "metadata": {"labels": {"z": "1"}},
                    "spec": {"ephemeralContainers": [{"name": "e", "image": "i"}]},
                },
                STRATEGIC,
            ),
            apply(
                f"{PODS}/p/resize",
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": "p"},
                    "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
                },
                "r",
            ),
            apply(
                f"{PODS}/p/resize",
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": "p"},
                    "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
                },
                "r",
                "&force=true",
            ),
        ),
        ("metadata",),
    ),
)

WRITES = (
    Case(
        "update: stale, unconditional, immutable metadata, precondition",
        "apiserver/pkg/registry/generic/registry/store.go: Update, Delete; registry/rest/update.go: BeforeUpdate; "
        "apimachinery/pkg/api/validation/objectmeta.go: ValidateObjectMetaAccessorUpdate",
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
        "apimachinery/pkg/runtime/serializer/json: Decode with strict; test/integration/apiserver/field_validation_test.go",
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
        "apimachinery/pkg/runtime/serializer/json: Decode; apiserver/pkg/endpoints/handlers/create.go; registry/rest/create.go: BeforeCreate",
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
    """What is filled in, of each kind of the catalogue, metadata but for managers included."""
    found = []
    for default in DEFAULTS:
        name = f"defaults: {default.api_version} {default.plural}"
        if default.name != "n" and any(d.plural == default.plural and d.name == "n" for d in DEFAULTS):
            name += f", {default.name}"
        found.append(Case(name, default.source, (post(default.path, default.object()),), hide=MANAGERS))
    return tuple(found)


CASES: tuple[Case, ...] = (
    *APPLIES,
    *ENDPOINTS,
    *PATCHES_OF_EACH_TYPE,
    *STRATEGIC_MERGES,
    *JSON_PATCHES,
    *WRITES,
    *_defaults(),
)
