"""A backup that pg_dump wrote is restored with all audit rows, and the audit goes on."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from step_audit.database import Connection
from tests.install.conftest import NewDatabase
from tests.support.audit import audit_rows, expected_rows
from tests.support.command import pg_dump, psql, succeed
from tests.support.host import HOST, OK, Host, Transition, classic_in, create_steps, insert_each
from tests.support.install import create_extension
from tests.support.inventory import list_audit_objects, take_inventory
from tests.support.postgres import MAJOR
from tests.support.results import record_results


def test_plain_install_is_restored_whole(new_database: NewDatabase) -> None:
    database, restored = new_database(), new_database()
    HOST.create(database)
    succeed("install", to=database)
    _record(database)
    _restore(database, restored)

    assert take_inventory(restored) == take_inventory(database)
    assert _audit_data(restored) == _audit_data(database)
    assert _record_more(restored)


def test_extension_is_restored_with_its_rows_and_attaches_again(new_database: NewDatabase) -> None:
    database, restored = new_database(), new_database()
    HOST.create(database)
    create_extension(database)
    _record(database)
    _restore(database, restored)
    assert _audit_data(restored) == _audit_data(database)

    restored.execute("SELECT attach_step_result_audit()")
    assert take_inventory(restored) == take_inventory(database)
    assert _audit_data(restored) == _audit_data(database)
    assert _record_more(restored)

    restored.execute("DROP EXTENSION step_audit")
    assert list_audit_objects(restored) == set()


def test_extension_in_another_schema_is_restored_with_its_rows(new_database: NewDatabase) -> None:
    database, restored = new_database(), new_database()
    other = classic_in("other")
    for conn in (database, restored):
        conn.execute("SET search_path = other")
    other.create(database)
    create_extension(database, host=other)
    _record(database, other)
    _restore(database, restored)
    restored.execute("SELECT other.attach_step_result_audit()")
    assert take_inventory(restored, other) == take_inventory(database, other)
    assert _audit_data(restored) == _audit_data(database)


def _record(conn: Connection, host: Host = HOST) -> None:
    record_results(conn, 4, host)
    (step,) = create_steps(conn, host=host)
    insert_each(conn, [Transition(step, OK, '{"event": "not JSON", "worker_uuid": 7}', 1)], host)
    assert any(row["anomalies"] for row in _audit_data(conn))


def _record_more(conn: Connection) -> bool:
    before: set[UUID] = set(audit_rows(conn))
    recorded = record_results(conn, 2)
    added = {uuid: row for uuid, row in audit_rows(conn).items() if uuid not in before}
    return added == expected_rows(recorded)


def _restore(source: Connection, target: Connection) -> None:
    dump = pg_dump(source)
    if MAJOR < 17:
        # pg_dump is the newest; older servers do not know this setting of its scripts.
        dump = dump.replace("SET transaction_timeout = 0;\n", "")
    done = psql(target, dump)
    assert done.code == 0, done.err


def _audit_data(conn: Connection) -> list[dict[str, Any]]:
    return conn.execute(
        """
        SELECT a.*, array_agg(n ORDER BY n.field) FILTER (WHERE n.field IS NOT NULL) AS anomalies
        FROM tasker_workflow_step_result_audit AS a
        LEFT JOIN tasker_workflow_step_result_audit_anomalies AS n
            USING (workflow_step_result_audit_uuid)
        GROUP BY a.workflow_step_result_audit_uuid
        ORDER BY a.workflow_step_result_audit_uuid
        """
    ).fetchall()
