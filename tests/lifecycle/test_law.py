"""Whatever the engine, the sealer and retention do, in any order: nothing is lost without an event.

Each result that ever committed has its audit row, or a purge names its leaf; each version that was
changed is kept, with its payload or erased; and verify finds nothing.
"""

from __future__ import annotations

import uuid
from typing import Any

from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st

from step_audit.database import Connection, call
from step_audit.trust.erase import Subject, plan_erasure, run_erasure
from step_audit.trust.verify import verify
from step_audit.trust.verify.accounts import read_accounts
from tests.lifecycle.test_changes import run
from tests.lifecycle.test_versions import DEEDS, GROUPS, Engine, engine_column  # noqa: F401
from tests.support.host import HOST, Transition, insert_each

AUDIT = f"{HOST.audit_schema}.tasker_workflow_step_result_audit"
CHANGES = f"{HOST.audit_schema}.step_audit_changes"
EVENTS = f"{HOST.audit_schema}.step_audit_events"
LEAVES = f"{HOST.audit_schema}.step_audit_leaves"


def rows(conn: Connection, query: str, *arguments: object) -> list[dict[str, Any]]:
    return conn.execute(query.encode(), arguments).fetchall()


class Keeper(Engine):
    """An engine beside somebody who seals, holds, releases, erases and purges."""

    def __init__(self, conn: Connection, column: str) -> None:
        super().__init__(conn, column)
        self.audited: dict[uuid.UUID, uuid.UUID] = {}
        self.holds: list[uuid.UUID] = []
        self.erased: set[uuid.UUID] = set()

    def act(self, data: st.DataObject) -> None:
        """An operator cancels a step."""
        if self.standing:
            self.places += 1
            step = data.draw(st.sampled_from(self.standing))
            metadata = '{"event": {"type": "Cancel"}}'
            insert_each(
                self.conn, [Transition(step, "cancelled", metadata, self.places, "in_progress")]
            )

    def seal(self, _: st.DataObject) -> None:
        call(self.conn, HOST.audit_schema, "seal_step_result_audit")

    def backfill(self, _: st.DataObject) -> None:
        run(self.conn, f"CALL {HOST.audit_schema}.backfill_step_result_audit()")

    def hold(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self.steps)).task_uuid
        (held,) = call(
            self.conn,
            HOST.audit_schema,
            "hold_step_result_audit",
            p_reason="litigation",
            p_task_uuid=task,
        )
        self.holds.append(held["hold"])

    def release(self, data: st.DataObject) -> None:
        if self.holds:
            hold = data.draw(st.sampled_from(self.holds))
            self.holds.remove(hold)
            call(
                self.conn,
                HOST.audit_schema,
                "release_step_result_audit",
                p_hold=hold,
                p_reason="settled",
            )

    def erase(self, data: st.DataObject) -> None:
        subject = Subject(task=data.draw(st.sampled_from(self.steps)).task_uuid)
        plan = plan_erasure(self.conn, HOST.audit_schema, subject)
        for _ in run_erasure(self.conn, HOST.audit_schema, plan, "request 62", "ann"):
            pass

    def purge(self, _: st.DataObject) -> None:
        (now,) = rows(self.conn, "SELECT (clock_timestamp() AT TIME ZONE 'UTC')::text AS now")
        run(
            self.conn,
            f"CALL {HOST.audit_schema}.purge_step_result_audit('{now['now']}', 'years are over')",
        )
        standing = {row["uuid"] for row in rows(self.conn, f"SELECT {_KEY} AS uuid FROM {AUDIT}")}
        for key in {*self.audited} - standing:
            life = self.lives.get(self.audited[key])
            if life:
                # What comes again under its uuid begins anew.
                assert life.now is None
                del self.lives[self.audited[key]]

    def look(self) -> None:
        """Note which results have an audit row."""
        self.audited |= {
            row["uuid"]: row["transition"]
            for row in rows(
                self.conn,
                f"SELECT {_KEY} AS uuid, workflow_step_transition_uuid AS transition FROM {AUDIT}",
            )
        }


_KEY = "workflow_step_result_audit_uuid"
KEEPING = [
    Keeper.act,
    Keeper.seal,
    Keeper.seal,
    Keeper.backfill,
    Keeper.hold,
    Keeper.release,
    Keeper.erase,
    Keeper.purge,
    Keeper.purge,
]


def assert_all_is_accounted_for(conn: Connection, keeper: Keeper) -> None:
    purged = read_accounts(
        [
            [b"purged", None, row["payload"].encode(), b"", b"", None, None]
            for row in rows(
                conn, f"SELECT payload::text AS payload FROM {EVENTS} WHERE kind = 'purged'"
            )
        ],
        1 << 60,
    )
    there = {row["uuid"] for row in rows(conn, f"SELECT {_KEY} AS uuid FROM {AUDIT}")}
    leaves = {
        row["record_uuid"]: row["leaf_index"]
        for row in rows(conn, f"SELECT record_uuid, leaf_index FROM {LEAVES}")
    }
    for key in keeper.audited:
        assert (key in there) is not purged.is_purged(str(leaves.get(key, -1)).encode())
    erased = {
        row["uuid"]
        for row in rows(
            conn,
            f"SELECT workflow_step_transition_uuid AS uuid FROM {EVENTS} WHERE kind = 'erased'",
        )
    }
    for key, life in keeper.lives.items():
        kept = rows(
            conn,
            "SELECT from_state, to_state, sort_key, "
            f"coalesce(metadata::text, metadata_json::text) AS text FROM {CHANGES} "
            "WHERE workflow_step_transition_uuid = %s AND operation <> 'insert' "
            "ORDER BY step_audit_change_uuid",
            key,
        )
        assert len(kept) == len(life.versions)
        for change, version in zip(kept, life.versions, strict=True):
            expected = keeper._stored(version)
            found = tuple(change.values())
            assert found == expected or (key in erased and found == (*expected[:3], None))


def found(conn: Connection) -> list[str]:
    """What verify finds, but for the keys that no TRUNCATE works with."""
    findings = verify(conn, HOST.audit_schema, workers=1).findings
    return [str(each) for each in findings if not str(each.field).startswith("constraint ")]


def test_nothing_is_lost_without_an_event(host: Connection, engine_column: str) -> None:  # noqa: F811
    # The database keeps what an example did to it, so that a smaller one would not be another.
    @settings(max_examples=20, phases=[Phase.generate])
    @given(st.data())
    def law(data: st.DataObject) -> None:
        keeper = Keeper(host, engine_column)
        keeper.record(data)
        deeds = st.lists(
            st.one_of(st.sampled_from([*DEEDS, *GROUPS]), st.sampled_from(KEEPING)),
            min_size=3,
            max_size=14,
        )
        for deed in data.draw(deeds):
            note(deed.__name__)
            deed(keeper, data)
            keeper.look()
        keeper.backfill(data)
        keeper.look()
        assert found(host) == []
        assert_all_is_accounted_for(host, keeper)
        keeper.seal(data)
        assert found(host) == []

    law()
