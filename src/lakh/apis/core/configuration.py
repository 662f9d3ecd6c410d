"""ConfigMaps, Secrets and ServiceAccounts: small data for pods."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from lakh.apis.core.base import declare
from lakh.apis.groups.printing import age
from lakh.apis.keypairs import why_no_pair
from lakh.apis.meta import immutable, memoised, report
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column, Resource, Strategy, Subresource
from lakh.machinery import names
from lakh.machinery.errors import (
    FieldError,
    forbidden_field,
    invalid_value,
    json_type,
    required,
    too_long,
)

MAX_DATA_BYTES = 1024 * 1024
REDACTED = "<secret contents redacted>"
FROZEN = "field is immutable when `immutable` is set"
SERVICE_ACCOUNT_NAME = "kubernetes.io/service-account.name"

_DATA_COLUMN = Column("Data", description="How many keys it has.")

# The keys that a secret of a type must have.
TLS = "kubernetes.io/tls"
MOUNTABLE_SECRETS = "kubernetes.io/enforce-mountable-secrets"
_NEEDED_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    TLS: ("tls.crt", "tls.key"),
}
_JSON_KEYS = (".dockercfg", ".dockerconfigjson")

_check_key = memoised(names.config_map_key)


def _size_bytes(value: str) -> int:
    return len(value) if value.isascii() else len(value.encode())


def _decoded_bytes(value: str, path: str, found: list[FieldError]) -> int:
    """The size of base64 data; reports what is not base64."""
    try:
        return len(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        found.append(invalid_value(path, REDACTED, "illegal base64 data"))
        return 0


def _not_an_object(value: str) -> str:
    """Why base64 data is no JSON object, as Go's decoder says it; empty when it is one, or no base64."""
    try:
        decoded = msgspec.json.decode(base64.b64decode(value, validate=True))
    except binascii.Error:
        return ""
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        return "unexpected end of JSON input" if "truncated" in str(e) else str(e)
    if decoded is None or isinstance(decoded, dict):
        return ""
    return f"json: cannot unmarshal {json_type(decoded)} into Go value of type map[string]interface {{}}"


def _validate_frozen(new: Any, old: Any, found: list[FieldError], *fields: str) -> None:
    """An object that was declared immutable stays as it is."""
    if not old.immutable:
        return
    if not new.immutable:
        found.append(forbidden_field("immutable", FROZEN))
    for name in fields:
        if (getattr(new, name) or {}) != (getattr(old, name) or {}):
            found.append(forbidden_field(name, FROZEN))


class ConfigMapStrategy(Strategy):
    """ConfigMaps."""

    columns = (NAME_COLUMN, _DATA_COLUMN, AGE_COLUMN)

    def validate(self, obj: Any) -> list[FieldError]:
        """Keys, and a limit on the size of all values together."""
        found: list[FieldError] = []
        size = 0
        binary = obj.binaryData or {}
        for key, value in (obj.data or {}).items():
            report(_check_key(key), f"data[{key}]", key, found)
            if key in binary:
                found.append(invalid_value(f"data[{key}]", key, "duplicate of key present in binaryData"))
            size += _size_bytes(value or "")
        for key, value in binary.items():
            report(_check_key(key), f"binaryData[{key}]", key, found)
            size += _decoded_bytes(value or "", f"binaryData[{key}]", found)
        if size > MAX_DATA_BYTES:
            # All of the object: upstream prints the empty path like this.
            found.append(too_long("[]", MAX_DATA_BYTES))
        return found

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """An immutable one stays as it is."""
        found: list[FieldError] = []
        _validate_frozen(new, old, found, "data", "binaryData")
        return found + self.validate(new)

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get configmaps` shows it."""
        return [obj.metadata.name, len(obj.data or ()) + len(obj.binaryData or ()), age(obj, now)]


_SELECTABLE = {"type": lambda secret: secret.type or ""}


class SecretStrategy(Strategy):
    """Secrets."""

    columns = (NAME_COLUMN, Column("Type", description="What the secret is for."), _DATA_COLUMN, AGE_COLUMN)
    selectable_fields = _SELECTABLE

    def default(self, obj: Any) -> None:
        """The type, and plain strings become data."""
        if not obj.type:
            obj.type = "Opaque"
        if obj.stringData is not None:
            plain = {k: base64.b64encode((v or "").encode()).decode() for k, v in obj.stringData.items()}
            obj.data = {**(obj.data or {}), **plain}
            obj.stringData = None

    def validate(self, obj: Any) -> list[FieldError]:
        """Keys, size, and what the type asks for."""
        found: list[FieldError] = []
        data = obj.data or {}
        size = 0
        for key, value in data.items():
            report(_check_key(key), f"data[{key}]", key, found)
            size += _decoded_bytes(value or "", f"data[{key}]", found)
        if size > MAX_DATA_BYTES:
            found.append(too_long("data", MAX_DATA_BYTES))
        if obj.type == "kubernetes.io/service-account-token":
            if not (obj.metadata.annotations or {}).get(SERVICE_ACCOUNT_NAME):
                found.append(required(f"metadata.annotations[{SERVICE_ACCOUNT_NAME}]"))
        elif obj.type == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
            found.append(required("data[username]"))
            found.append(required("data[password]"))
        elif obj.type == "kubernetes.io/ssh-auth" and not data.get("ssh-privatekey"):
            found.append(required("data[ssh-privatekey]"))
        for key in _NEEDED_KEYS.get(obj.type, ()):
            if key not in data:
                found.append(required(f"data[{key}]"))
            elif key in _JSON_KEYS:
                why = _not_an_object(data[key] or "")
                if why:
                    found.append(invalid_value(f"data[{key}]", REDACTED, why))
        return found

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """What keeps the certificate and the key of a TLS secret from being used together."""
        if obj.type != TLS:
            return []
        data = obj.data or {}
        certificate, key = (base64.b64decode(data.get(name) or "") for name in _NEEDED_KEYS[TLS])
        why = why_no_pair(certificate, key)
        return [why] if why else []

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The type never changes; an immutable one stays as it is."""
        found: list[FieldError] = []
        immutable(new.type, old.type, "type", found)
        _validate_frozen(new, old, found, "data")
        return found + self.validate(new)

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get secrets` shows it."""
        return [obj.metadata.name, obj.type or "", len(obj.data or ()), age(obj, now)]


class ServiceAccountStrategy(Strategy):
    """ServiceAccounts."""

    columns = (NAME_COLUMN, Column("Secrets", description="How many secrets it lists."), AGE_COLUMN)

    def prepare_for_create(self, obj: Any) -> None:
        """Of a secret only its name matters."""
        for secret in obj.secrets or ():
            for name in secret.__struct_fields__:
                if name != "name":
                    setattr(secret, name, None)

    def prepare_for_update(self, new: Any, old: Any) -> None:
        """As on create."""
        self.prepare_for_create(new)

    def warnings(self, obj: Any, old: Any | None) -> list[str]:
        """The annotation that confines pods to the secrets that are listed, when it is new."""
        if MOUNTABLE_SECRETS not in (obj.metadata.annotations or {}):
            return []
        if old is not None and MOUNTABLE_SECRETS in (old.metadata.annotations or {}):
            return []
        return [
            f"metadata.annotations[{MOUNTABLE_SECRETS}]: deprecated in v1.32+; prefer separate namespaces to isolate access to "
            "mounted secrets"
        ]

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get serviceaccounts` shows it."""
        return [obj.metadata.name, len(obj.secrets or ()), age(obj, now)]


RESOURCES: tuple[Resource, ...] = (
    declare("configmaps", "ConfigMap", ConfigMapStrategy(), short_names=("cm",)),
    declare("secrets", "Secret", SecretStrategy()),
    declare(
        "serviceaccounts",
        "ServiceAccount",
        ServiceAccountStrategy(),
        short_names=("sa",),
        subresources={"token": Subresource("TokenRequest", ("create",), "authentication.k8s.io", "v1")},
    ),
)
