"""sqlfluff, as the repository configures it, finds nothing, and finds what is badly written."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlfluff.core import FluffConfig, Linter

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def linter() -> Linter:
    return Linter(config=FluffConfig.from_path(str(ROOT)))


@pytest.mark.parametrize("folder", ["functions", "sql"])
def test_folder_is_well_written(linter: Linter, folder: str) -> None:
    linted = linter.lint_path(str(ROOT / folder))
    assert len(linted.files) == len(list((ROOT / folder).rglob("*.sql"))) > 0
    faults = [f"{file.path}: {v}" for file in linted.files for v in file.get_violations()]
    assert faults == []


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("CREATE INDEX", "create index", "CP01"),
        ("(task_uuid)", "(task_uuid )", "LT01"),
        ("WHERE", "    WHERE", "LT02"),
        ("COMMENT ON INDEX", "COMMENT OF INDEX", "PRS"),
    ],
)
def test_badly_written_text_is_found(linter: Linter, old: str, new: str, rule: str) -> None:
    files = (
        "0010_idx_audit_task_uuid.sql",
        "0012_idx_audit_failures.sql",
        "0020_index_comments.sql",
    )
    text = "\n".join((ROOT / "sql" / name).read_text(encoding="utf-8") for name in files)
    assert old in text
    found = linter.lint_string(text.replace(old, new, 1)).get_violations()
    assert {violation.rule_code() for violation in found} == {rule}
