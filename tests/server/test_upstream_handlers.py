"""Patches, deletes and forms of answers as upstream's endpoints/handlers/*_test.go and test/integration/apiserver have them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from .harness import CONFIGMAPS, PODS, Api, configmap, pod
from .test_custom_resources import DEFINITIONS, definition

SECRETS = "/api/v1/namespaces/default/secrets"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


class TestPatches:
    """rest_test.go, patch_test.go."""

    @pytest.mark.parametrize(
        ("kind", "body", "code", "reason", "message"),
        [
            pytest.param("json-patch+json", b'[{"op": "test", "value": "a", "path": "/metadata/name"}]', 200, None, "", id="TestJSONPatch: valid"),
            pytest.param("json-patch+json", b"invalid json patch", 400, "BadRequest", "invalid character 'i' looking for beginning of value", id="TestJSONPatch: invalid-syntax"),
            pytest.param("json-patch+json", b'[{"op": "test", "value": "a", "path": "/invalid/path"}]', 422, "Invalid", "the server rejected our request due to an error in our request", id="TestJSONPatch: invalid-semantics"),
            pytest.param("json-patch+json", b'[{"op": "test", "value": "b.example.com/f", "path": "/metadata/finalizers/-1"}]', 200, None, "", id="TestJSONPatch: valid-negative-index-patch"),
            pytest.param("strategic-merge-patch+json", b"barbaz", 400, "BadRequest", "invalid character 'b' looking for beginning of value", id="TestStrategicMergePatchInvalid"),
            pytest.param("merge-patch+json", b'{"metadata":{"resourceVersion":"1"},"data":{"a":"b"}}', 409, "Conflict", "the object has been modified; please apply your changes to the latest version and try again", id="TestPatchResourceWithStaleVersionConflict: merge"),
            pytest.param("strategic-merge-patch+json", b'{"metadata":{"resourceVersion":"1"},"data":{"a":"b"}}', 409, "Conflict", "the object has been modified", id="TestPatchResourceWithStaleVersionConflict: strategic"),
            pytest.param("apply-patch+yaml", b":\n  invalid", 400, "BadRequest", "error decoding YAML: error converting YAML to JSON: yaml: did not find expected key", id="TestTranscodePatchToJSON: ApplyYAMLPatchType invalid"),
            pytest.param("apply-patch+cbor", b"\xff\xff", 415, "UnsupportedMediaType", "the body of the request was in an unknown format", id="TestTranscodePatchToJSON: ApplyCBORPatchType, which is off"),
        ],
    )  # fmt: skip
    async def test_of_one(
        self, api: Api, kind: str, body: bytes, code: int, reason: str | None, message: str
    ) -> None:
        made = configmap("a")
        made["metadata"]["finalizers"] = ["a.example.com/f", "b.example.com/f"]
        await api.post(CONFIGMAPS, made)
        answer = await api.patch(f"{CONFIGMAPS}/a?fieldManager=m", body, kind)
        assert answer.status == code, answer
        if reason is not None:
            assert answer.json["reason"] == reason
            assert message in answer.json["message"]

    async def test_of_custom_resources(self, api: Api) -> None:
        """TestPatchCustomResource: no strategic merging, for there are no merge keys."""
        made = definition()
        await api.post(DEFINITIONS, made)
        names = made["spec"]["names"]
        path = f"/apis/{made['spec']['group']}/{made['spec']['versions'][0]['name']}/namespaces/default/{names['plural']}"
        answer = await api.patch(f"{path}/a", {"spec": {"num": "20"}}, "strategic-merge-patch+json")
        assert (answer.status, answer.json["reason"]) == (415, "UnsupportedMediaType")

    async def test_numbers(self, api: Api) -> None:
        """TestNumberConversion."""
        await api.post(PODS, pod("a", terminationGracePeriodSeconds=42, activeDeadlineSeconds=240))
        spec = {"terminationGracePeriodSeconds": 42, "activeDeadlineSeconds": 120}
        answer = await api.patch(f"{PODS}/a", {"spec": spec}, "strategic-merge-patch+json")
        assert answer.status == 200, answer
        assert {name: answer.json["spec"][name] for name in spec} == spec

    async def test_at_once(self, api: Api) -> None:
        """TestPatchConflicts: patches that do not pin a revision go on top of one another, directives included; none gets lost."""
        made = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "test", "annotations": {"initial": "value"}}}  # fmt: skip
        await api.post(SECRETS, made)

        async def one(number: int) -> None:
            patch = {"metadata": {"labels": {f"l{number}": "x"}, "annotations": {"$patch": "replace", f"a{number}": "x"}}}  # fmt: skip
            answer = await api.patch(f"{SECRETS}/test", patch, "strategic-merge-patch+json")
            assert answer.status == 200, answer
            assert answer.json["metadata"]["annotations"] == {f"a{number}": "x"}
            assert answer.json["metadata"]["labels"][f"l{number}"] == "x"

        await asyncio.gather(*map(one, range(10)))
        labels = (await api.get(f"{SECRETS}/test")).json["metadata"]["labels"]
        assert sorted(labels) == sorted(f"l{number}" for number in range(10))


DEEP = 3 * 1024 * 1024 // 2 - 100
NESTED = b"[" * DEEP + b"]" * DEEP
SPACES = b" " * (3 * 1024 * 1024 - 100)


class TestMaxResourceSize:
    """TestMaxResourceSize: what is as large as it may be is read, and what is as deep as it can be is refused."""

    @pytest.mark.parametrize(
        ("kind", "body", "codes"),
        [
            pytest.param("json-patch+json", b'[{"op":"add","path":"/foo","value":' + NESTED + b"}]", (200, 400), id="JSONPatchType should handle a patch just under the max limit"),
            pytest.param("json-patch+json", b'[{"op":"add","path":"/foo","value":0' + SPACES + b"}]", (200,), id="JSONPatchType should handle a valid patch just under the max limit"),
            pytest.param("merge-patch+json", b'{"value":' + NESTED + b"}", (200, 400), id="MergePatchType should handle a patch just under the max limit"),
            pytest.param("merge-patch+json", b'{"value":0' + SPACES + b"}", (200,), id="MergePatchType should handle a valid patch just under the max limit"),
            pytest.param("strategic-merge-patch+json", b'{"value":' + NESTED + b"}", (200, 400), id="StrategicMergePatchType should handle a patch just under the max limit"),
            pytest.param("strategic-merge-patch+json", b'{"value":0' + SPACES + b"}", (200,), id="StrategicMergePatchType should handle a valid patch just under the max limit"),
            pytest.param("apply-patch+yaml", b'{"value":' + NESTED + b"}", (200, 400), id="ApplyPatchType should handle a patch just under the max limit"),
            pytest.param("apply-patch+yaml", b'{"apiVersion":"v1","kind":"Secret"' + SPACES + b"}", (200,), id="ApplyPatchType should handle a valid patch just under the max limit"),
        ],
    )  # fmt: skip
    async def test_patches(self, api: Api, kind: str, body: bytes, codes: tuple[int, ...]) -> None:
        await api.post(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "test"}})
        answer = await api.patch(f"{SECRETS}/test?fieldManager=test", body, kind)
        assert answer.status in codes, answer

    @pytest.mark.parametrize(
        ("media", "body", "codes"),
        [
            pytest.param("yaml", b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: mytest\nvalues: " + NESTED, (400,), id="create should handle a yaml document just under the maximum size with correct nesting"),
            pytest.param("yaml", b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: mytest\nvalues: " + b"[" * (2 * DEEP), (400,), id="create should handle a yaml document just under the maximum size with unbalanced nesting"),
            pytest.param("json", b'{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mytest"}, "values": ' + NESTED + b"}", (201, 400), id="create should handle a json document just under the maximum size with correct nesting"),
            pytest.param("json", b'{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mytest"}, "values": ' + b"[" * (2 * DEEP) + b"}", (400,), id="create should handle a json document just under the maximum size with unbalanced nesting"),
        ],
    )  # fmt: skip
    async def test_creates(self, api: Api, media: str, body: bytes, codes: tuple[int, ...]) -> None:
        answer = await api.post(CONFIGMAPS, body, content_type=f"application/{media}")
        assert answer.status in codes, answer


class TestManagedFields:
    """managedfields_parsing_test.go."""

    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param({"f:metadata": {"f:finalizers": {'v:"example.com/foo" {"trailing":"data"}': {}}}}, id="trailing data after set value"),
            pytest.param({"f:metadata": {"f:ownerReferences": {'k:{"uid":"abc"} {"trailing":"data"}': {}}}}, id="trailing data after map key"),
        ],
    )  # fmt: skip
    async def test_trailing_data(self, api: Api, fields: Any) -> None:
        """TestManagedFieldsTrailingData: broken entries are dropped for what there was."""
        entry = {"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields, "time": "2020-01-01T00:00:00Z"}  # fmt: skip
        empty = configmap("empty")
        empty["metadata"]["managedFields"] = [entry]
        del empty["data"]
        assert "managedFields" not in (await api.post(CONFIGMAPS, empty)).json["metadata"]
        made = configmap("a", foo="bar")
        made["metadata"]["managedFields"] = [entry]
        answer = await api.post(CONFIGMAPS, made)
        (kept,) = answer.json["metadata"]["managedFields"]
        assert kept["fieldsV1"] == {"f:data": {".": {}, "f:foo": {}}}
        changed = answer.json
        changed["data"] = {"foo": "baz", "new": "x"}
        changed["metadata"]["managedFields"] = [entry]
        answer = await api.put(f"{CONFIGMAPS}/a", changed)
        (kept,) = answer.json["metadata"]["managedFields"]
        assert kept["fieldsV1"] == {"f:data": {".": {}, "f:foo": {}, "f:new": {}}}

    @pytest.mark.parametrize(
        ("agent", "query", "manager"),
        [
            ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)", "", "Mozilla"),
            ("f" * 129 + "/Something", "", "f" * 128),
            ("🍔" * 60, "", "🍔" * 32),
            ("ü" + "🍔" * 60, "", "ü" + "🍔" * 31),
            ("a\x07b c\xa0d/1", "", "ab cd"),
            ("userAgent", "?fieldManager=manager", "manager"),
            ("/1", "", "unknown"),
        ],
    )
    async def test_managers(self, api: Api, agent: str, query: str, manager: str) -> None:
        """TestManagerOrUserAgent of create_test.go."""
        header = agent.encode().decode("latin-1")
        answer = await api.post(f"{CONFIGMAPS}{query}", configmap("a", k="v"), user_agent=header)
        assert [e["manager"] for e in answer.json["metadata"]["managedFields"]] == [manager]


class TestForms:
    """negotiate_test.go, response_test.go."""

    @pytest.mark.parametrize(
        ("accept", "content_type"),
        [
            ("", "application/json"),
            ("*/*", "application/json"),
            ("application/*", "application/json"),
            ("application/json", "application/json"),
            ("application/json; export=true", "application/json"),
            ("application/json; pretty=1", "application/json"),
            ("unrecognized/stuff,application/json; pretty=1", "application/json"),
            ("application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf"),
            ("application/yaml", "application/yaml"),
        ],
    )
    async def test_negotiate(self, api: Api, accept: str, content_type: str) -> None:
        """TestNegotiate."""
        await api.post(CONFIGMAPS, configmap("a"))
        answer = await api.get(f"{CONFIGMAPS}/a", accept=accept)
        assert (answer.status, answer.content_type) == (200, content_type)

    @pytest.mark.parametrize(
        ("agent", "query", "pretty"),
        [
            ("kubectl/v1.36", "", False),
            ("kubectl/v1.36", "?pretty=1", True),
            ("kubectl/v1.36", "?pretty=true", True),
            ("kubectl/v1.36", "?pretty=yes", False),
            ("kubectl/v1.36", "?pretty=", False),
            ("curl", "", True),
            ("curl/8.0", "?pretty=false", False),
            ("Wget", "", True),
            ("Mozilla/5.0", "", True),
            ("Mozilla/4.0", "", False),
        ],
    )
    async def test_pretty(self, api: Api, agent: str, query: str, pretty: bool) -> None:
        """TestNegotiate: `certain user agents trigger pretty`; so it is of answers to reads and writes, and of errors."""
        for answer in (
            await api.post(f"{CONFIGMAPS}{query}", configmap("a"), user_agent=agent),
            await api.get(f"{CONFIGMAPS}/a{query}", user_agent=agent),
            await api.get(f"{CONFIGMAPS}{query}", user_agent=agent),
            await api.get(f"{CONFIGMAPS}/b{query}", user_agent=agent),
        ):
            assert answer.body.startswith(b'{\n  "kind": "') is pretty, answer
            assert answer.json["kind"]

    async def test_what_is_not_json_is_not_indented(self, api: Api) -> None:
        await api.post(CONFIGMAPS, configmap("a"))
        plain = await api.get(f"{CONFIGMAPS}/a", accept="application/yaml")
        assert (await api.get(f"{CONFIGMAPS}/a?pretty=1", accept="application/yaml")).body == plain.body

    @pytest.mark.parametrize("accept", ["application", "unrecognized/stuff", "text/html"])
    async def test_not_acceptable(self, api: Api, accept: str) -> None:
        """TestNegotiate: the errors."""
        answer = await api.get(CONFIGMAPS, accept=accept)
        assert (answer.status, answer.json["reason"]) == (406, "NotAcceptable")
        assert answer.json["message"].startswith("only the following media types are accepted: application/json, application/yaml")  # fmt: skip

    async def test_lists_of_metadata(self, api: Api) -> None:
        """TestAsPartialObjectMetadataList: the list's metadata are the same."""
        for name in "abc":
            await api.post(CONFIGMAPS, configmap(name))
        whole = (await api.get(f"{CONFIGMAPS}?limit=1")).json["metadata"]
        accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        answer = await api.get(f"{CONFIGMAPS}?limit=1", accept=accept)
        assert answer.json["kind"] == "PartialObjectMetadataList"
        assert answer.json["apiVersion"] == "meta.k8s.io/v1"
        assert answer.json["metadata"].keys() == whole.keys()
        assert answer.json["metadata"]["remainingItemCount"] == whole["remainingItemCount"]
        assert answer.json["metadata"]["resourceVersion"] == whole["resourceVersion"]

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"{}", 200),
            (b'{"apiVersion":"v1","kind":"DeleteOptions","gracePeriodSeconds":123}', 200),
            (b'{"apiVersion":"meta.k8s.io/v1","kind":"DeleteOptions","gracePeriodSeconds":123}', 200),
        ],
    )
    async def test_delete_collection(self, api: Api, body: bytes, code: int) -> None:
        """TestDeleteCollection."""
        await api.post(CONFIGMAPS, configmap("a"))
        answer = await api.delete(CONFIGMAPS, body)
        assert answer.status == code, answer
        assert [i["metadata"]["name"] for i in answer.json["items"]] == ["a"]
