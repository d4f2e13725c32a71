"""A verifier written by a stranger, from docs/sealing.md alone, accepts what is true only."""

from __future__ import annotations

import ast
import copy
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from psycopg.rows import dict_row

from step_audit.trust.sealed_log import make_proof
from tests.support.host import HOST
from tests.support.sealed import VERIFIER_KEY
from tests.support.sealed import make_proof as make_proof_without_database
from tests.trust import stranger
from tests.trust.conftest import Worlds
from tests.trust.world import World

_ROWS = """
SELECT
    l.leaf_index::text, l.kind, s.salt, a.workflow_step_result_audit_uuid::text,
    a.workflow_step_uuid::text, a.workflow_step_transition_uuid::text, a.task_uuid::text,
    a.recorded_at::text, a.worker_uuid::text, a.correlation_id::text,
    left(a.success::text, 1) AS success, left(a.backfilled::text, 1) AS backfilled,
    a.execution_time_ms::text, a.created_at::text, a.updated_at::text, a.recorded_xid::text,
    a.recorded_by, t.workflow_step_uuid::text AS t_workflow_step_uuid,
    t.from_state::text AS t_from_state, t.to_state::text AS t_to_state,
    t.created_at::text AS t_created_at, t.metadata::text AS payload
FROM step_audit_leaves AS l
JOIN step_audit_salts AS s ON l.leaf_index = s.leaf_index
JOIN tasker_workflow_step_result_audit AS a ON l.record_uuid = a.workflow_step_result_audit_uuid
JOIN tasker_workflow_step_transitions AS t USING (workflow_step_transition_uuid)
ORDER BY l.leaf_index
"""


def test_it_is_short_and_needs_python_alone() -> None:
    text = Path(stranger.__file__).read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    imported = {
        node.module if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert {str(name).partition(".")[0] for name in imported} <= sys.stdlib_module_names


@pytest.fixture
def world(worlds: Worlds) -> World:
    return worlds("plain")


@pytest.fixture
def rows(world: World) -> list[dict[str, Any]]:
    with world.conn.transaction(), world.conn.cursor(row_factory=dict_row) as cursor:
        cursor.execute("SET LOCAL datestyle = ISO; SET LOCAL timezone = 'UTC'")
        return cursor.execute(_ROWS).fetchall()


def test_it_computes_the_whole_log(world: World, rows: list[dict[str, Any]]) -> None:
    for note in (world.older, world.newer):
        size = int(note.split("\n")[1])
        assert stranger.verify_log(rows, note, world.public_key) == size > 0


def test_it_finds_each_value_that_was_changed(world: World, rows: list[dict[str, Any]]) -> None:
    at = next(n for n, row in enumerate(rows) if all(v is not None for v in row.values()))
    for name, value in rows[at].items():
        forged = copy.copy(rows)
        if isinstance(value, bytes):
            changed: object = bytes([value[0] ^ 1]) + value[1:]
        else:
            changed = {"t": "f", "f": "t"}.get(value) or re.sub(
                r"\w$", _another, value.rstrip("}]")
            )
        forged[at] = {**rows[at], name: changed}
        assert changed != value
        with pytest.raises(ValueError, match=r".+"):
            stranger.verify_log(forged, world.newer, world.public_key)


def _another(character: re.Match[str]) -> str:
    return "1" if character[0] == "0" else "0"


def test_it_finds_what_was_taken_away(world: World, rows: list[dict[str, Any]]) -> None:
    for forged in (rows[1:], rows[:9] + rows[10:], rows[:9] + rows[10:11] + rows[9:], []):
        with pytest.raises(ValueError, match=r".+"):
            stranger.verify_log(forged, world.newer, world.public_key)


@pytest.mark.parametrize("with_result", [True, False])
def test_it_accepts_the_proofs_of_a_database(world: World, with_result: bool) -> None:
    for record in world.sealed[::97]:
        text = make_proof(
            world.conn, HOST.audit_schema, record.audit, world.newer, world.public_key, with_result
        )
        found = stranger.verify_proof(text, world.public_key)
        assert found["audit"]["workflow_step_result_audit_uuid"] == str(record.audit)


def test_it_refuses_proofs_that_are_false() -> None:
    text = make_proof_without_database(5, 11)
    assert stranger.verify_proof(text, VERIFIER_KEY)["kind"] == "result"
    document = json.loads(text)
    for change in (
        {"leaf_index": 6},
        {"inclusion_path": document["inclusion_path"][1:]},
        {"inclusion_path": document["inclusion_path"][::-1]},
        {"checkpoint": document["checkpoint"].replace("\n11\n", "\n12\n")},
        {"record": document["record"] | {"commitment": "0" * 64}},
        {"opening": document["opening"] | {"payload": "{}"}},
        {"leaf_hash": document["inclusion_path"][0]},
    ):
        with pytest.raises(ValueError, match=r".+"):
            stranger.verify_proof(json.dumps(document | change), VERIFIER_KEY)
    other = VERIFIER_KEY.replace("example.com/audit", "example.com/other")
    with pytest.raises(ValueError, match=r".+"):
        stranger.verify_proof(text, other)
