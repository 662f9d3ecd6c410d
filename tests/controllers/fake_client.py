"""An in-memory API server for controller tests: the methods of `Client` that controllers use, and informers fed by it.

Objects are plain dicts. Writes bump a resourceVersion and are told to informers at once, or, while `hold()` is in force, when `release()`
is called: that is a slow watch. Patches are merge patches, and strategic ones as far as controllers use them.
"""

# ruff: noqa: A002
from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from lakh.client.client import MERGE, RawResponse
from lakh.client.errors import ApiError
from lakh.client.resources import PODS, Resource
from lakh.client.types import ListMeta, ObjectList
from lakh.controllers.context import Context
from lakh.controllers.informers import Informers

NOW = 1_700_000_000.0

_MERGE_KEYS = {"ownerReferences": "uid", "conditions": "type", "taints": None, "finalizers": "set"}


def not_found(resource: Resource, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{resource.plural} "{name}" not found')


def merge(target: dict[str, Any], patch: dict[str, Any], *, strategic: bool) -> None:
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            field = key.partition("/")[2]
            target[field] = [item for item in target.get(field, []) if item not in value]
            if not target[field]:
                del target[field]
        elif value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            merge(target.setdefault(key, {}), value, strategic=strategic)
        elif strategic and isinstance(value, list) and _MERGE_KEYS.get(key) == "set":
            target[key] = target.get(key, []) + [item for item in value if item not in target.get(key, [])]
        elif strategic and isinstance(value, list) and _MERGE_KEYS.get(key):
            merge_key = _MERGE_KEYS[key]
            items = {item[merge_key]: item for item in target.get(key, [])}
            for item in value:
                if item.get("$patch") == "delete":
                    items.pop(item[merge_key], None)
                else:
                    items[item[merge_key]] = {**items.get(item[merge_key], {}), **item}
            target[key] = list(items.values())
        else:
            target[key] = copy.deepcopy(value)


class FakeInformer:
    def __init__(self, client: FakeClient, resource: Resource, view: type[Any], **_: Any) -> None:
        self.items: dict[str, Any] = {}
        self.synced = asyncio.Event()
        self.synced.set()
        self._view = view
        self._handlers: list[dict[str, Any]] = []
        self._indexes: dict[str, Callable[[Any], Iterable[str]]] = {}
        client.informers.setdefault(resource, []).append(self)
        for obj in client.objects.get(resource, {}).values():
            self.tell(obj)

    @property
    def has_synced(self) -> bool:
        return True

    async def wait_synced(self) -> None:
        pass

    def add_handler(self, *, on_add: Any = None, on_update: Any = None, on_delete: Any = None) -> None:
        self._handlers.append({"add": on_add, "update": on_update, "delete": on_delete})
        if on_add:
            for item in list(self.items.values()):
                on_add(item)

    def add_index(self, name: str, keys: Callable[[Any], Iterable[str]], *, part: Any = None) -> None:
        self._indexes[name] = keys

    def by_index(self, name: str, key: str) -> list[Any]:
        keys = self._indexes[name]
        return [item for item in self.items.values() if key in keys(item)]

    def tell(self, obj: dict[str, Any], gone: bool = False) -> None:
        view = msgspec.json.decode(msgspec.json.encode(obj), type=self._view)
        metadata = obj["metadata"]
        key = f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else metadata["name"]
        old = self.items.get(key)
        if gone:
            self.items.pop(key, None)
            self._call("delete", view)
        elif old is not None and old.metadata.uid == view.metadata.uid:
            self.items[key] = view
            self._call("update", old, view)
        else:
            self.items[key] = view
            self._call("add", view)

    def _call(self, kind: str, *args: Any) -> None:
        for handler in self._handlers:
            if handler[kind]:
                handler[kind](*args)

    async def run(self) -> None:
        await asyncio.Event().wait()


class FakeClient:
    def __init__(self) -> None:
        self.objects: dict[Resource, dict[tuple[str | None, str], dict[str, Any]]] = {}
        self.informers: dict[Resource, list[FakeInformer]] = {}
        self.revision = 0
        self.requests: list[tuple[str, str, str]] = []
        self.fail: Callable[[str, Resource, str], Exception | None] = lambda verb, resource, name: None
        self.graceful = False
        self._held: list[tuple[Resource, dict[str, Any], bool]] | None = None
        self.now = NOW
        self.monotonic = 0.0
        self.served: list[Resource] = []

    # ------------------------------------------------------------ the watch

    def hold(self) -> None:
        self._held = []

    def release(self) -> None:
        held, self._held = self._held or [], None
        for event in held:
            self._tell(*event)

    def release_some(self, count: int) -> None:
        """The watch delivers `count` events and stalls again."""
        held = self._held or []
        self._held = None
        for event in held[:count]:
            self._tell(*event)
        self._held = held[count:]

    def _tell(self, resource: Resource, obj: dict[str, Any], gone: bool = False) -> None:
        if self._held is not None:
            self._held.append((resource, copy.deepcopy(obj), gone))
            return
        for informer in self.informers.get(resource, []):
            informer.tell(obj, gone)

    # ------------------------------------------------------------ helpers for tests

    def table(self, resource: Resource) -> dict[tuple[str | None, str], dict[str, Any]]:
        return self.objects.setdefault(resource, {})

    def all(self, resource: Resource) -> list[dict[str, Any]]:
        return list(self.table(resource).values())

    def one(self, resource: Resource, name: str, namespace: str | None = None) -> dict[str, Any]:
        try:
            return self.table(resource)[namespace, name]
        except KeyError:
            raise not_found(resource, name) from None

    def put(self, resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
        """Create or replace directly."""
        metadata = obj.setdefault("metadata", {})
        if resource.namespaced:
            metadata.setdefault("namespace", "default")
        self.revision += 1
        metadata.setdefault("uid", f"uid-{self.revision}")
        metadata.setdefault("generation", 1)
        metadata.setdefault("creationTimestamp", "2023-11-14T00:00:00Z")
        metadata["resourceVersion"] = str(self.revision)
        self.table(resource)[metadata.get("namespace"), metadata["name"]] = obj
        self._tell(resource, obj)
        return obj

    def change(
        self, resource: Resource, name: str, patch: dict[str, Any], namespace: str | None = "default"
    ) -> None:
        """Merge into an object; a changed spec bumps the generation."""
        obj = self.one(resource, name, namespace if resource.namespaced else None)
        before = copy.deepcopy(obj.get("spec"))
        merge(obj, copy.deepcopy(patch), strategic=False)
        if before != obj.get("spec"):
            obj["metadata"]["generation"] = obj["metadata"].get("generation", 1) + 1
        self._touch(resource, obj)

    def _touch(self, resource: Resource, obj: dict[str, Any]) -> None:
        self.revision += 1
        obj["metadata"]["resourceVersion"] = str(self.revision)
        metadata = obj["metadata"]
        if (
            metadata.get("deletionTimestamp")
            and not metadata.get("finalizers")
            and not metadata.get("_graceful")
        ):
            self.table(resource).pop((metadata.get("namespace"), metadata["name"]), None)
            self._tell(resource, obj, True)
        else:
            self._tell(resource, obj)

    def remove(self, resource: Resource, name: str, namespace: str | None = "default") -> None:
        """Take an object away, whatever its finalizers."""
        obj = self.table(resource).pop((namespace if resource.namespaced else None, name))
        self.revision += 1
        self._tell(resource, obj, True)

    def _note(self, verb: str, resource: Resource, name: str) -> None:
        self.requests.append((verb, resource.plural, name))
        error = self.fail(verb, resource, name)
        if error is not None:
            raise error

    @staticmethod
    def _as(obj: dict[str, Any], type_: Any) -> Any:
        data = msgspec.json.encode(obj)
        return data if type_ is bytes else msgspec.json.decode(data, type=type_)

    # ------------------------------------------------------------ the client's methods

    async def get(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        type: Any = dict,
        subresource: str | None = None,
    ) -> Any:
        await asyncio.sleep(0)
        self._note("get", resource, f"{name}/{subresource}" if subresource else name)
        return self._as(self.one(resource, name, namespace), type)

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        type: Any = dict,
        **_: Any,
    ) -> Any:
        await asyncio.sleep(0)
        self._note("list", resource, "")
        items = [
            self._as(obj, type)
            for (where, _name), obj in self.table(resource).items()
            if namespace is None or where == namespace
        ]
        return ObjectList(ListMeta(resourceVersion=str(self.revision)), items)

    async def create(
        self,
        resource: Resource,
        obj: Any,
        namespace: str | None = None,
        *,
        type: Any = dict,
        subresource: str | None = None,
        name: str | None = None,
        params: Any = None,
    ) -> Any:
        await asyncio.sleep(0)
        data = msgspec.json.decode(obj if isinstance(obj, bytes) else msgspec.json.encode(obj))
        metadata = data["metadata"]
        if "name" not in metadata:
            metadata["name"] = f"{metadata['generateName']}{self.revision:05d}"
        self._note("create", resource, metadata["name"])
        if resource.namespaced:
            metadata["namespace"] = namespace
        if (metadata.get("namespace"), metadata["name"]) in self.table(resource):
            raise ApiError(409, "AlreadyExists", f'{resource.plural} "{metadata["name"]}" already exists')
        metadata["creationTimestamp"] = "2023-11-14T22:13:20Z"
        if resource == PODS:
            data.setdefault("status", {"phase": "Pending"})
        self.put(resource, data)
        return self._as(data, type)

    async def update(
        self,
        resource: Resource,
        obj: Any,
        namespace: str | None = None,
        *,
        name: str | None = None,
        type: Any = dict,
        subresource: str | None = None,
        params: Any = None,
    ) -> Any:
        await asyncio.sleep(0)
        data = msgspec.json.decode(obj if isinstance(obj, bytes) else msgspec.json.encode(obj))
        name = name or data["metadata"]["name"]
        self._note("update", resource, f"{name}/{subresource}" if subresource else name)
        current = self.one(resource, name, namespace)
        sent = data["metadata"].get("resourceVersion")
        if sent and sent != current["metadata"]["resourceVersion"]:
            raise self._conflict(resource, name)
        if subresource == "finalize":
            current["spec"]["finalizers"] = data["spec"].get("finalizers", [])
            if not current["spec"]["finalizers"] and current["metadata"].get("deletionTimestamp"):
                current["metadata"].pop("_graceful", None)
            self._touch(resource, current)
            return self._as(current, type)
        data["metadata"] = {**current["metadata"], **data["metadata"]}
        current.clear()
        current.update(data)
        self._touch(resource, current)
        return self._as(current, type)

    @staticmethod
    def _conflict(resource: Resource, name: str) -> ApiError:
        return ApiError(
            409,
            "Conflict",
            f'Operation cannot be fulfilled on {resource.plural} "{name}": the object has been modified',
        )

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Any,
        namespace: str | None = None,
        *,
        patch_type: str = MERGE,
        type: Any = dict,
        subresource: str | None = None,
        **_: Any,
    ) -> Any:
        await asyncio.sleep(0)
        self._note("patch", resource, f"{name}/{subresource}" if subresource else name)
        current = self.one(resource, name, namespace)
        data = msgspec.json.decode(patch if isinstance(patch, bytes) else msgspec.json.encode(patch))
        metadata = data.get("metadata", {})
        sent = metadata.pop("resourceVersion", None)
        if sent and sent != current["metadata"]["resourceVersion"]:
            raise self._conflict(resource, name)
        if metadata.get("uid", current["metadata"]["uid"]) != current["metadata"]["uid"]:
            raise self._conflict(resource, name)
        before = copy.deepcopy(current)
        if subresource == "status":
            # Labels and annotations may come with a status; the spec and the generation stay.
            data = {"metadata": metadata, "status": data.get("status", {})}
        merge(current, data, strategic="strategic" in patch_type)
        if before.get("spec") != current.get("spec"):
            current["metadata"]["generation"] = current["metadata"].get("generation", 1) + 1
        if before != current:
            self._touch(resource, current)
        return self._as(current, type)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
        params: Any = None,
    ) -> None:
        await asyncio.sleep(0)
        self._note("delete", resource, name)
        obj = self.one(resource, name, namespace)
        metadata = obj["metadata"]
        if uid is not None and metadata["uid"] != uid:
            raise self._conflict(resource, name)
        if resource_version is not None and metadata["resourceVersion"] != resource_version:
            raise self._conflict(resource, name)
        graceful = self.graceful and resource == PODS and grace_period_seconds != 0
        if metadata.get("deletionTimestamp") and not (metadata.get("_graceful") and not graceful):
            return
        metadata["deletionTimestamp"] = "2023-11-14T22:13:20Z"
        if propagation_policy == "Foreground":
            metadata.setdefault("finalizers", []).append("foregroundDeletion")
        metadata.pop("_graceful", None)
        if graceful:
            metadata["_graceful"] = True
        self._touch(resource, obj)

    async def delete_collection(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        grace_period_seconds: int | None = None,
        **_: Any,
    ) -> None:
        self._note("deletecollection", resource, "")
        for where, name in list(self.table(resource)):
            if where == namespace:
                await self.delete(resource, name, namespace)

    async def raw(
        self, method: str, path: str, body: bytes | None = None, headers: Any = None
    ) -> RawResponse:
        """Aggregated discovery of the resources in use; nothing else."""
        await asyncio.sleep(0)
        groups: dict[str, list[Resource]] = {}
        for resource in self.served:
            if (resource.group == "") == (path == "/api"):
                groups.setdefault(resource.group, []).append(resource)
        verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
        items = [
            {
                "metadata": {"name": group},
                "versions": [
                    {
                        "version": resources[0].version,
                        "resources": [
                            {
                                "resource": resource.plural,
                                "responseKind": {"group": "", "version": "", "kind": resource.kind},
                                "scope": "Namespaced" if resource.namespaced else "Cluster",
                                "verbs": verbs,
                            }
                            for resource in resources
                        ],
                    }
                ],
            }
            for group, resources in groups.items()
        ]
        answer = {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items}
        return RawResponse(200, [], msgspec.json.encode(answer))

    async def close(self) -> None:
        pass


class FakeRecorder:
    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def event(self, ref: Any, type: str, reason: str, message: str) -> None:
        self.events.append((type, reason, message))

    @property
    def reasons(self) -> list[str]:
        return [reason for _, reason, _ in self.events]


class Recorders(dict[str, FakeRecorder]):
    def get(self, component: str, default: Any = None) -> FakeRecorder:  # type: ignore[override]
        return self.setdefault(component, FakeRecorder())


def make_context(client: FakeClient, **settings: Any) -> Context:
    informers = Informers(client, FakeInformer)  # type: ignore[arg-type]
    return Context(
        client,  # type: ignore[arg-type]
        informers,
        now=lambda: client.now,
        monotonic=lambda: client.monotonic,
        recorders=Recorders(),  # type: ignore[arg-type]
        **settings,
    )


async def drain(*controllers: Any, limit: int = 1000) -> None:
    """Reconcile what is queued, one key at a time, until nothing is. Delayed keys stay."""
    for _ in range(limit):
        busy = False
        for controller in controllers:
            while len(controller.queue):
                busy = True
                key = await controller.queue.get()
                try:
                    await controller.reconcile(key)
                finally:
                    controller.queue.done(key)
        if not busy:
            return
    raise AssertionError("controllers never came to rest")


def template(labels: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "main", "image": "busybox"}], **spec},
    }


def ready_pod(client: FakeClient, name: str, at: str = "2023-11-14T22:00:00Z", node: str = "n1") -> None:
    client.change(
        PODS,
        name,
        {
            "spec": {"nodeName": node},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at}],
            },
        },
    )
