"""What was recorded and sealed cannot be changed or removed, by nobody, in no way."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import errors, sql

from step_audit.database import Connection
from tests.support.host import (
    FAILED,
    HOST,
    Transition,
    create_steps,
    delete_transitions,
    insert_together,
)
from tests.support.install import install_audit
from tests.support.postgres import MAJOR
from tests.trust.attacks import GUARDED
from tests.trust.world import seal

# A column to write into, and the key, of each table.
COLUMNS = {
    "tasker_workflow_step_result_audit": ("success", "workflow_step_result_audit_uuid"),
    "tasker_workflow_step_result_audit_anomalies": (
        "reason",
        "workflow_step_result_audit_uuid, field",
    ),
    "step_audit_changes": ("operation", "step_audit_change_uuid"),
    "step_audit_events": ("kind", "step_audit_event_uuid"),
    "step_audit_leaves": ("leaf_hash", "leaf_index"),
    "step_audit_salts": ("salt", "leaf_index"),
    "step_audit_subtrees": ("root_hash", "height, subtree_index"),
    "step_audit_seals": ("sealed_at", "tree_size"),
}
WAYS = {
    "UPDATE": "UPDATE {table} SET {column} = {column}",
    "DELETE": "DELETE FROM {table}",
    "TRUNCATE": "TRUNCATE {table} CASCADE",
    "MERGE": "MERGE INTO {table} AS t USING (SELECT * FROM {table}) AS s ON ({same}) "
    "WHEN MATCHED THEN UPDATE SET {column} = s.{column}",
    "MERGE to delete": "MERGE INTO {table} AS t USING (SELECT * FROM {table}) AS s ON ({same}) "
    "WHEN MATCHED THEN DELETE",
    "ON CONFLICT": "INSERT INTO {table} SELECT * FROM {table} "
    "ON CONFLICT ({keys}) DO UPDATE SET {column} = excluded.{column}",
}


def statement(way: str, table: str) -> bytes:
    column, keys = COLUMNS[table]
    same = " AND ".join(f"t.{key} = s.{key}" for key in keys.split(", "))
    return WAYS[way].format(table=table, column=column, keys=keys, same=same).encode()


@pytest.fixture
def sealed(conn: Connection) -> Connection:
    """300 anomalous results, some changed since, sealed: so there are rows in each table."""
    record_all(conn)
    return conn


def record_all(conn: Connection) -> None:
    (step,) = create_steps(conn)
    insert_together(
        conn, [Transition(step, FAILED, '{"event": "not JSON"}', number) for number in range(300)]
    )
    conn.execute(f"UPDATE {HOST.transitions} SET metadata = '{{}}' WHERE sort_key < 9".encode())
    conn.execute("INSERT INTO step_audit_events (kind) VALUES ('result came again')")
    seal(conn)


def contents(conn: Connection) -> list[Any]:
    tables = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(table)) for table in GUARDED
    )
    return conn.execute(sql.SQL("{} ORDER BY 1").format(tables)).fetchall()


def assert_refused(conn: Connection, table: str, way: str) -> None:
    word = "DELETE" if way.endswith("delete") else way.split(maxsplit=1)[0]
    operation = {"MERGE": "UPDATE", "ON": "UPDATE"}.get(word, word)
    with pytest.raises(errors.InsufficientPrivilege) as refused:
        conn.execute(statement(way, table))
    said = refused.value.diag
    assert said.message_primary in {
        f"table {each} is append-only: {operation} is refused"
        # TRUNCATE CASCADE may come to the anomalies first.
        for each in ((table, f"{table}_anomalies") if way == "TRUNCATE" else (table,))
    }
    assert said.message_detail == "It is evidence: what was recorded stays as it was recorded."


@pytest.mark.parametrize("role", ["superuser", "owner"])
@pytest.mark.parametrize("replication", ["origin", "replica"])
def test_each_way_to_change_is_refused(empty: Connection, role: str, replication: str) -> None:
    conn = empty
    if role == "owner":
        conn.execute("DROP ROLE IF EXISTS keeper")
        conn.execute("CREATE ROLE keeper")
        conn.execute(f"GRANT CREATE ON DATABASE {conn.info.dbname} TO keeper".encode())
        conn.execute("GRANT ALL ON SCHEMA public TO keeper")
        conn.execute("GRANT SET ON PARAMETER session_replication_role TO keeper")
        conn.execute("SET ROLE keeper")
    HOST.create(conn)
    install_audit(conn)
    record_all(conn)
    before = contents(conn)
    # Rows, anomalies, changes, an event; leaves and salts of three of these; a subtree and a seal.
    assert len(before) == 300 + 300 + 9 + 1 + 2 * (300 + 9 + 1) + 1 + 1
    conn.execute(f"SET session_replication_role = {replication}".encode())
    for table in GUARDED:
        for way in WAYS:
            assert_refused(conn, table, way)
    conn.execute("RESET session_replication_role")
    assert contents(conn) == before
    if role == "owner":
        conn.execute("RESET ROLE")
        conn.execute("DROP OWNED BY keeper CASCADE")
        conn.execute("DROP ROLE keeper")


@pytest.mark.parametrize("table", [HOST.tasks, HOST.steps, HOST.transitions])
def test_truncating_the_hosts_tables_does_not_reach_the_audit(
    sealed: Connection, table: str
) -> None:
    before = contents(sealed)
    for replication in ("origin", "replica"):
        sealed.execute(f"SET session_replication_role = {replication}".encode())
        if MAJOR < 18:
            # No key says that the audit names it.
            sealed.execute(f"TRUNCATE {table} CASCADE".encode())
            continue
        with pytest.raises(errors.InsufficientPrivilege, match="append-only: TRUNCATE is refused"):
            sealed.execute(f"TRUNCATE {table} CASCADE".encode())
        with pytest.raises(errors.FeatureNotSupported):
            sealed.execute(f"TRUNCATE {table}".encode())
    # Where the host lets it, what it takes away is kept beside.
    after = contents(sealed)
    assert [row for row in after if row in before] == before


def test_a_result_that_is_audited_can_be_deleted_from_the_host(sealed: Connection) -> None:
    before = contents(sealed)
    deleted = delete_transitions(sealed)
    after = contents(sealed)
    assert len(after) == len(before) + deleted
    assert [row for row in after if row in before] == before


def test_the_audit_can_still_be_dropped_with_its_rows(sealed: Connection) -> None:
    """The guards keep rows, not the whole: uninstalling is a decision of the owner's."""
    sealed.execute("SELECT uninstall_step_result_audit(TRUE)")
    assert sealed.execute("SELECT to_regclass('step_audit_leaves') AS t").fetchall() == [
        {"t": None}
    ]
