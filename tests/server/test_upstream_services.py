"""Addresses and ports of services as upstream's pkg/registry/core/service/storage/storage_test.go has them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from .harness import Answer, Api

SERVICES = "/api/v1/namespaces/default/services"
WEB = {"app": "web"}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await Api.start()
    yield api
    await api.stop()


async def make(api: Api, name: str = "a", **spec: Any) -> Answer:
    spec.setdefault("ports", [{"port": 80}])
    return await api.post(
        SERVICES, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
    )


class TestFamilies:
    """TestCreateInitIPFields, on a cluster of one family."""

    @pytest.mark.parametrize(
        ("spec", "families", "policy"),
        [
            ({}, ["IPv4"], "SingleStack"),
            ({"ipFamilyPolicy": "PreferDualStack"}, ["IPv4"], "PreferDualStack"),
            ({"clusterIP": "None", "selector": WEB}, ["IPv4"], "SingleStack"),
            ({"clusterIP": "None"}, ["IPv4", "IPv6"], "RequireDualStack"),
            ({"clusterIP": "None", "ipFamilyPolicy": "SingleStack"}, ["IPv4"], "SingleStack"),
            ({"clusterIP": "None", "ipFamilies": ["IPv6"]}, ["IPv6", "IPv4"], "RequireDualStack"),
            ({"clusterIP": "None", "ipFamilyPolicy": "PreferDualStack"}, ["IPv4", "IPv6"], "PreferDualStack"),
        ],
    )
    async def test_taken(self, api: Api, spec: dict[str, Any], families: list[str], policy: str) -> None:
        made = await make(api, **spec)
        assert made.status == 201, made
        assert (made.json["spec"]["ipFamilies"], made.json["spec"]["ipFamilyPolicy"]) == (families, policy)

    @pytest.mark.parametrize(
        ("spec", "text"),
        [
            (
                {"ipFamilyPolicy": "RequireDualStack"},
                "this cluster is not configured for dual-stack services",
            ),
            (
                {"ipFamilyPolicy": "RequireDualStack", "clusterIP": "None", "selector": WEB},
                "this cluster is not configured for dual-stack services",
            ),
            ({"ipFamilies": ["IPv6"]}, "not configured on this cluster"),
            (
                {"ipFamilies": ["IPv4", "IPv4"], "ipFamilyPolicy": "PreferDualStack"},
                'Duplicate value: "IPv4"',
            ),
            ({"clusterIPs": ["10.96.0.9"]}, "must be empty when `clusterIP` is not specified"),
            ({"clusterIP": "10.96.0.8", "clusterIPs": ["10.96.0.9"]}, "first value must match `clusterIP`"),
        ],
    )
    async def test_refused(self, api: Api, spec: dict[str, Any], text: str) -> None:
        answer = await make(api, **spec)
        assert answer.status == 422, answer
        assert text in answer.json["message"]


class TestPorts:
    """TestCreateInitNodePorts, TestCreateDeleteReuse, TestFeatureInternalTrafficPolicy and TestUpdatePatchAllocatedValues."""

    async def test_one_port_of_two_protocols(self, api: Api) -> None:
        """NodePort_implicit_multi_port_same_number."""
        dns = [{"name": "tcp", "port": 53, "protocol": "TCP"}, {"name": "udp", "port": 53, "protocol": "UDP"}]
        made = await make(api, type="NodePort", ports=dns)
        first, second = (p["nodePort"] for p in made.json["spec"]["ports"])
        assert first == second
        dns[1]["nodePort"] = 30053
        given = await make(api, "b", type="NodePort", ports=dns)
        assert [p["nodePort"] for p in given.json["spec"]["ports"]] == [30053, 30053]

    @pytest.mark.parametrize(
        ("first", "then", "kept"),
        [
            ({"clusterIP": "None", "selector": WEB}, {}, ("clusterIP", "clusterIPs")),
            ({"type": "NodePort"}, {"type": "NodePort"}, ("clusterIP", "clusterIPs", "ports")),
            (
                {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
                {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
                ("clusterIP", "ports", "healthCheckNodePort"),
            ),
        ],
    )
    async def test_what_an_update_leaves_out(
        self, api: Api, first: dict[str, Any], then: dict[str, Any], kept: tuple[str, ...]
    ) -> None:
        made = (await make(api, **first)).json
        answer = await api.put(
            f"{SERVICES}/a", {**made, "spec": {"ports": [{"port": 80}], "selector": WEB, **then}}
        )
        assert answer.status == 200, answer
        for name in kept:
            assert answer.json["spec"][name] == made["spec"][name]

    @pytest.mark.parametrize(
        ("spec", "text"),
        [
            ({"healthCheckNodePort": 30201, "type": "LoadBalancer"}, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"),
            ({"externalTrafficPolicy": "Local"}, "may only be set for externally-accessible services"),
            ({"loadBalancerClass": "a.b/c"}, "may only be used when `type` is 'LoadBalancer'"),
            ({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}, "The range of valid ports is 30000-32767"),
            ({"ports": [{"port": 80, "nodePort": 30101}]}, "may not be used when `type` is 'ClusterIP'"),
        ],
    )  # fmt: skip
    async def test_refused(self, api: Api, spec: dict[str, Any], text: str) -> None:
        answer = await make(api, **spec)
        assert answer.status == 422, answer
        assert text in answer.json["message"]
