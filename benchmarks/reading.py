"""Reading the audit: histories beside a JOIN by hand, pages near and far, filters' indexes."""

from __future__ import annotations

import re
from typing import Any

from benchmarks import events
from benchmarks.bench import Bench, Target
from benchmarks.contestants import OURS
from benchmarks.measure import Measurement, interleave, timed
from step_audit.database import Connection, connect

FUNCTION, BY_HAND, BARE = "function", "JOIN by hand", "bare JOIN, no result or duration"
FEW, TASK = "history of a step with 5 records", "history of a task"
FULL_SCANS = "filters that scan the whole table"
PAGE_SIZE = 100

# See bench_fill_past().
_ALWAYS_THERE = "00000000-0000-4000-8000-000000000000"
RARE, MANY = "failures, few and old", "failures, many"

# The same columns in the same order, as one would write it for well-formed events.
_BY_HAND = """
SELECT
    a.*,
    round(extract(EPOCH FROM t.created_at - started.created_at) * 1000)::bigint AS elapsed_ms,
    n.name AS step_name,
    t.from_state,
    t.to_state,
    coalesce(
        (t.metadata ->> 'event')::json -> 'data', (t.metadata ->> 'event')::json
    ) AS result
FROM tasker_workflow_step_result_audit AS a
JOIN tasker_workflow_step_transitions AS t
    USING (workflow_step_transition_uuid, workflow_step_uuid)
JOIN tasker_workflow_steps AS s USING (workflow_step_uuid)
JOIN tasker_named_steps AS n USING (named_step_uuid)
LEFT JOIN LATERAL (
    SELECT p.created_at
    FROM tasker_workflow_step_transitions AS p
    WHERE p.workflow_step_uuid = t.workflow_step_uuid
        AND p.sort_key < t.sort_key
        AND p.to_state = 'in_progress'
    ORDER BY p.sort_key DESC
    LIMIT 1
) AS started ON TRUE
WHERE a.{column} = %(subject)s
ORDER BY a.recorded_at DESC, a.workflow_step_result_audit_uuid DESC
"""

_BARE = """
SELECT a.*, n.name, t.from_state, t.to_state, t.metadata
FROM tasker_workflow_step_result_audit AS a
JOIN tasker_workflow_step_transitions AS t
    USING (workflow_step_transition_uuid, workflow_step_uuid)
JOIN tasker_workflow_steps AS s USING (workflow_step_uuid)
JOIN tasker_named_steps AS n USING (named_step_uuid)
WHERE a.{column} = %(subject)s
ORDER BY a.recorded_at DESC
"""

_FILTERS = {
    "audit": "p_audit_uuid => %(audit)s",
    "step": "p_step_uuid => %(step)s",
    "task": "p_task_uuid => %(task)s",
    "worker that is gone": "p_worker_uuid => %(worker)s",
    "worker that is always there": "p_worker_uuid => %(busy)s",
    "correlation id": "p_correlation_id => %(correlation)s",
    RARE: "p_success => FALSE",
    "time range": "p_recorded_from => %(from)s, p_recorded_until => %(until)s",
    "minimum duration that all have": "p_min_execution_time_ms => 12",
    "minimum duration that none has, among the newest": (
        "p_min_execution_time_ms => 1000000, p_recorded_from => %(recently)s"
    ),
    "page": "p_before_recorded_at => %(from)s, p_before_audit_uuid => %(audit)s",
}


def many(records: int) -> str:
    """The name of the measurement of a task with so many records."""
    return f"{TASK} with {records:,} records"


def pages(records: int) -> str:
    """The name of the measurement of pages of a list of so many records."""
    return f"page of {PAGE_SIZE} of {records:,} records"


def page(number: int) -> str:
    """What a page is called."""
    return f"page {number:,}"


def filtered(records: int) -> str:
    """The name of the measurement of filters on so many records."""
    return f"first page of a filter, of {records:,} records"


def measure(bench: Bench) -> list[Measurement]:
    """Measure on a copy of the audited past."""
    records = bench.scale.pasts[-1]
    name = "reading"
    with connect(bench.clone(bench.audited(records), name)) as conn:
        writer = _add_task(conn, max(bench.scale.many // 50, 20))
        writer.write_together(events.FAILURE, events.FAILED, 20)
        _write(writer, events.name("text", "1 KB"), events.RESULT, bench.scale.many)
        conn.execute("VACUUM ANALYZE")
        arguments = _arguments(conn, records)
        taken = [
            _measure_history(
                bench,
                conn,
                FEW,
                "get_step_audit_history",
                "workflow_step_uuid",
                arguments["step"],
            ),
            _measure_history(
                bench,
                conn,
                many(bench.scale.many),
                "get_task_audit_history",
                "task_uuid",
                arguments["large task"],
            ),
            _measure_pages(bench, conn, records),
        ]
        times, scans = _measure_filters(bench, conn, _FILTERS, arguments)
        _write(writer, events.FAILURE, events.FAILED, bench.scale.many // 5)
        conn.execute("VACUUM ANALYZE")
        more_times, more_scans = _measure_filters(bench, conn, {MANY: _FILTERS[RARE]}, arguments)
        taken += [
            Measurement(filtered(records), "ms", times | more_times),
            Measurement(FULL_SCANS, "filters", {OURS: [float(scans + more_scans)]}),
        ]
        bench.note(
            "No index knows durations: one that few records reach, without other filters or a time "
            "range, reads the whole table. So does a worker that wrote much of it and is gone."
        )
    bench.drop(name)
    return taken


def _add_task(conn: Connection, steps: int) -> Target:
    conn.execute("SELECT bench_add_tasks(1, %s)", (steps,))
    conn.execute("SELECT bench_choose_steps(%s, TRUE)", (steps,))
    return Target(conn, "", by_itself=False, steps=steps)


def _write(writer: Target, event: str, state: str, records: int) -> None:
    for _ in range(records // writer.steps):
        writer.write_together(event, state, writer.steps)


def _arguments(conn: Connection, records: int) -> dict[str, Any]:
    """What to look for: all of a record of the middle, whose worker is gone, and what is busy."""
    (of_record,) = conn.execute(
        "SELECT workflow_step_result_audit_uuid AS audit, workflow_step_uuid AS step, "
        "task_uuid AS task, worker_uuid AS worker, correlation_id AS correlation, "
        "recorded_at AS from FROM tasker_workflow_step_result_audit WHERE worker_uuid <> %s "
        "ORDER BY recorded_at DESC OFFSET %s LIMIT 1",
        (_ALWAYS_THERE, records // 2),
    ).fetchall()
    (newest,) = conn.execute(
        'SELECT task_uuid AS "large task", min(recorded_at) AS recently '
        "FROM tasker_workflow_step_result_audit GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"
    ).fetchall()
    return of_record | newest | {"busy": _ALWAYS_THERE, "until": "infinity"}


def _measure_history(
    bench: Bench, conn: Connection, name: str, function: str, column: str, subject: object
) -> Measurement:
    statements = {
        FUNCTION: f"SELECT * FROM {function}(%(subject)s)",
        BY_HAND: _BY_HAND.format(column=column),
        BARE: _BARE.format(column=column),
    }
    repeat = 20 if name == FEW else 1
    found = {
        key: len(conn.execute(text.encode(), {"subject": subject}).fetchall())
        for key, text in statements.items()
    }
    assert len(set(found.values())) == 1, found
    assert found[FUNCTION] > 0

    def work(text: str) -> float:
        def run() -> None:
            for _ in range(repeat):
                conn.execute(text.encode(), {"subject": subject}, prepare=True).fetchall()

        return timed(run) / repeat * 1e3

    works = {key: (lambda text=text: work(text)) for key, text in statements.items()}
    rounds = bench.scale.rounds if name == FEW else 15
    return Measurement(name, "ms", interleave(works, rounds))


def _measure_pages(bench: Bench, conn: Connection, records: int) -> Measurement:
    far = bench.scale.page
    (last,) = conn.execute(
        "SELECT recorded_at, workflow_step_result_audit_uuid AS audit "
        "FROM tasker_workflow_step_result_audit "
        "ORDER BY recorded_at DESC, workflow_step_result_audit_uuid DESC OFFSET %s LIMIT 1",
        ((far - 1) * PAGE_SIZE - 1,),
    ).fetchall()

    def first_page() -> float:
        query = f"SELECT * FROM list_step_audits(p_limit => {PAGE_SIZE})"
        return timed(lambda: conn.execute(query.encode()).fetchall()) * 1e3

    def far_page() -> float:
        query = (
            "SELECT * FROM list_step_audits(p_before_recorded_at => %(recorded_at)s, "
            f"p_before_audit_uuid => %(audit)s, p_limit => {PAGE_SIZE})"
        )
        return timed(lambda: conn.execute(query.encode(), last).fetchall()) * 1e3

    works = {page(1): first_page, page(far): far_page}
    return Measurement(pages(records), "ms", interleave(works, bench.scale.rounds))


def _measure_filters(
    bench: Bench, conn: Connection, filters: dict[str, str], arguments: dict[str, Any]
) -> tuple[dict[str, list[float]], int]:
    """Times of a first page by each filter, and how many scan the whole table."""
    queries = {
        name: f"SELECT * FROM list_step_audits({call}, p_limit => {PAGE_SIZE})"
        for name, call in filters.items()
    }

    def work(query: str) -> float:
        return timed(lambda: conn.execute(query.encode(), arguments).fetchall()) * 1e3

    works = {name: (lambda query=query: work(query)) for name, query in queries.items()}
    times = interleave(works, bench.scale.rounds // 2)
    scans = 0
    for name, query in queries.items():
        plan = _plan(conn, query, arguments)
        scans += "Seq Scan on tasker_workflow_step_result_audit" in plan
        found = sorted(set(re.findall(r"(?:using|on) ((?:idx|pk|uq)_audit\w*)", plan)))
        bench.note(f"Filter by {name}: {', '.join(found) or 'no index'}.")
    return times, scans


def _plan(conn: Connection, statement: str, arguments: dict[str, Any]) -> str:
    """The plans of all that runs inside a statement."""
    notices: list[str] = []
    conn.execute("LOAD 'auto_explain'")
    with conn.transaction():
        for setting in ("log_min_duration = 0", "log_nested_statements = on", "log_level = notice"):
            conn.execute(f"SET LOCAL auto_explain.{setting}".encode())

        def keep(notice: Any) -> None:
            notices.append(notice.message_primary or "")

        conn.add_notice_handler(keep)
        conn.execute(statement.encode(), arguments)
        conn.remove_notice_handler(keep)
    return "\n".join(notices)
