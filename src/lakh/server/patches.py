"""Patches: from a body and its media type to a change of plain objects, and what is answered when one does not fit.

A patch that is no patch is a 400, one that does not apply a 422, and so is one that makes something of the object which does not decode
(upstream's endpoints/handlers/patch.go).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import msgspec

from lakh.machinery import errors, gojson, jsonpatch, mergepatch, strategic, unknown
from lakh.machinery.structpatch import UnusualPatchError
from lakh.server.codec import Codec, FieldValidation, MalformedError, encode_json, load_json
from lakh.server.context import Context
from lakh.server.storage import ResourceStore
from lakh.server.transport import Request

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)


_encode_sorted = msgspec.json.Encoder(order="sorted").encode

Change = Callable[[dict[str, Any]], dict[str, Any]]


def content_type(request: Request) -> str:
    """The media type of a request's body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip()


def parse_patch(kind: str, body: bytes, store: ResourceStore, *, strategic_too: bool = True) -> Change:
    """A patch as a function on plain objects; raises 400 and 415. `strategic_too`: whether the object that it is of takes strategic ones."""
    return change_of(kind, load_patch(kind, body, store, strategic_too=strategic_too), store)


def load_patch(kind: str, body: bytes, store: ResourceStore, *, strategic_too: bool = True) -> Any:
    """A patch as plain JSON; raises 400 and 415."""
    strategic_too = strategic_too and store.codec.strategic
    if kind == JSON_PATCH:
        return jsonpatch.check(_read(body, "error decoding patch: "))
    if kind == MERGE_PATCH or (kind == STRATEGIC_PATCH and strategic_too):
        what = "error decoding patch: " if kind == MERGE_PATCH else ""
        patch = _read(body, what)
        if not isinstance(patch, dict):
            raise errors.bad_request(what + _no_map(patch))
        return patch
    raise errors.unsupported_media_type(
        PATCH_TYPES if strategic_too else [t for t in PATCH_TYPES if t != STRATEGIC_PATCH]
    )


def _read(body: bytes, what: str) -> Any:
    """A patch as plain JSON values; raises 400 with Go's text behind `what`."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise errors.bad_request(f"{what}{gojson.syntax_error(body) or e}") from None


def change_of(kind: str, patch: Any, store: ResourceStore) -> Change:
    """What `load_patch` read, as a function on plain objects."""
    if kind == JSON_PATCH:
        return lambda plain: _must_be_object(jsonpatch.apply(plain, patch))
    if kind == MERGE_PATCH:
        return lambda plain: mergepatch.apply(plain, patch)
    return lambda plain: strategic.apply(plain, patch, store.codec.node)


def patched_parts(kind: str, body: bytes, patch: Any, old: Any, codec: Codec, change: Change) -> Any:
    """What a merge patch makes of an object, when it names top-level fields only that any object has: the others are neither made plain nor
    decoded, but shared with `old`. None: it has to be done with the whole object, which also finds out what is wrong with it.
    """
    parts = codec.parts
    if parts is None or kind == JSON_PATCH or not parts.keys() >= patch.keys():
        return None
    if patch.get("metadata", patch) is None:
        return None
    try:
        new = codec.merged_structs(old, body, patch, strategic=kind == STRATEGIC_PATCH)
    except (UnusualPatchError, msgspec.MsgspecError):
        before = {}
        for name in patch:
            value = getattr(old, parts[name])
            if value is not None:
                before[name] = msgspec.to_builtins(value)
        after = change(before)
        try:
            found = codec.merged(after, patch)
        except msgspec.ValidationError:
            return None
        if found.metadata is None and "metadata" in patch:
            return None
        new = copy.copy(old)
        for name in patch:
            setattr(new, parts[name], getattr(found, parts[name]))
    if "metadata" not in patch:
        new.metadata = copy.copy(old.metadata)
    return new


def _no_map(value: Any) -> str:
    return f"json: cannot unmarshal {errors.json_type(value)} into Go value of type map[string]interface {{}}"


def patch_findings(kind: str, body: bytes, plain: Any, validation: str) -> list[str]:
    """What strict decoding says of the patch itself, which `load_patch` read: names that are there twice, and members that no operation has."""
    if validation == FieldValidation.IGNORE:
        return []
    found = []
    encoded = encode_json(plain)
    # Most clients encode as we do.
    if body != encoded and body.count(b'":') != encoded.count(b'":'):
        found = unknown.duplicate_fields(body)
    if kind == JSON_PATCH:
        for index, operation in enumerate(plain):
            found += [f'unknown field "[{index}].{n}"' for n in operation if n not in jsonpatch.MEMBERS]
        return [f"json patch {text}" for text in found]
    return found


def patched_object(
    kind: str, body: bytes, patched: dict[str, Any], codec: Codec, context: Context, findings: list[str]
) -> Any:
    """What a patch made of an object, decoded; raises 422. A strategic patch is shown itself, of others what they made.

    Of what kind it is the JSON patches may not change, and strategic ones cannot: there nobody looks.
    """
    try:
        if codec.strategic and (patched.get("apiVersion"), patched.get("kind")) != (
            codec.api_version,
            codec.kind,
        ):
            if kind != STRATEGIC_PATCH:
                raise MalformedError("", "", _another_kind(patched, codec))
            patched = {**patched, "apiVersion": codec.api_version, "kind": codec.kind}
        return codec.convert(patched, context.validation, context.warnings, findings)
    except MalformedError as e:
        if kind == STRATEGIC_PATCH:
            shown = errors.show_go(load_json(body))
            why = unknown.restore_error(unknown.prune(patched, codec.node), codec.node) or e.why
        else:
            shown = _encode_sorted(patched).decode()
            why = e.why
        raise errors.invalid("", "", "", [errors.invalid_value("patch", shown, why)]) from None


def _another_kind(patched: dict[str, Any], codec: Codec) -> str:
    """As runtime.DecodeInto says it."""
    version, kind = patched.get("apiVersion") or "", patched.get("kind")
    if not kind:
        return "Object 'Kind' is missing"
    package = codec.resource.group.partition(".")[0] or "core"
    slash = "" if "/" in str(version) else "/"
    return f"unable to decode {slash}{version}, Kind={kind} into *{package}.{codec.kind}"


def _must_be_object(value: Any) -> Any:
    if not isinstance(value, dict):
        raise errors.bad_request("a patch may not replace the object by another kind of value")
    return value
