"""What a client counts of its requests, under client-go's names. A request costs half a microsecond."""

from __future__ import annotations

from lakh.machinery.metrics import PROCESS, Counter, Histogram

__all__ = ["RestMetrics"]

_SECONDS = PROCESS.histogram(
    "rest_client_request_duration_seconds",
    "From a request's sending, or waiting for a connection, to its answer.",
    ("verb", "host"),
    (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0),
)
_REQUESTS = PROCESS.counter("rest_client_requests_total", "Requests by outcome.", ("code", "method", "host"))

ERROR = "<error>"
"""In place of a code: there was no answer."""


class _Method:
    """Of the requests of one method."""

    __slots__ = ("codes", "failed", "seconds")

    def __init__(self, method: str, host: str) -> None:
        self.seconds: Histogram = _SECONDS.child(method, host)
        self.codes: dict[int, Counter] = {}
        self.failed: Counter = _REQUESTS.child(ERROR, method, host)


class RestMetrics:
    """Of all requests to one host."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._methods: dict[str, _Method] = {}

    def __repr__(self) -> str:
        return f"<RestMetrics of {self._host}>"

    def answered(self, method: str, code: int, seconds: float) -> None:
        """There is an answer, so long after."""
        found = self._methods.get(method) or self._make(method)
        found.seconds.observe(seconds)
        counter = found.codes.get(code)
        if counter is None:
            counter = found.codes[code] = _REQUESTS.child(str(code), method, self._host)
        counter.value += 1

    def failed(self, method: str) -> None:
        """There is no answer."""
        (self._methods.get(method) or self._make(method)).failed.value += 1

    def _make(self, method: str) -> _Method:
        found = self._methods[method] = _Method(method, self._host)
        return found
