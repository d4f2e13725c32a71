"""``list`` and ``changes``: filters, formats, and any number of rows."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import uuid
from datetime import timedelta
from typing import Any

import pytest

from step_audit import list_changes
from step_audit.database import Connection, call
from step_audit.read.responses import rfc3339
from tests.functions.test_list_filters import filters_of, listed, steps  # noqa: F401 (a fixture)
from tests.support.command import Done, environment, run, succeed
from tests.support.connect import dsn_of
from tests.support.host import (
    HOST,
    OK,
    Step,
    Transition,
    create_steps,
    disable_own_audit,
    insert_each,
    insert_together,
)
from tests.support.results import record_results

OPTIONS: dict[tuple[str, object], list[str]] = {
    ("p_step_name", "step_0"): ["--step-name", "step_0"],
    ("p_success", False): ["--failure"],
    ("p_changed", True): ["--changed"],
    ("p_changed", False): ["--unchanged"],
    ("p_deleted", True): ["--deleted"],
    ("p_deleted", False): ["--standing"],
    ("p_manual", True): ["--manual"],
    ("p_manual", False): ["--not-manual"],
}
WITH_UUID = {"p_worker_uuid": "--worker", "p_step_uuid": "--step"}


def printed(conn: Connection, *arguments: str) -> list[dict[str, Any]]:
    out = succeed(*arguments, "--all", "--format", "jsonl", to=conn)
    return [json.loads(line) for line in out.splitlines()]


def keys(rows: list[dict[str, Any]], name: str = "workflow_step_result_audit_uuid") -> list[str]:
    return [str(row[name]) for row in rows]


def test_each_filter_is_an_option(conn: Connection, steps: list[Step]) -> None:  # noqa: F811
    for (name, value), _ in filters_of(steps).items():
        given = OPTIONS.get((name, value)) or [WITH_UUID[name], str(value)]
        expected = keys(listed(conn, **{name: value}))
        assert keys(printed(conn, "list", *given)) == expected != [], name
    everything = listed(conn)
    at = sorted(row["recorded_at"] for row in everything)[5]
    options: dict[tuple[str, ...], dict[str, object]] = {
        ("--task", str(steps[1].task_uuid)): {"p_task_uuid": steps[1].task_uuid},
        ("--correlation", str(uuid.UUID(int=1))): {"p_correlation_id": uuid.UUID(int=1)},
        ("--min-ms", "1"): {"p_min_execution_time_ms": 1},
        ("--max-ms", "0"): {"p_max_execution_time_ms": 0},
        ("--from", f"{at}"): {"p_recorded_from": f"{at}Z"},
        ("--from", f"{at}+00:00"): {"p_recorded_from": f"{at}Z"},
        ("--from", f"{at + timedelta(hours=9)}+09:00"): {"p_recorded_from": f"{at}Z"},
        ("--until", f"{at}Z"): {"p_recorded_until": f"{at}Z"},
        ("--until", "9999-12-31"): {},
    }
    for option, filters in options.items():
        assert keys(printed(conn, "list", *option)) == keys(listed(conn, **filters)), option


def test_each_filter_of_changes_is_an_option(
    conn: Connection,
    steps: list[Step],  # noqa: F811
) -> None:
    def changes(**filters: object) -> list[str]:
        rows = call(conn, HOST.audit_schema, "list_step_audit_changes", **filters, p_limit=None)
        return keys(rows, "step_audit_change_uuid")

    (one, *_, last) = call(conn, HOST.audit_schema, "list_step_audit_changes")
    step, transition = one["workflow_step_uuid"], one["workflow_step_transition_uuid"]
    options: dict[tuple[str, ...], dict[str, object]] = {
        (): {},
        ("--step", str(step)): {"p_step_uuid": step},
        ("--task", str(one["task_uuid"])): {"p_task_uuid": one["task_uuid"]},
        ("--transition", str(transition)): {"p_transition_uuid": transition},
        ("--operation", "update"): {"p_operation": "update"},
        ("--by", "postgres"): {"p_recorded_by": "postgres"},
        ("--by", "nobody"): {"p_recorded_by": "nobody"},
        ("--from", f"{one['recorded_at']}"): {"p_recorded_from": f"{one['recorded_at']}Z"},
        ("--until", f"{last['recorded_at']}"): {"p_recorded_until": f"{last['recorded_at']}Z"},
    }
    for option, filters in options.items():
        found = keys(printed(conn, "changes", *option), "step_audit_change_uuid")
        assert found == changes(**filters), option
    table = succeed("changes", "--limit", "1000", to=conn).splitlines()
    assert (
        table[0].split() == "recorded at, UTC step operation state recorded by transition".split()
    )
    assert str(transition) in table[1]
    assert len(table) == 1 + len(changes())


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
@pytest.mark.parametrize("command", ["list", "changes"])
def test_it_says_where_there_are_more(conn: Connection, form: str, command: str) -> None:
    disable_own_audit(conn)
    record_results(conn, 5)
    conn.execute(f"UPDATE {HOST.transitions} SET metadata = '{{}}' WHERE sort_key = 2".encode())

    def rows(out: str) -> int:
        if form == "json":
            return len(json.loads(out))
        return len(out.splitlines()) - (form in {"csv", "table"})

    more = run(command, "--limit", "4", "--format", form, to=conn)
    assert (more.code, rows(more.out)) == (0, 4)
    assert more.err == "these are the newest 4; there are more, see --limit and --all\n"
    for options in (["--limit", "5"], ["--all"], ["--limit", "2147483646"]):
        assert rows(succeed(command, *options, "--format", form, to=conn)) == 5


@pytest.mark.parametrize("command", ["list", "changes"])
def test_nothing_is_an_empty_list_with_its_heading(conn: Connection, command: str) -> None:
    columns = conn.execute(
        "SELECT * FROM list_step_audits()"
        if command == "list"
        else "SELECT * FROM list_step_audit_changes()"
    ).description
    heading = ",".join(column.name for column in columns or ())
    nothing = {"list": "no audited results\n", "changes": "no changes\n"}[command]
    for form, expected in {
        "json": "[]\n",
        "jsonl": "",
        "csv": f"{heading}\r\n",
        "table": nothing,
    }.items():
        assert succeed(command, "--format", form, to=conn).encode() == expected.encode(), form


def test_pages_of_any_number_are_joined(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("step_audit.read.history._PAGES", (2, 3, 5))
    monkeypatch.setattr("step_audit.cli.render._TOGETHER", 4)
    (step,) = create_steps(conn)
    for count in range(1, 17):
        insert_each(conn, [Transition(step, OK, '{"event": 1}', count)])
        table = succeed("list", "--all", to=conn).splitlines()
        assert len(table) == count + 1
        assert len({len(line) for line in table[1:]}) == 1
        assert [row["sort_key"] for row in printed(conn, "list")] == list(range(count, 0, -1))


# The command, and at its end the most memory that it had at once, in KiB.
MEASURED = """
import atexit, re, sys
from step_audit.cli.cli import main

def tell():
    with open("/proc/self/status") as status:
        sys.stderr.write(re.search(r"VmHWM:\\s+(\\d+)", status.read())[1])

atexit.register(tell)
main(sys.argv[1:])
"""


def peak_of_listing(conn: Connection) -> int:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "list", "--all", "--format", "jsonl"],
        env=environment(STEP_AUDIT_DSN=dsn_of(conn)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=True,
    )
    return int(done.stderr)


def test_memory_does_not_grow_with_what_is_listed(conn: Connection) -> None:
    (step,) = create_steps(conn)
    metadata = json.dumps({"event": {"success": True, "result": "x" * 100_000}})
    peaks = []
    for first in (0, 400):
        together = [Transition(step, OK, metadata, first + number) for number in range(400)]
        insert_together(conn, together)
        peaks.append(peak_of_listing(conn))
    # What came in addition has 40 MB.
    assert peaks[1] - peaks[0] < 10_000


HOSTILE = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "  =cmd|' /C calc'!A0",
    chr(0xFF1D) + "1",
    "'quoted",
    'a "quoted", text',
    "harmless",
]


def test_no_cell_is_a_formula_and_each_text_can_be_had_again(conn: Connection) -> None:
    disable_own_audit(conn)
    for number, name in enumerate(HOSTILE):
        conn.execute(f"INSERT INTO {HOST.named_steps} (name) VALUES (%s)".encode(), (name,))
        (step,) = create_steps(conn)
        conn.execute(
            f"UPDATE {HOST.steps} SET named_step_uuid = "
            f"(SELECT named_step_uuid FROM {HOST.named_steps} WHERE name = %s) "
            "WHERE workflow_step_uuid = %s".encode(),
            (name, step.step_uuid),
        )
        insert_each(conn, [Transition(step, OK, f'{{"event": {-number}}}', 1)])
    out = succeed("list", "--all", "--format", "csv", to=conn)
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert {row["step_name"].removeprefix("'") for row in rows} == set(HOSTILE)
    for row in rows:
        assert all(not cell.lstrip()[:1] or cell.lstrip()[0] not in "=+@" for cell in row.values())
        assert not row["step_name"].lstrip().startswith("-")
    # A number is none.
    assert {row["result"] for row in rows} == {str(-number) for number in range(len(HOSTILE))}
    as_json = printed(conn, "list")
    assert {row["step_name"] for row in as_json} == set(HOSTILE)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "yesterday"], "'yesterday' is no time; write it like 2026-11-01,"),
        (["--worker", "x"], "should be a valid UUID"),
        (["--limit", "0"], "greater than or equal to 1"),
        (["--min-ms", "-1"], "greater than or equal to 0"),
        (["--max-ms", str(2**63)], "less than or equal to 9223372036854775807"),
        (["--success", "--from", "2026-02-30"], "'2026-02-30' is no time"),
    ],
)
def test_what_cannot_be_filtered_by_is_refused(arguments: list[str], words: str) -> None:
    done = run("list", *arguments)
    assert isinstance(done, Done)
    assert (done.code, done.out) == (2, "")
    assert words in done.err


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        ("infinity", "9999-12-31T23:59:59.999999Z"),
        ("-infinity", "0001-01-01T00:00:00.000000Z"),
        ("0044-03-15 BC", "0001-01-01T00:00:00.000000Z"),
        ("12026-01-01", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_a_time_that_python_has_none_for_stops_no_other(
    conn: Connection, time: str, shown: str
) -> None:
    disable_own_audit(conn)
    first, second = record_results(conn, 2)
    of_first = f"UPDATE {HOST.transitions} SET created_at = %s WHERE workflow_step_uuid = %s"
    conn.execute(of_first.encode(), (time, first.step.step_uuid))
    change = f"UPDATE {HOST.transitions} SET metadata = '{{}}' WHERE sort_key = 2"
    conn.execute(change.encode())
    conn.execute("SELECT seal_step_result_audit()")
    for command in (["changes", "--all", "--format", "jsonl"], ["export"]):
        rows = [json.loads(line) for line in run(*command, to=conn).out.splitlines()]
        assert shown in {row["transition_created_at"] for row in rows}
        assert {row["workflow_step_transition_uuid"] for row in rows} == {
            str(each.transition_uuid) for each in (first, second)
        }
    found = [each.transition_created_at for each in list_changes(conn).items]
    assert shown in {rfc3339(each) for each in found if each}
