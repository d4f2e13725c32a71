"""The same files as a Postgres extension."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from step_audit.database import Connection, call
from tests.fix_extension import NewDatabase
from tests.support.audit import audit_rows, expected_rows
from tests.support.command import psql, status_of, step_audit, succeed
from tests.support.connect import connect_again
from tests.support.host import HOST, LAYOUTS, classic_in
from tests.support.install import create_extension, install_audit
from tests.support.inventory import list_audit_objects, take_inventory, take_row_versions
from tests.support.results import record_results

ROOT = Path(__file__).parents[2]
NOTHING_TO_BACKFILL = "backfill: nothing to do, every result has its audit row\n"


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
    assert succeed("attach", to=extended) == (
        f"step-audit attached in schema {HOST.audit_schema}\n{NOTHING_TO_BACKFILL}"
    )
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
    call(extended, schema, "attach_step_result_audit")
    assert take_inventory(extended, other) == take_inventory(installed, public)


def test_extension_is_backfilled_by_the_command(new_database: NewDatabase) -> None:
    extended = new_database()
    HOST.create(extended)
    recorded = record_results(extended, 3)
    create_extension(extended)
    assert "\nbackfill: 3 audit rows in " in succeed("attach", to=extended)
    assert audit_rows(extended) == expected_rows(recorded, backfilled=True)


def test_create_extension_alone_leaves_the_engine_alone(new_database: NewDatabase) -> None:
    extended = new_database()
    HOST.create(extended)
    before = _of_engine(extended)
    create_extension(extended)
    record_results(extended, 2)
    assert _of_engine(extended) == before
    found = status_of(extended)
    assert (found["attached"], found["audit_rows"]) == (False, 0)
    assert "attach" in found["problems"][0]


def _of_engine(conn: Connection) -> set[str]:
    """The engine's tables, and what hangs on them."""
    pattern = "|".join(re.escape(table.rpartition(".")[2]) for table in HOST.tables)
    names = {name for name in take_inventory(conn) if re.search(rf"\b({pattern})\b", name)}
    assert len(names) > 20
    return names


def test_extension_attaches_to_host_tables_that_come_later(new_database: NewDatabase) -> None:
    installed, extended = new_database(), new_database()
    create_extension(extended)
    bare = take_row_versions(extended)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="no workflow engine"):
        extended.execute("SELECT attach_step_result_audit()")
    assert take_row_versions(extended) == bare

    HOST.create(installed)
    succeed("install", to=installed)
    HOST.create(extended)
    extended.execute("SELECT attach_step_result_audit()")
    assert take_inventory(extended) == take_inventory(installed)

    before = take_row_versions(extended)
    extended.execute("SELECT attach_step_result_audit()")
    assert take_row_versions(extended) == before
    assert succeed("attach", to=extended) == (
        f"step-audit was attached already, nothing changed in schema {HOST.audit_schema}\n"
        f"{NOTHING_TO_BACKFILL}"
    )
    assert take_row_versions(extended) == before
    recorded = record_results(extended, 2)
    assert audit_rows(extended) == expected_rows(recorded)


def test_drop_extension_after_detach_leaves_the_host_and_its_data_alone(
    new_database: NewDatabase,
) -> None:
    extended = new_database()
    HOST.create(extended)
    host = take_inventory(extended)
    create_extension(extended)
    extended.execute("SELECT attach_step_result_audit()")
    record_results(extended, 2)
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        extended.execute("DROP EXTENSION step_audit")
    assert succeed("detach", to=extended).startswith("step-audit detached in schema ")
    extended.execute("DROP EXTENSION step_audit")
    assert take_inventory(extended) == host
    record_results(extended, 2)
    (found,) = extended.execute(f"SELECT count(*) FROM {HOST.transitions}".encode()).fetchall()
    assert found == {"count": 8}


def test_extension_dropped_with_cascade_takes_its_trigger_along(new_database: NewDatabase) -> None:
    extended = new_database()
    HOST.create(extended)
    create_extension(extended)
    extended.execute("SELECT attach_step_result_audit()")
    record_results(extended, 1)
    extended.execute("DROP EXTENSION step_audit CASCADE")
    record_results(extended, 1)
    assert not any(f"trigger {HOST.trigger} of" in name for name in list_audit_objects(extended))


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
            conn.execute("SELECT attach_step_result_audit()")
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
        "nothing was changed. Use ALTER EXTENSION step_audit UPDATE, or 'step-audit detach' and "
        "DROP EXTENSION.\n"
    )
    assert take_row_versions(extended) == before


def test_extension_cannot_be_created_over_an_install(new_database: NewDatabase) -> None:
    installed = new_database()
    HOST.create(installed)
    succeed("install", to=installed)
    before = take_row_versions(installed)
    with pytest.raises(psycopg.errors.DuplicateTable, match="step_audit_files"):
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


def test_the_documented_session_makes_the_extension(new_database: NewDatabase) -> None:
    page = (ROOT / "docs" / "installing.md").read_text(encoding="utf-8")
    (session,) = re.findall(
        r"^```console\n(\$ psql [^`]*EXTENSION step_audit [^`]*)^```$", page, re.MULTILINE
    )
    extended = new_database()
    LAYOUTS["tasker"].create(extended)
    for line in session.splitlines():
        if statement := re.fullmatch(r"\$ psql -c '(.*)'", line):
            extended.execute(statement[1].encode())
        else:
            assert line == "$ step-audit attach"
            succeed("attach", to=extended)
    assert status_of(extended)["attached"]


def test_attach_mends_the_tables_of_an_extension_too(new_database: NewDatabase) -> None:
    extended = new_database()
    HOST.create(extended)
    create_extension(extended)
    succeed("attach", to=extended)
    before = take_inventory(extended)
    extended.execute(
        "DROP INDEX idx_audit_failures; ALTER TABLE tasker_workflow_step_result_audit "
        "DROP CONSTRAINT uq_audit_step_transition, ALTER recorded_xid DROP DEFAULT"
    )
    problems = status_of(extended)["problems"]
    assert [each.partition(" ")[0] for each in problems] == ["constraint", "default", "index"]
    succeed("attach", to=extended)
    assert take_inventory(extended) == before
    assert status_of(extended)["problems"] is None
