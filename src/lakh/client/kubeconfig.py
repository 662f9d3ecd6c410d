"""Kubeconfig files: where the server is and how to prove who we are.

`load_kubeconfig` reads one and returns a `Config`: the answer to what a client needs to know, with all data in memory. It raises
`KubeconfigError` with the file and the field that is wrong. Understood are certificate-authority(-data),
client-certificate(-data), client-key(-data), token, tokenFile, tls-server-name, insecure-skip-tls-verify and namespace.
Relative paths are relative to the file. `exec` and `auth-provider` plugins are refused by name.
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from lakh.machinery.tls import HTTP1, HTTP2

from .errors import KubeconfigError

__all__ = ["Config", "load_kubeconfig"]


@dataclass(frozen=True)
class Config:
    """How to reach one API server as one user."""

    server: str
    """`https://host:port` or `http://host:port`, optionally with a path prefix."""
    namespace: str = "default"
    ca_pem: bytes | None = None
    client_certificate_pem: bytes | None = None
    client_key_pem: bytes | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    insecure_skip_tls_verify: bool = False
    tls_server_name: str | None = None

    def ssl_context(self, *, http2: bool = False) -> ssl.SSLContext | None:
        """The TLS context that all connections share; None for http. With `http2` the server may choose that."""
        if urlsplit(self.server).scheme != "https":
            return None
        try:
            context = ssl.create_default_context(cadata=self.ca_pem.decode() if self.ca_pem else None)
            if self.insecure_skip_tls_verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if self.client_certificate_pem and self.client_key_pem:
                _load_pair(context, self.client_certificate_pem, self.client_key_pem)
            if http2:
                context.set_alpn_protocols([HTTP2, HTTP1])
        except (ssl.SSLError, ValueError) as error:
            raise KubeconfigError(f"the certificates for {self.server} are unusable: {error}") from error
        return context


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """OpenSSL reads certificate and key from a file only; this one is readable by us alone and short-lived."""
    with tempfile.NamedTemporaryFile(prefix="lakh-client-") as file:
        file.write(certificate.rstrip(b"\n") + b"\n" + key)
        file.flush()
        context.load_cert_chain(file.name)


def load_kubeconfig(path: str | os.PathLike[str] | None = None, context: str | None = None) -> Config:
    """Read a kubeconfig and resolve its current (or the named) context."""
    if path is None:
        path = os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config"
    return _Reader(Path(path)).resolve(context)


class _Reader:
    """One file while it is being read; every complaint names it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _fail(self, message: str) -> KubeconfigError:
        return KubeconfigError(f"kubeconfig {self.path}: {message}")

    def resolve(self, context_name: str | None) -> Config:
        try:
            document = yaml.safe_load(self.path.read_bytes())
        except OSError as error:
            raise self._fail(error.strerror or str(error)) from error
        except yaml.YAMLError as error:
            raise self._fail(f"not YAML: {' '.join(str(error).split())}") from error
        if not isinstance(document, dict):
            raise self._fail("not a mapping")
        context_name = context_name or document.get("current-context")
        if not context_name:
            raise self._fail("current-context is not set")
        context = self._named(document, "contexts", "context", context_name)
        cluster_name, user_name = context.get("cluster"), context.get("user")
        if not cluster_name:
            raise self._fail(f"context {context_name!r} has no cluster")
        cluster = self._named(document, "clusters", "cluster", cluster_name)
        user = self._named(document, "users", "user", user_name) if user_name else {}
        for plugin in ("exec", "auth-provider"):
            if user.get(plugin):
                raise self._fail(f"user {user_name!r}: {plugin} is not supported")
        server = cluster.get("server")
        parts = urlsplit(server) if isinstance(server, str) else None
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise self._fail(f"cluster {cluster_name!r}: server {server!r} is not an http or https URL")
        authority = self._data(cluster, "certificate-authority", cluster_name)
        certificate = self._data(user, "client-certificate", user_name)
        key = self._data(user, "client-key", user_name)
        if (certificate is None) != (key is None):
            raise self._fail(f"user {user_name!r}: client-certificate and client-key must be given together")
        token_file = user.get("tokenFile")
        return Config(
            server=parts.geturl().rstrip("/"),
            namespace=context.get("namespace") or "default",
            ca_pem=authority,
            client_certificate_pem=certificate,
            client_key_pem=key,
            token=user.get("token"),
            token_file=self._absolute(token_file) if token_file else None,
            insecure_skip_tls_verify=bool(cluster.get("insecure-skip-tls-verify")),
            tls_server_name=cluster.get("tls-server-name"),
        )

    def _named(self, document: dict[str, Any], section: str, field_name: str, name: str) -> dict[str, Any]:
        for entry in document.get(section) or ():
            if isinstance(entry, dict) and entry.get("name") == name:
                value = entry.get(field_name)
                if isinstance(value, dict):
                    return value
                raise self._fail(f"{field_name} {name!r} is empty")
        raise self._fail(f"{field_name} {name!r} does not exist")

    def _absolute(self, file: str) -> Path:
        return self.path.parent / file

    def _data(self, section: dict[str, Any], name: str, owner: str | None) -> bytes | None:
        """`name-data` (base64) before `name` (a file), as kubectl does it."""
        encoded = section.get(f"{name}-data")
        if encoded:
            try:
                return base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError, TypeError) as error:
                raise self._fail(f"{owner!r}: {name}-data is not base64") from error
        file = section.get(name)
        if not file:
            return None
        try:
            return self._absolute(file).read_bytes()
        except OSError as error:
            raise self._fail(f"{owner!r}: {name} {file}: {error.strerror or error}") from error
