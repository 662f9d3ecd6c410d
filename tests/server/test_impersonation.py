"""Acting as somebody else: who, in which groups, and who may."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from lakh.machinery.errors import StatusError
from lakh.server import backend
from lakh.server.authn import ANONYMOUS, User, ignored_token
from lakh.server.http1 import IMPERSONATE, parse_header_block
from lakh.server.impersonation import impersonated

from .harness import ADMIN, CONFIGMAPS, Api, configmap

SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
REVIEW = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


def headers(*lines: str) -> dict[str, str]:
    """What the transport makes of header lines."""
    block = "".join(f"{line}\r\n" for line in ("Host: h", *lines)) + "\r\n"
    return parse_header_block(block.encode()).headers


def named(name: str, *lines: str) -> User:
    return impersonated(headers(f"Impersonate-User: {name}", *lines), ADMIN)


def test_only_such_headers_are_marked() -> None:
    assert IMPERSONATE not in headers("Authorization: Bearer t", "X-Impersonate-User: x")
    for name in ("User", "Group", "Uid", "Extra-Team"):
        assert IMPERSONATE in headers(f"Impersonate-{name}: x")


@pytest.mark.parametrize(
    ("name", "lines", "groups"),
    [
        ("jane", (), ("system:authenticated",)),
        (
            "jane",
            ("Impersonate-Group: dev, ops", "Impersonate-Group: qa"),
            ("dev, ops", "qa", "system:authenticated"),
        ),
        ("jane", ("Impersonate-Group: system:authenticated",), ("system:authenticated",)),
        ("jane", ("Impersonate-Group: system:unauthenticated",), ("system:unauthenticated",)),
        ("system:anonymous", (), ("system:unauthenticated",)),
        ("system:anonymous", ("Impersonate-Group: dev",), ("dev", "system:unauthenticated")),
        (
            "system:serviceaccount:web:api",
            (),
            ("system:serviceaccounts", "system:serviceaccounts:web", "system:authenticated"),
        ),
        ("system:serviceaccount:web:api", ("Impersonate-Group: dev",), ("dev", "system:authenticated")),
        ("system:serviceaccount:web", (), ("system:authenticated",)),
        ("system:serviceaccount:Web:api", (), ("system:authenticated",)),
        ("system:node:n1", (), ("system:nodes", "system:authenticated")),
        ("system:node:n1", ("Impersonate-Uid: 7",), ("system:authenticated",)),
        ("system:node:n1", ("Impersonate-Group: dev",), ("dev", "system:authenticated")),
        ("system:node:N1", (), ("system:authenticated",)),
    ],
)
def test_groups(name: str, lines: tuple[str, ...], groups: tuple[str, ...]) -> None:
    user = named(name, *lines)
    assert (user.name, user.groups) == (name, groups)


def test_uid_and_extra_values() -> None:
    user = named(
        "jürgen",
        "Impersonate-Uid: 11",
        "Impersonate-Extra-Acme.com%2fTeam: a",
        "Impersonate-Extra-acme.com%2Fteam: b",
        "Impersonate-Extra-Odd%zz: c",
    )
    assert user.name == "jürgen" and user.uid == "11"
    assert user.extra == {"acme.com/team": ("a", "b"), "odd%zz": ("c",)}


def test_nothing_but_an_empty_name_is_nobody_else() -> None:
    assert impersonated(headers("Impersonate-User:"), ADMIN) is ADMIN


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("Impersonate-Group: dev", 'UID:"", Groups:[]string{"dev"}, Extra:map[string][]string(nil)'),
        ("Impersonate-Uid: 7", 'UID:"7", Groups:[]string(nil), Extra:map[string][]string(nil)'),
        (
            "Impersonate-Extra-Team: red",
            'UID:"", Groups:[]string(nil), Extra:map[string][]string{"team":[]string{"red"}}',
        ),
    ],
)
def test_who_is_missing(line: str, asked: str) -> None:
    with pytest.raises(StatusError) as refused:
        impersonated(headers(line), ADMIN)
    assert (refused.value.code, refused.value.reason) == (400, "BadRequest")
    assert refused.value.message == (
        f'requested &user.DefaultInfo{{Name:"", {asked}}} without impersonating a user name'
    )


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("jane", ('users "jane"', "users", "at the cluster scope")),
        (
            "system:serviceaccount:web:api",
            ('serviceaccounts "api"', "serviceaccounts", 'in the namespace "web"'),
        ),
    ],
)
def test_who_is_not_authenticated_is_nobody_else(name: str, what: tuple[str, str, str]) -> None:
    with pytest.raises(StatusError) as refused:
        impersonated(headers(f"Impersonate-User: {name}"), ANONYMOUS)
    assert refused.value.code == 403
    assert refused.value.message == (
        f'{what[0]} is forbidden: User "system:anonymous" cannot impersonate resource "{what[1]}" in API group "" {what[2]}'
    )


def test_who_is_behind_a_proxy_does_not_see_them() -> None:
    passed = backend.forwarded(
        headers("Impersonate-User: jane", "Impersonate-Extra-Team: red", "Accept: x/y")
    )
    assert passed == [("accept", "x/y")]


class TestRequests:
    async def test_are_the_other_users(self, api: Api) -> None:
        as_jane = headers("Impersonate-User: jane", "Impersonate-Group: dev", "Impersonate-Extra-Team: red")
        review = await api.post(SELF, REVIEW, **as_jane)
        assert review.json["status"]["userInfo"] == {
            "username": "jane",
            "groups": ["dev", "system:authenticated"],
            "extra": {"team": ["red"]},
        }
        review = await api.post(SELF, REVIEW)
        assert review.json["status"]["userInfo"]["username"] == ADMIN.name

    async def test_are_classified_as_theirs(self, api: Api) -> None:
        level = b"X-Kubernetes-PF-PriorityLevel-UID"
        node, jane = (headers(f"Impersonate-User: {name}") for name in ("system:node:n1", "jane"))
        as_node, as_jane = [(await api.get(CONFIGMAPS, **who)).headers[level] for who in (node, jane)]
        assert as_node != as_jane

    async def test_of_the_anonymous_user_are_refused(self, api: Api) -> None:
        nobody = headers("Impersonate-User: system:anonymous")
        refused = await api.get(f"{CONFIGMAPS}/a", **nobody)
        assert (refused.status, refused.json["reason"]) == (403, "Forbidden")
        assert refused.json["message"] == (
            'configmaps "a" is forbidden: User "system:anonymous" cannot get resource "configmaps" in API group "" '
            'in the namespace "default"'
        )
        refused = await api.post(CONFIGMAPS, configmap("a"), **nobody)
        assert refused.json["message"] == (
            'configmaps is forbidden: User "system:anonymous" cannot create resource "configmaps" in API group "" '
            'in the namespace "default"'
        )
        refused = await api.get("/metrics", **nobody)
        assert refused.json["message"] == 'forbidden: User "system:anonymous" cannot get path "/metrics"'
        assert (await api.get("/readyz", **nobody)).status == 200


@pytest.mark.parametrize(
    ("authorization", "warns"),
    [
        ("Bearer  token", True),
        (" bearer   token", True),
        ("Bearer token", False),
        ("Bearer ", False),
        ("Basic  token", False),
        ("", False),
    ],
)
def test_a_token_behind_too_many_spaces(authorization: str, warns: bool) -> None:
    text = "the provided Authorization header contains extra space before the bearer token, and is ignored"
    assert ignored_token(authorization) == (text if warns else "")


async def test_who_sends_such_a_token_is_told(api: Api) -> None:
    api.server.authenticator.authenticate = lambda request: ANONYMOUS  # type: ignore[method-assign]
    refused = await api.get(CONFIGMAPS, authorization="Bearer  token")
    assert refused.status == 401
    assert len(refused.warnings) == 1 and "extra space before" in refused.warnings[0]
    assert (await api.get(CONFIGMAPS)).warnings == []


def test_the_first_of_two_authorizations_counts() -> None:
    assert headers("Authorization: Bearer a", "Authorization: Bearer b")["authorization"] == "Bearer a"
