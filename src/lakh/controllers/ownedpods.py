"""Tells of a pod those who look after the kind of its controller.

Five controllers make pods or follow who does, and each would look at every pod to find that it is another's. `OwnedPods` looks once: a pod's
news go to the handlers of its controller's kind, and of the kind that it had before. A pod without a controller may be
adopted by anybody: its news go to all.

Costs: half a microsecond an event, beside the handlers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from lakh.client.informer import Informer
from lakh.client.types import object_key

from .pods import controller_of
from .views import Pod

__all__ = ["OwnedPods"]

log = logging.getLogger(__name__)

Handler = Callable[..., object]


class _Handlers:
    """Of one sort of news: by kind, and all of them."""

    def __init__(self) -> None:
        self.all: list[Handler] = []
        self._by_kind: dict[str, list[Handler]] = {}

    def add(self, kind: str, handler: Handler) -> None:
        self.all.append(handler)
        self._by_kind.setdefault(kind, []).append(handler)

    def of(self, kind: str | None) -> Iterable[Handler]:
        """Those of a kind; of no controller, all."""
        return self.all if kind is None else self._by_kind.get(kind, ())


class OwnedPods:
    """See the module. `pods` is the shared informer."""

    def __init__(self, pods: Informer[Pod]) -> None:
        self._pods = pods
        self._add, self._update, self._delete = _Handlers(), _Handlers(), _Handlers()
        pods.add_handler(on_add=self._added, on_update=self._updated, on_delete=self._deleted)

    def add_handler(
        self,
        kind: str,
        *,
        on_add: Callable[[Pod], object] | None = None,
        on_update: Callable[[Pod, Pod], object] | None = None,
        on_delete: Callable[[Pod], object] | None = None,
    ) -> None:
        """Call back as `Informer.add_handler` does, for pods whose controller is of this kind, or that have none."""
        if on_update is not None:
            self._update.add(kind, on_update)
        if on_delete is not None:
            self._delete.add(kind, on_delete)
        if on_add is not None:
            self._add.add(kind, on_add)
            for pod in list(self._pods.items.values()):
                if _kind_of(pod) in (kind, None):
                    _tell((on_add,), pod)

    def _added(self, pod: Pod) -> None:
        _tell(self._add.of(_kind_of(pod)), pod)

    def _updated(self, old: Pod, new: Pod) -> None:
        kind = _kind_of(new)
        if new.metadata.ownerReferences is not old.metadata.ownerReferences:  # versions share them
            before = _kind_of(old)
            if before is None:
                kind = None
            elif kind is not None and kind != before:
                _tell(self._update.of(before), old, new)
        _tell(self._update.of(kind), old, new)

    def _deleted(self, pod: Pod) -> None:
        _tell(self._delete.of(_kind_of(pod)), pod)


def _kind_of(pod: Pod) -> str | None:
    reference = controller_of(pod.metadata)
    return None if reference is None else reference.kind


def _tell(handlers: Iterable[Handler], *pods: Any) -> None:
    for handler in handlers:
        try:
            handler(*pods)
        except Exception:
            log.exception("a handler of pods failed on %s", object_key(pods[-1]))
