"""One cluster for all conformance tests, a namespace of its own for each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import client, config

from .cluster import Cluster, Kubectl, eventually
from .rest import Rest

NODES = 20

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running cluster of simulated nodes."""
    started = Cluster(tmp_path_factory.mktemp("cluster"), NODES, "--devices").ready()
    try:
        yield started
    finally:
        code = started.stop()
    assert code == 0, started.evidence()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """kubectl's home directory."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def kubectl_everywhere(cluster: Cluster, home: Path) -> Kubectl:
    """kubectl in the default namespace."""
    if not Kubectl.available():
        pytest.skip("kubectl is not on PATH: install it (1.30 or newer) to run these tests")
    return Kubectl(cluster.kubeconfig, home)


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Iterator[client.ApiClient]:
    """The official Python client."""
    connected = config.new_client_from_config(str(cluster.kubeconfig))
    yield connected
    connected.rest_client.pool_manager.clear()
    connected.close()


@pytest.fixture
def core(api: client.ApiClient) -> client.CoreV1Api:
    """core/v1 through the official Python client."""
    return client.CoreV1Api(api)


@pytest.fixture
def namespace(core: client.CoreV1Api) -> Iterator[str]:
    """A new namespace that pods can run in."""
    name = f"test-{next(_numbers)}"
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
    eventually(
        lambda: [a for a in core.list_namespaced_service_account(name).items if a.metadata.name == "default"],
        f"ServiceAccount default in {name}",
    )
    # Another controller makes it: a list or a watch of config maps shall not depend on which is faster.
    eventually(lambda: core.list_namespaced_config_map(name).items, f"kube-root-ca.crt in {name}")
    yield name
    core.delete_namespace(name)


@pytest.fixture
def kubectl(kubectl_everywhere: Kubectl, namespace: str) -> Kubectl:
    """kubectl in the test's namespace."""
    return kubectl_everywhere.within(namespace)


@pytest.fixture
def rest(api: client.ApiClient) -> Rest:
    """Raw HTTP over the client's connections."""
    return Rest(api)
