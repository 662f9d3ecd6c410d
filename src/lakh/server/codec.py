"""Between the bytes of clients, the bytes at rest and the Structs in between.

At rest an object is `{"metadata":{…},…}` without apiVersion, kind and resourceVersion; `Codec.serve` splices them in. The
fast path of `decode` is one C call that checks all types and finds no unknown field. Only when it fails is the object looked at again, as
plain JSON, to say what is wrong in upstream's words, or to drop what is unknown.
"""

from __future__ import annotations

from typing import Any

import msgspec

from lakh.apis.definitions import schema
from lakh.apis.registry import Resource
from lakh.apis.versions import BuiltinVersions, endpoint_of
from lakh.machinery import errors, gojson, goyaml, literals, protobuf, structpatch, unknown
from lakh.machinery.checkedtexts import look
from lakh.machinery.schema import Node
from lakh.machinery.tracking import Endpoint, Versions
from lakh.server.messages import Messages

# `{"metadata":{`, with which every object at rest begins.
HEAD = b'{"metadata":{'
HEAD_SIZE = len(HEAD)
# Where managedFields begin and end at rest. Within a string quotes are escaped, so neither is found in one, and no list is in them.
MANAGED = b'"managedFields":['
MANAGED_END = b'],"name":"'
# Comes after them in metadata: if it is found before, they are something else's.
AFTER_MANAGED = b'"uid":"'

JSON = "application/json"
YAML = "application/yaml"
# How goyaml begins an error that lists lines.
YAML_ERRORS = "yaml: unmarshal errors:"
BODY_TYPES = (JSON, YAML, protobuf.MEDIA_TYPE)

_encode = msgspec.json.Encoder().encode
_decode_any = msgspec.json.Decoder().decode

encode_json = _encode


def no_object(plain: Any) -> str:
    """What is wrong with a body that is something else than a JSON object."""
    got = errors.json_type(plain)
    tags = [f'"json:\\"{name},omitempty\\""' for name in ("apiVersion", "kind")]
    return (
        f"couldn't get version/kind; json parse error: json: cannot unmarshal {got} into Go value of type "
        f"struct {{ APIVersion string {tags[0]}; Kind string {tags[1]} }}"
    )


def read_body(body: bytes, content_type: str) -> bytes:
    """A request's body as JSON; YAML and protobuf are converted. Raises 415 for other types and 400 for malformed bodies."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind in ("", JSON):
        return body
    if kind == YAML:
        return yaml_to_json(body)
    if kind == protobuf.MEDIA_TYPE:
        return protobuf_to_json(body)
    raise errors.unsupported_media_type(BODY_TYPES)


def protobuf_to_json(body: bytes) -> bytes:
    """A protobuf body of a built-in kind as JSON; raises 400."""
    try:
        return _encode(protobuf.decode(body))
    except (protobuf.ProtobufError, RecursionError) as e:
        raise errors.bad_request(f"unable to decode protobuf: {e}") from None


def yaml_to_json(body: bytes, what: str = "") -> bytes:
    """YAML as JSON (a `YamlBody`); raises 400, with `what` before the finding."""
    try:
        return goyaml.to_json(body)
    except goyaml.YamlError as e:
        raise errors.bad_request(f"{what}error converting YAML to JSON: {e}") from None


_NOT_YAML = "error decoding YAML: "


def applied_object(value: Any) -> dict[str, Any]:
    """An applied configuration that was read, which is an object; raises 400 with the text of Go's decoder."""
    if isinstance(value, dict):
        return value
    found = errors.json_type(value)
    why = f"json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
    raise errors.bad_request(f"{_NOT_YAML}error unmarshaling JSON: while decoding JSON: {why}")


def read_apply(body: bytes) -> bytes:
    """An applied configuration as JSON; raises 400. JSON in which no name is there twice is taken as it is; anything else is YAML, which JSON is, too."""
    if body[:1] == b"{":
        try:
            plain = _decode_any(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return yaml_to_json(body, _NOT_YAML)
        if body.count(b'":') == _encode(plain).count(b'":'):
            return body
    return yaml_to_json(body, _NOT_YAML)


def yaml_findings(body: bytes) -> list[str]:
    """What strict decoding says of names that were there twice in the YAML that a body was; they are one finding."""
    if isinstance(body, goyaml.YamlBody) and body.duplicates:
        return ["\n  ".join((YAML_ERRORS, *body.duplicates))]
    return []


def load_json(body: bytes) -> Any:
    """A body as plain JSON values; raises 400 with Go's text."""
    try:
        return _decode_any(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise errors.bad_request(
            f"couldn't get version/kind; json parse error: {gojson.syntax_error(body) or e}"
            if body
            else "EOF: the body of the request is empty"
        ) from None


class MalformedError(errors.StatusError):
    """An object does not decode: 400. `why` is the decoder's own text; patches answer with it in another way."""

    def __init__(self, kind: str, version: str, why: str) -> None:
        super().__init__(
            400, "BadRequest", f'{kind} in version "{version}" cannot be handled as a {kind}: {why}'
        )
        self.why = why


class FieldValidation:
    """The `fieldValidation` parameter."""

    STRICT = "Strict"
    WARN = "Warn"
    IGNORE = "Ignore"
    ALL = ("", IGNORE, STRICT, WARN)


class Codec:
    """Encodes and decodes the objects of one resource."""

    __slots__ = (
        "_check",
        "_checks",
        "_decoder",
        "_endpoints",
        "_messages",
        "api_version",
        "kind",
        "node",
        "parts",
        "prefix",
        "resource",
        "struct",
    )

    # Whether objects may be asked for as protobuf.
    has_messages = True
    # Whether strategic merge patches can be applied.
    strategic = True

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self._endpoints: dict[str, Endpoint] = {}
        self._messages: Messages | None = None
        self.kind = resource.kind
        self.api_version = resource.api_version
        self.struct: Any = schema().struct(resource.definition)
        self.node: Node = schema().node(resource.definition)
        self._decoder = msgspec.json.Decoder(self.struct)
        self._checks: Any = schema().checks(resource.definition) or Any
        self._check = msgspec.json.Decoder(self._checks, dec_hook=look).decode
        fields = zip(self.struct.__struct_encode_fields__, self.struct.__struct_fields__, strict=True)
        # Attributes by JSON name of what a patch may be applied to without the rest; None where it may not.
        self.parts: dict[str, str] | None = None
        if resource.strategy.keeps_parts:
            self.parts = {name: attribute for name, attribute in fields if name not in ("apiVersion", "kind")}
        self.prefix = b'{"kind":"%s","apiVersion":"%s","metadata":{"resourceVersion":"' % (
            self.kind.encode(),
            self.api_version.encode(),
        )

    def __repr__(self) -> str:
        return f"<Codec {self.kind}>"

    def decode(self, body: bytes, validation: str, warnings: list[str]) -> Any:
        """A client's object. Raises 400: malformed, of another kind, a wrong type, or (Strict) unknown and duplicate fields."""
        try:
            obj = self._decoder.decode(body)
            self._check(body)
        except msgspec.ValidationError:
            obj = self._decode_slowly(body, validation, warnings)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            load_json(body)
            raise
        else:
            # As many names as in the encoded form: then none was there twice. Otherwise look closer.
            if validation != FieldValidation.IGNORE:
                if body.__class__ is not bytes:
                    self._report(yaml_findings(body), validation, warnings)
                encoded = _encode(obj)
                # Nulls are there without having been sent.
                if body.count(b'":') != encoded.count(b'":') - encoded.count(b'":null'):
                    self._report(unknown.duplicate_fields(body), validation, warnings)
        if obj is None:
            raise errors.bad_request(
                f'{self.kind} in version "{self.api_version}" cannot be handled as a {self.kind}: null'
            )
        self._check_kind(obj.apiVersion, obj.kind)
        if obj.metadata is None:
            obj.metadata = self.metadata_type()
        return obj

    def metadata_type(self) -> Any:
        """An empty ObjectMeta."""
        return schema().struct("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")()

    def _check_kind(self, api_version: str | None, kind: str | None) -> None:
        if api_version and api_version != self.api_version:
            raise errors.bad_request(
                f"the API version in the data ({api_version}) does not match the expected API version ({self.api_version})"
            )
        if kind and kind != self.kind:
            raise errors.bad_request(
                f'{kind} in version "{self.api_version}" cannot be handled as a {self.kind}: '
                f"the kind in the data ({kind}) does not match the expected kind ({self.kind})"
            )

    def _decode_slowly(self, body: bytes, validation: str, warnings: list[str]) -> Any:
        plain = load_json(body)
        if not isinstance(plain, dict):
            raise errors.bad_request(no_object(plain))
        found: list[str] = []
        if validation != FieldValidation.IGNORE:
            found = yaml_findings(body) + unknown.strict_findings(body, self.node)
        return self.convert(plain, validation, warnings, found)

    def _malformed(self, why: str) -> MalformedError:
        return MalformedError(self.kind, self.resource.version, why)

    def _report(self, findings: list[str], validation: str, warnings: list[str]) -> None:
        if not findings:
            return
        if validation == FieldValidation.STRICT:
            raise self._malformed(f"strict decoding error: {', '.join(findings)}")
        if validation == FieldValidation.WARN:
            for text in findings:
                # goyaml's list of lines is one error, and as many warnings.
                lines = text.split("\n  ")
                warnings.extend(lines[1:] if lines[0] == YAML_ERRORS else lines)

    def convert(
        self, plain: dict[str, Any], validation: str, warnings: list[str], findings: list[str] | None = None
    ) -> Any:
        """Plain JSON values as an object, pruned; raises 400 as `decode` does."""
        api_version, kind = plain.get("apiVersion"), plain.get("kind")
        if isinstance(api_version, str | None) and isinstance(kind, str | None):
            self._check_kind(api_version, kind)
        try:
            obj = msgspec.convert(plain, self.struct)
            msgspec.convert(plain, self._checks, dec_hook=look)
        except msgspec.ValidationError:
            strange = unknown.unknown_fields(plain, self.node)
            pruned = unknown.prune(plain, self.node)
            try:
                obj = msgspec.convert(literals.settle(pruned, self.node), self.struct)
            except literals.LiteralError as e:
                raise self._malformed(str(e)) from None
            except msgspec.ValidationError as e:
                why = unknown.type_error(pruned, self.node, self.kind) or str(e)
                raise self._malformed(why) from None
            findings = list(dict.fromkeys((*(findings or ()), *strange)))
        self._report(findings or [], validation, warnings)
        if obj.metadata is None:
            obj.metadata = self.metadata_type()
        return obj

    def merged_structs(self, old: Any, body: bytes, patch: dict[str, Any], *, strategic: bool) -> Any:
        """A stored object with a merge patch in it, which is `patch` in `body`; shares with `old` what the patch leaves alone.

        Raises `UnusualPatchError` and `msgspec.MsgspecError` where `merged` looks closer.
        """
        if strategic and (b'"$' in body or b"\\u0024" in body):
            raise structpatch.UnusualPatchError
        if self._checks is not Any:
            self._check(body)
        return structpatch.merged(old, self._decoder.decode(body), patch, self.node, strategic=strategic)

    def merged(self, plain: dict[str, Any], patch: dict[str, Any]) -> Any:
        """What a merge of `patch` into a stored object gave, as an object; raises `msgspec.ValidationError` where `convert` looks closer.

        Times, quantities and bytes are what was stored, or the patch's.
        """
        msgspec.convert(patch, self._checks, dec_hook=look)
        return msgspec.convert(plain, self.struct)

    def to_plain(self, obj: Any) -> dict[str, Any]:
        """An object as plain JSON values, as clients see it."""
        plain: dict[str, Any] = msgspec.to_builtins(obj)
        plain["apiVersion"], plain["kind"] = self.api_version, self.kind
        return plain

    def managed(self, obj: Any) -> Any:
        """An object as field ownership looks at it."""
        return obj

    def endpoint(self, subresource: str) -> Endpoint:
        """The object itself ("") or a subresource, as field ownership looks at it; made once."""
        found = self._endpoints.get(subresource)
        if found is None:
            strategy = self.resource.strategy
            found = self._endpoints[subresource] = endpoint_of(
                self.api_version, self.node, strategy, subresource, self.versions()
            )
        return found

    def versions(self) -> Versions:
        """The versions of its objects."""
        return BuiltinVersions(self.resource)

    def decode_stored(self, value: bytes) -> Any:
        """An object at rest."""
        return self._decoder.decode(value)

    def split_stored(self, value: bytes) -> tuple[Any, bytes]:
        """An object at rest without its managedFields, and these as they are there: half of an object, which hardly a write looks into.

        They go back as `msgspec.Raw`. b"" when there are none, or where they cannot be told apart; then the object has what there is.
        """
        start = value.find(MANAGED)
        end = value.find(MANAGED_END, start) + 1 if start > 0 else 0
        if end <= 0 or value.find(AFTER_MANAGED, 0, start) >= 0:
            return self.decode_stored(value), b""
        obj = self._decoder.decode(value[:start] + value[end + 1 :])
        if obj.metadata.uid is None:
            return self.decode_stored(value), b""
        return obj, value[start + len(MANAGED) - 1 : end]

    def encode_stored(self, obj: Any) -> bytes:
        """The form at rest. Clears apiVersion, kind and resourceVersion of `obj`, and what is empty in its metadata."""
        obj.apiVersion = None
        obj.kind = None
        self.settle_metadata(obj.metadata)
        return _encode(obj)

    @staticmethod
    def settle_metadata(metadata: Any) -> None:
        """Clears of an object's metadata what it has not at rest."""
        metadata.resourceVersion = None
        metadata.labels = metadata.labels or None
        metadata.annotations = metadata.annotations or None
        metadata.finalizers = metadata.finalizers or None
        metadata.ownerReferences = metadata.ownerReferences or None
        metadata.managedFields = metadata.managedFields or None

    def serve(self, value: bytes, revision: int) -> bytes:
        """The object as clients get it."""
        return b'%s%d",%s' % (self.prefix, revision, value[HEAD_SIZE:])

    def list_item(self, value: bytes, revision: int) -> bytes:
        """An item of a list: without apiVersion and kind, as in upstream's typed lists."""
        return b'{"metadata":{"resourceVersion":"%d",%s' % (revision, value[HEAD_SIZE:])

    @property
    def messages(self) -> Messages:
        """The objects as protobuf."""
        if self._messages is None:
            self._messages = Messages(self.api_version, self.kind, self.resource.list_name)
        return self._messages

    def message(self, value: bytes, revision: int) -> bytes:
        """The object's bare message, as in a list of protobuf."""
        return self.messages.message(value, revision)

    def serve_message(self, value: bytes, revision: int) -> bytes:
        """The object as clients get it who accept protobuf. A revision of 0 is none."""
        return self.messages.serve(value, revision)

    def serve_unsaved(self, value: bytes) -> bytes:
        """An object that was not stored (`dryRun` of a create): it has no resourceVersion."""
        return self.prefix[: self.prefix.rindex(b'"resourceVersion"')] + value[HEAD_SIZE:]


class ViewCodec(Codec):
    """The codec of a resource that is stored as another one (`events.k8s.io/v1` as core events).

    The bytes at rest are the other's; they are converted as plain values whenever they are looked at.
    """

    __slots__ = ()

    def _view(self, value: bytes) -> dict[str, Any]:
        assert self.resource.from_stored is not None
        return self.resource.from_stored(_decode_any(value))

    def decode_stored(self, value: bytes) -> Any:
        """An object at rest, as this resource shows it."""
        return msgspec.convert(unknown.prune(self._view(value), self.node), self.struct)

    def encode_stored(self, obj: Any) -> bytes:
        """The form at rest."""
        assert self.resource.to_stored is not None
        view = super().encode_stored(obj)
        stored = self.resource.to_stored(_decode_any(view))
        return _encode({"metadata": stored.pop("metadata"), **stored})

    def serve(self, value: bytes, revision: int) -> bytes:
        """The object as clients get it."""
        return super().serve(self._bytes(value), revision)

    def serve_unsaved(self, value: bytes) -> bytes:
        """An object that was not stored."""
        return super().serve_unsaved(self._bytes(value))

    def list_item(self, value: bytes, revision: int) -> bytes:
        """An item of a list."""
        return super().list_item(self._bytes(value), revision)

    def message(self, value: bytes, revision: int) -> bytes:
        """The object's bare message."""
        return super().message(self._bytes(value), revision)

    def serve_message(self, value: bytes, revision: int) -> bytes:
        """The object as clients get it who accept protobuf."""
        return super().serve_message(self._bytes(value), revision)

    def split_stored(self, value: bytes) -> tuple[Any, bytes]:
        """An object at rest, whole: it is another one there."""
        return self.decode_stored(value), b""

    def _bytes(self, value: bytes) -> bytes:
        view = self._view(value)
        return _encode({"metadata": view.pop("metadata"), **view})


def codec_of(resource: Resource) -> Codec:
    """The codec of a resource."""
    return Codec(resource) if resource.stored_as is None else ViewCodec(resource)
