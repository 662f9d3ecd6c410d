"""docs/conformance.md says which tests there are."""

from __future__ import annotations

from pathlib import Path

from . import upstream

DOCUMENT = Path(__file__).parents[2] / "docs" / "conformance.md"


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == upstream.document(), (
        "python -m tests.conformance.upstream > docs/conformance.md"
    )


def test_no_name_is_both_claimed_and_put_off() -> None:
    names = [name for tests in upstream.CATALOGUE.values() for name in tests]
    assert len(names) == len(set(names))
    assert not set(names) & set(upstream.LATER)
