"""Who may erase, and the procedure that does it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors

from step_audit.database import Connection
from tests.lifecycle.test_changes import changes, engine, run  # noqa: F401 (a fixture)
from tests.lifecycle.test_erase import (
    AUDIT,
    MARKER,
    PLAIN,
    REASON,
    SALTS,
    SCHEMA,
    audit_uuid,
    erase,
    erasures,
    full_task,
    holders_of,
    metadata_of,
    record,
    rewrite,
)
from tests.lifecycle.test_operator_actions import EVENTS
from tests.lifecycle.test_sealed_changes import CHANGES, seal
from tests.support.command import run as step_audit
from tests.support.command import succeed
from tests.support.connect import connect_again, dsn_of
from tests.support.host import (
    HOST,
    create_steps,
)
from tests.support.roles import login_roles


@pytest.fixture
def eraser(conn: Connection) -> Iterator[Connection]:
    """A connection of a role that may erase, and nothing else."""
    with login_roles(conn, "eraser"):
        succeed("grant", "eraser", "--as", "eraser", to=conn)
        with connect_again(conn, user="eraser") as other:
            yield other


def test_an_eraser_needs_no_other_right(conn: Connection, eraser: Connection) -> None:
    step, _ = full_task(conn)
    single = record(conn)
    seal(conn)
    for table in (AUDIT, EVENTS, CHANGES, SALTS, HOST.transitions):
        with pytest.raises(errors.InsufficientPrivilege):
            eraser.execute(f"SELECT FROM {table}".encode())
    succeed(
        *("erase", "--record", str(audit_uuid(conn, single)), *REASON),
        *("--dsn", dsn_of(conn, user="eraser")),
    )
    eraser.execute(
        f"CALL {SCHEMA}.erase_step_result_audit(p_task_uuid => %s, p_reason => 'x')".encode(),
        (step.task_uuid,),
        prepare=False,
    )
    assert holders_of(conn, MARKER) == set()
    assert {each["recorded_by"] for each in erasures(conn)} == {"eraser"}


def test_without_the_right_nobody_erases(conn: Connection) -> None:
    result = record(conn)
    seal(conn)
    with login_roles(conn, "eraser"):
        run(conn, f"GRANT USAGE ON SCHEMA {SCHEMA} TO eraser")
        done = step_audit(
            *("erase", "--record", str(audit_uuid(conn, result)), *REASON),
            *("--dsn", dsn_of(conn, user="eraser")),
        )
        assert (done.code, "permission denied" in done.err) == (3, True)
        with (
            connect_again(conn, user="eraser") as other,
            pytest.raises(errors.InsufficientPrivilege),
        ):
            erase(other, result)
    assert erasures(conn) == []


def procedure(conn: Connection, **arguments: Any) -> list[str]:
    """Call the procedure; gives what it says."""
    said: list[str] = []
    with connect_again(conn) as other:
        other.add_notice_handler(lambda told: said.append(told.message_primary or ""))
        named = ", ".join(f"{name} => %({name})s" for name in arguments)
        try:
            other.execute(
                f"CALL {SCHEMA}.erase_step_result_audit({named})".encode(), arguments, prepare=False
            )
        except psycopg.Error as error:
            said.append(error.diag.message_primary or "")
    return said


def test_the_procedure_erases_the_same(conn: Connection) -> None:
    step, _ = full_task(conn)
    seal(conn)
    given = {"p_task_uuid": step.task_uuid, "p_reason": "request 62", "p_operator": "ann"}
    said = procedure(conn, **given)
    assert said == ["erasure complete: 5 transitions erased, 0 were erased before"]
    assert holders_of(conn, MARKER) == set()
    assert {each["payload"]["operator"] for each in erasures(conn)} == {"ann"}
    said = procedure(conn, **given)
    assert said == ["erasure complete: 0 transitions erased, 5 were erased before"]
    assert procedure(conn, p_audit_uuid=uuid4(), p_reason="x")[0].startswith("no record is of what")
    (clear,) = procedure(conn, p_reason="x")
    assert clear.startswith("what is to be erased is not clear")


@pytest.mark.parametrize("by", ["command", "procedure"])
def test_one_that_is_refused_does_not_stop_the_others(conn: Connection, by: str) -> None:
    steps = create_steps(conn, 2)
    made = [record(conn, PLAIN, steps[number % 2], number) for number in range(4)]
    seal(conn)
    rewrite(conn, made[1], {"event": {"more": MARKER}})
    task = steps[0].task_uuid
    if by == "command":
        done = step_audit("erase", "--task", str(task), *REASON, to=conn)
        assert done.code == 1
        assert "erased 3 transitions" in done.out
        assert done.err.count("refused: ") == 1
        assert str(made[1].transition_uuid) in done.err
    else:
        refused, summary, failed = procedure(conn, p_task_uuid=task, p_reason="x")
        assert str(made[1].transition_uuid) in refused
        assert "3 transitions erased" in summary
        assert failed.startswith("1 transitions were refused")
    assert [metadata_of(conn, each) is None for each in made] == [True, False, True, True]
