"""What cannot be done as it is asked for is refused in words, before anything is looked at."""

from __future__ import annotations

from uuid import uuid4

import pytest
from psycopg import errors

from step_audit.database import Connection
from tests.lifecycle.test_changes import engine, run  # noqa: F401 (a fixture)
from tests.lifecycle.test_purge import everything, purgeable
from tests.support.command import step_audit
from tests.support.host import HOST

SCHEMA = HOST.audit_schema
# More than the server has memory for where it takes it apart.
HUGE = "repeat('x', 140000000)"
ONE = "gen_random_uuid()"
PURGE = f"CALL {SCHEMA}.purge_step_result_audit('2019-01-01', 'x')"


@pytest.mark.parametrize(
    "call",
    [
        f"SELECT {SCHEMA}.hold_step_result_audit({HUGE}, p_task_uuid => {ONE})",
        f"SELECT {SCHEMA}.attribute_operator_action({ONE}, {HUGE})",
        f"CALL {SCHEMA}.erase_step_result_audit(p_task_uuid => {ONE}, p_reason => {HUGE})",
    ],
)
def test_a_reason_of_any_size_is_refused_in_words(conn: Connection, call: str) -> None:
    with pytest.raises(errors.InvalidParameterValue, match="2,000 characters at most"):
        run(conn, call)


def test_an_erasure_looks_at_its_reason_first(conn: Connection) -> None:
    with pytest.raises(errors.InvalidParameterValue, match="no reason is given"):
        run(conn, f"CALL {SCHEMA}.erase_step_result_audit(p_task_uuid => {ONE})")
    for mode in ("--yes", "--dry-run"):
        done = step_audit("erase", "--task", str(uuid4()), "--reason", " ", mode, to=conn)
        assert (done.code, done.out) == (3, "")
        assert "no reason is given; nothing was written" in done.err


def test_a_transition_that_is_none_is_called_null(conn: Connection) -> None:
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="transition NULL has no record"):
        run(conn, f"SELECT {SCHEMA}.erase_step_audit_transition(NULL, 'x')")


@pytest.mark.parametrize("before", ["BEGIN", "BEGIN; SELECT 1"])
def test_a_call_inside_a_transaction_block_fails_and_leaves_all_as_it_was(
    conn: Connection, before: str
) -> None:
    purgeable(conn)
    was = everything(conn)
    conn.execute(before.encode())
    with pytest.raises(errors.InvalidTransactionTermination):
        conn.execute(PURGE.encode())
    conn.execute(b"ROLLBACK")
    assert everything(conn) == was
    with pytest.raises(errors.InvalidTransactionTermination):
        conn.execute(f"SELECT 1; {PURGE}".encode())
