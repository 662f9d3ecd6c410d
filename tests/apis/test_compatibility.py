"""The compatibility table in docs is the code's."""

from __future__ import annotations

from pathlib import Path

from lakh.apis.compatibility import markdown

DOCUMENT = Path(__file__).parents[2] / "docs" / "compatibility.md"


def test_document_is_current() -> None:
    assert DOCUMENT.read_text() == markdown(), (
        "run: python -m lakh.apis.compatibility > docs/compatibility.md"
    )
