"""The typed records, read through sync and async connections alike."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import FrozenInstanceError, fields
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest

from step_audit import (
    AuditCursor,
    AuditPage,
    NotInstalledError,
    StepAuditResponse,
    StepAuditWithResults,
    WorkflowStepResultAudit,
    find_by_uuid,
    get_audit_history,
    get_task_audit_history,
    list_audits,
)
from step_audit.database import Connection, call
from tests.support.host import HOST, OK, Transition, create_steps, insert_each
from tests.support.results import record_results

pytestmark = pytest.mark.anyio

Read = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["sync", "async"])
async def read(request: pytest.FixtureRequest, conn: Connection) -> AsyncIterator[Read]:
    """Call a reader on a sync or an async connection that its owner made to his own taste."""
    info = conn.info.dsn
    async with await psycopg.AsyncConnection.connect(info, autocommit=True) as async_conn:
        with psycopg.connect(info, autocommit=True) as sync_conn:

            async def call_reader(reader: Any, *args: Any, **kwargs: Any) -> Any:
                if request.param == "async":
                    return await reader(async_conn, *args, **kwargs)
                found = reader(sync_conn, *args, **kwargs)
                assert not inspect.isawaitable(found)
                return found

            yield call_reader


def by_hand(conn: Connection, **filters: object) -> list[dict[str, Any]]:
    """Rows of the SQL function, as a record has them."""
    rows = call(conn, HOST.audit_schema, "list_step_audits", **filters, p_limit=None)
    for row in rows:
        for name in ("recorded_at", "created_at", "updated_at"):
            row[name] = row[name].replace(tzinfo=UTC)
        row["result_json"] = row.pop("result")
    return rows


def as_rows(audits: list[StepAuditWithResults]) -> list[dict[str, Any]]:
    return [{field.name: getattr(a, field.name) for field in fields(a)} for a in audits]


async def test_a_history_has_every_column_typed_and_in_utc(conn: Connection, read: Read) -> None:
    results = record_results(conn, 4)
    step = results[2].step
    audits = await read(get_audit_history, step.step_uuid)
    assert as_rows(audits) == by_hand(conn, p_step_uuid=step.step_uuid)
    (audit,) = audits
    assert issubclass(type(audit), WorkflowStepResultAudit)
    assert audit.workflow_step_transition_uuid == results[2].transition_uuid
    assert audit.recorded_at.tzinfo is UTC
    assert (audit.success, audit.execution_time_ms) == (False, 2)
    assert audit.result == {"success": False, "metadata": {"execution_time_ms": 2}}

    of_task = await read(get_task_audit_history, results[0].step.task_uuid)
    assert as_rows(of_task) == by_hand(conn, p_task_uuid=results[0].step.task_uuid)
    assert len(of_task) == 2


async def test_an_unknown_uuid_has_no_history(read: Read) -> None:
    assert await read(get_audit_history, uuid.uuid4()) == []
    assert await read(get_task_audit_history, uuid.uuid4()) == []
    assert await read(find_by_uuid, uuid.uuid4()) is None
    assert await read(list_audits) == AuditPage([], None)


async def test_an_audit_is_found_by_its_key(conn: Connection, read: Read) -> None:
    record_results(conn, 3)
    page = await read(list_audits)
    assert len(page.items) == 3
    for audit in page.items:
        assert await read(find_by_uuid, audit.workflow_step_result_audit_uuid) == audit


async def test_lists_are_filtered_and_paged(conn: Connection, read: Read) -> None:
    record_results(conn, 7)
    rows = by_hand(conn)
    row = rows[3]
    for name in ("worker_uuid", "correlation_id", "task_uuid"):
        page = await read(list_audits, **{name: row[name]})
        assert as_rows(page.items) == [r for r in rows if r[name] == row[name]], name
    page = await read(list_audits, step_uuid=row["workflow_step_uuid"], success=row["success"])
    assert as_rows(page.items) == [row]
    page = await read(list_audits, min_execution_time_ms=5)
    assert {audit.execution_time_ms for audit in page.items} == {5, 6}

    found: list[StepAuditWithResults] = []
    cursor: AuditCursor | None = None
    while not found or cursor:
        page = await read(list_audits, limit=2, cursor=cursor)
        found += page.items
        cursor = page.next_cursor
    assert as_rows(found) == rows


async def test_a_time_range_takes_times_of_any_zone_and_of_none(
    conn: Connection, read: Read
) -> None:
    record_results(conn, 1)
    (row,) = by_hand(conn)
    recorded: datetime = row["recorded_at"]
    elsewhere = [recorded.astimezone(timezone(timedelta(hours=hours))) for hours in (-5, 5)]
    for time in (recorded, *elsewhere, recorded.replace(tzinfo=None)):
        assert len((await read(list_audits, recorded_from=time)).items) == 1
        assert (await read(list_audits, recorded_until=time)).items == []


async def test_a_limit_out_of_range_is_refused(read: Read) -> None:
    for limit in (0, -1, 1_000_001):
        with pytest.raises(ValueError, match=f"the limit must be from 1 to 1000000, not {limit}"):
            await read(list_audits, limit=limit)


async def test_a_result_keeps_its_digits_and_escapes(conn: Connection, read: Read) -> None:
    (step,) = create_steps(conn)
    texts = ['{"a": 1.000000000000000000001}', '["a\\u0000b\\ud800"]', "null", '"text"', "{"]
    for number, text in enumerate(texts):
        insert_each(conn, [Transition(step, OK, f'{{"event": {json_string(text)}}}', number)])
    audits = await read(get_audit_history, step.step_uuid)
    assert [audit.result_json for audit in audits] == [None, *reversed(texts[:-1])]
    assert [audit.result for audit in audits] == [
        None,
        "text",
        None,
        ["a\0b\ud800"],
        {"a": 1.000000000000000000001},
    ]
    assert StepAuditResponse.of(audits[3]).result == ["a\0b\ud800"]


def json_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


async def test_a_result_that_python_cannot_hold_hides_no_other(
    conn: Connection, read: Read
) -> None:
    (step,) = create_steps(conn)
    for number, text in enumerate(["1" * 5000, "[" * 2000 + "]" * 2000, "[1]"]):
        insert_each(conn, [Transition(step, OK, f'{{"event": "{text}"}}', number)])
    good, nested, long = await read(get_audit_history, step.step_uuid)
    assert good.result == [1]
    with pytest.raises(RecursionError):
        _ = nested.result
    with pytest.raises(ValueError, match="digits"):
        _ = long.result


async def test_a_schema_without_step_audit_is_named(conn: Connection, read: Read) -> None:
    conn.execute("CREATE SCHEMA other")
    for schema in ("other", "nowhere"):
        with pytest.raises(NotInstalledError, match=f"not installed in schema {schema}"):
            await read(get_audit_history, uuid.uuid4(), schema)


async def test_a_record_cannot_be_changed(conn: Connection, read: Read) -> None:
    record_results(conn, 1)
    (audit,) = (await read(list_audits)).items
    with pytest.raises(FrozenInstanceError):
        audit.success = False


async def test_a_stream_gives_the_history_and_may_be_left(conn: Connection) -> None:
    result, other = record_results(conn, 2)
    task = result.step.task_uuid
    info = conn.info.dsn
    async with await psycopg.AsyncConnection.connect(info, autocommit=True) as async_conn:
        history = await get_task_audit_history(async_conn, task)
        assert [a async for a in get_task_audit_history.stream(async_conn, task)] == history
        async with aclosing(get_task_audit_history.stream(async_conn, task)) as stream:
            assert await anext(stream) == history[0]
        assert await get_audit_history(async_conn, other.step.step_uuid) == history[:1]
