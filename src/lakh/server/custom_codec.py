"""Between bytes and custom resources.

The same form at rest as for built-in kinds, the same splices when it is served. An object that was written before its definition changed is looked at
again when it is read: pruned and defaulted by the schema of today. Content is encoded with sorted names, as upstream's answers have it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from lakh.apis.custom import CustomResource, Unstructured, object_meta_node
from lakh.apis.definitions import schema
from lakh.apis.embedded import OBJECT_META
from lakh.machinery import dynamic, errors, unknown
from lakh.machinery.tracking import Versions
from lakh.server.codec import Codec, FieldValidation, load_json, yaml_findings

_encode_metadata = msgspec.json.Encoder().encode
_encode_content = msgspec.json.Encoder(order="deterministic").encode
_decode_any = msgspec.json.Decoder().decode


class CustomCodec(Codec):
    """The codec of one version of a custom resource."""

    __slots__ = ("_metadata_decoder", "resource_schema")

    # There are no field numbers for what a definition declares.
    has_messages = False
    # Custom resources have no merge keys.
    strategic = False
    resource: CustomResource

    def __init__(self, resource: CustomResource) -> None:
        self.resource = resource
        self._endpoints = {}
        self.parts = None
        self.kind = resource.kind
        self.api_version = resource.api_version
        self.struct = schema().struct(OBJECT_META)
        self.resource_schema = resource.structural
        self.node = resource.structural.node
        self.prefix = b'{"kind":"%s","apiVersion":"%s","metadata":{"resourceVersion":"' % (
            self.kind.encode(),
            self.api_version.encode(),
        )
        self._metadata_decoder = msgspec.json.Decoder(self.struct)

    def decode(self, body: bytes, validation: str, warnings: list[str]) -> Any:
        """A client's object, pruned and defaulted; raises 400."""
        plain = load_json(body)
        if not isinstance(plain, dict):
            return self._decode_slowly(body, validation, warnings)
        found = []
        if validation != FieldValidation.IGNORE and body.count(b'":') != _encode_content(plain).count(b'":'):
            found = unknown.duplicate_fields(body)
        if validation != FieldValidation.IGNORE and body.__class__ is not bytes:
            found = yaml_findings(body) + found
        return self.convert(plain, validation, warnings, found)

    def convert(
        self, plain: dict[str, Any], validation: str, warnings: list[str], findings: list[str] | None = None
    ) -> Any:
        """Plain JSON as an object, pruned and defaulted. Takes `plain` over."""
        api_version, kind = plain.pop("apiVersion", None), plain.pop("kind", None)
        for name, value in (("apiVersion", api_version), ("kind", kind)):
            if not isinstance(value, str | None):
                raise self._malformed(f"json: cannot unmarshal into Go struct field .{name} of type string")
        if not kind:
            raise self._malformed(f"Object 'Kind' is missing in '{_encode_content(plain).decode()}'")
        self._check_kind(api_version, "")
        found = findings or []
        metadata = self._metadata(plain.pop("metadata", None), found)
        wrong_type = [
            errors.invalid_value(name, value or "", f"must be {expected}")
            for name, value, expected in (
                ("kind", kind, self.kind),
                ("apiVersion", api_version, self.api_version),
            )
            if value != expected
        ]
        if wrong_type:
            raise errors.invalid(self.resource.group, kind, metadata.name or "", wrong_type)
        found += self.resource_schema.prune(plain)
        embedded = self.resource.embedded
        if embedded:
            pruned, wrong = embedded.settle(plain, drop=False)
            if wrong is not None:
                raise self._malformed(str(wrong))
            found += pruned
        self._report(found, validation, warnings)
        self.resource_schema.default(plain)
        if embedded:
            # Defaults may have brought metadata, too.
            embedded.settle(plain, drop=True)
        return Unstructured(metadata, plain)

    def _metadata(self, plain: Any, found: list[str]) -> Any:
        if plain is None:
            return self.struct()
        try:
            return msgspec.convert(plain, self.struct)
        except msgspec.ValidationError as e:
            node = object_meta_node()
            why = unknown.type_error(plain, node, "ObjectMeta")
            if why is not None or not isinstance(plain, dict):
                raise self._malformed(why or str(e)) from None
            found += [
                text.replace('field "', 'field "metadata.', 1) for text in unknown.unknown_fields(plain, node)
            ]
            try:
                return msgspec.convert(unknown.prune(plain, node), self.struct)
            except msgspec.ValidationError as again:
                raise self._malformed(str(again)) from None

    def to_plain(self, obj: Any) -> dict[str, Any]:
        """A copy of an object as plain JSON, as clients see it."""
        return {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "metadata": msgspec.to_builtins(obj.metadata),
            **dynamic.clone(obj.content),
        }

    def managed(self, obj: Any) -> Any:
        """The object as field ownership looks at it. Shares the content."""
        return {"metadata": msgspec.to_builtins(obj.metadata), **obj.content}

    def versions(self) -> Versions:
        """The versions that its definition serves."""
        return self.resource.versions

    def decode_stored(self, value: bytes) -> Any:
        """An object at rest, as the schema of today has it."""
        plain = _decode_any(value)
        metadata = msgspec.convert(plain.pop("metadata"), self.struct)
        self.resource_schema.prune(plain)
        self.resource_schema.default(plain)
        if self.resource.embedded:
            self.resource.embedded.settle(plain, drop=True)
        return Unstructured(metadata, plain)

    def split_stored(self, value: bytes) -> tuple[Any, bytes]:
        """An object at rest, whole."""
        return self.decode_stored(value), b""

    def encode_stored(self, obj: Any) -> bytes:
        """The form at rest. Clears the resourceVersion of `obj`."""
        obj.metadata.resourceVersion = None
        metadata = _encode_metadata(obj.metadata)
        if not obj.content:
            return b'{"metadata":%s}' % metadata
        return b'{"metadata":%s,%s' % (metadata, _encode_content(obj.content)[1:])

    def serve(self, value: bytes, revision: int) -> bytes:
        """The object as clients get it."""
        return super().serve(self._current(value, revision), revision)

    def list_item(self, value: bytes, revision: int) -> bytes:
        """An item of a list; items of custom resources have apiVersion and kind."""
        return super().serve(self._current(value, revision), revision)

    def _current(self, value: bytes, revision: int) -> bytes:
        """The form at rest by the schema of today: as it is, unless the schema is newer or there are several."""
        if revision > self.resource.current_from and not self.resource.mixed:
            return value
        obj = self.decode_stored(value)
        return self.encode_stored(obj)
