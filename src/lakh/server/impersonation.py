"""Acting as somebody else: the `Impersonate-…` headers, which are what `kubectl --as` sends.

Who may do something may do it in another's name: that needs the right to impersonate the user, and each group, uid and extra value that is asked
for (upstream's filters/impersonation, with constrained impersonation, which v1.36 has on). As long as every authenticated user may do everything,
every authenticated user may impersonate everybody, and only who is authenticated. The other is what the whole request is from then on:
authorisation, priority and fairness, admission, reviews, what is written into objects, the writer that a write is forwarded to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import unquote

from lakh.machinery import errors, names
from lakh.server.authn import (
    ALL_AUTHENTICATED,
    ALL_NODES,
    ALL_UNAUTHENTICATED,
    ANONYMOUS,
    User,
    from_header,
    service_account_groups,
)
from lakh.server.http1 import REPEATED
from lakh.server.routing import RequestInfo

USER = "impersonate-user"
UID = "impersonate-uid"
GROUP = "impersonate-group"
EXTRA = "impersonate-extra-"

SERVICE_ACCOUNT = "system:serviceaccount:"
NODE = "system:node:"

_bad_escape = re.compile(r"%(?![0-9a-fA-F]{2})").search


def may(user: User) -> bool:
    """Whether a user may do something at all: everybody who is authenticated may do everything."""
    return ALL_AUTHENTICATED in user.groups


def impersonated(headers: Mapping[str, str], user: User) -> User:
    """Whom the headers name, instead of the user who sends them. Raises 400 for headers without a name, 403 for who may not.

    Groups: those that are given; else a service account has its own, and a node, when nothing else about it is given. Everybody but the anonymous
    user is in `system:authenticated`, too, unless `system:unauthenticated` is given.
    """
    name = _first(headers, USER)
    uid = _first(headers, UID)
    groups = _all(headers, GROUP)
    extra: dict[str, tuple[str, ...]] = {}
    for header in headers:
        if header.startswith(EXTRA):
            key = _extra_key(header)
            extra[key] = extra.get(key, ()) + _all(headers, header)
    if not name:
        if not uid and not groups and not extra:
            return user
        raise errors.bad_request(f"requested {_go(uid, groups, extra)} without impersonating a user name")
    account = _service_account(name)
    if not may(user):
        what, where = ("users", "") if account is None else ("serviceaccounts", account[0])
        raise _forbidden(user, "impersonate", "", what, where, name if account is None else account[1])
    if not groups:
        if account is not None:
            groups = tuple(service_account_groups(account[0]))
        elif not uid and not extra and _is_node(name):
            groups = (ALL_NODES,)
    if name == ANONYMOUS.name:
        added = ALL_UNAUTHENTICATED
    else:
        added = ALL_AUTHENTICATED if ALL_UNAUTHENTICATED not in groups else ALL_UNAUTHENTICATED
    if added not in groups:
        groups = (*groups, added)
    return User(name, uid, groups, MappingProxyType(extra))


def refusal(user: User, method: str, path: str, info: RequestInfo | None) -> errors.StatusError:
    """403 for a request of who may do nothing."""
    if info is None:
        text = f'forbidden: User "{user.name}" cannot {method.lower()} path "{path}"'
        return errors.StatusError(403, "Forbidden", text, {})
    resource = info.resource
    plural = f"{resource.plural}/{info.subresource}" if info.subresource else resource.plural
    return _forbidden(user, info.verb, resource.group, plural, info.namespace, info.name)


def _forbidden(
    user: User, verb: str, group: str, resource: str, namespace: str, name: str
) -> errors.StatusError:
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    why = f'User "{user.name}" cannot {verb} resource "{resource}" in API group "{group}" {where}'
    return errors.forbidden(group, resource.partition("/")[0], name, why)


def _first(headers: Mapping[str, str], name: str) -> str:
    return from_header(headers.get(name, "").partition(REPEATED)[0])


def _all(headers: Mapping[str, str], name: str) -> tuple[str, ...]:
    text = headers.get(name)
    return tuple(map(from_header, text.split(REPEATED))) if text is not None else ()


def _extra_key(header: str) -> str:
    """The key of an extra value. Escapes make keys possible that no header can have; what is not well escaped stays as it is."""
    key = header[len(EXTRA) :]
    return key if _bad_escape(key) else unquote(key)


def _service_account(name: str) -> tuple[str, str] | None:
    """Namespace and name, when it is a service account's."""
    if not name.startswith(SERVICE_ACCOUNT):
        return None
    namespace, separator, account = name[len(SERVICE_ACCOUNT) :].partition(":")
    if not separator or names.dns_label(namespace) or names.dns_subdomain(account):
        return None
    return namespace, account


def _is_node(name: str) -> bool:
    return name.startswith(NODE) and not names.dns_subdomain(name[len(NODE) :])


def _go(uid: str, groups: tuple[str, ...], extra: dict[str, tuple[str, ...]]) -> str:
    """What is asked for as Go prints it (`%#v`)."""
    quoted = errors.show
    listed = "{" + ", ".join(map(quoted, groups)) + "}" if groups else "(nil)"
    keys = ", ".join(f"{quoted(k)}:[]string{{{', '.join(map(quoted, extra[k]))}}}" for k in sorted(extra))
    mapped = "{" + keys + "}" if extra else "(nil)"
    return f'&user.DefaultInfo{{Name:"", UID:{quoted(uid)}, Groups:[]string{listed}, Extra:map[string][]string{mapped}}}'
