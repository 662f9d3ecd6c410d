"""Asking a conversion webhook what objects of one version are in another (`ConversionReview` of `apiextensions.k8s.io/v1`, or v1beta1).

Upstream's rules: objects come back in the same number and order, of the version asked for; kind, name, namespace and uid are what they were,
and of metadata only labels and annotations may have changed. All objects of a request go in one review, up to `BATCH`.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from lakh.apis.custom import ConversionNeeded
from lakh.apis.groups.admissionregistration import REVIEW_VERSIONS
from lakh.machinery import errors
from lakh.server import backend
from lakh.server.backend import BackendError
from lakh.server.codec import encode_json
from lakh.server.connect import Connect
from lakh.server.storage import new_uid

# Upstream's time limit of a webhook's answer.
CALL_SECONDS = 30.0
# Objects in a review, and how large an answer may be.
BATCH = 500
ANSWER_MAX_BYTES = 64 * 1024 * 1024
# Conversions that one write may need: of the object before and after it, in each version that a manager of its fields used.
CONVERSIONS_MAX = 32
GROUP = "apiextensions.k8s.io"
DEFAULT_PORT = 443

_decode = msgspec.json.Decoder().decode

Plain = dict[str, Any]
T = TypeVar("T")


class Webhook:
    """The conversion webhook of one definition; `config` is its `spec.conversion.webhook`."""

    def __init__(self, config: Any, connect: Connect) -> None:
        self._connect = connect
        self._versions = tuple(config.conversionReviewVersions or ())
        self._config = config.clientConfig
        self._tls: ssl.SSLContext | None = None

    async def convert(self, objects: list[Plain], api_version: str) -> list[Plain]:
        """Objects (plain JSON with apiVersion and kind) in another version; raises 500 in upstream's words."""
        found: list[Plain] = []
        for start in range(0, len(objects), BATCH):
            found += await self._batch(objects[start : start + BATCH], api_version)
        return found

    async def _batch(self, objects: list[Plain], api_version: str) -> list[Plain]:
        version = next((v for v in self._versions if v in REVIEW_VERSIONS), None)
        if version is None:
            raise _failure("no supported conversion review versions")
        uid = new_uid()
        review = {
            "kind": "ConversionReview",
            "apiVersion": f"{GROUP}/{version}",
            "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": objects},
        }
        what = f"conversion webhook for {objects[0]['apiVersion']}, Kind={objects[0]['kind']}"
        try:
            async with asyncio.timeout(CALL_SECONDS):
                answer = await self._post(encode_json(review))
        except (BackendError, errors.StatusError) as e:
            raise _failure(f"{what} failed: {e}") from e
        except TimeoutError:
            raise _failure(f"{what} failed: context deadline exceeded") from None
        converted = _converted(answer, version, uid, what)
        if len(converted) != len(objects):
            raise _failure(f"{what} returned {len(converted)} objects, expected {len(objects)}")
        for index, (before, after) in enumerate(zip(objects, converted, strict=True)):
            why = _check(before, after, api_version)
            if why:
                raise _failure(f"{what} returned invalid converted object at index {index}: {why}")
            _restore_metadata(before, after)
        return converted

    async def _post(self, body: bytes) -> bytes:
        config = self._config
        dial = None
        if config.url:
            url = urlsplit(config.url)
        else:
            service = config.service
            port = service.port or DEFAULT_PORT
            host = f"{service.name}.{service.namespace}.svc"
            url = urlsplit(f"https://{host}:{port}/{(service.path or '').lstrip('/')}")
            dial = self._connect.endpoint(service.namespace, service.name, str(port))
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        headers = [("content-type", "application/json"), ("accept", "application/json")]
        try:
            answer = await backend.ask(url, self._context(), "POST", target, headers, body, dial)
        except BackendError as e:
            raise BackendError(f'Post "{url.geturl()}?timeout=30s": {e}') from e
        try:
            data = await answer.read(ANSWER_MAX_BYTES)
        finally:
            answer.close()
        if answer.status != 200:
            text = data[:1024].decode("utf-8", "replace").strip()
            raise BackendError(text or f"the server responded with the status code {answer.status}")
        return data

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            bundle = self._config.caBundle
            try:
                pem = base64.b64decode(bundle).decode() if bundle else None
                self._tls = ssl.create_default_context(cadata=pem)
            except (ValueError, ssl.SSLError) as e:
                raise BackendError(f"unable to load root certificates: {e}") from e
        return self._tls


def _failure(text: str) -> errors.StatusError:
    return errors.StatusError(500, "", text)


async def decided(connect: Connect, decide: Callable[[], T | Awaitable[T]]) -> T:
    """What `decide` returns, which is called again when a webhook has converted what it needed for that; raises 500."""
    for _ in range(CONVERSIONS_MAX):
        try:
            result = decide()
            return await result if isinstance(result, Awaitable) else result
        except ConversionNeeded as need:
            webhook = Webhook(need.versions.conversion, connect)
            (converted,) = await webhook.convert([need.obj], need.api_version)
            need.versions.remember(need.obj, need.api_version, converted)
    raise errors.internal("the managers of the object's fields use too many of its versions")


def _converted(answer: bytes, version: str, uid: str, what: str) -> list[Plain]:
    """The objects of a review's response."""
    try:
        review = _decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise _failure(f"{what} failed: {e}") from None
    response = review.get("response") if isinstance(review, dict) else None
    if version == "v1":
        got = (review.get("apiVersion"), review.get("kind")) if isinstance(review, dict) else ("", "")
        if got != (f"{GROUP}/v1", "ConversionReview"):
            raise _failure(
                f"{what} failed: expected webhook response of {GROUP}/v1, Kind=ConversionReview, "
                f"got {got[0] or ''}, Kind={got[1] or ''}"
            )
    if not isinstance(response, dict):
        raise _failure(f"{what} failed: no response provided")
    if version == "v1" and response.get("uid") != uid:
        raise _failure(f'{what} failed: expected response.uid="{uid}", got "{response.get("uid") or ""}"')
    result = response.get("result")
    status = result.get("status") if isinstance(result, dict) else None
    if status != "Success":
        text = result.get("message") if isinstance(result, dict) else None
        why = text or f"response.result.status was '{status or ''}', not 'Success'"
        raise _failure(f"{what} failed: {why}")
    found = response.get("convertedObjects") or []
    if not isinstance(found, list) or not all(isinstance(o, dict) for o in found):
        raise _failure(f"{what} failed: convertedObjects are no objects")
    return found


def _check(before: Plain, after: Plain, api_version: str) -> str:
    """What is wrong with a converted object; empty when nothing is."""
    got = after.get("apiVersion")
    if got != api_version:
        return f"invalid groupVersion (expected {api_version}, received {got or ''})"
    if after.get("kind") != before["kind"]:
        return f"invalid kind (expected {before['kind']}, received {after.get('kind') or ''})"
    metadata = after.get("metadata")
    if not isinstance(metadata, dict):
        return "invalid metadata of type <nil> in input object"
    for field, name in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        was, now = before["metadata"].get(field) or "", metadata.get(field) or ""
        if was != now:
            return f"must have the same {name}: {was} != {now}"
    return ""


def _restore_metadata(before: Plain, after: Plain) -> None:
    metadata = dict(before["metadata"])
    for name in ("labels", "annotations"):
        value = after["metadata"].get(name)
        metadata.pop(name, None)
        if value:
            metadata[name] = value
    after["metadata"] = metadata
