"""Law: backfilling a history gives the rows that the trigger would have written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import given
from hypothesis import strategies as st

from step_audit.database import Connection, call
from tests.support.audit import audit_rows, expected_rows, play
from tests.support.host import HOST, create_steps
from tests.support.strategies import histories


@contextmanager
def before_the_install(conn: Connection) -> Iterator[None]:
    """What is written here is written without the trigger, as if it were not installed yet."""
    conn.execute(f"ALTER TABLE {HOST.transitions} DISABLE TRIGGER {HOST.trigger}".encode())
    yield
    # A foreign key's pending check would forbid the ALTER.
    conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
    conn.execute(f"ALTER TABLE {HOST.transitions} ENABLE TRIGGER {HOST.trigger}".encode())


def backfill(conn: Connection, batch_size: int, batches: int | None = None) -> int:
    """Run batches as the procedure does, but without its commits; gives the rows written."""
    last, written = None, 0
    while batches != 0:
        (batch,) = call(
            conn,
            HOST.audit_schema,
            "backfill_step_result_audit_batch",
            p_after=last,
            p_batch_size=batch_size,
        )
        last = batch["last_transition_uuid"]
        written += batch["written"]
        batches = batches - 1 if batches is not None else None
        if last is None:
            break
    return written


def test_backfill_equals_trigger_wherever_the_install_falls(conn: Connection) -> None:
    steps = create_steps(conn, 3)

    @given(st.data())
    def law(data: st.DataObject) -> None:
        history = data.draw(histories(steps))
        split = data.draw(st.integers(0, len(history)))
        with conn.transaction(force_rollback=True):
            with before_the_install(conn):
                past = play(conn, history[:split])
            live = play(conn, history[split:])
            expected = expected_rows(past, backfilled=True)
            assert backfill(conn, data.draw(st.integers(1, 5))) == len(expected)
            assert audit_rows(conn) == expected | expected_rows(live)

    law()


def test_a_backfill_cut_off_after_any_batch_is_completed_by_the_next(conn: Connection) -> None:
    steps = create_steps(conn, 3)

    @given(st.data())
    def law(data: st.DataObject) -> None:
        with conn.transaction(force_rollback=True):
            with before_the_install(conn):
                past = play(conn, data.draw(histories(steps)))
            first = backfill(conn, batch_size=1, batches=data.draw(st.integers(0, len(past))))
            rest = backfill(conn, data.draw(st.integers(1, 5)))
            expected = expected_rows(past, backfilled=True)
            assert first + rest == len(expected)
            assert audit_rows(conn) == expected

    law()


def test_a_second_backfill_writes_nothing(conn: Connection) -> None:
    steps = create_steps(conn, 3)

    @given(st.data())
    def law(data: st.DataObject) -> None:
        history = data.draw(histories(steps))
        with conn.transaction(force_rollback=True):
            with before_the_install(conn):
                past = play(conn, history)
            backfill(conn, batch_size=3)
            before = audit_rows(conn)
            assert backfill(conn, batch_size=2) == 0
            assert audit_rows(conn) == before == expected_rows(past, backfilled=True)

    law()
