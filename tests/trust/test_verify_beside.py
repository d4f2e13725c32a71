"""What another session does while verify reads: it waits, or it is told, or it is harmless."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from psycopg import errors

from step_audit.database import Connection
from step_audit.trust.verify import Report, verify
from step_audit.trust.verify import run as verify_run
from step_audit.trust.verify import session as verify_session
from step_audit.trust.verify import work as verify_work
from step_audit.trust.verify.tables import Table
from step_audit.trust.verify.work import examine_range
from tests.support.connect import connect, connect_again
from tests.support.host import HOST, disable_own_audit
from tests.support.install import install_audit
from tests.support.partitions import partition_transitions
from tests.support.replication import wait_until
from tests.support.results import record_results
from tests.trust.attacks import AUDIT, SEALS, TRANSITIONS, change_audit
from tests.trust.world import AUDITOR, OWNER, World, seal, start_world

SCHEMA = HOST.audit_schema
CHANGED = ("changed while verified", "tables that were read")


@pytest.fixture
def world(empty: Connection) -> World:
    world = start_world(empty)
    seal(empty)
    world.history.record(empty, 5)
    return world


def verify_there(world: World, workers: int = 1, user: str = AUDITOR) -> Report:
    with connect_again(world.conn, user=user) as conn:
        return verify(conn, SCHEMA, workers=workers)


def found(report: Report) -> list[tuple[str, str | None]]:
    return [(each.finding, each.field) for each in report.findings]


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something between the first look at the catalog and the reading of the rows."""
    original = verify_run._verify_data

    def verify_data(job: Any) -> Any:
        act()
        return original(job)

    monkeypatch.setattr(verify_run, "_verify_data", verify_data)


# A forged schema in the place of the audit's.


def forge_schema(world: World) -> None:
    """Tables as the audit's, with rows as they are now."""
    world.conn.execute("CREATE SCHEMA forged")
    tables = world.conn.execute(
        "SELECT relname AS name FROM pg_class WHERE relnamespace = %s::regnamespace "
        "AND relkind = 'r'",
        (SCHEMA,),
    ).fetchall()
    assert len(tables) > 6
    for table in tables:
        name = table["name"]
        world.conn.execute(f"CREATE TABLE forged.{name} AS TABLE {SCHEMA}.{name}".encode())


@contextmanager
def swapped(conn: Connection) -> Iterator[None]:
    """Under ACCESS SHARE a schema can be renamed; whoever may do so needs no superuser."""
    with connect(conn.info.dsn, user="postgres") as other:
        for first, then in ((SCHEMA, "hidden"), ("forged", SCHEMA)):
            other.execute(f"ALTER SCHEMA {first} RENAME TO {then}".encode())
        yield
        for first, then in ((SCHEMA, "forged"), ("hidden", SCHEMA)):
            other.execute(f"ALTER SCHEMA {first} RENAME TO {then}".encode())


def _examine_swapped(conn: Connection, *rest: Any) -> Any:
    with swapped(conn):
        return examine_range(conn, *rest)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_forged_schema_that_is_there_for_a_while_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Nothing else tells: the catalog is as it was when it is looked at again."""
    forge_schema(world)
    with world.conn.transaction():
        change_audit(world, world.sealed[-1], "success = NOT success")
    kinds = {finding for finding, _ in found(verify_there(world))}
    assert kinds == {"altered record", "mismatch"}
    monkeypatch.setattr(verify_work, "examine_range", _examine_swapped)
    assert found(verify_there(world, workers)) == [CHANGED]


# What has to wait.


def waits(conn: Connection, process: int) -> bool:
    query = "SELECT FROM pg_locks WHERE NOT granted AND pid = %s AND mode = 'AccessExclusiveLock'"
    return bool(conn.execute(query, (process,)).fetchall())


@pytest.mark.parametrize(
    "statement",
    [
        f"ALTER TABLE {AUDIT} RENAME TO gone",
        f"ALTER TABLE {AUDIT} SET SCHEMA pg_temp",
        f"DROP TABLE {AUDIT} CASCADE",
        f"TRUNCATE {SEALS}",
        f"ALTER TABLE {HOST.transitions} ENABLE ROW LEVEL SECURITY",
        f"CREATE RULE forged AS ON SELECT TO {SEALS} DO INSTEAD SELECT 1",
        f"ALTER TABLE {AUDIT} ALTER success TYPE text",
    ],
)
def test_what_would_change_a_table_waits(
    world: World, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    original = verify_run._verify_data
    with connect_again(world.conn) as other, ThreadPoolExecutor(1) as pool:
        process = other.info.backend_pid

        def verify_data(job: Any) -> Any:
            changing = pool.submit(other.execute, statement.encode())
            wait_until(lambda: changing.done() or waits(world.conn, process), "waiting")
            done = original(job)
            assert waits(world.conn, process)
            world.conn.execute("SELECT pg_cancel_backend(%s)", (process,))
            with pytest.raises(errors.QueryCanceled):
                changing.result()
            return done

        monkeypatch.setattr(verify_run, "_verify_data", verify_data)
        assert found(verify_there(world)) == []


# What need not wait, and is told.

LYING = (
    f"CREATE FUNCTION {HOST.schemas[0]}.lying(n int) RETURNS boolean IMMUTABLE LANGUAGE sql "
    "AS 'SELECT TRUE'"
)
CHANGES = {
    "index": (
        (
            LYING,
            f"CREATE INDEX lies ON {SCHEMA}.{AUDIT} (workflow_step_result_audit_uuid) "
            f"WHERE {HOST.schemas[0]}.lying(1)",
        ),
        ("foreign object", f"index lies on {AUDIT}"),
    ),
    "guard": (
        (f"ALTER TABLE {AUDIT} DISABLE TRIGGER trg_append_only",),
        ("altered object", f"trigger {AUDIT}.trg_append_only"),
    ),
    "trigger": (
        (f"ALTER TABLE {HOST.transitions} DISABLE TRIGGER {HOST.trigger}",),
        ("altered object", f"trigger {TRANSITIONS}.{HOST.trigger}"),
    ),
    "child": (
        (f"CREATE TABLE {HOST.schemas[0]}.child () INHERITS ({AUDIT})",),
        ("foreign object", f"child {HOST.schemas[0]}.child of {AUDIT}"),
    ),
    "right": (
        (f"GRANT INSERT ON {AUDIT} TO pg_monitor",),
        ("foreign object", f"right INSERT on {AUDIT} of pg_monitor"),
    ),
    "statistics": (
        (
            LYING,
            f"CREATE STATISTICS {HOST.schemas[0]}.lies ON ({HOST.schemas[0]}.lying(1)) "
            f"FROM {AUDIT}",
        ),
        ("foreign object", f"statistics lies on {AUDIT}"),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_after_the_first_look_is_told_by_the_second(
    world: World, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    statements, expected = CHANGES[change]
    with connect_again(world.conn) as owner:
        owner.execute(f"SET ROLE {OWNER}".encode())
        meanwhile(monkeypatch, lambda: [owner.execute(each.encode()) for each in statements])
        assert found(verify_there(world)) == [expected]


def test_a_plain_index_that_is_made_meanwhile_is_no_finding(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever plans a query of the table locks it, and the snapshot's catalog does not know it."""
    create = f"CREATE INDEX plain_one ON {HOST.transitions} (created_at)"
    with connect_again(world.conn) as owner:
        meanwhile(monkeypatch, lambda: owner.execute(create.encode()))
        report = verify_there(world)
    assert found(report) == []
    assert report.counts.unsealed == 5


@pytest.mark.parametrize("results", [0, 2])
def test_a_partition_that_is_attached_meanwhile_is_told_if_it_has_results(
    host: Connection, monkeypatch: pytest.MonkeyPatch, results: int
) -> None:
    conn = host
    disable_own_audit(conn)
    partition_transitions(conn)
    table = HOST.transitions
    conn.execute(f"DROP TABLE {table}_default".encode())
    conn.execute(
        f"CREATE TABLE {table}_now PARTITION OF {table} "
        "FOR VALUES FROM ('2020-02-01') TO ('2120-01-01')".encode()
    )
    install_audit(conn)
    written = record_results(conn, 6)
    seal(conn)
    assert verify(conn, SCHEMA).findings == ()
    conn.execute(f"CREATE TABLE {table}_old (LIKE {table} INCLUDING ALL)".encode())
    conn.execute(
        f"INSERT INTO {table}_old ({HOST.columns}, created_at) "
        "SELECT gen_random_uuid(), workflow_step_uuid, from_state, to_state, "
        f"{HOST.metadata}, sort_key + 100, FALSE, '2019-01-15' FROM {table} "
        "WHERE workflow_step_transition_uuid = ANY(%s)".encode(),
        ([each.transition_uuid for each in written[:results]],),
    )
    attach = (
        f"ALTER TABLE {table} ATTACH PARTITION {table}_old "
        "FOR VALUES FROM ('2019-01-01') TO ('2019-02-01')"
    )
    with connect_again(conn) as other:
        meanwhile(monkeypatch, lambda: other.execute(attach.encode()))
        report = verify(conn, SCHEMA)
    assert [each.finding for each in report.findings] == ["missing"] * results


# A table that is rewritten between the snapshot and the lock.


def test_a_table_that_is_rewritten_under_the_snapshot_is_read_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the snapshot it is empty; who has rights on its columns only locks it by a query."""
    conn = world.conn
    conn.execute("CREATE ROLE column_auditor LOGIN")
    try:
        conn.execute("SELECT grant_step_audit('column_auditor', 'auditor')")
        with connect_again(conn) as other, ThreadPoolExecutor(1) as pool:
            rewritten: list[str] = []

            def commit_when_waited_for() -> None:
                wait_until(lambda: _is_waited_for(conn, other.info.backend_pid), "waited for")
                other.execute("COMMIT")

            def touch(reader: Connection, table: Table) -> None:
                if table.name == TRANSITIONS and not rewritten:
                    rewritten.append(table.table_name)
                    other.execute("BEGIN")
                    change = "ADD COLUMN drawn float DEFAULT random()"
                    other.execute(f"ALTER TABLE {HOST.transitions} {change}".encode())
                    committing = pool.submit(commit_when_waited_for)
                    original(reader, table)
                    committing.result()
                else:
                    original(reader, table)

            original = verify_session._touch
            monkeypatch.setattr(verify_session, "_touch", touch)
            report = verify_there(world, user="column_auditor")
        assert rewritten
        assert found(report) == []
        assert report.counts.unsealed == 5
    finally:
        conn.execute("DROP OWNED BY column_auditor")
        conn.execute("DROP ROLE column_auditor")


def _is_waited_for(conn: Connection, process: int) -> bool:
    query = "SELECT FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
    return bool(conn.execute(query, (process,)).fetchall())
