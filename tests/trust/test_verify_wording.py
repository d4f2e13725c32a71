"""Findings as people read them."""

from __future__ import annotations

import pytest

from step_audit.trust.verify.report import KINDS, Finding
from tests.trust.world import reads_well


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stored", [None, "", "disabled"])
@pytest.mark.parametrize("expected", [None, "", "enabled"])
def test_a_finding_reads_well(kind: str, stored: str | None, expected: str | None) -> None:
    line = str(Finding(kind, field="it", stored=stored, expected=expected))
    assert reads_well(line)
    assert line.startswith(f"{kind}: it")
    assert not line.endswith((": ", ", "))
    assert ("is disabled" in line) is bool(stored)
    assert ("should be enabled" in line) is bool(expected)


def test_an_absent_value_of_a_column_is_called_null() -> None:
    assert str(Finding("mismatch", stored="7")) == "mismatch: is 7, should be NULL"
    assert str(Finding("mismatch", expected="7")) == "mismatch: is NULL, should be 7"


def test_what_would_read_ill_is_seen() -> None:
    for text in ("is disabled, should be nothing", "is shows something else", "is may be NULL"):
        assert not reads_well(f"altered object: view step_audits: {text}")
