"""Each action of an operator is recorded once, in its transaction, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings

from step_audit.database import Connection, call
from step_audit.setup import installer
from step_audit.setup.script import Target
from step_audit.trust.verify import verify
from tests.lifecycle.test_changes import run
from tests.support.connect import connect_again
from tests.support.host import (
    FAILED,
    HOST,
    OK,
    STATES,
    Step,
    Transition,
    create_steps,
    disable_own_audit,
    drop_constraints,
    insert_each,
)
from tests.support.lifecycle import LAST, TABLE
from tests.support.results import record_results
from tests.support.roles import login_roles
from tests.support.strategies import JSON_METADATA, METADATA

EVENTS = f"{HOST.audit_schema}.step_audit_events"
OPERATORS = {"ResetForRetry", "Cancel", "CompleteManually", "ResolveManually"}
WORKED = {"in_progress", OK, FAILED}
DEEP = 20_000


def text(event: Any) -> str:
    """Metadata whose event is a text: JSON of what is given, or the text that is given."""
    said = event if isinstance(event, str) else json.dumps(event, separators=(",", ":"))
    return json.dumps({"event": said, "timestamp": "2026-11-22T19:11:24.604463563+00:00"})


# Metadata, and what its event says that it is.
SAYING: dict[str | None, str | None] = {
    **{text({"type": name}): name for name in TABLE},
    **{text({"type": name, "data": {"reason": "why"}}): name for name in TABLE},
    **{json.dumps({"event": {"type": name}}): name for name in TABLE},
    None: None,
    "{}": None,
    "null": None,
    '"ResetForRetry"': None,
    '["CompleteManually"]': None,
    '{"type": "CompleteManually"}': None,
    '{"event": null}': None,
    '{"event": ["CompleteManually"]}': None,
    '{"event": {"type": ["CompleteManually"]}}': None,
    '{"event": {"data": {"type": "ResetForRetry"}}}': None,
    text("CompleteManually"): None,
    text('"CompleteManually"'): None,
    text(""): None,
    text("{"): None,
    text('{"type"'): None,
    text('{"type":"completemanually"}'): "completemanually",
    text('{"data":{"type":"CompleteManually"},"type":"Complete"}'): "Complete",
    text('{"data":{"type":"Complete"},"type":"CompleteManually"}'): "CompleteManually",
    text('{"data":{"type":"Retry"},"type":"ResetForRetry"}'): "ResetForRetry",
    text('\n { "type" : "ResetForRetry" }'): "ResetForRetry",
    text('{"type":"\\u0043ompleteManually"}'): "CompleteManually",
    text('{"x":"\\u0000","type":"CompleteManually"}'): "CompleteManually",
    text('{"x":"\\ud800","type":"ResetForRetry"}'): "ResetForRetry",
    # What comes behind the type is not looked at, whatever it is.
    text('{"type":"CompleteManually","data":{"result":"\\u0000"}}'): "CompleteManually",
    text('{"type":"ResetForRetry","data":'): "ResetForRetry",
    text('{"type":"CompleteManually","data":' + "[" * DEEP): "CompleteManually",
    text('{"type":"ResetForRetry","data":1e1000000}'): "ResetForRetry",
    text('{"data":' + "[" * DEEP + "]" * DEEP + ',"type":"CompleteManually"}'): None,
    text('{"data":1e1000000,"type":"CompleteManually"}'): None,
}

# What only json holds.
JSON_SAYING: dict[str | None, str | None] = {
    '{"event": "{\\"type\\":\\"CompleteManually\\",\\"x\\":\\"\\u0000\\"}"}': ("CompleteManually"),
    '{"x": "\\u0000", "event": {"type": "ResetForRetry"}}': "ResetForRetry",
    '{"x": 1e1000000, "event": {"type": "CompleteManually"}}': "CompleteManually",
    '{"x": "\\ud800", "event": "{\\"type\\":\\"CompleteManually\\"}"}': "CompleteManually",
    '{"x": "\\ud800", "event": "{\\"type\\":\\"Complete\\"}"}': "Complete",
    '{"event": {"type": "Complete"}, "event": {"type": "CompleteManually"}}': "CompleteManually",
    '{"event": ' + "[" * 2000 + "]" * 2000 + "}": None,
}


def expected(from_state: str | None, to_state: str, says: str | None) -> str | None:
    """The action, by the table of states: what says who only where the states do not."""
    came_from = from_state or "pending"
    possible = {
        name
        for name, (sources, target) in TABLE.items()
        if came_from in sources and target == to_state
    }
    by_operators = possible & OPERATORS
    if possible - OPERATORS and says not in by_operators:
        return None
    return next(iter(by_operators), None)


def actions(conn: Connection) -> list[dict[str, Any]]:
    return conn.execute(
        f"SELECT * FROM {EVENTS} WHERE kind = 'operator action' "
        "ORDER BY step_audit_event_uuid".encode()
    ).fetchall()


def recorded(conn: Connection) -> dict[UUID, list[str]]:
    found: dict[UUID, list[str]] = {}
    for row in actions(conn):
        found.setdefault(row["workflow_step_transition_uuid"], []).append(row["payload"]["action"])
    return found


def as_json(conn: Connection) -> None:
    """Let the engine's column be of type json."""
    installer.detach(conn, HOST.audit_schema, "5s")
    run(
        conn,
        f"ALTER TABLE {HOST.transitions} ALTER metadata DROP DEFAULT, ALTER metadata TYPE json",
    )
    installer.attach(conn, HOST.audit_schema, Target())


@pytest.fixture(autouse=True)
def engine(conn: Connection) -> None:
    disable_own_audit(conn)


@pytest.fixture(params=["jsonb", "json"])
def metadata_type(conn: Connection, request: pytest.FixtureRequest) -> str:
    if request.param == "json":
        as_json(conn)
    return str(request.param)


@pytest.fixture
def step(conn: Connection) -> Step:
    (step,) = create_steps(conn)
    return step


def tasker_columns(conn: Connection, step: Step, attempts: int) -> int | None:
    """Let the engine count the step's attempts, where its table does."""
    if not HOST.has_own_audit:
        return None
    run(conn, f"UPDATE {HOST.steps} SET attempts = %s", attempts)
    return attempts


def ways() -> Iterator[tuple[str | None, str]]:
    for from_state in (None, *STATES):
        for to_state in STATES:
            yield from_state, to_state


def test_each_action_is_recorded_once_and_nothing_else(
    conn: Connection, step: Step, metadata_type: str
) -> None:
    saying = SAYING | (JSON_SAYING if metadata_type == "json" else {})
    written: list[Transition] = []
    wanted: dict[UUID, list[str]] = {}
    for metadata, says in saying.items():
        for from_state, to_state in ways():
            transition = Transition(step, to_state, metadata, len(written), from_state)
            written.append(transition)
            action = expected(from_state, to_state, says)
            if action:
                wanted[transition.transition_uuid] = [action]
    insert_each(conn, written)
    found = recorded(conn)
    wrong = {
        (each.from_state, each.to_state, (each.metadata or "")[:80]): (
            found.get(each.transition_uuid),
            wanted.get(each.transition_uuid),
        )
        for each in written
        if found.get(each.transition_uuid) != wanted.get(each.transition_uuid)
    }
    assert wrong == {}
    assert {action for (action,) in wanted.values()} == OPERATORS
    assert len(wanted) < len(written)


def test_an_ambiguous_way_is_an_operators_only_where_the_event_says_so() -> None:
    """The oracle, by the lines of the table that overlap."""
    assert expected("error", "pending", "ResetForRetry") == "ResetForRetry"
    assert expected("error", "pending", "Retry") is None
    assert expected("error", "pending", None) is None
    assert expected("waiting_for_retry", "pending", "ResetForRetry") is None
    for state in WORKED:
        assert expected(state, "complete", "Complete") is None
        assert expected(state, "complete", "CompleteManually") == "CompleteManually"
    for other in (None, *(set(STATES) - WORKED)):
        assert expected(other, "complete", "Complete") == "CompleteManually"
    for last in LAST:
        assert expected(last, "cancelled", "Cancel") is None
        assert expected(last, "resolved_manually", "Cancel") == "ResolveManually"


def test_an_action_says_what_was_done_by_whom_and_what_is_claimed(
    conn: Connection, step: Step, metadata_type: str
) -> None:
    attempts = tasker_columns(conn, step, 3)
    event = {
        "type": "CompleteManually",
        "data": {
            "success": True,
            "result": {"reason": "a result's own"},
            "metadata": {"custom": {"completed_by": "ann", "completion_reason": "paid by hand"}},
        },
    }
    transition = Transition(step, "complete", text(event), 1, "error")
    with login_roles(conn, "engine"):
        run(conn, f"GRANT USAGE ON SCHEMA {', '.join(HOST.schemas)} TO engine")
        run(conn, f"GRANT ALL ON {HOST.transitions} TO engine")
        with connect_again(conn, user="engine") as engine:
            insert_each(engine, [transition])
    (action,) = actions(conn)
    assert action["recorded_by"] == "engine"
    assert action["workflow_step_transition_uuid"] == transition.transition_uuid
    assert (action["workflow_step_uuid"], action["task_uuid"]) == (step.step_uuid, step.task_uuid)
    assert action["payload"] == {
        "action": "CompleteManually",
        "from_state": "error",
        "to_state": "complete",
        "attempts": attempts,
        "claims": {"completed_by": "ann", "completion_reason": "paid by hand"},
    }


@pytest.mark.parametrize(
    ("event", "claims"),
    [
        ({"type": "Cancel"}, {}),
        ({"type": "Cancel", "data": None}, {}),
        ({"type": "Cancel", "data": "asked for"}, {"data": "asked for"}),
        ({"type": "Cancel", "operator": "ann", "reason": "x" * 300}, "cut"),
        ({"type": "Cancel", "by": 7, "reason": ["x"], "operator": {"name": "ann"}}, {}),
        (
            {"type": "Cancel", "reason": "outer", "data": {"reason": "inner", "by": "ann"}},
            {"reason": "outer", "by": "ann"},
        ),
        ({"type": "Cancel", "reason": "é☕\\ud800\\u0000"}, {"reason": "é☕\\ud800\\u0000"}),
        ({"type": "Cancel", "reason": "a\0b"}, {"reason": "a\\u0000b"}),
        ({"type": "Cancel", "reason": "\0" * 300}, "cut"),
    ],
)
def test_claims_are_texts_under_known_names_and_cut(
    conn: Connection, step: Step, metadata_type: str, event: dict[str, Any], claims: Any
) -> None:
    insert_each(conn, [Transition(step, "cancelled", text(event), 1, "pending")])
    (action,) = actions(conn)
    found = action["payload"]["claims"]
    if claims == "cut":
        assert len(found["reason"]) == 200
        assert json.dumps(event["reason"])[1:].startswith(found["reason"])
    else:
        assert found == claims


@pytest.mark.parametrize(
    "event",
    [
        "no JSON",
        '{"type":"Cancel","reason":' + "[" * DEEP,
        '{"reason":"why","x":1e1000000}',
        '{"reason":"why","x":' + "[" * DEEP + "]" * DEEP + "}",
    ],
)
def test_what_cannot_be_read_claims_nothing(
    conn: Connection, step: Step, metadata_type: str, event: str
) -> None:
    insert_each(conn, [Transition(step, "cancelled", text(event), 1, "pending")])
    (action,) = actions(conn)
    assert action["payload"]["action"] == "Cancel"
    assert action["payload"]["claims"] is None


@pytest.mark.gigabytes
def test_an_event_of_a_gigabyte_when_printed_fails_nothing(conn: Connection, step: Step) -> None:
    """An event whose print is beyond what Postgres can hold, and is stored in a few megabytes."""
    large = (
        "SELECT jsonb_build_object('event', jsonb_build_object("
        "'type', 'CompleteManually', 'reason', 'by hand', 'x', "
        "jsonb_agg(repeat(E'\\u0001', 20000000)))) FROM generate_series(1, 10)"
    )
    run(
        conn,
        f"INSERT INTO {HOST.transitions} "
        "(workflow_step_uuid, from_state, to_state, metadata, sort_key, most_recent) "
        f"VALUES (%s, 'in_progress', 'complete', ({large}), 1, FALSE)",
        step.step_uuid,
    )
    (action,) = actions(conn)
    assert action["payload"]["claims"] == {"reason": "by hand"}


def test_a_step_that_is_not_there_and_odd_columns_fail_nothing(
    conn: Connection, step: Step
) -> None:
    for change in (
        f"ALTER TABLE {HOST.steps} DROP COLUMN IF EXISTS attempts",
        f"ALTER TABLE {HOST.steps} ADD COLUMN attempts text DEFAULT 'many'",
    ):
        run(conn, change)
        insert_each(conn, [Transition(step, "cancelled", "{}", len(actions(conn)), "pending")])
    assert [row["payload"]["attempts"] for row in actions(conn)] == [None, None]
    drop_constraints(conn, "f")
    unknown = Step(uuid4(), uuid4(), "unknown")
    insert_each(conn, [Transition(unknown, "cancelled", "{}", 7, "pending")])
    last = actions(conn)[-1]
    assert (last["workflow_step_uuid"], last["task_uuid"]) == (unknown.step_uuid, None)


def test_results_record_no_action_and_need_no_reading(conn: Connection) -> None:
    record_results(conn, 3)
    assert actions(conn) == []
    for function in ("read_event_type", "get_operator_action", "record_operator_action"):
        for row in conn.execute(
            "SELECT oid::regprocedure::text AS name FROM pg_proc WHERE proname = %s", (function,)
        ).fetchall():
            run(conn, f"ALTER FUNCTION {row['name']} RENAME TO gone")
    # None of them is called.
    assert len(record_results(conn, 3)) == 3


def test_whatever_the_metadata_an_action_is_recorded_with_short_claims(
    conn: Connection, step: Step, metadata_type: str
) -> None:
    @settings(max_examples=300)
    @given(JSON_METADATA if metadata_type == "json" else METADATA)
    def law(metadata: str | None) -> None:
        with conn.transaction(force_rollback=True):
            for number, to_state in enumerate(["resolved_manually", "complete", "pending"]):
                insert_each(conn, [Transition(step, to_state, metadata, number, "error")])
            found = [action["payload"] for action in actions(conn)]
        assert [each["action"] for each in found] == ["ResolveManually", "CompleteManually"]
        for claims in (each["claims"] for each in found):
            assert claims is None or all(len(claim) <= 200 for claim in claims.values())

    law()


def test_actions_are_sealed_and_verified(conn: Connection, step: Step) -> None:
    events: list[dict[str, Any]] = [
        {},
        {"reason": 'é☕🐘 "quoted" \\ \n\t\x7f'},
        {"reason": "a\0b\ud800"},
        {"reason": "x" * 300, "operator": ""},
    ]
    insert_each(
        conn,
        [
            Transition(step, "cancelled", text(event), number, "pending")
            for number, event in enumerate(events)
        ],
    )
    assert verify(conn, workers=1).findings == ()
    (sealed,) = call(conn, HOST.audit_schema, "seal_step_result_audit")
    assert sealed["tree_size"] == len(events)
    assert verify(conn, workers=1).findings == ()
    run(conn, f"ALTER TABLE {EVENTS} DISABLE TRIGGER USER")
    run(
        conn,
        f"""UPDATE {EVENTS} SET payload = payload || '{{"claims": {{"by": "bob"}}}}'
        WHERE payload -> 'claims' = '{{}}'""",
    )
    run(conn, f"ALTER TABLE {EVENTS} ENABLE TRIGGER USER")
    for guard in ("trg_append_only", "trg_append_only_truncate"):
        run(conn, f"ALTER TABLE {EVENTS} ENABLE ALWAYS TRIGGER {guard}")
    assert len(verify(conn, workers=1).findings) == 1
