"""Whoever reads what was erased gets the row without its payload; who proves is told of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from step_audit import (
    AsyncAuditClient,
    AuditClient,
    find_by_uuid,
    get_audit_history,
    get_operator_actions,
    get_task_audit_history,
)
from step_audit.database import Connection, call
from step_audit.read.web import create_app
from step_audit.trust.leaf import Leaf
from tests.lifecycle.test_changes import engine, run  # noqa: F401 (a fixture)
from tests.lifecycle.test_erase import MARKER, REASON, audit_uuid, erase, full_task, record, rows
from tests.lifecycle.test_sealed_changes import seal
from tests.support.command import run as step_audit
from tests.support.command import succeed
from tests.support.host import HOST, Step, Transition
from tests.support.keys import write_key
from tests.support.sealed import SIGNER, VERIFIER_KEY
from tests.support.service import serving


@pytest.fixture
def erased(conn: Connection) -> tuple[Step, list[Transition]]:
    """A task with results, changes, an action and attributions, all of it erased."""
    step, made = full_task(conn)
    seal(conn)
    succeed("erase", "--task", str(step.task_uuid), *REASON, to=conn)
    return step, made


def test_sql_shows_the_rows(conn: Connection, erased: tuple[Step, list[Transition]]) -> None:
    step, _ = erased
    shown = rows(conn, f"SELECT * FROM {HOST.audit_schema}.step_audits")
    assert [row["result"] for row in shown] == [None] * 4
    assert [row["deleted"] for row in shown].count(True) == 1
    assert all(row["to_state"] and row["step_name"] for row in shown)
    history = call(conn, HOST.audit_schema, "get_task_audit_history", p_task_uuid=step.task_uuid)
    assert [row["result"] for row in history] == [None] * 4
    of_step = call(conn, HOST.audit_schema, "get_step_audit_history", p_step_uuid=step.step_uuid)
    assert [row["result"] for row in of_step] == [None] * 3
    changed = call(conn, HOST.audit_schema, "list_step_audit_changes")
    assert [(row["operation"], row["result"]) for row in changed] == [
        ("delete", None),
        ("update", None),
        ("update", None),
    ]


def test_actions_are_listed_without_what_was_said_of_them(
    conn: Connection, erased: tuple[Step, list[Transition]]
) -> None:
    (row,) = call(conn, HOST.audit_schema, "list_operator_actions")
    assert [row[name] for name in ("action", "to_state", "claims")] == [None] * 3
    assert row["recorded_by"] == "postgres"
    assert [(each["operator"], each["recorded_by"]) for each in row["attributions"]] == [
        (None, "postgres")
    ] * 2
    assert "(erased) and 1 more" in succeed("actions", to=conn)
    for form in ("json", "jsonl", "csv"):
        assert MARKER not in succeed("actions", "--format", form, to=conn)


def test_python_and_http_read_on(conn: Connection, erased: tuple[Step, list[Transition]]) -> None:
    step, made = erased
    key = audit_uuid(conn, made[0])
    with psycopg.connect(conn.info.dsn) as client:
        assert [each.result for each in get_audit_history(client, step.step_uuid)] == [None] * 3
        assert len(get_task_audit_history(client, step.task_uuid)) == 4
        found = find_by_uuid(client, key)
        assert found is not None
        assert found.result is None
        (action,) = get_operator_actions(client)
        assert (action.action, [each.operator for each in action.attributions]) == (
            None,
            [None, None],
        )

    async def read(address: str) -> list[Any]:
        async with AsyncAuditClient(address) as client:
            return await client.get_task_actions(step.task_uuid)

    with serving(create_app(conn.info.dsn)) as address:
        reply = httpx.get(f"{address}/v1/audit/{key}", timeout=30)
        assert (reply.status_code, reply.json()["result"]) == (200, None)
        with AuditClient(address) as service:
            assert len(service.get_task_audit_history(step.task_uuid)) == 4
            assert [each.result for each in service.list_audits()] == [None] * 4
            assert [each.action for each in service.get_task_actions(step.task_uuid)] == [None]
        assert len(asyncio.run(read(address))) == 1


def test_history_is_printed_in_each_form(
    conn: Connection, erased: tuple[Step, list[Transition]]
) -> None:
    step, _ = erased
    for form in ("table", "json", "jsonl", "csv"):
        said = succeed("history", "--task", str(step.task_uuid), "--format", form, to=conn)
        assert str(step.step_uuid) in said or step.name in said
        assert MARKER not in said


def test_a_proof_is_refused_and_says_who_erased_it(conn: Connection, tmp_path: Path) -> None:
    result, other = record(conn), record(conn)
    seal(conn)
    key, note = write_key(tmp_path / "key", SIGNER), str(tmp_path / "note")
    succeed("checkpoint", "--key", key, "--out", note, "--first", to=conn)
    signed = ("--checkpoint", note, "--public-key", VERIFIER_KEY)
    audit, before, after = str(audit_uuid(conn, result)), tmp_path / "before", tmp_path / "after"
    succeed("prove", audit, *signed, "--out", str(before), to=conn)
    erase(conn, result)

    done = step_audit("prove", audit, *signed, to=conn)
    assert done.code == 3
    (event,) = rows(
        conn, f"SELECT * FROM {HOST.audit_schema}.step_audit_events WHERE kind = 'erased'"
    )
    assert (
        f"was erased at {event['recorded_at']:%Y-%m-%d %H:%M:%S} UTC by postgres for ann: "
        "request 62." in done.err
    )
    # A proof of before holds, and that the record was there can be proved still.
    succeed("verify-proof", str(before), "--public-key", VERIFIER_KEY)
    succeed("prove", audit, *signed, "--without-result", "--out", str(after), to=conn)
    assert "withheld" in succeed("verify-proof", str(after), "--public-key", VERIFIER_KEY)
    assert MARKER not in after.read_text()
    succeed("prove", str(audit_uuid(conn, other)), *signed, to=conn)


def test_an_erased_leaf_is_what_was_sealed(conn: Connection) -> None:
    result = record(conn)
    seal(conn)
    (before,) = call(conn, HOST.audit_schema, "list_step_audit_leaves", p_first=0, p_until=1)
    erase(conn, result)
    (after,) = call(conn, HOST.audit_schema, "list_step_audit_leaves", p_first=0, p_until=1)
    assert after["leaf"] == before["leaf"]
    assert (after["salt"], after["payload"]) == (None, None)
    assert Leaf.from_text(after["leaf"]).commitment == json.loads(before["leaf"])[-1]
    run(conn, f"DELETE FROM {HOST.transitions}")
    (gone,) = call(conn, HOST.audit_schema, "list_step_audit_leaves", p_first=0, p_until=1)
    assert gone["leaf"] == before["leaf"]
