"""Who was behind an action is told later: many times, beside the facts, and never changed."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors

from step_audit.database import Connection, call
from step_audit.trust.verify import verify
from tests.functions.test_indexes import plans
from tests.lifecycle.test_changes import run
from tests.lifecycle.test_operator_actions import EVENTS
from tests.support.command import succeed
from tests.support.connect import connect_again
from tests.support.host import (
    HOST,
    OK,
    Step,
    Transition,
    create_steps,
    disable_own_audit,
    insert_each,
)
from tests.support.roles import login_roles


@pytest.fixture(autouse=True)
def engine(conn: Connection) -> None:
    disable_own_audit(conn)


def act(conn: Connection, *steps: Step) -> list[Transition]:
    """Cancel each step."""
    made = [
        Transition(step, "cancelled", json.dumps({"event": {"reason": "asked for"}}), 1, "pending")
        for step in steps
    ]
    insert_each(conn, made)
    return made


def tell(
    conn: psycopg.Connection[Any], transition: UUID | None, operator: str | None, *more: str | None
) -> UUID:
    row = conn.execute(
        f"SELECT {HOST.audit_schema}.attribute_operator_action"
        f"({', '.join(['%s'] * (2 + len(more)))}) AS told".encode(),
        (transition, operator, *more),
    ).fetchone()
    assert row is not None
    told: UUID = row["told"]
    return told


def listed(conn: Connection, **filters: object) -> list[dict[str, Any]]:
    return call(conn, HOST.audit_schema, "list_operator_actions", **filters)


def test_an_action_is_listed_with_its_attributions_newest_first(conn: Connection) -> None:
    (step,) = create_steps(conn)
    (action,) = act(conn, step)
    tell(conn, action.transition_uuid, "ann", "a mistake", "mail")
    tell(conn, action.transition_uuid, "bob")
    (row,) = listed(conn)
    told = row.pop("attributions")
    assert [each["operator"] for each in told] == ["bob", "ann"]
    assert (told[0]["reason"], told[0]["source"]) == (None, None)
    assert (told[1]["reason"], told[1]["source"]) == ("a mistake", "mail")
    assert {each["recorded_by"] for each in told} == {"postgres"}
    assert row["claims"] == {"reason": "asked for"}
    assert row["recorded_by"] == "postgres"
    assert (row["action"], row["from_state"], row["to_state"]) == ("Cancel", "pending", "cancelled")
    assert (row["workflow_step_uuid"], row["task_uuid"]) == (step.step_uuid, step.task_uuid)
    assert (row["step_name"], row["attempts"]) == (step.name, None)


def test_what_nobody_has_told_of_is_a_queue(conn: Connection) -> None:
    first, second, third = act(conn, *create_steps(conn, 3))
    tell(conn, second.transition_uuid, "ann")
    queue = listed(conn, p_attributed=False)
    assert [row["workflow_step_transition_uuid"] for row in queue] == [
        third.transition_uuid,
        first.transition_uuid,
    ]
    assert [row["attributions"] for row in queue] == [[], []]
    (done,) = listed(conn, p_attributed=True)
    assert done["workflow_step_transition_uuid"] == second.transition_uuid
    tell(conn, first.transition_uuid, "ann")
    tell(conn, third.transition_uuid, "ann")
    assert listed(conn, p_attributed=False) == []


def test_pages_and_filters_give_each_action_once(conn: Connection) -> None:
    steps = create_steps(conn, 7)
    with conn.transaction():
        act(conn, *steps[:4])
    act(conn, *steps[4:])
    everything = listed(conn, p_limit=None)
    assert len(everything) == 7
    pages: list[dict[str, Any]] = []
    cursor: dict[str, object] = {}
    while page := listed(conn, p_limit=2, **cursor):
        pages += page
        cursor = {
            "p_before_recorded_at": page[-1]["recorded_at"],
            "p_before_event_uuid": page[-1]["step_audit_event_uuid"],
        }
    assert pages == everything
    of_step = listed(conn, p_step_uuid=steps[5].step_uuid)
    assert [row["workflow_step_uuid"] for row in of_step] == [steps[5].step_uuid]
    of_task = {row["workflow_step_uuid"] for row in listed(conn, p_task_uuid=steps[0].task_uuid)}
    assert of_task == {steps[0].step_uuid, steps[1].step_uuid}
    turn = everything[0]["recorded_at"]
    later, earlier = (
        {row["step_audit_event_uuid"] for row in listed(conn, **{name: turn})}
        for name in ("p_recorded_from", "p_recorded_until")
    )
    assert later | earlier == {row["step_audit_event_uuid"] for row in everything}
    assert everything[0]["step_audit_event_uuid"] in later
    assert later & earlier == set()


def test_a_full_page_says_so_and_half_a_cursor_is_refused(conn: Connection) -> None:
    act(conn, *create_steps(conn, 2))
    notices: list[str] = []
    conn.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    listed(conn, p_limit=2)
    assert notices == ["this page is full with 2 rows, so there may be more"]
    with pytest.raises(errors.InvalidParameterValue, match="go together"):
        listed(conn, p_before_event_uuid=uuid4())


def test_the_name_of_a_deleted_step_is_kept_where_it_had_results(conn: Connection) -> None:
    (step,) = create_steps(conn)
    insert_each(conn, [Transition(step, OK, "{}", 0, "in_progress")])
    act(conn, step)
    run(conn, f"DELETE FROM {HOST.transitions}")
    run(conn, f"DELETE FROM {HOST.steps}")
    (row,) = listed(conn, p_step_uuid=step.step_uuid)
    assert row["step_name"] == step.name


@pytest.mark.parametrize("operator", [None, "", "  "])
def test_an_attribution_names_an_operator(conn: Connection, operator: str | None) -> None:
    (action,) = act(conn, *create_steps(conn))
    with pytest.raises(errors.InvalidParameterValue, match="names an operator"):
        tell(conn, action.transition_uuid, operator)
    assert listed(conn, p_attributed=True) == []


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_attribution_is_no_place_for_a_book(conn: Connection, place: int) -> None:
    (action,) = act(conn, *create_steps(conn))
    texts = ["ann", "why", "where"]
    texts[place] = "x" * 2001
    with pytest.raises(errors.InvalidParameterValue, match="2,000 characters at most"):
        tell(conn, action.transition_uuid, texts[0], *texts[1:])
    texts[place] = "x" * 2000
    tell(conn, action.transition_uuid, texts[0], *texts[1:])


def test_what_is_no_action_is_not_attributed(conn: Connection) -> None:
    (step,) = create_steps(conn)
    result = Transition(step, OK, "{}", 1, "in_progress")
    insert_each(conn, [result])
    for unknown in (result.transition_uuid, uuid4(), None):
        with pytest.raises(errors.InvalidParameterValue, match="is no operator action"):
            tell(conn, unknown, "ann")
    (row,) = conn.execute(f"SELECT count(*) AS n FROM {EVENTS}".encode()).fetchall()
    assert row["n"] == 0


def test_who_may_tell_writes_nothing_else_and_is_named(conn: Connection) -> None:
    (action,) = act(conn, *create_steps(conn))
    with login_roles(conn, "clerk"):
        with (
            connect_again(conn, user="clerk") as clerk,
            pytest.raises(errors.InsufficientPrivilege),
        ):
            tell(clerk, action.transition_uuid, "ann")
        succeed("grant", "clerk", "--as", "attributor", to=conn)
        assert verify(conn, workers=1).findings == ()
        with connect_again(conn, user="clerk") as clerk:
            tell(clerk, action.transition_uuid, "ann")
            for statement in (f"SELECT FROM {EVENTS}", f"INSERT INTO {EVENTS} DEFAULT VALUES"):
                with pytest.raises(errors.InsufficientPrivilege):
                    run(clerk, statement)
        (row,) = listed(conn)
        assert row["recorded_by"] == "postgres"
        assert [told["recorded_by"] for told in row["attributions"]] == ["clerk"]


def test_attributions_are_sealed_and_none_is_changed(conn: Connection) -> None:
    (action,) = act(conn, *create_steps(conn))
    tell(conn, action.transition_uuid, "ann")
    (sealed,) = call(conn, HOST.audit_schema, "seal_step_result_audit")
    assert sealed["tree_size"] == 2
    for statement in (
        f"UPDATE {EVENTS} SET payload = NULL WHERE kind = 'attribution'",
        f"DELETE FROM {EVENTS} WHERE kind = 'attribution'",
    ):
        with pytest.raises(psycopg.Error, match="append-only"):
            run(conn, statement)
    tell(conn, action.transition_uuid, "bob")
    assert verify(conn, workers=1).findings == ()


# The call, and the index that its plan must use.
CALLS = {
    "list_operator_actions(p_limit => 10)": "idx_events_action_recorded_at",
    "list_operator_actions(p_attributed => FALSE, p_limit => 10)": ("idx_events_transition_uuid"),
    "list_operator_actions(p_recorded_from => %(now)s)": "idx_events_action_recorded_at",
    "list_operator_actions(p_task_uuid => %(task)s)": "idx_events_action_task_uuid",
    "list_operator_actions(p_step_uuid => %(step)s)": "idx_events_action_step_uuid",
    "attribute_operator_action(%(transition)s, 'ann')": "idx_events_transition_uuid",
}


@pytest.mark.parametrize(("statement", "index"), CALLS.items())
def test_the_events_of_other_kinds_are_not_read(
    conn: Connection, statement: str, index: str
) -> None:
    steps = create_steps(conn, 50)
    action, *_ = act(conn, *steps)
    run(
        conn,
        f"INSERT INTO {EVENTS} (kind, workflow_step_uuid, workflow_step_transition_uuid) "
        "SELECT 'result came again', gen_random_uuid(), gen_random_uuid() "
        "FROM generate_series(1, 5000)",
    )
    run(conn, "ANALYZE")
    arguments = {
        "now": "2100-01-01",
        "task": steps[0].task_uuid,
        "step": steps[0].step_uuid,
        "transition": action.transition_uuid,
    }
    plan = plans(conn, statement, arguments)
    assert index in plan
    assert "Seq Scan on step_audit_events" not in plan
