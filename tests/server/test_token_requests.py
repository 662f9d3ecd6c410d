"""`serviceaccounts/token`: bounds, audiences, what tokens are bound to; and TokenReviews of what was issued."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from lakh.machinery import times
from lakh.server import authn
from lakh.server.authn import Authenticator
from lakh.server.tokenrequests import EXTENDED_EXPIRATION_SECONDS, WARN_AFTER_SECONDS, bound_objects_exist
from lakh.server.tokens import ISSUER, TokenIssuer

from .harness import Api
from .test_tokens import part, pem

KEY = TokenIssuer(pem(ec.generate_private_key(ec.SECP256R1())))
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
PODS = "/api/v1/namespaces/default/pods"
TOKEN = f"{ACCOUNTS}/web/token"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    server = api.server
    server.subresources.tokens.issuer = KEY
    partitions = server.cluster.partitions
    server.authenticator._issuer = KEY
    server.authenticator._is_live = lambda claims: bound_objects_exist(partitions, claims)
    assert (await api.call("POST", ACCOUNTS, {"metadata": {"name": "web"}})).status == 201
    yield api
    await api.stop()


async def made(api: Api, path: str, obj: dict[str, Any]) -> str:
    """Makes an object; its uid."""
    answer = await api.call("POST", path, obj)
    assert answer.status == 201, answer
    uid: str = answer.json["metadata"]["uid"]
    return uid


def pod(account: str = "web", node: str | None = None) -> dict[str, Any]:
    spec: dict[str, Any] = {"serviceAccountName": account, "containers": [{"name": "c", "image": "i"}]}
    return {"metadata": {"name": "p"}, "spec": spec | ({"nodeName": node} if node else {})}


async def ask(api: Api, **spec: Any) -> Any:
    return await api.call("POST", TOKEN, {"spec": spec})


def to(kind: str, name: str, uid: str | None = None, version: str = "v1") -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "name": name, **({"uid": uid} if uid else {})}


async def review(api: Api, token: str, *audiences: str) -> Any:
    answer = await api.call("POST", REVIEWS, {"spec": {"token": token, "audiences": list(audiences)}})
    return answer.json["status"]


async def test_what_was_not_asked_for_is_filled_in(api: Api) -> None:
    answer = await api.call("POST", TOKEN, {"spec": {"audiences": []}})
    assert answer.status == 201
    assert (answer.json["kind"], answer.json["apiVersion"]) == ("TokenRequest", "authentication.k8s.io/v1")
    assert answer.json["spec"] == {"audiences": [ISSUER], "expirationSeconds": 3600}
    assert {k: answer.json["metadata"][k] for k in ("name", "namespace")} == {
        "name": "web",
        "namespace": "default",
    }
    payload = part(answer.json["status"]["token"], 1)
    assert payload["exp"] - payload["iat"] == 3600
    assert times.parse(answer.json["status"]["expirationTimestamp"]) == payload["exp"]
    assert payload["aud"] == [ISSUER]
    assert set(payload["kubernetes.io"]) == {"namespace", "serviceaccount"}


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (
            {"spec": {"expirationSeconds": 599}},
            422,
            'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 599: '
            "may not specify a duration less than 10 minutes",
        ),
        ({"spec": {"expirationSeconds": 0}}, 422, "may not specify a duration less than 10 minutes"),
        (
            {"spec": {"expirationSeconds": 2**32 + 1}},
            422,
            "may not specify a duration larger than 2^32 seconds",
        ),
        (
            {"metadata": {"name": "other"}},
            422,
            'TokenRequest.authentication.k8s.io "web" is invalid: metadata.name: Invalid value: "other": '
            "must match the service account name if specified",
        ),
        (
            {"metadata": {"namespace": "other"}},
            422,
            'metadata.namespace: Invalid value: "other": must match the service account namespace if specified',
        ),
        ({"spec": {"boundObjectRef": to("Pod", "none")}}, 404, 'pods "none" not found'),
        ({"spec": {"boundObjectRef": to("Secret", "none")}}, 404, 'secrets "none" not found'),
        ({"spec": {"boundObjectRef": to("Node", "none")}}, 404, 'nodes "none" not found'),
        (
            {"spec": {"boundObjectRef": to("ConfigMap", "c")}},
            400,
            "cannot bind token to object of type /v1, Kind=ConfigMap",
        ),
        (
            {"spec": {"boundObjectRef": to("Pod", "p", version="apps/v1")}},
            400,
            "cannot bind token to object of type apps/v1, Kind=Pod",
        ),
    ],
)
async def test_refusals_are_upstreams(api: Api, body: dict[str, Any], code: int, message: str) -> None:
    answer = await api.call("POST", TOKEN, {"spec": {}, **body})
    assert answer.status == code
    assert message in answer.json["message"]


async def test_an_account_that_is_not_there(api: Api) -> None:
    answer = await api.call("POST", f"{ACCOUNTS}/none/token", {"spec": {"expirationSeconds": 1}})
    assert (answer.status, answer.json["message"]) == (404, 'serviceaccounts "none" not found')


async def test_a_pods_token_names_its_node_and_dies_with_the_pod(api: Api) -> None:
    node = await made(api, "/api/v1/nodes", {"metadata": {"name": "n1"}})
    uid = await made(api, PODS, pod(node="n1"))
    answer = await ask(api, boundObjectRef=to("Pod", "p", uid))
    assert answer.status == 201
    token = answer.json["status"]["token"]
    claims = part(token, 1)["kubernetes.io"]
    assert claims["pod"] == {"name": "p", "uid": uid}
    assert claims["node"] == {"name": "n1", "uid": node}
    status = await review(api, token)
    assert status["user"]["username"] == "system:serviceaccount:default:web"
    assert status["user"]["extra"][authn.NODE_UID] == [node]
    await api.call("DELETE", "/api/v1/nodes/n1")
    assert (await review(api, token))["authenticated"], "the pod backs it, not the node"
    await api.call("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 0})
    assert not (await review(api, token))["authenticated"]
    await made(api, PODS, pod(node="n1"))
    assert not (await review(api, token))["authenticated"], "another pod of that name"


async def test_a_pod_of_a_node_that_is_not_there(api: Api) -> None:
    await made(api, PODS, pod(node="lost"))
    answer = await ask(api, boundObjectRef=to("Pod", "p"))
    token = answer.json["status"]["token"]
    assert part(token, 1)["kubernetes.io"]["node"] == {"name": "lost"}
    extra = (await review(api, token))["user"]["extra"]
    assert extra[authn.NODE_NAME] == ["lost"]
    assert authn.NODE_UID not in extra


async def test_a_pod_of_another_account_or_another_uid(api: Api) -> None:
    await made(api, ACCOUNTS, {"metadata": {"name": "other"}})
    await made(api, PODS, pod("other"))
    answer = await ask(api, boundObjectRef=to("Pod", "p"))
    assert answer.status == 400
    assert answer.json["message"] == (
        'cannot bind token for serviceaccount "web" to pod running with different serviceaccount name.'
    )
    answer = await api.call(
        "POST", f"{ACCOUNTS}/other/token", {"spec": {"boundObjectRef": to("Pod", "p", "u-0")}}
    )
    assert answer.status == 409
    assert answer.json["message"] == (
        'Operation cannot be fulfilled on Pod "p": the UID in the bound object reference (u-0) does not match the '
        "UID in record. The object might have been deleted and then recreated"
    )


@pytest.mark.parametrize(
    ("kind", "path", "claim"),
    [("Secret", "/api/v1/namespaces/default/secrets", "secret"), ("Node", "/api/v1/nodes", "node")],
)
async def test_tokens_die_with_what_they_are_bound_to(api: Api, kind: str, path: str, claim: str) -> None:
    uid = await made(api, path, {"metadata": {"name": "x"}})
    token = (await ask(api, boundObjectRef=to(kind, "x"))).json["status"]["token"]
    claims = part(token, 1)["kubernetes.io"]
    assert claims[claim] == {"name": "x", "uid": uid}
    assert "pod" not in claims
    assert (await review(api, token))["authenticated"]
    await api.call("DELETE", f"{path}/x")
    assert not (await review(api, token))["authenticated"]


@pytest.mark.parametrize(
    ("seconds_ago", "alive"), [(-30, True), (59, True), (61, False)], ids=["in grace", "leeway", "gone"]
)
async def test_a_deleted_object_backs_tokens_for_a_minute(api: Api, seconds_ago: int, alive: bool) -> None:
    await made(api, PODS, {**pod(), "metadata": {"name": "p", "finalizers": ["example.com/wait"]}})
    token = (await ask(api, boundObjectRef=to("Pod", "p"))).json["status"]["token"]
    deleted = (await api.call("DELETE", f"{PODS}/p")).json["metadata"]["deletionTimestamp"]
    now = times.parse(deleted) + seconds_ago
    claims = KEY.verify(token)
    assert bound_objects_exist(api.server.cluster.partitions, claims, now) is alive


@pytest.mark.parametrize(
    ("audiences", "bound", "extended"), [((), True, True), (("vault",), True, False), ((), False, False)]
)
async def test_projected_tokens_outlive_clients_that_do_not_read_again(
    api: Api, audiences: tuple[str, ...], bound: bool, extended: bool
) -> None:
    await made(api, PODS, pod())
    reference = {"boundObjectRef": to("Pod", "p")} if bound else {}
    answer = await ask(api, audiences=list(audiences), expirationSeconds=WARN_AFTER_SECONDS, **reference)
    payload = part(answer.json["status"]["token"], 1)
    assert payload["exp"] - payload["iat"] == (
        EXTENDED_EXPIRATION_SECONDS if extended else WARN_AFTER_SECONDS
    )
    warn_after = payload["iat"] + WARN_AFTER_SECONDS
    assert payload["kubernetes.io"].get("warnafter") == (warn_after if extended else None)
    assert answer.json["spec"]["expirationSeconds"] == WARN_AFTER_SECONDS
    assert times.parse(answer.json["status"]["expirationTimestamp"]) == warn_after


async def test_reviews_ask_for_an_audience(api: Api) -> None:
    token = (await ask(api, audiences=["vault", "x"])).json["status"]["token"]
    assert not (await review(api, token))["authenticated"], "not meant for this server"
    status = await review(api, token, "y", "vault")
    assert (status["authenticated"], status["audiences"]) == (True, ["vault"])
    own = (await ask(api)).json["status"]["token"]
    assert (await review(api, own))["audiences"] == [ISSUER]
    assert not (await review(api, own, "vault"))["authenticated"]


def test_static_tokens_are_for_this_server(tmp_path: Any) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text("t1,jane,1\n")
    authenticator = Authenticator(path, KEY)
    assert authenticator.review_token("t1", ()) is not None
    found = authenticator.review_token("t1", ("x", ISSUER))
    assert found is not None
    assert (found[0].name, found[1]) == ("jane", (ISSUER,))
    assert authenticator.review_token("t1", ("x",)) is None
    assert authenticator.review_token("t2", ()) is None


async def test_token_requests_are_admitted(api: Api) -> None:
    """Upstream's NamespaceLifecycle: nothing is created in a namespace that goes, subresources included."""
    assert (await api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "going"}})).status == 201
    accounts = "/api/v1/namespaces/going/serviceaccounts"
    assert (await api.call("POST", accounts, {"metadata": {"name": "web"}})).status == 201
    assert (await api.call("POST", f"{accounts}/web/token", {"spec": {}})).status == 201
    await api.call("DELETE", "/api/v1/namespaces/going")
    answer = await api.call("POST", f"{accounts}/web/token", {"spec": {}})
    assert (answer.status, answer.json["reason"]) == (403, "Forbidden")
    assert answer.json["details"]["causes"][0]["reason"] == "NamespaceTerminating"
