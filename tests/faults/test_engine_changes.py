"""The engine deletes, drops and creates anew: it may, and the audit rows outlive it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from psycopg import errors

from step_audit.database import Connection, call
from step_audit.setup import installer
from step_audit.setup.script import Target
from step_audit.setup.sources import load_sources
from step_audit.trust.verify import verify
from tests.support.command import succeed
from tests.support.host import FAILED, HOST, OK, Transition, create_steps, insert_each
from tests.support.install import install_audit, uninstall_audit
from tests.support.results import record_results


def audit(conn: Connection) -> list[dict[str, Any]]:
    return conn.execute(
        "SELECT * FROM tasker_workflow_step_result_audit ORDER BY workflow_step_result_audit_uuid"
    ).fetchall()


def problems(conn: Connection) -> list[str]:
    (status,) = call(conn, HOST.audit_schema, "get_step_audit_status")
    assert status["attached"] is (not status["problems"])
    return status["problems"] or []


# The engine's own clean-up.


def cascade(conn: Connection) -> None:
    """Let the engine's keys delete what hangs on a deleted row."""
    keys = conn.execute(
        "SELECT conrelid::regclass::text AS table, conname AS name, "
        "pg_get_constraintdef(oid) AS def FROM pg_constraint "
        "WHERE contype = 'f' AND conrelid = ANY (%s::regclass[])",
        (list(HOST.tables),),
    ).fetchall()
    assert len(keys) >= 3
    for key in keys:
        conn.execute(
            f"ALTER TABLE {key['table']} DROP CONSTRAINT {key['name']}, "
            f"ADD {key['def']} ON DELETE CASCADE".encode()
        )


def delete_by_cascade(conn: Connection) -> None:
    conn.execute(f"DELETE FROM {HOST.tasks}".encode())


def delete_one_by_one(conn: Connection) -> None:
    for table in (*HOST.own_audit, HOST.transitions, HOST.steps, HOST.tasks):
        conn.execute(f"DELETE FROM {table}".encode())


def leave(_: Connection) -> None:
    """The keys as they are."""


CLEANUPS = pytest.mark.parametrize(
    ("prepare", "clean_up"), [(cascade, delete_by_cascade), (leave, delete_one_by_one)]
)
Deed = Callable[[Connection], None]


@CLEANUPS
def test_the_engines_clean_up_succeeds_and_the_audit_rows_stay(
    host: Connection, prepare: Deed, clean_up: Deed
) -> None:
    prepare(host)
    install_audit(host)
    recorded = record_results(host, 4)
    before = audit(host)
    clean_up(host)
    assert host.execute(f"SELECT FROM {HOST.tasks}".encode()).rowcount == 0
    assert audit(host) == before
    assert len(before) == 4
    assert problems(host) == []
    # The trail is read as before, with what the engine has deleted.
    listed = call(host, HOST.audit_schema, "list_step_audits")
    assert {row["workflow_step_transition_uuid"] for row in listed} == {
        result.transition_uuid for result in recorded
    }
    assert {(row["to_state"], row["step_name"], row["deleted"]) for row in listed} == {
        (OK, "step_0", True),
        (OK, "step_1", True),
        (FAILED, "step_0", True),
    }
    (again,) = record_results(host, 1)
    assert {row["workflow_step_transition_uuid"] for row in audit(host)} == {
        result.transition_uuid for result in (*recorded, again)
    }


@CLEANUPS
def test_with_enforced_keys_the_clean_up_is_refused_as_specified(
    host: Connection, prepare: Deed, clean_up: Deed
) -> None:
    prepare(host)
    install_audit(host, enforce_keys=True)
    record_results(host, 2)
    before = audit(host)
    with (
        pytest.raises(errors.ForeignKeyViolation, match=r"fk_audit_(task|step|transition)"),
        host.transaction(),
    ):
        clean_up(host)
    assert audit(host) == before


# The engine deletes what an uninstall has kept.


@pytest.mark.parametrize("enforce_keys", [None, True])
def test_kept_rows_whose_engine_rows_are_gone_do_not_block_an_install_and_are_named(
    host: Connection, enforce_keys: bool | None
) -> None:
    install_audit(host)
    record_results(host, 3)
    before = audit(host)
    uninstall_audit(host)
    delete_one_by_one(host)
    target = Target(schema=HOST.audit_schema, engine_schema=HOST.schema, enforce_keys=enforce_keys)
    done = installer.install(host, load_sources(), target)
    assert done.changed
    (orphans,) = [note for note in done.notes if "has deleted" in note]
    assert orphans.startswith("the engine has deleted the transitions of kept audit rows, which")
    for row in before:
        assert str(row["workflow_step_result_audit_uuid"]) in orphans
    violated = [note for note in done.notes if "holds for new rows only, as a kept" in note]
    assert len(violated) == (3 if enforce_keys else 0)
    record_results(host, 1)
    assert len(audit(host)) == 4
    assert problems(host) == []


# The engine drops its tables, and creates them again.


def drop_engine(conn: Connection) -> None:
    for table in HOST.tables:
        conn.execute(f"DROP TABLE {table} CASCADE".encode())
    drop_engine_functions(conn)


def drop_after_detaching(conn: Connection) -> None:
    succeed("detach", to=conn)
    for table in reversed(HOST.tables):
        # Without CASCADE: nothing of ours is in the way.
        conn.execute(f"DROP TABLE {table}".encode())
    drop_engine_functions(conn)


def drop_engine_functions(conn: Connection) -> None:
    for function in ("create_step_result_audit", "uuid_generate_v7") if HOST.has_own_audit else ():
        conn.execute(f"DROP FUNCTION {HOST.schema}.{function}".encode())


def install(conn: Connection) -> None:
    assert install_audit(conn)


def attach(conn: Connection) -> None:
    assert installer.attach(conn, HOST.audit_schema, Target(engine_schema=HOST.schema)).changed


@pytest.mark.parametrize("repair", [install, attach])
@pytest.mark.parametrize("enforce_keys", [None, True])
@pytest.mark.parametrize("drop", [drop_engine, drop_after_detaching])
def test_after_the_engine_made_its_tables_anew_it_is_audited_again(
    host: Connection, drop: Deed, enforce_keys: bool | None, repair: Deed
) -> None:
    install_audit(host, enforce_keys=enforce_keys)
    record_results(host, 3)
    before = audit(host)
    drop(host)
    assert problems(host) != []
    HOST.create(host)
    assert problems(host) != []
    repair(host)
    assert problems(host) == []
    (step,) = create_steps(host)
    insert_each(host, [Transition(step, OK, "{}", 1)])
    after = audit(host)
    assert after[:3] == before
    assert len(after) == 4
    found = verify(host, HOST.audit_schema).findings
    # A DROP fires no trigger.
    assert {each.finding for each in found} == {"extra"}
