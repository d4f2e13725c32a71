"""Laws: verify names what was done to the data and nothing else, in a database and in its dump."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from step_audit.database import Connection
from step_audit.trust.verify import Report, open_signed, verify, verify_dump
from step_audit.trust.verify.tables import OWN
from tests.support.host import HOST, create_steps
from tests.trust.world import History, Record, World, seal

AUDIT, LEAVES, SALTS = "tasker_workflow_step_result_audit", "step_audit_leaves", "step_audit_salts"
GUARDED = (AUDIT, LEAVES, SALTS)

Key = tuple[str, str | None]
"""A kind, and the field or leaf where the kind has one."""


class Deed(NamedTuple):
    """What is done to one record, and what must be found of it, sealed or not."""

    do: Callable[[Connection, Record], None]
    sealed: tuple[str, ...]
    unsealed: tuple[str, ...]


def _audit(assignments: str) -> Callable[[Connection, Record], None]:
    def do(conn: Connection, record: Record) -> None:
        _change(
            conn,
            f"UPDATE {AUDIT} SET {assignments} WHERE workflow_step_result_audit_uuid = %s",
            record.audit,
        )

    return do


def _transition(change: str) -> Callable[[Connection, Record], None]:
    def do(conn: Connection, record: Record) -> None:
        _change(
            conn,
            f"{change.format(HOST.transitions)} WHERE workflow_step_transition_uuid = %s",
            record.transition,
        )

    return do


def _leaf(change: str) -> Callable[[Connection, Record], None]:
    def do(conn: Connection, record: Record) -> None:
        if record.index is not None:
            _change(conn, f"{change} WHERE leaf_index = %s", record.index)

    return do


def _delete_audit(conn: Connection, record: Record) -> None:
    _change(conn, f"DELETE FROM {AUDIT} WHERE workflow_step_result_audit_uuid = %s", record.audit)


def _delete_both(conn: Connection, record: Record) -> None:
    _delete_audit(conn, record)
    _transition("DELETE FROM {}")(conn, record)


DEEDS = {
    "nothing": Deed(lambda conn, record: None, (), ()),
    "recorder": Deed(_audit("recorded_by = 'nobody'"), ("altered record",), ()),
    "success": Deed(
        _audit("success = NOT success"),
        ("altered record", "mismatch success"),
        ("mismatch success",),
    ),
    "time": Deed(
        _audit("execution_time_ms = 987654"),
        ("altered record", "mismatch execution_time_ms"),
        ("mismatch execution_time_ms",),
    ),
    "task": Deed(
        _audit("task_uuid = gen_random_uuid()"),
        ("altered record", "mismatch task_uuid"),
        ("mismatch task_uuid",),
    ),
    "payload": Deed(
        _transition("UPDATE {} SET metadata = metadata || '{{\"note\": 1}}'"),
        ("altered record",),
        (),
    ),
    "state": Deed(
        _transition("UPDATE {} SET to_state = 'complete'"), ("altered record", "extra"), ("extra",)
    ),
    "transition deleted": Deed(
        _transition("DELETE FROM {}"), ("altered record", "extra"), ("extra",)
    ),
    "audit deleted": Deed(_delete_audit, ("deleted record", "missing"), ("missing",)),
    "both deleted": Deed(_delete_both, ("deleted record",), ()),
    "salt deleted": Deed(_leaf(f"DELETE FROM {SALTS}"), ("missing salt",), ()),
    "salt changed": Deed(
        _leaf(f"UPDATE {SALTS} SET salt = decode(repeat('00', 16), 'hex')"), ("altered record",), ()
    ),
    "leaf": Deed(
        _leaf(f"UPDATE {LEAVES} SET leaf_hash = sha256('x')"),
        ("altered record", "rewritten log"),
        (),
    ),
    "kind": Deed(
        _leaf(f"UPDATE {LEAVES} SET kind = 'unprintable result'"), ("altered record",), ()
    ),
}


def _change(conn: Connection, statement: str, key: object) -> None:
    assert conn.execute(statement.encode(), (key,)).rowcount == 1


@pytest.fixture
def world(conn: Connection) -> World:
    """A sealed history of clean and odd results, a checkpoint, and a few that are not sealed."""
    world = World(conn, History(create_steps(conn, 4)))
    world.history.record(conn, 40)
    seal(conn)
    world.newer = world.sign()
    world.history.record(conn, 6)
    return world


@st.composite
def plans(draw: st.DrawFn, records: int) -> dict[int, str]:
    """Deeds by the place of the record that each is done to, one for a record at most."""
    chosen = draw(st.lists(st.integers(0, records - 1), unique=True, max_size=6))
    return {each: draw(st.sampled_from(sorted(DEEDS))) for each in chosen}


def expected_of(world: World, plan: dict[int, str]) -> set[tuple[str, str | None]]:
    """What must be found: kind, with the field, and the record by its audit row or transition."""
    expected: set[tuple[str, str | None]] = set()
    for place, name in plan.items():
        record = world.records[place]
        for kind in DEEDS[name].unsealed if record.index is None else DEEDS[name].sealed:
            about = record.transition if kind == "missing" else record.audit
            expected.add((kind, None if kind == "rewritten log" else str(about)))
    return expected


def found_in(report: Report) -> set[tuple[str, str | None]]:
    return {
        (
            f"mismatch {each.field}" if each.finding == "mismatch" else each.finding,
            None
            if each.finding == "rewritten log"
            else str(each.workflow_step_result_audit_uuid or each.workflow_step_transition_uuid),
        )
        for each in report.findings
    }


def test_what_was_done_is_named_and_nothing_else(world: World) -> None:
    signed = open_signed(world.newer, None, world.public_key)
    readable = [
        place
        for place, record in enumerate(world.records)
        if record.read[3] and not record.anomalous
    ]

    @settings(max_examples=60, deadline=None)
    @given(plans(len(readable)))
    def law(drawn: dict[int, str]) -> None:
        plan = {readable[place]: name for place, name in drawn.items()}
        with world.conn.transaction(force_rollback=True):
            _do(world, plan)
            report = verify(world.conn, HOST.audit_schema, signed=signed)
            assert found_in(report) == expected_of(world, plan)
            with tempfile.TemporaryDirectory() as folder:
                write_dump(world.conn, Path(folder))
                dumped = verify_dump(Path(folder), signed=signed)
        assert found_in(dumped) == expected_of(world, plan)
        assert dumped.counts.compared == report.counts.compared
        assert dumped.counts.leaves == report.counts.leaves

    law()


def _do(world: World, plan: dict[int, str]) -> None:
    conn = world.conn
    conn.execute("SET LOCAL session_replication_role = replica")
    for switch in ("DISABLE TRIGGER", "ENABLE ALWAYS TRIGGER"):
        for table in GUARDED:
            conn.execute(f"ALTER TABLE {table} {switch} trg_append_only".encode())
        if switch == "DISABLE TRIGGER":
            for place, name in plan.items():
                DEEDS[name].do(conn, world.records[place])
    conn.execute("SET LOCAL session_replication_role = origin")


def write_dump(conn: Connection, folder: Path) -> None:
    """Each table as ``pg_restore -a -t TABLE -f FILE`` writes it."""
    tables = {name: (name, tuple(columns)) for name, columns in OWN.items()}
    for name in ("tasker_workflow_steps", "tasker_workflow_step_transitions"):
        rows = conn.execute(f"SELECT * FROM {HOST.table(name)} LIMIT 0".encode())
        columns = tuple(column.name for column in rows.description or ())
        tables[HOST.relation(name)] = (HOST.table(name), columns)
    for name, (table, columns) in tables.items():
        with (folder / name).open("wb") as file:
            file.write(b"--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'UTF8';\n\n")
            file.write(f"COPY public.{name} ({', '.join(columns)}) FROM stdin;\n".encode())
            with conn.cursor().copy(
                f"COPY (SELECT {', '.join(columns)} FROM {table}) TO STDOUT".encode()
            ) as copy:
                file.writelines(copy)
            file.write(b"\\.\n\n--\n-- PostgreSQL database dump complete\n--\n")
