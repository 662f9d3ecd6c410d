"""What a request carries through the server: who asks, how, and what is to be said beside the answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lakh.machinery import errors, times
from lakh.machinery.shortcache import short_cache
from lakh.server.authn import User
from lakh.server.codec import FieldValidation

if TYPE_CHECKING:
    from lakh.server.storage import ResourceStore

# Upstream's limit of a field manager's name.
FIELD_MANAGER_MAX_BYTES = 128
# How much warnings say together until each is cut to `WARNING_MAX_CHARACTERS`, as upstream (filters/warning.go).
WARNINGS_MAX_CHARACTERS = 4096
WARNING_MAX_CHARACTERS = 256

Admit = Callable[..., None]


class Context:
    """One request's circumstances. `now` is its time, the same in all that it writes."""

    __slots__ = (
        "_admit",
        "applied",
        "dry_run",
        "manager",
        "now",
        "patched",
        "user",
        "validation",
        "warnings",
    )

    def __init__(
        self,
        user: User,
        *,
        manager: str = "",
        dry_run: bool = False,
        validation: str = FieldValidation.WARN,
        admit: Admit | None = None,
        applied: bool = False,
        patched: bool = False,
    ) -> None:
        self.user = user
        self.manager = manager
        self.dry_run = dry_run
        self.validation = validation
        self.now = times.now()
        self.warnings: list[str] = []
        self._admit = admit
        # By server-side apply: field ownership is settled already.
        self.applied = applied
        # By a patch of any kind.
        self.patched = patched

    def admit(self, verb: str, store: ResourceStore, obj: Any, old: Any, subresource: str = "") -> None:
        """Asks the admission chain; it may change `obj` or raise 403."""
        if self._admit is not None:
            self._admit(self, verb, store, obj, old, subresource)

    def warn(self, texts: Sequence[str]) -> None:
        """Adds texts for `Warning` headers."""
        if texts:
            self.warnings.extend(texts)

    def warning_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The `Warning` headers (RFC 7234, code 299)."""
        return warning_headers(self.warnings)


def warning_headers(warnings: Sequence[str]) -> tuple[tuple[bytes, bytes], ...]:
    """Texts as `Warning` headers: each once, all of them if they are short, else the beginning of as many as upstream sends."""
    texts = [text for text in dict.fromkeys(warnings) if text]
    if sum(map(len, texts)) > WARNINGS_MAX_CHARACTERS:
        room, kept = WARNINGS_MAX_CHARACTERS, []
        for text in texts:
            if room <= 0:
                break
            kept.append(text[:WARNING_MAX_CHARACTERS])
            room -= len(kept[-1])
        texts = kept
    # A text with control characters makes no header.
    return tuple((b"Warning", b'299 - "%s"' % _quote(text)) for text in texts if not _control(text))


_control = re.compile(r"[\x00-\x1f\x7f-\x9f]").search


def _quote(text: str) -> bytes:
    return text.replace("\\", "\\\\").replace('"', '\\"').encode("utf-8", "replace")


def boolean(query: dict[str, str], name: str) -> bool:
    """A boolean parameter: only `false`, `0` and its absence mean no (upstream's Convert_Slice_string_To_bool)."""
    return query.get(name, "false").lower() not in ("false", "0")


def field_manager(query: dict[str, str], user_agent: str) -> str:
    """The `fieldManager` parameter, or what stands before the first `/` of the user agent."""
    if manager := query.get("fieldManager"):
        return manager
    return _manager_of(user_agent)


@short_cache(1024)
def _manager_of(user_agent: str) -> str:
    """What is printable of an agent's name, as far as whole characters fit (upstream's prefixFromUserAgent). Headers are bytes, one a character."""
    name = user_agent.partition("/")[0].encode("latin-1", "replace").decode("utf-8", "replace")
    printable = "".join(filter(str.isprintable, name)).encode()
    return printable[:FIELD_MANAGER_MAX_BYTES].decode("utf-8", "ignore") or "unknown"


def dry_run(query: dict[str, str]) -> bool:
    """Whether `dryRun=All` was asked for."""
    return "dryRun" in query


def field_validation(query: dict[str, str]) -> str:
    """The `fieldValidation` parameter; Warn when it is not given."""
    return query.get("fieldValidation") or FieldValidation.WARN


def check_dry_run(values: Sequence[str]) -> list[errors.FieldError]:
    """What is wrong with the values of `dryRun`."""
    if all(v == "All" for v in values):
        return []
    return [errors.not_supported("dryRun", list(values), ("All",))]


def check_write_options(kind: str, query: dict[str, str], *, applied: bool = False) -> None:
    """Refuses the parameters of a write with all findings: upstream's ValidateCreateOptions and its like. `kind`: Create, Update or Patch."""
    found: list[errors.FieldError] = []
    if kind == "Patch":
        if applied and not query.get("fieldManager"):
            found.append(errors.required("fieldManager", "is required for apply patch"))
        elif not applied and "force" in query:
            found.append(errors.forbidden_field("force", "may not be specified for non-apply patch"))
    manager = query.get("fieldManager", "")
    if len(manager.encode()) > FIELD_MANAGER_MAX_BYTES:
        found.append(errors.too_long("fieldManager", FIELD_MANAGER_MAX_BYTES))
    at = 0
    for character in manager:
        if not character.isprintable():
            why = f"invalid character U+{ord(character):04X} (at position {at})"
            found.append(errors.invalid_value("fieldManager", manager, why))
        at += len(character.encode())
    if "dryRun" in query:
        found += check_dry_run([query["dryRun"]])
    validation = query.get("fieldValidation", "")
    if validation not in FieldValidation.ALL:
        found.append(errors.not_supported("fieldValidation", validation, FieldValidation.ALL))
    if found:
        raise errors.invalid("meta.k8s.io", f"{kind}Options", "", found)
