"""What was tampered with does not vanish as if its time had come: a purge leaves and names it."""

from __future__ import annotations

from uuid import uuid4

import pytest

from step_audit.database import Connection, call
from step_audit.trust.purge import Purged
from tests.lifecycle.test_changes import engine, run  # noqa: F401 (a fixture)
from tests.lifecycle.test_purge import (
    AUDIT,
    CHANGES,
    EVENTS,
    LEAVES,
    SALTS,
    clear,
    everything,
    now,
    purge,
    seal,
)
from tests.lifecycle.test_sealed_changes import behind_our_back
from tests.support.command import step_audit
from tests.support.host import HOST, OK, Transition, create_steps, insert_each
from tests.support.results import record_results

SALT_OF_EVENT = f"leaf_index = (SELECT leaf_index FROM {LEAVES} WHERE kind = 'event')"

# The table, what is done to it, and the kind of the first leaf of the trail that is not as sealed.
ALTERATIONS = {
    "result": (AUDIT, f"UPDATE {AUDIT} SET success = NOT success", "result"),
    "payload": (CHANGES, f"""UPDATE {CHANGES} SET metadata = '{{"event": "x"}}'""", "result"),
    "change": (CHANGES, f"UPDATE {CHANGES} SET recorded_by = 'nobody'", "change"),
    "action": (EVENTS, f"UPDATE {EVENTS} SET recorded_by = 'nobody'", "event"),
    "salt": (SALTS, f"DELETE FROM {SALTS} WHERE {SALT_OF_EVENT}", "event"),
}


def leaf_of(conn: Connection, kind: str) -> int:
    (row,) = conn.execute(
        f"SELECT leaf_index FROM {LEAVES} WHERE kind = %s".encode(), (kind,)
    ).fetchall()
    index: int = row["leaf_index"]
    return index


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_an_altered_trail_stays_and_the_others_go(conn: Connection, alteration: str) -> None:
    (step,) = create_steps(conn)
    insert_each(conn, [Transition(step, OK, "{}", 1, "in_progress")])
    insert_each(conn, [Transition(step, "cancelled", "{}", 2, "pending")])
    clear(conn)
    seal(conn)
    table, statement, kind = ALTERATIONS[alteration]
    behind_our_back(conn, table, statement)
    altered = leaf_of(conn, kind)
    was = everything(conn)
    dry = purge(conn, dry_run=True)
    assert everything(conn) == was
    of_event = kind == "event"
    expected = Purged(int(of_event), int(of_event), int(not of_event), altered=(altered,))
    assert dry == expected
    assert purge(conn) == expected
    assert purge(conn) == Purged(altered=(altered,))


def test_who_purges_is_told_what_was_altered(conn: Connection) -> None:
    record_results(conn, 30)
    clear(conn)
    seal(conn)
    behind_our_back(conn, AUDIT, f"UPDATE {AUDIT} SET success = NOT success")
    before = now(conn)
    done = step_audit("purge", "--before", before.isoformat(), "--reason", "7 years", to=conn)
    assert (done.code, done.out) == (1, "purged 0 audit rows, 0 changes and 0 events\n")
    leaves = ", ".join(map(str, range(10)))
    assert done.err == (
        f"not purged as not as sealed: 30 trails, of leaf {leaves} and 20 more; "
        "step-audit verify says what was altered\n"
    )
    notices: list[tuple[str | None, str | None]] = []
    conn.add_notice_handler(lambda each: notices.append((each.severity, each.message_primary)))
    run(conn, f"CALL {HOST.audit_schema}.purge_step_result_audit(%s, 'x', NULL, 20)", before)
    assert notices == [
        (
            "WARNING",
            "20 trails are not as they were sealed, and stay: those of the leaves "
            + ", ".join(map(str, range(20))),
        ),
        (
            "WARNING",
            "10 trails are not as they were sealed, and stay: those of the leaves "
            + ", ".join(map(str, range(20, 30))),
        ),
        ("NOTICE", "purge complete: 0 audit rows, 0 changes, 0 events"),
    ]


def test_what_was_changed_and_erased_as_it_should_be_goes(conn: Connection) -> None:
    first, second, _ = record_results(conn, 3)
    seal(conn)
    run(conn, f"""UPDATE {HOST.transitions} SET metadata = '{{"event": "later"}}'""")
    run(conn, f"UPDATE {HOST.transitions} SET sort_key = sort_key + 10")
    seal(conn)
    for each in (first, second):
        call(
            conn,
            HOST.audit_schema,
            "erase_step_audit_transition",
            p_transition_uuid=each.transition_uuid,
            p_reason="request 62",
        )
    run(conn, f"UPDATE {HOST.transitions} SET sort_key = sort_key + 10")
    clear(conn)
    seal(conn)
    done = purge(conn)
    assert (done.records, done.altered) == (3, ())


def test_an_event_without_a_transition_goes_in_its_time(conn: Connection) -> None:
    run(
        conn,
        f"INSERT INTO {EVENTS} (kind, workflow_step_uuid) VALUES ('result without step', %s)",
        uuid4(),
    )
    before = now(conn)
    assert purge(conn, before) == Purged(kept_unsealed=1)
    seal(conn)
    assert purge(conn, before) == Purged(events=1)
