"""The cluster's certificates, keys, tokens file and kubeconfigs, in the data directory.

    D/pki/ca.crt, ca.key            the cluster CA (ECDSA P-256, ten years)
    D/pki/apiserver.crt, .key       the server certificate (one year)
    D/pki/<identity>.crt, .key      a client certificate for each component (one year)
    D/pki/front-proxy-ca.crt, .key  signs who may speak for others (X-Remote-User): the API servers among themselves
    D/pki/front-proxy-client.crt, .key   what API servers show each other (one year)
    D/pki/sa.key, sa.pub            signs service account tokens (ES256)
    D/pki/tokens.csv                static bearer tokens, in kube-apiserver's format
    D/kubeconfig                    the administrator's
    D/kubeconfigs/<identity>.kubeconfig

`Pki.ensure` is idempotent: what is there and good is kept; what is missing, damaged, not ours or within 30 days of its end is made
anew. A renewed CA keeps its key, so certificates that it signed stay good. Every file is written to a temporary name and renamed,
a key before its certificate; a crash in between leaves a pair that does not match, which the next start makes anew. Private
files are 0600. The directory is locked meanwhile, so API servers that share it may start at once.
"""

from __future__ import annotations

import base64
import csv
import fcntl
import hashlib
import io
import ipaddress
import os
import secrets
import socket
import ssl
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lakh.machinery.tls import HTTP1, HTTP2

CA_VALIDITY = timedelta(days=3650)
CERTIFICATE_VALIDITY = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)
# Certificates begin a little in the past, for clients whose clock is behind.
BACKDATE = timedelta(minutes=5)

CLUSTER_NAME = "lakh"
SERVICE_ADDRESS = "10.96.0.1"  # the first address of the default service range: the `kubernetes` service
SERVER_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
SERVER_ADDRESSES = ("127.0.0.1", "::1", SERVICE_ADDRESS)


SHARED_FILES = (
    *("ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key", "sa.pub", "tokens.csv"),
)
"""What API servers on different machines must have in common. Each makes the rest for itself."""
FRONT_PROXY_NAME = "front-proxy-client"


class PkiError(Exception):
    """The certificates of the data directory cannot be used or made."""


IssuerName = tuple[tuple[tuple[str, str], ...], ...]
"""A distinguished name as `ssl.SSLSocket.getpeercert` gives it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A client that gets a certificate: its file stem, its user name and its groups."""

    file_stem: str
    user: str
    groups: tuple[str, ...] = ()


ADMIN = Identity("admin", "kubernetes-admin", ("system:masters",))
APISERVER = Identity("apiserver-client", "system:apiserver", ("system:masters",))
SCHEDULER = Identity("scheduler", "system:kube-scheduler")
CONTROLLERS = Identity("controllers", "system:kube-controller-manager")
NODES = Identity("nodes", "system:nodes-fleet", ("system:nodes",))
IDENTITIES = (ADMIN, APISERVER, SCHEDULER, CONTROLLERS, NODES)
# Those whose kubeconfig lies in D/kubeconfigs.
COMPONENTS = (APISERVER, SCHEDULER, CONTROLLERS, NODES)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class Pki:
    """The certificates of one data directory. Made by `ensure`."""

    def __init__(self, data_directory: Path, directory: Path | None = None) -> None:
        self.data_directory = data_directory
        self.directory = directory or data_directory / "pki"

    @classmethod
    def ensure(
        cls,
        data_directory: Path,
        *,
        directory: Path | None = None,
        bind_address: str = "127.0.0.1",
        names: tuple[str, ...] = (),
        now: datetime | None = None,
    ) -> Pki:
        """The PKI of a data directory, with whatever is missing or stale made.

        `directory`: where certificates and keys are instead of D/pki. `names`: more server names or addresses.
        """
        pki = cls(data_directory, directory)
        now = now or datetime.now(UTC)
        try:
            pki.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with (pki.directory / "LOCK").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                pki._ensure(bind_address, names, now)
        except OSError as error:
            raise PkiError(f"cannot write {error.filename or pki.directory}: {error.strerror}") from error
        return pki

    @property
    def ca_file(self) -> Path:
        """The CA's certificate."""
        return self.directory / "ca.crt"

    @property
    def front_proxy_ca_file(self) -> Path:
        """The certificate of the CA whose certificates may speak for others."""
        return self.directory / "front-proxy-ca.crt"

    def front_proxy_issuer(self) -> IssuerName:
        """How `ssl` writes the issuer of a front proxy's certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_verify_locations(self.front_proxy_ca_file)
        return context.get_ca_certs()[0]["subject"]  # type: ignore[return-value]

    def fingerprints(self) -> dict[str, str]:
        """What must be the same for all API servers of a cluster: SHA-256 of public keys, by file."""
        found = {}
        for name in ("ca.crt", "front-proxy-ca.crt"):
            key = x509.load_pem_x509_certificate((self.directory / name).read_bytes()).public_key()
            found[name] = _key_digest(key)
        found["sa.key"] = _key_digest(
            serialization.load_pem_public_key((self.directory / "sa.pub").read_bytes())
        )
        return found

    @property
    def tokens_file(self) -> Path:
        """The static bearer tokens."""
        return self.directory / "tokens.csv"

    @property
    def service_account_key_file(self) -> Path:
        """The private key that signs service account tokens."""
        return self.directory / "sa.key"

    def server_context(self) -> ssl.SSLContext:
        """TLS for the API server: client certificates are asked for, and refused unless the CA signed them."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.directory / "apiserver.crt", self.directory / "apiserver.key")
        context.load_verify_locations(self.ca_file)
        context.load_verify_locations(self.front_proxy_ca_file)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols([HTTP2, HTTP1])
        # Kubernetes' clients do not resume sessions; tickets would only make the handshake dearer.
        context.num_tickets = 0
        return context

    def kubelet_context(self) -> ssl.SSLContext:
        """TLS towards kubelets, with the API server's client certificate. Theirs is not looked at, as upstream without a kubelet CA."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        stem = APISERVER.file_stem
        context.load_cert_chain(self.directory / f"{stem}.crt", self.directory / f"{stem}.key")
        return context

    def kubeconfig(self, identity: Identity, server_url: str) -> dict[str, Any]:
        """A kubeconfig with everything embedded."""

        def embedded(name: str) -> str:
            return base64.b64encode((self.directory / name).read_bytes()).decode()

        cluster = {"certificate-authority-data": embedded("ca.crt"), "server": server_url}
        user = {
            "client-certificate-data": embedded(f"{identity.file_stem}.crt"),
            "client-key-data": embedded(f"{identity.file_stem}.key"),
        }
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": CLUSTER_NAME, "cluster": cluster}],
            "users": [{"name": identity.user, "user": user}],
            "contexts": [{"name": CLUSTER_NAME, "context": {"cluster": CLUSTER_NAME, "user": identity.user}}],
            "current-context": CLUSTER_NAME,
            "preferences": {},
        }

    def kubeconfig_file(self, identity: Identity) -> Path:
        """Where an identity's kubeconfig lies."""
        if identity is ADMIN:
            return self.data_directory / "kubeconfig"
        return self.data_directory / "kubeconfigs" / f"{identity.file_stem}.kubeconfig"

    def write_kubeconfigs(self, server_url: str) -> Path:
        """Write the administrator's and the components' kubeconfigs; the administrator's path."""
        for identity in (ADMIN, *COMPONENTS):
            path = self.kubeconfig_file(identity)
            path.parent.mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(self.kubeconfig(identity, server_url), sort_keys=False)
            _write(path, text.encode(), private=True)
        return self.kubeconfig_file(ADMIN)

    # Making

    def _ensure(self, bind_address: str, names: tuple[str, ...], now: datetime) -> None:
        ca = self._ensure_ca("ca", f"{CLUSTER_NAME}-ca", now)
        proxy_ca = self._ensure_ca("front-proxy-ca", f"{CLUSTER_NAME}-front-proxy-ca", now)
        if ca.certificate.subject == proxy_ca.certificate.subject:
            raise PkiError(
                f"{self.ca_file} and {self.front_proxy_ca_file} have the same subject, but only certificates of the latter may "
                "speak for others: give them different names"
            )
        proxy = self._load(FRONT_PROXY_NAME)
        if proxy is None or not _is_good(proxy.certificate, proxy_ca, now):
            self._save(
                FRONT_PROXY_NAME, _client_pair(proxy_ca, Identity(FRONT_PROXY_NAME, FRONT_PROXY_NAME), now)
            )
        alternatives = server_alternatives(bind_address, names)
        server = self._load("apiserver")
        if (
            server is None
            or not _is_good(server.certificate, ca, now)
            or not alternatives <= _alternatives(server.certificate)
        ):
            known = _alternatives(server.certificate) if server is not None else set()
            self._save("apiserver", _server_pair(ca, alternatives | known, now))
        for identity in IDENTITIES:
            pair = self._load(identity.file_stem)
            if (
                pair is None
                or not _is_good(pair.certificate, ca, now)
                or pair.certificate.subject != _subject(identity)
            ):
                self._save(identity.file_stem, _client_pair(ca, identity, now))
        self._ensure_service_account_key()
        if not self.tokens_file.exists():
            _write(self.tokens_file, _tokens_csv(), private=True)

    def _ensure_ca(self, stem: str, name: str, now: datetime) -> _Pair:
        ca = self._load(stem)
        if ca is None or not _is_current(ca.certificate, now):
            ca = _ca_pair(ca.key if ca is not None else _new_key(), name, now)
            self._save(stem, ca)
        return ca

    def _ensure_service_account_key(self) -> None:
        private = self.service_account_key_file
        try:
            key = serialization.load_pem_private_key(private.read_bytes(), None)
        except FileNotFoundError:
            key = _new_key()
            _write(private, _key_pem(key), private=True)
        except ValueError as error:
            # Not made anew: every token out there would become invalid without anybody having asked for that.
            raise PkiError(f"{private} is damaged: restore it, or remove it to revoke all tokens") from error
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        if _read(self.directory / "sa.pub") != public:
            _write(self.directory / "sa.pub", public, private=False)

    def _load(self, stem: str) -> _Pair | None:
        """A certificate with its key, or None unless both are there, readable and belong together."""
        certificate_pem = _read(self.directory / f"{stem}.crt")
        key_pem = _read(self.directory / f"{stem}.key")
        if certificate_pem is None or key_pem is None:
            return None
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            key = serialization.load_pem_private_key(key_pem, None)
        except ValueError:
            return None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != key.public_key():
            return None
        return _Pair(certificate, key)

    def _save(self, stem: str, pair: _Pair) -> None:
        _write(self.directory / f"{stem}.key", _key_pem(pair.key), private=True)
        certificate = pair.certificate.public_bytes(serialization.Encoding.PEM)
        _write(self.directory / f"{stem}.crt", certificate, private=False)


def server_alternatives(bind_address: str, names: tuple[str, ...] = ()) -> set[str]:
    """The names and addresses of the server certificate."""
    wanted = {*SERVER_NAMES, *SERVER_ADDRESSES, *names}
    for name in (bind_address, socket.gethostname()):
        try:
            if not ipaddress.ip_address(name).is_unspecified:
                wanted.add(str(ipaddress.ip_address(name)))
        except ValueError:
            if name and name.isascii():
                wanted.add(name)
    return wanted


def _alternatives(certificate: x509.Certificate) -> set[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {
        *names.get_values_for_type(x509.DNSName),
        *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    }


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _is_current(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - RENEW_BEFORE


def _is_good(certificate: x509.Certificate, ca: _Pair, now: datetime) -> bool:
    """Whether it is ours and current."""
    try:
        certificate.verify_directly_issued_by(ca.certificate)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return _is_current(certificate, now)


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _subject(identity: Identity) -> x509.Name:
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in identity.groups]
    return x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, identity.user)])


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, validity: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + validity)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _ca_pair(key: ec.EllipticCurvePrivateKey, common_name: str, now: datetime) -> _Pair:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    certificate = (
        _builder(name, name, key, now, CA_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _Pair(certificate, key)


def _leaf(
    ca: _Pair, subject: x509.Name, usage: x509.ObjectIdentifier, now: datetime, alternatives: set[str]
) -> _Pair:
    key = _new_key()
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key())
    builder = (
        _builder(subject, ca.certificate.subject, key, now, CERTIFICATE_VALIDITY)
        .add_extension(authority, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    if alternatives:
        names = [_general_name(name) for name in sorted(alternatives)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _Pair(builder.sign(ca.key, hashes.SHA256()), key)


def _server_pair(ca: _Pair, alternatives: set[str], now: datetime) -> _Pair:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    return _leaf(ca, subject, ExtendedKeyUsageOID.SERVER_AUTH, now, alternatives)


def _client_pair(ca: _Pair, identity: Identity, now: datetime) -> _Pair:
    return _leaf(ca, _subject(identity), ExtendedKeyUsageOID.CLIENT_AUTH, now, set())


def _key_digest(key: Any) -> str:
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _tokens_csv() -> bytes:
    """A tokens file with one random token of the administrator."""
    out = io.StringIO()
    row = (secrets.token_urlsafe(32), ADMIN.user, str(uuid.uuid4()), ",".join(ADMIN.groups))
    csv.writer(out, lineterminator="\n").writerow(row)
    return out.getvalue().encode()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _write(path: Path, data: bytes, *, private: bool) -> None:
    """Replace a file as a whole, durably."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o644)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
