"""Any body, of any media type, with any patch: an answer below 500, and an object that is changed whole or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server.harness import CONFIGMAPS, DEPLOYMENTS, Api, configmap

ANSWER_SECONDS = 120
WIDGETS = "/apis/fuzz.example.com/v1/namespaces/default/widgets"

DEFINITION: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.fuzz.example.com"},
    "spec": {
        "group": "fuzz.example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"},
                },
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "x-kubernetes-validations": [{"rule": "!has(self.n) || self.n < 100"}],
                                "properties": {
                                    "n": {"type": "integer", "default": 1},
                                    "name": {"type": "string", "pattern": "^(a+)+$"},
                                    "items": {
                                        "type": "array",
                                        "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["k"],
                                        "items": {
                                            "type": "object",
                                            "required": ["k"],
                                            "properties": {"k": {"type": "string"}, "v": {"type": "integer"}},
                                        },
                                    },
                                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                                },
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}

DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d"},
    "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]},
        },
    },
}
WIDGET = {
    "apiVersion": "fuzz.example.com/v1",
    "kind": "Widget",
    "metadata": {"name": "w"},
    "spec": {"name": "aa", "items": [{"k": "x", "v": 1}], "free": {"y": [1]}},
}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(
        ["", "a" * 200, "1Gi", "-1", "2026-01-02T03:04:05Z", "None", "\x00", "d", "w", "replace", "delete"]
    ),
)
names = st.one_of(
    st.sampled_from(
        [
            "metadata",
            "spec",
            "status",
            "name",
            "labels",
            "annotations",
            "finalizers",
            "ownerReferences",
            "managedFields",
            "resourceVersion",
            "uid",
            "generation",
            "deletionTimestamp",
            "creationTimestamp",
            "replicas",
            "template",
            "containers",
            "ports",
            "containerPort",
            "protocol",
            "image",
            "selector",
            "strategy",
            "$patch",
            "$retainKeys",
            "$setElementOrder/containers",
            "$deleteFromPrimitiveList/finalizers",
            "apiVersion",
            "kind",
            "data",
            "binaryData",
            "n",
            "items",
            "k",
            "v",
            "free",
            "fieldsV1",
            "operation",
        ]
    ),
    st.text(max_size=6),
)
values = st.recursive(
    scalars,
    lambda v: st.one_of(st.lists(v, max_size=4), st.dictionaries(names, v, max_size=5)),
    max_leaves=20,
)
pointers = st.lists(st.one_of(names, st.sampled_from(["0", "-", "-1", "99", "01"])), max_size=5).map(
    lambda parts: "".join("/" + p.replace("~", "~0").replace("/", "~1") for p in parts)
)
operations = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "spam"])},
    optional={"path": pointers, "from": pointers, "value": values},
)


@st.composite
def changed(draw: Any, whole: dict[str, Any]) -> Any:
    """The object with some of its values replaced, dropped, or new ones beside them."""
    out = msgspec.json.decode(msgspec.json.encode(whole))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = out
        while isinstance(place, dict) and place:
            key = draw(st.sampled_from(sorted(place)))
            if not isinstance(place[key], dict | list) or draw(st.booleans()):
                choice = draw(st.integers(0, 2))
                if choice == 0:
                    del place[key]
                elif choice == 1:
                    place[key] = draw(values)
                else:
                    place[draw(names)] = draw(values)
                break
            place = place[key]
            if isinstance(place, list):
                place = place[0] if place else None
    return out


@pytest.fixture(scope="module")
def run() -> Any:
    """Calls on one server with three objects, on a loop of its own."""
    loop = asyncio.new_event_loop()

    async def start() -> Api:
        api = await Api.start()
        assert (
            await api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", DEFINITION)
        ).status == 201
        async with asyncio.timeout(ANSWER_SECONDS):
            while (await api.get(WIDGETS)).status != 200:
                await asyncio.sleep(0.01)
        return api

    api = loop.run_until_complete(start())

    async def checked(method: str, path: str, body: bytes, kind: str) -> None:
        for where, whole in (
            (DEPLOYMENTS, DEPLOYMENT),
            (WIDGETS, WIDGET),
            (CONFIGMAPS, configmap("c", a="1")),
        ):
            if path.startswith(where):
                await api.delete(f"{where}/{whole['metadata']['name']}")
                made = await api.post(where, whole)
                assert made.status in (201, 409), made
                target = f"{where}/{whole['metadata']['name']}"
        before = (await api.get(target)).json
        answer = await asyncio.wait_for(api.call(method, path, body, content_type=kind), ANSWER_SECONDS)
        assert answer.status < 500, (answer, body)
        after = await api.get(target)
        if answer.status >= 400 and after.status == 200:
            assert answer.json["kind"] == "Status"
            assert after.json == before, (answer, body)
        if after.status == 200:
            # What was accepted can be written again as it is.
            assert (await api.put(target, after.json)).status < 400, (answer, body, after)
            if after.json["metadata"].get("finalizers"):
                await api.patch(target, {"metadata": {"finalizers": None}})

    yield lambda *arguments: loop.run_until_complete(checked(*arguments))
    loop.run_until_complete(api.stop())
    loop.close()


PLACES = st.sampled_from(
    [
        f"{DEPLOYMENTS}/d",
        f"{DEPLOYMENTS}/d/status",
        f"{DEPLOYMENTS}/d/scale",
        f"{WIDGETS}/w",
        f"{WIDGETS}/w/status",
        f"{WIDGETS}/w/scale",
        f"{CONFIGMAPS}/c",
    ]
)
WHOLE = {DEPLOYMENTS: DEPLOYMENT, WIDGETS: WIDGET, CONFIGMAPS: configmap("c", a="1")}
MEDIA = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)


@given(path=PLACES, patch=st.lists(operations, max_size=4))
def test_json_patch(run: Any, path: str, patch: Any) -> None:
    run("PATCH", path, msgspec.json.encode(patch), PATCHES[0])


@given(
    path=PLACES,
    patch=st.one_of(values, st.dictionaries(names, values, max_size=4)),
    kind=st.sampled_from(PATCHES[1:3]),
)
def test_merge_patches(run: Any, path: str, patch: Any, kind: str) -> None:
    run("PATCH", path, msgspec.json.encode(patch), kind)


@given(path=PLACES, data=st.data(), force=st.booleans())
def test_apply(run: Any, path: str, data: Any, force: bool) -> None:
    whole = next(v for k, v in WHOLE.items() if path.startswith(k))
    body = msgspec.json.encode(data.draw(st.one_of(values, changed(whole))))
    run("PATCH", f"{path}?fieldManager=f&force={str(force).lower()}", body, PATCHES[3])


@given(path=PLACES, data=st.data(), validation=st.sampled_from(["Strict", "Warn", "Ignore"]))
def test_update(run: Any, path: str, data: Any, validation: str) -> None:
    whole = next(v for k, v in WHOLE.items() if path.startswith(k))
    body = msgspec.json.encode(data.draw(st.one_of(values, changed(whole))))
    run("PUT", f"{path}?fieldValidation={validation}", body, MEDIA[0])


@given(
    path=PLACES,
    body=st.one_of(
        st.binary(max_size=60),
        st.binary(max_size=60).map(lambda b: b"k8s\x00" + b),
        st.text(alphabet="{}[]:,\"'-&*!|>%@` \n\tab01.e\\", max_size=60).map(str.encode),
    ),
    kind=st.sampled_from(MEDIA + PATCHES),
)
def test_bytes(run: Any, path: str, body: bytes, kind: str) -> None:
    run("PATCH" if kind in PATCHES else "PUT", f"{path}?fieldManager=f", body, kind)
