"""What a request carries through the server: who asks, how, and what is to be said beside the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lakh.machinery import errors, times
from lakh.server.authn import User
from lakh.server.codec import FieldValidation

if TYPE_CHECKING:
    from lakh.server.storage import ResourceStore

# Upstream's limit of a field manager's name.
FIELD_MANAGER_MAX_BYTES = 128
# Upstream cuts warnings that would make a header too long.
WARNING_MAX_CHARACTERS = 256
WARNINGS_MAX = 50

Admit = Callable[..., None]


class Context:
    """One request's circumstances. `now` is its time, the same in all that it writes."""

    __slots__ = ("_admit", "applied", "dry_run", "manager", "now", "user", "validation", "warnings")

    def __init__(
        self,
        user: User,
        *,
        manager: str = "",
        dry_run: bool = False,
        validation: str = FieldValidation.WARN,
        admit: Admit | None = None,
    ) -> None:
        self.user = user
        self.manager = manager
        self.dry_run = dry_run
        self.validation = validation
        self.now = times.now()
        self.warnings: list[str] = []
        self._admit = admit
        # Set by server-side apply: field ownership is settled already.
        self.applied = False

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
        return tuple(
            (b"Warning", b'299 - "%s"' % _quote(text)) for text in dict.fromkeys(self.warnings[:WARNINGS_MAX])
        )


def _quote(text: str) -> bytes:
    printable = "".join(c if c.isprintable() else " " for c in text[:WARNING_MAX_CHARACTERS])
    return printable.replace("\\", "\\\\").replace('"', '\\"').encode()


def field_manager(query: dict[str, str], user_agent: str) -> str:
    """The `fieldManager` parameter, or what stands before the first `/` of the user agent."""
    manager = query.get("fieldManager")
    if manager is None:
        return user_agent.partition("/")[0][:FIELD_MANAGER_MAX_BYTES] or "unknown"
    if len(manager.encode()) > FIELD_MANAGER_MAX_BYTES:
        raise _invalid_option("fieldManager", errors.too_long("fieldManager", FIELD_MANAGER_MAX_BYTES))
    if not manager.isprintable():
        raise _invalid_option(
            "fieldManager",
            errors.invalid_value("fieldManager", manager, "should only contain printable characters"),
        )
    return manager


def dry_run(query: dict[str, str], body: list[str] | None = None) -> bool:
    """Whether `dryRun=All` was asked for, by parameter or in DeleteOptions; raises 422 for other values."""
    value = query.get("dryRun")
    values = body if body is not None else ([value] if value else [])
    for v in values:
        if v != "All":
            raise _invalid_option("dryRun", errors.not_supported("dryRun", v, ("All",)))
    return bool(values)


def is_true(query: dict[str, str], name: str) -> bool:
    """Whether a boolean parameter was set, in any of Go's spellings."""
    return query.get(name, "").lower() in ("1", "t", "true")


def field_validation(query: dict[str, str]) -> str:
    """The `fieldValidation` parameter; Warn when it is not given."""
    value = query.get("fieldValidation", "")
    if value not in FieldValidation.ALL:
        raise _invalid_option(
            "fieldValidation", errors.not_supported("fieldValidation", value, FieldValidation.ALL)
        )
    return value or FieldValidation.WARN


def _invalid_option(name: str, finding: errors.FieldError) -> errors.StatusError:
    return errors.invalid("meta.k8s.io", "CreateOptions", "", [finding])
