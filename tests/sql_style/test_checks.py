"""Every SQL file keeps the house rules, and every rule finds what breaks it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from step_audit.setup.sources import SourceFile, load_sources
from tests.sql_style.checks import (
    FUNCTION_RULES,
    MIGRATION_RULES,
    RELEASE_RULES,
    faults_of,
    faults_of_release,
)
from tests.sql_style.function_breaks import FUNCTION_BREAKS, Break
from tests.sql_style.migration_breaks import MIGRATION_BREAKS

BREAKS = FUNCTION_BREAKS + MIGRATION_BREAKS
SOURCES = load_sources(Path(__file__).parents[2])


def test_there_are_files_to_check() -> None:
    assert SOURCES.functions
    assert SOURCES.migrations
    assert SOURCES.releases


@pytest.mark.parametrize("file", SOURCES.files, ids=lambda file: PurePosixPath(file.path).stem)
def test_file_keeps_the_rules(file: SourceFile) -> None:
    assert faults_of(file) == []


def test_files_together_keep_the_rules() -> None:
    assert faults_of_release(SOURCES) == []


@pytest.mark.parametrize(
    "edit", BREAKS, ids=lambda edit: "-".join([edit.stem, *sorted(edit.rules)])
)
def test_broken_file_is_found_with_just_its_faults(edit: Break) -> None:
    broken = edit.apply(SOURCES)
    faults = [fault for file in broken.files for fault in faults_of(file)]
    assert faults + faults_of_release(broken) == list(edit.faults)


@pytest.mark.parametrize(
    ("path", "faults"),
    [
        ("sql/0002_Indexes.sql", ["sql/0002_Indexes.sql is not named like sql/0001_noun.sql"]),
        ("sql/0022_audit_table.sql", ["0003 follows 0001"]),
        ("sql/0003_audit_table.sql", ["0003 follows 0001", "0003 follows 0003"]),
    ],
)
def test_migration_out_of_number_is_found(path: str, faults: list[str]) -> None:
    files = [
        replace(file, path=path) if file.path.startswith("sql/0002_") else file
        for file in SOURCES.files
    ]
    found = faults_of_release(replace(SOURCES, files=tuple(files)))
    assert found[: len(faults)] == [f"unbroken_numbering: {fault}" for fault in faults]


def test_a_name_in_two_folders_is_found() -> None:
    (file,) = (file for file in SOURCES.files if file.name == "is_worker_result")
    again = replace(file, path="functions/read/is_worker_result.sql")
    found = faults_of_release(replace(SOURCES, files=(*SOURCES.files, again)))
    assert found == ["unique_names: is_worker_result names 2 files"]


def test_every_rule_has_a_file_that_breaks_it() -> None:
    rules = {rule.__name__ for rule in (*FUNCTION_RULES, *MIGRATION_RULES, *RELEASE_RULES)}
    broken = {rule for edit in BREAKS for rule in edit.rules}
    assert rules - broken == {"unbroken_numbering", "unique_names"}
