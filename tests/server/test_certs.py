"""The cluster's PKI: real handshakes, renewal, damage, files."""

from __future__ import annotations

import base64
import csv
import json
import shutil
import ssl
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from lakh.server import certs
from lakh.server.certs import ADMIN, COMPONENTS, IDENTITIES, NODES, Pki, PkiError

NOW = datetime.now(UTC)


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki.ensure(tmp_path, now=NOW)


def contents(pki: Pki) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(pki.directory.iterdir())}


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> tuple[Any, ssl.SSLObject]:
    """A handshake in memory; the client's certificate as the server sees it, and the client's side."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    far = server.wrap_bio(up, down, server_side=True)
    near = client.wrap_bio(down, up, server_hostname=name)
    waiting = [near, far]
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass
        if not waiting:
            break
    assert not waiting
    return far.getpeercert(), near


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "10.96.0.1", "kubernetes.default.svc"])
def test_the_chain_verifies_by_every_name(pki: Pki, name: str) -> None:
    client = ssl.create_default_context(cafile=str(pki.ca_file))
    client.set_alpn_protocols(["h2", "http/1.1"])
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    certificate, near = shake_hands(pki.server_context(), client, name)
    assert not certificate
    assert near.selected_alpn_protocol() == "h2"
    assert near.version() == "TLSv1.3"


@pytest.mark.parametrize("identity", IDENTITIES)
def test_client_certificates_are_verified(pki: Pki, identity: certs.Identity) -> None:
    client = ssl.create_default_context(cafile=str(pki.ca_file))
    stem = pki.directory / identity.file_stem
    client.load_cert_chain(f"{stem}.crt", f"{stem}.key")
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    certificate, _ = shake_hands(pki.server_context(), client, "localhost")
    subject = [pair for relative in certificate["subject"] for pair in relative]
    assert ("commonName", identity.user) in subject
    assert [value for key, value in subject if key == "organizationName"] == list(identity.groups)


def test_strangers_are_refused(pki: Pki, tmp_path: Path) -> None:
    stranger = Pki.ensure(tmp_path / "other", now=NOW)
    client = ssl.create_default_context(cafile=str(pki.ca_file))
    client.load_cert_chain(stranger.directory / "admin.crt", stranger.directory / "admin.key")
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake_hands(pki.server_context(), client, "localhost")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(
            pki.server_context(), ssl.create_default_context(cafile=str(stranger.ca_file)), "localhost"
        )
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(pki.server_context(), ssl.create_default_context(cafile=str(pki.ca_file)), "example.com")


def test_a_second_start_changes_nothing(pki: Pki, tmp_path: Path) -> None:
    before = contents(pki)
    assert contents(Pki.ensure(tmp_path, now=NOW + timedelta(days=300))) == before


def test_certificates_are_renewed_before_they_expire(pki: Pki, tmp_path: Path) -> None:
    before = contents(pki)
    later = NOW + timedelta(days=336)
    after = contents(Pki.ensure(tmp_path, now=later))
    changed = {name for name in before if before[name] != after[name]}
    stems = {"apiserver", "front-proxy-client", *(identity.file_stem for identity in IDENTITIES)}
    assert changed == {f"{stem}.{end}" for stem in stems for end in ("crt", "key")}
    assert x509.load_pem_x509_certificate(after["admin.crt"]).not_valid_after_utc > later + timedelta(
        days=300
    )


def test_a_renewed_ca_keeps_its_key(pki: Pki, tmp_path: Path) -> None:
    before = contents(pki)
    after = contents(Pki.ensure(tmp_path, now=NOW + timedelta(days=3640)))
    assert before["ca.crt"] != after["ca.crt"]
    assert before["ca.key"] == after["ca.key"]
    old = x509.load_pem_x509_certificate(before["admin.crt"])
    old.verify_directly_issued_by(x509.load_pem_x509_certificate(after["ca.crt"]))


@pytest.mark.parametrize("damage", ["remove", "truncate", "exchange"])
@pytest.mark.parametrize("name", ["admin.crt", "admin.key", "apiserver.crt", "apiserver.key"])
def test_a_damaged_pair_is_made_anew(pki: Pki, tmp_path: Path, name: str, damage: str) -> None:
    before = contents(pki)
    path = pki.directory / name
    if damage == "remove":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(path.read_bytes()[:50])
    else:  # as after a crash between the two renames of a pair
        shutil.copy(pki.directory / f"nodes{path.suffix}", path)
    after = contents(Pki.ensure(tmp_path, now=NOW))
    stem = path.stem
    assert {n for n in before if before[n] != after[n]} == {f"{stem}.crt", f"{stem}.key"}


def test_a_lost_ca_key_makes_everything_anew(pki: Pki, tmp_path: Path) -> None:
    before = contents(pki)
    (pki.directory / "ca.key").unlink()
    after = contents(Pki.ensure(tmp_path, now=NOW))
    assert before["ca.crt"] != after["ca.crt"]
    assert before["admin.crt"] != after["admin.crt"]
    assert before["tokens.csv"] == after["tokens.csv"]
    assert before["sa.key"] == after["sa.key"]


def test_a_damaged_signing_key_is_not_replaced(pki: Pki, tmp_path: Path) -> None:
    pki.service_account_key_file.write_bytes(b"damaged")
    with pytest.raises(PkiError, match=r"sa\.key is damaged"):
        Pki.ensure(tmp_path, now=NOW)


def test_a_new_bind_address_gets_into_the_server_certificate(pki: Pki, tmp_path: Path) -> None:
    client = ssl.create_default_context(cafile=str(pki.ca_file))
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(pki.server_context(), client, "192.0.2.7")
    before = contents(pki)
    pki = Pki.ensure(tmp_path, bind_address="192.0.2.7", names=("api.example.com",), now=NOW)
    shake_hands(pki.server_context(), client, "192.0.2.7")
    shake_hands(pki.server_context(), client, "api.example.com")
    assert before["admin.crt"] == contents(pki)["admin.crt"]
    assert "0.0.0.0" not in certs.server_alternatives("0.0.0.0")
    assert "::" not in certs.server_alternatives("::")


def test_private_files_are_private(pki: Pki) -> None:
    pki.write_kubeconfigs("https://127.0.0.1:6443")
    private = [*pki.directory.glob("*.key"), pki.tokens_file, pki.kubeconfig_file(ADMIN)]
    private += [pki.kubeconfig_file(identity) for identity in COMPONENTS]
    assert len(private) > 10
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    assert not list(pki.data_directory.rglob("*.tmp"))


def test_the_tokens_file_has_one_random_admin_token(pki: Pki, tmp_path: Path) -> None:
    rows = list(csv.reader(pki.tokens_file.read_text().splitlines()))
    assert len(rows) == 1
    token, user, uid, groups = rows[0]
    assert len(token) >= 43
    assert (user, groups) == ("kubernetes-admin", "system:masters")
    assert uid
    assert Pki.ensure(tmp_path / "b").tokens_file.read_text().split(",")[0] != token


def test_kubeconfigs_embed_everything(pki: Pki) -> None:
    path = pki.write_kubeconfigs("https://127.0.0.1:6443")
    assert path == pki.data_directory / "kubeconfig"
    config = yaml.safe_load(path.read_text())
    assert config["current-context"] == "lakh"
    assert config["contexts"] == [
        {"name": "lakh", "context": {"cluster": "lakh", "user": "kubernetes-admin"}}
    ]
    cluster = config["clusters"][0]["cluster"]
    assert base64.b64decode(cluster["certificate-authority-data"]) == pki.ca_file.read_bytes()
    nodes = yaml.safe_load((pki.data_directory / "kubeconfigs/nodes.kubeconfig").read_text())
    key = base64.b64decode(nodes["users"][0]["user"]["client-key-data"])
    assert key == (pki.directory / f"{NODES.file_stem}.key").read_bytes()
    assert {p.name for p in (pki.data_directory / "kubeconfigs").iterdir()} == {
        "apiserver-client.kubeconfig",
        "controllers.kubeconfig",
        "nodes.kubeconfig",
        "scheduler.kubeconfig",
    }


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_reads_the_kubeconfig(pki: Pki) -> None:
    path = pki.write_kubeconfigs("https://127.0.0.1:6443")
    command = ["kubectl", "config", "view", "--kubeconfig", str(path), "-o", "json", "--minify"]
    view = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)
    assert view["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    assert view["users"][0]["name"] == "kubernetes-admin"


def test_an_unwritable_directory_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "pki").write_text("a file in the way")
    with pytest.raises(PkiError, match=r"cannot write .*pki"):
        Pki.ensure(tmp_path)
