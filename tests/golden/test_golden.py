"""Every request of the corpus gets its answer."""

from __future__ import annotations

import json

import pytest

from lakh.apis.catalogue import registry

from .cases import CASES, Case
from .defaults import DEFAULTS
from .replay import ANSWERS, replay

EXPECTED = json.loads(ANSWERS.read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
async def test_case(case: Case) -> None:
    assert await replay(case) == EXPECTED[case.name]


def test_every_kind_is_there() -> None:
    kept = {(r.api_version, r.plural) for r in registry().all() if "create" in r.verbs and "get" in r.verbs}
    alpha = {(version, plural) for version, plural in kept if "alpha" in version}
    assert kept - alpha == {(d.api_version, d.plural) for d in DEFAULTS}


def test_the_corpus_is_whole() -> None:
    assert len(CASES) == len({case.name for case in CASES})
    assert set(EXPECTED) == {case.name for case in CASES}
    for case in CASES:
        assert case.source, "say against what it was checked"
