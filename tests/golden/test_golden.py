"""Every request of the corpus gets its answer."""

from __future__ import annotations

import json

import pytest

from .cases import CASES, Case
from .replay import ANSWERS, replay

EXPECTED = json.loads(ANSWERS.read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
async def test_case(case: Case) -> None:
    assert await replay(case) == EXPECTED[case.name]


def test_the_corpus_is_whole() -> None:
    assert len(CASES) == len({case.name for case in CASES})
    assert set(EXPECTED) == {case.name for case in CASES}
    for case in CASES:
        assert case.source, "say against what it was checked"
