"""Sealing and verifying: records a second, and completeness beside an anti-join by hand."""

from __future__ import annotations

from benchmarks import events
from benchmarks.bench import Bench
from benchmarks.contestants import OURS
from benchmarks.measure import Measurement, interleave, timed
from step_audit.database import Connection

SEAL, VERIFY_LOG, VERIFY = "seal", "verify the sealed log", "verify against the transitions"
COMPLETENESS = "completeness"
FUNCTION, BY_HAND = "verify_step_result_audit(p_fields => false)", "anti-join by hand, both ways"
LEAF = "bytes per sealed record, log and its indexes"

_NEEDED = ("seal_step_result_audit", "verify_step_audit_log", "verify_step_result_audit")

_BY_HAND = """
SELECT 'missing', t.workflow_step_transition_uuid
FROM tasker_workflow_step_transitions AS t
WHERE t.to_state IN ('enqueued_for_orchestration', 'enqueued_as_error_for_orchestration')
    AND NOT EXISTS (
        SELECT FROM tasker_workflow_step_result_audit AS a
        WHERE a.workflow_step_uuid = t.workflow_step_uuid
            AND a.workflow_step_transition_uuid = t.workflow_step_transition_uuid
    )
UNION ALL
SELECT 'extra', a.workflow_step_transition_uuid
FROM tasker_workflow_step_result_audit AS a
WHERE NOT EXISTS (
    SELECT FROM tasker_workflow_step_transitions AS t
    WHERE a.workflow_step_uuid = t.workflow_step_uuid
        AND a.workflow_step_transition_uuid = t.workflow_step_transition_uuid
        AND t.to_state IN ('enqueued_for_orchestration', 'enqueued_as_error_for_orchestration')
)
"""


def measure(bench: Bench) -> list[Measurement]:
    """Measure with results of 1 KB, in turns of equal size."""
    part = bench.scale.trust
    rounds = 5
    rates: dict[str, list[float]] = {SEAL: [], VERIFY_LOG: [], VERIFY: []}
    with bench.targets(OURS) as targets:
        target = targets[OURS]
        conn = target.conn
        if not _has_functions(conn):
            bench.note("Sealing and verifying are left out: this version does not have them.")
            return []
        together = min(1000, target.steps)
        before = _run_seal(conn)
        for number in range(rounds):
            for _ in range(part // together):
                target.write_together(events.name("text", "1 KB"), events.RESULT, together)
            conn.execute("VACUUM ANALYZE")
            first, until = before + number * part, before + (number + 1) * part
            statements = {
                SEAL: f"SELECT * FROM seal_step_result_audit({part})",
                VERIFY_LOG: f"SELECT * FROM verify_step_audit_log({first}, {until})",
            }
            for name, statement in statements.items():
                rates[name].append(part / _run(conn, statement, none=name != SEAL))
            rates[VERIFY].append(
                until / _run(conn, "SELECT * FROM verify_step_result_audit()", none=True)
            )
        works = {
            FUNCTION: lambda: _run(
                conn, "SELECT * FROM verify_step_result_audit(p_fields => FALSE)", none=True
            ),
            BY_HAND: lambda: _run(conn, _BY_HAND, none=True),
        }
        times = interleave(works, max(bench.scale.rounds // 3, 3))
        sizes = conn.execute(
            "SELECT sum(pg_total_relation_size(c.oid)) AS bytes FROM pg_class AS c "
            "WHERE c.relkind = 'r' AND c.relname IN "
            "('step_audit_leaves', 'step_audit_subtrees', 'step_audit_seals')"
        ).fetchall()
    records = before + part * rounds
    return [
        Measurement(name, "records per second", {OURS: values}) for name, values in rates.items()
    ] + [
        Measurement(COMPLETENESS, "s", times),
        Measurement(LEAF, "bytes", {OURS: [float(sizes[0]["bytes"] or 0) / records]}),
    ]


def _has_functions(conn: Connection) -> bool:
    found = conn.execute(
        "SELECT count(DISTINCT proname) AS functions FROM pg_proc WHERE proname = ANY(%s)",
        (list(_NEEDED),),
    ).fetchall()
    return bool(found[0]["functions"] == len(_NEEDED))


def _run_seal(conn: Connection) -> int:
    """Seal what is there; gives the size of the log."""
    (sealed,) = conn.execute("SELECT tree_size FROM seal_step_result_audit()").fetchall()
    return int(sealed["tree_size"])


def _run(conn: Connection, statement: str, none: bool) -> float:
    rows: list[object] = []
    seconds = timed(lambda: rows.extend(conn.execute(statement.encode()).fetchall()))
    assert not (none and rows), rows[:3]
    return seconds
