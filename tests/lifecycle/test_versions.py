"""Each result that ever committed is read as it stood last, whatever the engine did to it since."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from step_audit.database import Connection, call
from step_audit.trust import reading as oracle
from step_audit.trust.jsonb import loads
from tests.lifecycle.test_changes import drop_declared_keys, run
from tests.support.host import (
    FAILED,
    HOST,
    OK,
    Step,
    Transition,
    create_steps,
    disable_own_audit,
    insert_each,
    insert_step,
)
from tests.support.install import install_audit
from tests.support.strategies import JSON_METADATA, METADATA

RESULTS = (OK, FAILED)
HELD = {"jsonb": METADATA, "json": JSON_METADATA}


class _RollbackError(Exception):
    pass


@dataclass
class Life:
    """How a result stands now, if it does; its versions that stand no more; what came again."""

    now: Transition | None
    versions: list[Transition] = field(default_factory=list)
    came_again: list[Transition] = field(default_factory=list)

    @property
    def shown(self) -> Transition:
        return self.now or self.versions[-1]

    def end(self, then: Transition | None) -> None:
        """An UPDATE or DELETE: only what is a result is kept."""
        assert self.now
        if self.now.to_state in RESULTS:
            self.versions.append(self.now)
        self.now = then


class Engine:
    """An engine that records results, and changes or deletes what it has recorded."""

    def __init__(self, conn: Connection, column: str) -> None:
        self.conn, self.column = conn, column
        self.steps = create_steps(conn, 3)
        self.standing = list(self.steps)
        self.lives: dict[uuid.UUID, Life] = {}
        self.places = 0

    def record(self, data: st.DataObject) -> None:
        if self.standing:
            self._insert(data, uuid.uuid4(), data.draw(st.sampled_from(self.standing)))

    def record_again(self, data: st.DataObject) -> None:
        gone = [key for key, life in self.lives.items() if not life.now]
        if gone:
            key = data.draw(st.sampled_from(gone))
            step = self.lives[key].shown.step
            if step not in self.standing:
                insert_step(self.conn, step)
                self.standing.append(step)
            self._insert(data, key, step)

    def _insert(self, data: st.DataObject, key: uuid.UUID, step: Step) -> None:
        self.places += 1
        to_state, metadata = data.draw(st.sampled_from(RESULTS)), data.draw(HELD[self.column])
        result = Transition(step, to_state, metadata, self.places, "in_progress", key)
        insert_each(self.conn, [result])
        life = self.lives.setdefault(key, Life(None))
        if life.versions:
            life.came_again.append(result)
        life.now = result

    def change(self, data: st.DataObject) -> None:
        life = self._one_that_stands(data)
        if life and life.now:
            self.places += 1
            now = life.now
            changed = data.draw(
                st.sampled_from(
                    [
                        replace(now, sort_key=self.places),
                        replace(now, from_state="enqueued"),
                        replace(now, to_state=data.draw(st.sampled_from((*RESULTS, "error")))),
                        replace(now, metadata=data.draw(HELD[self.column])),
                    ]
                )
            )
            is_other = self._stored(now) != self._stored(changed)
            run(
                self.conn,
                f"UPDATE {HOST.transitions} SET from_state = %s, to_state = %s, metadata = %s, "
                "sort_key = %s, most_recent = FALSE WHERE workflow_step_transition_uuid = %s",
                changed.from_state,
                changed.to_state,
                changed.metadata,
                changed.sort_key,
                changed.transition_uuid,
            )
            if is_other:
                life.end(changed)

    def give_another_key(self, data: st.DataObject) -> None:
        life = self._one_that_stands(data)
        if life and life.now:
            key = life.now.transition_uuid
            run(
                self.conn,
                f"UPDATE {HOST.transitions} SET workflow_step_transition_uuid = %s "
                "WHERE workflow_step_transition_uuid = %s",
                uuid.uuid4(),
                key,
            )
            life.end(None)

    def delete(self, data: st.DataObject) -> None:
        life = self._one_that_stands(data)
        if life and life.now:
            key = life.now.transition_uuid
            run(
                self.conn,
                f"DELETE FROM {HOST.transitions} WHERE workflow_step_transition_uuid = %s",
                key,
            )
            life.end(None)

    def delete_step(self, data: st.DataObject) -> None:
        if self.standing:
            step = data.draw(st.sampled_from(self.standing))
            for table in (HOST.transitions, HOST.steps):
                run(self.conn, f"DELETE FROM {table} WHERE workflow_step_uuid = %s", step.step_uuid)
            self.standing.remove(step)
            self._end_all({step})

    def truncate(self, _: st.DataObject) -> None:
        tables = ", ".join((*HOST.own_audit, HOST.transitions))
        run(self.conn, f"TRUNCATE {tables}")
        self._end_all(set(self.steps))

    def do_together(self, data: st.DataObject) -> None:
        """Several deeds in one transaction, which have one time."""
        with self.conn.transaction():
            for _ in range(3):
                data.draw(st.sampled_from(DEEDS))(self, data)

    def roll_back(self, data: st.DataObject) -> None:
        """What is rolled back has never been."""
        lives = {
            key: Life(life.now, [*life.versions], [*life.came_again])
            for key, life in self.lives.items()
        }
        standing = list(self.standing)
        try:
            with self.conn.transaction():
                for _ in range(2):
                    data.draw(st.sampled_from(DEEDS))(self, data)
                raise _RollbackError
        except _RollbackError:
            self.lives, self.standing = lives, standing

    def _one_that_stands(self, data: st.DataObject) -> Life | None:
        standing = [life for life in self.lives.values() if life.now]
        return data.draw(st.sampled_from(standing)) if standing else None

    def _end_all(self, steps: set[Step]) -> None:
        for life in self.lives.values():
            if life.now and life.now.step in steps:
                life.end(None)

    def _stored(self, result: Transition) -> tuple[Any, ...]:
        (row,) = self.conn.execute(
            f"SELECT %s::{self.column}::text AS text".encode(), (result.metadata,)
        ).fetchall()
        return (result.from_state, result.to_state, result.sort_key, row["text"])


DEEDS = [
    Engine.record,
    Engine.record,
    Engine.record_again,
    Engine.change,
    Engine.change,
    Engine.give_another_key,
    Engine.delete,
    Engine.delete_step,
    Engine.truncate,
]
GROUPS = [Engine.do_together, Engine.do_together, Engine.roll_back]


@pytest.fixture(params=HELD)
def engine_column(host: Connection, request: pytest.FixtureRequest) -> str:
    column: str = request.param
    disable_own_audit(host)
    run(host, f"ALTER TABLE {HOST.transitions} ALTER metadata TYPE {column}")
    install_audit(host)
    drop_declared_keys(host)
    return column


def assert_read(
    row: dict[str, Any], version: Transition, column: str, name: str = "result"
) -> None:
    assert row["workflow_step_uuid"] == version.step.step_uuid
    assert (row["from_state"], row["to_state"]) == (version.from_state, version.to_state)
    assert row["sort_key"] == version.sort_key
    expected = oracle.result_document(version.metadata, column)
    assert (None if row[name] is None else loads(row[name])) == expected


def read(conn: Connection, what: str, *arguments: object) -> list[dict[str, Any]]:
    return conn.execute(
        f"SELECT *, result::text AS text FROM {what}".encode(), arguments
    ).fetchall()


def assert_as_the_oracle_has_it(conn: Connection, engine: Engine) -> None:
    steps = [step.step_uuid for step in engine.steps]
    rows = read(conn, "step_audits WHERE workflow_step_uuid = ANY(%s)", steps)
    assert len(rows) == len(engine.lives)
    names = {step.step_uuid: step.name for step in engine.steps}
    for row in rows:
        life = engine.lives[row["workflow_step_transition_uuid"]]
        assert_read(row, life.shown, engine.column, "text")
        assert row["step_name"] == names[row["workflow_step_uuid"]]
        assert (row["changes"], row["deleted"]) == (len(life.versions), life.now is None)

    by_key = {row["workflow_step_result_audit_uuid"]: row for row in rows}
    tasks = {step.task_uuid for step in engine.steps}
    for function, subjects in {
        "get_step_audit_history(%s)": steps,
        "get_task_audit_history(%s)": tasks,
        "list_step_audits(p_step_uuid => %s, p_limit => NULL)": steps,
    }.items():
        found = [row for subject in subjects for row in read(conn, function, subject)]
        assert {row["workflow_step_result_audit_uuid"]: row for row in found} == by_key
        assert len(found) == len(by_key)

    for key, life in engine.lives.items():
        changes = read(conn, "list_step_audit_changes(p_transition_uuid => %s)", key)
        for change in changes:
            of_record = by_key[change["workflow_step_result_audit_uuid"]]
            assert of_record["workflow_step_transition_uuid"] == key
            assert of_record["task_uuid"] == change["task_uuid"]
        for kept, is_insert in ((life.versions, False), (life.came_again, True)):
            found = [each for each in changes if (each["operation"] == "insert") is is_insert]
            for change, version in zip(found, reversed(kept), strict=True):
                assert_read(change, version, engine.column, "text")
    assert call(conn, HOST.audit_schema, "list_orphaned_audits") == []


def test_each_result_is_read_as_it_stood_last_with_the_number_of_its_versions(
    host: Connection, engine_column: str
) -> None:
    @settings(max_examples=60)
    @given(st.data())
    def law(data: st.DataObject) -> None:
        engine = Engine(host, engine_column)
        engine.record(data)
        for deed in data.draw(st.lists(st.sampled_from([*DEEDS, *GROUPS]), max_size=10)):
            deed(engine, data)
        assert_as_the_oracle_has_it(host, engine)

    law()
