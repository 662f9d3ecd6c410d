"""Virtual resources: reviews that are answered and never stored."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from lakh.apis.registry import Resource
from lakh.machinery import errors, times
from lakh.server.authn import ALL_UNAUTHENTICATED, ANONYMOUS, Authenticator, User
from lakh.server.codec import Codec, FieldValidation, encode_json, read_body
from lakh.server.routing import RequestInfo
from lakh.server.transport import Request, Response

Review = Callable[[Request, RequestInfo, User], Coroutine[Any, Any, Response]]


VIRTUAL = frozenset(
    (
        "selfsubjectreviews.authentication.k8s.io",
        "tokenreviews.authentication.k8s.io",
        "selfsubjectaccessreviews.authorization.k8s.io",
        "subjectaccessreviews.authorization.k8s.io",
        "localsubjectaccessreviews.authorization.k8s.io",
        "selfsubjectrulesreviews.authorization.k8s.io",
    )
)
"""Tables of the resources that are answered here and stored nowhere."""


class Reviews:
    """Answers them. Until RBAC is built, every authenticated user may do everything, and the reviews say so."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._answers: dict[str, Callable[[Any, User], dict[str, Any]]] = {
            "selfsubjectreviews.authentication.k8s.io": self._self_subject,
            "tokenreviews.authentication.k8s.io": self._token,
            "selfsubjectaccessreviews.authorization.k8s.io": self._own_access,
            "subjectaccessreviews.authorization.k8s.io": self._access,
            "localsubjectaccessreviews.authorization.k8s.io": self._access,
            "selfsubjectrulesreviews.authorization.k8s.io": self._rules,
        }

    def handler(self, resource: Resource) -> Review | None:
        """The handler of a virtual resource; None for stored ones."""
        answer = self._answers.get(resource.table)
        if answer is None:
            return None
        codec = Codec(resource)

        async def review(request: Request, info: RequestInfo, user: User) -> Response:
            body = read_body(request.body, request.headers.get("content-type", ""))
            obj = codec.decode(body, FieldValidation.IGNORE, [])
            if info.namespace and not obj.metadata.namespace:
                obj.metadata.namespace = info.namespace
            findings = resource.strategy.validate(obj)
            if findings:
                raise errors.invalid(resource.group, resource.kind, obj.metadata.name or "", findings)
            plain = msgspec.to_builtins(obj)
            plain["kind"], plain["apiVersion"] = resource.kind, resource.api_version
            plain["metadata"] = {**plain.get("metadata", {}), "creationTimestamp": times.now()}
            plain["status"] = answer(obj, user)
            return Response(201, encode_json(plain))

        return review

    def _self_subject(self, obj: Any, user: User) -> dict[str, Any]:
        return {"userInfo": _user_info(user)}

    def _token(self, obj: Any, user: User) -> dict[str, Any]:
        token = obj.spec.token if obj.spec is not None else None
        if not token:
            raise errors.bad_request("token is required for TokenReview in authentication")
        found = self._authenticator.review_token(token, obj.spec.audiences or ())
        if found is None:
            return {"authenticated": False, "user": {}, "error": "invalid bearer token"}
        bearer, audiences = found
        return {"authenticated": True, "user": _user_info(bearer), "audiences": list(audiences)}

    def _own_access(self, obj: Any, user: User) -> dict[str, Any]:
        return {"allowed": True, "reason": "every authenticated user is allowed"}

    def _access(self, obj: Any, user: User) -> dict[str, Any]:
        spec = obj.spec
        if spec.user == ANONYMOUS.name or ALL_UNAUTHENTICATED in (spec.groups or ()):
            return {"allowed": False}
        return self._own_access(obj, user)

    def _rules(self, obj: Any, user: User) -> dict[str, Any]:
        if not (obj.spec.namespace if obj.spec is not None else None):
            raise errors.bad_request("no namespace on request")
        return {
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": False,
        }


def _user_info(user: User) -> dict[str, Any]:
    info: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {k: list(v) for k, v in user.extra.items()}
    return info
