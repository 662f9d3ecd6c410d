"""kubectl exec to a kubelet that speaks SPDY only: the API server passes upgrades on as they are, and kubectl falls back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from . import manifests
from .cluster import Kubectl

pytestmark = pytest.mark.xdist_group("conformance")

NODE = "speaks-spdy-only"


class Kubelet(ThreadingHTTPServer):
    """Refuses every upgrade, and notes which it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Refusing)
        self.asked: list[tuple[str, str]] = []


class Refusing(BaseHTTPRequestHandler):
    server: Kubelet

    def _refuse(self) -> None:
        versions = self.headers.get("Sec-WebSocket-Protocol") or self.headers.get(
            "X-Stream-Protocol-Version", ""
        )
        self.server.asked.append((self.headers.get("Upgrade", "").lower(), versions))
        self.send_response(403)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"no")

    def do_GET(self) -> None:
        self._refuse()

    def do_POST(self) -> None:
        self._refuse()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def kubelet(kubectl: Kubectl) -> Iterator[Kubelet]:
    server = Kubelet()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE, "annotations": {"lakh.dev/kubelet-url": url}},
    }
    kubectl("create", "-f", "-", input=node)
    yield server
    kubectl("delete", "node", NODE)
    server.shutdown()
    server.server_close()
    thread.join()


def test_kubectl_falls_back_to_spdy(kubectl: Kubectl, kubelet: Kubelet) -> None:
    pod = manifests.pod("p", nodeName=NODE, tolerations=[{"operator": "Exists"}])
    kubectl("create", "-f", "-", input=pod)
    said = kubectl("exec", "p", "--", "true", code=1)
    assert "unable to upgrade connection: no" in said.stderr
    assert [upgrade for upgrade, _ in kubelet.asked] == ["websocket", "spdy/3.1"]
    assert all("v5.channel.k8s.io" in versions for _, versions in kubelet.asked)
    kubectl("delete", "pod", "p", "--force", "--grace-period=0")
