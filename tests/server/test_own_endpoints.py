"""Where the service `kubernetes` leads: one subset and one slice for each port."""

from __future__ import annotations

from lakh.server.ownendpoints import endpoints_object, slice_objects

SERVERS = {("10.0.0.2", 6443), ("10.0.0.1", 6443), ("10.0.0.1", 7443)}


def test_endpoints() -> None:
    assert endpoints_object(SERVERS)["subsets"] == [
        {
            "addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}],
            "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
        },
        {
            "addresses": [{"ip": "10.0.0.1"}],
            "ports": [{"name": "https", "port": 7443, "protocol": "TCP"}],
        },
    ]


def test_slices() -> None:
    first, second = slice_objects(SERVERS)
    assert [e["addresses"] for e in first["endpoints"]] == [["10.0.0.1"], ["10.0.0.2"]]
    assert first["metadata"] == {
        "name": "kubernetes",
        "labels": {"kubernetes.io/service-name": "kubernetes"},
    }
    assert (second["metadata"]["name"], second["ports"][0]["port"]) == ("kubernetes-7443", 7443)
