"""The client's errors: one family, `ClientError`, so that no library exception leaks to a component.

* `ApiError`: the server answered, and the answer is an error. It carries the `Status` (code, reason, message, details).
* `ConnectionLost`: no usable answer. Whether the server carried the request out is unknown, unless it is a
  `ConnectFailed` (nothing was sent). `RequestTimeout` is a `ConnectionLost` too: the connection was given up.
* `BadResponse`: the server answered something that is not the JSON we asked for.
* `KubeconfigError`: the configuration cannot be used.
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = [
    "ApiError",
    "BadResponse",
    "ClientClosed",
    "ClientError",
    "ConnectFailed",
    "ConnectionLost",
    "KubeconfigError",
    "RequestTimeout",
    "Unprocessed",
    "api_error",
    "has_reason",
    "is_already_exists",
    "is_conflict",
    "is_expired",
    "is_forbidden",
    "is_invalid",
    "is_namespace_terminating",
    "is_not_found",
    "is_too_many_requests",
    "is_unauthorized",
]

MAX_QUOTED_BODY_BYTES = 1024
"""How much of a body that is no Status is quoted in the error's message."""

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Gone",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
"""The reason for an answer without a Status, by its HTTP code."""


class ClientError(Exception):
    """Any failure of a call through this package."""


class ApiError(ClientError):
    """The server's own error, as its `Status` says it."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.retry_after_seconds = retry_after_seconds

    def __repr__(self) -> str:
        return f"ApiError({self.code}, {self.reason!r}, {self.message!r})"


class ConnectionLost(ClientError):
    """The connection broke before the answer was complete. The request may have been carried out."""


class ConnectFailed(ConnectionLost):
    """No connection could be made. The request was not sent."""


class Unprocessed(ConnectFailed):
    """The server took the request's stream no more. It was not carried out."""


class RequestTimeout(ConnectionLost):
    """No complete answer within the request's time. The request may have been carried out."""


class ClientClosed(ClientError):
    """The client was closed while, or before, the call was made."""


class BadResponse(ClientError):
    """The answer is not what the API promises: not HTTP, not JSON, or not of the wanted type."""


class KubeconfigError(ClientError):
    """The kubeconfig is missing, unreadable or incomplete."""


class _Status(msgspec.Struct):
    kind: str | None = None
    code: int | None = None
    reason: str | None = None
    message: str | None = None
    details: dict[str, Any] | None = None


_status_decoder = msgspec.json.Decoder(_Status)


def api_error(code: int, body: bytes, retry_after_seconds: float | None = None) -> ApiError:
    """Make the error of an answer. `body` should be a `Status`; any other body is quoted in the message."""
    try:
        status = _status_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        status = _Status()
    if status.kind != "Status":
        text = body[:MAX_QUOTED_BODY_BYTES].decode("utf-8", "replace").strip()
        reason = _REASONS.get(code, "Unknown")
        return ApiError(
            code, reason, text or f"the server answered {code} {reason}", None, retry_after_seconds
        )
    code = status.code or code
    reason = status.reason or _REASONS.get(code, "Unknown")
    if retry_after_seconds is None and status.details:
        seconds = status.details.get("retryAfterSeconds")
        retry_after_seconds = float(seconds) if isinstance(seconds, int | float) and seconds else None
    return ApiError(code, reason, status.message or reason, status.details, retry_after_seconds)


def has_reason(error: BaseException, reason: str) -> bool:
    """Whether `error` is the server's, with this `reason`."""
    return isinstance(error, ApiError) and error.reason == reason


def is_not_found(error: BaseException) -> bool:
    """404 NotFound."""
    return has_reason(error, "NotFound")


def is_conflict(error: BaseException) -> bool:
    """409 Conflict: the object was changed since it was read (AlreadyExists is not meant)."""
    return has_reason(error, "Conflict")


def is_namespace_terminating(error: BaseException) -> bool:
    """Whether something was not created because its namespace is being deleted."""
    causes = (error.details or {}).get("causes") if isinstance(error, ApiError) else None
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes or ())


def is_already_exists(error: BaseException) -> bool:
    """409 AlreadyExists."""
    return has_reason(error, "AlreadyExists")


def is_expired(error: BaseException) -> bool:
    """410: the resourceVersion or the continue token is older than the server's history."""
    return isinstance(error, ApiError) and (error.code == 410 or error.reason in ("Expired", "Gone"))


def is_forbidden(error: BaseException) -> bool:
    """403 Forbidden."""
    return has_reason(error, "Forbidden")


def is_unauthorized(error: BaseException) -> bool:
    """401 Unauthorized."""
    return has_reason(error, "Unauthorized")


def is_invalid(error: BaseException) -> bool:
    """422 Invalid."""
    return has_reason(error, "Invalid")


def is_too_many_requests(error: BaseException) -> bool:
    """429 TooManyRequests (for an eviction: the disruption budget does not allow it now)."""
    return has_reason(error, "TooManyRequests")
