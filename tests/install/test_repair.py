"""What our tables have lost, ``status`` names, and ``install`` and ``attach`` mend."""

from __future__ import annotations

from dataclasses import replace

import pytest
from psycopg import errors

from step_audit.database import Connection, call
from step_audit.patience import look_again
from step_audit.trust.verify import verify
from tests.support.command import status_of, step_audit, succeed
from tests.support.host import HOST, LAYOUTS
from tests.support.inventory import Inventory, take_inventory
from tests.support.results import count_audit_rows, record_results

AUDIT = "tasker_workflow_step_result_audit"

# What is done, what status calls it, and whether results may go unaudited meanwhile.
DAMAGES = {
    "index dropped": (
        "DROP INDEX idx_audit_failures",
        "index idx_audit_failures is missing",
        False,
    ),
    "index renamed": (
        "ALTER INDEX idx_audit_step_uuid RENAME TO before",
        "index idx_audit_step_uuid is missing",
        False,
    ),
    "index of other columns": (
        "DROP INDEX idx_audit_task_uuid; "
        f"CREATE INDEX idx_audit_task_uuid ON {AUDIT} (worker_uuid)",
        "index idx_audit_task_uuid is not as it was installed",
        False,
    ),
    "index invalid": (
        "UPDATE pg_index SET indisvalid = FALSE "
        "WHERE indexrelid = 'idx_audit_recorded_at'::regclass",
        "index idx_audit_recorded_at is not as it was installed",
        False,
    ),
    "summary dropped": (
        "DROP INDEX idx_audit_recorded_xid",
        "index idx_audit_recorded_xid is missing",
        False,
    ),
    "key dropped": (
        f"ALTER TABLE {AUDIT} DROP CONSTRAINT uq_audit_step_transition",
        f"constraint {AUDIT}.uq_audit_step_transition is missing",
        True,
    ),
    "key renamed": (
        f"ALTER TABLE {AUDIT} RENAME CONSTRAINT uq_audit_step_transition TO before",
        f"constraint {AUDIT}.uq_audit_step_transition is missing",
        True,
    ),
    "primary key renamed": (
        f"ALTER TABLE {AUDIT} RENAME CONSTRAINT pk_audit TO before",
        f"constraint {AUDIT}.pk_audit is missing",
        True,
    ),
    "primary key dropped": (
        "ALTER TABLE step_audit_salts DROP CONSTRAINT pk_step_audit_salt",
        "constraint step_audit_salts.pk_step_audit_salt is missing",
        True,
    ),
    "key of other columns": (
        f"ALTER TABLE {AUDIT} DROP CONSTRAINT uq_audit_step_transition, "
        "ADD CONSTRAINT uq_audit_step_transition UNIQUE (workflow_step_transition_uuid)",
        f"constraint {AUDIT}.uq_audit_step_transition is not as it was installed",
        True,
    ),
    "default dropped": (
        f"ALTER TABLE {AUDIT} ALTER recorded_xid DROP DEFAULT",
        f"default {AUDIT}.recorded_xid is missing",
        True,
    ),
    "default of the key dropped": (
        "ALTER TABLE step_audit_events ALTER step_audit_event_uuid DROP DEFAULT",
        "default step_audit_events.step_audit_event_uuid is missing",
        True,
    ),
    "default altered": (
        f"ALTER TABLE {AUDIT} ALTER backfilled SET DEFAULT TRUE",
        f"default {AUDIT}.backfilled is not as it was installed",
        True,
    ),
    "nullable": (
        f"ALTER TABLE {AUDIT} ALTER success DROP NOT NULL",
        f"NOT NULL of column {AUDIT}.success is missing",
        True,
    ),
}


@pytest.fixture
def reference(conn: Connection) -> Inventory:
    return take_inventory(conn)


@pytest.mark.parametrize("command", ["install", "attach"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_it_is_named_and_mended(
    conn: Connection, reference: Inventory, damage: str, command: str
) -> None:
    statement, problem, is_broken = DAMAGES[damage]
    conn.execute(statement.encode())

    found = status_of(conn)
    assert found["problems"] == [f"{problem}: step-audit install mends it"]
    assert found["attached"] is not is_broken

    assert "nothing changed" not in succeed(command, to=conn)
    found = status_of(conn)
    assert (found["problems"], found["attached"]) == (None, True)
    assert take_inventory(conn) == reference
    record_results(conn, 1)
    assert count_audit_rows(conn) == 1
    assert "nothing changed" in succeed(command, to=conn)


def test_what_a_function_change_and_an_index_lost_together_is_mended(
    conn: Connection, reference: Inventory
) -> None:
    """The ledger is written anew then, and would forget what is missing."""
    conn.execute("DROP INDEX idx_audit_failures; DROP FUNCTION get_task_audit_history")
    succeed("install", to=conn)
    assert take_inventory(conn) == reference
    conn.execute("DROP INDEX idx_audit_failures")
    succeed("uninstall", "--yes", to=conn)
    succeed("install", to=conn)
    assert take_inventory(conn) == reference
    assert status_of(conn)["problems"] is None


def test_an_index_of_the_administrator_stays(conn: Connection, reference: Inventory) -> None:
    conn.execute(f"CREATE INDEX his ON {AUDIT} (task_uuid)".encode())
    assert "nothing changed" in succeed("install", to=conn)
    conn.execute("DROP INDEX idx_audit_task_uuid")
    succeed("install", to=conn)
    assert set(take_inventory(conn)) - set(reference) == {"index his"}
    conn.execute("DROP INDEX his")
    assert status_of(conn)["problems"] is None


def test_an_unlogged_table_is_named_with_the_remedy(conn: Connection) -> None:
    conn.execute("ALTER TABLE step_audit_salts SET UNLOGGED")
    problem = (
        "table step_audit_salts is unlogged, so that a crash of the server empties it: "
        "ALTER TABLE step_audit_salts SET LOGGED, while nobody writes"
    )
    assert status_of(conn)["problems"] == [problem]
    conn.execute("ALTER TABLE step_audit_salts SET LOGGED")
    assert status_of(conn)["problems"] is None


@pytest.mark.parametrize("table", ["step_audit_events", "step_audit_objects", AUDIT])
def test_a_table_that_is_gone_is_named(conn: Connection, table: str) -> None:
    conn.execute(f"DROP TABLE {table} CASCADE".encode())
    found = status_of(conn)
    assert found["problems"] == [
        f"table {table} of step-audit is gone: find out who dropped or renamed it, and restore it "
        "from a backup"
    ]
    for command in ("install", "attach"):
        done = step_audit(command, to=conn)
        assert (done.code, done.out, done.err) == (
            3,
            "",
            f"step-audit: schema {HOST.audit_schema} lacks {table}, which step-audit had created: "
            "somebody has dropped or renamed it; nothing was changed. Find out who, and restore it "
            "from a backup or name it back: no command makes lost evidence anew.\n",
        )


def test_the_note_of_what_is_installed_is_gone(conn: Connection) -> None:
    conn.execute("DROP TABLE step_audit_files")
    done = step_audit("install", to=conn)
    assert (done.code, done.out, done.err) == (
        3,
        "",
        f"step-audit: schema {HOST.audit_schema} has a step-audit without its table "
        "step_audit_files, which somebody dropped or renamed; nothing was changed. Find out who, "
        "and restore it from a backup or name it back.\n",
    )


def test_an_owner_who_may_make_no_temporary_table_is_told(conn: Connection) -> None:
    conn.execute("CREATE ROLE tables_owner")
    for table in HOST.tables:
        conn.execute(f"ALTER TABLE {table} OWNER TO tables_owner".encode())
    for schema in HOST.schemas:
        conn.execute(f"GRANT ALL ON SCHEMA {schema} TO tables_owner".encode())
    conn.execute(f"REVOKE TEMPORARY ON DATABASE {conn.info.dbname} FROM PUBLIC".encode())
    try:
        printed = succeed("attach", to=conn)
        assert (
            "note: keys, indexes and defaults of step-audit's tables were not compared" in printed
        )
        conn.execute(f"GRANT TEMPORARY ON DATABASE {conn.info.dbname} TO tables_owner".encode())
        assert "not compared" not in succeed("attach", to=conn)
    finally:
        conn.execute("REASSIGN OWNED BY tables_owner TO postgres; DROP OWNED BY tables_owner")
        conn.execute("DROP ROLE tables_owner")


def test_after_the_engines_schema_was_renamed_attach_has_it_verified_again(
    empty: Connection,
) -> None:
    engine = replace(LAYOUTS["tasker"], schema="before")
    engine.create(empty)
    succeed("install", to=empty)
    empty.execute("ALTER SCHEMA before RENAME TO after")
    renamed = status_of(empty)["problems"]
    assert "view tasker_tasks is not as it was installed: step-audit install mends it" in renamed
    assert len(verify(empty, "step_audit").findings) == 4

    assert "nothing changed" not in succeed("attach", to=empty)
    assert verify(empty, "step_audit").findings == ()
    assert status_of(empty)["problems"] is None
    assert call(empty, "step_audit", "verify_step_audit_objects") == []
    assert "nothing changed" in succeed("attach", to=empty)


def test_a_view_that_was_turned_to_another_table_stays_a_finding(empty: Connection) -> None:
    """The table that it was attached to is there still: that is no rename."""
    engine = replace(LAYOUTS["tasker"], schema="before")
    engine.create(empty)
    succeed("install", to=empty)
    empty.execute("ALTER SCHEMA before RENAME TO after")
    engine.create(empty)
    succeed("attach", to=empty)
    assert len(verify(empty, "step_audit").findings) >= 4


@pytest.mark.parametrize(("times", "is_enough"), [(0, True), (9, True), (10, False)])
def test_an_index_that_goes_meanwhile_is_looked_at_again(
    conn: Connection, times: int, is_enough: bool
) -> None:
    """What the server says of it is no error of the installation's."""
    conn.execute("CREATE TEMPORARY SEQUENCE looks")
    gone = (
        "DO $$ BEGIN IF nextval('looks') <= %s THEN RAISE internal_error "
        "USING MESSAGE = 'could not open relation with OID 4711'; END IF; END $$"
    )

    def look() -> str:
        with conn.transaction():
            conn.execute(gone.replace("%s", str(times)).encode())
        return "found"

    if is_enough:
        assert look_again(look) == "found"
    else:
        with pytest.raises(errors.InternalError_, match="could not open relation"):
            look_again(look)
