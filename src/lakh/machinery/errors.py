"""Errors as Kubernetes' clients know them: `Status` objects and field errors.

`StatusError` is what any layer raises to refuse a request; the server turns it into the `Status` body. The constructors here give the
reasons, codes and wordings of apimachinery's `api/errors`. `FieldError` is one finding of validation (`validation/field`), and `invalid()`
makes a 422 of a list of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec

_encode_json = msgspec.json.Encoder().encode


class StatusError(Exception):
    """A refusal that reaches the client as a `Status` object.

    `code` is the HTTP status, `reason` the machine-readable `StatusReason`, `details` the `StatusDetails` as a plain dict; `headers` go
    with the answer.
    """

    headers: tuple[tuple[bytes, bytes], ...] = ()
    metadata: Mapping[str, str] = MappingProxyType({})
    """The ListMeta of the Status."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def status(self) -> dict[str, Any]:
        """The `Status` object (metav1.Status) of this error."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": dict(self.metadata),
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        status["code"] = self.code
        return status

    def encode(self) -> bytes:
        """The `Status` object as JSON."""
        return _encode_json(self.status())

    @property
    def retry_after_seconds(self) -> int | None:
        """What belongs into a `Retry-After` header."""
        return self.details.get("retryAfterSeconds") if self.details else None


def qualified(group: str, resource: str) -> str:
    """`deployments.apps`, or `pods` for the core group."""
    return f"{resource}.{group}" if group else resource


def _details(name: str, group: str, kind: str) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    return details


def not_found(group: str, resource: str, name: str) -> StatusError:
    """404: there is no such object."""
    return StatusError(
        404, "NotFound", f'{qualified(group, resource)} "{name}" not found', _details(name, group, resource)
    )


class PathNotFound(StatusError):
    """404: there is no such path. Clients get the plain text of Go's mux, not a Status."""

    TEXT = b"404 page not found\n"

    def __init__(self) -> None:
        super().__init__(404, "NotFound", "the server could not find the requested resource", {})


def path_not_found() -> StatusError:
    """404: a group and version that is served has no such path."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(group: str, resource: str, name: str) -> StatusError:
    """409: an object of this name is there already."""
    return StatusError(
        409,
        "AlreadyExists",
        f'{qualified(group, resource)} "{name}" already exists',
        _details(name, group, resource),
    )


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(group: str, resource: str, name: str, why: str = MODIFIED) -> StatusError:
    """409: optimistic concurrency failed, or a precondition did."""
    return StatusError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {qualified(group, resource)} "{name}": {why}',
        _details(name, group, resource),
    )


def bad_request(message: str) -> StatusError:
    """400: the request cannot be understood."""
    return StatusError(400, "BadRequest", message)


def unauthorized() -> StatusError:
    """401: no credential, or not one of ours."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def forbidden(group: str, resource: str, name: str, why: str) -> StatusError:
    """403: understood, and refused."""
    what = qualified(group, resource)
    message = f'{what} "{name}" is forbidden: {why}' if name else f"{what} is forbidden: {why}"
    return StatusError(403, "Forbidden", message, _details(name, group, resource))


def method_not_allowed() -> StatusError:
    """405: nothing is there for the method."""
    text = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", text, {})


def method_not_supported(group: str, resource: str, action: str) -> StatusError:
    """405: the resource has no such verb."""
    return StatusError(
        405,
        "MethodNotAllowed",
        f'{action} is not supported on resources of kind "{qualified(group, resource)}"',
        _details("", group, resource),
    )


def not_acceptable(accepted: Sequence[str]) -> StatusError:
    """406: none of the media types in Accept can be produced."""
    return StatusError(
        406,
        "NotAcceptable",
        f"only the following media types are accepted: {', '.join(accepted)}",
    )


def not_acceptable_as(form: str, many: bool) -> StatusError:
    """406: the form is one of lists and this is none (`many` false), or the other way round."""
    what = "a list" if many else "not a list"
    return StatusError(406, "NotAcceptable", f"you requested {form}, but the requested object is {what}")


def unsupported_media_type(accepted: Sequence[str]) -> StatusError:
    """415: the body's media type cannot be read."""
    return StatusError(
        415,
        "UnsupportedMediaType",
        f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}",
    )


def expired(message: str, continue_token: str = "") -> StatusError:
    """410: the resource version or continue token asked for is no longer in the window; `continue_token` goes on without it."""
    error = StatusError(410, "Expired", message)
    if continue_token:
        error.metadata = {"continue": continue_token}
    return error


def too_large_resource_version(asked: int, current: int, retry_seconds: int = 1) -> StatusError:
    """504: a resource version was asked for that this server has not reached."""
    return StatusError(
        504,
        "Timeout",
        f"Too large resource version: {asked}, current: {current}",
        {
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": retry_seconds,
        },
    )


def too_many_requests(
    message: str, retry_seconds: int, causes: list[dict[str, str]] | None = None
) -> StatusError:
    """429: try again later."""
    details: dict[str, Any] = {}
    if causes:
        details["causes"] = causes
    if retry_seconds:
        details["retryAfterSeconds"] = retry_seconds
    return StatusError(429, "TooManyRequests", message, details)


def internal(message: str) -> StatusError:
    """500: our fault."""
    return StatusError(
        500, "InternalError", f"Internal error occurred: {message}", {"causes": [{"message": message}]}
    )


def storage_full(message: str) -> StatusError:
    """507: the journal has no room; reads go on."""
    return StatusError(507, "InsufficientStorage", message)


def unavailable(message: str, retry_seconds: int = 0) -> StatusError:
    """503: not able to serve this now."""
    return StatusError(
        503,
        "ServiceUnavailable",
        message,
        {"retryAfterSeconds": retry_seconds} if retry_seconds else None,
    )


def request_entity_too_large(message: str) -> StatusError:
    """413: the object is larger than what can be stored."""
    return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: {message}")


def timeout(message: str) -> StatusError:
    """504: no answer in time; whether the request was carried out is not known."""
    return StatusError(504, "Timeout", f"Timeout: {message}", {})


@dataclass(frozen=True, slots=True)
class FieldError:
    """One finding of validation: upstream's `field.Error`.

    `reason` is the `CauseType`; `text` is the message without the field.
    """

    reason: str
    field: str
    text: str

    def __str__(self) -> str:
        return f"{self.field}: {self.text}"

    def cause(self) -> dict[str, str]:
        """The `StatusCause` of it."""
        return {"reason": self.reason, "message": self.text, "field": self.field}


def show(value: Any) -> str:
    """A value as `field.Error` prints it."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if value is None:
        return "null"
    return _encode_json(value).decode()


def show_go(value: Any) -> str:
    """Plain JSON as Go prints it (`%v`): `map[spec:map[replicas:2]]`."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{name}:{show_go(value[name])}" for name in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(show_go, value)) + "]"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def json_type(value: Any) -> str:
    """A JSON value's type as Go's decoder names it."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if value is None:
        return "null"
    return "object" if isinstance(value, dict) else "array" if isinstance(value, list) else "number"


def required(field: str, detail: str = "") -> FieldError:
    """A value that must be there is missing."""
    return FieldError(
        "FieldValueRequired", field, f"Required value: {detail}" if detail else "Required value"
    )


def invalid_value(field: str, value: Any, detail: str) -> FieldError:
    """A value is malformed or out of range."""
    return FieldError("FieldValueInvalid", field, f"Invalid value: {show(value)}: {detail}")


def not_supported(field: str, value: Any, supported: Iterable[str], *, as_given: bool = False) -> FieldError:
    """A value is not one of an enumeration, which is shown sorted unless it is to be shown `as_given`."""
    choices = ", ".join(show(s) for s in (supported if as_given else sorted(supported)))
    return FieldError(
        "FieldValueNotSupported", field, f"Unsupported value: {show(value)}: supported values: {choices}"
    )


def duplicate(field: str, value: Any) -> FieldError:
    """A value that must be unique is there twice."""
    return FieldError("FieldValueDuplicate", field, f"Duplicate value: {show(value)}")


def forbidden_field(field: str, detail: str) -> FieldError:
    """A value may not be set (or changed) here."""
    return FieldError("FieldValueForbidden", field, f"Forbidden: {detail}")


def not_found_field(field: str, value: Any) -> FieldError:
    """A value names something that is not there."""
    return FieldError("FieldValueNotFound", field, f"Not found: {show(value)}")


def too_long(field: str, maximum_bytes: int) -> FieldError:
    """A string is too long."""
    return FieldError("FieldValueTooLong", field, f"Too long: may not be more than {maximum_bytes} bytes")


def too_many(field: str, actual: int, maximum: int) -> FieldError:
    """A list is too long."""
    return FieldError("FieldValueTooMany", field, f"Too many: {actual}: must have at most {maximum} items")


def type_invalid(field: str, value: Any, detail: str) -> FieldError:
    """A value has the wrong type."""
    return FieldError("FieldValueTypeInvalid", field, f"Invalid value: {show(value)}: {detail}")


def invalid(group: str, kind: str, name: str, errors: Sequence[FieldError]) -> StatusError:
    """422: the object breaks these rules."""
    messages = list(dict.fromkeys(str(e) for e in errors))
    text = messages[0] if len(messages) == 1 else f"[{', '.join(messages)}]"
    details = _details(name, group, kind)
    details["causes"] = [e.cause() for e in errors]
    return StatusError(422, "Invalid", f'{qualified(group, kind)} "{name}" is invalid: {text}', details)
