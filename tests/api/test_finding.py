"""Where no schema is named, the installation is found; a connection is left as it was."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.pq import TransactionStatus

from step_audit import (
    NotInstalledError,
    StepStateMachine,
    find_by_uuid,
    get_audit_history,
    get_task_audit_history,
    list_audits,
)
from step_audit.database import Connection
from step_audit.errors import SeveralInstalledError
from step_audit.read.web import create_app
from step_audit.setup import installer
from step_audit.setup.sources import load_sources
from tests.support.command import step_audit, succeed
from tests.support.host import HOST, READING, classic_in
from tests.support.install import install_audit
from tests.support.results import record_results
from tests.support.service import serving

pytestmark = pytest.mark.anyio

AnyConn = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]
Connect = Callable[..., Awaitable[AnyConn]]


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Connect:
    async def connect_either(conn: Connection, **options: Any) -> AnyConn:
        if request.param == "sync":
            return psycopg.connect(conn.info.dsn, **options)
        return await psycopg.AsyncConnection.connect(conn.info.dsn, **options)

    return connect_either


async def now(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def state(client: AnyConn) -> TransactionStatus:
    return client.info.transaction_status


def install_beside(conn: Connection, schema: str) -> None:
    """A second engine with an audit of its own."""
    engine = classic_in(schema)
    engine.create(conn)
    install_audit(conn, host=engine)


def test_the_commands_find_it_in_whatever_schema_it_is(conn: Connection) -> None:
    record_results(conn, 2)
    conn.execute(f'ALTER SCHEMA {HOST.audit_schema} RENAME TO "Eng%ine"'.encode())
    installer.install(conn, load_sources())
    step = conn.execute('SELECT task_uuid FROM "Eng%ine".tasker_tasks LIMIT 1').fetchone()
    assert step
    for command in (
        ["status"],
        ["backfill"],
        ["seal"],
        ["verify"],
        ["history", "--task", str(step["task_uuid"])],
        ["uninstall", "--yes"],
    ):
        assert succeed(*command, to=conn)
    assert step_audit("status", to=conn).code == 3


def test_of_several_one_is_to_be_named(conn: Connection) -> None:
    install_beside(conn, "another")
    told = (
        f"database {conn.info.dbname} has step-audit in several schemas: "
        f"another, {HOST.audit_schema}. "
        "Name one with --schema, in Python with schema=."
    )
    for command in ("status", "backfill", "seal", "verify", "uninstall --yes"):
        done = step_audit(*command.split(), to=conn)
        assert (done.code, done.out, done.err) == (3, "", f"step-audit: {told}\n")
    with pytest.raises(SeveralInstalledError) as error:
        list_audits(conn)
    assert str(error.value) == told
    assert list_audits(conn, schema="another").items == []
    with serving(create_app(conn.info.dsn)) as address:
        assert httpx.get(f"{address}/health").status_code == 503
    with serving(create_app(conn.info.dsn, "another")) as address:
        assert httpx.get(f"{address}/health").status_code == 200


def test_a_schema_that_the_role_may_not_use_does_not_count(conn: Connection) -> None:
    install_beside(conn, "another")
    conn.execute("DROP ROLE IF EXISTS reader; CREATE ROLE reader")
    for right in READING:
        conn.execute(f"GRANT {right} TO reader".encode())
    conn.execute("SET ROLE reader")
    assert list_audits(conn).items == []
    conn.execute("RESET ROLE")
    conn.execute(f"REVOKE USAGE ON SCHEMA {HOST.audit_schema} FROM PUBLIC, reader".encode())
    with psycopg.connect(conn.info.dsn, autocommit=True) as other:
        other.execute("SET ROLE reader")
        with pytest.raises(NotInstalledError, match="no schema that this role may use has it"):
            list_audits(other)
    conn.execute("DROP OWNED BY reader; DROP ROLE reader")


async def test_it_is_looked_up_once_and_again_where_it_has_gone(
    conn: Connection, connect: Connect
) -> None:
    step = record_results(conn, 1)[0].step.step_uuid
    client = await connect(conn, autocommit=True)
    (audit,) = await now(get_audit_history(client, step))
    install_beside(conn, "another")
    # Looked up anew, it would be ambiguous.
    assert await now(get_audit_history(client, step)) == [audit]

    conn.execute(
        f"DROP SCHEMA another CASCADE; ALTER SCHEMA {HOST.audit_schema} RENAME TO moved".encode()
    )
    installer.install(conn, load_sources())
    with pytest.raises(NotInstalledError, match=f"not installed in schema {HOST.audit_schema}"):
        await now(get_audit_history(client, step))
    assert await now(get_audit_history(client, step)) == [audit]
    await now(client.close())


async def test_no_call_leaves_a_transaction_that_it_did_not_find(
    conn: Connection, connect: Connect
) -> None:
    result = record_results(conn, 1)[0]
    calls: list[Callable[[AnyConn], Any]] = [
        lambda client: get_audit_history(client, result.step.step_uuid),
        lambda client: get_task_audit_history(client, result.step.task_uuid),
        lambda client: find_by_uuid(client, uuid.uuid4()),
        lambda client: list_audits(client, limit=1),
        lambda client: get_audit_history(client, result.step.step_uuid, HOST.audit_schema),
    ]
    for each in calls:
        client = await connect(conn)
        await now(each(client))
        assert state(client) is TransactionStatus.IDLE
        await now(client.execute("SELECT"))
        await now(each(client))
        assert state(client) is TransactionStatus.INTRANS
        await now(client.rollback())
        with pytest.raises(NotInstalledError):
            await now(list_audits(client, schema="nowhere"))
        assert state(client) is TransactionStatus.IDLE
        await now(client.close())


async def test_a_stream_that_is_left_leaves_no_transaction(conn: Connection) -> None:
    task = record_results(conn, 2)[0].step.task_uuid
    async with await psycopg.AsyncConnection.connect(conn.info.dsn) as client:
        async with aclosing(get_task_audit_history.stream(client, task)) as stream:
            await anext(stream)
        assert state(client) is TransactionStatus.IDLE
        assert len([a async for a in get_task_audit_history.stream(client, task)]) == 2
        assert state(client) is TransactionStatus.IDLE


def test_the_state_machine_finds_it_within_its_own_transaction(conn: Connection) -> None:
    step = record_results(conn, 1)[0].step
    with psycopg.connect(conn.info.dsn) as client:
        assert StepStateMachine(client).state(step.step_uuid)
        assert state(client) is TransactionStatus.IDLE
