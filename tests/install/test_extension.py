"""The same files as a Postgres extension."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.install.conftest import NewDatabase
from tests.support.audit import audit_rows, expected_rows
from tests.support.command import psql, step_audit, succeed
from tests.support.connect import connect_again
from tests.support.host import HOST, classic_in
from tests.support.install import create_extension, install_audit
from tests.support.inventory import list_audit_objects, take_inventory, take_row_versions
from tests.support.results import record_results

NOT_ATTACHED = (
    f"step-audit is not attached: schema {HOST.schema} lacks tasker_named_steps, tasker_tasks, "
    "tasker_workflow_step_transitions, tasker_workflow_steps",
    f"Create what is missing, then SELECT {HOST.audit_schema}.attach_step_result_audit();",
)


def test_build_extension_prints_the_files_that_it_wrote(tmp_path: Path) -> None:
    printed = succeed("build-extension", str(tmp_path / "new" / "folder"))
    written = [Path(line) for line in printed.splitlines()]
    assert sorted(written) == sorted((tmp_path / "new" / "folder").iterdir())
    assert {path.suffix for path in written} == {".control", ".sql"}


def test_create_extension_leaves_the_same_objects_as_install(new_database: NewDatabase) -> None:
    installed, extended = new_database(), new_database()
    HOST.create(installed)
    HOST.create(extended)
    succeed("install", to=installed)
    create_extension(extended)
    assert take_inventory(extended) == take_inventory(installed)

    recorded = record_results(extended, 3)
    assert audit_rows(extended) == expected_rows(recorded)


@pytest.mark.parametrize("schema", ["other", "My Schema"])
def test_create_extension_in_another_schema_leaves_the_same_objects(
    new_database: NewDatabase, schema: str
) -> None:
    installed, extended = new_database(), new_database()
    public, other = classic_in("public"), classic_in(schema)
    public.create(installed)
    install_audit(installed, host=public)
    other.create(extended)
    extended.execute("SET search_path = ''")
    create_extension(extended, host=other)
    assert take_inventory(extended, other) == take_inventory(installed, public)


def test_extension_is_backfilled_by_the_command(new_database: NewDatabase) -> None:
    extended = new_database()
    HOST.create(extended)
    recorded = record_results(extended, 3)
    create_extension(extended)
    assert succeed("backfill", to=extended).startswith("backfill: 3 audit rows in ")
    assert audit_rows(extended) == expected_rows(recorded, backfilled=True)


def test_create_extension_says_which_host_tables_are_missing(new_database: NewDatabase) -> None:
    extended = new_database()
    warnings: list[tuple[str | None, str | None]] = []

    def note(notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity == "WARNING":
            warnings.append((notice.message_primary, notice.message_hint))

    extended.add_notice_handler(note)
    create_extension(extended)
    assert warnings == [NOT_ATTACHED]


def test_extension_attaches_to_host_tables_that_come_later(new_database: NewDatabase) -> None:
    installed, extended = new_database(), new_database()
    create_extension(extended)
    bare = take_row_versions(extended)
    assert extended.execute("SELECT attach_step_result_audit()").fetchall() == [
        {"attach_step_result_audit": False}
    ]
    assert take_row_versions(extended) == bare

    HOST.create(installed)
    succeed("install", to=installed)
    HOST.create(extended)
    attached = [{"attach_step_result_audit": True}]
    assert extended.execute("SELECT attach_step_result_audit()").fetchall() == attached
    assert take_inventory(extended) == take_inventory(installed)

    before = take_row_versions(extended)
    assert extended.execute("SELECT attach_step_result_audit()").fetchall() == attached
    assert take_row_versions(extended) == before
    recorded = record_results(extended, 2)
    assert audit_rows(extended) == expected_rows(recorded)


def test_drop_extension_leaves_the_host_and_its_data_alone(new_database: NewDatabase) -> None:
    extended = new_database()
    HOST.create(extended)
    host = take_inventory(extended)
    create_extension(extended)
    record_results(extended, 2)
    extended.execute("DROP EXTENSION step_audit")
    assert take_inventory(extended) == host
    record_results(extended, 2)
    (found,) = extended.execute(f"SELECT count(*) FROM {HOST.transitions}".encode()).fetchall()
    assert found == {"count": 8}


def test_extension_that_attached_later_is_dropped_with_its_trigger(
    new_database: NewDatabase,
) -> None:
    extended = new_database()
    create_extension(extended)
    HOST.create(extended)
    extended.execute("SELECT attach_step_result_audit()")
    record_results(extended, 1)
    extended.execute("DROP EXTENSION step_audit")
    assert list_audit_objects(extended) == set()
    record_results(extended, 1)


def test_owner_of_the_database_creates_the_extension_without_being_superuser(
    new_database: NewDatabase,
) -> None:
    extended = new_database()
    name = sql.Identifier(extended.info.dbname)
    extended.execute("CREATE ROLE owner LOGIN")
    extended.execute(sql.SQL("ALTER DATABASE {} OWNER TO owner").format(name))
    try:
        with connect_again(extended, user="owner") as conn:
            HOST.create(conn)
            create_extension(conn)
        recorded = record_results(extended, 2)
        assert audit_rows(extended) == expected_rows(recorded)
    finally:
        extended.execute("REASSIGN OWNED BY owner TO postgres; DROP OWNED BY owner")
        extended.execute("DROP ROLE owner")


@pytest.mark.parametrize(
    "arguments", [("install",), ("install", "--dry-run"), ("uninstall", "--yes")]
)
def test_command_leaves_what_an_extension_owns_alone(
    new_database: NewDatabase, arguments: tuple[str, ...]
) -> None:
    extended = new_database()
    HOST.create(extended)
    create_extension(extended)
    before = take_row_versions(extended)
    done = step_audit(*arguments, to=extended)
    assert (done.code, done.out) == (3, "")
    assert done.err == (
        f"step-audit: in schema {HOST.audit_schema} step-audit is the extension step_audit; "
        "nothing was changed. Use ALTER EXTENSION step_audit UPDATE or DROP EXTENSION.\n"
    )
    assert take_row_versions(extended) == before


def test_extension_cannot_be_created_over_an_install(new_database: NewDatabase) -> None:
    installed = new_database()
    HOST.create(installed)
    succeed("install", to=installed)
    before = take_row_versions(installed)
    with pytest.raises(
        psycopg.errors.ObjectNotInPrerequisiteState, match="not a member of extension"
    ):
        create_extension(installed)
    assert take_row_versions(installed) == before


def test_extension_script_says_how_to_load_it_if_run_by_hand(
    new_database: NewDatabase, extension_folder: Path
) -> None:
    database = new_database()
    (script,) = extension_folder.glob("step_audit--[0-9]*[0-9].sql")
    done = psql(database, script.read_text(encoding="utf-8"))
    assert (done.code, done.out) == (0, 'Use "CREATE EXTENSION step_audit" to load this file.\n')
    assert take_inventory(database) == {}
