"""Specs that were looked at before: what is found in a pod does not depend on which pods came before it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis.core.pods import PodStrategy
from lakh.apis.podspec_known import KNOWN, KNOWN_MAX, KnownSpecs, fields_key
from lakh.apis.structs import core

POD = core("Pod")
STRATEGY = PodStrategy()

names = st.sampled_from(
    (
        "a",
        "b",
        "A",
        "",
        "kube-api-access-bcdfg",
        "kube-api-access-hjklm",
        "kube-api-access-#####",
        "kube-api-access-bcd-",
    )
)
volumes = st.lists(
    st.fixed_dictionaries(
        {"name": names}, optional={"emptyDir": st.just({}), "ephemeral": st.just({"volumeClaimTemplate": {}})}
    ),
    max_size=2,
)
containers = st.lists(
    st.fixed_dictionaries(
        {"name": names, "image": st.sampled_from(("i", " i", "kube-api-access-bcdfg"))},
        optional={
            "volumeMounts": st.lists(
                st.fixed_dictionaries({"name": names, "mountPath": st.sampled_from(("/a", "/b"))}), max_size=2
            ),
            "env": st.lists(st.fixed_dictionaries({"name": names}), max_size=2),
        },
    ),
    min_size=1,
    max_size=2,
)
specs = st.fixed_dictionaries(
    {"containers": containers},
    optional={
        "hostname": names | st.just("#"),
        "volumes": volumes,
        "nodeSelector": st.dictionaries(
            st.sampled_from(("hostname", "beta.kubernetes.io/os")), names, max_size=1
        ),
        "terminationGracePeriodSeconds": st.sampled_from((-1, 1)),
    },
)
annotations = st.dictionaries(
    st.sampled_from(
        ("a", "seccomp.security.alpha.kubernetes.io/pod", "scheduler.alpha.kubernetes.io/critical-pod")
    ),
    st.just("x"),
    max_size=2,
)
pods = st.tuples(specs, annotations)


def findings(pod: tuple[dict[str, Any], dict[str, str]]) -> tuple[list[str], list[str]]:
    plain, marks = pod
    obj = msgspec.convert({"metadata": {"name": "p", "annotations": marks}, "spec": plain}, POD)
    STRATEGY.default(obj)
    before = msgspec.json.encode(obj)
    found = [str(error) for error in STRATEGY.validate(obj)]
    warnings = STRATEGY.warnings(obj, None)
    assert msgspec.json.encode(obj) == before
    return found, warnings


def anew(pod: tuple[dict[str, Any], dict[str, str]]) -> tuple[list[str], list[str]]:
    """What is found when no pod was there before."""
    KNOWN.__init__()  # type: ignore[misc]
    return findings(pod)


@given(st.lists(pods, min_size=1, max_size=6))
def test_what_was_looked_at_before_changes_nothing(given_pods: list[Any]) -> None:
    expected = [anew(pod) for pod in given_pods]
    KNOWN.__init__()  # type: ignore[misc]
    for _ in range(2):
        assert [findings(pod) for pod in given_pods] == expected


def _spec(**fields: Any) -> Any:
    return msgspec.convert({"containers": [{"name": "c", "image": "i"}], **fields}, core("PodSpec"))


def test_pods_of_a_template_have_one_key() -> None:
    known = KnownSpecs()

    def key(hostname: str, letters: str) -> bytes | None:
        name = f"kube-api-access-{letters}"
        mounts = [{"name": "c", "image": "i", "volumeMounts": [{"name": name, "mountPath": "/v"}]}]
        return known.key(_spec(containers=mounts, volumes=[{"name": name}], hostname=hostname))

    assert key("a-0", "bcdfg") == key("a-1", "hjklm") is not None
    assert known.key(_spec(hostname="a")) == known.key(_spec(hostname="b"))
    assert known.key(_spec(hostname="a")) != known.key(_spec())
    assert known.key(_spec(nodeName="a")) != known.key(_spec(nodeName="b"))


@pytest.mark.parametrize(
    "fields",
    [
        {"volumes": [{"name": "v", "ephemeral": {}}]},
        {"subdomain": "#####"},
        {"subdomain": "x" * 20_000},
    ],
)
def test_what_is_not_remembered(fields: dict[str, Any]) -> None:
    assert KnownSpecs().key(_spec(**fields)) is None


def test_a_key_leaves_the_hostname_as_it_is() -> None:
    spec = _spec(hostname="h")
    assert b'"hostname":"#"' in fields_key(spec)
    assert spec.hostname == "h"


def test_it_is_bounded() -> None:
    known = KnownSpecs()
    for number in range(KNOWN_MAX + 1):
        known.add(b"%d" % number)
    assert len(known) == 1
