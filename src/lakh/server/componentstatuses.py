"""`kubectl get componentstatuses`: how the components are, asked at the moment, stored nowhere (upstream's registry/core/componentstatus).

The scheduler and the controllers are asked for `/healthz` where this server was told that they are, as upstream does on its own machine; of
others nothing is known, and nothing said. The journals answer to the name of upstream's first backend, `etcd-0`, which is what clients look for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from lakh.machinery import errors
from lakh.server import backend, negotiate, tables
from lakh.server.cluster import Cluster
from lakh.server.codec import encode_json
from lakh.server.exchange import Request, Response
from lakh.server.rendering import render
from lakh.server.routing import RequestInfo
from lakh.server.selecting import Selection
from lakh.store.state import Item

STORE = "etcd-0"
PROBE_SECONDS = 20.0
PROBE_MAX_BYTES = 10 * 1024


class ComponentStatuses:
    """Answers gets and lists. `components`: where they serve `/healthz`, as `address:port`, by upstream's names of them."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.components: Mapping[str, str] = {}

    async def handle(self, request: Request, info: RequestInfo, query: dict[str, str]) -> Response:
        """The answer; raises 400, 405, 406, and upstream's 500 for a component that is not known."""
        resource = info.resource
        if info.verb not in resource.verbs or info.subresource or request.method == "HEAD":
            raise errors.method_not_allowed()
        listed = info.verb == "list"
        accepted = negotiate.accepted(request.headers.get("accept", ""), many=listed)
        include = tables.include_object(query) if accepted.shape == "table" else ""
        known = (*self.components, STORE)
        if not listed and info.name not in known:
            raise errors.StatusError(500, "", f"Component not found: {info.name}")
        names = known if listed else (info.name,)
        found = await asyncio.gather(*map(self._status, names))
        if listed:
            found = self._selected(info, query, found)
        body = self._shown(info, found, accepted, include, listed)
        return render(Response(200, body), accepted.media)

    def _selected(
        self, info: RequestInfo, query: dict[str, str], found: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        store = self.cluster.store(info.resource)
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
        selection = Selection(info.resource, store.decode_selectable, "", "", labels, fields)
        table = info.resource.table
        items = [Item(f"{table}//{o['metadata']['name']}", encode_json(o), (), 0, 0) for o in found]
        return [o for o, item in zip(found, items, strict=True) if selection.covers(item, None)]

    def _shown(
        self,
        info: RequestInfo,
        found: list[dict[str, Any]],
        accepted: negotiate.Accepted,
        include: str,
        listed: bool,
    ) -> bytes:
        """The statuses in the form that is asked for."""
        shape, meta = accepted.shape, accepted.meta
        resource = info.resource
        if shape == "table":
            store = self.cluster.store(resource)
            rows = []
            for one in found:
                cells = store.strategy.cells(store.codec.decode_stored(encode_json(one)), time.time())
                row: dict[str, Any] = {"cells": cells}
                if include == "Metadata":
                    row["object"] = tables.metadata_of(one, meta)
                elif include == "Object":
                    row["object"] = _typed(info, one)
                rows.append(encode_json(row))
            return tables.table_head(store, b"{}", meta=meta) + b",".join(rows) + tables.TABLE_TAIL
        items = [tables.metadata_of(o, meta) if shape == "metadata" else o for o in found]
        if not listed:
            return encode_json(items[0] if shape == "metadata" else _typed(info, found[0]))
        kind, version = resource.list_name, resource.api_version
        if shape == "metadata":
            kind, version = "PartialObjectMetadataList", meta
        return encode_json({"kind": kind, "apiVersion": version, "metadata": {}, "items": items})

    async def _status(self, name: str) -> dict[str, Any]:
        healthy, message, error = self._store() if name == STORE else await self._probe(self.components[name])
        condition = {"type": "Healthy", "status": "True" if healthy else "False"}
        if message:
            condition["message"] = message
        if error:
            condition["error"] = error
        return {"metadata": {"name": name}, "conditions": [condition]}

    def _store(self) -> tuple[bool, str, str]:
        failed = [name for name, partition in self.cluster.partitions.items() if partition.failed]
        if failed:
            return False, "", f"failed partitions: {', '.join(failed)}"
        return True, "ok", ""

    async def _probe(self, address: str) -> tuple[bool, str, str]:
        """A component's own word."""
        url = f"http://{address}"
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                answer = await backend.ask(urlsplit(url), None, "GET", "/healthz", [("accept", "*/*")])
                try:
                    text = (await answer.read(PROBE_MAX_BYTES)).decode(errors="replace")
                finally:
                    answer.close()
        except TimeoutError:
            return False, f'Get "{url}/healthz": context deadline exceeded', ""
        except backend.BackendError as e:
            return False, f'Get "{url}/healthz": {e}', ""
        if not 200 <= answer.status < 400:
            return False, f"HTTP probe failed with statuscode: {answer.status}", ""
        return True, text.strip(), ""


def _typed(info: RequestInfo, status: dict[str, Any]) -> dict[str, Any]:
    return {"kind": info.resource.kind, "apiVersion": info.resource.api_version, **status}
