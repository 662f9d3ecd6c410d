from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from lakh.client.informer import Informer
from lakh.client.resources import PODS
from lakh.controllers.ownedpods import OwnedPods
from lakh.controllers.views import Pod

KINDS = ("Job", "ReplicaSet", None)


def pod(name: str, kind: str | None, version: int = 1) -> Pod:
    owners = [{"kind": "Node", "name": "n", "uid": "n"}]
    if kind is not None:
        owners.append({"kind": kind, "name": "o", "uid": f"uid-{kind}", "controller": True})
    metadata = {"name": name, "namespace": "ns", "uid": f"uid-{name}", "resourceVersion": str(version)}
    return msgspec.convert({"metadata": {**metadata, "ownerReferences": owners}}, Pod)


def informer() -> Informer[Pod]:
    return Informer(None, PODS, Pod)  # type: ignore[arg-type]


def listen(owned: OwnedPods, kind: str) -> list[Any]:
    told: list[Any] = []
    owned.add_handler(
        kind,
        on_add=lambda new: told.append(("add", new.metadata.name)),
        on_update=lambda old, new: told.append(("update", new.metadata.name)),
        on_delete=lambda last: told.append(("delete", last.metadata.name)),
    )
    return told


@pytest.mark.parametrize(("before", "after"), list(itertools.product(KINDS, KINDS)))
def test_news_go_to_the_kinds_of_both_versions_and_of_no_controller_to_all(
    before: str | None, after: str | None
) -> None:
    pods = informer()
    owned = OwnedPods(pods)
    told = {kind: listen(owned, kind) for kind in ("Job", "ReplicaSet", "StatefulSet")}
    pods._put("ns/a", pod("a", before))
    pods._put("ns/a", pod("a", after, 2))
    pods._remove("ns/a")
    for kind, calls in told.items():
        wanted = []
        if before in (kind, None):
            wanted.append(("add", "a"))
        if kind in (before, after) or None in (before, after):
            wanted.append(("update", "a"))
        if after in (kind, None):
            wanted.append(("delete", "a"))
        assert calls == wanted, kind


def test_a_late_handler_gets_what_is_there_of_its_kind() -> None:
    pods = informer()
    owned = OwnedPods(pods)
    for name, kind in (("a", "Job"), ("b", "ReplicaSet"), ("c", None)):
        pods._put(f"ns/{name}", pod(name, kind))
    assert listen(owned, "Job") == [("add", "a"), ("add", "c")]


def test_a_handler_that_fails_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    pods = informer()
    owned = OwnedPods(pods)
    owned.add_handler("Job", on_add=lambda new: 1 / 0)
    told = listen(owned, "Job")
    pods._put("ns/a", pod("a", "Job"))
    assert told == [("add", "a")]
    assert "failed on ns/a" in caplog.text
