"""Whatever comes in wrong gets a clear answer, and nothing is lost by it."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
import yaml

from .cluster import Server

COMMAND_SECONDS = 240
MAX_BODY_BYTES = 3 * 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An API server alone."""
    started = Server(tmp_path_factory.mktemp("server")).ready()
    yield started
    started.stop()


class Answer:
    """Status code and parsed body."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text

    @property
    def status(self) -> dict[str, Any]:
        """The body as a Status of failure."""
        body: dict[str, Any] = json.loads(self.text)
        assert (body["kind"], body["apiVersion"], body["status"]) == ("Status", "v1", "Failure")
        assert body["code"] == self.code
        return body


def request(
    server: Server,
    method: str,
    path: str,
    body: bytes | None = None,
    kind: str = "application/json",
    *,
    anonymous: bool = False,
) -> Answer:
    """One request on a connection of its own."""
    context = ssl.create_default_context(cafile=str(server.data / "pki" / "ca.crt"))
    if not anonymous:
        context.load_cert_chain(server.data / "pki" / "admin.crt", server.data / "pki" / "admin.key")
    connection = HTTPSConnection("127.0.0.1", server.port, context=context, timeout=COMMAND_SECONDS)
    try:
        try:
            connection.request(method, path, body, {"Content-Type": kind} if body is not None else {})
        except (BrokenPipeError, ConnectionResetError):
            # The server has answered and closed before it had the whole body.
            pass
        response = connection.getresponse()
        return Answer(response.status, response.read().decode())
    finally:
        connection.close()


def lakh(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command that is expected to fail by itself."""
    return subprocess.run(
        [sys.executable, "-m", "lakh", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
    )


MAPS = "/api/v1/namespaces/default/configmaps"


class TestRequests:
    @pytest.mark.parametrize(
        ("body", "code", "reason", "words"),
        [
            (b'{"metadata":', 400, "BadRequest", ""),
            (b"[1]", 400, "BadRequest", ""),
            (b"", 400, "BadRequest", ""),
            (b"\xff\xfe", 400, "BadRequest", ""),
            (b'{"metadata":{"name":"a"},"data":{"x":1}}', 400, "BadRequest", "data"),
            (b'{"metadata":{"name":7}}', 400, "BadRequest", "metadata.name"),
            (b'{"metadata":{"name":"Bad_Name"}}', 422, "Invalid", "a lowercase RFC 1123 subdomain"),
            (b'{"metadata":{}}', 422, "Invalid", "name or generateName is required"),
            (b'{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}', 400, "BadRequest", "Secret"),
            (b'{"apiVersion":"v2","kind":"ConfigMap","metadata":{"name":"a"}}', 400, "BadRequest", "v2"),
            (b'{"metadata":{"name":"a","namespace":"other"}}', 400, "BadRequest", "namespace"),
        ],
    )
    def test_bodies(self, server: Server, body: bytes, code: int, reason: str, words: str) -> None:
        answer = request(server, "POST", MAPS, body)
        assert (answer.code, answer.status["reason"]) == (code, reason), answer.text
        assert words in answer.status["message"]

    def test_oversized(self, server: Server) -> None:
        body = b'{"metadata":{"name":"big"},"data":{"x":"%s"}}' % (b"x" * MAX_BODY_BYTES)
        answer = request(server, "POST", MAPS, body)
        assert (answer.code, answer.status["reason"]) == (413, "RequestEntityTooLarge")
        # Smaller than a request may be, larger than a ConfigMap may be.
        body = b'{"metadata":{"name":"big"},"data":{"x":"%s"}}' % (b"x" * 1_500_000)
        answer = request(server, "POST", MAPS, body)
        assert (answer.code, answer.status["reason"]) == (422, "Invalid")

    def test_deep(self, server: Server) -> None:
        """Nesting without end is refused, not a crash."""
        depth = 200_000
        body = b'{"metadata":{"name":"a"},"data":' + b'{"x":' * depth + b"1" + b"}" * depth + b"}"
        assert request(server, "POST", MAPS, body).code == 400
        assert request(server, "GET", "/healthz").text == "ok"

    @pytest.mark.parametrize(
        "path", ["/apis/nope/v1", "/apis/apps/v9/deployments", "/api/v1/unicorns", "/api/v2/pods", "/nope"]
    )
    def test_unknown_api(self, server: Server, path: str) -> None:
        answer = request(server, "GET", path)
        assert answer.code == 404
        if answer.text.startswith("{") and '"Status"' in answer.text:
            assert answer.status["reason"] == "NotFound"

    def test_wrong_method(self, server: Server) -> None:
        answer = request(server, "POST", MAPS + "/a", b'{"metadata":{"name":"a"}}')
        assert (answer.code, answer.status["reason"]) == (405, "MethodNotAllowed")

    def test_media_types(self, server: Server) -> None:
        assert request(server, "POST", MAPS, b"<a/>", "application/xml").code == 415
        assert request(server, "PATCH", MAPS + "/kube-root-ca.crt", b"{}", "application/json").code == 415

    def test_anonymous(self, server: Server) -> None:
        for path in ("/healthz", "/livez", "/readyz", "/version", "/readyz/ping"):
            assert request(server, "GET", path, anonymous=True).code == 200, path
        for path in (
            "/",
            "/api",
            "/apis",
            "/api/v1/nodes",
            "/openapi/v2",
            "/openapi/v3",
            "/metrics",
            "/nope",
        ):
            answer = request(server, "GET", path, anonymous=True)
            assert (answer.code, answer.status["reason"]) == (401, "Unauthorized"), path
        answer = request(server, "POST", MAPS, b'{"metadata":{"name":"a"}}', anonymous=True)
        assert answer.code == 401

    def test_foreign_certificate(self, server: Server, tmp_path: Path) -> None:
        """A certificate of another cluster opens nothing."""
        other = Server(tmp_path).ready()
        other.stop()
        context = ssl.create_default_context(cafile=str(server.data / "pki" / "ca.crt"))
        context.load_cert_chain(other.data / "pki" / "admin.crt", other.data / "pki" / "admin.key")
        connection = HTTPSConnection("127.0.0.1", server.port, context=context, timeout=COMMAND_SECONDS)
        try:
            connection.request("GET", "/api/v1/nodes")
            assert connection.getresponse().status == 401
        except (ssl.SSLError, ConnectionError):
            pass  # refused in the handshake: as good
        finally:
            connection.close()


class TestCommands:
    def failed(self, *arguments: str) -> str:
        """The one line of a command that ends with 1."""
        done = lakh(*arguments)
        assert done.returncode == 1, done
        lines = [line for line in done.stderr.splitlines() if line.startswith("lakh: ")]
        assert len(lines) == 1, done.stderr
        assert "Traceback" not in done.stderr
        return lines[0]

    def test_port_in_use(self, server: Server, tmp_path: Path) -> None:
        for command in ("apiserver", "up"):
            line = self.failed(command, "--data-dir", str(tmp_path / command), "--port", str(server.port))
            assert str(server.port) in line
            assert "in use" in line

    def test_directory_in_use(self, server: Server) -> None:
        for command in ("apiserver", "up"):
            line = self.failed(command, "--data-dir", str(server.data), "--port", "0")
            assert str(server.data) in line
            assert "another process" in line or "in use" in line

    def test_unusable_directory(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_text("")
        for command in ("apiserver", "up"):
            assert str(file) in self.failed(command, "--data-dir", str(file), "--port", "0")

    def test_wrong_usage(self) -> None:
        for arguments in (["up", "--port", "many"], ["nope"], ["nodes"], ["up", "--nodes", "-1"], []):
            assert lakh(*arguments).returncode == 2, arguments

    def test_no_kubeconfig(self, tmp_path: Path) -> None:
        missing = str(tmp_path / "nope")
        assert missing in self.failed("scheduler", "--kubeconfig", missing)
        broken = tmp_path / "broken"
        broken.write_text("{")
        self.failed("controllers", "--kubeconfig", str(broken))

    def test_corrupt_journal(self, tmp_path: Path) -> None:
        """A flipped byte among acknowledged writes is named, and the server does not start over it."""
        server = Server(tmp_path).ready()
        for number in range(20):
            body = json.dumps({"metadata": {"name": f"m{number}"}, "data": {"n": "x" * 200}}).encode()
            assert request(server, "POST", MAPS, body).code == 201
        server.kill()
        copy = tmp_path / "copy"
        shutil.copytree(server.data, copy)
        segment = max((copy / "journal" / "default").glob("*.log"), key=lambda f: f.stat().st_size)
        content = bytearray(segment.read_bytes())
        content[content.index(b"m3")] ^= 0x40
        segment.write_bytes(content)
        line = self.failed("apiserver", "--data-dir", str(copy), "--port", "0")
        assert str(segment) in line
        assert "corrupt" in line.lower() or "checksum" in line.lower()
        assert segment.read_bytes() == bytes(content)
        # The untouched directory still has everything.
        server = Server(tmp_path).ready()
        try:
            listed = yaml.safe_load(request(server, "GET", MAPS).text)
            assert {f"m{n}" for n in range(20)} <= {o["metadata"]["name"] for o in listed["items"]}
        finally:
            server.stop()
