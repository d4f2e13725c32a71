"""``export``: the log as it is, in its order, resumed without a gap or a repetition."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from step_audit.database import Connection, call
from step_audit.read.export import COLUMNS, JSON
from tests.functions.test_indexes import plans
from tests.lifecycle.test_purge import now
from tests.support.command import Done, run, succeed
from tests.support.host import (
    FAILED,
    HOST,
    OK,
    Step,
    Transition,
    behind_our_back,
    create_steps,
    delete_transitions,
    disable_own_audit,
    insert_each,
    insert_together,
)

Rows = list[dict[str, Any]]


def seal(conn: Connection) -> int:
    (sealed,) = call(conn, HOST.audit_schema, "seal_step_result_audit")
    size: int = sealed["tree_size"]
    return size


def exported(conn: Connection, *options: str) -> Rows:
    done = run("export", *options, to=conn)
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def change(conn: Connection, event: object, transition: Transition) -> None:
    conn.execute(
        f"UPDATE {HOST.transitions} SET metadata = %s "
        "WHERE workflow_step_transition_uuid = %s".encode(),
        (json.dumps({"event": event}), transition.transition_uuid),
    )


@pytest.fixture
def story(conn: Connection) -> list[Transition]:
    """Results, one of them changed twice, one deleted; a step completed by hand."""
    disable_own_audit(conn)
    first, second = create_steps(conn, 2)
    worker = str(uuid.UUID(int=7))
    results = [
        Transition(first, FAILED, json.dumps({"event": {"a": 1}, "worker_uuid": worker}), 1),
        Transition(first, OK, json.dumps({"event": {"b": 1.10}}), 2, "in_progress"),
        Transition(second, OK, json.dumps({"event": {"c": 1}}), 1),
    ]
    insert_each(conn, results)
    change(conn, {"b": 2}, results[1])
    change(conn, {"b": 3}, results[1])
    conn.execute(
        f"DELETE FROM {HOST.transitions} WHERE workflow_step_transition_uuid = %s".encode(),
        (results[2].transition_uuid,),
    )
    insert_each(conn, [Transition(second, "resolved_manually", "{}", 2, "error")])
    return results


def test_each_leaf_is_there_with_its_record(conn: Connection, story: list[Transition]) -> None:
    size = seal(conn)
    rows = exported(conn)
    assert [row["leaf_index"] for row in rows] == list(range(size)) != []
    leaves = conn.execute(
        "SELECT leaf_index, encode(leaf_hash, 'hex') AS leaf_hash, kind, record_uuid::text "
        "FROM step_audit_leaves ORDER BY leaf_index"
    ).fetchall()
    for row, leaf in zip(rows, leaves, strict=True):
        assert list(row) == COLUMNS
        assert {name: row[name] for name in leaf} == leaf
        assert (row["state"], row["accounted_by"]) == ("present", None)
        assert row["recorded_by"] == "postgres"
        assert row["step_name"] in {each.step.name for each in story}
        assert row["task_uuid"] == str(story[0].step.task_uuid)
    results, changes, events = (
        [row for row in rows if row["kind"] == kind] for kind in ("result", "change", "event")
    )
    # As it was recorded, and then what became of it: nobody who reads on misses a version.
    by_transition = {row["workflow_step_transition_uuid"]: row for row in results}
    assert [by_transition[str(each.transition_uuid)]["result"] for each in story] == [
        {"a": 1},
        {"b": 1.1},
        {"c": 1},
    ]
    assert by_transition[str(story[0].transition_uuid)]["worker_uuid"] == str(uuid.UUID(int=7))
    assert {row["what"] for row in results} == {"recorded"}
    assert [(row["what"], row["result"], row["result_after"]) for row in changes] == [
        ("update", {"b": 1.1}, {"b": 2}),
        ("update", {"b": 2}, {"b": 3}),
        ("delete", {"c": 1}, None),
    ]
    assert [row["to_state_after"] for row in changes] == [OK, OK, None]
    (event,) = events
    assert (event["what"], event["payload"]["action"]) == ("operator action", "ResolveManually")


def test_an_export_goes_on_where_the_one_before_ended(
    conn: Connection, story: list[Transition], tmp_path: Path
) -> None:
    size = seal(conn)
    whole = exported(conn)
    for limit in range(1, size + 1):
        joined: Rows = []
        last: list[str] = []
        while True:
            file = tmp_path / str(uuid.uuid4())
            out = succeed("export", *last, "--limit", str(limit), "--out", str(file), to=conn)
            if not file.exists():
                assert out == f"nothing to export: the log has no leaf behind leaf {size - 1}\n"
                break
            joined += map(json.loads, file.read_text().splitlines())
            last = ["--after-leaf", out.split()[-1]]
            at = joined[-1]["leaf_index"]
            assert out.endswith(f"to {at}; go on with --after-leaf {at}\n")
        assert joined == whole
    change(conn, {"b": 4}, story[1])
    seal(conn)
    (more,) = exported(conn, "--after-leaf", str(size - 1))
    assert (more["leaf_index"], more["result"], more["result_after"]) == (size, {"b": 3}, {"b": 4})
    # What was exported before would be exported again as it was.
    assert exported(conn)[:size] == whole


def test_pages_are_joined(
    conn: Connection, story: list[Transition], monkeypatch: pytest.MonkeyPatch
) -> None:
    seal(conn)
    whole = exported(conn)
    for size in (1, 2, len(whole)):
        monkeypatch.setattr("step_audit.read.export._PAGE", size)
        assert exported(conn) == whole
        assert exported(conn, "--limit", "3") == whole[:3]


def test_csv_says_the_same(conn: Connection, story: list[Transition]) -> None:
    conn.execute(f"UPDATE {HOST.named_steps} SET name = '=' || name".encode())
    seal(conn)
    lines = run("export", "--format", "csv", to=conn).out
    rows = exported(conn)
    table = list(csv.DictReader(io.StringIO(lines, newline="")))
    assert len(table) == len(rows)
    for cells, row in zip(table, rows, strict=True):
        assert list(cells) == COLUMNS
        assert cells.pop("step_name") == "'" + row.pop("step_name")
        for name, cell in cells.items():
            if name in JSON:
                assert (json.loads(cell) if cell else None) == row[name]
            elif isinstance(row[name], bool):
                assert cell == str(row[name]).lower()
            else:
                assert cell == ("" if row[name] is None else str(row[name])), name


def test_what_is_gone_has_what_accounts_for_it(conn: Connection, story: list[Transition]) -> None:
    seal(conn)
    first: Step = story[0].step
    reason = ("--reason", "asked for", "--yes")
    succeed("erase", "--task", str(first.task_uuid), *reason, to=conn)
    before = seal(conn)
    rows = exported(conn)
    erasures = {row["record_uuid"] for row in rows if row["what"] == "erased"}
    erased = [row for row in rows if row["state"] == "erased"]
    assert len(erased) == 7
    assert {row["accounted_by"] for row in erased} == erasures
    for row in erased:
        assert (row["result"], row["result_after"], row["payload"]) == (None, None, None)
        assert row["step_name"]

    delete_transitions(conn)
    seal(conn)
    succeed("purge", "--before", now(conn).isoformat(), "--reason", "old", to=conn)
    seal(conn)
    rows = exported(conn)
    purges = {row["record_uuid"] for row in rows if row["what"] == "purged"}
    purged = [row for row in rows if row["state"] == "purged"]
    assert len(purged) >= before - len(erasures)
    for row in purged:
        assert row["accounted_by"] in purges
        assert row["leaf_hash"]
        known = {"leaf_index", "leaf_hash", "kind", "record_uuid", "state", "accounted_by"}
        assert {name for name, value in row.items() if value is not None} == known


def test_what_nothing_accounts_for_is_missing(conn: Connection, story: list[Transition]) -> None:
    seal(conn)
    with behind_our_back(conn):
        for trigger in ("tasker_workflow_step_result_audit", "step_audit_changes"):
            conn.execute(f"ALTER TABLE {trigger} DISABLE TRIGGER ALL".encode())
        conn.execute(
            "DELETE FROM tasker_workflow_step_result_audit "
            "WHERE workflow_step_transition_uuid = %s",
            (story[0].transition_uuid,),
        )
    done = run("export", to=conn)
    states = [json.loads(line)["state"] for line in done.out.splitlines()]
    assert (done.code, states.count("missing")) == (1, 1)
    assert "1 records are missing, and nothing accounts for them" in done.err

    with behind_our_back(conn):
        conn.execute("ALTER TABLE step_audit_leaves DISABLE TRIGGER ALL")
        conn.execute("DELETE FROM step_audit_leaves WHERE leaf_index = 2")
    done = run("export", to=conn)
    assert (done.code, len(done.out.splitlines())) == (3, 2)
    assert "leaf 2 is missing from the log" in done.err


def test_a_file_is_whole_or_not_there_and_never_overwritten(
    conn: Connection, story: list[Transition], tmp_path: Path
) -> None:
    size = seal(conn)
    file = tmp_path / "log.jsonl"
    to_file = ("--out", str(file))
    file.write_text("precious")
    done = run("export", *to_file, to=conn)
    assert done == Done(
        3,
        "",
        f"step-audit: {file} is there already and is left as it is; nothing was written. "
        "Name another file.\n",
    )
    assert (file.read_text(), [*tmp_path.iterdir()]) == ("precious", [file])
    file.unlink()
    # It fails at the last leaf.
    with behind_our_back(conn):
        conn.execute("ALTER TABLE step_audit_leaves DISABLE TRIGGER ALL")
        conn.execute(
            "UPDATE step_audit_leaves SET leaf_index = %s WHERE leaf_index = %s", (size, size - 1)
        )
    assert run("export", *to_file, to=conn).code == 3
    assert [*tmp_path.iterdir()] == []
    assert run("export", "--out", str(tmp_path / "no" / "file"), to=conn).code == 3


def test_a_leaf_of_another_log_is_no_start(conn: Connection, story: list[Transition]) -> None:
    size = seal(conn)
    assert exported(conn, "--after-leaf", str(size - 1)) == []
    done = run("export", "--after-leaf", str(size), to=conn)
    assert (done.code, done.out) == (3, "")
    assert f"the log has no leaf {size}: it is another database's" in done.err


def test_an_empty_log_is_said(conn: Connection) -> None:
    assert run("export", to=conn) == Done(0, "", "nothing to export: the log has no leaf\n")


def test_the_hash_of_a_leaf_is_that_of_its_proof(conn: Connection, story: list[Transition]) -> None:
    seal(conn)
    for row in exported(conn):
        if row["kind"] == "result":
            (proof,) = conn.execute(
                "SELECT leaf FROM list_step_audit_leaves(%s, %s)",
                (row["leaf_index"], row["leaf_index"] + 1),
            ).fetchall()
            leaf = b"\0" + proof["leaf"].encode()
            assert hashlib.sha256(leaf).hexdigest() == row["leaf_hash"]


def test_a_page_of_the_log_is_read_by_indexes(conn: Connection) -> None:
    disable_own_audit(conn)
    (step,) = create_steps(conn)
    filled = json.dumps({"filling": "x" * 400})
    insert_together(conn, [Transition(step, OK, filled, number) for number in range(3000)])
    conn.execute(f"UPDATE {HOST.transitions} SET metadata = '[]'".encode())
    seal(conn)
    conn.execute("VACUUM ANALYZE")
    plan = plans(conn, "list_step_audit_log(p_after_leaf => 2995, p_limit => 10)", {})
    for index in (
        "pk_step_audit_leaf",
        "pk_step_audit_salt",
        "pk_audit",
        "pk_step_audit_change",
        "idx_changes_transition_uuid",
    ):
        assert index in plan, index
    for table in ("leaves", "salts", "changes"):
        assert f"Seq Scan on step_audit_{table}" not in plan, table
    assert "Seq Scan on tasker_workflow_step_result_audit" not in plan


def test_whether_a_subject_is_known_is_read_by_indexes(conn: Connection) -> None:
    disable_own_audit(conn)
    (step,) = create_steps(conn)
    insert_together(conn, [Transition(step, OK, "{}", number) for number in range(3000)])
    conn.execute("ANALYZE")
    conn.execute(f"DELETE FROM {HOST.transitions}".encode())
    for subject, index in (
        ("p_step_uuid", "idx_audit_step_uuid"),
        ("p_task_uuid", "idx_audit_task_uuid"),
    ):
        plan = plans(conn, f"is_step_audit_subject({subject} => gen_random_uuid())", {})
        assert index in plan
        assert "Seq Scan on tasker_workflow_step_result_audit" not in plan
