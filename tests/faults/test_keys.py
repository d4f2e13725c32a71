"""The three keys to the engine's tables: declared, enforced, checked, and remembered."""

from __future__ import annotations

from typing import Protocol

import pytest

from step_audit.database import Connection, call
from step_audit.setup import installer
from step_audit.setup.script import Target
from tests.faults.test_engine_changes import delete_one_by_one
from tests.support.command import succeed
from tests.support.connect import connect_again
from tests.support.host import HOST, OK, Transition, create_steps, insert_each
from tests.support.install import install_audit, uninstall_audit
from tests.support.partitions import partition_transitions
from tests.support.postgres import MAJOR
from tests.support.results import record_results

KEYS = ("fk_audit_step", "fk_audit_task", "fk_audit_transition")
NOT_ENFORCED = dict.fromkeys(KEYS, "not enforced") if MAJOR >= 18 else {}
ENFORCED = dict.fromkeys(KEYS, "enforced and validated")

# Modes that stop an INSERT, UPDATE or DELETE, which take ROW EXCLUSIVE.
STOP_WRITERS = {"ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"}


def keys(conn: Connection) -> dict[str, str]:
    """What the catalog says of the audit's keys, by name."""
    rows = conn.execute(
        "SELECT conname AS name, convalidated AS validated, "
        "pg_get_constraintdef(oid) ~ 'NOT ENFORCED' AS loose FROM pg_constraint "
        "WHERE conrelid = 'tasker_workflow_step_result_audit'::regclass AND contype = 'f'"
    ).fetchall()
    how = {
        (False, True): "not enforced",
        (False, False): "not valid",
        (True, False): "enforced and validated",
    }
    return {row["name"]: how[row["validated"], row["loose"]] for row in rows}


def findings(conn: Connection) -> list[str]:
    rows = call(conn, HOST.audit_schema, "verify_step_audit_objects")
    return [f"{row['finding']}: {row['field']}" for row in rows]


def install(conn: Connection, enforce_keys: bool | None = None) -> None:
    install_audit(conn, enforce_keys=enforce_keys)


def attach(conn: Connection, enforce_keys: bool | None = None) -> None:
    installer.attach(conn, HOST.audit_schema, Target(enforce_keys=enforce_keys))


def detach_and_attach(conn: Connection, enforce_keys: bool | None = None) -> None:
    installer.detach(conn, HOST.audit_schema, "5s")
    attach(conn, enforce_keys)


def uninstall_and_install(conn: Connection, enforce_keys: bool | None = None) -> None:
    uninstall_audit(conn)
    install(conn, enforce_keys)


class Again(Protocol):
    def __call__(self, conn: Connection, enforce_keys: bool | None = None) -> None: ...


def test_keys_are_not_enforced_unless_told(host: Connection) -> None:
    install_audit(host)
    assert keys(host) == NOT_ENFORCED
    assert findings(host) == []


@pytest.mark.parametrize("again", [install, attach, detach_and_attach])
def test_enforced_keys_stay_enforced_until_told_otherwise(host: Connection, again: Again) -> None:
    install_audit(host, enforce_keys=True)
    record_results(host, 2)
    assert keys(host) == ENFORCED
    assert findings(host) == []
    again(host)
    assert keys(host) == ENFORCED
    assert findings(host) == []
    again(host, enforce_keys=False)
    assert keys(host) == NOT_ENFORCED
    assert findings(host) == []
    again(host)
    assert keys(host) == NOT_ENFORCED
    again(host, enforce_keys=True)
    assert keys(host) == ENFORCED
    assert findings(host) == []


def test_the_command_enforces_keys_and_takes_them_away(host: Connection) -> None:
    succeed("install", "--enforce-keys", to=host)
    assert keys(host) == ENFORCED
    assert "nothing changed" in succeed("install", to=host)
    assert "nothing changed" in succeed("attach", to=host)
    assert keys(host) == ENFORCED
    succeed("attach", "--no-enforce-keys", to=host)
    assert keys(host) == NOT_ENFORCED


def test_an_upgrade_while_detached_keeps_what_was_chosen(host: Connection) -> None:
    install_audit(host, enforce_keys=True)
    installer.detach(host, HOST.audit_schema, "5s")
    host.execute("UPDATE step_audit_files SET release = '0.0.1'")
    install_audit(host)
    assert keys(host) == ENFORCED
    assert findings(host) == []


def test_an_uninstall_forgets_the_keys(host: Connection) -> None:
    install_audit(host, enforce_keys=True)
    uninstall_and_install(host)
    assert keys(host) == NOT_ENFORCED
    assert findings(host) == []


def test_a_server_that_was_upgraded_to_18_is_no_finding(host: Connection) -> None:
    """Before 18 no key is declared; pg_upgrade brings tables and ledger as they are."""
    install_audit(host)
    for key in keys(host):
        host.execute(
            f"ALTER TABLE tasker_workflow_step_result_audit DROP CONSTRAINT {key}".encode()
        )
    host.execute("DELETE FROM step_audit_objects WHERE object_name ~ 'fk_audit'")
    assert keys(host) == {}
    assert findings(host) == []
    (status,) = call(host, HOST.audit_schema, "get_step_audit_status")
    assert status["attached"]
    install_audit(host)
    assert keys(host) == NOT_ENFORCED
    assert findings(host) == []


def test_a_key_that_was_dropped_is_a_finding_and_is_declared_again(host: Connection) -> None:
    install_audit(host, enforce_keys=True)
    host.execute("ALTER TABLE tasker_workflow_step_result_audit DROP CONSTRAINT fk_audit_task")
    assert findings(host) == [
        "missing object: constraint tasker_workflow_step_result_audit.fk_audit_task"
    ]
    attach(host)
    assert keys(host) == ENFORCED
    assert findings(host) == []


@pytest.mark.parametrize("enforce_keys", [None, True])
def test_partitioned_transitions_have_no_key(host: Connection, enforce_keys: bool | None) -> None:
    partition_transitions(host)
    install_audit(host, enforce_keys=enforce_keys)
    expected = ENFORCED if enforce_keys else NOT_ENFORCED
    assert keys(host) == {key: how for key, how in expected.items() if key != "fk_audit_transition"}
    record_results(host, 2)
    # A partition can go, with its results.
    default = f"{HOST.transitions}_default"
    host.execute(f"ALTER TABLE {HOST.transitions} DETACH PARTITION {default}".encode())
    host.execute(f"DROP TABLE {default}".encode())
    assert host.execute("SELECT FROM tasker_workflow_step_result_audit").rowcount == 2


# Writers do not wait while kept rows are checked.


def locks(host: Connection, of: Connection) -> set[tuple[str, str]]:
    """Tables of engine and audit that a session has locked, and how."""
    rows = host.execute(
        "SELECT c.relname AS name, l.mode "
        "FROM pg_locks AS l JOIN pg_class AS c ON l.relation = c.oid "
        "WHERE l.pid = %s AND l.granted AND c.relkind IN ('r', 'p') "
        "AND c.relnamespace::regnamespace::text = ANY (%s)",
        (of.info.backend_pid, [HOST.schema, HOST.audit_schema]),
    ).fetchall()
    return {(row["name"], row["mode"]) for row in rows}


@pytest.mark.parametrize("enforce_keys", [None, True])
def test_a_reinstall_checks_no_kept_row_under_a_lock_that_writers_wait_for(
    host: Connection, enforce_keys: bool | None
) -> None:
    install_audit(host)
    record_results(host, 3)
    uninstall_audit(host)
    install_audit(host)
    installer.detach(host, HOST.audit_schema, "5s")
    enforce = "TRUE" if enforce_keys else "NULL"
    with connect_again(host) as installing:
        with installing.transaction():
            installing.execute(
                f"SELECT attach_step_result_audit(p_enforce_keys => {enforce})".encode()
            )
            engine = {table.rpartition(".")[2] for table in HOST.tables}
            held = {mode for table, mode in locks(host, installing) if table in engine}
            assert held & STOP_WRITERS == {"ShareRowExclusiveLock"}
            # Nothing is checked while that is held.
            assert set(keys(installing).values()) == (
                {"not valid"} if enforce_keys else set(NOT_ENFORCED.values())
            )
        with installing.transaction():
            installing.execute("SELECT * FROM validate_step_audit_keys()")
            held_on = locks(host, installing)
            assert {mode for _, mode in held_on} & STOP_WRITERS == set()
            assert bool(held_on) is bool(enforce_keys)
            # So a writer passes while it is checked.
            (step,) = create_steps(host)
            host.execute("SET lock_timeout = '1s'")
            insert_each(host, [Transition(step, OK, "{}", 1)])
    assert keys(host) == (ENFORCED if enforce_keys else NOT_ENFORCED)


def test_an_install_validates_in_a_transaction_of_its_own(host: Connection) -> None:
    """The keys that kept rows violate are there all the same: what else was done is committed."""
    install_audit(host)
    record_results(host, 2)
    uninstall_audit(host)
    delete_one_by_one(host)
    install_audit(host, enforce_keys=True)
    assert keys(host) == dict.fromkeys(KEYS, "not valid")
    assert findings(host) == []
    assert not install_audit(host)
