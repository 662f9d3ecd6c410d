"""Answers in the media type that was negotiated.

Stored objects have fast ways of their own (`codec.Codec.serve`, `messages`); everything else is small and made as JSON, and `render` turns it
into YAML or protobuf when a client wants that: Status, reviews, Scale.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import yaml

from lakh.machinery import protobuf
from lakh.machinery.errors import PathNotFound, StatusError
from lakh.server.codec import load_json
from lakh.server.context import warning_headers
from lakh.server.exchange import Request, Response, StreamResponse, status_response
from lakh.server.negotiate import CONTENT_TYPES, Media, accepted
from lakh.server.routing import parse_query

Answer = Response | StreamResponse | Coroutine[Any, Any, Response | StreamResponse]

JSON_TYPE = CONTENT_TYPES["json"]
# On Go's texts.
NO_SNIFF = (b"X-Content-Type-Options", b"nosniff")

# Go's strconv.ParseBool.
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_READ_BY_PEOPLE = ("curl", "Wget", "Mozilla/5.0")
# Larger answers are not indented: it would hold the loop.
PRETTY_BYTES = 1024 * 1024


def to_yaml(body: bytes) -> bytes:
    """JSON as YAML."""
    return yaml.safe_dump(load_json(body), sort_keys=False, default_flow_style=False).encode()


def to_protobuf(body: bytes) -> bytes:
    """A JSON object of a built-in kind as protobuf; raises ProtobufError."""
    return protobuf.encode(load_json(body))


def render(response: Response, media: Media) -> Response:
    """A JSON answer in another media type. What has no form in it stays JSON."""
    if media == "json" or response.content_type != JSON_TYPE:
        return response
    body = response.body if isinstance(response.body, bytes) else b"".join(response.body)
    try:
        response.body = to_yaml(body) if media == "yaml" else to_protobuf(body)
    except protobuf.ProtobufError:
        return response
    response.content_type = CONTENT_TYPES[media]
    return response


def negotiated(request: Request, answer: Answer) -> Answer:
    """An answer that was made as JSON, in the form that the client accepts; raises 406."""
    media = accepted(request.headers.get("accept", "")).media
    if media == "json":
        return answer
    return then(answer, lambda found: render(found, media) if isinstance(found, Response) else found)


def is_pretty(headers: dict[str, str], query: dict[str, str]) -> bool:
    """Whether a client wants JSON with line breaks: it says so, or says nothing and is one that people read (upstream's isPrettyPrint)."""
    asked = query.get("pretty")
    if asked:
        return asked in _TRUE
    return headers.get("user-agent", "").startswith(_READ_BY_PEOPLE)


def indented(answer: Answer) -> Answer:
    """A JSON answer with line breaks. Streams, what is packed already and what is large stay as they are."""
    return then(answer, _indent)


def _indent(answer: Response | StreamResponse) -> Response | StreamResponse:
    if isinstance(answer, Response):
        body = answer.body
        if (
            isinstance(body, bytes)
            and len(body) <= PRETTY_BYTES
            and answer.content_type == JSON_TYPE
            and not any(name == b"Content-Encoding" for name, _ in answer.headers)
        ):
            answer.body = msgspec.json.format(body, indent=2)
    return answer


def warned(answer: Answer, text: str) -> Answer:
    """An answer with a warning before those that it has."""

    def warn(answer: Response | StreamResponse) -> Response | StreamResponse:
        answer.headers = tuple(dict.fromkeys((*warning_headers((text,)), *answer.headers)))
        return answer

    return then(answer, warn)


def then(answer: Answer, change: Callable[[Response | StreamResponse], Answer]) -> Answer:
    """What `change` makes of an answer: now, or of one that is still to come when it has."""
    return change(answer) if isinstance(answer, Response | StreamResponse) else _then(answer, change)


async def _then(
    answer: Coroutine[Any, Any, Response | StreamResponse],
    change: Callable[[Response | StreamResponse], Answer],
) -> Response | StreamResponse:
    return await answered(change(await answer))


async def answered(answer: Answer) -> Response | StreamResponse:
    """An answer when it has come."""
    return answer if isinstance(answer, Response | StreamResponse) else await answer


def error_response(request: Request, error: StatusError) -> Response:
    """The Status of an error, in a form that the client accepts if there is one; a path that is not there has a plain text."""
    if isinstance(error, PathNotFound):
        return Response(404, PathNotFound.TEXT, b"text/plain; charset=utf-8", (NO_SNIFF,))
    try:
        media = accepted(request.headers.get("accept", "")).media
    except StatusError:
        media = "json"
    response = render(status_response(error), media)
    query = parse_query(request.query) if request.query else {}
    if is_pretty(request.headers, query):
        indented(response)
    return response
