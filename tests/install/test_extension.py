"""The same files as a Postgres extension."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.install.conftest import NewDatabase
from tests.support.audit import audit_rows, expected_rows
from tests.support.command import psql, step_audit, succeed
from tests.support.host import create_host
from tests.support.inventory import take_inventory, take_row_versions
from tests.support.results import record_results

NOT_ATTACHED = (
    "step-audit is not attached: schema public lacks tasker_named_steps, tasker_tasks, "
    "tasker_workflow_step_transitions, tasker_workflow_steps",
    "Create what is missing, then SELECT public.attach_step_result_audit();",
)


def test_build_extension_prints_the_files_that_it_wrote(tmp_path: Path) -> None:
    printed = succeed("build-extension", str(tmp_path / "new" / "folder"))
    written = [Path(line) for line in printed.splitlines()]
    assert sorted(written) == sorted((tmp_path / "new" / "folder").iterdir())
    assert {path.suffix for path in written} == {".control", ".sql"}


def test_create_extension_leaves_the_same_objects_as_install(new_database: NewDatabase) -> None:
    installed, extended = new_database(), new_database()
    create_host(installed)
    create_host(extended)
    succeed("install", to=installed)
    extended.execute("CREATE EXTENSION step_audit")
    assert take_inventory(extended) == take_inventory(installed)

    recorded = record_results(extended, 3)
    assert audit_rows(extended) == expected_rows(recorded)


@pytest.mark.parametrize("schema", ["other", "My Schema"])
def test_create_extension_in_another_schema_leaves_the_same_objects(
    new_database: NewDatabase, schema: str
) -> None:
    installed, extended = new_database(), new_database()
    create_host(installed)
    succeed("install", to=installed)
    extended.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    extended.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
    create_host(extended)
    extended.execute("SET search_path = ''")
    extended.execute(
        sql.SQL("CREATE EXTENSION step_audit SCHEMA {}").format(sql.Identifier(schema))
    )
    assert take_inventory(extended, schema) == take_inventory(installed)


def test_extension_is_backfilled_by_the_command(new_database: NewDatabase) -> None:
    extended = new_database()
    create_host(extended)
    recorded = record_results(extended, 3)
    extended.execute("CREATE EXTENSION step_audit")
    assert succeed("backfill", to=extended).startswith("backfill: 3 audit rows in ")
    assert audit_rows(extended) == expected_rows(recorded, backfilled=True)


def test_create_extension_says_which_host_tables_are_missing(new_database: NewDatabase) -> None:
    extended = new_database()
    notices: list[tuple[str | None, str | None]] = []
    extended.add_notice_handler(
        lambda notice: notices.append((notice.message_primary, notice.message_hint))
    )
    extended.execute("CREATE EXTENSION step_audit")
    assert notices == [NOT_ATTACHED]


def test_extension_attaches_to_host_tables_that_come_later(new_database: NewDatabase) -> None:
    installed, extended = new_database(), new_database()
    extended.execute("CREATE EXTENSION step_audit")
    bare = take_row_versions(extended)
    assert extended.execute("SELECT attach_step_result_audit()").fetchall() == [
        {"attach_step_result_audit": False}
    ]
    assert take_row_versions(extended) == bare

    create_host(installed)
    succeed("install", to=installed)
    create_host(extended)
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
    create_host(extended)
    host = take_inventory(extended)
    extended.execute("CREATE EXTENSION step_audit")
    record_results(extended, 2)
    extended.execute("DROP EXTENSION step_audit")
    assert take_inventory(extended) == host
    record_results(extended, 2)
    (found,) = extended.execute("SELECT count(*) FROM tasker_workflow_step_transitions").fetchall()
    assert found == {"count": 8}


def test_extension_that_attached_later_is_dropped_with_its_trigger(
    new_database: NewDatabase,
) -> None:
    extended = new_database()
    extended.execute("CREATE EXTENSION step_audit")
    create_host(extended)
    extended.execute("SELECT attach_step_result_audit()")
    record_results(extended, 1)
    extended.execute("DROP EXTENSION step_audit")
    assert not any("audit" in name for name in take_inventory(extended))
    record_results(extended, 1)


def test_owner_of_the_database_creates_the_extension_without_being_superuser(
    new_database: NewDatabase,
) -> None:
    extended = new_database()
    name = sql.Identifier(extended.info.dbname)
    extended.execute("CREATE ROLE owner LOGIN")
    extended.execute(sql.SQL("ALTER DATABASE {} OWNER TO owner").format(name))
    try:
        with psycopg.connect(extended.info.dsn, user="owner", autocommit=True) as conn:
            create_host(conn)
            conn.execute("CREATE EXTENSION step_audit")
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
    create_host(extended)
    extended.execute("CREATE EXTENSION step_audit")
    before = take_row_versions(extended)
    done = step_audit(*arguments, to=extended)
    assert (done.code, done.out) == (3, "")
    assert done.err == (
        "step-audit: in schema public step-audit is the extension step_audit; nothing was "
        "changed. Use ALTER EXTENSION step_audit UPDATE or DROP EXTENSION.\n"
    )
    assert take_row_versions(extended) == before


def test_extension_cannot_be_created_over_an_install(new_database: NewDatabase) -> None:
    installed = new_database()
    create_host(installed)
    succeed("install", to=installed)
    before = take_row_versions(installed)
    with pytest.raises(
        psycopg.errors.ObjectNotInPrerequisiteState, match="not a member of extension"
    ):
        installed.execute("CREATE EXTENSION step_audit")
    assert take_row_versions(installed) == before


def test_extension_script_says_how_to_load_it_if_run_by_hand(
    new_database: NewDatabase, extension_folder: Path
) -> None:
    database = new_database()
    (script,) = extension_folder.glob("step_audit--[0-9]*[0-9].sql")
    done = psql(database, script.read_text(encoding="utf-8"))
    assert (done.code, done.out) == (0, 'Use "CREATE EXTENSION step_audit" to load this file.\n')
    assert take_inventory(database) == {}
