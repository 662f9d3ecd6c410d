from __future__ import annotations

import base64

import pytest
import yaml

from lakh.client.errors import KubeconfigError
from lakh.client.kubeconfig import load_kubeconfig


def document(**changes):
    cluster = {
        "server": "https://127.0.0.1:6443/",
        "certificate-authority-data": base64.b64encode(b"CA").decode(),
    }
    user = {"client-certificate": "me.crt", "client-key-data": base64.b64encode(b"KEY").decode()}
    cluster |= changes.get("cluster", {})
    user = changes.get("user", user)
    return {
        "current-context": changes.get("current", "one"),
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "ns"}},
            {"name": "two", "context": {"cluster": "c"}},
        ],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }


def written(tmp_path, content):
    path = tmp_path / "config"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_data_and_relative_files(tmp_path):
    (tmp_path / "me.crt").write_bytes(b"CRT")
    config = load_kubeconfig(written(tmp_path, document()))
    assert config.server == "https://127.0.0.1:6443"
    assert config.namespace == "ns"
    assert (config.ca_pem, config.client_certificate_pem, config.client_key_pem) == (b"CA", b"CRT", b"KEY")
    assert "KEY" not in repr(config)


def test_named_context_and_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(written(tmp_path, document())))
    config = load_kubeconfig(context="two")
    assert config.namespace == "default"
    assert config.client_key_pem is None


def test_tokens(tmp_path):
    config = load_kubeconfig(written(tmp_path, document(user={"token": "t", "tokenFile": "token"})))
    assert config.token == "t"
    assert config.token_file == tmp_path / "token"
    assert "'t'" not in repr(config)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not YAML"),
        ("[]", "not a mapping"),
        ({}, "current-context is not set"),
        (document(current="three"), "context 'three' does not exist"),
        (document(cluster={"server": "ftp://x"}), "not an http or https URL"),
        (
            document(cluster={"certificate-authority-data": "%"}),
            "'c': certificate-authority-data is not base64",
        ),
        (document(), "'u': client-certificate me.crt: No such file"),
        (document(user={"client-key-data": "S0VZ"}), "must be given together"),
        (document(user={"exec": {"command": "x"}}), "exec is not supported"),
    ],
)
def test_errors_name_the_file_and_the_field(tmp_path, content, message):
    path = written(tmp_path, content)
    with pytest.raises(KubeconfigError, match=message) as caught:
        load_kubeconfig(path)
    assert str(path) in str(caught.value)


def test_missing_file_and_unusable_certificates(tmp_path):
    with pytest.raises(KubeconfigError, match="No such file"):
        load_kubeconfig(tmp_path / "none")
    (tmp_path / "me.crt").write_bytes(b"CRT")
    with pytest.raises(KubeconfigError, match="unusable"):
        load_kubeconfig(written(tmp_path, document())).ssl_context()
