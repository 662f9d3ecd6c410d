"""Ingresses without a class get the default one (upstream's admission plugin DefaultIngressClass)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from .harness import Api

CLASSES = "/apis/networking.k8s.io/v1/ingressclasses"
INGRESSES = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


def ingress(name: str, **spec: Any) -> dict[str, Any]:
    backend = {"service": {"name": "s", "port": {"number": 80}}}
    return {"metadata": {"name": name}, "spec": {"defaultBackend": backend, **spec}}


async def make_class(api: Api, name: str, default: str) -> None:
    annotations = {"ingressclass.kubernetes.io/is-default-class": default}
    obj = {"metadata": {"name": name, "annotations": annotations}, "spec": {"controller": "example.com/c"}}
    assert (await api.call("POST", CLASSES, obj)).status == 201


async def test_default_class(api: Api) -> None:
    await make_class(api, "other", "false")
    made = await api.call("POST", INGRESSES, ingress("a"))
    assert "ingressClassName" not in made.json["spec"]
    await make_class(api, "usual", "true")
    made = await api.call("POST", INGRESSES, ingress("b"))
    assert made.json["spec"]["ingressClassName"] == "usual"
    made = await api.call("POST", INGRESSES, ingress("c", ingressClassName="other"))
    assert made.json["spec"]["ingressClassName"] == "other"
    old = ingress("d")
    old["metadata"]["annotations"] = {"kubernetes.io/ingress.class": "x"}
    made = await api.call("POST", INGRESSES, old)
    assert "ingressClassName" not in made.json["spec"]
    await make_class(api, "second", "true")
    refused = await api.call("POST", INGRESSES, ingress("e"))
    assert refused.status == 403
    assert refused.json["message"] == (
        'ingresses.networking.k8s.io "e" is forbidden: Internal error occurred: 2 default IngressClasses were found, '
        "only 1 allowed"
    )
