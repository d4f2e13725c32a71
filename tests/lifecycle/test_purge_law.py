"""Law: whatever becomes of results, a purge takes just what it may, whole, and names it."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from step_audit.database import Connection, call
from step_audit.trust.purge import Purged, run_purge
from tests.lifecycle.test_changes import engine, run  # noqa: F401 (a fixture)
from tests.lifecycle.test_sealed_changes import behind_our_back
from tests.support.host import HOST, OK, Step, Transition, create_steps, insert_each

OURS = {
    name: f"{HOST.audit_schema}.{name}"
    for name in (
        "tasker_workflow_step_result_audit",
        "tasker_workflow_step_result_audit_anomalies",
        "step_audit_changes",
        "step_audit_events",
        "step_audit_salts",
        "step_audit_deleted_steps",
    )
}
RESULT, ANOMALY, CHANGE, EVENT, SALT, DELETED = OURS.values()
FOR_EVER = {"hold", "release", "purged", "erased"}


@dataclass(frozen=True)
class Part:
    """A record of a trail: an audit row, a change or an event."""

    kind: str
    key: UUID
    transition: UUID
    step: UUID | None
    task: UUID | None
    correlation: UUID | None
    recorded_at: datetime


@dataclass(frozen=True)
class Found:
    """All that there is, as plain reads of the tables find it."""

    parts: frozenset[Part]
    leaves: dict[UUID, int]
    salts: frozenset[int]
    anomalies: frozenset[tuple[UUID, str]]
    deleted: frozenset[tuple[UUID, UUID, datetime]]
    standing: frozenset[UUID]
    tasks: dict[UUID, UUID]
    holds: frozenset[UUID]
    purged: frozenset[int]
    for_ever: frozenset[UUID]


def empty(conn: Connection) -> None:
    """Begin anew, as no user could."""
    log = (f"{HOST.audit_schema}.step_audit_{name}" for name in ("leaves", "subtrees", "seals"))
    for table in (*OURS.values(), *log):
        behind_our_back(conn, table, f"TRUNCATE {table}")
    run(conn, "SET session_replication_role = replica")
    for table in (HOST.transitions, HOST.steps):
        run(conn, f"DELETE FROM {table}")
    run(conn, "RESET session_replication_role")


def rows(conn: Connection, query: str) -> list[dict[str, Any]]:
    return conn.execute(query.encode()).fetchall()


def look(conn: Connection) -> Found:
    """Read everything."""
    parts, for_ever, held, released, purged = set(), set(), {}, set(), set()
    for row in rows(conn, f"SELECT * FROM {RESULT}"):
        parts.add(
            Part(
                "records",
                row["workflow_step_result_audit_uuid"],
                row["workflow_step_transition_uuid"],
                row["workflow_step_uuid"],
                row["task_uuid"],
                row["correlation_id"],
                row["recorded_at"],
            )
        )
    for row in rows(conn, f"SELECT * FROM {CHANGE}"):
        parts.add(
            Part(
                "changes",
                row["step_audit_change_uuid"],
                row["workflow_step_transition_uuid"],
                row["workflow_step_uuid"],
                None,
                None,
                row["recorded_at"],
            )
        )
    for row in rows(conn, f"SELECT * FROM {EVENT}"):
        key, payload = row["step_audit_event_uuid"], row["payload"]
        if row["kind"] not in FOR_EVER:
            parts.add(
                Part(
                    "events",
                    key,
                    row["workflow_step_transition_uuid"],
                    row["workflow_step_uuid"],
                    row["task_uuid"],
                    None,
                    row["recorded_at"],
                )
            )
            continue
        for_ever.add(key)
        if row["kind"] == "hold":
            held[key] = row["task_uuid"] or UUID(payload["correlation_id"])
        elif row["kind"] == "release":
            released.add(UUID(payload["hold"]))
        else:
            purged |= named(payload["leaves"])
    deleted = rows(conn, f"SELECT * FROM {DELETED}")
    steps = rows(conn, f"SELECT workflow_step_uuid, task_uuid FROM {HOST.steps}")
    return Found(
        parts=frozenset(parts),
        leaves={
            row["record_uuid"]: row["leaf_index"]
            for row in rows(conn, f"SELECT * FROM {HOST.audit_schema}.step_audit_leaves")
        },
        salts=frozenset(row["leaf_index"] for row in rows(conn, f"SELECT * FROM {SALT}")),
        anomalies=frozenset(
            (row["workflow_step_result_audit_uuid"], row["field"])
            for row in rows(conn, f"SELECT * FROM {ANOMALY}")
        ),
        deleted=frozenset(
            (row["workflow_step_uuid"], row["task_uuid"], row["recorded_at"]) for row in deleted
        ),
        standing=frozenset(
            row["workflow_step_transition_uuid"]
            for row in rows(conn, f"SELECT * FROM {HOST.transitions}")
        ),
        tasks={row["workflow_step_uuid"]: row["task_uuid"] for row in (*deleted, *steps)},
        holds=frozenset(held[key] for key in held.keys() - released),
        purged=frozenset(purged),
        for_ever=frozenset(for_ever),
    )


def named(leaves: str) -> set[int]:
    """The members of an int8multirange in its text form."""
    inner = leaves.strip("{}")
    bounds = [pair.strip("[)").split(",") for pair in inner.split("),")] if inner else []
    return {leaf for low, high in bounds for leaf in range(int(low), int(high))}


def expected(found: Found, before: datetime) -> tuple[Found, Purged]:
    """What a purge must leave, and what it must say, by the contract."""
    trails = defaultdict(set)
    for part in found.parts:
        trails[part.transition].add(part)
    gone: set[Part] = set()
    said: dict[str, Any] = dict.fromkeys(COUNTS, 0)
    for transition, trail in trails.items():
        # What is younger is not looked at; an audit row stands for its trail.
        first = [p for p in trail if p.kind == "records"] or list(trail)
        if min(part.recorded_at for part in first) >= before:
            continue
        if transition in found.standing:
            said["kept_by_engine"] += 1
        elif any(is_held(found, part) for part in trail):
            said["kept_by_hold"] += 1
        elif not all(part.key in found.leaves for part in trail):
            said["kept_unsealed"] += 1
        elif max(part.recorded_at for part in trail) >= before:
            said["kept_younger"] += 1
        else:
            gone |= trail
    for part in gone:
        said[part.kind] += 1
    keys = {part.key for part in gone}
    stays = found.parts - gone
    needed = {p.step for p in stays if p.kind == "records"} | {
        p.step for p in stays if p.kind == "events" and p.task
    }
    left = replace(
        found,
        parts=stays,
        salts=found.salts - {found.leaves[key] for key in keys},
        anomalies=frozenset(each for each in found.anomalies if each[0] not in keys),
        deleted=frozenset(
            (step, task, at)
            for step, task, at in found.deleted
            if at >= before or step in needed or task in found.holds
        ),
        purged=found.purged | {found.leaves[key] for key in keys},
    )
    return left, Purged(**said)


COUNTS = (
    "records",
    "changes",
    "events",
    "kept_by_engine",
    "kept_by_hold",
    "kept_unsealed",
    "kept_younger",
)


def is_held(found: Found, part: Part) -> bool:
    step_task = found.tasks.get(part.step) if part.step else None
    return not found.holds.isdisjoint({part.task, part.correlation, step_task})


class Histories:
    """What engine, operators and keepers of the audit may do, in any order."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.number = 0
        empty(self.conn)
        self.steps = create_steps(self.conn, 3)
        self.correlations = [uuid4(), uuid4()]
        self.known: set[UUID] = set()
        self.holds: list[UUID] = []
        self.moments: list[datetime] = [self.now()]
        self.results: list[Transition] = []

    def now(self) -> datetime:
        (row,) = rows(self.conn, "SELECT (clock_timestamp() AT TIME ZONE 'UTC') AS t")
        moment: datetime = row["t"]
        return moment

    def make(self, step: Step, state: str, metadata: object, origin: str) -> Transition:
        self.number += 1
        return Transition(step, state, json.dumps(metadata), self.number, origin)

    def step(self, which: int) -> Step | None:
        (row,) = rows(
            self.conn,
            f"SELECT array_agg(workflow_step_uuid) AS there FROM {HOST.steps}",
        )
        there = [step for step in self.steps if step.step_uuid in (row["there"] or ())]
        return there[which % len(there)] if there else None

    def results_come(self, which: int, odd: bool, count: int, then: str) -> None:
        made = []
        for number in range(count):
            step = self.step(which + number)
            if step is None:
                return
            metadata = {
                "event": "odd" if odd else {"success": True},
                "correlation_id": str(self.correlations[(which + number) % 2]),
            }
            made.append(self.make(step, OK, metadata, "in_progress"))
        self.put(made, then)

    def an_operator_cancels(self, which: int, then: str) -> None:
        step = self.step(which)
        if step is not None:
            self.put([self.make(step, "cancelled", {}, "pending")], then)

    def put(self, made: list[Transition], then: str) -> None:
        with self.conn.transaction():
            insert_each(self.conn, made)
        self.results += made
        self.moments.append(self.now())
        if "deleted" in then:
            for each in made:
                self.on(each, f"DELETE FROM {HOST.transitions}")
        if "sealed" in then:
            self.a_seal_is_made()

    def somebody_attributes(self, which: int) -> None:
        actions = sorted(
            row["t"]
            for row in rows(
                self.conn,
                "SELECT workflow_step_transition_uuid AS t "
                f"FROM {EVENT} WHERE kind = 'operator action'",
            )
        )
        if actions:
            self.call(
                "attribute_operator_action",
                p_transition_uuid=actions[which % len(actions)],
                p_operator="ann",
            )

    def the_engine_rewrites(self, which: int, change: str) -> None:
        if self.results:
            if change == "KEY":
                change = "workflow_step_transition_uuid = gen_random_uuid()"
            self.on_transition(which, f"UPDATE {HOST.transitions} SET {change}")

    def the_engine_deletes(self, which: int, count: int) -> None:
        if self.results:
            for number in range(count):
                self.on_transition(which + number, f"DELETE FROM {HOST.transitions}")

    def the_engine_clears_up(self) -> None:
        with self.conn.transaction():
            run(self.conn, f"DELETE FROM {HOST.transitions}")
            run(self.conn, f"DELETE FROM {HOST.steps}")

    def a_transition_comes_again(self, which: int) -> None:
        if self.results:
            again = self.results[which % len(self.results)]
            step = self.step(which)
            if step is not None and again.transition_uuid not in look(self.conn).standing:
                self.number += 1
                same = again.step if again.step in self.steps else step
                if self.is_there(same):
                    insert_each(self.conn, [replace(again, step=same, sort_key=self.number)])

    def new_steps_come(self) -> None:
        self.steps += create_steps(self.conn, 2)

    def somebody_holds(self, which: int, by_task: bool) -> None:
        subject = (
            {"p_task_uuid": self.steps[which % len(self.steps)].task_uuid}
            if by_task
            else {"p_correlation_id": self.correlations[which % 2]}
        )
        (done,) = self.call("hold_step_result_audit", p_reason="litigation", **subject)
        self.holds.append(done["hold"])

    def somebody_releases(self, which: int) -> None:
        if self.holds:
            hold = self.holds.pop(which % len(self.holds))
            self.call("release_step_result_audit", p_hold=hold, p_reason="settled")

    def a_seal_is_made(self) -> None:
        self.call("seal_step_result_audit")

    def a_purge_is_made(self, which: int, lately: bool, sealed: bool, batch: int) -> None:
        if sealed:
            self.a_seal_is_made()
        before = self.now() if lately else self.moments[-1 - which % len(self.moments)]
        self.purge(before, batch)

    def purge(self, before: datetime, batch: int) -> None:
        found = look(self.conn)
        left, said = expected(found, before)
        arguments = (self.conn, HOST.audit_schema, before, "7 years", None, batch)
        *_, dry = run_purge(*arguments, dry_run=True)
        assert dry == said
        assert look(self.conn) == found
        *_, real = run_purge(*arguments)
        after = look(self.conn)
        assert real == said
        assert replace(after, for_ever=found.for_ever, tasks=found.tasks) == left
        assert after.for_ever >= found.for_ever

    def nobody_deletes_by_hand(self, name: str) -> None:
        if rows(self.conn, f"SELECT FROM {OURS[name]} LIMIT 1"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                run(self.conn, f"DELETE FROM {OURS[name]}")

    def each_audit_row_is_there_or_named_by_a_purge(self) -> None:
        found = look(self.conn)
        there = {part.key for part in found.parts if part.kind == "records"}
        self.known |= there
        for key in self.known - there:
            assert found.leaves[key] in found.purged
        assert found.salts == set(found.leaves.values()) - found.purged
        assert {audit for audit, _ in found.anomalies} <= there

    def call(self, function: Any, **arguments: object) -> list[dict[str, Any]]:
        return call(self.conn, HOST.audit_schema, function, **arguments)

    def on_transition(self, which: int, statement: str) -> None:
        self.on(self.results[which % len(self.results)], statement)

    def on(self, transition: Transition, statement: str) -> None:
        where = "WHERE workflow_step_transition_uuid = %s"
        run(self.conn, f"{statement} {where}", transition.transition_uuid)

    def is_there(self, step: Step) -> bool:
        query = f"SELECT FROM {HOST.steps} WHERE workflow_step_uuid = %s"
        return self.conn.execute(query.encode(), (step.step_uuid,)).fetchone() is not None


WHICH = st.integers(0, 10)
# How often, and with what. Without what often follows, hardly anything would ever be ripe.
OPERATIONS: dict[str, tuple[int, dict[str, st.SearchStrategy[Any]]]] = {
    "results_come": (
        6,
        {
            "which": WHICH,
            "odd": st.booleans(),
            "count": st.integers(1, 3),
            "then": st.sampled_from(["", "sealed", "deleted, sealed", "deleted, sealed"]),
        },
    ),
    "an_operator_cancels": (2, {"which": WHICH, "then": st.sampled_from(["", "deleted, sealed"])}),
    "somebody_attributes": (2, {"which": WHICH}),
    "the_engine_rewrites": (
        2,
        {
            "which": WHICH,
            "change": st.sampled_from(["metadata = '{}'", "to_state = 'error'", "KEY"]),
        },
    ),
    "the_engine_deletes": (3, {"which": WHICH, "count": st.integers(1, 4)}),
    "the_engine_clears_up": (1, {}),
    "a_transition_comes_again": (3, {"which": WHICH}),
    "new_steps_come": (1, {}),
    "somebody_holds": (2, {"which": WHICH, "by_task": st.booleans()}),
    "somebody_releases": (1, {"which": WHICH}),
    "a_seal_is_made": (3, {}),
    "a_purge_is_made": (
        3,
        {
            "which": WHICH,
            "lately": st.booleans(),
            "sealed": st.booleans(),
            "batch": st.sampled_from([1, 2, 3, 1000]),
        },
    ),
    "nobody_deletes_by_hand": (1, {"name": st.sampled_from(sorted(OURS))}),
}
HISTORIES = st.lists(
    st.sampled_from(
        [name for name, (weight, _) in OPERATIONS.items() for _ in range(weight)]
    ).flatmap(lambda name: st.tuples(st.just(name), st.fixed_dictionaries(OPERATIONS[name][1]))),
    min_size=8,
    max_size=30,
)


def test_a_purge_takes_just_what_it_may(conn: Connection) -> None:
    @settings(max_examples=50)
    @given(HISTORIES)
    def holds_for(history: list[tuple[str, dict[str, Any]]]) -> None:
        lived = Histories(conn)
        for name, arguments in history:
            getattr(lived, name)(**arguments)
            lived.each_audit_row_is_there_or_named_by_a_purge()
        lived.a_purge_is_made(0, lately=True, sealed=True, batch=2)
        lived.each_audit_row_is_there_or_named_by_a_purge()

    holds_for()
