"""OpenAPI: v3 a document a group version, and v2 in one, from Kubernetes' own definitions.

A document is made when it is first asked for, and its bytes are kept compressed; nothing else is. The v3 index gives each document a hash of
everything that it is made of (not of its bytes, so the index needs no documents): clients cache by that URL for ever, and one who comes
with an old hash is redirected to the new one.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import time
from collections.abc import Coroutine, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any
from wsgiref.handlers import format_date_time

from lakh import __version__
from lakh.apis.custom import CustomResource
from lakh.apis.definitions import KUBERNETES_VERSION, schema
from lakh.apis.registry import Registry, Resource
from lakh.server import openapi_build, openapi_custom, openapi_operations, openapi_proto, openapi_schemas
from lakh.server.codec import encode_json
from lakh.server.documents import Document, best_type
from lakh.server.openapi_operations import Kinds, Operation
from lakh.server.openapi_schemas import Version
from lakh.server.transport import Request, Response

JSON = "application/json"
V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
# The name that clients sent first and still send; it is no valid media type, so the answer bears the other one.
V2_PROTOBUF_OLD = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
V2_TYPES = (JSON, V2_PROTOBUF, V2_PROTOBUF_OLD)
V3_TYPES = (JSON,)

INDEX_PATH = "/openapi/v3"
V2_PATH = "/openapi/v2"
RELEASE = f"v{KUBERNETES_VERSION}.0"
YEAR_SECONDS = 365 * 24 * 3600


class OpenApi:
    """Serves /openapi/v2 and /openapi/v3. When the registry changes, only the documents that differ are made again."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._generation = -1
        self._documents: dict[str, Document] = {}
        self._known_places: dict[str, str] | None = None
        # The v2 document that is being made: of which generation, in which form.
        self._building: tuple[int, str, asyncio.Task[Document]] | None = None

    def _follow(self) -> None:
        """Forgets what was made of a registry that has changed."""
        if self._generation == self._registry.generation:
            return
        self._generation = self._registry.generation
        self._known_places = None
        for name in ("", *V2_TYPES):
            self._documents.pop(name, None)

    def handle(
        self, request: Request, path: str, query: dict[str, str]
    ) -> Response | Coroutine[Any, Any, Response] | None:
        """The document at a path; None when the path is of no document. As upstream's mux, it does not ask for the method."""
        if not path.startswith("/openapi/"):
            return None
        self._follow()
        if path == V2_PATH:
            return self._v2(request)
        if path == INDEX_PATH:
            return self._index().answer(request)
        if path.startswith(INDEX_PATH + "/"):
            return self._v3(request, path.removeprefix(INDEX_PATH + "/"), query.get("hash", ""))
        return None

    @functools.cached_property
    def _built_in_places(self) -> dict[str, str]:
        """The places of what is always there, with their hashes."""
        registry = Registry(tuple(r for r in self._registry.all() if not isinstance(r, CustomResource)))
        listed = openapi_build.places(registry, _built_in_kinds())
        return {place: _digest(_builder_digest(), place, repr(ops)) for place, ops in listed.items()}

    @property
    def _places(self) -> dict[str, str]:
        """The places of the v3 index with their hashes."""
        places = self._known_places
        if places is None:
            places = dict(self._built_in_places)
            custom = [r for r in self._registry.all() if isinstance(r, CustomResource)]
            if custom:
                schemas: dict[str, str] = {}
                for resource in custom:
                    place = f"apis/{resource.api_version}"
                    schemas[place] = schemas.get(place, "") + resource.structural.digest
                for place, ops in _operations(custom, _definitions(custom, 3)).items():
                    if place not in places or place in schemas:
                        before = places.get(place, "")
                        places[place] = _digest(
                            _builder_digest(), before, place, repr(ops), schemas.get(place, "")
                        )
            self._known_places = places = dict(sorted(places.items()))
            self._documents = {
                name: document
                for name, document in self._documents.items()
                if name in places or name in ("", *V2_TYPES)
            }
        return places

    def _index(self) -> Document:
        document = self._documents.get("")
        if document is None:
            paths = {
                place: {"serverRelativeURL": _place_url(place, digest)}
                for place, digest in self._places.items()
            }
            document = self._documents[""] = Document(encode_json({"paths": paths}))
        return document

    def _v3(self, request: Request, place: str, wanted_hash: str) -> Response:
        digest = self._places.get(place)
        if digest is None:
            return Response(404, b"", b"")
        if best_type(request.headers.get("accept", ""), V3_TYPES) is None:
            return Response(406, b"", b"")
        if wanted_hash and wanted_hash != digest:
            location = (b"Location", _place_url(place, digest).encode())
            return Response(301, b"", b"text/html; charset=utf-8", (location,))
        document = self._documents.get(place)
        if document is None or document.etag != f'"{digest}"':
            resources = [r for r in self._registry.all() if place in _places_of(r)]
            definitions = _definitions(resources, 3)
            listed = _operations(resources, definitions)[place]
            made = openapi_build.v3_document(definitions, listed, RELEASE)
            document = self._documents[place] = Document(encode_json(made), etag=digest)
        if not wanted_hash:
            return document.answer(request)
        expires = format_date_time(time.time() + YEAR_SECONDS).encode()
        return document.answer(request, ((b"Cache-Control", b"public, immutable"), (b"Expires", expires)))

    def _v2(self, request: Request) -> Response | Coroutine[Any, Any, Response]:
        kind = best_type(request.headers.get("accept", ""), V2_TYPES)
        if kind is None:
            return Response(406, b"", b"")
        kind = V2_PROTOBUF if kind == V2_PROTOBUF_OLD else kind
        document = self._documents.get(kind)
        if document is not None:
            return document.answer(request)
        resources = self._registry.all()
        if any(isinstance(r, CustomResource) for r in resources):
            # Definitions of custom resources are large: dozens of them take half a second.
            return self._v2_later(request, kind, resources)
        document = self._documents[kind] = _v2_document(resources, kind)
        return document.answer(request)

    async def _v2_later(self, request: Request, kind: str, resources: list[Resource]) -> Response:
        generation = self._generation
        if self._building is None or self._building[:2] != (generation, kind):
            task = asyncio.get_running_loop().create_task(asyncio.to_thread(_v2_document, resources, kind))
            self._building = (generation, kind, task)
        document = await asyncio.shield(self._building[2])
        if generation == self._generation:
            self._documents[kind] = document
        return document.answer(request)


def _places_of(resource: Resource) -> tuple[str, ...]:
    """The places of the v3 index that a resource is in."""
    root = openapi_operations.root
    return (root(resource.group)[1:], root(resource.group, resource.version)[1:])


@functools.cache
def _built_in_kinds() -> Kinds:
    return Kinds.of(schema().definitions())


def _definitions(resources: Iterable[Resource], version: Version) -> Mapping[str, Any]:
    """The built-in definitions and those of custom resources."""
    custom = [r for r in resources if isinstance(r, CustomResource)]
    built_in = schema().definitions()
    return {**built_in, **openapi_custom.definitions(custom, version)} if custom else built_in


def _operations(resources: Iterable[Resource], definitions: Mapping[str, Any]) -> dict[str, list[Operation]]:
    """The operations on resources, by place."""
    built_in = schema().definitions()
    added = {name: raw for name, raw in definitions.items() if name not in built_in}
    kinds = Kinds({**_built_in_kinds().by_kind, **Kinds.of(added).by_kind})
    return openapi_build.places(Registry(tuple(resources)), kinds)


def _v2_document(resources: list[Resource], kind: str) -> Document:
    """The document of everything; no state is touched, so any thread may make it."""
    definitions = _definitions(resources, 2)
    everything = [op for listed in _operations(resources, definitions).values() for op in listed]
    made = openapi_build.v2_document(definitions, everything, RELEASE)
    body = encode_json(made) if kind == JSON else openapi_proto.encode_v2(made)
    return Document(body, kind.encode())


def _place_url(place: str, digest: str) -> str:
    return f"{INDEX_PATH}/{place}?hash={digest}"


@functools.cache
def _builder_digest() -> str:
    """A digest of what turns operations into documents: the definitions' package, and our own code."""
    code = [
        Path(module.__file__).read_bytes().hex()
        for module in (openapi_build, openapi_custom, openapi_operations, openapi_schemas)
        if module.__file__
    ]
    return _digest(__version__, KUBERNETES_VERSION, metadata.version("kubernetes-validate"), *code)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest().upper()
