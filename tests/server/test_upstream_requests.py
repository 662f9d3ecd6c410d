"""Requests that upstream's endpoints/apiserver_test.go, handlers/{rest,delete,patch}_test.go and storage/testing/store_tests.go refuse, and how."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from .harness import CONFIGMAPS, PODS, Api, configmap, pod

NOT_FOUND = "the server could not find the requested resource"
NOT_ALLOWED = "the server does not allow this method on the requested resource"
FORM = "application/json;g=meta.k8s.io;v=v1;as="


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    await api.post(PODS, pod("a"))
    await api.post(CONFIGMAPS, configmap("a", key="value"))
    yield api
    await api.stop()


class TestRoutes:
    """TestNotFound, TestUnimplementedRESTStorage, TestSomeUnimplementedRESTStorage, TestParentResourceIsRequired."""

    @pytest.mark.parametrize(
        ("method", "path", "code"),
        [
            ("GET", "/api/v1/blah", 404),
            ("GET", "/api/v1/nodes/a/b", 404),
            ("PUT", "/api/v1/nodes/a/b", 404),
            ("DELETE", f"{PODS}/a/b", 404),
            ("POST", f"{PODS}/a/eviction/b", 404),
            ("GET", f"{PODS}/a/status/b", 404),
            ("GET", "/api/v1/pods/a", 404),
            ("PUT", "/api/v1/pods/a", 404),
            ("DELETE", "/api/v1/pods/a", 404),
            ("GET", "/apis/apps/v9/deployments", 404),
            ("GET", "/api/v1/watch/", 404),
            ("PUT", PODS, 405),
            ("PATCH", PODS, 405),
            ("POST", f"{PODS}/a", 405),
            ("POST", f"{PODS}/a?watch=true", 405),
            ("POST", "/api/v1/pods", 405),
            ("DELETE", "/api/v1/pods", 405),
            ("DELETE", "/api/v1/namespaces", 405),
            ("DELETE", f"{PODS}/a/log", 405),
            ("OPTIONS", f"{PODS}/a", 405),
        ],
    )
    async def test_refused(self, api: Api, method: str, path: str, code: int) -> None:
        body: Any = pod("b") if method in ("POST", "PUT", "PATCH") else None
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        answer = await api.call(method, path, body, content_type=kind)
        assert (answer.status, answer.json["message"]) == (code, NOT_FOUND if code == 404 else NOT_ALLOWED)
        assert (await api.get(f"{PODS}/a")).status == 200


class TestQueries:
    """TestRequestsWithInvalidQuery, RunTestList; booleans as Convert_Slice_string_To_bool reads them."""

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("labelSelector=<x>", "found '<', expected: !, identifier, or 'end of string'"),
            ("labelSelector=a%3D%3D%3Db", "unable to parse requirement: found '=', expected: identifier"),
            ("fieldSelector=a", "invalid selector: 'a'; can't understand 'a'"),
            ("limit=x", 'strconv.ParseInt: parsing "x": invalid syntax'),
            ("timeoutSeconds=x", 'strconv.ParseInt: parsing "x": invalid syntax'),
            ("continue=!", "invalid continue token: continue key is not valid: illegal base64 data at input byte 0"),
            ("continue=abcde", "invalid continue token: continue key is not valid: illegal base64 data at input byte 4"),
            ("continue=abc", "invalid continue token: continue key is not valid: invalid character 'i' looking for beginning of value"),
            ("resourceVersion=x", 'invalid resource version: resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax'),
            ("continue=e30&resourceVersion=1", "specifying resource version is not allowed when using continue"),
        ],
    )  # fmt: skip
    async def test_lists(self, api: Api, query: str, message: str) -> None:
        answer = await api.get(f"{PODS}?{query}")
        assert (answer.status, answer.json["message"]) == (400, message)

    @pytest.mark.parametrize("path", [PODS, f"{PODS}/a"])
    async def test_versions_to_come(self, api: Api, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """`rejects resource version set too high`, of a list and of one object."""
        monkeypatch.setattr("lakh.server.consistency.REACH_SECONDS", 0.01)
        answer = await api.get(f"{path}?resourceVersion=9223372036854775807")
        assert (answer.status, answer.json["reason"]) == (504, "Timeout")
        assert "Too large resource version: 9223372036854775807" in answer.json["message"]

    async def test_version_of_one(self, api: Api) -> None:
        answer = await api.get(f"{PODS}/a?resourceVersion=x")
        assert (answer.status, answer.json["reason"]) == (400, "BadRequest")
        assert (await api.get(f"{PODS}/a?resourceVersion=0")).status == 200

    @pytest.mark.parametrize(
        ("method", "path", "query", "kind", "message"),
        [
            ("POST", CONFIGMAPS, "dryRun=x", "Create", 'dryRun: Unsupported value: ["x"]: supported values: "All"'),
            ("PUT", f"{CONFIGMAPS}/a", "dryRun=", "Update", 'dryRun: Unsupported value: [""]: supported values: "All"'),
            ("PATCH", f"{CONFIGMAPS}/a", "dryRun=x", "Patch", 'dryRun: Unsupported value: ["x"]: supported values: "All"'),
            ("DELETE", f"{CONFIGMAPS}/a", "dryRun=x", "Delete", 'dryRun: Unsupported value: ["x"]: supported values: "All"'),
            ("DELETE", CONFIGMAPS, "dryRun=x", "Delete", 'dryRun: Unsupported value: ["x"]: supported values: "All"'),
            ("POST", CONFIGMAPS, "fieldManager=" + "a" * 129, "Create", "fieldManager: Too long: may not be more than 128 bytes"),
            (
                "POST", CONFIGMAPS, "fieldManager=a%C3%BC%01", "Create",
                'fieldManager: Invalid value: "aü\x01": invalid character U+0001 (at position 3)',
            ),
            (
                "PUT", f"{CONFIGMAPS}/a", "fieldValidation=x", "Update",
                'fieldValidation: Unsupported value: "x": supported values: "", "Ignore", "Strict", "Warn"',
            ),
            ("PATCH", f"{CONFIGMAPS}/a", "force=false", "Patch", "force: Forbidden: may not be specified for non-apply patch"),
            (
                "DELETE", f"{CONFIGMAPS}/a", "propagationPolicy=x", "Delete",
                'propagationPolicy: Unsupported value: "x": supported values: "Foreground", "Background", "Orphan", "nil"',
            ),
            (
                "DELETE", f"{CONFIGMAPS}/a", "propagationPolicy=Orphan&orphanDependents=", "Delete",
                'propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set',
            ),
            (
                "POST", CONFIGMAPS, "dryRun=x&fieldValidation=y", "Create",
                '[dryRun: Unsupported value: ["x"]: supported values: "All", fieldValidation: Unsupported value: "y": '
                'supported values: "", "Ignore", "Strict", "Warn"]',
            ),
        ],
    )  # fmt: skip
    async def test_writes(
        self, api: Api, method: str, path: str, query: str, kind: str, message: str
    ) -> None:
        body: Any = None if method == "DELETE" else configmap("a") if method != "PATCH" else {}
        media = "application/merge-patch+json" if method == "PATCH" else "application/json"
        answer = await api.call(method, f"{path}?{query}", body, content_type=media)
        assert answer.status == 422, answer
        assert answer.json["message"] == f'{kind}Options.meta.k8s.io "" is invalid: {message}'
        assert answer.json["details"]["kind"] == f"{kind}Options"

    @pytest.mark.parametrize(
        ("value", "is_watch"), [("", True), ("maybe", True), ("False", False), ("0", False)]
    )
    async def test_booleans(self, api: Api, value: str, is_watch: bool) -> None:
        path = f"{PODS}?watch={value}&timeoutSeconds=1"
        if is_watch:
            assert (await (await api.watch(path)).until(1))[0]["type"] == "ADDED"
        else:
            assert (await api.get(path)).json["kind"] == "PodList"

    @pytest.mark.parametrize("manager", ["", "&fieldManager="])
    async def test_manager_of_the_user_agent(self, api: Api, manager: str) -> None:
        """TestPatchToUpdateOptions and managerOrUserAgent: an empty manager is none."""
        answer = await api.call(
            "POST", f"{CONFIGMAPS}?pretty=false{manager}", configmap("b", a="1"), user_agent="k/v1 x"
        )
        assert [e["manager"] for e in answer.json["metadata"]["managedFields"]] == ["k"]


class TestDeleteOptions:
    """TestDeleteResourceDeleteOptions, TestDeleteCollectionDeleteOptions, TestDeleteWithOptionsQueryAndBody."""

    @pytest.mark.parametrize("path", [f"{CONFIGMAPS}/a", CONFIGMAPS])
    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b'{"orphanDependents": "x"}', "json: cannot unmarshal string into Go struct field DeleteOptions.orphanDependents of type bool"),
            (b'{"gracePeriodSeconds": "5"}', "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64"),
            (b'{"propagationPolicy": 1}', "json: cannot unmarshal number into Go struct field DeleteOptions.propagationPolicy of type v1.DeletionPropagation"),
            (b'{"dryRun": [true]}', "json: cannot unmarshal bool into Go struct field DeleteOptions.dryRun of type string"),
            (b'{"preconditions": {"uid": 1}}', "json: cannot unmarshal number into Go struct field Preconditions.preconditions.uid of type types.UID"),
            (b'{"apiVersion": "v1", "kind": "APIResourceList"}', "decoded object cannot be converted to DeleteOptions"),
            (b'{"apiVersion": false, "kind": "DeleteOptions"}', "couldn't get version/kind; json parse error: json: cannot unmarshal bool into Go struct field .apiVersion of type string"),
            (b"nonsense", "couldn't get version/kind; json parse error: invalid character 'o' in literal null (expecting 'u')"),
            (b"[]", 'cannot unmarshal array into Go value of type struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string '),
        ],
    )  # fmt: skip
    async def test_refused(self, api: Api, path: str, body: bytes, message: str) -> None:
        answer = await api.delete(path, body)
        assert (answer.status, answer.json["reason"]) == (400, "BadRequest")
        assert message in answer.json["message"]
        assert answer.json["message"].startswith(message) or body == b"[]"
        assert (await api.get(f"{CONFIGMAPS}/a")).status == 200

    @pytest.mark.parametrize(
        "body",
        [
            b"{}",
            b"null",
            b'{"apiVersion":"v1","kind":"DeleteOptions","gracePeriodSeconds":123}',
            b'{"apiVersion":"foo/v1","kind":"DeleteOptions","gracePeriodSeconds":123}',
            b'{"gracePeriodSeconds":-5}',
        ],
    )
    async def test_taken(self, api: Api, body: bytes) -> None:
        # Where there is a body, the query says nothing.
        answer = await api.delete(f"{CONFIGMAPS}/a?propagationPolicy=x&gracePeriodSeconds=x", body)
        assert (answer.status, answer.json["status"]) == (200, "Success")

    async def test_negative_grace_is_a_second(self, api: Api) -> None:
        """BeforeDelete."""
        await api.post(PODS, pod("b", nodeName="n"))
        answer = await api.delete(f"{PODS}/b?gracePeriodSeconds=-1")
        assert answer.json["metadata"]["deletionGracePeriodSeconds"] == 1


class TestHead:
    async def test_resources_have_none(self, api: Api) -> None:
        for path in (CONFIGMAPS, f"{CONFIGMAPS}/a", "/api/v1/nodes/n/status"):
            answer = await api.call("HEAD", path)
            assert (answer.status, answer.json["reason"]) == (405, "MethodNotAllowed")
        assert (await api.call("HEAD", "/readyz")).status == 200

    async def test_proxies_pass_it_on(self, api: Api) -> None:
        # As far as the service, which is not there.
        assert (await api.call("HEAD", "/api/v1/namespaces/default/services/s/proxy/x")).status == 404


class TestLimits:
    async def test_any_version_comes_whole(self, api: Api) -> None:
        """The watch cache's computeListLimit."""
        await api.post(CONFIGMAPS, configmap("b"))
        for query, count in (
            ("limit=1", 1),
            ("limit=1&resourceVersion=0", 2),
            ("limit=1&resourceVersion=0&resourceVersionMatch=NotOlderThan", 2),
        ):
            listed = (await api.get(f"{CONFIGMAPS}?{query}")).json
            assert len(listed["items"]) == count
            assert ("continue" in listed["metadata"]) == (count == 1)


class TestPatches:
    """TestStrategicMergePatchInvalid, TestJSONPatch."""

    @pytest.mark.parametrize(
        ("kind", "body", "code", "message"),
        [
            ("strategic-merge-patch+json", b"barbaz", 400, "invalid character 'b' looking for beginning of value"),
            ("json-patch+json", b"invalid", 400, "error decoding patch: invalid character 'i' looking for beginning of value"),
            ("merge-patch+json", b"{a:1}", 400, "error decoding patch: invalid character 'a' looking for beginning of object key string"),
            (
                "json-patch+json", b'[{"op": "test", "value": "a", "path": "/invalid/path"}]', 422,
                "the server rejected our request due to an error in our request",
            ),
        ],
    )  # fmt: skip
    async def test_refused(self, api: Api, kind: str, body: bytes, code: int, message: str) -> None:
        answer = await api.patch(f"{CONFIGMAPS}/a", body, kind)
        assert (answer.status, answer.json["message"]) == (code, message)

    async def test_what_only_kubernetes_takes(self, api: Api) -> None:
        """`valid-negative-index-patch`, `replace-missing-path-allowed`."""
        await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"finalizers": ["example.com/a"]}})
        answer = await api.patch(
            f"{CONFIGMAPS}/a",
            [
                {"op": "test", "path": "/metadata/finalizers/-1", "value": "example.com/a"},
                {"op": "replace", "path": "/data/new", "value": "b"},
                {"op": "test", "path": "/data/new", "value": "b"},
            ],
            "json-patch+json",
        )
        assert (answer.status, answer.json["data"]) == (200, {"key": "value", "new": "b"})


class TestForms:
    """TestGetTable, TestGetPartialObjectMetadata."""

    @pytest.mark.parametrize(
        ("path", "accept", "kind"),
        [
            (f"{PODS}/a", "application/json;as=Table;v=v1alpha1;g=meta.k8s.io", None),
            (f"{PODS}/a", "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", None),
            (f"{PODS}/a", "application/json;as=PartialObjectMetadata;v=v1alpha1;g=meta.k8s.io", None),
            (f"{PODS}/a", "application/json;as=PartialObjectMetadata;v=v1alpha1;g=meta.k8s.io, application/json", "Pod"),
            (f"{PODS}/a", f"{FORM}PartialObjectMetadata, application/json", "PartialObjectMetadata"),
            (f"{PODS}/a", f"{FORM}PartialObjectMetadataList", None),
            (PODS, f"{FORM}PartialObjectMetadata", None),
            (PODS, f"{FORM}PartialObjectMetadataList, application/json", "PartialObjectMetadataList"),
            (PODS, "application/json;as=PartialObjectMetadata;v=v1alpha1;g=meta.k8s.io, application/json", "PodList"),
            (PODS, f"{FORM}Table", "Table"),
        ],
    )  # fmt: skip
    async def test_kinds(self, api: Api, path: str, accept: str, kind: str | None) -> None:
        answer = await api.get(path, accept=accept)
        if kind is None:
            assert (answer.status, answer.json["kind"]) == (406, "Status")
        else:
            assert (answer.status, answer.json["kind"]) == (200, kind)
