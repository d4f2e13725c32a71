"""What ``status``, ``backfill`` and ``history`` print, and how they find the database."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import time
import uuid

import psycopg
import pytest

from step_audit.database import Connection
from step_audit.setup.sources import load_sources
from tests.support.audit import audit_rows, expected_rows
from tests.support.command import STEP_AUDIT, Done, environment, run, status_of, step_audit, succeed
from tests.support.connect import dsn_of
from tests.support.host import FAILED, HOST, OK, Transition, create_steps, insert_each
from tests.support.results import record_results

RELEASE = load_sources().release
# Text that Python's own reading and writing of JSON would not keep.
RESULT = '{"success": true,\n "big": 12345678901234567890.10, "nul": "a\\u0000b", "x": 1e2}'


@pytest.fixture
def unaudited(host: Connection) -> Connection:
    """An installed audit and nine results from before."""
    record_results(host, 9)
    succeed("install", "--no-backfill", to=host)
    return host


def test_status_tells_how_complete_the_audit_is(unaudited: Connection) -> None:
    found = status_of(unaudited)
    assert found == {
        "release": RELEASE,
        "attached": True,
        "trigger_state": "enabled",
        "problems": None,
        "audit_rows": 0,
        "anomalies": 0,
        "unaudited": 9,
        "changes": 0,
        "deleted": 0,
        "sealed": 0,
    }
    done = run("status", to=unaudited)
    assert (done.code, done.err) == (1, "")
    printed = done.out
    assert [re.split("  +", line) for line in printed.splitlines()] == [
        ["release", RELEASE],
        ["attached", "yes"],
        ["trigger state", "enabled"],
        ["problems", "-"],
        ["audit rows", "0"],
        ["anomalies", "0"],
        ["unaudited", "9"],
        ["changes", "0"],
        ["deleted", "0"],
        ["sealed", "0"],
    ]


def test_status_tells_of_what_is_out_of_order(conn: Connection) -> None:
    (step,) = create_steps(conn)
    insert_each(conn, [Transition(step, OK, '{"event": 1, "worker_uuid": 2}', 1)])
    conn.execute(f"ALTER TABLE {HOST.transitions} DISABLE TRIGGER {HOST.trigger}".encode())
    found = status_of(conn)
    assert (found["trigger_state"], found["audit_rows"], found["anomalies"]) == ("disabled", 1, 2)

    conn.execute(f"DROP TABLE {HOST.named_steps} CASCADE".encode())
    printed = run("status", to=conn).out.splitlines()
    assert "attached              no" in printed
    named_steps = HOST.relation("tasker_named_steps")
    assert [line for line in printed if line.startswith("problems ")] == [
        f"problems              schema {HOST.schema} lacks {named_steps}, which the workflow "
        "engine creates. Run the engine's migrations first.",
        "problems              the view step_audits is missing: attach",
    ]

    conn.execute(f"DROP TABLE {HOST.transitions} CASCADE".encode())
    printed = run("status", to=conn).out.splitlines()
    assert "attached              no" in printed
    assert "trigger state         missing" in printed
    assert (
        "problems              the engine's tables are not shown in this schema: attach" in printed
    )
    assert "unaudited             -" in printed


def test_backfill_in_small_batches_audits_all_and_then_nothing(unaudited: Connection) -> None:
    before = status_of(unaudited)["unaudited"]
    printed = succeed("backfill", "--batch-size", "2", "--pause", "0.001", to=unaudited)
    assert re.fullmatch(rf"backfill: {before} audit rows in \d+\.\d s \(\d+ rows/s\)\n", printed)
    assert status_of(unaudited)["unaudited"] == 0
    assert succeed("backfill", to=unaudited) == (
        "backfill: nothing to do, every result has its audit row\n"
    )


def test_interrupted_backfill_keeps_what_is_written_and_says_how_to_go_on(
    host: Connection,
) -> None:
    recorded = record_results(host, 6)
    succeed("install", "--no-backfill", to=host)
    last = max(recorded, key=lambda transition: transition.transition_uuid.bytes)
    written = len(recorded) - 1
    with psycopg.connect(host.info.dsn) as other:
        # An audit row that is being written: the backfill waits for it.
        other.execute(
            "INSERT INTO tasker_workflow_step_result_audit "
            "(workflow_step_uuid, workflow_step_transition_uuid, task_uuid, success) "
            "VALUES (%s, %s, %s, TRUE)",
            (last.step.step_uuid, last.transition_uuid, last.step.task_uuid),
        )
        command = subprocess.Popen(
            [*STEP_AUDIT, "backfill", "--batch-size", "1", "--dsn", dsn_of(host)],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A suite that runs in the background may have been told to ignore interrupts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
        with command:
            try:
                _wait_until_blocked(host)
                command.send_signal(signal.SIGINT)
                out, err = command.communicate(timeout=30)
            finally:
                command.kill()
        other.rollback()

    assert (command.returncode, out, err) == (
        130,
        "",
        f"step-audit: stopped by SIGINT; {written} audit rows are written and stay. "
        "Go on with: step-audit backfill\n",
    )
    assert audit_rows(host).keys() == {t.transition_uuid for t in recorded if t is not last}
    assert "backfill: 1 audit rows in" in succeed("backfill", to=host)
    assert audit_rows(host) == expected_rows(recorded, backfilled=True)


def _wait_until_blocked(conn: Connection) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        (found,) = conn.execute(
            "SELECT count(*) AS waiting FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name = 'step-audit' AND wait_event_type = 'Lock'"
        ).fetchall()
        if found["waiting"]:
            return
    raise AssertionError("the backfill never had to wait")


@pytest.fixture
def story(conn: Connection) -> list[Transition]:
    """A failed and a good result of one step, and a good one of another in its task."""
    first, second = create_steps(conn, 2)
    worker = str(uuid.uuid4())
    failed = json.dumps({"event": {"success": False}, "worker_uuid": worker})
    good = json.dumps({"event": RESULT, "worker_uuid": worker, "correlation_id": worker})
    story = [
        Transition(first, "in_progress", "{}", 1),
        Transition(first, FAILED, failed, 2, "in_progress"),
        Transition(first, OK, good, 3, "in_progress"),
        Transition(second, OK, '{"event": "not JSON"}', 1),
    ]
    # Each in a transaction of its own, and so at a time of its own.
    for transition in story:
        insert_each(conn, [transition])
    return [transition for transition in story if transition.to_state in (OK, FAILED)]


def _columns(conn: Connection) -> list[str]:
    description = conn.execute("SELECT * FROM get_step_audit_history(NULL)").description
    return [column.name for column in description or ()]


def test_history_of_a_step_as_json_keeps_the_result_as_it_stands(
    conn: Connection, story: list[Transition]
) -> None:
    failed, good, _ = story
    printed = succeed("history", str(good.step.step_uuid), "--format", "json", to=conn)
    newest, oldest = json.loads(printed)
    assert list(newest) == list(oldest) == _columns(conn)
    assert newest["workflow_step_transition_uuid"] == str(good.transition_uuid)
    assert oldest["workflow_step_transition_uuid"] == str(failed.transition_uuid)
    assert newest["step_name"] == good.step.name
    assert newest["task_uuid"] == str(good.step.task_uuid)
    assert (newest["success"], oldest["success"]) == (True, False)
    assert newest["result"] == json.loads(RESULT)
    assert oldest["result"] == {"success": False}
    assert RESULT.replace("\n", " ") in printed
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", newest["recorded_at"])


def test_history_of_a_task_as_json_lines_has_a_line_for_each_result(
    conn: Connection, story: list[Transition]
) -> None:
    printed = succeed(
        "history", "--task", str(story[0].step.task_uuid), "--format", "jsonl", to=conn
    )
    rows = [json.loads(line) for line in printed.splitlines()]
    assert [row["workflow_step_transition_uuid"] for row in rows] == [
        str(transition.transition_uuid) for transition in reversed(story)
    ]
    assert rows[0]["result"] is None


def test_history_as_csv_is_read_by_a_csv_reader(conn: Connection, story: list[Transition]) -> None:
    printed = succeed("history", str(story[1].step.step_uuid), "--format", "csv", to=conn)
    newest, oldest = csv.DictReader(io.StringIO(printed, newline=""))
    assert list(newest) == _columns(conn)
    assert newest["result"] == RESULT
    assert (newest["success"], oldest["success"]) == ("true", "false")
    assert newest["execution_time_ms"] == ""


def test_history_as_a_table_names_step_and_worker(
    conn: Connection, story: list[Transition]
) -> None:
    printed = succeed("history", str(story[1].step.step_uuid), to=conn)
    heading, newest, oldest = printed.splitlines()
    assert heading.split() == (
        "recorded at, UTC step success elapsed ms worker recorded by".split()
    )
    assert story[1].step.name in newest
    assert json.loads(story[1].metadata or "")["worker_uuid"] in newest
    assert " true " in newest
    assert " false " in oldest


def test_history_as_a_table_shows_a_name_as_it_is(
    conn: Connection, story: list[Transition]
) -> None:
    name = "[red]pay[/x] :smile: [" + "long" * 25
    conn.execute("UPDATE tasker_named_steps SET name = %s WHERE name = 'step_0'", (name,))
    assert name in succeed("history", str(story[1].step.step_uuid), to=conn)


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "table"])
@pytest.mark.parametrize(
    ("command", "option", "kind"),
    [
        ("history", [], "step"),
        ("history", ["--task"], "task"),
        ("actions", [], "step"),
        ("actions", ["--task"], "task"),
        ("list", ["--step"], "step"),
        ("list", ["--task"], "task"),
        ("changes", ["--step"], "step"),
        ("changes", ["--task"], "task"),
    ],
)
def test_an_unknown_subject_is_said(
    conn: Connection, story: list[Transition], form: str, command: str, option: list[str], kind: str
) -> None:
    unknown = str(uuid.uuid4())
    assert run(command, *option, unknown, "--format", form, to=conn) == Done(
        4,
        "",
        f"step-audit: {kind} {unknown} is not known, neither to the engine nor to the audit. Is it "
        "the right database and the right uuid? What was purged is not known any more.\n",
    )


@pytest.mark.parametrize("command", ["list", "changes"])
def test_a_step_of_another_task_is_said(
    conn: Connection, story: list[Transition], command: str
) -> None:
    (other,) = create_steps(conn)
    mine, others = str(story[0].step.step_uuid), str(other.task_uuid)
    done = run(command, "--step", mine, "--task", others, to=conn)
    assert (done.code, done.out) == (4, "")
    assert f"step {mine} of task {others} is not known" in done.err


def test_database_is_found_by_the_environment(conn: Connection) -> None:
    info = conn.info
    expected = succeed("status", to=conn)
    by_libpq = step_audit(
        "status",
        PGHOST=info.host,
        PGPORT=str(info.port),
        PGUSER=info.user,
        PGDATABASE=info.dbname,
    )
    assert by_libpq == Done(0, expected, "")

    # The option goes before STEP_AUDIT_DSN, and that before libpq's variables.
    by_ours = step_audit("status", STEP_AUDIT_DSN=dsn_of(conn), PGDATABASE="nowhere")
    assert by_ours == Done(0, expected, "")
    by_option = step_audit("status", to=conn, STEP_AUDIT_DSN="host=/nonexistent")
    assert by_option == Done(0, expected, "")


def test_output_that_nobody_reads_is_no_accident(conn: Connection) -> None:
    reading_end, writing_end = os.pipe()
    os.close(reading_end)
    with os.fdopen(writing_end, "w") as nobody:
        done = subprocess.run(
            [*STEP_AUDIT, "status", "--dsn", dsn_of(conn)],
            stdout=nobody,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "")


def test_help_lists_the_commands() -> None:
    printed = step_audit().out
    assert printed == step_audit("--help").out
    for command in (
        "install attach detach grant status backfill history sql build-extension uninstall demo"
    ).split():
        assert re.search(rf"^  {command} +[A-Z]", printed, re.MULTILINE)
